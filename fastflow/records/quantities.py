"""Quantities: the one table of what can be recorded of a run.

A row says what a quantity is, of which architectures it is one, how it is made of products or factors, and how it is
drawn. `Record`'s arguments, the shapes of histories, the axes of tables and the panels of pictures follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from fastflow import metrics
from fastflow.checks import FloatArray, NumberArray, Numbers
from fastflow.networks import Architecture
from fastflow.records.snapshot import Snapshot, Subject, log_alphas
from fastflow.theory import sharpness
from fastflow.theory.hessian import check_has_hessian

Shape = tuple[int, ...]


class Source(Enum):
    """What a quantity is made of."""

    KERNEL = auto()
    """The kernels write it while they step; what steps outside of them gives it with its products."""
    PRODUCTS = auto()
    FACTORS = auto()


class Panel(Enum):
    """How a history is drawn."""

    LOSS = auto()
    NUMBER = auto()
    VALUES = auto()
    """A curve for each entry."""


def _of_any(architecture: Architecture) -> Shape | None:
    return ()


def _of_matrices(architecture: Architecture) -> Shape | None:
    return () if len(architecture.solution_shape) == 2 else None


def _of_squares(architecture: Architecture) -> Shape | None:
    shape = architecture.solution_shape
    return () if len(shape) == 2 and shape[0] == shape[1] else None


def _of_vectors(architecture: Architecture) -> Shape | None:
    return () if len(architecture.solution_shape) == 1 else None


def _no_axes(architecture: Architecture) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Quantity:
    """A row of the table.

    Attributes
    ----------
    name : as `Record` and `History` have it
    meaning : in words, for the documentation
    source : what it is made of
    make : function of a `Snapshot`, the values (moments, *shape); None where kernels write it
    shape : function of an architecture, the shape at one moment, or None where there is no such quantity
    axes : function of an architecture, the names of the axes of that shape
    needs_truth : whether only a problem with a truth has it
    default : whether it is recorded unless it is switched off
    prepare : function of a `Subject`, called before any work; it raises where the quantity cannot be had
    review : function of a `Subject`, of what was recorded (runs, moments, *shape) and of the moments, called when all
        is done; what is wrong with that in words, or None
    costly : whether one moment takes milliseconds
    label : what the axis of its panel says; none, no panel
    panel : how it is drawn
    """

    name: str
    meaning: str
    source: Source
    make: Callable[[Snapshot], Numbers] | None = None
    shape: Callable[[Architecture], Shape | None] = _of_any
    axes: Callable[[Architecture], tuple[str, ...]] = _no_axes
    needs_truth: bool = False
    default: bool = True
    prepare: Callable[[Subject], object] | None = None
    review: Callable[[Subject, FloatArray, NumberArray], str | None] | None = None
    costly: bool = False
    label: str = ""
    panel: Panel = Panel.NUMBER


def _spread(values: FloatArray) -> FloatArray:
    """Least, median and largest over the last axis."""
    return np.stack([values.min(-1), np.median(values, -1), values.max(-1)], axis=-1)


def _determinant_signs(seen: Snapshot) -> FloatArray:
    """The signs of determinants, 0 where a product is singular but for round-off, which decides its sign."""
    values, shape = seen.singular_values, seen.architecture.solution_shape
    signs = seen.where_finite(lambda products: np.linalg.slogdet(products)[0])
    bottleneck = min(map(min, seen.architecture.factor_shapes)) < shape[0]
    singular = np.asarray(metrics.numerical_rank_of_values(values, shape) < shape[0]) | bottleneck
    return np.where(seen.finite & singular, 0.0, signs)


def _test_losses(seen: Snapshot) -> FloatArray:
    """The losses of the measurements that are held out, NaN where the product is not finite."""
    values = np.full(len(seen.products), np.nan)
    for moment in np.flatnonzero(seen.finite):
        test = seen.subject.problems[int(seen.subject.problem_index[seen.runs[moment]])].test
        assert test is not None
        values[moment] = test.loss(seen.products[moment])
    return values


def _check_tests(subject: Subject) -> None:
    if any(problem.test is None for problem in subject.problems):
        raise ValueError("test_loss needs measurements that are held out: train on problem.hold_out(count)")


def _average_losses(seen: Snapshot) -> FloatArray:
    problems = [seen.subject.problems[int(seen.subject.problem_index[run])] for run in seen.runs]
    return np.array([problem.loss(x) for problem, x in zip(problems, seen.averages, strict=True)])


def _average_errors(seen: Snapshot) -> FloatArray:
    flat = seen.averages.reshape(len(seen.runs), -1)
    return metrics.relative_errors(flat, seen.truths, np.arange(len(flat)))


def _check_averages(subject: Subject) -> None:
    if subject.axis != "steps":
        raise ValueError("averages are those of the iterates of methods that take steps: leave them out")
    if not all(problem.has_gradient for problem in subject.problems):
        raise ValueError("average_loss needs a loss in NumPy, which a CustomProblem has not: leave it out")


REVIEWED = 2**20
"""How many values are looked at together, as there may be more than memory."""


def _flips(subject: Subject, signs: FloatArray, moments: NumberArray) -> str | None:
    """Which balanced runs changed the sign (runs, moments) of their determinant, which the flow does not do."""
    count, first = 0, (0, 0)
    step = max(1, REVIEWED // signs.shape[1])
    for start in range(0, len(signs), step):
        block = signs[start : start + step]
        last = np.maximum.accumulate(np.where(block != 0, np.arange(block.shape[1]), 0), axis=1)
        before = np.take_along_axis(block, last, axis=1)[:, :-1]  # the last one that was not 0
        flips = (block[:, 1:] * before < 0) & subject.balanced[start : start + step, None]
        runs = np.flatnonzero(flips.any(axis=1))
        if runs.size and not count:
            first = start + int(runs[0]), int(np.argmax(flips[runs[0]]))
        count += runs.size
    if not count:
        return None
    run, at = first
    return (
        f"the determinant of the product changed its sign in {count} of {len(signs)} runs, first in run "
        f"{run} between {moments[at]:g} and {moments[at + 1]:g}: the flow from their balanced start never "
        "does that, the finite step or round-off did; take smaller steps, or ProductFlow, which keeps the sign"
    )


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("loss", "The loss.", Source.KERNEL, label="loss", panel=Panel.LOSS),
    Quantity(
        "gradient_norm",
        "The norm of the gradient of the loss by all factors (by all L of them where L identical ones run as one).",
        Source.KERNEL,
    ),
    Quantity(
        "singular_values",
        "Of a matrix: the singular values of the product, largest first.",
        Source.PRODUCTS,
        lambda seen: seen.singular_values,
        lambda a: (min(a.solution_shape),) if len(a.solution_shape) == 2 else None,
        lambda a: ("rank",),
        label="singular values of the product",
        panel=Panel.VALUES,
    ),
    Quantity(
        "effective_rank",
        "Of a matrix: nuclear over operator norm of the product (`metrics.effective_rank`).",
        Source.PRODUCTS,
        lambda seen: metrics.effective_rank_of_values(seen.singular_values),
        _of_matrices,
        label=r"effective rank $\|W\|_* / \|W\|_2$",
    ),
    Quantity(
        "balancedness",
        "Of matrices: ``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F``; of independent diagonal factors "
        "`metrics.balancedness_of_vectors`.",
        Source.KERNEL,
        shape=lambda a: () if a.has_balance else None,
    ),
    Quantity(
        "error",
        "The relative error ``||W - truth||_F / ||truth||_F`` (``||x - truth||_2 / ||truth||_2``), where the problem "
        "has a truth.",
        Source.KERNEL,
        needs_truth=True,
        label="relative error of the product",
    ),
    Quantity(
        "l1_norm",
        "Of a vector: ``sum |x_i|``.",
        Source.PRODUCTS,
        lambda seen: metrics.l1_norm(seen.products),
        _of_vectors,
        label=r"$\ell_1$ norm of x",
    ),
    Quantity(
        "l2_norm",
        "Of a vector: ``sqrt(sum x_i^2)``.",
        Source.PRODUCTS,
        lambda seen: metrics.l2_norm(seen.products),
        _of_vectors,
    ),
    Quantity(
        "support_size",
        "Of a vector: how many entries exceed a thousandth of the largest in magnitude (`metrics.support`).",
        Source.PRODUCTS,
        lambda seen: metrics.support(seen.products).sum(axis=-1),
        _of_vectors,
        label="support size",
    ),
    Quantity(
        "support_recovery",
        "Of a vector, where the problem has a truth: ``|S n T| / |S u T|`` for S the support counted by "
        "``support_size`` and T the nonzero entries of the truth; 1 iff they are equal (`metrics.support_recovery`).",
        Source.PRODUCTS,
        lambda seen: metrics.support_recovery(seen.products, seen.truths),
        _of_vectors,
        needs_truth=True,
    ),
    Quantity(
        "effective_alpha",
        "Of a signed DiagonalLinear network: least, median and largest over coordinates of ``sqrt(|u v|)``, or of the "
        "geometric mean of all 2L factors where they are not identical (`metrics.effective_alpha`).",
        Source.FACTORS,
        lambda seen: _spread(metrics.effective_alpha(seen.factors, seen.architecture.factors_multiplied)),
        lambda a: (3,) if len(a.sides) == 2 else None,
        lambda a: ("quantile",),
    ),
    Quantity(
        "gain",
        "Of a signed DiagonalLinear network of two identical factors: least, median and largest over coordinates of "
        "``ln(|u_0 v_0| / |u v|)`` since the start of the call. Of gradient descent and of its stochastic kin it is "
        "``sum_k q(step g_k)``, with ``q(z) = -1/2 ln((1 - z^2)^2)`` and the gradients ``g_k`` by x that were used "
        "(Even, Pesme, Gunasekar, Flammarion, arXiv:2302.08982); of the flow 0.",
        Source.FACTORS,
        lambda seen: _spread(seen.subject.log_alphas[seen.runs] - log_alphas(seen.factors)),
        lambda a: (3,) if a.factors_multiplied == 2 and len(a.sides) == 2 and not a.has_balance else None,
        lambda a: ("quantile",),
        default=False,
        prepare=lambda subject: subject.log_alphas,
    ),
    Quantity(
        "product",
        "The product W or x itself.",
        Source.PRODUCTS,
        lambda seen: seen.products,
        lambda a: a.solution_shape,
        lambda a: a.solution_axes,
        default=False,
    ),
    Quantity(
        "factors",
        "The factors themselves.",
        Source.FACTORS,
        lambda seen: seen.flat_factors,
        lambda a: (a.parameter_count,),
        default=False,
    ),
    Quantity(
        "numerical_rank",
        "Of a matrix: how many singular values of the product are not round-off (`metrics.numerical_rank`).",
        Source.PRODUCTS,
        lambda seen: np.where(
            seen.finite,
            metrics.numerical_rank_of_values(seen.singular_values, seen.architecture.solution_shape),
            np.nan,
        ),
        _of_matrices,
        default=False,
    ),
    Quantity(
        "determinant_sign",
        "Of a square matrix: the sign of the determinant of the product, 0 where that is singular but for round-off, "
        "as behind a bottleneck. Where it changes in a run that started balanced a warning says so: the flow keeps it.",
        Source.PRODUCTS,
        _determinant_signs,
        _of_squares,
        default=False,
        prepare=lambda subject: subject.balanced,
        review=_flips,
    ),
    Quantity(
        "sharpness",
        "The largest eigenvalue of the Hessian by all factors (`theory.sharpness`), against which ``2 / step`` is the "
        "edge of stability. It costs some dozens of gradients in NumPy a record.",
        Source.FACTORS,
        lambda seen: seen.each(lambda problem, factors: float(sharpness(problem, factors, seen.architecture.network))),
        default=False,
        prepare=lambda subject: check_has_hessian(subject.architecture.network),
        costly=True,
    ),
    Quantity(
        "average",
        "The mean of the products at all moments of this record so far: of every iterate with steps one apart, of a "
        "tail of them with steps from there on.",
        Source.PRODUCTS,
        lambda seen: seen.averages,
        lambda a: a.solution_shape,
        lambda a: a.solution_axes,
        default=False,
        prepare=_check_averages,
    ),
    Quantity(
        "average_loss",
        "The loss of ``average``.",
        Source.PRODUCTS,
        _average_losses,
        default=False,
        prepare=_check_averages,
        label="loss of the average",
    ),
    Quantity(
        "average_error",
        "The relative error of ``average``, where the problem has a truth.",
        Source.PRODUCTS,
        _average_errors,
        needs_truth=True,
        default=False,
        prepare=_check_averages,
        label="error of the average",
    ),
    Quantity(
        "test_loss",
        "The loss of the measurements that are held out, where the problem has a ``test`` (`Problem.hold_out`).",
        Source.PRODUCTS,
        _test_losses,
        default=False,
        prepare=_check_tests,
        label="test loss",
    ),
    Quantity(
        "limit_distance",
        "``||W - W_limit||_F`` to the limit that theorems predict (`theory.predicted_limit`), or "
        "``||x - x_limit||_2`` to the limit of a diagonal network's flow (`FlowLimit`).",
        Source.PRODUCTS,
        lambda seen: np.linalg.norm((seen.products - seen.limits).reshape(len(seen.products), -1), axis=1),
        default=False,
        prepare=lambda subject: subject.limits,
    ),
)
"""Every quantity, in the order in which tables and pictures have them."""

NAMED = {quantity.name: quantity for quantity in QUANTITIES}
