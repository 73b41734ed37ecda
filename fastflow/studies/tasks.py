"""Tasks: some trials of some cells, from random numbers to outcomes, in one thread; what executors are sent.

What a trial comes to depends on its own setup and number alone: not on the task, its company, the order or the process.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow._train import train
from fastflow.checks import FloatArray
from fastflow.dual import find_limits, flow_limit, mirrors_of
from fastflow.ensembles import Ensemble, Sparse
from fastflow.inits import Explicit, Init
from fastflow.kernels.dual.limit import LimitProblems
from fastflow.kernels.dual.mirror import BOTH, Mirror
from fastflow.methods import FlowLimit
from fastflow.metrics import relative_errors
from fastflow.networks import DiagonalLinear, Hadamard, Network
from fastflow.problems import Problem
from fastflow.status import Status
from fastflow.streams import Streams, stream
from fastflow.studies.outcomes import Outcomes, joined, make_outcomes
from fastflow.threads import one_blas_thread, stopped_by

STACK_BYTES = 2**24
"""Problems are drawn into memory by stacks of this size."""


class Setup(NamedTuple):
    """A cell: what its trials draw and how they are solved; network and init are None for a baseline."""

    ensemble: Ensemble
    network: Network | None
    init: Init | None
    method: Any
    seed: int
    fresh: bool
    """Whether every trial has a problem of its own."""
    starts: int


class Piece(NamedTuple):
    """The trials first to last, without the last, of a cell, whose place is in words in ``where``."""

    cell: int
    setup: Setup
    where: str
    first: int
    last: int


class Finished(NamedTuple):
    """The outcomes of a piece, of which ``first`` is the first trial."""

    cell: int
    first: int
    outcomes: Outcomes


class Report(NamedTuple):
    """What a task hands back: outcomes, and the seconds that they took it."""

    finished: list[Finished]
    seconds: float


class TrialError(Exception):
    """A trial raised an exception, which this one says the place of."""


def run_task(pieces: Sequence[Piece], asked_to_stop: Callable[[], bool] | None = None) -> Report:
    """Compute the pieces, one after the other; if asked to stop, those that are done by then.

    Raises
    ------
    TrialError
        when one of them raises
    """
    finished: list[Finished] = []
    started = time.perf_counter()
    with one_blas_thread(), stopped_by(asked_to_stop or _never):
        for piece in pieces:
            if asked_to_stop is not None and asked_to_stop():
                break
            try:
                finished.append(Finished(piece.cell, piece.first, run_piece(piece.setup, piece.first, piece.last)))
            except KeyboardInterrupt:
                if asked_to_stop is not None and asked_to_stop():
                    break
                raise
            except Exception as error:
                span = f"trial {piece.first}" + f" to {piece.last - 1}" * (piece.last - piece.first > 1)
                raise TrialError(f"{piece.where}, {span}: {type(error).__name__}: {error}") from error
    return Report(finished, time.perf_counter() - started)


def _never() -> bool:
    return False


def run_piece(setup: Setup, first: int, last: int) -> Outcomes:
    """The outcomes of the trials first to last of a cell."""
    if isinstance(setup.method, FlowLimit) and isinstance(setup.ensemble, Sparse) and setup.starts == 1 and setup.fresh:
        # A stack of arrays, since making problems of them would cost what a fifth of the Newton steps do.
        size = setup.ensemble.measurements * setup.ensemble.n
        run: Callable[[Setup, int, int], Outcomes] = _run_limits
    else:
        size = 0 if not setup.fresh else _entries(draw_problem(setup, first))
        run = _run_baseline if setup.network is None else _run_network
    stack = max(1, STACK_BYTES // (8 * size)) if size else last - first
    return joined([run(setup, i, min(i + stack, last)) for i in range(first, last, stack)])


def draw_problem(setup: Setup, trial: int) -> Problem:
    """The problem of a trial; of all trials, where they share one."""
    key = (setup.seed, "problem", setup.ensemble.key())
    return setup.ensemble.draw(stream(*key, trial) if setup.fresh else stream(*key))


def _entries(problem: Problem) -> int:
    return sum(value.size for value in vars(problem).values() if isinstance(value, np.ndarray))


def _draw_starts(setup: Setup, architecture: Any, first: int, last: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Factors (trials starts, parameters), and the trial of each."""
    trials = np.repeat(np.arange(first, last), setup.starts)
    numbers = np.tile(np.arange(setup.starts), last - first)
    factors = np.zeros((len(trials), architecture.parameter_count))
    assert setup.init is not None
    setup.init.fill(architecture, setup.seed, trials, numbers, factors)
    return factors, trials


def _run_limits(setup: Setup, first: int, last: int) -> Outcomes:
    """By `FlowLimit`, of sparse vectors."""
    ensemble, method, network = setup.ensemble, setup.method, setup.network
    assert isinstance(ensemble, Sparse)
    assert isinstance(network, DiagonalLinear)
    count, m, n = last - first, ensemble.measurements, ensemble.n
    matrices, values, truths = np.empty((count, m, n)), np.empty((count, m)), np.zeros((count, n))
    draw = Streams(setup.seed, "problem", ensemble.key())
    for i in range(count):
        ensemble.fill(draw(first + i), matrices[i], values[i], truths[i])
    _compile_limits()
    started = time.perf_counter()
    assert setup.init is not None
    alike = not setup.init.random  # one start for all
    mirrors = _mirror(setup.init, network, n) if alike else _mirrors(setup, network, n, first, last)
    own, zero = np.arange(count), np.zeros(count, np.int64)
    problems = LimitProblems(matrices.reshape(count, m * n), values, mirrors, own, own, zero if alike else own)
    limits = find_limits(problems, method.tol, method.max_steps, 1)
    lost = limits.status == Status.DIVERGED
    x = np.where(lost[:, None], np.nan, limits.x)
    # The residual that a limit comes with is that of what of y can be reached, so of all of y where all can.
    reached = m <= n and ensemble.matrix_name != "given" and bool(np.all(mirrors.sides == BOTH))
    residual = limits.residual if reached else np.linalg.norm(np.einsum("kmn,kn->km", matrices, x) - values, axis=1)
    return make_outcomes(
        error=relative_errors(x, truths, own),
        loss=np.where(lost, np.nan, 0.5 * residual**2),
        steps=limits.steps,
        seconds=np.full(count, (time.perf_counter() - started) / count),
        status=limits.status,
    )


def _mirrors(setup: Setup, network: DiagonalLinear, n: int, first: int, last: int) -> Mirror:
    """The mirror maps of the starts of some trials."""
    form = Hadamard(n, network.depth, network.signed, network.identical)
    factors = _draw_starts(setup, form, first, last)[0]
    return mirrors_of(form, factors, "FlowLimit")


@functools.lru_cache(16)
def _mirror(init: Init, network: DiagonalLinear, n: int) -> Mirror:
    """The mirror map of a start that is the same in all trials, for all cells that have it."""
    return _mirrors(Setup(Sparse(n), network, init, None, 0, True, 1), network, n, 0, 1)


@functools.cache
def _compile_limits() -> None:
    """Compile the kernels, or load them, so that it counts as no trial's time."""
    flow_limit([[1.0]], [1.0], 1.0, threads=1)


def _run_network(setup: Setup, first: int, last: int) -> Outcomes:
    """By `train`; of several starts of a trial the one with the least loss counts, and the steps of all."""
    assert setup.network is not None
    problems = [draw_problem(setup, trial) for trial in range(first, last if setup.fresh else first + 1)]
    architecture = setup.network.architecture(problems[0])
    factors = architecture.unpack(_draw_starts(setup, architecture, first, last)[0])
    data = problems if setup.fresh else problems[0]
    runs = train(data, setup.network, Explicit(factors), setup.method, threads=1, progress=False)
    trials = last - first
    loss = runs.loss.reshape(trials, setup.starts)
    best = np.argmin(np.where(np.isnan(loss), np.inf, loss), axis=1)
    chosen = np.arange(trials) * setup.starts + best
    return make_outcomes(
        error=np.full(trials, np.nan) if runs.error is None else runs.error[chosen],
        loss=runs.loss[chosen],
        steps=runs.steps.reshape(trials, setup.starts).sum(axis=1),
        seconds=np.full(trials, runs.seconds / trials),
        status=runs.status[chosen],
    )


def _run_baseline(setup: Setup, first: int, last: int) -> Outcomes:
    """By a baseline; what it could not solve has diverged."""
    rows = []
    for trial in range(first, last):
        problem: Any = draw_problem(setup, trial)
        started = time.perf_counter()
        try:
            solution = np.asarray(setup.method.solve(problem))
        except (RuntimeError, np.linalg.LinAlgError):
            rows.append((np.nan, np.nan, 0, time.perf_counter() - started, Status.DIVERGED))
            continue
        seconds = time.perf_counter() - started
        error = np.nan
        if problem.truth is not None:
            error = relative_errors(solution.reshape(1, -1), problem.truth.reshape(1, -1), np.zeros(1, np.int64))[0]
        rows.append((error, problem.loss(solution), 0, seconds, Status.CONVERGED))
    return make_outcomes(*zip(*rows, strict=True))
