"""What is known of a setting before it runs, in words and numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fastflow.checks import FloatArray, as_count
from fastflow.equality import by_value
from fastflow.inits import Init
from fastflow.methods import Method, as_method
from fastflow.metrics import quiet
from fastflow.networks import Architecture, Network
from fastflow.problems import Problem
from fastflow.setting import check_words
from fastflow.theory import Limit, LinearRate, SafeStep, linear_rate, safe_step, stability_edge
from fastflow.theory.limits import describe_limit

T = TypeVar("T")


@by_value(hashable=False)
@dataclass(frozen=True, eq=False)
class Guarantees:
    """What theorems say of a problem, a network and a start; ``print`` shows it in words.

    Attributes
    ----------
    balancedness : float
        ``max_j ||C_j||_F`` of the start, which the flow conserves; of a diagonal network the largest
        ``||w_{j+1}^2 - w_j^2||_2`` (`metrics.balancedness_of_vectors`).
    balanced : bool
        Whether the balancedness is 0 but for round-off.
    edge : float or None
        The stability edge at the expected solution (`stability_edge`).
    safe : SafeStep or None
        The largest step from which on the loss is known to fall at every step (`safe_step`).
    rate : LinearRate or None
        What is promised near enough to the solution of whitened data (`linear_rate`).
    limit : Limit or None
        Where the flow ends (`predicted_limit`).
    step : float or None
        The first step of the method, or the largest of an explicit sequence, if one was given.
    notes : tuple of str, all of this in words, and why what is None is not known
    """

    balancedness: float
    balanced: bool
    edge: float | None
    safe: SafeStep | None
    rate: LinearRate | None
    limit: Limit | None
    step: float | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            textwrap.fill(note, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for note in self.notes
        )


@quiet
def check(
    problem: Problem,
    network: Network,
    init: Init,
    method: Method | None = None,
    *,
    seed: int = 0,
    run: int = 0,
) -> Guarantees:
    """What is guaranteed for a setting: balanced or not, which steps are stable or safe, where it ends.

    Parameters
    ----------
    problem, network, init : as `fastflow.train` takes them; one problem
    method : Method or None; where it takes steps, their size is judged, too
    seed : int, of the random starts
    run : int, which start is looked at; of explicit ones, which of them

    Returns
    -------
    Guarantees

    Raises
    ------
    TypeError, ValueError
        as `fastflow.train`, for what is wrong or does not combine

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> setting = ff.check(ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(2), ff.inits.Identity(0.1))
    >>> setting.balanced, round(setting.edge, 6)
    (True, 1.0)
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"check takes one problem, such as MatrixEstimation(matrix), got {type(problem).__name__}")
    check_words(network, init)
    if method is not None:
        as_method(method).check(network, init, problem=problem)
    posed = network.pose(problem)
    architecture = network.architecture(posed)
    factors = _start(init, architecture, as_count("seed", seed, 0, None), as_count("run", run, 0))
    notes = [architecture.describe_balance(factors)]
    edge, unknown = _known(lambda: stability_edge(posed, network))
    notes.append(
        f"Edge of stability: {unknown}."
        if edge is None
        else f"Edge of stability: at the expected solution gradient descent is stable for steps below {edge:.4g}; the "
        f"default is half of that. It says nothing of the way there."
    )
    safe, unsafe = _known(lambda: safe_step(posed, network, factors))
    notes.append(
        f"Safe step: {unsafe}."
        if safe is None
        else f"Safe step: up to {safe.step:.4g} the loss falls at every step, by the bound for {safe.reason}."
    )
    rate = None
    if network.is_chain:
        rate, unknown = _known(lambda: linear_rate(posed.of_matrix(), factors))
        notes.append(_describe_rate(rate, ", for the same reason" if unknown == unsafe else f"; {unknown}"))
    limit, words = describe_limit(posed, architecture, factors)
    notes.append(words)
    step = None
    if method is not None and method.has_steps:
        step, _ = _known(lambda: method.first_step(posed, network, factors))
        notes.append(_describe_step(step, edge, safe, rate))
    elif method is not None:
        notes.append(
            f"Step: {type(method).__name__} has none; what is said here of the flow holds of it{method.accuracy}."
        )
    balancedness, balanced = float(architecture.balancedness(factors)), bool(architecture.balanced(factors))
    return Guarantees(balancedness, balanced, edge, safe, rate, limit, step, tuple(notes))


def _start(init: Init, architecture: Architecture, seed: int, run: int) -> list[FloatArray]:
    """The factors of a run at its start."""
    count = init.count(architecture)
    if count is not None and run >= count:
        raise ValueError(f"run must be less than {count}, the number of starts given, got {run}")
    drawn = np.zeros((1 if count is None else count, architecture.parameter_count))
    init.fill(architecture, seed, np.zeros(len(drawn), np.int64), np.full(len(drawn), run), drawn)
    factors: list[FloatArray] = architecture.unpack(drawn[0 if count is None else run])
    return factors


def _known(function: Callable[[], T]) -> tuple[T | None, str]:
    """What a function says, or why it says nothing."""
    try:
        return function(), ""
    except ValueError as error:
        return None, str(error)


def _describe_rate(rate: LinearRate | None, unknown: str) -> str:
    if rate is None:
        return f"Linear rate: none from here{unknown}."
    if rate.step > 0:
        return (
            f"Linear rate: margin c = {rate.margin:.4g} > 0; steps up to {rate.step:.3g} bring the excess down at "
            f"least as exp(-{rate.decay:.3g} step k)."
        )
    if rate.margin <= 0:
        return f"Linear rate: not from here, the margin sigma_min(W*) - ||W(0) - W*||_F = {rate.margin:.4g} is not > 0."
    return (
        f"Linear rate: not from here: margin {rate.margin:.4g}, but max ||C_j||_F = {rate.balancedness:.3g} where "
        f"{rate.allowed:.3g} is allowed, or a hidden width is below min(d_0, d_N)."
    )


def _describe_step(step: float | None, edge: float | None, safe: SafeStep | None, rate: LinearRate | None) -> str:
    if step is None:
        return "Step: the method has none for this setting."
    if safe is not None and step <= safe.step:
        end = "the loss falls at every step" + (", at the linear rate" if rate and 0 < step <= rate.step else "")
    elif edge is not None and step < edge:
        end = "stable at the expected solution; no theorem here says that it comes there"
    elif edge is not None:
        end = f"{step / edge:.3g} times the edge of stability: it oscillates or diverges at the expected solution"
    else:
        end = "nothing is known of it"
    return f"Step: {step:.4g}: {end}."
