"""The part `width`: do attacks made from the kernel alone work on trained networks, as width grows?"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PyTree

from dynamics.data import box as boxes
from dynamics.data.sample import Draw
from dynamics.data.shared import Shared
from dynamics.descent import named
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
from dynamics.keys import named_key, seed_key
from dynamics.observables import eigenfeatures as kernel_part
from dynamics.observables import predictor
from dynamics.parts import Axis, PerSeed, part
from dynamics.problem import Problem
from kernels import eigenfeatures, regression
from kernels.attacks import Attack

SOURCES = ("white_box", "kernel", "other_network", "random_signs")


@part
class Pair:
    """Initial weights of two networks of one seed: those of its runs, and others from a key of their own.

    Attributes:
      seed: whose they are.
      network: which of the two, 0 or 1.
    """

    seed: Any = PerSeed()
    network: Any = 0

    def params(self, model: nn.Module, draw: Draw) -> PyTree:
        """The module's own initial parameters."""
        key = seed_key(self.seed)
        own, other = named_key(key, "init"), named_key(key, "init of another network")
        chosen = jnp.where(self.network == 0, own, other)
        return model.init(chosen, jnp.zeros_like(draw.train.x[:1]))["params"]


def train(config, source, kernel, network) -> Staged:
    """Pairs of networks on each seed's data, trained for `steps` steps of 1 / lambda_max.

    The kernel predictor is taken after as many steps. Attacks are against the true label: FGSM or, of several
    `attack_steps`, PGD; random signs are one step of the whole radius.
    Dimensions: seed, width, radius, attack.
    """
    inputs = Shared(source) if config.shared_data else source
    rate = PerSeed(kernel_part.inverse_largest.given(kernel=kernel))

    def problem(width, start=None):
        return Problem(inputs, network(width), loss="squared", reduction="sum", start=start)

    def job(width):
        end = {"parameters": predictor.parameters}
        pair = problem(width, Pair(network=Axis("network", [0, 1])))
        return Job(pair, named("gd", rate), steps=config.steps, when=[config.steps], observe_end=end)

    end = {"eigenvalues": kernel_part.eigenvalues.given(kernel=kernel)}
    jobs = {"eigenvalues": Job.still(problem(config.widths[0]), end)}
    found = yield jobs | {f"width_{width}": job(width) for width in config.widths}
    known = found["eigenvalues"]
    seeds = known.seed.values.tolist()
    shape = (len(seeds), len(config.widths))
    cosine = np.full(shape, np.nan)
    accuracy = np.full((*shape, 2), np.nan)
    attacked = np.full((*shape, len(config.radii), len(SOURCES)), np.nan)
    for i, seed in enumerate(seeds):
        draw = inputs.sample(named_key(seed_key(seed), "data"))
        rate_here = 1 / float(known.eigenvalues.sel(seed=seed)[0])
        predict = _kernel_predictor(kernel, draw, config.steps, rate_here)
        for j, width in enumerate(config.widths):
            vectors = found[f"width_{width}"].parameters.sel(seed=seed).values
            nets = [_network(problem(width), vector) for vector in vectors]
            cosine[i, j] = eigenfeatures.gradient_cosine(nets[0], predict, draw.test.x)
            accuracy[i, j] = [
                kernel_part.accuracy_at(f, draw.test.x, draw.test.y) for f in (nets[0], predict)
            ]
            attacked[i, j] = _attacks(config, seed, nets, predict, draw, boxes.of(source))
    about = {
        "gradient_cosine": (("seed", "width"), cosine, "cosine of network's and kernel's input gradients"),
        "clean_accuracy": (("seed", "width", "learner"), accuracy, "accuracy"),
        "attacked_accuracy": (
            ("seed", "width", "radius", "attack"),
            attacked,
            "the network's accuracy under attack",
        ),
    }
    coords = {
        "seed": seeds,
        "width": list(config.widths),
        "radius": list(config.radii),
        "attack": list(SOURCES),
        "learner": ["network", "kernel"],
    }
    made = {name: (dims, values, {"long_name": long}) for name, (dims, values, long) in about.items()}
    attrs = {name: known.attrs[name] for name in known.attrs if name not in ("problem", "descent", "steps")}
    return xr.Dataset(made, coords, attrs).assign(
        first_nonfinite_step=("seed", np.full(len(seeds), -1)), eigenvalues=known.eigenvalues
    )


def _kernel_predictor(kernel, draw, steps, rate):
    modes = kernel_part.spectrum(kernel, draw.train.x)
    alpha = regression.coefficients(modes, draw.train.y, regression.descent(steps, rate))
    return jax.jit(regression.predictor(kernel, draw.train.x, alpha))


def _network(problem, vector):
    """A trained network as a function, from all its parameters in one vector."""
    shapes = jax.eval_shape(lambda key: problem.init(key, key), seed_key(0))
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = [
        jnp.asarray(part).reshape(leaf.shape)
        for part, leaf in zip(np.split(vector, ends), leaves, strict=True)
    ]
    params = jax.tree.unflatten(structure, parts)
    return jax.jit(lambda x: problem.apply(params, x))


def _attacks(config, seed, nets, predict, draw, box):
    """The first network's accuracy by radius and by who made the attack."""
    x, y = draw.test.x, draw.test.y
    rows = []
    for radius in config.radii:
        attack = Attack(radius, config.norm, config.attack_steps, None, box)
        signs = jax.random.rademacher(named_key(seed_key(seed), "random signs"), x.shape, x.dtype)
        if config.norm == "l2":
            signs = signs / jnp.linalg.norm(signs, axis=1, keepdims=True)
        noisy = x + radius * signs
        noisy = noisy if box is None else jnp.clip(noisy, *box)
        moved = [attack.perturb(f, x, y) for f in (nets[0], predict, nets[1])]
        rows.append([kernel_part.accuracy_at(nets[0], at, y) for at in (*moved, noisy)])
    return rows
