"""Training: problem x network x init x method, from many starts, on all cores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastflow.checks import Seed
from fastflow.inits import Init
from fastflow.methods import DEFAULT_METHOD, Method, as_method, execute
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import Record
from fastflow.results import Runs
from fastflow.setting import pose
from fastflow.threads import thread_count


def train(
    problem: Problem | Sequence[Problem],
    network: Network | None = None,
    init: Init | None = None,
    method: Method | None = None,
    runs: int | Sequence[int] | None = None,
    seed: Seed = 0,
    threads: int | None = None,
    *,
    record: Record | None = None,
    dtype: DTypeLike = np.float64,
    progress: bool | None = None,
) -> Runs:
    """Train a network from many starts.

    Parameters
    ----------
    problem : a problem, or a list of problems of one class and shape
        With a list, ``runs`` counts the starts of each problem, and run ``p * starts + s`` is start s of problem p.
    network : default ``DeepLinear(depth=3)`` for a matrix, ``DiagonalLinear(depth=2)`` for a vector
    init : an init of `fastflow.inits`, or ``runs.last`` to go on
        By default ``Gaussian(1e-3 * size)`` for a DeepLinear network, ``Constant(1e-3 * size ** (1 / L))`` for a
        DiagonalLinear one, where size is the largest singular value, or entry, of the solution that the data of the
        first problem point to; the summary of the results shows it.
    method : GradientDescent, GradientFlow, FlowLimit or ProductFlow; default ``GradientDescent()``
        `FlowLimit` takes DiagonalLinear networks with identical factors, or two independent ones; for L >= 2 of starts
        that are positive or 0, where a factor stays. It gives a row a run, its steps are Newton's. `GradientFlow` has
        ``history.times`` instead of ``history.steps``; what can be made of the product and the factors is recorded, by
        default the product as well. `ProductFlow` is the flow of the product of a DeepLinear network from a balanced
        start.
    runs : int or sequence of ints
        How many starts, or which ones: start 17 of 64 is start 17 of 1000 is ``runs=[17]``. Default: as many as there
        are values of `fastflow.each` for the step or the scale, one for each run; else 256 for a random init, as many
        as were given for an explicit one, 1 for others.
    seed : int, of the random starts
        Or a `numpy.random.Generator`, which draws one, or None for one that nobody knows beforehand; `Runs.seed` says
        which it was, and with it the call can be repeated.
    threads : int, default the CPUs that this process may use; 1 runs in the calling thread
    record : Record, what to keep along the way; default nothing, of a GradientFlow with times all that there is
    dtype : float64 or float32, of all arithmetic; the flow and its limit take float64
    progress : show a progress bar on standard error; default: after a second, in terminals and notebooks, and elsewhere
        lines through `logging` (``fastflow``, at the level INFO)

    Returns
    -------
    Runs

    Raises
    ------
    TypeError, ValueError
        for arguments that are wrong or do not combine, before any work
    MemoryError
        if the machine has less memory than the results would take, before any work
    Interrupted
        on Ctrl-C; a `KeyboardInterrupt` whose ``.runs`` has all that was done

    Examples
    --------
    >>> problem, method = ff.MatrixEstimation(np.diag([3.0, 1])), ff.GradientDescent(max_steps=2000)
    >>> runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, runs=4, threads=1)
    >>> runs.solution.shape, [factor.shape for factor in runs.factors]
    ((4, 2, 2), [(4, 2, 2), (4, 2, 2)])
    >>> {status.label: count for status, count in runs.status_counts().items()}
    {'converged': 4}
    >>> bool(np.allclose(runs.solution, problem.target, atol=1e-4))
    True
    """
    method = as_method(DEFAULT_METHOD() if method is None else method)
    setting = pose(problem, network, init, runs, seed, record, dtype, method.per_run, method.draws)
    method.check(setting.network, setting.init, record, setting.dtype, setting.problems[0])
    return execute(setting, method, thread_count(threads), progress, stacklevel=2)
