"""Numbers in sentences, and text for terminals."""

import unicodedata

import numpy as np
import pytest

from dynamics.words import as_integer, brief, counted, integer, listed, near, printable, quoted, whole


@pytest.mark.parametrize(("number", "words"), [(0, "0 seeds"), (1, "1 seed"), (1024, "1,024 seeds")])
def test_counted(number, words):
    assert counted(number, "seed") == words


def test_whole():
    assert whole("--seeds", "12", 1, 20) == 12
    for text in ("0", "21", "1.5", "many"):
        with pytest.raises(ValueError, match=f"--seeds must be an integer from 1 to 20, got '{text}'"):
            whole("--seeds", text, 1, 20)


def test_integer():
    for value in (5, np.int64(5), np.uint8(5), np.array(5)):
        assert integer("steps", value, 0) == integer("steps", value, 5, 5) == 5
        assert type(as_integer(value)) is int
    for value in (-1, True, np.True_, 5.0, "5", None, [5]):
        with pytest.raises(ValueError, match="steps must be an integer of at least 0, got"):
            integer("steps", value, 0)
    with pytest.raises(ValueError, match="root must be an integer from 0 to 7, got 8"):
        integer("root", 8, 0, 7)


def test_printable():
    assert printable("ä😀 a\tb\nc é 漢字") == "ä😀 a\tb\nc é 漢字"
    assert printable("\x1b[31m\x07\r\x00\x7f\x9b") == r"\x1b[31m\x07\r\x00\x7f\x9b"
    assert printable("a\u202eb\u2066\u200f\u2028\udcff") == r"a\u202eb\u2066\u200f\u2028\udcff"
    every = set(printable("".join(map(chr, range(0xE000)))))
    assert {one for one in every if unicodedata.category(one) in ("Cc", "Cs")} == {"\n", "\t"}
    assert not {one for one in every if unicodedata.bidirectional(one) in TURNING}


TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_listed():
    assert listed([]) == ""
    assert listed((3, 8)) == "3, 8"
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed(range(10**9), 2) == "0, 1, ..."


def test_near():
    assert near("dimm", ["dim", "noise"]) == "; did you mean dim?"
    assert near("q", ["dim", "noise"]) == near("q", []) == ""


def test_quoted():
    assert quoted(np.zeros((2, 1))) == "array([[0.],       [0.]])"
    assert quoted("x\n") == r"'x\n'"
    assert quoted("n" * 58) == "'" + "n" * 58 + "'"
    assert quoted("n" * 100_000) == "'" + "n" * 56 + "..."
    assert quoted(10**5000) == "an integer of thousands of digits"
    assert len(quoted(list(range(1000)))) == 60


def test_brief():
    assert brief("a sentence\n  in three\r\nlines ") == "a sentence in three lines"
    assert brief(f"no {'n' * 400} here") == f"no {'n' * 60}... here"
    assert brief("\x1b[31mred\udcff\u00fc") == r"\x1b[31mred\udcff" "\u00fc"
    path = "/".join(["folder"] * 40)
    assert path in brief(f"{path} is a file")
    assert len(brief("word " * 10_000)) < 3000
