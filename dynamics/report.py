"""A run or sweep as one HTML page that holds all it shows: nothing is loaded from elsewhere."""

import base64
import dataclasses
import io
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dynamics.experiments.base import Experiment
from dynamics.study.typeset import mathml
from dynamics.study.verdict import tally, told

if TYPE_CHECKING:
    import matplotlib.figure

MOST_SVG = 400_000  # bytes; a picture of more points is embedded as PNG


def page(
    experiment: Experiment,
    dataset: xr.Dataset,
    *,
    command: str = "",
    verdicts: Sequence[Mapping[str, Any]] | None = None,
    quantities: Sequence[str] = (),
) -> str:
    """The page, as HTML.

    Args:
      experiment: what made the Dataset.
      dataset: of a run or a sweep.
      command: the command line that made it, "" if it is not known.
      verdicts: as `Verdict.to_dict` writes them; None: judged anew. A sweep has none.
      quantities: of a sweep: what is shown.

    Raises: ValueError: a Dataset of another experiment, or a damaged one.
    """
    import jinja2

    config = experiment.config_of(dataset)
    shown = None
    if "sweep" in dataset.attrs:
        from dynamics.sweep.figures import Shown

        shown = Shown(experiment, dataset, quantities)
        figures, summary = shown.figures(), shown.ranges()
    else:
        figures = experiment.draw(dataset)
        summary = experiment.summary(dataset)
        verdicts = [v.to_dict() for v in experiment.judge(dataset)] if verdicts is None else verdicts
    template = files("dynamics").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        name=experiment.name,
        kind="a run" if shown is None else "a sweep",
        title=experiment.title,
        about=experiment.about,
        arxiv=experiment.arxiv,
        link=re.fullmatch(r"\d{4}\.\d{4,5}", experiment.arxiv) is not None,
        facts=_facts(dataset),
        axes=[] if shown is None else _axes(config, shown.grid),
        fits=[] if shown is None else [_fit(fit) for fit in shown.fits()],
        verdicts=None if shown is not None else [_verdict(verdict) for verdict in verdicts],
        tally="" if shown is not None else tally([v["holds"] for v in verdicts], " that this run can decide"),
        summary=summary,
        figures=[{"name": n, "source": embedded(f)} for n, f in figures.items() if f is not None],
        reproduce=_reproduce(experiment, dataset, command),
        preset=_preset(experiment, config),
        settings=_settings(experiment, config, () if shown is None else shown.grid.axes),
    )


def embedded(figure: "matplotlib.figure.Figure") -> str:
    """A figure as a data URI: SVG, which stays sharp when enlarged, or PNG if it has too many points."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "dynamics"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    kind = "svg+xml"
    if len(buffer.getvalue()) > MOST_SVG:
        buffer, kind = io.BytesIO(), "png"
        figure.savefig(buffer, format="png", dpi=160)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _facts(dataset: xr.Dataset) -> list[tuple[str, str]]:
    attrs = dataset.attrs
    seeds = dataset.seed.values.tolist()
    run = np.array_equal(seeds, np.arange(len(seeds)) + seeds[0])
    listed = f"{seeds[0]} to {seeds[-1]}" if run and len(seeds) > 1 else ", ".join(map(str, seeds))
    try:
        versions = json.loads(attrs.get("versions", "{}"))
    except ValueError:
        versions = {}
    facts = [
        ("seeds", f"{len(seeds)} ({listed})"),
        ("made", attrs.get("created", "")),
        ("wall time since last started", f"{float(attrs.get('wall_s', 0)):.1f} s"),
        ("device", attrs.get("device", "")),
        ("machine", attrs.get("machine", "")),
        (
            "precision",
            "float64" if attrs.get("float64") == "True" else "float32, unless the settings say other",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("git revision", attrs.get("git_revision", "")),
    ]
    return [(word, str(value)) for word, value in facts if value != ""]


def _axes(config, grid):
    meaning = {field.name: field.metadata["about"] for field in dataclasses.fields(config)}
    rows = [
        {"name": name, "value": ", ".join(map(_text, values)), "meaning": meaning[name]}
        for name, values in grid.axes.items()
    ]
    return rows + [{"name": n, "value": f"= {text}", "meaning": meaning[n]} for n, text in grid.ties.items()]


def _fit(fit):
    spread = "" if fit["interval"] is None else " [{:.3f}, {:.3f}]".format(*fit["interval"])
    return {
        "quantity": fit["quantity"],
        "along": fit["along"],
        "at": ", ".join(f"{name} = {_text(value)}" for name, value in fit["at"].items()),
        "exponent": f"{fit['exponent']:.3f}{spread}",
        "theorem": f"{fit['theorem']:g}",
        "law": "" if fit["law"] is None else f"{fit['law']:.3f}",
    }


def _verdict(verdict):
    own = {name: verdict[name] for name in ("id", "statement", "source", "holds")}
    return own | told(verdict) | {"formula": mathml(verdict.get("formula", ""))}


def _preset(experiment, config):
    """The name of the first preset of a config's setting; "": there is none."""
    return next((n for n, preset in experiment.presets.items() if type(preset) is type(config)), "")


def _settings(experiment, config, varied):
    usual = experiment.presets.get(_preset(experiment, config), type(config)())
    rows = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        text = "varied" if field.name in varied else _text(value)
        changed = field.name in varied or value != getattr(usual, field.name)
        rows.append(
            {"name": field.name, "value": text, "meaning": field.metadata["about"], "changed": changed}
        )
    return rows


def _text(value):
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _reproduce(experiment, dataset, command):
    revision = dataset.attrs.get("git_revision", "")
    lines = [f"git checkout {revision.removesuffix('+changes')}"] if revision else []
    if revision.endswith("+changes"):
        lines[0] += "   # with changes that were not committed"
    if revision:
        lines.append("pip install -c constraints.txt .")
    if experiment.reference:
        file, _, name = experiment.reference.rpartition(":")
        lines.append(f"# the experiment is {name} in {Path(file).name}, a file of the user's own")
    lines.append(command or "# made in Python: the settings are below")
    return "\n".join(lines)
