"""Circles, spheres and hypercubes: the targets by their formulas, the laws of the points, refusals."""

import jax
import numpy as np
import pytest

from dynamics.data.directions import Circle, Hypercube, Sphere
from dynamics.parts import Axis

KEY = jax.random.key(3)


def test_a_regular_circle_has_one_frequency():
    draw = Circle(8, 5, frequency=3.0, amplitude=0.5).sample(KEY)
    for sample, count in ((draw.train, 8), (draw.test, 5)):
        phi = 2 * np.pi * np.arange(count) / count
        np.testing.assert_allclose(sample.x, np.stack([np.cos(phi), np.sin(phi)], 1), atol=1e-6)
        np.testing.assert_allclose(sample.y, 0.5 * np.cos(3 * phi), atol=1e-6)


@pytest.mark.exhaustive
def test_a_random_teacher_is_one_function_of_the_angle_with_the_power_asked_for():
    data = Circle(4096, 4096, modes=40, exponent=3.0)
    draws = [data.sample(jax.random.key(s)) for s in range(40)]
    np.testing.assert_allclose(draws[0].train.y, draws[0].test.y, atol=1e-5)  # the same angles, one teacher
    power = np.mean([np.abs(np.fft.rfft(draw.train.y) / 4096) ** 2 for draw in draws], axis=0)[1:41]
    # g^2 + h^2 has mean 2 and halves into two exponentials: E |c_k|^2 = k^-a / 2
    ratio = power * 2 * np.arange(1, 41.0) ** 3
    assert ratio.mean() == pytest.approx(1, abs=5 / np.sqrt(40 * 40))
    assert power[41:].sum() == 0


def test_random_angles_differ_between_seeds_and_cover_the_circle():
    draws = [Circle(500, 500, "random").sample(jax.random.key(s)) for s in (0, 1)]
    assert not np.allclose(draws[0].train.x, draws[1].train.x)
    assert not np.allclose(draws[0].train.x, draws[0].test.x)
    np.testing.assert_allclose(np.linalg.norm(draws[0].train.x, axis=1), 1, atol=1e-6)
    assert np.abs(np.asarray(draws[0].train.x).mean(0)).max() < 4 / np.sqrt(2 * 500)


@pytest.mark.parametrize(
    ("target", "label"),
    [("xor", lambda x: np.sign(x[:, 0] * x[:, 1])), ("linear", lambda x: np.sign(x[:, 0]))],
)
def test_labels_on_the_sphere(target, label):
    draw = Sphere(300, 40, 4, target, amplitude=2.0).sample(KEY)
    for sample in (draw.train, draw.test):
        x = np.asarray(sample.x)
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(sample.y, 2 * label(x))
        np.testing.assert_array_equal(sample.target, np.asarray(sample.y) < 0)
    second = np.asarray(draw.train.x).T @ np.asarray(draw.train.x) / 300
    assert np.abs(second - np.eye(4) / 4).max() < 5 / np.sqrt(300) / 4


def test_random_labels_on_the_sphere_are_fair_and_a_great_circle_is_evenly_spaced():
    draw = Sphere(2000, 8, 5, "random", "great_circle").sample(KEY)
    assert abs(float(draw.train.y.mean())) < 4 / np.sqrt(2000)
    phi = 2 * np.pi * np.arange(8) / 8
    np.testing.assert_allclose(draw.test.x[:, :2], np.stack([np.cos(phi), np.sin(phi)], 1), atol=1e-6)
    np.testing.assert_array_equal(draw.test.x[:, 2:], 0)


@pytest.mark.parametrize("degree", [0, 1, 3, 6])
def test_parities(degree):
    draw = Hypercube(6, 50, 20, degree).sample(KEY)
    for sample in (draw.train, draw.test):
        np.testing.assert_array_equal(np.abs(sample.x), 1)
        np.testing.assert_array_equal(sample.y, np.prod(np.asarray(sample.x)[:, :degree], axis=1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Circle(0), "num_samples must be an integer of at least 1, got 0"),
        (lambda: Circle(4, frequency=-1.0), "frequency must be finite and at least 0"),
        (lambda: Circle(4, amplitude=float("nan")), "amplitude must be finite"),
        (
            lambda: Circle(4, frequency=Axis("frequency", [1.0, -2.0])),
            "frequency must be finite and at least 0",
        ),
        (lambda: Circle(4, spacing="even"), "spacing must be regular or random, got 'even'"),
        (lambda: Sphere(4, dim=1), "dim must be an integer of at least 2, got 1"),
        (lambda: Sphere(4, target="and"), "target must be one of xor, linear, random, got 'and'"),
        (lambda: Sphere(4, test="line"), "test must be one of uniform, great_circle, got 'line'"),
        (lambda: Hypercube(3, 4, degree=4), "degree must be a whole number from 0 to dim=3, got 4"),
        (lambda: Hypercube(3, 4, degree=Axis("degree", [1.0, 1.5])), "degree must be a whole number"),
    ],
)
def test_refusals(untyped, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
