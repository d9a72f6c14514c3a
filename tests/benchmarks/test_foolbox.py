"""Foolbox as an outside judge of FGSM and PGD, on a network of PyTorch's with the same weights.

Foolbox returns the last iterate and ours the best one, so that ours is held against the best of Foolbox's
iterates, run for one step, two steps, ... The judge is no dependency: without it these tests are skipped.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import adversary
from dynamics import observables as o
from dynamics.data.clusters import Clusters
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem, losses

foolbox = pytest.importorskip("foolbox")
torch = pytest.importorskip("torch")

BOX = (-4.0, 4.0)
KEY = jax.random.key(0)
PROBLEM = Problem(
    Clusters(20, 4, 300, 300, noise=0.6, centre_norm=3.0),
    TwoLayer(4, 4, use_bias=False),
    "cross_entropy",
    init_scale=0.1,
)
ONE_STEP = {"l2": "L2FastGradientAttack", "linf": "LinfFastGradientAttack"}
MANY_STEPS = {"l2": "L2ProjectedGradientDescentAttack", "linf": "LinfProjectedGradientDescentAttack"}
RADIUS = {"l2": 1.2, "linf": 0.35}


@pytest.fixture(scope="module")
def trained():
    """A network trained for 60 steps, ours and Foolbox's, and its data within the box."""
    draw = PROBLEM.sample(KEY)

    @jax.jit
    def train(params):
        def step(_, params):
            grads = jax.grad(PROBLEM.training_loss)(params, draw.train, draw, KEY)
            return jax.tree.map(lambda p, g: p - 1.0 * g, params, grads)

        return jax.lax.fori_loop(0, 60, step, params)

    params = train(PROBLEM.init(KEY))
    draw = jax.tree.map(lambda a: jnp.clip(a, *BOX) if a.ndim == 2 else a, draw)

    class Network(torch.nn.Module):
        def forward(self, x):
            hidden = torch.relu(x @ torch.tensor(np.asarray(params["W"])).T)
            return hidden.reshape(len(x), 4, 4).mean(dim=2)

    model = foolbox.PyTorchModel(Network().eval(), bounds=BOX, device="cpu")
    x = torch.tensor(np.asarray(draw.test.x))
    np.testing.assert_allclose(model(x), PROBLEM.apply(params, draw.test.x), rtol=1e-12, atol=1e-14)
    assert o.accuracy(params, PROBLEM, draw, KEY) > 0.9
    return params, draw, model, x, torch.tensor(np.asarray(draw.test.target))


def values(params, sample, x):
    """The loss of each sample at `x`."""
    return losses.evaluate("cross_entropy", PROBLEM.apply(params, jnp.asarray(x)), sample)


@pytest.mark.parametrize("norm", ONE_STEP)
def test_one_step_is_foolboxs(trained, norm):
    params, draw, model, x, target = trained
    attack = getattr(foolbox.attacks, ONE_STEP[norm])(random_start=False)
    theirs = attack.run(model, x, target, epsilon=RADIUS[norm]).numpy()
    one = adversary.FGSM(RADIUS[norm], norm=norm, box=BOX)
    ours = np.asarray(one.perturb(KEY, lambda p: values(params, draw.test, p), draw.test, draw))
    assert np.abs(ours - x.numpy()).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", MANY_STEPS)
def test_pgd_without_random_start_visits_foolboxs_points(trained, norm):
    params, draw, model, x, target = trained
    step, steps = RADIUS[norm] / 4, 10
    iterates = [x.numpy()]
    for count in range(1, steps + 1):
        attack = getattr(foolbox.attacks, MANY_STEPS[norm])(
            abs_stepsize=step, steps=count, random_start=False
        )
        iterates.append(attack.run(model, x, target, epsilon=RADIUS[norm]).numpy())
    loss = np.stack([values(params, draw.test, point) for point in iterates])
    best = np.stack(iterates)[loss.argmax(axis=0), np.arange(len(x))]
    ours = jax.jit(
        lambda x: adversary.pgd(
            KEY,
            lambda p: values(params, draw.test, p),
            x,
            RADIUS[norm],
            norm=norm,
            steps=steps,
            step_size=step,
            random_start=False,
            box=BOX,
        )
    )(draw.test.x)
    found = np.asarray(values(params, draw.test, ours))
    np.testing.assert_allclose(found, loss.max(axis=0), rtol=1e-10)
    np.testing.assert_allclose(ours, best, rtol=0, atol=1e-9)
    assert (loss.argmax(axis=0) > 4).any()


@pytest.mark.parametrize("norm", MANY_STEPS)
def test_pgd_from_random_starts_leaves_as_many_correct(trained, norm):
    params, draw, model, x, target = trained
    torch.manual_seed(0)
    attack = getattr(foolbox.attacks, MANY_STEPS[norm])(rel_stepsize=0.1, steps=20, random_start=True)
    radii = RADIUS[norm] * np.array([0.7, 1.0, 1.3])
    theirs = [
        float((model(attack.run(model, x, target, epsilon=r)).argmax(dim=1) == target).double().mean())
        for r in radii
    ]
    ours = o.robust_curve.given(
        attack=adversary.PGD(1.0, norm=norm, steps=20, relative_step=2.0, box=BOX), radius=radii
    )(params, PROBLEM, draw, KEY)
    print(f"robust accuracy, {norm} {radii}: ours {np.round(ours, 4)}, Foolbox's {np.round(theirs, 4)}")
    assert 0.05 < theirs[1] < 0.9
    np.testing.assert_allclose(ours, theirs, atol=0.03)
