"""Fields of images: a box belongs to files of one's own, and no package ships more than it has."""

import dataclasses

import pytest

from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.study.images import OnImages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images(OnImages):
    num_samples: int = 10


def test_shipped_images_have_their_box_and_files_may_have_one():
    assert Images(data="digits").box == ()
    assert Images(data="somewhere.npz", box=(0.0, 2.0)).box == (0.0, 2.0)
    with pytest.raises(ValueError, match="box"):
        Images(data="digits", box=(0.0, 2.0))
    with pytest.raises(ValueError, match="box"):
        Images(data="somewhere.npz", box=(2.0, 0.0))


@pytest.mark.parametrize("name", sorted(SHIPPED_COUNTS))
def test_as_many_images_as_are_shipped(name):
    images = Images(data=name)
    images.ask_for({"num_samples": SHIPPED_COUNTS[name] - 1, "num_test": 1})
    with pytest.raises(
        ValueError, match=rf"num_samples \+ num_test must be at most the {SHIPPED_COUNTS[name]}"
    ):
        images.ask_for({"num_samples": SHIPPED_COUNTS[name], "num_test": 1})


def test_of_a_file_any_number_is_asked():
    Images(data="somewhere.npz").ask_for({"num_samples": 10**6})
