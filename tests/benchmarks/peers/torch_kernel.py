"""The NTK of a two-layer ReLU network as its formula reads, in torch."""

import sys

from torch_common import start, wait

from dynamics.benchmark.serve import Clock, serve


class Peer:
    """The formula for one job."""

    def __init__(self, job):
        self.torch, self.device, self.about = start(job)
        self.job = job

    def kernel(self, x):
        """All of it, on the host."""
        torch = self.torch
        with torch.no_grad():
            norms = torch.linalg.norm(x, dim=1)
            product, inner = torch.outer(norms, norms), x @ x.T
            theta = torch.arccos(torch.clamp(inner / product, -1, 1))
            found = inner * (torch.pi - theta) / torch.pi + product * torch.sin(theta) / (2 * torch.pi)
        return found.cpu().numpy()

    def go(self):
        """Points and kernel of every seed."""
        clock = Clock()
        for seed in range(self.job["seeds"]):
            generator = self.torch.Generator(self.device).manual_seed(seed)
            shape = (self.job["samples"], self.job["dim"])
            x = self.torch.randn(*shape, generator=generator, device=self.device)
            wait(self.torch, self.device)
            clock.training(lambda x=x: self.kernel(x))
        return clock.times()

    def check(self, folder):
        """The first rows, of the points in `folder`."""
        import numpy as np

        found = []
        for seed in range(self.job["checked_seeds"]):
            x = self.torch.as_tensor(np.load(f"{folder}/x-{seed}.npy"), device=self.device)
            found.append(self.kernel(x)[:50].tolist())
        return {"kernel": found}


if __name__ == "__main__":
    sys.exit(serve(Peer))
