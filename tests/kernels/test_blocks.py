"""Block by block is the same matrix, within the memory asked for."""

import jax.numpy as jnp
import numpy as np
import pytest

from kernels import blocks
from kernels.closed_form import deep


def ntk(x, z=None):
    return deep(x, z, 2).ntk


@pytest.mark.parametrize("side", [1, 7, 30, 64])
@pytest.mark.parametrize("between", [False, True])
def test_same_as_the_whole(monkeypatch, side, between):
    monkeypatch.setattr(blocks, "BLOCK", side)
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(30, 4)), rng.normal(size=(11, 4)) if between else None
    found = blocks.gram(ntk, x, z)
    np.testing.assert_allclose(found, ntk(jnp.asarray(x), None if z is None else jnp.asarray(z)), rtol=1e-12)
    if z is None:
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(found.diagonal(), np.diag(ntk(jnp.asarray(x))), rtol=1e-14)


@pytest.mark.exhaustive
def test_a_limit_makes_blocks_smaller():
    seen = []

    def watched(x, z=None):
        seen.append((len(x), len(x if z is None else z)))
        return ntk(x, z)

    x = np.random.default_rng(0).normal(size=(40, 3))
    beside = blocks.INTERMEDIATE * 8 * 10 * 10
    found = blocks.gram(watched, x, limit=40 * 40 * 8 + x.nbytes + beside)
    assert max(max(shape) for shape in seen) == 10
    np.testing.assert_allclose(found, ntk(jnp.asarray(x)), rtol=1e-12)


def test_a_limit_below_the_result_is_refused(untyped):
    with pytest.raises(ValueError, match="the limit of 100 is too low"):
        blocks.gram(ntk, np.ones((40, 3)), limit=100)
    with pytest.raises(ValueError, match="x must have shape"):
        blocks.gram(ntk, np.ones(3))


@pytest.mark.exhaustive
def test_integer_points_have_the_kernel_of_the_same_numbers(untyped):
    x = np.random.default_rng(0).choice([-1, 1], size=(9, 5))
    found = blocks.gram(ntk, x)
    np.testing.assert_allclose(found, blocks.gram(ntk, x.astype(float)), rtol=1e-6)
    assert np.issubdtype(found.dtype, np.floating)
    item = found.dtype.itemsize
    with pytest.raises(ValueError, match=f"a block beside them at least {blocks.INTERMEDIATE * item}:"):
        blocks.gram(ntk, x, limit=100)
