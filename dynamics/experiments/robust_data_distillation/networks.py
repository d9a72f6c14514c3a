"""The part `networks`: wide networks trained on distilled images, beside the kernel that they follow."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from dynamics import observables as o
from dynamics.data import box as boxes
from dynamics.data.images import LabelledImages
from dynamics.descent import named
from dynamics.engine.simulate import simulate
from dynamics.experiments.base import run_arms
from dynamics.experiments.robust_data_distillation import observables as own
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.mlp import MLP
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.problem import Problem

ATTACKS = ("clean", "pgd", "margin", "worst")


def run(config, engine, problem, kernel) -> xr.Dataset:
    """Networks of several widths, trained on each arm's set for `net_steps` steps.

    Lazy ones descend by 1 / lambda_max, and `kernel_gap` compares them with the kernel predictor after as
    many steps; standard ones take Adam on the cross-entropy. Dimensions: training, seed, width.
    """
    return run_arms(
        "training", dict.fromkeys(config.arms, lambda arm: _arm(config, engine, problem, kernel, arm))
    )


def _arm(config, engine, problem, kernel, arm):
    learned = arm != "subset"
    distilled = problem(config, arm)
    box = boxes.of(distilled.data)
    sets = simulate(
        distilled,
        config.support_rule(box),
        steps=config.steps if learned else 0,
        observe_end={"support": own.support, "support_class": own.support_class},
        when=[config.steps] if learned else None,
        batch_size=config.batch_size or None,
        **engine.keywords(arm),
    )
    parts = []
    for seed in sets.seed.values.tolist():
        one = sets.sel(seed=seed)
        draw = distilled.sample(named_key(seed_key(seed), "data"))
        data = LabelledImages(
            jnp.asarray(one.support.values),
            one.support_class.values.astype(int),
            tuple(int(sign) for sign in draw.class_signs),
            config.num_support,
            config.num_test,
            draw.test.x,
            draw.test.target,
        )
        values = np.linalg.eigvalsh(np.asarray(kernel(data.inputs, data.inputs)))
        rate = 1 / values[-1]
        made = [_network(config, engine, kernel, arm, data, box, seed, rate, m) for m in config.widths]
        parts.append(
            xr.concat(made, xr.IndexVariable("width", list(config.widths)), combine_attrs="override")
        )
    whole = xr.concat(parts, "seed", combine_attrs="override")
    return whole.assign_attrs({name: sets.attrs[name] for name in ("problem", "descent")}).assign(
        first_nonfinite_step=sets.first_nonfinite_step
    )


def _network(config, engine, kernel, arm, data, box, seed, rate, width):
    classes = len(data.class_signs)
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
        gap = own.kernel_gap.given(kernel=kernel, steps=config.net_steps, learning_rate=float(rate))
        rule, end = named("gd", float(rate)), {"kernel_gap": gap, "under": under}
    trained = simulate(
        problem,
        rule,
        steps=config.net_steps,
        when=[config.net_steps],
        observe_end=end,
        **engine._replace(seeds=[seed]).keywords(f"{arm}_{width}_seed_{seed}"),
    )
    return trained.drop_dims("step", errors="ignore").drop_vars("first_nonfinite_step")
