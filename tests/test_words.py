"""Numbers in sentences."""

import pytest

from dynamics.words import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 seeds"), (1, "1 seed"), (1024, "1,024 seeds")])
def test_counted(number, words):
    assert counted(number, "seed") == words
