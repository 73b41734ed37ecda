"""Pilots: the first trials of a cell of an adaptive study, which decide how many it has in all, and count in no rate.

A rate of trials whose number was decided by those trials themselves is biased: a cell stops where it happens to look
decided. So the pilot alone decides, and rates are of the trials that follow, as many independent ones as there are.
"""

from __future__ import annotations

from fastflow.studies.statistics import wilson

PILOT = 20
"""Trials of a pilot, and as many follow in every cell."""

UNDECIDED = (0.2, 0.8)
"""Rates between which a cell belongs to the transition."""


def pilot_of(trials: int, adaptive: bool) -> int:
    """How many first trials of each cell are a pilot, in a study of so many; 0 where there is nothing to decide."""
    return PILOT if adaptive and trials > 2 * PILOT else 0


def count_after(successes: int, trials: int) -> int:
    """How many trials a cell has in all, of the study's, after so many successes in its pilot."""
    low, high = wilson(successes, PILOT)
    return trials if low < UNDECIDED[1] and high > UNDECIDED[0] else 2 * PILOT
