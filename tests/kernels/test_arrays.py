"""Arrays as JAX can take them: of any byte order and size, with the numbers that they had."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attacks, blocks, closed_form, regression
from kernels.arrays import native

X = np.random.default_rng(0).normal(size=(4, 3))


@pytest.mark.parametrize("kind", [">f4", ">f8", np.longdouble, ">i8", np.float16])
def test_numbers_stay_what_they_are(kind):
    given = (8 * X).astype(kind)
    taken = native(given)
    assert taken.dtype.isnative
    assert taken.dtype.itemsize <= 8
    np.testing.assert_array_equal(taken.astype(float), given.astype(float))
    jnp.asarray(taken)


@pytest.mark.parametrize("kind", [np.int64, ">i8", np.uint64])
def test_integers_beyond_32_bits_do_not_wrap_around(kind):
    large = np.array([[2**31 + 5, 3], [1, 2**33]], kind)
    with jax.enable_x64(False):
        np.testing.assert_allclose(
            np.asarray(jnp.asarray(native(large)), float), large.astype(float), rtol=1e-7
        )
        assert native(np.array([7, 2**31 - 1], kind)).dtype.kind == np.dtype(kind).kind
    assert native(large).dtype.kind == np.dtype(kind).kind  # which 64 bits hold


@pytest.mark.parametrize("kind", [object, "datetime64[s]", "U3"])
def test_what_is_no_number_is_refused(kind):
    with pytest.raises(TypeError, match="x must hold numbers, got the type"):
        native(np.ones(3).astype(int).astype(kind), "x")


def linear(x, z=None):
    return closed_form.two_layer(x, z, "linear").nngp


def test_every_way_to_a_kernel_reads_them(untyped):
    large = np.array([[2**31 + 5, 3], [1, 2**33]])
    with jax.enable_x64(False):
        expected = large.astype(float) @ large.T.astype(float)
        for found in (linear(large), blocks.gram(linear, large), linear(large.astype(">f4"))):
            np.testing.assert_allclose(np.asarray(found, float), expected, rtol=1e-6)
        swapped = X.astype(">f4")
        moved = attacks.Attack(0.1).perturb(lambda x: x.sum(1), swapped, jnp.ones(4))
        np.testing.assert_allclose(moved, X - 0.1, rtol=1e-5)
        values = regression.spectrum(np.diag([3.0, 1.0]).astype(">f8")).values
        np.testing.assert_allclose(values, [3, 1], rtol=1e-6)
    with pytest.raises(TypeError, match="must hold numbers, got the type object"):
        linear(X.astype(object))
