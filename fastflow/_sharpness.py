"""The largest sharpness along the gradient flow, and the step of descent that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow._train import train
from fastflow.checks import FloatArray, Seed, as_count, as_number, as_seed, as_times
from fastflow.equality import by_value
from fastflow.inits import Init
from fastflow.methods import DEFAULT_METHOD
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import Record

PARTS = 20
"""Into so many parts a search divides what lies between the neighbours of the largest."""


@by_value(hashable=False)
class FlowSharpness(NamedTuple):
    """What `flow_sharpness` finds, the largest ``||Hess f||_2`` of the flow; all arrays (runs,).

    Attributes
    ----------
    sharpness : array, the largest along the flow
    time : array, when that is
    edge : array, ``2 / sharpness``: descent with smaller steps is linearly stable all along
    status : int array, how the flow ended, see `Status`
    """

    sharpness: FloatArray
    time: FloatArray
    edge: FloatArray
    status: NDArray[np.int64]


def flow_sharpness(
    problem: Problem,
    network: Network | None = None,
    init: Init | None = None,
    runs: int | Sequence[int] | None = None,
    seed: Seed = 0,
    threads: int | None = None,
    *,
    times: ArrayLike,
    rounds: int = 3,
    rtol: float = 1e-9,
) -> FlowSharpness:
    """The largest sharpness along the gradient flow, from each start: 2 over it is the step at which descent leaves it.

    It is looked for at the times, and then ``rounds`` times at 20 between the neighbours of the largest found. A peak
    that is narrower than the distance of two times, and lower than the largest at them elsewhere, is not seen.

    Parameters
    ----------
    problem, network, init, runs, seed, threads : as `train` takes them; one problem
    times : array (times,), at least 0 and not decreasing
        From which the search begins; 0 is added, and the last is the end of the flow.
    rounds : int >= 0
    rtol : float, of the flow

    Returns
    -------
    FlowSharpness

    Raises
    ------
    TypeError, ValueError
        as `train`, before any work

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> start = ff.inits.Explicit([np.array([[3.0]]), np.array([[0.05]])])
    >>> problem = ff.MatrixEstimation([[1.0]])
    >>> found = ff.flow_sharpness(problem, ff.DeepLinear(2), start, times=np.geomspace(1e-3, 10, 30))
    >>> bool(np.isclose(found.sharpness[0], np.sqrt((9 - 0.05**2) ** 2 + 4)))
    True
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"flow_sharpness takes one problem, got {type(problem).__name__}")
    grid, seed = np.unique(np.append(0.0, as_times("times", times))), as_seed(seed)
    rounds, rtol = as_count("rounds", rounds, 0), as_number("rtol", rtol, least=1e-13)
    record = Record(loss=False, gradient_norm=False, singular_values=False, effective_rank=False, sharpness=True)
    status, best, when = None, np.zeros(0), np.zeros(0)
    for _ in range(rounds + 1):
        flow = DEFAULT_METHOD().matching_flow(grid, rtol)
        found = train(problem, network, init, flow, runs, seed, threads, record=record)
        assert found.history is not None
        along = np.where(np.isfinite(found.history.sharpness), found.history.sharpness, -np.inf)
        at = along.argmax(axis=1)
        largest = along[np.arange(len(found)), at]
        if status is None:
            status, best, when = found.status, largest, grid[at]
        else:
            best, when = np.maximum(best, largest), np.where(largest > best, grid[at], when)
        spans = zip(grid[np.maximum(at - 1, 0)], grid[np.minimum(at + 1, len(grid) - 1)], strict=True)
        grid = np.unique(np.concatenate([np.zeros(1), *(np.linspace(*span, PARTS + 1) for span in spans)]))
    assert status is not None
    best = np.where(np.isfinite(best), best, np.nan)
    return FlowSharpness(best, when, 2 / best, status)
