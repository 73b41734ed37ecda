"""What a study will cost, from a few trials."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from fastflow.baselines import Baseline
from fastflow.checks import as_count
from fastflow.equality import by_value
from fastflow.memory import format_bytes
from fastflow.notebooks import as_html
from fastflow.streams import stream
from fastflow.studies.design import Design
from fastflow.studies.executors import Crew
from fastflow.studies.outcomes import bytes_of
from fastflow.studies.setup import Setup
from fastflow.studies.tasks import Piece
from fastflow.studies.unstated import find_fields

UNITS = (("days", 86400.0), ("h", 3600.0), ("min", 60.0))
"""Units of time beyond seconds, and what they are in seconds."""

NORMAL_95 = 1.96
"""Standard errors on either side in a 95% interval of a mean."""


@by_value(hashable=False)
class Cost(NamedTuple):
    """What a study will cost; `str` says it in words.

    Attributes
    ----------
    seconds : float, of wall time on so many threads
    seconds_low, seconds_high : float, a 95% interval of it from the spread of the trials that were probed
    trials : int, all of the study
    memory : int, bytes of the outcomes, in the driver and, uncompressed, in a store
    threads : int
    probed : int, how many trials were timed

    Examples
    --------
    >>> study = ff.Study(ff.ensembles.Sparse(n=20, sparsity=2), method=ff.baselines.LeastNorm(), axes={"m": [5, 10]})
    >>> cost = study.cost(cells=2, trials=1)
    >>> cost.trials, cost.seconds > 0
    (200, True)
    """

    seconds: float
    seconds_low: float
    seconds_high: float
    trials: int
    memory: int
    threads: int
    probed: int

    def __repr__(self) -> str:
        return f"<Cost: {self}>"

    def _repr_html_(self) -> str:
        return as_html(str(self))

    def __str__(self) -> str:
        return (
            f"{self.trials} trials: about {_words(self.seconds)} ({_words(self.seconds_low)} to "
            f"{_words(self.seconds_high)}) on {self.threads} thread(s), outcomes of {format_bytes(self.memory)}; from "
            f"{self.probed} trials"
        )


def _words(seconds: float) -> str:
    for unit, size in UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _kind(setup: Setup) -> tuple[object, ...]:
    """What decides which kernels a trial needs, whose compiling counts as no trial's time."""
    words = tuple(value for value in setup.ensemble.form() if isinstance(value, str))
    method = setup.method.kind if isinstance(setup.method, Baseline) else type(setup.method)
    return type(setup.ensemble), words, setup.network, type(setup.init), method


def predict_cost(design: Design, cells: int = 64, trials: int = 2, threads: int | None = None) -> Cost:
    """Time some trials of some cells, drawn at random, and extrapolate: what `Study.cost` gives."""
    cells, trials = min(as_count("cells", cells, 1), design.cells), min(as_count("trials", trials, 1), design.trials)
    chosen = stream(design.seed, "cost").choice(design.cells, cells, replace=False)
    crew = Crew(None, threads)
    try:
        design = find_fields(design, {}, crew, math.inf)
        pieces = [Piece(cell, design.setup(cell), design.where(cell), 0, trials) for cell in chosen.tolist()]
        first_of_a_kind = {_kind(piece.setup): piece._replace(last=1) for piece in reversed(pieces)}
        crew.submit(list(first_of_a_kind.values())).result()  # compiles
        started = time.perf_counter()
        seconds = [report.result().seconds for report in [crew.submit([piece]) for piece in pieces]]
        wall = time.perf_counter() - started
    finally:
        crew.close()
    each = np.array(seconds) / trials
    # What the threads lose to each other is in the wall time, not in the tasks'.
    total = design.cells * design.trials
    mean = wall / (cells * trials)
    spread = NORMAL_95 * float(np.std(each, ddof=1) / np.mean(each) / np.sqrt(cells)) if cells > 1 else 1.0
    return Cost(
        seconds=mean * total,
        seconds_low=max(0.0, 1 - spread) * mean * total,
        seconds_high=(1 + spread) * mean * total,
        trials=total,
        memory=total * bytes_of(design.fields),
        threads=crew.workers,
        probed=cells * trials,
    )
