"""Networks of flax.nnx, whose modules hold their weights, as models that are functions of them."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import linen, nnx
from jaxtyping import Array, Float, Key, PyTree

from dynamics.parts import headed, takes, written


@dataclass(frozen=True)
class NNX:
    """A network of flax.nnx by what makes it: `NNX(lambda rngs: Net(64, rngs=rngs))`.

    It is made anew with each seed's random numbers, so that every seed has weights of its own. Parameters
    (`nnx.Param`) are dicts by the module's names, `hidden/kernel`; entries of lists by their number.
    What else the module keeps (running means) moves in training, in `train()` mode; elsewhere the network is
    in `eval()` mode.

    Attributes:
      factory: a function of `nnx.Rngs` that gives a new module.
    Raises: TypeError: a module, or no such function.
    """

    factory: Callable[[nnx.Rngs], nnx.Module]

    __repr__ = written

    def __post_init__(self):
        kind = type(self.factory).__name__
        if isinstance(self.factory, linen.Module):
            raise TypeError(f"{kind} is of flax.linen, whose networks go in as they are, without NNX")
        if isinstance(self.factory, nnx.Module):
            raise TypeError(
                f"NNX takes what makes a network, so that every seed has weights of its own, got a {kind}: "
                f"give NNX(lambda rngs: {kind}(..., rngs=rngs))"
            )
        if not takes(self.factory, 1):
            raise TypeError(
                "NNX takes a function of rngs alone that makes a network, as "
                f"NNX(lambda rngs: Net(..., rngs=rngs)), got {headed(self.factory)}"
            )

    def init(self, key: Key[Array, ""], x: Float[Array, "samples *shape"]) -> dict[str, PyTree]:
        """A seed's parameters, and in `state` what else the module keeps.

        Raises: TypeError: no module, or the same one for all seeds. ValueError: a module with random numbers.
        """
        del x
        module = self._made(key)
        if module is self._made(key):
            raise TypeError(
                "the factory gives all seeds one module, and so the same weights: make it inside, as by "
                "NNX(lambda rngs: Net(rngs=rngs))"
            )
        _, *states = nnx.split(module, nnx.Param, ...)
        params, kept = map(_by_name, states)
        return {"params": params} | ({"state": kept} if kept else {})

    def apply(
        self, variables: Mapping[str, PyTree], x: Float[Array, "samples *shape"], mutable: Any = ()
    ) -> Any:
        """The network's outputs; in training, where something is mutable, also what the module then keeps."""
        # the weights of this one are not looked at
        graph, *states = nnx.split(nnx.eval_shape(lambda: self._made(0)), nnx.Param, ...)
        given = (variables["params"], variables.get("state", {}))
        module = nnx.merge(graph, *map(_filled, states, given))
        module.train() if mutable else module.eval()
        outputs = module(x)
        return (outputs, {"state": _by_name(nnx.state(module, nnx.Not(nnx.Param)))}) if mutable else outputs

    def _made(self, key):
        module = self.factory(nnx.Rngs(key))
        if not isinstance(module, nnx.Module):
            raise TypeError(f"the factory must give a module of flax.nnx, got {type(module).__name__}")
        return module


def _by_name(state):
    """Values of a state, in dicts."""
    tree: dict[str, Any] = {}
    for path, variable in nnx.to_flat_state(state):
        if isinstance(variable, nnx.RngState):
            raise ValueError(
                "it keeps random numbers, as Dropout does, which is not supported: a network is a function "
                "of its parameters and inputs"
            )
        *above, last = map(str, path)
        inner = functools.reduce(lambda inner, key: inner.setdefault(key, {}), above, tree)
        inner[last] = variable.get_value()
    return tree


def _filled(state, tree):
    """A state with the values of such dicts."""
    flat = [
        (path, variable.replace(functools.reduce(lambda inner, key: inner[str(key)], path, tree)))
        for path, variable in nnx.to_flat_state(state)
    ]
    return nnx.from_flat_state(flat)
