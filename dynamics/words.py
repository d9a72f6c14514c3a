"""Numbers and quotations in sentences, numbers in options and arguments, and text for a terminal."""

import itertools
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

MOST_SEEDS = 2**20
MOST_QUOTED = 60

# control characters but newline and tab, what turns the direction of text or its lines, lone surrogates
_UNSAFE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, what: str) -> str:
    """A number of things: "1 seed", "1,024 seeds"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """Text from a file as a terminal may be given it: `\\x1b` in letters for an escape character."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quoted(value: object) -> str:
    """A value as a sentence quotes it: its `repr`, without NumPy's types; 60 characters are enough."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    try:
        text = repr(value).replace("\n", "")
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED - 3]}..."


def brief(sentence: str) -> str:
    """A sentence on one line that a terminal may show, its words no longer than anybody would read."""
    words = [word if len(word) <= 300 else f"{word[:MOST_QUOTED]}..." for word in sentence.split()]
    text = " ".join(words)
    text = text if len(text) <= 3000 else f"{text[:2000]} ... {text[-200:]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def whole(name: str, text: str, low: int, high: int) -> int:
    """An integer from `low` to `high`.

    Raises: ValueError: anything else.
    """
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {quoted(text)}")
    return number


def as_integer(value: Any) -> int | None:
    """A value of any integer type; None if it is of another, bools among them."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An argument that is an integer from `low` to `high`.

    Raises: ValueError: anything else.
    """
    number = as_integer(value)
    if number is None or number < low or (high is not None and number > high):
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {allowed}, got {quoted(value)}")
    return number


def near(name: object, names: Iterable[str]) -> str:
    """The end of a sentence about a name that there is not: the one that is most like it, if one is."""
    import difflib

    found = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def no_field(kind: str, name: str, fields: Sequence[str]) -> str:
    """The sentence about a field that there is not: the nearest one that there is, or all."""
    return f"{kind} has no field {name!r}{near(name, fields) or ': its fields are ' + ', '.join(fields)}"


def listed(values: Iterable[object], most: int = 10) -> str:
    """The first few of some values: "0, 1, 2", and "..." for the rest."""
    shown = [str(value) for value in itertools.islice(values, most + 1)]
    return ", ".join(shown[:most] + ["..."] * (len(shown) > most))
