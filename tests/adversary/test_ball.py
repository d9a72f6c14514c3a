"""Norm balls: projections against plain NumPy, and gradients of every size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import observables
from dynamics.adversary import FGSM, NORMS, PGD, ball, project
from dynamics.data.images import LabelledImages
from dynamics.data.spiked import Spiked
from dynamics.models.linear import Linear
from dynamics.problem import Problem

SAMPLES = 6


def lengths(delta, norm):
    """Norms of samples; of max-l2, the longest row's."""
    delta = np.asarray(delta, np.float64)
    if norm == "max-l2":
        return np.linalg.norm(delta, axis=-1).max(axis=-1)
    return np.linalg.norm(delta.reshape(len(delta), -1), {"l2": 2, "linf": np.inf}[norm], axis=1)


def few(test):
    return settings(max_examples=15, deadline=None)(test)


projections = {norm: jax.jit(lambda d, r, norm=norm: project(d, r, norm)) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@few
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_projection_is_the_nearest_point_of_the_ball(norm, dtype, seed, scale):
    rng = np.random.default_rng(seed)
    delta = (scale * rng.normal(size=(SAMPLES, 3, 50))).astype(dtype)
    radius = (scale * rng.uniform(0, 15, size=SAMPLES)).astype(dtype)
    out = np.asarray(projections[norm](delta, radius))
    np.testing.assert_array_equal(projections[norm](out, radius), out)
    assert (lengths(out / scale, norm) <= radius / scale * (1 + 1e-6)).all()
    if norm == "max-l2":  # every patch is projected by itself
        delta, out, radius = delta.reshape(-1, 50), out.reshape(-1, 50), np.repeat(radius, 3)
    size = np.linalg.norm(delta / scale, axis=1) if norm == "max-l2" else lengths(delta / scale, norm)
    inside = size < radius / scale * (1 - 1e-6)
    np.testing.assert_array_equal(out[inside], delta[inside])
    wide = radius.reshape(-1, *(1,) * (delta.ndim - 1))
    if norm == "linf":
        np.testing.assert_array_equal(out, np.clip(delta, -wide, wide))
    else:
        shrunk = delta * (wide / scale / size.reshape(wide.shape))
        np.testing.assert_allclose(out[~inside], shrunk[~inside], rtol=2e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", NORMS)
def test_directions_have_unit_norm_whatever_the_size_of_the_gradient(norm):
    sizes = np.array([3e38, 1e38, 1e20, 1.0, 1e-20, 2e-38], np.float32)
    shape = np.array([[1.0, 0.5, 0.0], [-0.25, 0.0, 0.125]], np.float32)
    gradient = sizes[:, None, None] * shape[None]
    found = np.asarray(jax.jit(lambda g: ball.ascent(g, norm))(gradient))
    flat = np.float64(shape)
    expected = {
        "l2": flat / np.linalg.norm(flat),
        "linf": np.sign(flat),
        "max-l2": flat / np.linalg.norm(flat, axis=1, keepdims=True),
    }[norm]
    # on a CPU subnormal coordinates count as zero: those of 2e-38 times 1/4 and 1/8
    np.testing.assert_allclose(found[:5], np.broadcast_to(expected, (5, 2, 3)), rtol=1e-6)
    assert (lengths(found, norm) <= 1 + 1e-6).all()
    np.testing.assert_allclose(
        np.asarray(jax.jit(lambda g: ball.norms(g, norm))(gradient[1:5])),
        lengths(gradient[1:5], norm),
        rtol=1e-6,
    )
    assert (lengths(project(jnp.asarray(gradient), 0.5, norm), norm) <= 0.5 * (1 + 1e-6)).all()


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-39, np.nan, np.inf, -np.inf])
def test_coordinates_without_a_direction_count_as_zero(value):
    gradient = np.array([[value, 0.0, 0.0], [value, 3.0, 4.0]], np.float32)
    for norm in NORMS:
        found = np.asarray(ball.ascent(jnp.asarray(gradient), norm))
        other = np.sign(gradient[1, 1:]) if norm == "linf" else [0.6, 0.8]
        np.testing.assert_allclose(found, [[0, 0, 0], [0, *other]], rtol=1e-6)


def test_norms_have_a_derivative_at_zero():
    """An attack that climbs the norm of a gradient must not stop where one patch is off."""
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    for norm in ("l2", "max-l2"):
        np.testing.assert_allclose(jax.grad(lambda x, n=norm: ball.norms(x, n)[0])(x), np.zeros((2, 2)))
    np.testing.assert_allclose(jax.grad(lambda x: ball.norms(x, "l2")[1])(x), [[0, 0], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("radius", [-1.0, float("nan"), None, True, "1"])
def test_radii_that_are_none(untyped, radius):
    with pytest.raises(ValueError, match=r"^radius must be finite and not negative, got"):
        ball.check_radius(radius)
    with pytest.raises(ValueError, match=r"^norm must be one of l2, linf, max-l2, got 'l1'"):
        project(jnp.ones((2, 2)), 1.0, "l1")


# --- boxes ---


def spiked_problem(**options):
    return Problem(Spiked(num_samples=4, num_test=4, robust_dim=2, nonrobust_dim=0), Linear(), **options)


def images(**options):
    return LabelledImages(np.ones((4, 2)), np.zeros(4, int), (1,), 2, 2, **options)


def test_boxes_of_attacks_are_found_but_for_the_one_that_the_data_declare():
    observed = [
        observables.accuracy,
        observables.robust_accuracy.given(attack=PGD(0.1, box=(-2.0, 2.0))),
        observables.pgd_accuracy.given(radius=0.1, box=(-3.0, 3.0)),
        observables.pgd_accuracy.given(radius=0.1),
    ]
    assert ball.unproven_boxes(spiked_problem(), observed) == {(-2.0, 2.0), (-3.0, 3.0)}
    attack = FGSM(0.1, box=(0.0, 1.0))
    assert ball.unproven_boxes(spiked_problem(adversary=attack), observed[:1]) == {(0.0, 1.0)}
    declared = Problem(images(box=(0.0, 1.0)), Linear(), adversary=attack)
    assert ball.unproven_boxes(declared, observed[:2]) == {(-2.0, 2.0)}
    assert ball.unproven_boxes(Problem(images(center=True), Linear(), adversary=attack)) == {(0.0, 1.0)}


def test_inputs_outside_a_box_are_refused():
    inside = jnp.zeros((4, 2))
    ball.check_inputs({"train": inside, "test": inside}, [(0.0, 1.0), (-1.0, 0.0)])
    outside = {"train": inside, "test": inside.at[1, 1].set(-2.5)}
    ball.check_inputs(outside, [(-2.5, 1.0)])
    wrong = r"the data's test inputs must lie .* reach 1.5 below -1;"
    with pytest.raises(ValueError, match=wrong) as caught:
        ball.check_inputs(outside, [(-1.0, 1.0)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("box", [("a", "b"), (1.0, 0.0), [0.0, 1.0], (0.0, 1.0, 2.0), (float("nan"), 1.0)])
def test_what_is_no_box_is_refused(box):
    with pytest.raises(ValueError, match="box must be None or a tuple"):
        FGSM(0.1, box=box)
