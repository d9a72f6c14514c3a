"""The rows of the table: this library's own, and the peers that a clone of the repository has."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dynamics

OURS = {
    "direct/map": ("direct", "map"),
    "direct/vmap": ("direct", "vmap"),
    "gram/map": ("gram", "map"),
    "gram/vmap": ("gram", "vmap"),
    "auto": ("auto", "auto"),
}
PEERS = {
    "torch-eager": "torch_eager.py",
    "torch-func": "torch_func.py",
    "torch-bmm": "torch_bmm.py",
    "jax-loop": "jax_loop.py",
}
NAMES = (*PEERS, *OURS)
KERNEL_PEERS = {"torch-eager": "torch_kernel.py", "jax-loop": "jax_kernel.py"}


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
      name: what `--rows` calls it.
      script: what Python runs as its worker.
      job: what its worker is told beside the setting.
      peer: somebody else's way; its best number of threads counts.
    """

    name: str
    script: tuple[str, ...]
    job: dict[str, Any] = field(default_factory=dict)
    peer: bool = True

    def threads(self, cores: int, platform: str) -> list[int]:
        """Numbers of threads to try: ours takes what there is; on an accelerator threads do not matter."""
        return sorted({1, cores}) if self.peer and platform == "cpu" else [cores]


def peers_folder() -> Path | None:
    """Where the peers are; None for an installed package, which comes without them."""
    folder = Path(dynamics.__file__).resolve().parent.parent / "tests" / "benchmarks" / "peers"
    return folder if folder.is_dir() else None


def kernel_rows(names: tuple[str, ...]) -> list[Row]:
    """Those of these names that make a kernel: `auto`, and the peers that write its formula down."""
    folder, found = peers_folder(), []
    for name in names:
        if name == "auto":
            found.append(Row(name, ("-m", "dynamics.benchmark.kernel"), peer=False))
        elif name in KERNEL_PEERS and folder is not None:
            found.append(Row(name, (str(folder / KERNEL_PEERS[name]),)))
    return found


def rows(names: tuple[str, ...]) -> list[Row]:
    """The rows of these names, peers among them only where they are to be found."""
    folder, found = peers_folder(), []
    for name in names:
        if name in OURS:
            engine, strategy = OURS[name]
            job = {"engine": engine, "strategy": strategy}
            found.append(Row(name, ("-m", "dynamics.benchmark.ours"), job, peer=False))
        elif folder is not None:
            found.append(Row(name, (str(folder / PEERS[name]),)))
    return found
