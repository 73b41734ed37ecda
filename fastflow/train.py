"""Training: problem x network x init x method, from many starts, on all cores.

This module checks what a user asks for and says what is wrong with it; `fastflow.batch` does the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastflow import theory
from fastflow.architectures import Architecture, Chain
from fastflow.batch import Batch
from fastflow.checks import FloatArray, as_count, shown
from fastflow.flows import FlowBatch, flow_batch
from fastflow.inits import Constant, Explicit, Gaussian, Init
from fastflow.methods import SAFE, Decreasing, FlowLimit, GradientDescent, Method, ProductFlow
from fastflow.networks import DeepLinear, DiagonalLinear, Network
from fastflow.problems import CustomProblem, Problem
from fastflow.product_batch import ProductBatch
from fastflow.records import Record
from fastflow.runs import Interrupted, Runs
from fastflow.theory.safety import check_knows_safe_steps
from fastflow.threads import one_blas_thread, thread_count

DEFAULT_RUNS = 256


def train(
    problem: Problem | Sequence[Problem],
    network: Network | None = None,
    init: Init | None = None,
    method: Method | None = None,
    runs: int | Sequence[int] | None = None,
    seed: int = 0,
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
        By default ``Gaussian(scale=1e-3)`` for a DeepLinear network, ``Constant(scale=1e-3)`` for a DiagonalLinear one.
    method : GradientDescent, GradientFlow, FlowLimit or ProductFlow; default ``GradientDescent()``
        `FlowLimit` takes DiagonalLinear networks with identical factors, or two independent ones; for L >= 2 of starts
        that are positive or 0, where a factor stays. It gives a row a run, its steps are Newton's. `GradientFlow` has
        ``history.times`` instead of ``history.steps``; what can be made of the product and the factors is recorded, by
        default the product as well. `ProductFlow` is the flow of the product of a DeepLinear network from a balanced
        start.
    runs : int or sequence of ints
        How many starts, or which ones: start 17 of 64 is start 17 of 1000 is ``runs=[17]``. Default: 256 for a random
        init, as many as were given for an explicit one, else 1.
    seed : int, of the random starts
    threads : int, default the CPUs that this process may use; 1 runs in the calling thread
    record : Record, what to keep along the way; default nothing, of a GradientFlow with times all that there is
    dtype : float64 or float32, of all arithmetic; the flow and its limit take float64
    progress : show a progress bar on standard error; default: if that is a terminal, after a second

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
    """
    shared, given = not isinstance(problem, list | tuple), _as_problems(problem)
    if network is None:
        network = DeepLinear() if given[0].unknown == "W" else DiagonalLinear()
    if init is None:
        init = Gaussian() if isinstance(network, DeepLinear) else Constant()
    method = GradientDescent() if method is None else method
    check_words(network, init, method, record)
    dtype = _as_dtype(dtype)
    if not isinstance(method, GradientDescent):
        check_flow(network, method, record, dtype)
    if isinstance(method, ProductFlow) and isinstance(given[0], CustomProblem):
        raise TypeError("ProductFlow needs a gradient in NumPy, which a CustomProblem has not: use GradientDescent")
    seed = as_count("seed", seed, 0)
    threads = thread_count(threads)
    problems: list[Any] = [network.pose(item) for item in given]
    architecture = network.architecture(problems[0])
    starts = _start_numbers(init, runs, architecture, len(problems))
    with one_blas_thread():
        batch: Batch | FlowBatch | ProductBatch
        if isinstance(method, GradientDescent):
            step_sizes = _step_sizes(method, problems, network, shared)
            batch = Batch(problems, given[0].title, shared, architecture, method, step_sizes, starts, record, dtype)
        elif isinstance(method, ProductFlow):
            assert isinstance(architecture, Chain)
            batch = ProductBatch(problems, given[0].title, architecture, method, starts, record)
        else:
            batch = flow_batch(problems, given[0].title, architecture, method, starts, record)
        batch.draw(init, seed)
        if isinstance(batch, Batch) and isinstance(method, GradientDescent) and method.first_step == SAFE:
            batch.take_safe_steps(problems, network)
        batch.compile()
        try:
            batch.run(threads, progress)
        except KeyboardInterrupt:
            raise Interrupted(batch.finish()) from None
        return batch.finish()


def _as_problems(problem: Problem | Sequence[Problem]) -> list[Any]:
    problems: list[Any] = list(problem) if isinstance(problem, list | tuple) else [problem]
    if not problems:
        raise ValueError("the list of problems is empty")
    for item in problems:
        if not isinstance(item, Problem):
            raise TypeError(
                f"problem must be a problem such as MatrixEstimation(matrix), or a list of them, got {_kind(item)}"
            )
        if type(item) is not type(problems[0]) or item.shape != problems[0].shape:
            raise ValueError(
                "problems in one list must have one class and shape, got "
                f"{_kind(problems[0])} {problems[0].shape} and {_kind(item)} {item.shape}"
            )
        if (item.truth is None) != (problems[0].truth is None):
            raise ValueError("either every problem of a list has a truth, or none")
    return problems


def _as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        result = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float64 or float32, got {shown(dtype)}") from None
    if result.name not in ("float32", "float64"):
        raise TypeError(f"dtype must be float64 or float32, got {result}")
    return result


def _kind(value: Any) -> str:
    return type(value).__name__


def check_words(network: Any, init: Any, method: Any, record: Any) -> None:
    """That network, init, method and record are what their names say, and that the init starts the network."""
    if not isinstance(network, Network):
        raise TypeError(f"network must be a DeepLinear or a DiagonalLinear, got {_kind(network)}")
    if not isinstance(init, Init):
        raise TypeError(f"init must be an init such as inits.Gaussian(1e-3) or runs.last, got {_kind(init)}")
    if not isinstance(network, init.networks):
        fitting = (
            "Constant, Gaussian, Uniform" if isinstance(network, DiagonalLinear) else "Gaussian, Identity, Balanced"
        )
        raise TypeError(
            f"{_kind(init)} does not start a {_kind(network)} network; {fitting} and others of fastflow.inits do"
        )
    if not isinstance(method, Method):
        raise TypeError(f"method must be a GradientDescent, a GradientFlow or a FlowLimit, got {_kind(method)}")
    if isinstance(method, GradientDescent) and method.first_step == SAFE:
        check_knows_safe_steps(network)
    if record is not None and not isinstance(record, Record):
        raise TypeError(f"record must be a Record, got {_kind(record)}")


def check_flow(network: Network, method: Method, record: Record | None, dtype: Any) -> None:
    """What `GradientFlow`, `FlowLimit` and `ProductFlow` do not combine with."""
    name, limit = _kind(method), isinstance(method, FlowLimit)
    if isinstance(method, ProductFlow) and not isinstance(network, DeepLinear):
        raise TypeError(f"{name} needs a DeepLinear network, got {_kind(network)}: use GradientFlow or FlowLimit")
    if limit and not isinstance(network, DiagonalLinear):
        raise TypeError(
            f"{name} needs a DiagonalLinear network; {_kind(network)} has no closed-form limit: use GradientFlow"
        )
    if limit and isinstance(network, DiagonalLinear) and not network.identical and network.depth > 2:
        raise ValueError(
            f"{name} needs identical factors, or two independent ones, got {network.depth} independent ones: use "
            "DiagonalLinear(identical=True), or GradientFlow"
        )
    if dtype != np.float64:
        raise ValueError(f"{name} computes in float64, got dtype {dtype}")
    if record is None:
        return
    if limit:
        raise ValueError("FlowLimit has no history to record: use GradientFlow(times=...) or GradientDescent")
    if not np.size(method.times):  # type: ignore[union-attr]
        raise ValueError(f"{name} records at its times and has none: use {name}(times=...)")
    if np.ndim(record.steps) or record.steps != Record.steps or record.spacing != Record.spacing:
        raise ValueError(f"{name} records at its times, so Record's steps and spacing must be left out")


def _start_numbers(
    init: Init, runs: int | Sequence[int] | None, architecture: Architecture, problems: int
) -> Sequence[int]:
    """Which starts each problem has."""
    if isinstance(init, Explicit):
        total = init.count(architecture)
        if total is not None:
            if total % problems:
                raise ValueError(f"{total} starts cannot be shared evenly by {problems} problems")
            count = total // problems
            if runs is not None and (not isinstance(runs, int | np.integer) or runs != count):
                raise ValueError(f"the factors given are {count} starts for each problem, but runs is {shown(runs)}")
            return range(count)
    if runs is None:
        return range(DEFAULT_RUNS if init.random else 1)
    numbers: Sequence[int]
    try:
        array = np.asarray(runs)
    except ValueError:  # ragged
        array = np.zeros(1)
    if array.ndim == 0:
        numbers = range(as_count("runs", runs, 1))
    else:
        if array.dtype.kind not in "iu" or array.ndim != 1 or array.size == 0 or array.min() < 0:
            raise ValueError(f"runs must be a positive number or a sequence of nonnegative integers, got {shown(runs)}")
        numbers = array.tolist()
    if len(numbers) > 1 and not init.random:
        raise ValueError(f"{_kind(init)} starts every run at the same factors, so all runs would be equal: runs=1")
    return numbers


def _step_sizes(method: GradientDescent, problems: list[Any], network: Network, shared: bool) -> FloatArray:
    """The (first) step for each problem; NaN for an explicit sequence, and for what depends on a run's start."""
    count, step = len(problems), method.first_step
    if step == SAFE or method.sequence.size:
        return np.full(count, np.nan)
    if step is None:
        step = 0.5 * theory.edge
    if isinstance(step, theory.Edge):
        return np.array([step.step(problem, network) for problem in problems])
    if shared and not isinstance(method.step, Decreasing):
        # For one problem a rough edge costs next to nothing; a list would pay for it once a problem.
        try:
            edge = theory.stability_edge(problems[0], network, rtol=1e-3)
        except ValueError:
            edge = np.inf
        if step > edge:
            warnings.warn(
                f"step {step:g} is above the linear stability edge {edge:.3g} at the expected solution: "
                "gradient descent will oscillate or diverge there; step=None takes half the edge",
                stacklevel=3,
            )
    return np.full(count, step)
