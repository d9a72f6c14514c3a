"""All seeds in one torch program: weights and inputs stacked, batched matrix products, autograd."""

import os
import sys

import torch_common

from dynamics.benchmark.serve import Clock, serve


class Peer:
    """The batched loop for one job."""

    def __init__(self, job):
        self.torch, self.device, self.about = torch_common.start(job)
        self.job = job
        half = self.torch.ones(job["width"], device=self.device) / job["width"]
        self.a = self.torch.cat([half, -half])

    def go(self):
        """All seeds, as many at a time as fit."""
        torch, clock = self.torch, Clock()
        seeds, size = self.job["seeds"], self.batch()
        for first in range(0, seeds, size):
            # stacked at once into what the training uses: no second copy of the data
            draws = [
                torch_common.draw(torch, self.device, self.job, seed)
                for seed in range(first, min(first + size, seeds))
            ]
            stacked = self.stack(draws)
            del draws
            torch_common.wait(torch, self.device)
            clock.training(lambda s=stacked: self.train(*s))
        return {**clock.times(), "at_once": min(size, seeds)}

    def batch(self):
        """Seeds at a time: data twice (while being stacked) and hidden layers in half of the free memory."""
        job = self.job
        inputs = job["samples"] * job["data"].get("num_patches", 1)
        each = 4 * inputs * (2 * job["dim"] + 8 * job["num_neurons"])
        if self.device.type == "cuda":
            free = self.torch.cuda.mem_get_info()[0]
        else:
            free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        return max(1, int(free / 2 / each))

    def stack(self, draws):
        """Parameters, inputs, labels and features of several seeds."""
        torch = self.torch
        x, y, features, params = zip(*draws, strict=True)
        return [torch.stack(p) for p in zip(*params, strict=True)], *map(torch.stack, (x, y, features))

    def outputs(self, params, x):
        """Outputs of every seed's network, (seeds, samples).

        Neurons before samples: bmm takes the thin matrix first 2 times faster, and its gradient 7 times.
        """
        torch, job = self.torch, self.job
        if job["model"] == "two_layer":
            W, b = params
            return self.a @ torch.relu(torch.baddbmm(b[:, :, None], W, x.transpose(1, 2)))
        z = torch.bmm(params[0], x.flatten(1, 2).transpose(1, 2))
        return z.pow(job["data"]["power"]).sum(dim=1).view(*x.shape[:3]).sum(dim=2)

    def losses(self, params, x, y):
        """The loss of every seed."""
        return self.torch.nn.functional.softplus(-y * self.outputs(params, x)).mean(dim=1)

    def gradients(self, params, x, y):
        """The same, and the gradients of every parameter."""
        params = [p.detach().requires_grad_() for p in params]
        with self.torch.enable_grad():
            each = self.losses(params, x, y)
            return each.detach(), self.torch.autograd.grad(each.sum(), params)

    def train(self, params, x, y, features):
        """Losses and alignments at the recording times, each with seeds first."""
        torch, job = self.torch, self.job
        params = [p.clone() for p in params]
        when = set(job["when"])
        losses, alignments = [], []

        def record(each):
            norms = params[0].norm(dim=2)[:, :, None] * features.norm(dim=2)[:, None]
            losses.append(each.cpu())
            alignments.append((torch.bmm(params[0], features.transpose(1, 2)) / norms).cpu())

        with torch.no_grad():
            for step in range(job["steps"]):
                each, grads = self.gradients(params, x, y)
                if step in when:
                    record(each)
                for p, g in zip(params, grads, strict=True):
                    p.sub_(g.sign() if job["rule"] == "sign" else g, alpha=job["rate"])
            record(self.losses(params, x, y))
        return losses, alignments

    def check(self, folder):
        """The same on the data in `folder`."""
        seeds = range(self.job["checked_seeds"])
        draws = [torch_common.read(self.torch, self.device, self.job, folder, seed) for seed in seeds]
        losses, alignments = self.train(*self.stack(draws))
        return {
            "loss": self.torch.stack(losses, dim=1).tolist(),
            "alignment": self.torch.stack(alignments, dim=1).tolist(),
        }


if __name__ == "__main__":
    sys.exit(serve(Peer))
