"""Numbers in sentences."""

import pytest

from dynamics.words import counted, whole


@pytest.mark.parametrize(("number", "words"), [(0, "0 seeds"), (1, "1 seed"), (1024, "1,024 seeds")])
def test_counted(number, words):
    assert counted(number, "seed") == words


def test_whole():
    assert whole("--seeds", "12", 1, 20) == 12
    for text in ("0", "21", "1.5", "many"):
        with pytest.raises(ValueError, match=f"--seeds must be an integer from 1 to 20, got '{text}'"):
            whole("--seeds", text, 1, 20)
