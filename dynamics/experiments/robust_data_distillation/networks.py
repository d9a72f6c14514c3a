"""The part `networks`: wide networks trained on distilled images, beside the kernel that they follow."""

import jax.numpy as jnp
import xarray as xr

from dynamics import observables as o
from dynamics import results
from dynamics.data import box as boxes
from dynamics.data.images import LabelledImages
from dynamics.data.made import Made
from dynamics.descent import named
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.mlp import MLP
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.observables.eigenfeatures import inverse_largest
from dynamics.parts import PerSeed
from dynamics.problem import Problem

ATTACKS = ("clean", "pgd", "margin", "worst")


def train(config, problem, kernel) -> Staged:
    """Networks of several widths, trained on each arm's set for `net_steps` steps.

    Lazy ones descend by 1 / lambda_max, and `kernel_gap` compares them with the kernel predictor after as
    many steps; standard ones take Adam on the cross-entropy. Dimensions: training, seed, width.
    """
    sets = yield {arm: _set(config, problem(config, arm), arm) for arm in config.arms}
    jobs, widths = {}, list(config.widths)
    for arm, found in sets.items():
        distilled = problem(config, arm)
        data, box = _made(config, distilled, found), boxes.of(distilled.data)
        jobs |= {f"{arm}_{width}": _network(config, kernel, data, box, width) for width in widths}
    trained = yield jobs
    arms = {}
    for arm, found in sets.items():
        parts = [results.without_steps(trained[f"{arm}_{width}"]) for width in widths]
        parts = [part.drop_vars("first_nonfinite_step") for part in parts]
        joined = xr.concat(parts, xr.IndexVariable("width", widths), combine_attrs="override")
        joined = joined.assign_attrs({name: found.attrs[name] for name in ("problem", "descent")})
        arms[arm] = joined.assign(first_nonfinite_step=found.first_nonfinite_step)
    return results.join(arms, "training")


def _set(config, distilled, arm):
    """The images that an arm trains on."""
    learned = arm != "subset"
    return Job(
        distilled,
        config.support_rule(boxes.of(distilled.data)),
        steps=config.steps if learned else 0,
        observe_end={"support": o.support, "support_class": o.support_class},
        when=[config.steps] if learned else None,
        batch_size=config.batch_size or None,
        whole=True,
    )


def _made(config, distilled, found) -> Made:
    """Each seed's set as its data, with the test images of the data that it comes from."""
    seeds, sources = found.seed.values.tolist(), []
    for seed in seeds:
        one = found.sel(seed=seed)
        draw = distilled.sample(named_key(seed_key(seed), "data"))
        sources.append(
            LabelledImages(
                jnp.asarray(one.support.values),
                one.support_class.values.astype(int),
                tuple(int(sign) for sign in draw.class_signs),
                config.num_support,
                config.num_test,
                draw.test.x,
                draw.test.target,
            )
        )
    return Made.of(seeds, sources)


def _network(config, kernel, data, box, width):
    classes = len(data.source.class_signs)
    under = o.accuracy_under.given(
        radius=config.evaluation_radius, attack=ATTACKS, steps=config.test_steps, box=box,
        margin_steps=config.margin_steps, restarts=config.restarts,
    )  # fmt: skip
    if config.network == "standard":
        problem = Problem(data, MLP((width,), classes), loss="cross_entropy")
        rule, end = named("adam", config.net_rate), {"under": under}
    else:
        sizes = {"weight_std": config.weight_std, "bias_std": config.bias_std, "doubled": config.doubled}
        model = NTKNetwork(width, config.depth, classes, activation=Activation(config.kernel), **sizes)
        problem = Problem(data, model, loss="squared", reduction="sum")
        rate = PerSeed(inverse_largest.given(kernel=kernel))
        gap = o.kernel_gap.given(kernel=kernel, steps=config.net_steps, learning_rate=rate)
        rule, end = named("gd", rate), {"kernel_gap": gap, "under": under}
    return Job(problem, rule, steps=config.net_steps, when=[config.net_steps], observe_end=end)
