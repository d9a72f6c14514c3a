"""Neurons on their way through feature space: where they are drawn, and the GIF that is written."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from dynamics.draw import animations

pytestmark = pytest.mark.usefixtures("untyped")
TIMES = 5


def followed(arms=False):
    """Two neurons that go from nowhere to feature 1, and to the middle of all three of them."""
    ends = np.asarray([[1.0, 0, 0], [3**-0.5] * 3])
    alignment = np.linspace(0, 1, TIMES)[:, None, None] * ends[None]
    data = {
        "alignment": (("seed", "step", "neuron", "feature"), alignment[None]),
        "own": (("seed", "neuron", "feature"), (ends > 0)[None].astype(float)),
    }
    dataset = xr.Dataset(data, {"seed": [3], "step": np.arange(TIMES) * 10})
    return dataset.expand_dims(arm=["a", "b"]) if arms else dataset


def test_a_neuron_of_one_feature_sits_on_it_and_an_average_in_the_middle():
    places = animations.plane(4)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)
    assert len(np.unique(places.round(6), axis=0)) == 4
    for j in range(4):
        np.testing.assert_allclose(animations.positions(np.eye(4)[j]), places[j], atol=1e-15)
        np.testing.assert_allclose(animations.positions(-np.eye(4)[j]), -places[j], atol=1e-15)
    pair = np.asarray([0.5**0.5, 0.5**0.5, 0, 0])
    np.testing.assert_allclose(animations.positions(pair), (places[0] + places[1]) / 2, atol=1e-15)


def test_frames_go_from_beginning_to_end_and_linger_where_much_moves():
    path = np.zeros((11, 1, 2))
    path[1:] = 1.0  # all of it in the first step
    times = animations.frames(path)
    assert (times[0], times[-1]) == (0, 10)
    assert (np.diff(times) >= 0).all()
    assert np.mean(times <= 1) == pytest.approx(0.55, abs=0.03)  # half by distance, half by time
    still = animations.frames(np.zeros((11, 1, 2)))
    np.testing.assert_allclose(np.diff(still), np.diff(still)[0])


@pytest.mark.parametrize("arms", [False, True])
def test_writes_a_small_gif(tmp_path, arms, monkeypatch):
    monkeypatch.setattr(animations, "FRAMES", 6)
    monkeypatch.setattr(animations, "HELD", 2)
    path = animations.neurons(followed(arms), tmp_path / "neurons.gif")
    assert [each.name for each in tmp_path.iterdir()] == ["neurons.gif"]
    assert path.stat().st_size < 1_000_000
    with Image.open(path) as film:
        assert film.n_frames >= 6
        first = np.asarray(film.convert("RGB"), int)
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"), int)
    assert np.abs(first - last).max() > 100  # something moved
    assert (first.shape[1] > 400) == arms


def test_arms_have_the_titles_they_are_given():
    arms = animations._arms(followed(True).isel(seed=0), {"a": "first"})
    assert list(arms) == ["first", "arm: b"]


def test_what_cannot_be_followed_is_refused(tmp_path):
    for dataset, words in (
        (followed().drop_vars("own"), "not in this result"),
        (followed().isel(step=[0]), "two steps or more"),
        (followed(True).expand_dims(noise=[1.0]), "choose one of each"),
    ):
        with pytest.raises(ValueError, match=words):
            animations.neurons(dataset, tmp_path / "x.gif")
    with pytest.raises(ValueError, match="seed 5 is not in this result; there are 3"):
        animations.neurons(followed(), tmp_path / "x.gif", seed=5)
    assert not list(tmp_path.iterdir())
