"""Distillation: exact where it is solvable, its gradient by finite differences, its steps by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kernels import closed_form
from kernels import distillation as kd
from kernels.attacks import Attack, adversity

NTK = closed_form.DeepNTK()
SLOPES = jax.jit(jax.value_and_grad(kd.loss, (1, 2)), static_argnums=0)


def linear(x, z):
    return x @ z.T


def points(seed, count=12, dim=5, classes=3):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(size=(count, dim))), jnp.asarray(np.arange(count) % classes)


def test_solve_and_its_derivatives():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    matrix, right = jnp.asarray(root @ root.T + np.eye(4)), jnp.asarray(rng.normal(size=(4, 2)))
    change = rng.normal(size=(4, 4))
    change = jnp.asarray(change + change.T)

    def plain(m, r):
        return jnp.linalg.solve(m, r)

    one = jax.jvp(kd.solve, (matrix, right), (change, 2 * right))
    other = jax.jvp(plain, (matrix, right), (change, 2 * right))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-11)
    back = [
        jax.grad(lambda m, r, f=f: jnp.sum(f(m, r) ** 3), (0, 1))(matrix, right) for f in (kd.solve, plain)
    ]
    np.testing.assert_allclose(back[0][0] + back[0][0].T, back[1][0] + back[1][0].T, rtol=1e-10)
    np.testing.assert_allclose(back[0][1], back[1][1], rtol=1e-11)
    many = jax.vmap(kd.solve)(jnp.stack([matrix, 2 * matrix]), jnp.stack([right, right]))
    np.testing.assert_allclose(many[0], 2 * many[1], rtol=1e-12)


def test_predictor_against_plain_numpy():
    x, y = points(0)
    labels = kd.one_hot(y, 3)
    np.testing.assert_allclose(labels, np.eye(3)[np.asarray(y)] - 1 / 3, rtol=1e-12)
    gram = np.asarray(jax.jit(NTK)(x, x))
    alpha = np.linalg.solve(gram + 0.1 * np.trace(gram) / 12 * np.eye(12), labels)
    at = points(1)[0]
    expected = np.asarray(jax.jit(NTK)(at, x)) @ alpha
    found = jax.jit(lambda x, at: kd.predictor(NTK, x, labels, 0.1)(at))(x, at)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.exhaustive
def test_a_support_that_is_the_data_has_no_loss_and_no_gradient():
    x, y = points(0, count=30)
    what = kd.Distillation(NTK, ridge=0.0)
    value, (slope, _) = SLOPES(what, x, kd.one_hot(y, 3), x, y)
    assert value < 1e-20
    assert np.abs(slope).max() < 1e-9  # the kernel's own curvature at coincident points times round-off


@pytest.mark.exhaustive
@pytest.mark.parametrize("outer", ["squared", pytest.param("cross_entropy", marks=pytest.mark.exhaustive)])
def test_gradient_by_central_differences(outer):
    x, y = points(0, count=20)
    support, labels = x[:6], kd.one_hot(y[:6], 3)  # coincides with data, where ReLU's kernel has a cusp
    attack = Attack(0.1, "linf", 3, None, (0.0, 1.0))
    what = kd.Distillation(NTK, outer=outer, attack=attack)
    moved = jax.jit(attack.perturb, static_argnums=0)(lambda p: kd.predictor(NTK, support, labels)(p), x, y)
    _, slopes = SLOPES(what, support, labels, x, y)
    plain = kd.Distillation(NTK, outer=outer)
    chosen = np.random.default_rng(0).choice(support.size, 20, replace=False)
    h = 1e-5 * np.eye(support.size)[chosen].reshape(20, *support.shape)
    value = jax.jit(jax.vmap(lambda s: kd.loss(plain, s, labels, moved, y)))
    central = (value(support[None] + h) - value(support[None] - h)) / 2e-5
    np.testing.assert_allclose(slopes[0].ravel()[chosen], central, atol=1e-6 * np.abs(slopes[0]).max())
    h = 1e-5 * np.eye(labels.size).reshape(-1, *labels.shape)
    value = jax.jit(jax.vmap(lambda lab: kd.loss(plain, support, lab, moved, y)))
    central = (value(labels[None] + h) - value(labels[None] - h)) / 2e-5
    np.testing.assert_allclose(slopes[1].ravel(), central, atol=1e-6 * np.abs(slopes[1]).max())


@pytest.mark.exhaustive
def test_linear_kernel_reaches_the_pseudo_inverse_of_least_squares():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 7))
    y = np.argmax(x @ rng.normal(size=(7, 3)) + rng.normal(size=(90, 3)), axis=1)
    W = np.linalg.lstsq(x, np.eye(3)[y], rcond=None)[0]
    least = 0.5 * np.mean(np.sum((x @ W - np.eye(3)[y]) ** 2, axis=1))
    what = kd.Distillation(linear, ridge=0.0, centred=False, box=None)
    x, y = jnp.asarray(x), jnp.asarray(y)
    best = jnp.asarray(np.linalg.pinv(W))
    np.testing.assert_allclose(kd.predictor(linear, best, jnp.eye(3), 0.0)(x), x @ W, rtol=1e-8)
    value, (slope, _) = SLOPES(what, best, jnp.eye(3), x, y)
    assert value == pytest.approx(least, rel=1e-12)
    assert np.abs(slope).max() < 1e-12
    rule = optax.adam(optax.cosine_decay_schedule(0.1, 6000))
    start = jnp.asarray(rng.normal(size=(1, 3, 7)))
    state, losses = kd.distill(
        what,
        rule,
        x[None],
        y[None],
        start,
        jnp.eye(3)[None],
        jax.random.split(jax.random.key(0), 1),
        steps=6000,
    )
    assert 0 <= losses[0, -1] / least - 1 <= 1e-3
    np.testing.assert_allclose(state.labels[0], np.eye(3))


def test_one_point_of_a_linear_kernel_is_the_inverse_of_least_squares():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 4)), np.sign(rng.normal(size=40))
    w = np.linalg.lstsq(x, y, rcond=None)[0]
    what = kd.Distillation(linear, ridge=0.0, box=None)
    support, label = jnp.asarray(w[None] / (w @ w)), jnp.ones(1)
    value, (slope, _) = SLOPES(what, support, label, jnp.asarray(x), jnp.asarray(y))
    assert value == pytest.approx(np.mean((x @ w - y) ** 2) / 2, rel=1e-12)
    assert np.abs(slope).max() < 1e-12


@pytest.mark.exhaustive
def test_steps_by_sign_keep_to_ball_and_box():
    x, y = points(0)
    what = kd.Distillation(NTK, ball=0.15, learn_labels=True)
    first = (x[:6], kd.one_hot(y[:6], 3))
    rule, step = optax.sign_sgd(0.1), jax.jit(kd.step, static_argnums=(0, 1))
    state, origin = kd.start(rule, *first), np.asarray(x[:6])
    expected, labels = origin, np.asarray(first[1])
    for _ in range(3):
        _, slopes = SLOPES(what, jnp.asarray(expected), jnp.asarray(labels), x, y)
        moved = np.clip(expected - 0.1 * np.sign(slopes[0]), origin - 0.15, origin + 0.15)
        expected, labels = np.clip(moved, 0, 1), labels - 0.1 * np.sign(slopes[1])
        state, _ = step(what, rule, state, x, y)
    np.testing.assert_allclose(state.support, expected, atol=1e-12)
    np.testing.assert_allclose(state.labels, labels, atol=1e-12)
    assert np.abs(expected - origin).max() == pytest.approx(0.15)


def test_seeds_are_what_they_are_alone_and_labels_stay_unless_learned():
    sets = [points(s, count=14) for s in (0, 1)]
    x, y = (jnp.stack(part) for part in zip(*sets, strict=True))
    labels = jax.vmap(lambda c: kd.one_hot(c, 3))(y[:, :4])
    what = kd.Distillation(linear, 0.1, attack=Attack(0.1, "linf", 2, None, (0.0, 1.0), True, "margin"))
    keys = jax.random.split(jax.random.key(3), 2)
    run = {"steps": 5, "batch_size": 4}
    rule = optax.adam(1e-2)
    both, losses = kd.distill(what, rule, x, y, x[:, :4], labels, keys, **run)
    alone, own = kd.distill(what, rule, x[1:], y[1:], x[1:, :4], labels[1:], keys[1:], **run)
    np.testing.assert_allclose(both.support[1], alone.support[0], atol=1e-12)
    np.testing.assert_allclose(losses[1], own[0], rtol=1e-10)
    np.testing.assert_array_equal(both.labels, labels)
    assert both.support.min() >= 0
    assert both.support.max() <= 1
    assert np.abs(both.support - x[:, :4]).max() > 0.01


@pytest.mark.parametrize("learn", [False, True])
def test_weight_decay_moves_labels_only_if_they_are_learned(learn):
    x, y = points(0)
    what = kd.Distillation(linear, 0.1, learn_labels=learn)
    rule = optax.adamw(1e-2, weight_decay=1.0)
    first = kd.start(rule, x[:6], kd.one_hot(y[:6], 3))
    state, _ = jax.jit(kd.step, static_argnums=(0, 1))(what, rule, first, x, y)
    assert np.array_equal(state.labels, first.labels) is not learn
    assert not np.array_equal(state.support, first.support)


def test_margin_is_the_lead_of_the_best_other_class():
    outputs, y = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 4
    expected = [np.delete(row, c).max() - row[c] for row, c in zip(outputs, y, strict=True)]
    np.testing.assert_allclose(
        adversity(jnp.asarray(outputs), jnp.asarray(y), "margin"), expected, rtol=1e-12
    )


def test_images_of_every_class_in_turn():
    y = jnp.asarray([1, 1, 0, 2, 0, 2, 1, 1])
    np.testing.assert_array_equal(kd.in_turn(y, 3, 6), [2, 0, 3, 4, 1, 5])
    np.testing.assert_array_equal(kd.in_turn(y, 3, 8)[6:], [6, 7])
    with pytest.raises(ValueError, match="between 1 and the 8 samples"):
        kd.in_turn(y, 3, 9)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"outer": "hinge"}, "outer must be one of squared, cross_entropy"),
        ({"ridge": -1.0}, "ridge must not be negative"),
        ({"ball": -0.1}, "ball must not be negative"),
        ({"box": (1.0, 0.0)}, "low < high"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(untyped, given, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        kd.Distillation(NTK, **given)
    assert "\n" not in str(error.value)


def test_sizes_that_do_not_fit_are_refused(untyped):
    x, y = points(0)
    labels, keys = kd.one_hot(y[:4], 3)[None], jax.random.split(jax.random.key(0), 1)
    what, rule = kd.Distillation(NTK), optax.adam(1e-2)
    with pytest.raises(ValueError, match="batch_size must lie between 1 and the 12"):
        kd.distill(what, rule, x[None], y[None], x[None, :4], labels, keys, steps=1, batch_size=13)
    with pytest.raises(ValueError, match="same dimension"):
        kd.distill(what, rule, x[None], y[None], x[None, :4, :2], labels, keys, steps=1)
    with pytest.raises(ValueError, match="steps must be an integer"):
        kd.distill(what, rule, x[None], y[None], x[None, :4], labels, keys, steps=-1)
    with pytest.raises(ValueError, match="depth must be an integer"):
        closed_form.DeepNTK(depth=-1)


@pytest.mark.exhaustive
def test_a_rules_own_randomness_is_each_seeds_own():
    x, y = points(0, count=6)
    x, labels = jnp.stack([x, x]), jnp.stack([kd.one_hot(y[:3], 3)] * 2)
    rule = optax.chain(optax.scale(0.0), optax.add_noise(1.0, 0.0, key=0))
    keys = jax.random.split(jax.random.key(3), 2)
    what = kd.Distillation(linear, box=None)
    state, _ = kd.distill(what, rule, x, jnp.stack([y, y]), x[:, :3], labels, keys, steps=1)
    assert not np.isclose(*(state.support - x[:, :3])).any()
