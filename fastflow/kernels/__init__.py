"""Compiled kernels, callable from a user's own ``@numba.njit`` code: without the GIL and without global state.

`product_nn`, `product_tn` and `product_nt` take matrices. Everything about chains of factors works on flat storage: the
factors of one run are one array, ``W_1`` first, each row-major, beside ``widths = (d_0, ..., d_N)`` as int64. Losses
take the data of a problem as a NamedTuple, also one that `add_problem` has taught them, and `add_rule` teaches update
rules. The mirror maps of diagonal networks say where their gradient flows are.

All of these look at the types of their arguments when they are compiled, TypeError, and at their sizes when they are
called, ValueError. All else lies in the folders, by what it is: ``compile``, ``vectors``, ``random``, ``losses``,
``networks``, ``rules``, ``descent``, ``flow``, ``dual``. It serves fastflow itself, looks at nothing, and changes
without notice.
"""

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.dual.mirror import Mirror
from fastflow.kernels.losses.completion import Completion
from fastflow.kernels.losses.estimation import Estimation
from fastflow.kernels.losses.loss import LossWorkspace
from fastflow.kernels.losses.regression import RegressionByGram, RegressionBySamples
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.losses.taught import add_problem
from fastflow.kernels.networks.chain import ChainWorkspace
from fastflow.kernels.public.chains import (
    chain_balancedness,
    chain_gradient,
    chain_product,
    chain_workspace,
    parameter_count,
)
from fastflow.kernels.public.losses import loss_gradient, loss_workspace
from fastflow.kernels.public.measures import relative_error
from fastflow.kernels.public.mirrors import (
    make_mirror,
    mirror_dual,
    mirror_inverse,
    mirror_move,
    mirror_point,
    mirror_theta,
)
from fastflow.kernels.rules.taught import add_rule
from fastflow.kernels.vectors.products import product_nn, product_nt, product_tn

__all__ = [
    "ChainWorkspace",
    "Completion",
    "Estimation",
    "LossWorkspace",
    "Mirror",
    "RegressionByGram",
    "RegressionBySamples",
    "Sensing",
    "add_problem",
    "add_rule",
    "chain_balancedness",
    "chain_gradient",
    "chain_product",
    "chain_workspace",
    "jit",
    "loss_gradient",
    "loss_workspace",
    "make_mirror",
    "mirror_dual",
    "mirror_inverse",
    "mirror_move",
    "mirror_point",
    "mirror_theta",
    "parameter_count",
    "product_nn",
    "product_nt",
    "product_tn",
    "relative_error",
]
