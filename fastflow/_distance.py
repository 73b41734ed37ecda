"""How far gradient descent is from the gradient flow at equal time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow._train import train
from fastflow.checks import FloatArray, Seed
from fastflow.equality import by_value
from fastflow.inits import Init
from fastflow.methods import DEFAULT_METHOD, Method, as_method
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import Record
from fastflow.setting import check_words, default_init, default_network


@by_value(hashable=False)
class FlowDistance(NamedTuple):
    """What `flow_distance` finds.

    Attributes
    ----------
    steps : int array (k,)
    times : array (k,), the sum of the step sizes before each
    distance : array (runs, k)
        ``||W_descent - W_flow||_F`` (of x likewise) over the larger of the two norms; 0 where both are 0.

    Examples
    --------
    >>> problem = ff.MatrixEstimation(np.diag([3.0, 1]))
    >>> init, method = ff.inits.Balanced(0.1), ff.GradientDescent(0.01, max_steps=100)
    >>> found = ff.flow_distance(problem, ff.DeepLinear(2), init, method, runs=4, threads=1)
    >>> found.distance.shape, bool(found.distance.max() < 0.1)
    ((4, 35), True)
    """

    steps: NDArray[np.int64]
    times: FloatArray
    distance: FloatArray


def flow_distance(
    problem: Problem,
    network: Network | None = None,
    init: Init | None = None,
    method: Method | None = None,
    runs: int | Sequence[int] | None = None,
    seed: Seed = 0,
    threads: int | None = None,
    *,
    steps: int | ArrayLike = 50,
    rtol: float = 1e-8,
) -> FlowDistance:
    """The distance between the products of gradient descent and of the flow from the same starts at equal time.

    k steps of size h are the time ``k h``. For a short time the distance falls in proportion to h.

    Parameters
    ----------
    problem, network, init, method, runs, seed, threads : as `train` takes them; one problem, and an end only by steps
        or tol: after it descent stays where it is.
    steps : as `Record` takes them
    rtol : float, of the flow

    Returns
    -------
    FlowDistance

    Raises
    ------
    TypeError, ValueError
        as `train`, before any work

    Examples
    --------
    >>> problem = ff.MatrixEstimation(np.diag([3.0, 1]))
    >>> init, method = ff.inits.Balanced(0.1), ff.GradientDescent(0.01, max_steps=100)
    >>> found = ff.flow_distance(problem, ff.DeepLinear(2), init, method, runs=4, threads=1)
    >>> found.distance.shape, bool(found.distance.max() < 0.1)
    ((4, 35), True)
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"flow_distance takes one problem, got {type(problem).__name__}")
    method = as_method(DEFAULT_METHOD() if method is None else method)
    if not method.has_steps:
        raise TypeError(f"method must take steps that a flow is compared with, got {type(method).__name__}")
    if method.per_run:
        raise ValueError(f"flow_distance compares all runs at the same times: give one step, not {method.per_run[0]}")
    words = default_network(problem) if network is None else network
    check_words(words, default_init(words) if init is None else init)
    method.matching_flow(np.ones(1), rtol).check(words)
    record = Record(steps, loss=False, gradient_norm=False, product=True, singular_values=False, effective_rank=False)
    down = train(problem, network, init, method, runs, seed, threads, record=record)
    assert down.history is not None
    assert down.history.steps is not None
    assert down.history.product is not None
    k = down.history.steps
    if np.unique(down.step).size > 1:
        raise ValueError(
            f"the runs took steps from {down.step.min():.3g} to {down.step.max():.3g}, so no times belong to all: "
            "give a step that is a number, or one run"
        )
    sizes = method.step_sizes(float(down.step[0]), int(k[-1]))
    times = np.concatenate([[0.0], np.cumsum(sizes)])[k]
    flow = method.matching_flow(times, rtol)
    there = train(problem, network, init, flow, runs, down.seed, threads)
    assert there.history is not None
    assert there.history.product is not None
    pairs = zip(down.history.product, there.history.product, strict=True)
    return FlowDistance(k, times, np.stack([_relative_distance(one, two) for one, two in pairs]))


def _relative_distance(one: FloatArray, two: FloatArray) -> FloatArray:
    """The distance of two paths (moments, *shape) over the larger norm, (moments,)."""
    one, two = (path.reshape(len(path), -1) for path in (one, two))
    larger = np.maximum(np.linalg.norm(one, axis=-1), np.linalg.norm(two, axis=-1))
    distance: FloatArray = np.linalg.norm(one - two, axis=-1) / np.where(larger == 0, 1, larger)
    return distance
