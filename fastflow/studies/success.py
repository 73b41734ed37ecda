"""When a trial counts as a success."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import as_number, one_of
from fastflow.status import Status
from fastflow.studies.outcomes import Arrays

OUTCOME_OF = {"relative_error": "error", "loss": "loss", "steps": "steps"}
"""The outcome that each quantity is."""

NEVER = (Status.DIVERGED, Status.FAILED)
"""How no trial ends that succeeds, however few steps it took."""


@dataclass(frozen=True)
class Success:
    """A trial succeeds when a quantity of its outcome is at most a threshold, and it has neither diverged nor failed.

    Outcomes are kept, not successes: the same results can be looked at with another one (`StudyResult.with_success`).

    Parameters
    ----------
    quantity : "relative_error", ``||x - truth|| / ||truth||``, "loss" or "steps"
    below : float > 0
    """

    quantity: str = "relative_error"
    below: float = 1e-3

    def __post_init__(self) -> None:
        one_of("quantity", self.quantity, OUTCOME_OF)
        object.__setattr__(self, "below", as_number("below", self.below, above=0))

    def __str__(self) -> str:
        return f"{self.quantity.replace('_', ' ')} at most {self.below:g}"

    @property
    def needs_truth(self) -> bool:
        """Whether no trial succeeds whose problem has no truth."""
        return OUTCOME_OF[self.quantity] == "error"

    def of(self, outcomes: Arrays) -> NDArray[np.bool_]:
        """Which of the trials have succeeded, of arrays of one shape; those that are not done have not."""
        with np.errstate(invalid="ignore"):
            below = outcomes[OUTCOME_OF[self.quantity]] <= self.below
        return np.asarray(below & (outcomes["status"] >= 0) & ~np.isin(outcomes["status"], NEVER))
