"""Measures: the one table of what a study can keep of its trials by name, beside what it always keeps.

A row says what a measure is, what it needs, and how it is made of where trials have ended, many at once. Those that are
quantities of a record, too, are made as that makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from fastflow import metrics
from fastflow.checks import Numbers
from fastflow.ensembles import Ensemble
from fastflow.inits import Init
from fastflow.networks import Architecture
from fastflow.problems import Problem
from fastflow.records import LAST, NAMED, Quantity, Record
from fastflow.records.snapshot import Subject
from fastflow.studies.ends import Ends
from fastflow.studies.outcomes import Field, as_field
from fastflow.theory.large_steps import FEWEST, WINDOW, period


class Needs(Enum):
    """What a measure is made of."""

    SOLUTION = auto()
    FACTORS = auto()
    """Those, the starts and the problems: what only a method has."""
    TEST = auto()
    """Measurements that the ensemble holds out."""


class Case(NamedTuple):
    """What the trials of some cells are, as far as a measure must know before any work.

    Attributes
    ----------
    ensemble : Ensemble
    problem : one of its problems, as the network poses it
    architecture : Architecture, of a baseline that of a default network
    init : Init, None for a baseline
    most_steps : int, that the method takes at most; 0 of one that takes none
    """

    ensemble: Ensemble
    problem: Problem
    architecture: Architecture
    init: Init | None
    most_steps: int = 0

    def subject(self, init: Init) -> Subject:
        """A run of the problem from the first start."""
        starts, zero = np.zeros((1, self.architecture.parameter_count)), np.zeros(1, np.int64)
        init.fill(self.architecture, 0, zero, zero, starts)
        truth = self.problem.truth
        truths = np.zeros((0, 0)) if truth is None else np.reshape(truth, (1, -1)).astype(np.float64)
        return Subject([self.problem], self.architecture, zero, truths, starts)


def _always(architecture: Architecture) -> bool:
    return True


def _of_matrices(architecture: Architecture) -> bool:
    return len(architecture.solution_shape) == 2


@dataclass(frozen=True)
class Measure:
    """A row of the table.

    Attributes
    ----------
    name : as `fastflow.Study` takes it
    meaning : in words, for stores and documentation
    make : function of `Ends`, the values (trials, *shape)
    needs : what it is made of
    shape : of one trial
    applies : function of an architecture, whether there is such a measure
    needs_truth : whether only a problem with a truth has it
    prepare : function of a `Subject`, called before any work; it raises where the measure cannot be had
    record : what must be recorded for it
    fewest_steps : int, that a method must take for it
    of_diverged : whether trials that have diverged have it, too
    dtype : of its values
    """

    name: str
    meaning: str
    make: Callable[[Ends], Numbers]
    needs: Needs = Needs.SOLUTION
    shape: tuple[int, ...] = ()
    applies: Callable[[Architecture], bool] = _always
    needs_truth: bool = False
    prepare: Callable[[Subject], object] | None = None
    record: Record | None = None
    fewest_steps: int = 0
    of_diverged: bool = False
    dtype: str = "float64"

    @property
    def field(self) -> Field:
        """What it is of one trial."""
        return as_field(self.dtype, self.shape)

    def check(self, case: Case) -> None:
        """Ask whether the trials of a case have this measure.

        Raises
        ------
        ValueError
            where they have not, with what they lack
        """
        if not self.applies(case.architecture):
            shape, network = case.architecture.solution_shape, type(case.architecture.network).__name__
            raise ValueError(f"solutions of shape {shape} of a {network} network have no outcome {self.name!r}")
        if self.needs_truth and case.problem.truth is None:
            raise ValueError(f"the outcome {self.name!r} needs problems with a truth")
        if self.needs is Needs.TEST and not case.ensemble.test_size:
            raise ValueError(
                f"the outcome {self.name!r} needs measurements that are held out, such as Sparse(..., test=1000), or "
                "those of a function, Custom(..., test=function)"
            )
        if self.needs is Needs.FACTORS:
            if case.init is None:
                raise ValueError(f"the outcome {self.name!r} needs factors and a start, which a baseline has not")
            if case.most_steps < self.fewest_steps:
                raise ValueError(
                    f"the outcome {self.name!r} needs a method that takes at least {self.fewest_steps} steps, such as "
                    f"GradientDescent(max_steps=10_000), got one that takes {case.most_steps or 'none'}"
                )
            if self.prepare is not None:
                self.prepare(case.subject(case.init))


def _recorded(name: str, needs: Needs = Needs.SOLUTION, shape: tuple[int, ...] = ()) -> Measure:
    """The measure that a record has, too."""
    quantity: Quantity = NAMED[name]
    make = quantity.make
    assert make is not None

    def of_ends(ends: Ends) -> Numbers:
        return make(ends.seen if needs is Needs.SOLUTION else ends.seen_whole)

    return Measure(
        name,
        quantity.meaning,
        of_ends,
        needs,
        shape,
        lambda architecture: quantity.shape(architecture) is not None,
        quantity.needs_truth,
        quantity.prepare if needs is Needs.FACTORS else None,
    )


def _test_losses(ends: Ends) -> Numbers:
    assert ends.test_of is not None
    values = np.full(len(ends), np.nan)
    for place in np.flatnonzero(ends.seen.finite):
        test = ends.test_of(ends.first + int(place))
        values[place] = test.loss(ends.solutions[place].reshape(test.shape))
    return values


LAST_PRODUCTS = Record(WINDOW, LAST, folder=None, **{name: name == "product" for name in NAMED})
"""What periods are seen by."""


def _periods(ends: Ends) -> Numbers:
    history = ends.trained.runs.history
    assert history is not None
    assert history.steps is not None
    assert history.product is not None
    last = np.isin(history.steps, LAST_PRODUCTS.grid(ends.most_steps))
    return period(history.product[ends.trained.chosen][:, last]).astype(np.float64)


MEASURES: tuple[Measure, ...] = (
    _recorded("l1_norm"),
    _recorded("l2_norm"),
    _recorded("support_size"),
    _recorded("support_recovery"),
    _recorded("effective_rank"),
    _recorded("numerical_rank"),
    _recorded("determinant_sign"),
    Measure(
        "entropy_rank",
        "Of a matrix: the exponential of the entropy of its singular values (`metrics.entropy_rank`).",
        lambda ends: metrics.entropy_rank(ends.solutions),
        applies=_of_matrices,
    ),
    Measure(
        "stable_rank",
        "Of a matrix: the square of its Frobenius norm over that of its operator norm (`metrics.stable_rank`).",
        lambda ends: metrics.stable_rank(ends.solutions),
        applies=_of_matrices,
    ),
    Measure(
        "nuclear_norm",
        "Of a matrix: the sum of its singular values (`metrics.nuclear_norm`).",
        lambda ends: ends.seen.singular_values.sum(axis=-1),
        applies=_of_matrices,
    ),
    Measure(
        "spectral_norm",
        "Of a matrix: its largest singular value.",
        lambda ends: ends.seen.singular_values[..., 0],
        applies=_of_matrices,
    ),
    Measure(
        "frobenius_norm",
        "Of a matrix: the root of the sum of the squares of its entries.",
        lambda ends: metrics.frobenius_norms(ends.solutions),
        applies=_of_matrices,
    ),
    Measure(
        "balancedness",
        NAMED["balancedness"].meaning,
        lambda ends: ends.seen_whole.architecture.balancedness(ends.seen_whole.factors),
        Needs.FACTORS,
        applies=lambda architecture: architecture.has_balance,
    ),
    _recorded("effective_alpha", Needs.FACTORS, (3,)),
    _recorded("gain", Needs.FACTORS, (3,)),
    _recorded("sharpness", Needs.FACTORS),
    _recorded("limit_distance", Needs.FACTORS),
    Measure(
        "period",
        "After how many steps the product is where it was, of the last ones: 1, 2, 4, 8, 0 if there is no such period, "
        "-1 if it diverged (`theory.period`).",
        _periods,
        Needs.FACTORS,
        record=LAST_PRODUCTS,
        fewest_steps=FEWEST - 1,
        of_diverged=True,
        dtype="int8",
    ),
    Measure(
        "test_loss",
        "The mean of the squares of the residuals of measurements that were held out.",
        _test_losses,
        Needs.TEST,
    ),
)
"""Every measure."""

MEASURED = {measure.name: measure for measure in MEASURES}
