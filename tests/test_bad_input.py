"""Bad input of every kind: one sentence, exit code 2, nothing written, nothing compiled."""

import dataclasses
import importlib.util
import io
import os
import random
import shutil
import subprocess
import sys
import time
import typing
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest
import xarray as xr

from dynamics import cli, experiments, results, startup
from dynamics.cli import main, work
from dynamics.engine.progress import Progress
from dynamics.files import read_json, write_json, write_text
from dynamics.study.config import annotation, required

NAME = "feature_averaging"
EXPERIMENT = experiments.get(NAME)
Config = EXPERIMENT.Config
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# settings of a run that compiles in seconds
TINY = {
    "supervision": "binary",
    "dim": 8,
    "num_clusters": 2,
    "num_samples": 10,
    "num_test": 10,
    "num_points": 5,
    "width": 1,
    "steps": 2,
    "records": 3,
    "attack_steps": 0,
}
COMPILED = []
ROOT = Path(__file__).resolve().parents[1]


def _count(event, seconds, **kwargs):
    name = str(kwargs.get("fun_name"))
    # a constant that is given another dtype is no program
    if event == "/jax/core/compile/backend_compile_duration" and "convert_element_type" not in name:
        COMPILED.append(name)


jax.monitoring.register_event_duration_secs_listener(_count)


def flags(settings):
    """Settings as the command line writes them."""
    return [word for name, value in settings.items() for word in ("--" + name.replace("_", "-"), str(value))]


def snapshot(folder):
    """Everything below a folder: contents of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module", autouse=True)
def _untyped():
    """As users have it: without the test run's type checks, whose messages would come first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _same_precision():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A finished run, an interrupted one, and files that are no images."""
    folder = tmp_path_factory.mktemp("material")
    before = jax.config.jax_enable_x64
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(work, "draw", lambda *given: [folder / "overview.png"])
        assert main(["run", NAME, *flags(TINY), "--seeds", "1", "--out", "done"]) == 0

        def stop(self, step):
            if step == 1:
                raise KeyboardInterrupt

        patch.setattr(Progress, "update", stop)
        assert main(["run", NAME, *flags(TINY), "--seeds", "1", "--out", "stopped"]) == 130
    jax.config.update("jax_enable_x64", before)
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("mine")
    (folder / "empty").mkdir()
    (folder / "text").write_text("not images\n")
    idx = np.array([0x803, 60, 28, 28], ">i4").tobytes() + bytes(1000)
    (folder / "train-images-idx3-ubyte").write_bytes(idx)
    (folder / "train-labels-idx1-ubyte").write_bytes(np.array([0x801, 60], ">i4").tobytes() + bytes(60))
    np.savez(folder / "nan.npz", x=np.full((60, 4), np.nan), y=np.arange(60) % 2)
    np.savez(folder / "few.npz", x=np.zeros((6, 4)), y=np.arange(6) % 2)
    return folder


@pytest.fixture
def scene(material, tmp_path, monkeypatch):
    """A copy of the material as the working folder."""
    folder = tmp_path / "scene"
    shutil.copytree(material, folder)
    monkeypatch.chdir(folder)
    return folder


def refused(argv, folder, capsys, ours=True):
    """Run one command that must be refused without a trace; returns its sentence.

    `ours`: it quotes no words that may hold any.
    """
    before, compiled = snapshot(folder), len(COMPILED)
    capsys.readouterr()
    code = main(argv)
    lines = capsys.readouterr().err.splitlines()
    assert code == 2, argv
    assert len(lines) == 1, (argv, lines)
    assert lines[0].startswith("dynamics: ")
    assert "Traceback" not in lines[0]
    assert "Error" not in lines[0] or not ours
    assert snapshot(folder) == before
    assert COMPILED[compiled:] == []
    assert COMPILED  # the counter counts: the material was compiled
    return lines[0]


# --- every field


def numbers(limits):
    """The limits that are numbers, and not other fields."""
    return {side: bound for side, bound in limits.items() if not isinstance(bound, str)}


def wrong_texts(name):
    """Command-line words that the field must refuse, read off its type and limits."""
    kind, limits = required(annotation(Config, name)), numbers(FIELDS[name].metadata["limits"])
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        return [f"{flag}=maybe"]
    entry = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    if typing.get_origin(entry) is typing.Literal:
        words = ["nonsense", ""]
    elif entry is str:
        words = [""]
    else:
        words = ["x", "1e999", "nan", *(["1.5"] if entry is int else [])]
        step = 1 if entry is int else 0.5
        words += [
            str(entry(limits[side]) + sign * step)
            for side, sign in (("low", -1), ("high", 1))
            if side in limits
        ]
        words += [str(limits[side]) for side in ("above", "below") if side in limits]
    if entry is not kind and typing.get_origin(kind) is tuple:
        words = [f"1,{word}" for word in words]
    return [f"{flag}={word}" for word in words]


def wrong_values(name):
    """Python values that the field must refuse."""
    kind, limits = required(annotation(Config, name)), numbers(FIELDS[name].metadata["limits"])
    entry = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    if typing.get_origin(entry) is typing.Literal:
        values = ["nonsense", 7, None, True, np.array([1, 2])]
    else:
        values = {
            bool: [1, 0.0, "yes", None],
            str: ["", 3, None, b"mnist"],
            int: [1.5, "3", True, None, np.nan, 1j],
            float: ["1", True, None, np.nan, np.inf, -np.inf, 1j, 10**400],
        }[entry]
        values += [limits[side] + sign for side, sign in (("low", -1), ("high", 1)) if side in limits]
        values += [limits[side] for side in ("above", "below") if side in limits]
    if typing.get_origin(kind) is tuple:
        values = [(1, value) for value in values] + [3, "12", None]
    return values if kind is annotation(Config, name) else [value for value in values if value is not None]


FIELD_CASES = [(name, word) for name in FIELDS for word in wrong_texts(name)]
FIELD_VALUES = [(name, value) for name in FIELDS for value in wrong_values(name)]


def test_tables_cover_every_field():
    for table in (FIELD_CASES, FIELD_VALUES):
        assert {name for name, _ in table} == set(FIELDS)
    assert len(FIELD_CASES) > 80
    for name, field in FIELDS.items():  # a limit for every number
        entry = typing.get_args(annotation(Config, name)) or (annotation(Config, name),)
        assert field.metadata["limits"] or entry[0] not in (int, float), name


@pytest.mark.parametrize(("name", "word"), FIELD_CASES, ids=[word for _, word in FIELD_CASES])
def test_field_on_the_command_line(name, word, scene, capsys):
    sentence = refused(["run", NAME, word], scene, capsys)
    assert name in sentence or "--" + name.replace("_", "-") in sentence


@pytest.mark.parametrize(("name", "value"), FIELD_VALUES)
def test_field_in_python(name, value):
    with pytest.raises((ValueError, TypeError)) as caught:
        Config(**{name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what does not fit together

JOINT = [
    ({"num_clusters": 20, "dim": 10}, "num_clusters"),
    ({"num_positive": 10}, "num_positive"),
    ({"num_clusters": 4, "num_positive": 7}, "num_positive"),
    ({"num_clusters": 5, "correlation": -0.25}, "correlation"),
    ({"num_labels": 11}, "num_labels"),
    ({"num_labels": 1}, "num_labels"),
    ({"num_samples": 10, "batch_size": 11}, "batch_size"),
    ({"num_points": 1001}, "num_points"),
    ({"supervision": "binary", "readout": "sum_logit"}, "readout is for supervision"),
    ({"power": 2}, "power is for activation"),
    ({"mixing": 0.9}, "mixing is for start"),
    ({"start": "mixed"}, "start is for supervision"),
    ({"start": "mixed", "supervision": "fine", "num_labels": 5}, "start is for num_labels"),
]
OF_IMAGES = [
    ({"num_samples": 4500, "num_test": 501}, "num_samples"),
    ({"data": "digits", "num_samples": 1797}, "num_samples"),
    ({"num_labels": 5}, "num_labels"),
    ({"box": "0,1"}, "box is for the inputs of a data file"),
    ({"radii": ""}, "radii must not be empty"),
    ({"data": "no/such/path"}, "no/such/path does not exist"),
    ({"dim": 5}, "--dim; it is a setting of the presets small, early, paper"),
]


@pytest.mark.parametrize(("settings", "word"), JOINT)
def test_joint_constraint(settings, word, scene, capsys):
    sentence = refused(["run", NAME, *flags(settings)], scene, capsys)
    assert word in sentence
    with pytest.raises(ValueError, match=word) as caught:
        Config(**settings)
    assert "\n" not in str(caught.value)
    assert str(caught.value) in sentence


@pytest.mark.parametrize(("settings", "word"), OF_IMAGES)
def test_what_images_cannot_be(settings, word, scene, capsys):
    assert word in refused(["run", NAME, "--preset", "mnist", *flags(settings)], scene, capsys)


def test_normalising_adam(scene, capsys):
    sentence = refused(["run", NAME, "--normalize", "--descent", "adam"], scene, capsys)
    assert "normalize" in sentence
    with pytest.raises(ValueError, match="normalize"):
        Config(normalize=True, descent="adam")


# --- everything else: (words of the command, what the sentence must say, what is done to the scene before)


def only(folder, name):
    """The one file of this name, which may be a pattern; a new name is left as it is."""
    found = list(folder.glob(name))
    assert len(found) == 1 or "*" not in name, found
    return found[0] if found else folder / name


def truncated(name):
    def change(folder):
        path = only(folder, name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def written(name, text):
    return lambda folder: only(folder, name).write_text(text)


def foreign(name):
    return lambda folder: xr.Dataset({"x": ("t", [1.0])}).to_netcdf(folder / name, engine="h5netcdf")


def attributes(name, **attrs):
    def change(folder):
        with xr.open_dataset(folder / name, engine="h5netcdf") as opened:
            dataset = opened.load()
        for key, value in attrs.items():
            dataset.attrs.pop(key, None)
            if value is not None:
                dataset.attrs[key] = value
        results.save(dataset, folder / name)

    return change


def about(folder, **changes):
    path = folder / "stopped" / "run.json"
    write_json(path, read_json(path)[0] | changes)


def whole_images_alone(folder):
    (folder / "train-labels-idx1-ubyte").unlink()
    with (folder / "train-images-idx3-ubyte").open("ab") as file:
        file.write(bytes(60 * 28 * 28 - 1000))


def removed(name):
    return lambda folder: only(folder, name).unlink()


RUN, DONE, ARM = ["run", NAME], "done/result.nc", "stopped/checkpoint/binary/"
STATE, RECORD = ARM + "chunk-*/state.npz", ARM + "chunk-*/record-0000"
SHARED = [*RUN, "--distributed", "--out", "new"]
FEW = flags({"num_samples": 30, "num_test": 20, "num_points": 5, "batch_size": 0})
IMAGES = [*RUN, "--preset", "mnist"]
OTHER = [
    (["run", "feature_averagin"], "did you mean feature_averaging", None),
    (["run", "zzz"], "zzz", None),
    (["run"], "name of an experiment", None),
    (["run", "--seeds", "2"], "name of an experiment", None),
    (["frobnicate"], "frobnicate", None),
    (["--verbose"], "--verbose", None),
    (["list", "all"], "all", None),
    ([*RUN, "--stepz", "3"], "did you mean --steps?", None),
    ([*RUN, "--learning_rate", "3"], "did you mean --learning-rate?", None),
    ([*RUN, "--zzzzzz"], "--zzzzzz", None),
    ([*RUN, "--step", "3"], "--step", None),
    ([*RUN, "3"], "unknown argument 3", None),
    ([*RUN, "--steps"], "--steps", None),
    ([*RUN, "--preset", "big"], "preset must be one of small, early, paper, mnist, digits", None),
    ([*RUN, "--strategy", "pmap"], "strategy must be one of", None),
    ([*RUN, "--engine", "fast"], "--engine must be one of auto, direct, gram", None),
    ([*RUN, "--memory", "4TiB"], "--memory must be a size such as 4GiB", None),
    ([*RUN, "--memory", "lots"], "--memory", None),
    ([*RUN, "--memory", "0"], "--memory", None),
    ([*RUN, "--memory", "-1GB"], "--memory", None),
    ([*RUN, "--memory", "1e9"], "--memory", None),
    ([*RUN, "--memory", ""], "--memory", None),
    ([*RUN, "--memory", "9" * 400], "--memory", None),
    ([*RUN, "--memory", "1KiB", *flags(TINY), "--out", "new"], "memory", None),
    ([*RUN, "--distributed"], "--distributed needs --out DIR", None),
    ([*RUN, "--distributed", "--out", "full"], "--out full is not empty", None),
    ([*RUN, "--distributed", "--out", "text"], "--out text is a file", None),
    ([*RUN, "--coordinator", "localhost:3000"], "--coordinator needs --distributed", None),
    ([*RUN, "--process-id", "0"], "--process-id needs --distributed", None),
    ([*SHARED, "--coordinator", "localhost"], "--coordinator must be HOST:PORT", None),
    ([*SHARED, "--coordinator", "localhost:99999"], "--coordinator must be HOST:PORT", None),
    ([*SHARED, "--coordinator", ":80"], "--coordinator must be HOST:PORT", None),
    ([*SHARED, "--num-processes", "0"], "--num-processes", None),
    ([*SHARED, "--num-processes", "x"], "--num-processes", None),
    ([*SHARED, "--process-id", "-1"], "--process-id", None),
    ([*SHARED, "--num-processes", "2", "--process-id", "2"], "--process-id", None),
    (SHARED, "give --coordinator HOST:PORT, --num-processes and --process-id", None),
    ([*SHARED, "--coordinator", "localhost:3000"], "give --coordinator HOST:PORT, --num-processes", None),
    (["resume", "stopped", "--distributed"], "give --coordinator HOST:PORT", None),
    (["resume", "stopped", "--num-processes", "2"], "--num-processes needs --distributed", None),
    (["resume", "stopped", "--memory", "x"], "--memory", None),
    (["resume", "stopped", "--engine", "gram"], "unknown argument --engine", None),
    (["resume", "stopped"], "run.json is damaged", lambda f: about(f, memory="4GiB")),
    (["bench", "--nonsense"], "unknown argument --nonsense", None),
    (["check", NAME, "--engine", "fast"], "--engine must be one of", None),
    (["check", NAME, "--memory", "x"], "--memory", None),
    ([*RUN, "--seeds", "0"], "--seeds", None),
    ([*RUN, "--seeds", "-3"], "--seeds", None),
    ([*RUN, "--seeds", "2.5"], "--seeds", None),
    ([*RUN, "--seeds", "many"], "--seeds", None),
    ([*RUN, "--seeds", "99999999999999"], "--seeds", None),
    ([*RUN, "--first-seed", "-1"], "--first-seed", None),
    ([*RUN, "--first-seed", "x"], "--first-seed", None),
    ([*RUN, "--first-seed", "4294967290", "--seeds", "8"], "--first-seed", None),
    ([*RUN, "--out", "text"], "--out text is a file", None),
    ([*RUN, "--out", "full"], "--out full is not empty", None),
    ([*RUN, "--out", "done"], "resume the run in it", None),
    ([*RUN, "--out", "text/below"], "cannot be written to", None),
    ([*RUN, "--out", "/proc/no/where"], "cannot be written to", None),
    ([*RUN, "--out", "n" * 300], "too long", None),
    ([*IMAGES, "--data", "text", *FEW], "text has no known format", None),
    ([*IMAGES, "--data", "text", *FEW, "--out", "new/nested/folder"], "text has no known format", None),
    ([*IMAGES, "--data", "text", *FEW, "--out", "empty", "--checkpoint"], "text has no known format", None),
    ([*IMAGES, "--data", "train-images-idx3-ubyte", *FEW], "train-images-idx3-ubyte", None),
    ([*IMAGES, "--data", "train-images-idx3-ubyte", *FEW], "labels", lambda f: whole_images_alone(f)),
    ([*IMAGES, "--data", "nan.npz", *FEW], "nan.npz", None),
    ([*IMAGES, "--data", "few.npz", *FEW], "num_train", None),
    ([*IMAGES, "--data", "empty", *FEW], "empty", None),
    (["check", "nope"], "no experiment 'nope'", None),
    (["check"], "NAME", None),
    (["check", NAME, "--claims", "A99"], "no claim 'A99'", None),
    (["check", NAME, "--claims", ""], "no claim ''", None),
    (["check", NAME, "--claim", "A2-growth"], "did you mean --claims?", None),
    (["check", NAME, "--seeds", "0"], "--seeds", None),
    (["check", NAME, "--seeds", "x"], "--seeds", None),
    (["check", NAME, "--json", "no/such/folder.json"], "--json no/such/folder.json", None),
    (["check", NAME, "--json", "empty"], "--json empty is a folder", None),
    (["check", NAME, "--json", "/proc/verdicts.json"], "--json /proc/verdicts.json", None),
    (["plot"], "DIR", None),
    (["plot", "missing"], "missing does not exist", None),
    (["plot", "empty"], "result.nc does not exist", None),
    (["plot", "text"], "text is not a readable result", None),
    (["plot", "stopped"], "dynamics resume stopped", None),
    (["plot", "stopped/partial.nc"], "interrupted", None),
    (["plot", "done"], "result.nc is not a readable result", truncated(DONE)),
    (["plot", "done"], "result.nc is not a readable result", written(DONE, "")),
    (["plot", "other.nc"], "not a result of this library", foreign("other.nc")),
    (["plot", "done"], "not made by an experiment", attributes(DONE, experiment=None)),
    (["plot", "done"], "no experiment 'grokking'", attributes(DONE, experiment="grokking")),
    (["plot", "done"], "config", attributes(DONE, config=None)),
    (["plot", "done"], "config", attributes(DONE, config="{")),
    (["plot", "done"], "config", attributes(DONE, config="[3]")),
    (["plot", "done"], "no such field", attributes(DONE, config='{"colour": 3}')),
    (["plot", "done"], "run.json is damaged", written("done/run.json", "[]")),
    (["plot", "done"], "run.json is damaged", written("done/run.json", "{")),
    (["resume"], "folder of a run", None),
    (["resume", "missing"], "missing is not the folder of a run", None),
    (["resume", "empty"], "empty is not the folder of a run", None),
    (["resume", "text"], "text is not the folder of a run", None),
    (["resume", "stopped", "--steps", "9"], "steps: 2 there, 9 here", None),
    (["resume", "stopped", "--learning-rate", "1", "--noise", "2"], "noise: 1.0 there, 2.0 here", None),
    (["resume", "stopped", "--steps", "x"], "steps must be", None),
    (["resume", "stopped", "--seeds", "3"], "--seeds", None),
    (["resume", "stopped", "--stepz", "3"], "did you mean --steps?", None),
    (["resume", "stopped"], "run.json is damaged", truncated("stopped/run.json")),
    (["resume", "stopped"], "run.json is damaged", written("stopped/run.json", "null")),
    (["resume", "stopped"], "run.json is damaged", lambda f: about(f, config=[])),
    (["resume", "stopped"], "run.json is damaged", lambda f: about(f, x64="no")),
    (["resume", "stopped"], "run.json is damaged", lambda f: about(f, seeds=None)),
    (["resume", "stopped"], "seeds", lambda f: about(f, seeds=["a"])),
    (["resume", "stopped"], "no experiment", lambda f: about(f, experiment="grokking")),
    (["resume", "stopped"], "no such field", lambda f: about(f, config={"colour": 3})),
    (["resume", "stopped"], "learning_rate", lambda f: about(f, config={"learning_rate": 10**400})),
    (["resume", "stopped"], "seeds", lambda f: about(f, seeds=[5])),
    (["resume", "stopped"], "state.npz", truncated(STATE)),
    (["resume", "stopped"], "state.npz", written(STATE, "x")),
    (["resume", "stopped"], "record-00001.npz", truncated(RECORD + "1.npz")),
    (["resume", "stopped"], "record-00000.npz", removed(RECORD + "0.npz")),
    (["resume", "stopped"], "run.json is damaged", truncated(ARM + "run.json")),
    (["resume", "done"], "result.nc is not a readable result", truncated(DONE)),
    (["resume", "done"], "made by grokking", attributes(DONE, experiment="grokking")),
    (
        ["resume", "done"],
        "steps",
        lambda f: shutil.copy(f / "stopped/run.json", f / "done") and about_done(f),
    ),
]


def about_done(folder):
    path = folder / "done" / "run.json"
    values, _ = read_json(path)
    values["config"]["steps"] = 7
    write_json(path, values)


@pytest.mark.parametrize(("argv", "words", "prepare"), OTHER, ids=[" ".join(argv)[:60] for argv, *_ in OTHER])
def test_command(argv, words, prepare, scene, capsys):
    if prepare is not None:
        prepare(scene)
    assert words in refused(argv, scene, capsys)


def test_there_are_enough_cases():
    assert len(FIELD_CASES) + len(JOINT) + len(OTHER) > 150


def test_a_checkpoint_of_another_run_is_left_alone(scene, capsys):
    """A result in a folder that another experiment's checkpoint shares must not cost that checkpoint."""
    shutil.copytree("stopped/checkpoint", "done/checkpoint")
    attributes(DONE, experiment="grokking")(scene)
    assert "grokking" in refused(["resume", "done"], scene, capsys)


class TestPython:
    """The same refusals from Python."""

    @pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], [-1], [2**32], ["a"], "ab", 1.5, None, True, [0.5]])
    @pytest.mark.parametrize("method", ["run", "check"])
    def test_seeds(self, method, seeds):
        compiled = len(COMPILED)
        with pytest.raises((ValueError, TypeError), match="seeds") as caught:
            getattr(EXPERIMENT, method)(seeds=seeds)
        assert "\n" not in str(caught.value)
        assert COMPILED[compiled:] == []

    def test_config_of_another_kind(self):
        with pytest.raises(TypeError, match="Clusters or Images"):
            EXPERIMENT.run({"steps": 3})

    def test_strategy(self):
        with pytest.raises(ValueError, match="strategy"):
            EXPERIMENT.run(Config(**TINY), strategy="pmap")

    def test_unknown_claim(self):
        with pytest.raises(ValueError, match="no claim 'A99'"):
            EXPERIMENT.check(claims=["A2-growth", "A99"])

    def test_unknown_experiment(self):
        with pytest.raises(ValueError, match="did you mean feature_averaging"):
            experiments.get("feature-averaging")

    def test_unknown_field(self):
        with pytest.raises(TypeError, match="colour"):
            Config(colour=3)
        with pytest.raises(ValueError, match="colour"):
            Config.from_dict({"colour": 3})
        with pytest.raises(ValueError, match="mapping"):
            Config.from_dict([3])

    def test_foreign_dataset(self):
        dataset = xr.Dataset(attrs={"experiment": "grokking"})
        for use in (EXPERIMENT.plot, EXPERIMENT.judge, EXPERIMENT.config_of):
            with pytest.raises(ValueError, match="made by grokking"):
                use(dataset)


# --- what is generated


@pytest.fixture(scope="module")
def generated():
    """All lines, in an order of their own."""
    spec = importlib.util.spec_from_file_location("bad_lines", ROOT / "tests" / "reference" / "bad_lines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = list(module.lines({name: experiments.get(name) for name in experiments.names()}))
    random.Random(0).shuffle(found)
    return module, found


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_generated_lines(count, generated, material, tmp_path, monkeypatch, capsys):
    module, lines = generated
    assert len(lines) > 10 * count
    module.scene(tmp_path)
    monkeypatch.chdir(tmp_path)
    for argv in lines[-count:] if count == 100 else lines[:count]:
        begun = time.process_time()
        sentence = refused(argv, tmp_path, capsys, ours=False)
        assert time.process_time() - begun < 3, argv
        assert len(sentence) < 3500, argv
        assert sentence.isprintable(), argv


# --- processes of their own


def process(argv, *, before="", after="", **environment):
    """Run one command by a shell, with what comes before and after it; returns the finished process."""
    ours = ("JAX_", "XLA_", "PYTHONIO", "DYNAMICS_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [os.fsencode(sys.executable), b"-m", b"dynamics", *map(os.fsencode, argv)]
    line = b" ".join([before.encode(), *(b"'" + word + b"'" for word in command), after.encode()])
    there = {"PYTHONPATH": str(ROOT), "DYNAMICS_CACHE": os.environ["DYNAMICS_CACHE"]}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, timeout=300, check=False, env=clean | there | environment
    )


def test_in_a_process_of_its_own(scene):
    before = snapshot(scene)
    done = process([*IMAGES, "--data", "text", *FEW, "--out", "new"])
    assert done.returncode == 2
    assert done.stderr.startswith(b"dynamics: ")
    assert done.stderr.count(b"\n") == 1
    assert snapshot(scene) == before


ENVIRONMENT = [
    ({"JAX_PLATFORMS": "cuda"}, ["check", NAME, "--seeds", "1"], "JAX_PLATFORMS=cuda"),
    ({"JAX_PLATFORMS": "abacus"}, ["run", NAME], "JAX_PLATFORMS=abacus"),
    ({"JAX_PLATFORM_NAME": "abacus"}, ["resume", "stopped"], "JAX_PLATFORM_NAME=abacus"),
    ({"XLA_FLAGS": "--xla_force_host_platform_device_count=0"}, ["bench"], "it must be at least 1"),
    ({"XLA_FLAGS": "--xla_force_host_platform_device_count=x"}, ["run", NAME], "XLA_FLAGS="),
    ({"XLA_FLAGS": "--nonsense"}, ["sweep", NAME, "--vary", "noise=1,2"], "Unknown flag"),
    ({"XLA_FLAGS": "nonsense"}, ["figures", NAME], "Could not open file"),
    ({"JAX_ENABLE_X64": "maybe"}, ["plot", "done"], "JAX_ENABLE_X64"),
    ({"JAX_DEFAULT_MATMUL_PRECISION": "low"}, ["report", "done"], "jax_default_matmul_precision"),
]


@pytest.mark.parametrize(("environment", "argv", "words"), ENVIRONMENT, ids=[str(e) for e, *_ in ENVIRONMENT])
def test_environment_in_which_jax_does_not_start(environment, argv, words, scene):
    before = snapshot(scene)
    done = process(argv, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()
    assert snapshot(scene) == before


def test_in_python_too(monkeypatch):
    monkeypatch.setattr(startup, "_started", False)
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")

    def devices():
        raise RuntimeError("no backend\nof that name")

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(ValueError, match=r"JAX does not start with JAX_PLATFORMS=abacus.*: no backend"):
        EXPERIMENT.run(Config(**TINY), seeds=1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count addresses so")
@pytest.mark.parametrize("argv", [["run", NAME, "--out", "new"], ["check", NAME], ["plot", "done"]])
def test_too_few_addresses(argv, scene):
    """`ulimit -v`, in KiB."""
    before = snapshot(scene)
    done = process(argv, before="ulimit -v 1000000;")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"0.95 GiB of addresses" in done.stderr
    assert snapshot(scene) == before


@pytest.mark.exhaustive
def test_as_many_addresses_as_asked_for(scene):
    needed = startup.ADDRESSES + startup.ADDRESSES_A_CORE * startup.num_cores()
    argv = ["run", NAME, *flags(TINY), "--seeds", "1", "--out", "new"]
    limit = f"ulimit -v {needed // 1024 + 1};"
    done = process(argv, before=limit, DYNAMICS_CACHE="off")
    assert done.returncode == 0, done.stderr
    # what one run needs is held against what is left of them
    done = process([*argv[:-1], "more", "--num-samples", "200000", "--dim", "1000"], before=limit)
    assert done.returncode == 2
    assert b"memory limit" in done.stderr
    assert not (scene / "more").exists()


@pytest.mark.parametrize(
    ("argv", "after", "code", "lines"),
    [
        (["nope"], "2>/dev/full", 2, 0),
        (["nope"], "2>&-", 2, 0),
        (["nope"], ">&-", 2, 1),
        (["nope"], "<&- >&- 2>&-", 2, 0),
        (["list"], ">/dev/full", 2, 1),
        (["--help"], ">/dev/full", 2, 1),
        (["run", "--help"], ">/dev/full", 2, 1),
        (["list"], ">&-", 0, 0),
        (["list"], "| true; exit ${PIPESTATUS[0]}", 0, 0),
    ],
)
def test_streams_that_are_full_or_closed(argv, after, code, lines):
    done = process(argv, after=after)
    assert done.returncode == code
    assert done.stderr.count(b"\n") == lines
    assert b"Traceback" not in done.stderr


def test_stdout_spells_what_it_cannot(monkeypatch):
    bytes_ = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_, encoding="cp1252"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict"))
    cli._open_streams()
    print("x\U0001f600", Path("x\udcff"), flush=True)
    print("x\U0001f600", file=sys.stderr)
    assert bytes_.getvalue() == b"x\\U0001f600 x\\udcff\n"
    sys.stderr.close()
    print("nobody hears", file=sys.stderr, flush=True)


def test_texts_that_utf8_cannot_spell(tmp_path):
    write_text(tmp_path / "page", "g\u00fcnstig x\udcff\n")
    assert (tmp_path / "page").read_bytes() == b"g\xc3\xbcnstig x\\udcff\n"


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["x\udcff", "x\U0001f600"])
def test_folders_that_stdout_cannot_spell(name, scene):
    """A run's folder named by an emoji where stdout is cp1252, or by a byte that is no UTF-8."""
    shutil.copytree("done", name)
    path = Path(name)
    values, _ = read_json(path / "run.json")
    write_json(path / "run.json", values | {"command": f"dynamics run --out {name}"})
    done = process(["report", name], PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("cp1252").startswith(name.encode("ascii", "backslashreplace").decode())
    assert done.stderr == b""
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert f"dynamics run --out {shown}" in (path / "report.html").read_text(encoding="utf-8")
