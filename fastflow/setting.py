"""Settings: one call of `train`, checked and posed. They are data; methods take them to results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, FloatDType, Seed, as_count, as_seed, kind_of, shown
from fastflow.each import Each, count_of
from fastflow.inits import INITS, Constant, Gaussian, Init
from fastflow.memory import require_memory
from fastflow.networks import Architecture, DeepLinear, DiagonalLinear, Network, as_network
from fastflow.problems import Problem
from fastflow.records import Record

DEFAULT_RUNS = 256
INDEX_BYTES = 16
"""What the numbers of a run take."""
DTYPES = ("float64", "float32")
SMALL = 1e-3
"""The scale of starts where the user names none, for a solution of size 1."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One call of `train`, checked and posed.

    Attributes
    ----------
    problems : list of problems of one class and shape, as the network sees them
    title : one of them in words, as the user gave it
    shared : whether one problem was given for all runs, not a list
    network : Network, as the user gave it
    architecture : Architecture
    init : Init
    problem_index : int array (runs,), which problem each run has
    trial_index : int array (runs,), the number of the trial that keys a run's random numbers
    run_index : int array (runs,), which start of its problem each run is
    seed : int
    record : Record or None
    dtype : of all arithmetic
    """

    problems: Sequence[Problem]
    title: str
    shared: bool
    network: Network
    architecture: Architecture
    init: Init
    problem_index: NDArray[np.int64]
    trial_index: NDArray[np.int64]
    run_index: NDArray[np.int64]
    seed: int
    record: Record | None
    dtype: FloatDType

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.run_index)

    @property
    def has_truth(self) -> bool:
        """Whether errors can be told."""
        return self.problems[0].truth is not None

    @property
    def truths(self) -> FloatArray:
        """What errors are measured against, (problems, size), or (0, 0) without."""
        truths = (
            [np.asarray(problem.truth).ravel() for problem in self.problems] if self.has_truth else np.zeros((0, 0))
        )
        return np.array(truths, self.dtype)

    @property
    def data_entries(self) -> int:
        """How many numbers all problems have."""
        return sum(problem.entries_count for problem in self.problems)

    @property
    def weights(self) -> FloatArray:
        """The weight of each problem's loss."""
        return np.array([problem.weight for problem in self.problems], np.float64)

    @property
    def loss_sizes(self) -> FloatArray:
        """The loss of each problem where the unknown is 0, (problems,): the unit of what counts as 0; 1 where it is 0.

        Minus infinity, no share of which a loss reaches, for a problem whose loss compiled code alone knows.
        """
        sizes = [problem.zero_loss() for problem in self.problems]
        return np.array([-np.inf if size is None else size or 1.0 for size in sizes])

    def operations_of(self, flops: float) -> float:
        """What work of so many operations takes at most.

        Of an operator that is not known before it is called, and may be more than anybody would wait for.
        """
        return math.inf if self.problems[0].is_matrix_free else float(flops)

    def loss_tolerances(self, tol: float | None, share: float) -> FloatArray:
        """The loss that counts as 0, for each problem, (problems,): as the user says, None for a share of its size."""
        return share * self.loss_sizes if tol is None else np.full(len(self.problems), tol)

    @property
    def least_losses(self) -> FloatArray:
        """A lower bound of the loss of each problem, (problems,)."""
        return np.array([self.architecture.least_loss(problem) for problem in self.problems])

    def description(self, method: str) -> dict[str, str]:
        """What runs are of, and by which method, in words."""
        count = len(self.problems)
        return {
            "problem": (f"{count} x " if count > 1 else "") + self.title,
            "network": self.architecture.title,
            "method": method,
            "dtype": self.dtype.name,
            "seed": str(self.seed),
            "init": self.init.title(self.architecture),
        }

    def draw(self, factors: FloatArray) -> None:
        """Set ``factors`` (runs, parameters) to every run's start."""
        self.init.fill(self.architecture, self.seed, self.trial_index, self.run_index, factors)


def pose(
    problem: Problem | Sequence[Problem],
    network: Network | None = None,
    init: Init | None = None,
    runs: int | Sequence[int] | None = None,
    seed: Seed = 0,
    record: Record | None = None,
    dtype: DTypeLike = np.float64,
    per_run: tuple[Each, ...] = (),
    draws: bool = False,
) -> Setting:
    """Check what `train` was asked for and pose it; ``per_run`` and ``draws`` are those of the method.

    Raises
    ------
    TypeError, ValueError
        for arguments that are wrong or do not combine
    """
    given = _as_problems(problem)
    network = default_network(given[0]) if network is None else network
    check_words(network, default_init(network) if init is None else init, record)
    dtype = _as_dtype(dtype)
    seed = as_seed(seed)
    problems = [network.pose(item) for item in given]
    init = default_init(network, problems[0]) if init is None else init
    architecture = network.architecture(problems[0])
    values = count_of((*per_run, *init.per_run))
    numbers = _start_numbers(init, runs, architecture, len(problems), values, alike=not draws)
    total = len(numbers) * len(problems)
    require_memory(INDEX_BYTES * total, f"the results of {total} runs", "take fewer runs, or record less")
    starts = np.asarray(numbers, np.int64)
    problem_index = np.repeat(np.arange(len(problems)), len(starts))
    return Setting(
        problems,
        given[0].title,
        not isinstance(problem, list | tuple),
        network,
        architecture,
        init,
        problem_index,
        problem_index,
        np.tile(starts, len(problems)),
        seed,
        record,
        dtype,
    )


def pose_trials(
    problem: Problem | Sequence[Problem],
    network: Network,
    init: Init,
    trials: NDArray[np.int64],
    starts: int = 1,
    seed: int = 0,
    record: Record | None = None,
) -> Setting:
    """Pose trials of a study, whose network and init the method has been asked for before.

    Parameters
    ----------
    problem : a problem that all trials share, or a list of one for each trial
    network : Network
    init : Init
    trials : int array (trials,), the numbers that key what is random
    starts : int, of each trial; run ``t * starts + s`` is start s of the trial at place t
    seed : int
    record : Record or None

    Returns
    -------
    Setting
        In float64.

    Raises
    ------
    TypeError, ValueError
        for problems of several classes or shapes
    """
    given = _as_problems(problem)
    shared = not isinstance(problem, list | tuple)
    problems = [network.pose(item) for item in given]
    each = np.zeros(len(trials), np.int64) if shared else np.arange(len(trials))
    return Setting(
        problems,
        given[0].title,
        shared,
        network,
        network.architecture(problems[0]),
        init,
        np.repeat(each, starts),
        np.repeat(trials, starts),
        np.tile(np.arange(starts), len(trials)),
        seed,
        record,
        np.dtype(np.float64),
    )


class OfUnknown(Protocol):
    """What says how its unknown is called: a problem, or an ensemble of problems."""

    @property
    def unknown(self) -> str:
        """W for a matrix, x for a vector."""


def default_network(problem: OfUnknown) -> Network:
    """The network for a problem, or for those of an ensemble, where the user names none."""
    return DeepLinear() if problem.unknown == "W" else DiagonalLinear()


def default_init(network: object, problem: Problem | None = None) -> Init:
    """The init for a network where the user names none: small beside the solution that the data of a problem point to.

    Parameters
    ----------
    network : Network, or what is no network, of which `check_words` will tell
    problem : Problem
        Where none is at hand, its solution is taken to be about 1.
    """
    if isinstance(network, DiagonalLinear):
        return Constant(small_scale(problem, 1 / network.depth))
    return Gaussian(small_scale(problem))


def small_scale(problem: Problem | None = None, power: float = 1.0) -> float:
    """`SMALL` times a power of the size of the solution, to three digits: those that no round-off decides."""
    size = 1.0 if problem is None else _solution_size(problem)
    return float(f"{SMALL * size**power:.3g}")


def _solution_size(problem: Problem) -> float:
    """The largest entry of the vector, or singular value of the matrix, that the data point to; 1 where they do not."""
    try:
        estimate = problem.estimate().astype(np.float64)
    except ValueError:  # nothing is known of a CustomProblem
        return 1.0
    size = float(np.linalg.norm(estimate, 2 if estimate.ndim == 2 else np.inf))
    return size if 0 < size < math.inf else 1.0


def check_words(network: object, init: object, record: object = None) -> None:
    """That network, init and record are what their names say, and that the init starts the network.

    Raises
    ------
    TypeError
        where they are not, or do not
    """
    as_network(network)
    if not isinstance(init, Init):
        raise TypeError(f"init must be an init such as inits.Gaussian(1e-3) or runs.last, got {kind_of(init)}")
    if not isinstance(network, init.networks):
        fitting = ", ".join(kind.__name__ for kind in INITS if issubclass(type(network), kind.networks))
        raise TypeError(f"{kind_of(init)} does not start a {kind_of(network)} network; of fastflow.inits {fitting} do")
    if record is not None and not isinstance(record, Record):
        raise TypeError(f"record must be a Record, got {kind_of(record)}")


def _as_problems(problem: Problem | Sequence[Problem]) -> list[Problem]:
    given: list[Problem | Sequence[Problem]] = list(problem) if isinstance(problem, list | tuple) else [problem]
    if not given:
        raise ValueError("the list of problems is empty")
    problems: list[Problem] = []
    for item in given:
        if not isinstance(item, Problem):
            raise TypeError(
                f"problem must be a problem such as MatrixEstimation(matrix), or a list of them, got {kind_of(item)}"
            )
        problems.append(item)
        if type(item) is not type(problems[0]) or item.shape != problems[0].shape:
            raise ValueError(
                "problems in one list must have one class and shape, got "
                f"{kind_of(problems[0])} {problems[0].shape} and {kind_of(item)} {item.shape}"
            )
        if (item.truth is None) != (problems[0].truth is None):
            raise ValueError("either every problem of a list has a truth, or none")
    return problems


def _as_dtype(dtype: DTypeLike) -> FloatDType:
    try:
        result: np.dtype[Any] = np.dtype(dtype)  # type: ignore[explicit-any]  # whichever was asked for
    except TypeError:
        raise TypeError(f"dtype must be float64 or float32, got {shown(dtype)}") from None
    if result.name not in DTYPES:
        raise TypeError(f"dtype must be float64 or float32, got {result}")
    return result


def _start_numbers(
    init: Init,
    runs: int | Sequence[int] | None,
    architecture: Architecture,
    problems: int,
    values: int | None = None,
    *,
    alike: bool = True,
) -> Sequence[int]:
    """Which starts each problem has; ``values`` is how many runs have a value of their own, None where none has.

    ``alike`` says whether runs from one start would be equal if they have none.
    """
    if values is not None:
        if runs is None and values % problems == 0:
            runs = values // problems
        numbers = _all_starts(init, runs, architecture, problems, alike=False)
        if len(numbers) * problems != values:
            of = f"{len(numbers) * problems} runs" + (f" of {problems} problems" if problems > 1 else "")
            raise ValueError(f"each must have a value for every run: it has {values}, and there are {of}")
        return numbers
    return _all_starts(init, runs, architecture, problems, alike=alike)


def _all_starts(
    init: Init, runs: int | Sequence[int] | None, architecture: Architecture, problems: int, *, alike: bool = True
) -> Sequence[int]:
    """Which starts each problem has; ``alike`` says whether runs from one start would be equal."""
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
        array = as_array("runs", runs)
    except TypeError as error:
        raise ValueError(f"runs must be a positive number or a sequence of nonnegative integers: {error}") from error
    if array.ndim == 0:
        numbers = range(as_count("runs", runs, 1))
    else:
        if array.dtype.kind not in "iu" or array.ndim != 1 or array.size == 0 or array.min() < 0:
            raise ValueError(f"runs must be a positive number or a sequence of nonnegative integers, got {shown(runs)}")
        as_count("each of runs", array.max(), 0)
        numbers = array.tolist()
    if alike and len(numbers) > 1 and not init.random:
        raise ValueError(f"{kind_of(init)} starts every run at the same factors, so all runs would be equal: runs=1")
    return numbers
