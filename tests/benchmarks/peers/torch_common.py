"""What both torch peers share: threads, device, and drawing the same kind of data with torch's generator."""

import os

from dynamics.benchmark.serve import Skip


def start(job):
    """torch with the job's threads, its device, and what to tell of both.

    Raises: Skip: torch is not installed, or does not see the accelerator that the other rows use.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read when torch is loaded
        os.environ[name] = str(job["threads"])
    try:
        import torch
    except ImportError:
        raise Skip("torch is not installed; pip install torch") from None
    torch.set_num_threads(job["threads"])
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    if job["platform"] == "cpu":
        device, kind = torch.device("cpu"), "cpu"
    elif torch.cuda.is_available():
        device, kind = torch.device("cuda"), f"{torch.cuda.get_device_name()} (cuda)"
    else:
        raise Skip(f"torch sees no accelerator, but the other rows use one ({job['platform']})")
    return torch, device, {"device": kind, "versions": {"torch": torch.__version__}}


def draw(torch, device, job, seed):
    """Inputs, labels, features and initial parameters of one seed."""
    generator = torch.Generator(device).manual_seed(seed)
    n, d, m, data = job["samples"], job["dim"], job["num_neurons"], job["data"]

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    W = job["init_scale"] * normal(m, d)
    if job["model"] == "two_layer":
        k = data["num_clusters"]
        features = torch.linalg.qr(normal(d, k))[0].T.contiguous() * d**0.5
        cluster = torch.randint(0, k, (n,), generator=generator, device=device)
        x = normal(n, d).add_(features[cluster])
        y = torch.where(cluster < (k + 1) // 2, 1.0, -1.0)
        return x, y, features, [W, job["init_scale"] * normal(m)]
    y = 1.0 - 2.0 * (torch.arange(n, device=device) % 2)
    features = torch.eye(1, d, device=device)
    noise = d**-0.509 * normal(n, data["num_patches"] - 1, d)
    noise[:, :, 0] = 0
    signal = (d**0.249 * y)[:, None, None] * features
    return torch.cat([signal, noise], dim=1), y, features, [W]


def read(torch, device, job, folder, seed):
    """The same from the files of a checked seed."""
    import numpy as np

    names = ["x", "y", "features", "W", *(["b"] if job["model"] == "two_layer" else [])]
    x, y, features, *params = (
        torch.as_tensor(np.load(f"{folder}/{name}-{seed}.npy"), device=device) for name in names
    )
    return x, y, features, params


def wait(torch, device):
    """Until the device has done what it was told: a clock that does not wait measures nothing."""
    if device.type == "cuda":
        torch.cuda.synchronize()
