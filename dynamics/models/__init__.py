"""Networks as flax modules with a pure apply, one file a family."""

from typing import Any

from dynamics.models.activations import Activation
from dynamics.models.conv import SmallCNN
from dynamics.models.handmade import Averaging, Mixed, PureFeatures
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.kernel_regression import KernelRegression
from dynamics.models.linear import DiagonalLinear, Linear
from dynamics.models.linearized import Linearized
from dynamics.models.memorised_balls import MemorisedBalls, SignParity, Towers
from dynamics.models.mlp import MLP
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.models.patch_cnn import PatchCNN
from dynamics.models.two_layer import TwoLayer

__all__ = [
    "MLP",
    "NNX",
    "Activation",
    "Averaging",
    "DiagonalLinear",
    "Homogeneous",
    "KernelRegression",
    "Linear",
    "Linearized",
    "MemorisedBalls",
    "Mixed",
    "NTKNetwork",
    "NTKTwoLayer",
    "PatchCNN",
    "PureFeatures",
    "SignParity",
    "SmallCNN",
    "Towers",
    "TwoLayer",
]


def __getattr__(name: str) -> Any:
    # imported when first used: flax.nnx takes longer to load than all other models together
    if name == "NNX":
        from dynamics.models.nnx_modules import NNX

        return NNX
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
