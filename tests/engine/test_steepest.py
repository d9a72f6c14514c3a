"""Steepest descent in every norm through the engine: against a NumPy loop, invariant where theory says so."""

from typing import Any

import numpy as np
import pytest

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.data.sample import Draw
from dynamics.data.teachers import FixedPoints, LinearTeacher, ReluTeacher
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.linear import Linear
from dynamics.parts import part
from dynamics.problem import Problem

STEPS = 40
DATA = ReluTeacher(dim=4, num_samples=9, num_test=3)
OBSERVE = {"W": o.weights, "a": o.output_weights, "log_loss": o.log_loss}


def network(width=6):
    model = Homogeneous((width,), activation=Activation("relu_power", power=2.0))
    return Problem(DATA, model, "exponential", reduction="sum", init_scale=0.5)


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "spectral"])
def test_agrees_with_a_numpy_loop(reference, norm, momentum):
    loop = reference("steepest_loop")
    rule = steepest(norm, 0.05, step="log_decrease", of="log_loss", momentum=momentum)
    runs = [
        simulate(
            network(), rule, steps=STEPS, observe=OBSERVE, when=[0, 1, 2, 10], seeds=[3, 8], strategy=how
        )
        for how in ("map", "vmap")
    ]
    for run in runs:
        for i, seed in enumerate((3, 8)):
            draw = network().sample(named_key(seed_key(seed), "data"))
            start = run.isel(seed=i, step=0)
            path = loop.train(
                start.W.values, start.a.values[0], np.asarray(draw.train.x), np.asarray(draw.train.y),
                norm, STEPS, power=2, momentum=momentum or 0.0,
            )  # fmt: skip
            # round-off is amplified by little: the trajectories are smooth, up to ties that do not occur
            for j, t in enumerate(run.step.values.tolist()):
                one = run.isel(seed=i, step=j)
                np.testing.assert_allclose(one.W, path[t][0], rtol=0, atol=1e-9 * np.abs(path[t][0]).max())
                np.testing.assert_allclose(one.a[0], path[t][1], rtol=0, atol=1e-9 * np.abs(path[t][1]).max())
                np.testing.assert_allclose(one.log_loss, path[t][2], rtol=1e-9, atol=1e-9)
    assert float(runs[0].log_loss[0, 0] - runs[0].log_loss[0, -1]) > 0.5


@pytest.mark.exhaustive
def test_margins_improve_far_beyond_where_the_loss_is_zero():
    """log L passes log(1e-300) = -691 and the smallest float, and the margin still grows."""
    rule = steepest("l2", 0.2, step="log_decrease", of="log_loss")
    run = simulate(
        network(60), rule, steps=8000, when=range(0, 8001, 500), seeds=2,
        observe={"loss": o.training_loss, "log_loss": o.log_loss, "margin": o.geometric_margin},
    )  # fmt: skip
    assert (run.loss.isel(step=-1) == 0).all()
    assert (run.log_loss.isel(step=-1) < -1500).all()
    late = run.margin.sel(norm="l2", step=slice(1500, None))
    assert (late.diff("step") > 0).all()


@part
class Moved:
    """Other data with their inputs multiplied by a matrix."""

    source: Any
    matrix: Any

    def sample(self, key):
        draw = self.source.sample(key)

        def move(sample):
            return type(sample)(sample.x @ self.matrix, sample.y, sample.target, sample.feature)

        return Draw(
            move(draw.train),
            move(draw.test),
            draw.features,
            draw.feature_signs,
            draw.class_signs,
            draw.feature_classes,
        )


def rotation(dim, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def signed_permutation(dim, seed=0):
    rng = np.random.default_rng(seed)
    return np.eye(dim)[rng.permutation(dim)] * rng.choice([-1.0, 1.0], size=dim)


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "spectral", "l1.5"])
@pytest.mark.parametrize("kind", ["rotated", "permuted"])
def test_moving_the_inputs_moves_the_run_where_the_norm_is_invariant(norm, kind):
    """From 0, on moved inputs, the run is moved: signed permutations in all norms, rotations in l2."""
    source = LinearTeacher(dim=6, num_samples=5, num_test=3)
    matrix = rotation(6) if kind == "rotated" else signed_permutation(6)
    rule = steepest(norm, 0.1, step="loss_adaptive", of="log_loss")
    runs = [
        simulate(
            Problem(data, Linear(), "exponential", reduction="sum", init_scale=0.0),
            rule, steps=50, observe={"W": o.weights, "log_loss": o.log_loss}, when=[50], seeds=[1],
        )
        for data in (source, Moved(source, matrix))
    ]  # fmt: skip
    plain, moved = (run.W.values[0, -1, 0] for run in runs)
    invariant = kind == "permuted" or norm in (
        "l2",
        "spectral",
    )  # of one row, the largest singular value is l2
    distance = np.abs(moved - plain @ matrix).max() / np.abs(plain).max()
    assert distance < 1e-10 if invariant else distance > 1e-2


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_one_point_has_its_dual_norm_as_margin_at_every_step(norm):
    x = np.array([3.0, -1.0, 0.5, 2.0])
    problem = Problem(FixedPoints(x[None], (1,)), Linear(), "exponential", reduction="sum", init_scale=0.0)
    for step, of in (("raw", "loss"), ("normalized", "loss"), ("loss_adaptive", "log_loss")):
        run = simulate(
            problem, steepest(norm, 0.05, step=step, of=of), steps=30, when=range(1, 31), seeds=1,
            observe={"margin": o.geometric_margin.given(norm=(norm,))},
        )  # fmt: skip
        expected = np.linalg.norm(x, {"l2": 2, "linf": 1, "l1": np.inf}[norm])
        np.testing.assert_allclose(run.margin.values[0, :, 0], expected, rtol=1e-12)


RULES = {
    "loss-adaptive": {"step": "loss_adaptive", "of": "log_loss"},
    "loss-adaptive of the loss": {"step": "loss_adaptive"},
    "raw of the log": {"of": "log_loss"},
    "momentum": {"momentum": 0.9},
    "decay": {"decay": 0.5},
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", RULES)
def test_gram_space_takes_every_rule_that_is_linear_in_the_gradient(name):
    data = LinearTeacher(dim=30, num_samples=8, num_test=3)
    problem = Problem(data, Homogeneous((3, 2)), "exponential", reduction="sum", init_scale=1.0)
    rule = steepest("l2", 0.02, **RULES[name])
    observe = {"W": o.weights, "margin": o.geometric_margin, "log_loss": o.log_loss}
    runs = [
        simulate(problem, rule, steps=40, observe=observe, when=[0, 5, 40], seeds=[1], engine=engine)
        for engine in ("direct", "gram")
    ]
    for variable in observe:
        one, other = (run[variable].values for run in runs)
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-10 * np.nanmax(np.abs(one)))
    assert np.abs(np.diff(runs[0].W.values, axis=1)).max() > 1e-3


@pytest.mark.parametrize(
    "rule",
    [
        steepest("l2", 0.1, step="log_decrease", of="log_loss"),
        steepest("l2", 0.1, normalize=True, momentum=0.9),
        steepest("linf", 0.1),
    ],
)
def test_gram_space_says_which_rules_it_does_not_take(rule):
    problem = Problem(LinearTeacher(dim=9, num_samples=4), Linear(), "exponential")
    with pytest.raises(ValueError, match="gram"):
        simulate(problem, rule, steps=1, seeds=1, engine="gram")


def test_losses_that_can_be_zero_have_no_logarithm():
    problem = Problem(LinearTeacher(dim=3, num_samples=4), Linear(), "hinge")
    with pytest.raises(ValueError, match="are trained on by their logarithm, got loss='hinge'"):
        simulate(problem, steepest("l2", 0.1, of="log_loss"), steps=1, seeds=1)


@pytest.mark.exhaustive
def test_spectral_runs_side_by_side_do_not_wait_for_each_other():
    """Factorisations are never batched: see `dynamics.linalg`."""
    rule = steepest("spectral", 0.05, step="log_decrease", of="log_loss")
    run = simulate(network(), rule, steps=20, observe={"log_loss": o.log_loss}, seeds=7, strategy="vmap")
    assert np.isfinite(run.log_loss).all()
    alone = simulate(network(), rule, steps=20, observe={"log_loss": o.log_loss}, seeds=[5])
    np.testing.assert_allclose(run.log_loss.sel(seed=5), alone.log_loss.sel(seed=5), rtol=1e-10)
