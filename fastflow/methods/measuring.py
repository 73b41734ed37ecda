"""What a problem raises while kernels call it: how whoever called a kernel hears of that."""

from __future__ import annotations

from typing import NamedTuple

from fastflow.kernels.losses.measured import failure_of


class MeasuringFailed(RuntimeError):
    """What a problem calls has raised, which is the cause; every run is where it was before."""


def raise_failure_of(problem: NamedTuple) -> None:
    """Raise where what the kernels have called for a problem has raised: nobody may read what they wrote.

    Raises
    ------
    MeasuringFailed
        from an exception; anything else, as Ctrl-C, is raised as it is
    """
    failure = failure_of(problem)
    if isinstance(failure, Exception):
        raise MeasuringFailed from failure
    if failure is not None:
        raise failure
