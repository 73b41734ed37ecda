"""When a trial counts as a success."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import as_number, shown
from fastflow.ensembles.custom import importable
from fastflow.studies.outcomes import FIELDS, LABEL, NEVER, NOT_DONE, Arrays, Field, Values

KEPT = ("error", "loss", "steps", "seconds")
"""What every study keeps that a success may be stated on."""

SYNONYMS = {"relative_error": "error"}

DEFAULT_BELOW = 1e-3

Judge = Callable[[Arrays], NDArray[np.bool_]]


@dataclass(frozen=True)
class Success:
    """A trial succeeds when an outcome of it is in a range, and it has neither diverged nor failed.

    Outcomes are kept, not successes: the same results can be looked at with another one (`StudyResult.with_success`).

    Parameters
    ----------
    quantity : "error", ``||x - truth|| / ||truth||``, "loss", "steps", "seconds", or an outcome that the study keeps
        Or a function at the top level of a module, ``function(outcomes) -> bool array``, of the dict of arrays (...,
        trials) that ``StudyResult.outcomes`` is. "relative_error" is the same as "error".
    below : float, what the outcome is at most; default 1e-3, if ``at_least`` is left out, too
    at_least : float, what the outcome is at least
    version : int or str, of a function: change it when the function changes

    Raises
    ------
    ValueError, TypeError
        for what is no outcome's name, no function that can be imported, and for thresholds that leave nothing

    Examples
    --------
    >>> import fastflow as ff
    >>> str(ff.Success("support_recovery", at_least=1))
    'support recovery at least 1'
    """

    quantity: str | Judge = "error"
    below: float | None = None
    at_least: float | None = None
    version: int | str | None = None

    def __post_init__(self) -> None:
        if self.is_function:
            if not isinstance(self.quantity, str):
                importable(self.quantity)
            if self.below is not None or self.at_least is not None:
                raise ValueError("a success by a function has no thresholds: the function has them")
            if not isinstance(self.version, int | str) or isinstance(self.version, bool):
                raise TypeError(f"a success by a function needs a version, got {shown(self.version)}")
            return
        quantity = self.quantity
        if not isinstance(quantity, str) or not LABEL.fullmatch(quantity) or quantity == "status":
            names = ", ".join(map(repr, KEPT))
            raise ValueError(
                f"quantity must be one of {names}, the name of an outcome of the study, or a function, got "
                f"{shown(quantity)}"
            )
        object.__setattr__(self, "quantity", SYNONYMS.get(quantity, quantity))
        if self.version is not None:
            raise ValueError("only a success by a function has a version")
        if self.below is None and self.at_least is None:
            object.__setattr__(self, "below", DEFAULT_BELOW)
        kept = self.quantity in KEPT
        if self.below is not None:
            object.__setattr__(self, "below", as_number("below", self.below, above=0 if kept else None))
        if self.at_least is not None:
            object.__setattr__(self, "at_least", as_number("at_least", self.at_least))
            if self.below is not None and self.below < self.at_least:
                raise ValueError(f"at_least must be at most below = {self.below:g}, got {self.at_least:g}")

    def __str__(self) -> str:
        if self.is_function:
            return f"{self.title}, version {self.version}"
        name = "relative error" if self.quantity == "error" else str(self.quantity).replace("_", " ")
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.below:g}"] if self.below is not None else []
        return f"{name} {' and '.join(bounds)}"

    @property
    def is_function(self) -> bool:
        """Whether a function decides; of one in a store of others only the name is known."""
        return not isinstance(self.quantity, str) or ":" in self.quantity

    @property
    def title(self) -> str:
        """The outcome's name, or ``module:function``."""
        if isinstance(self.quantity, str):
            return self.quantity
        return f"{self.quantity.__module__}:{getattr(self.quantity, '__qualname__', '')}"

    @property
    def needs_truth(self) -> bool:
        """Whether no trial succeeds whose problem has no truth."""
        return self.quantity == "error"

    def check(self, fields: Mapping[str, Field]) -> None:
        """Ask whether a study that keeps such fields can tell.

        Raises
        ------
        ValueError
            where it cannot
        """
        if self.is_function:
            return
        if self.quantity not in fields:
            kept = ", ".join(name for name in fields if name != "status")
            raise ValueError(
                f"success is by {self.quantity!r}, which is no outcome of the study: it keeps {kept}; ask for it by "
                f"outcomes=[{self.title!r}]"
            )
        shape = fields[self.title].shape
        if shape != ():
            raise ValueError(f"success is by {self.quantity!r}, of which each trial has an array {shape}, no number")

    def of(self, outcomes: Arrays) -> NDArray[np.bool_]:
        """Which of the trials have succeeded, of arrays over them; those that are not done have not.

        Raises
        ------
        ValueError
            where a function decides that was not given, but named by a store, or that gives no truth values
        """
        status = outcomes["status"]
        there = (status != NOT_DONE) & ~np.isin(status, NEVER)
        if isinstance(self.quantity, str):
            if self.is_function:
                raise ValueError(
                    f"success is decided by {self.title}, code of the store, which opening it does not import: "
                    "result.with_success(Success(function, version=...)) says which it is"
                )
            values = outcomes[self.quantity]
            none = np.zeros(1, bool) if self.quantity in FIELDS or values.dtype.kind == "f" else _without(values)
            met = there & ~none
            with np.errstate(invalid="ignore"):
                if self.below is not None:
                    met &= values <= self.below
                if self.at_least is not None:
                    met &= values >= self.at_least
            return np.asarray(met)
        met = np.asarray(self.quantity(dict(outcomes)))
        if met.dtype.kind != "b" or met.shape != status.shape:
            raise ValueError(f"{self.title} must give a bool array of shape {status.shape}, got {shown(met)}")
        return np.asarray(met & there)


def _without(values: Values) -> NDArray[np.bool_]:
    """Where integers stand for no number, or what is not done: the two least, see `as_field`."""
    return np.asarray(values <= int(np.iinfo(values.dtype.name).min) + 1)
