"""All seeds in one torch program as torch.func has it: the eager loop's network, its gradient under vmap."""

import sys

import torch_bmm
import torch_eager

from dynamics.benchmark.serve import serve


class Peer(torch_bmm.Peer):
    """The batched loop for one job; the network is not written for batches, torch finds its batched form."""

    def __init__(self, job):
        super().__init__(job)
        torch = self.torch
        sizes = [(job["num_neurons"], job["dim"]), (job["num_neurons"],)]
        sizes = sizes if job["model"] == "two_layer" else sizes[:1]
        network = torch_eager.networks(torch, job)([torch.zeros(s, device=self.device) for s in sizes])
        names = [name for name, _ in network.named_parameters()]

        def loss(params, x, y):
            output = torch.func.functional_call(network, dict(zip(names, params, strict=True)), (x,))
            return torch.nn.functional.softplus(-y * output).mean()

        self.mapped = torch.func.vmap(loss)
        self.mapped_gradients = torch.func.vmap(torch.func.grad_and_value(loss))

    def losses(self, params, x, y):
        """The loss of every seed."""
        return self.mapped(params, x, y)

    def gradients(self, params, x, y):
        """The same, and the gradients of every parameter."""
        grads, each = self.mapped_gradients(params, x, y)
        return each, grads


if __name__ == "__main__":
    sys.exit(serve(Peer))
