"""What every part of the package refuses, in a sentence: sizes, scales, counts and labels that do not fit."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import attacks, blocks, checks, closed_form, eigenfeatures, empirical, evolution, regression

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))
K = X @ X.T + jnp.eye(6)
MODES = regression.spectrum(K)
ONES, SIGNS = jnp.ones(6), jnp.array([1.0, -1, 1, -1, 1, -1])
NAN = float("nan")


def ntk(x, z=None):
    return closed_form.deep(x, z).ntk


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: closed_form.deep(X, weight_std=-1.0), "weight_std must be finite and at least 0, got -1.0"),
        (lambda: closed_form.deep(X, weight_std=NAN), "weight_std must be finite and at least 0, got nan"),
        (lambda: closed_form.deep(X, trained="first"), "trained must list layers from 0 to 1, got 'first'"),
        (lambda: closed_form.deep(X, trained=0), "trained must list layers from 0 to 1, got 0"),
        (
            lambda: closed_form.two_layer(X, output_variance=-1.0),
            "output_variance must be finite and at least 0",
        ),
        (lambda: closed_form.DeepNTK(1, bias_std=-0.1), "bias_std must be finite and at least 0"),
        (
            lambda: closed_form.finite_two_layer(jnp.ones((5, 3)), jnp.ones(5), X),
            "W must have shape (neurons, 4)",
        ),
        (
            lambda: closed_form.finite_two_layer(jnp.ones((5, 4)), jnp.ones(4), X),
            "a must have shape (5,), got (4,)",
        ),
        (lambda: closed_form.finite_two_layer(jnp.full((5, 4), NAN), jnp.ones(5), X), "W must be finite"),
        (lambda: closed_form.cluster_spectrum(9, 5), "num_clusters must be at most dim=5"),
        (lambda: blocks.gram(closed_form.deep, X), "kernel must give one matrix"),
        (
            lambda: eigenfeatures.features(K[:, :3], MODES, ONES),
            "cross must have shape (points, 6), got (6, 3)",
        ),
        (lambda: eigenfeatures.features(K * NAN, MODES, ONES), "cross must be finite"),
        (lambda: eigenfeatures.features(K, MODES, ONES, [1.5]), "eigenfeatures are chosen by integers"),
        (lambda: eigenfeatures.usefulness(K, ONES[:2]), "labels must have shape (6,), got (2,)"),
        (lambda: eigenfeatures.usefulness(K, 0 * ONES), "labels of a single output must be -1 or +1"),
        (lambda: eigenfeatures.usefulness(K[:, :, None] * jnp.ones(3)[None, None], 9 * ONES), "from 0 to 2"),
        (
            lambda: eigenfeatures.robustness(ntk, X[:3], MODES, ONES, X, SIGNS, attacks.Attack(0.1)),
            "train must have shape (6, 4), got (3, 4)",
        ),
        (lambda: eigenfeatures.robust_accuracy(lambda x: x[:, 0], X * NAN, SIGNS), "points must be finite"),
        (lambda: regression.ridge(-1.0), "strength must be finite and at least 0"),
        (lambda: regression.flow(NAN), "time must be finite and at least 0"),
        (lambda: regression.descent(-1, 0.1), "steps must be finite and at least 0"),
        (lambda: regression.momentum(3.5, 0.1, 0.9), "steps must be an integer of at least 0, got 3.5"),
        (lambda: regression.keep([2.5])(ONES), "modes are kept by integers"),
        (lambda: regression.coefficients(K, ONES), "modes must be a Spectrum"),
        (lambda: regression.predictor(ntk, X, ONES[:3]), "alpha must have shape (6, ...), got (3,)"),
        (lambda: regression.weight_distance(MODES, ONES[:3]), "targets must have shape (6,), got (3,)"),
        (lambda: regression.posterior(K, K[:, :3], MODES, ONES), "cross must have shape (points, 6)"),
        (lambda: regression.posterior(K, K, MODES, ONES, -1.0), "noise must be finite and at least 0"),
        (lambda: regression.ensemble_covariance(K, K[:2], K, K, MODES), "prior_cross must have shape (6, 6)"),
        (
            lambda: regression.descend(K, lambda f: f, ONES[:2], learning_rate=0.1, steps=3),
            "start must have shape (6, ...), got (2,)",
        ),
        (lambda: evolution.similarity(K, K[:3, :3]), "second must have shape (6, 6), got (3, 3)"),
        (lambda: evolution.centred(K[:2]), "a Gram matrix must have shape (2, 2), got (2, 6)"),
        (lambda: evolution.target_alignment(K, ONES[:2]), "targets must have shape (6,), got (2,)"),
        (lambda: evolution.polar(K), "path must have shape (times, samples, samples), got (6, 6)"),
        (lambda: evolution.velocity(K), "path must have shape (times, samples, samples), got (6, 6)"),
        (lambda: evolution.top_mass(MODES.values, 9), "count must be at most the 6 modes, got 9"),
        (lambda: evolution.truncated(K, 9), "count must be at most the 6 modes, got 9"),
        (
            lambda: empirical.as_matrix(K),
            "kernel must have shape (points, outputs, others, outputs), got (6, 6)",
        ),
        (lambda: empirical.normal_mlp(jax.random.key(0), (4,)), "sizes must hold at least"),
        (
            lambda: empirical.normal_mlp(jax.random.key(0), (4, 0, 1)),
            "sizes must be an integer of at least 1",
        ),
        (lambda: empirical.ntk(lambda p, x: jnp.sum(x @ p), ONES[:4], X), "output must have shape (6, ...)"),
        (
            lambda: empirical.ntk(lambda p, x: x @ p, ONES[:4], X, limit=0),
            "limit must be an integer of at least 1",
        ),
        (lambda: attacks.Attack(0.1, step_size=-1.0), "step_size must be finite and at least 0"),
        (lambda: attacks.Attack(0.1, box=3), "box must be (low, high), got 3"),
    ],
)
def test_refusals(untyped, call, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call()


def test_traced_numbers_pass():
    filters = jax.jit(lambda t: regression.flow(t)(ONES) + regression.ridge(t)(ONES))
    assert np.isfinite(filters(2.0)).all()
    checks.shaped("x", jnp.ones((2, 3, 4)), 2, "...")


def test_a_kernel_of_the_package_is_one_of_one_or_two_arguments():
    kernel = closed_form.DeepNTK(2)
    np.testing.assert_allclose(blocks.gram(kernel, X), kernel(X, X), rtol=1e-5)
