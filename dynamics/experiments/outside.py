"""Experiments in a file of the user's own: `FILE.py:NAME`; NAME is EXPERIMENT if it is left out."""

import dataclasses
import hashlib
import importlib.util
import re
import shlex
import sys
import traceback
import zlib
from pathlib import Path
from types import ModuleType

from dynamics.experiments.base import Experiment
from dynamics.study.claim import Claims
from dynamics.study.config import Config

_REFERENCE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>.*))?", re.DOTALL)
_loaded: dict[tuple[Path, str], ModuleType] = {}  # by file and content: an edited file is read anew


def is_reference(name: str) -> bool:
    """Whether a name is that of a file, and not of a built-in experiment."""
    return isinstance(name, str) and _REFERENCE.fullmatch(name) is not None


def load(reference: str, sha256: str | None = None) -> Experiment:
    """The experiment that `FILE.py:NAME` names; its `reference` holds the file's absolute path.

    Args:
      sha256: what the file must have for it to be run; None: the user has named it, and it is run.

    Raises: ValueError: no such file or content, an error in it, no such name, or not a sound Experiment.
    """
    found = _REFERENCE.fullmatch(reference)
    path, name = Path(found["file"]).expanduser(), found["name"] or "EXPERIMENT"
    if not path.is_file():
        raise ValueError(f"experiment {reference}: the file {path} does not exist")
    content = path.read_bytes()
    found_sha256 = hashlib.sha256(content).hexdigest()
    if sha256 is not None and (sha256 != found_sha256 or not path.is_absolute()):
        raise ValueError(
            f"the experiment is in {path}, which is not known to be the file that made this; "
            f"if you trust it, add --experiment {shlex.quote(reference)}"
        )
    path = path.resolve()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{path}: results name the file of their experiment, so it needs a name in UTF-8"
        ) from None
    module = _module(path, content, found_sha256)
    experiment = getattr(module, name, None)
    if experiment is None:
        there = ", ".join(n for n, value in vars(module).items() if isinstance(value, Experiment)) or "none"
        raise ValueError(f"{path} has no {name}; experiments in it: {there}")
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{name} in {path} must be an Experiment, got {type(experiment).__name__}")
    _check(experiment, f"{name} in {path}")
    return dataclasses.replace(experiment, reference=f"{path}:{name}", sha256=found_sha256)


def _module(path: Path, content: bytes, sha256: str) -> ModuleType:
    key = (path, sha256)
    if key in _loaded:
        return _loaded[key]
    name = f"dynamics_file_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    if str(path.parent) not in sys.path:  # for modules beside the file; last, so that it hides nothing
        sys.path.append(str(path.parent))
    try:
        # what was hashed is run, and no compiled file that lies beside it
        exec(spec.loader.source_to_code(content, str(path)), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or ["?"])[-1]
        what = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"{path}, line {line}: {type(error).__name__}: {what}") from error
    _loaded[key] = module
    return module


def _check(experiment: Experiment, where: str) -> None:
    if not re.fullmatch(r"[\w-]+", experiment.name):
        raise ValueError(
            f"{where}: name must be of letters, digits, - and _ (folders get it), got {experiment.name!r}"
        )
    if "small" not in experiment.presets:
        raise ValueError(f"{where}: presets must hold one called small, the default")
    for name, preset in experiment.presets.items():
        if not isinstance(preset, Config):
            kind = type(preset).__name__
            raise ValueError(f"{where}: preset {name} must be of a class made from study.Config, got {kind}")
        for field in dataclasses.fields(preset):
            if "about" not in field.metadata:
                raise ValueError(f"{where}: declare the field {field.name} by setting(default, about)")
    if not experiment.figures:
        raise ValueError(f"{where}: figures must hold at least one")
    if not isinstance(experiment.claims, Claims):
        kind = type(experiment.claims).__name__
        raise ValueError(f"{where}: claims must be study.Claims(runs), got {kind}")
