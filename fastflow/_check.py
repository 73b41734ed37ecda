"""What is known of a setting before it runs, in words and numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fastflow.checks import FloatArray, Seed, as_count, as_seed
from fastflow.equality import by_value
from fastflow.inits import Init
from fastflow.methods import Method, as_method
from fastflow.metrics import quiet
from fastflow.networks import EXACTLY, Architecture, Chain, Network
from fastflow.notebooks import as_html
from fastflow.problems import Problem
from fastflow.setting import check_words
from fastflow.theory import Limit, LinearRate, SafeStep, linear_rate, safe_step, stability_edge
from fastflow.theory.limits import describe_limit

MOST = 1_000_000
"""So many step sizes of a method are looked at."""

T = TypeVar("T")


@by_value(hashable=False)
@dataclass(frozen=True, eq=False, repr=False)
class Guarantees:
    """What theorems say of a problem, a network and a start, which prints in words.

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

    Examples
    --------
    >>> found = ff.check(ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(2), ff.inits.Identity(0.1))
    >>> found.balanced, found.limit.value < 1e-20, round(found.safe.step, 3)
    (True, True, 0.25)
    """

    balancedness: float
    balanced: bool
    edge: float | None
    safe: SafeStep | None
    rate: LinearRate | None
    limit: Limit | None
    step: float | None
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Guarantees:\n{self}>"

    def _repr_html_(self) -> str:
        return as_html(str(self))

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
    seed: Seed = 0,
    run: int = 0,
) -> Guarantees:
    """What is guaranteed for a setting: balanced or not, which steps are stable or safe, where it ends.

    Parameters
    ----------
    problem, network, init : as `fastflow.train` takes them; one problem
    method : Method or None; where it takes steps, their size is judged, too
    seed : int, Generator or None, of the random starts, as that of `fastflow.train`
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
    several = (*init.per_run, *(() if method is None else as_method(method).per_run))
    if several:
        raise ValueError(f"check looks at one run: give one value instead of {several[0]}")
    if method is not None:
        as_method(method).check(network, init, problem=problem)
    posed = network.pose(problem)
    architecture = network.architecture(posed)
    factors = _start(init, architecture, as_seed(seed), as_count("run", run, 0))
    notes = [architecture.describe_balance(factors)]
    edge, unknown = _known(lambda: stability_edge(posed, network))
    notes.append(f"Edge of stability: {unknown}." if edge is None else _describe_edge(edge, posed, architecture))
    safe, unsafe = _known(lambda: safe_step(posed, network, factors))
    notes.append(
        f"Safe step: {unsafe}."
        if safe is None
        else f"Safe step: up to {safe.step:.4g} the loss falls at every step from where its gradient is not 0, by the "
        f"bound for {safe.reason}."
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
        sizes = None if step is None else _step_sizes(method, step)
        own = None if step is None else method.describe_step(step, edge)
        notes.append(_describe_step(step, sizes, edge, safe, rate) if own is None else f"Step: {step:.4g}: {own}.")
    elif method is not None:
        amplified = ", and by more after a long rest near a saddle, which amplifies errors" if method.accuracy else ""
        notes.append(
            f"Step: {type(method).__name__} has none; what is said here of the flow holds of it{method.accuracy}"
            f"{amplified}."
        )
    balancedness, balanced = float(architecture.balancedness(factors)), bool(architecture.balanced(factors, EXACTLY))
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


def _describe_edge(edge: float, posed: Problem, architecture: Architecture) -> str:
    known = isinstance(architecture, Chain) and posed.of_matrix().minimum(min(architecture.widths)) is not None
    return (
        f"Edge of stability: {'' if known else 'about '}{edge:.4g}: for steps below it gradient descent is linearly "
        "stable at balanced factors of the solution that the data point to, those of small starts; the default is half "
        "of it. Other factors of that solution, which unbalanced or large starts come to, have other edges, and it "
        "says nothing of the way there."
    )


def _step_sizes(method: Method, first: float) -> FloatArray:
    """The sizes of the steps of a run, or of the first of very many."""
    count = MOST if method.max_steps is None else min(method.max_steps, MOST)
    return method.step_sizes(first, max(count, 1))


def _describe_step(
    step: float | None, sizes: FloatArray | None, edge: float | None, safe: SafeStep | None, rate: LinearRate | None
) -> str:
    if step is None or sizes is None:
        return "Step: the method has none for this setting."
    constant = bool(np.all(sizes == step))
    named = f"{step:.4g}" if constant else f"at most {step:.4g}"
    above = np.zeros(0, np.int64) if edge is None else np.flatnonzero(sizes >= edge)
    if safe is not None and step <= safe.step:
        linear = constant and rate is not None and 0 < step <= rate.step
        end = "the loss falls at every step from where its gradient is not 0" + (
            ", at the linear rate" if linear else ""
        )
    elif edge is None:
        end = "nothing is known of it"
    elif not above.size:
        end = "stable at the expected solution; no theorem here says that it comes there"
    elif above.size == sizes.size:
        end = f"{step / edge:.3g} times the edge of stability: it oscillates or diverges at the expected solution"
    else:
        end = f"up to {step / edge:.3g} times the edge of stability, which {above.size} of {sizes.size} steps reach; "
        if above[-1] == sizes.size - 1:
            end += "the last of these is the last step of all, so that it need not come to rest"
        else:
            end += f"after step {above[-1]} it is stable at the expected solution, if it is not far away by then"
    return f"Step: {named}: {end}."
