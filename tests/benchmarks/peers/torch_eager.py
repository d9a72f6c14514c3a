"""A training loop as a paper's repository has it: an nn.Module, autograd, SGD, one seed after another."""

import sys

import torch_common

from dynamics.benchmark.serve import Clock, serve


class Peer:
    """The loop for one job."""

    def __init__(self, job):
        self.torch, self.device, self.about = torch_common.start(job)
        self.job = job
        self.network = networks(self.torch, job)

    def go(self):
        """All seeds, one after another."""
        clock = Clock()
        for seed in range(self.job["seeds"]):
            x, y, features, params = torch_common.draw(self.torch, self.device, self.job, seed)
            torch_common.wait(self.torch, self.device)
            clock.training(lambda x=x, y=y, f=features, p=params: self.train(p, x, y, f))
        return clock.times()

    def train(self, params, x, y, features):
        """Losses and alignments at the recording times."""
        torch, job = self.torch, self.job
        model = self.network(params)
        optimiser = torch.optim.SGD(model.parameters(), lr=job["rate"])
        when = set(job["when"])
        losses, alignments = [], []

        def record(loss):
            W = model.W.detach()
            norms = W.norm(dim=1)[:, None] * features.norm(dim=1)
            losses.append(loss.item())
            alignments.append((W @ features.T / norms).cpu().numpy())

        def criterion():
            return torch.nn.functional.softplus(-y * model(x)).mean()

        for step in range(job["steps"]):
            optimiser.zero_grad()
            loss = criterion()
            if step in when:
                record(loss)
            loss.backward()
            if job["rule"] == "sign":
                for p in model.parameters():
                    p.grad.sign_()
            optimiser.step()
        with torch.no_grad():
            record(criterion())
        return losses, alignments

    def check(self, folder):
        """The same on the data in `folder`."""
        found = {"loss": [], "alignment": []}
        for seed in range(self.job["checked_seeds"]):
            x, y, features, params = torch_common.read(self.torch, self.device, self.job, folder, seed)
            losses, alignments = self.train(params, x, y, features)
            found["loss"].append(losses)
            found["alignment"].append([cosines.tolist() for cosines in alignments])
        return found


def networks(torch, job):
    """The job's network, as a class that takes the initial parameters."""

    class TwoLayer(torch.nn.Module):
        def __init__(self, params):
            super().__init__()
            self.W, self.b = (torch.nn.Parameter(p.clone()) for p in params)
            half = torch.ones(job["width"], device=self.W.device) / job["width"]
            self.register_buffer("a", torch.cat([half, -half]))

        def forward(self, x):
            return torch.relu(torch.nn.functional.linear(x, self.W, self.b)) @ self.a

    class Patch(torch.nn.Module):
        def __init__(self, params):
            super().__init__()
            self.W = torch.nn.Parameter(params[0].clone())

        def forward(self, x):
            return torch.nn.functional.linear(x, self.W).pow(job["data"]["power"]).sum(dim=(1, 2))

    return TwoLayer if job["model"] == "two_layer" else Patch


if __name__ == "__main__":
    sys.exit(serve(Peer))
