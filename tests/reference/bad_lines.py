"""Command lines that no run can come of, made from the configs themselves and from the forms of commands.

Numbers without an upper end are left out: large ones of these are refused for want of memory, if at all.
"""

import dataclasses
import typing

LONG = "n" * 100_000
ODD = (
    "",
    "x",
    "1 2",
    "one",
    "\u2167",
    "\u00bd",
    "1;ls",
    "$(ls)",
    "\x1b[31m1",
    "1\n2\n",
    "\U0001f600",
    "\udcff",
)
ODD = (*ODD, LONG)
NO_FLOAT = (*ODD, "nan", "inf", "-inf", "1e999", "1e", "0x1p3", "1__0", "--1", "1,5")
NO_INTEGER = (*NO_FLOAT, "1.5", "1e3", "0x10", "7" * 100_000)
NO_RANGE = ("1:2", "1:2:1", "1:2:x", "nan:1:3", "1:inf:3", "0:1:3:log", "1:2:3:lin", "1:2:3:log:4", ":::")
NO_RANGE = (*NO_RANGE, "1e308:-1e308:3", "1:2:1000000")
NO_FORMULA = (
    *("1e400", "1e308*10", "exp(1e9)", "2**99999999", "9**9**9", "(-1)**0.5", "1/0", "0/0", "1//0", "log(0)"),
    *("sqrt(-1)", "round(7,-999999999)", "round(7,1e5)", "round(1,2,3)", "max()", "min(3)", "max(*[1])"),
    *("1e308*10-1e308*10", "factorial(5)", "1j", "True", "'a'*9", "[1]*10**9", "(1", "1 if 1 else 2"),
    *("lambda: 1", "nope", "steps.real", "steps<<400", "1or(2)", "1;2", "\uff11\uff10", "", "\x00"),
    *("-" * 2000 + "1", "1+" * 1500 + "1", "(" * 250 + "1" + ")" * 40, "max(1," * 40 + "1"),
    *("9" * 290, "9" * 5000, LONG),
)


def field_words(kind, limits):
    """Words that a field of this type and range must refuse."""
    if kind is bool:
        return ["maybe", "1", "", LONG]
    entry = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    if typing.get_origin(entry) is typing.Literal:
        options = [str(option) for option in typing.get_args(entry)]
        words = ["nonsense", f"{options[0]} ", f"{options[0]}s", options[0].swapcase(), "0", *ODD]
        words = [word for word in words if word not in options]
    elif entry is str:
        words = [""]
    else:
        words = list(NO_INTEGER if entry is int else NO_FLOAT)
        step = 1 if entry is int else 0.5
        words += [
            str(entry(limits[s]) + sign * step) for s, sign in (("low", -1), ("high", 1)) if s in limits
        ]
        words += [str(limits[side]) for side in ("above", "below") if side in limits]
    if entry is kind:
        return words
    # in a list, "" is no entry and a comma parts two
    return [f"{word},{word}" for word in words if word and "," not in word]


def of_fields(name, experiment):
    """`run` and `sweep` with one field given a word that it must refuse."""
    from dynamics.study.config import annotation, required

    for field in dataclasses.fields(experiment.Config):
        declared, flag = annotation(experiment.Config, field.name), "--" + field.name.replace("_", "-")
        kind = required(declared)
        limits = {s: bound for s, bound in field.metadata["limits"].items() if not isinstance(bound, str)}
        for word in field_words(kind, limits):
            if kind is not declared and word.lower() == "none":  # which is a value of it
                continue
            yield ["run", name, f"{flag}={word}"]
            if word == word.strip() != "" and "," not in word and kind is not bool:
                yield ["sweep", name, "--vary", f"{field.name}={word}"]
        entry = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
        for word in NO_RANGE if entry in (int, float) else ("1:2:3",):
            yield ["sweep", name, "--vary", f"{field.name}={word}"]
        yield ["run", name, flag] if kind is not bool else ["run", name, flag, "true"]
        yield ["run", name, f"--{field.name}z", "1"]
        yield ["sweep", name, "--vary", f"{field.name}z=1,2"]


def of_sweeps(name):
    """Sweeps whose axes or formulas make no sense, in any experiment that trains."""
    sweep = ["sweep", name, "--vary", "records=2,3"]
    for word in NO_FORMULA:
        yield [*sweep, "--tie", f"steps={word}"]
    yield from (
        ["sweep", name],
        ["sweep", name, "--vary"],
        ["sweep", name, "--vary", "records"],
        ["sweep", name, "--vary", "records="],
        ["sweep", name, "--vary", "=2,3"],
        ["sweep", name, "--vary", "records=2,2"],
        ["sweep", name, "--vary", LONG],
        [*sweep, "--vary", "records=4"],
        [*sweep, "--records", "4"],
        [*sweep, "--steps", "x", "--tie", "batch_size=2*steps"],
        [*sweep, "--tie", "records=5"],
        [*sweep, "--tie", "steps=steps"],
        [*sweep, "--tie", "steps=10", "--steps", "10"],
        [*sweep, "--tie", "steps=1", "--tie", "steps=2"],
        [*sweep, "--tie", "steps"],
        [*sweep, "--seeds", "0"],
        [*sweep, "--distributed"],
        [
            *sweep,
            "--quantity",
            "a",
            "--quantity",
            "b",
            "--quantity",
            "c",
            "--quantity",
            "d",
            "--quantity",
            "e",
        ],
        [*sweep, *["--vary", "steps=1,2", "--vary", "batch_size=0,1", "--vary", "shared_data=true,false"]],
    )


def of_options(name):
    """Options of `run` and `check` with words that make no sense."""
    for word in (*NO_INTEGER, "0", "-1", "1048577", "99999999999999999999"):
        yield ["run", name, f"--seeds={word}"]
        yield ["check", name, f"--seeds={word}"]
    for word in (*NO_INTEGER, "-1", "4294967296"):
        yield ["run", name, f"--first-seed={word}"]
    for word in (*ODD, "0", "-1", "4TiB", "1e9", "nan", "9" * 400, "\u0663GiB"):
        yield ["run", name, f"--memory={word}"]
        yield ["check", name, f"--memory={word}"]
    for word in ODD:
        yield ["run", name, f"--preset={word}"]
        yield ["run", name, f"--engine={word}"]
        yield ["run", name, f"--strategy={word}"]
        yield ["check", name, f"--claims={word}"]
    yield ["run", name, name]
    yield ["check", name, name]
    yield ["check", name, "--json"]
    yield ["run", name, "--coordinator", "localhost:1"]
    yield ["run", name, "--distributed"]


def of_commands():
    """Commands without an experiment, or with what is not there or is something else: see `scene`."""
    for word in ("nope", "--nope", "-x", "Run", LONG, "\U0001f600", "\udcff", "\x1b[31m", "run ", ""):
        yield [word]
        yield ["list", word] if word else ["run", word]
    for command in ("run", "sweep", "check"):
        yield [command]
        yield [command, "--nope"]
        for word in (
            *ODD,
            "feature-averaging",
            "../base",
            "base",
            "text",
            "empty",
            "text.py",
            "text.py:X",
            "no.py",
            ".py",
        ):
            yield [command, word, *(["--vary", "steps=1,2"] if command == "sweep" else [])]
    for command in ("resume", "plot", "report"):
        yield [command]
        for word in (
            *ODD[1:],
            "missing",
            "empty",
            "full",
            "text",
            "no.nc",
            "text/below",
            "image.nc",
            "half.nc",
            "bare.nc",
        ):
            yield [command, word]
        yield [command, "full", "full"]
        yield [command, "full", "--nope"]
        yield [command, "--nope"]
    yield ["report", "full", "--out"]
    yield ["report", "full", "--out", "empty"]
    yield ["report", "full", "--out", "no/such/page.html"]
    for word in (*ODD, "full"):
        yield ["figures", word]
        yield ["figures", "feature_averaging", word]
    yield ["figures", "--list", "nope"]
    yield ["figures", "feature_averaging", "--out", "text"]
    for option in ("--seeds", "--steps", "--repeats", "--dim", "--samples", "--curve"):
        for word in (*NO_INTEGER, "0", "-1", "99999999999"):
            if (option, word) != ("--curve", "1,5"):
                yield ["bench", f"{option}={word}"]
    yield ["bench", "--curve", "1,1"]
    for option in ("--settings", "--rows", "--against"):
        for word in ODD:
            yield ["bench", f"{option}={word}"]
    yield ["bench", "--json", "no/such/file"]
    yield ["bench", "--json", "empty"]
    yield ["bench", "--out", "text"]
    yield ["bench", "nope"]


def scene(folder):
    """Things that are not what a command wants, in an empty folder."""
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("mine")
    (folder / "text").write_text("no result\n")
    (folder / "text.py").write_text("X = 3\n")
    (folder / "image.nc").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (folder / "half.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (folder / "bare.nc").write_bytes(b"")


def lines(experiments):
    """All of them; `experiments`: by name."""
    for name, experiment in experiments.items():
        yield from of_fields(name, experiment)
        yield from of_sweeps(name)
        yield from of_options(name)
    yield from of_commands()
