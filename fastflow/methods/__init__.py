"""Methods: which dynamics takes the factors from their start to the end.

One module each, with what the user says and how it is executed.
"""

from fastflow.methods.adaptive import Adam, RMSprop, SignDescent
from fastflow.methods.base import Execution as Execution
from fastflow.methods.base import Method as Method
from fastflow.methods.base import execute as execute
from fastflow.methods.custom_rule import CustomRule
from fastflow.methods.early_stopping import EarlyStopping
from fastflow.methods.flow_limit import FlowLimit
from fastflow.methods.gradient_descent import GradientDescent
from fastflow.methods.gradient_flow import GradientFlow
from fastflow.methods.layerwise import LayerwiseDescent
from fastflow.methods.momentum import Momentum
from fastflow.methods.muon import Muon
from fastflow.methods.product_flow import ProductFlow
from fastflow.methods.rates import BarzilaiBorwein, NormalizedDescent, SharedRate
from fastflow.methods.schedules import SAFE as SAFE
from fastflow.methods.schedules import Cyclic, Decreasing, Piecewise
from fastflow.methods.sharpness_aware import SharpnessAware
from fastflow.methods.stacked import StackedMethod as StackedMethod
from fastflow.methods.stacked import StackEnds as StackEnds
from fastflow.methods.stacked import SystemStack as SystemStack
from fastflow.methods.stepping import SteppingMethod as SteppingMethod
from fastflow.methods.stochastic import StochasticGradientDescent
from fastflow.methods.weight_normalization import WeightNormalization
from fastflow.methods.weight_normalization_flow import WeightNormalizationFlow

__all__ = [
    "Adam",
    "BarzilaiBorwein",
    "CustomRule",
    "Cyclic",
    "Decreasing",
    "EarlyStopping",
    "FlowLimit",
    "GradientDescent",
    "GradientFlow",
    "LayerwiseDescent",
    "Momentum",
    "Muon",
    "NormalizedDescent",
    "Piecewise",
    "ProductFlow",
    "RMSprop",
    "SharedRate",
    "SharpnessAware",
    "SignDescent",
    "StochasticGradientDescent",
    "WeightNormalization",
    "WeightNormalizationFlow",
]

DEFAULT_METHOD = GradientDescent
"""What trains where the user names nothing."""

METHODS: tuple[type[Method], ...] = (
    GradientDescent,
    StochasticGradientDescent,
    Momentum,
    LayerwiseDescent,
    Adam,
    RMSprop,
    SharedRate,
    NormalizedDescent,
    BarzilaiBorwein,
    SignDescent,
    Muon,
    SharpnessAware,
    WeightNormalization,
    EarlyStopping,
    GradientFlow,
    ProductFlow,
    FlowLimit,
    WeightNormalizationFlow,
)
"""Every method that there is: the face, files, the shell, `warmup` and the battery of tests go through them."""


def as_method(method: object) -> Method:
    """A method.

    Raises
    ------
    TypeError
        for what is none
    """
    if not isinstance(method, Method):
        names = ", ".join(kind.__name__ for kind in METHODS)
        raise TypeError(f"method must be one of {names}, got {type(method).__name__}")
    return method
