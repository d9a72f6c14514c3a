"""The setting `Width`: do attacks made from the kernel alone work on trained networks, as width grows?"""

import jax
import numpy as np
import xarray as xr

from dynamics import Axis, Job, PerSeed, Problem
from dynamics.descent import named
from dynamics.engine.stages import Staged
from dynamics.keys import named_key, seed_key
from dynamics.observables import eigenfeatures as kernel_part
from dynamics.observables import predictor
from dynamics.problem.starts import Pair
from kernels import eigenfeatures, regression
from kernels.attacks import Attack

SOURCES = ("white_box", "kernel", "other_network", "random_signs")


def train(config) -> Staged:
    """Pairs of networks on each seed's data, trained for `steps` steps of 1 / lambda_max.

    The kernel predictor is taken after as many steps. Attacks are against the true label, by FGSM in
    the l_inf ball; random signs are one step of the whole radius.
    Dimensions: seed, width, radius, attack.
    """
    inputs, kernel = config.source, config.kernel_function
    rate = PerSeed(kernel_part.inverse_largest.given(kernel=kernel))

    def problem(width, start=None):
        return Problem(inputs, config.network(width), loss="squared", reduction="sum", start=start)

    def job(width):
        end = {"parameters": predictor.parameters}
        pair = problem(width, Pair(network=Axis("network", [0, 1])))
        return Job(pair, named("gd", rate), steps=config.steps, when=[config.steps], observe_end=end)

    end = {"eigenvalues": kernel_part.eigenvalues.given(kernel=kernel)}
    jobs = {"eigenvalues": Job.still(problem(config.widths[0]), end)}
    found = yield jobs | {f"width_{width}": job(width) for width in config.widths}
    known = found["eigenvalues"]

    def measured(seed):
        draw = inputs.sample(named_key(seed_key(seed), "data"))
        modes = kernel_part.spectrum(kernel, draw.train.x)
        learned = regression.descent(config.steps, 1 / float(known.eigenvalues.sel(seed=seed)[0]))
        alpha = regression.coefficients(modes, draw.train.y, learned)
        predict = jax.jit(regression.predictor(kernel, draw.train.x, alpha))
        for width in config.widths:
            vectors = found[f"width_{width}"].parameters.sel(seed=seed).values
            nets = [predictor.network(problem(width), vector) for vector in vectors]
            yield (
                eigenfeatures.gradient_cosine(nets[0], predict, draw.test.x),
                [kernel_part.accuracy_at(f, draw.test.x, draw.test.y) for f in (nets[0], predict)],
                _attacks(config, seed, nets, predict, draw),
            )

    by_seed = [list(measured(seed)) for seed in known.seed.values.tolist()]
    about = {
        "gradient_cosine": ((), "cosine of network's and kernel's input gradients"),
        "clean_accuracy": (("learner",), "accuracy"),
        "attacked_accuracy": (("radius", "attack"), "the network's accuracy under attack"),
    }
    made = {}
    for i, (name, (dims, long)) in enumerate(about.items()):
        values = np.asarray([[one[i] for one in row] for row in by_seed], float)
        made[name] = (("seed", "width", *dims), values, {"long_name": long})
    coords = {"seed": known.seed.values, "width": list(config.widths), "radius": list(config.radii)}
    coords |= {"attack": list(SOURCES), "learner": ["network", "kernel"]}
    attrs = {name: known.attrs[name] for name in known.attrs if name not in ("problem", "descent", "steps")}
    whole = xr.Dataset(made, coords, attrs)
    still = np.full(known.sizes["seed"], -1)
    return whole.assign(first_nonfinite_step=("seed", still), eigenvalues=known.eigenvalues)


def _attacks(config, seed, nets, predict, draw):
    """The first network's accuracy by radius and by who made the attack."""
    x, y = draw.test.x, draw.test.y
    signs = jax.random.rademacher(named_key(seed_key(seed), "random signs"), x.shape, x.dtype)
    rows = []
    for radius in config.radii:
        moved = [Attack(radius, "linf", 1, None, None).perturb(f, x, y) for f in (nets[0], predict, nets[1])]
        rows.append([kernel_part.accuracy_at(nets[0], at, y) for at in (*moved, x + radius * signs)])
    return rows
