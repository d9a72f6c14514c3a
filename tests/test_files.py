"""Files with checksums: any damage is seen, and what is whole is read back."""

import contextlib
import json
import random

import numpy as np
import pytest

from dynamics.files import is_sealed, read_json, seal, write_json

CONTENTS = {"empty": b"", "short": b"abc", "blocks": bytes(range(256)) * 8200, "zeros": bytes(5000)}


@pytest.fixture(params=CONTENTS)
def sealed(request, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENTS[request.param])
    assert not is_sealed(path)
    seal(path, "here")
    return path


def believed(path, place="here"):
    try:
        return is_sealed(path, place)
    except ValueError:
        return False


def test_any_change_is_seen(sealed):
    whole, chance = sealed.read_bytes(), random.Random(0)
    assert believed(sealed)
    for place in ("there", "", "here "):
        assert not believed(sealed, place)
    for _ in range(60):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        sealed.write_bytes(content)
        assert not believed(sealed)
    for content in (whole[:-1], whole[1:], whole + b"\n", whole[:-40], b"\0" + whole, whole[:-100]):
        sealed.write_bytes(content)
        assert not believed(sealed)
    sealed.write_bytes(whole)
    assert believed(sealed)


def test_readers_pass_over_the_seal(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(3), b=np.zeros((0, 2)))
    seal(path)
    with np.load(path) as stored:
        assert stored["a"].tolist() == [0, 1, 2]
        assert stored["b"].shape == (0, 2)


CONTENT = {
    "text": "ä\x1b😀",
    "numbers": [1, 0.1, 1e300, float("inf")],
    "nested": {"x": None, "y": [True]},
    "": 3,
}


def test_json_is_read_back_and_any_other_content_is_seen(tmp_path):
    path = tmp_path / "about.json"
    write_json(path, CONTENT | {10: "ten", 9: (1, 2)})
    assert read_json(path) == (CONTENT | {"10": "ten", "9": [1, 2]}, True)
    whole = path.read_bytes()
    assert json.loads(whole)["numbers"] == CONTENT["numbers"]
    for i in range(len(whole)):
        content = bytearray(whole)
        content[i] ^= 1 << (i % 8)
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            found, verified = read_json(path)
            # white space, or the name of the checksum itself
            assert found == CONTENT | {"10": "ten", "9": [1, 2]} or not verified


@pytest.mark.parametrize("text", ["", "[1]", "3", "{", "[" * 100_000, '{"a": 1, "checksum": 3}', "\ud800"])
def test_what_is_no_json_of_ours_is_refused(tmp_path, text):
    path = tmp_path / "about.json"
    path.write_text(text, errors="surrogatepass")
    with pytest.raises(ValueError, match=r"about\.json is damaged"):
        read_json(path)


def test_json_without_a_checksum_is_not_verified(tmp_path):
    path = tmp_path / "about.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == ({"a": 1}, False)
