"""Runs so large that Ctrl-C cannot wait for a slice: worked on in copies, by a thread that may be left behind.

A kernel hears nothing before it returns, and at d = 1000 a step alone takes a second. It is given copies of the rows of
its runs, states and records, and what it brings is put in their place when it has returned: if it is left behind, it
writes to what nobody reads, and every run is where the last slice has brought it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastflow import scheduling
from fastflow.kernels.descent.descend import RunState
from fastflow.kernels.flow.layer_flow import FlowRuns
from fastflow.records import Tracing

PATIENCE_SECONDS = 0.5
"""What a call of a kernel may take of its caller's time where Ctrl-C has to wait for it."""

ASIDE_SECONDS = 1.0
"""What a slice aside should take: each costs an evaluation of the loss, and a tenth of a slice is nothing to lose."""

State = TypeVar("State", RunState, FlowRuns)


def goes_aside(operations: float) -> bool:
    """Whether a slice of at least so many operations is to be done aside."""
    return operations > PATIENCE_SECONDS * scheduling.SLOW


class Aside(Generic[State]):
    """Copies of the rows of some runs.

    Parameters
    ----------
    state : of all runs
    runs : int array, those whose rows are copied
    tracing : Tracing, that of the worker

    Attributes
    ----------
    rows : int array, the numbers of the runs among the copies
    state : RunState or FlowRuns, of these
    trace : Trace, of these
    """

    def __init__(self, state: State, runs: NDArray[np.int64], tracing: Tracing) -> None:
        self._runs, self._tracing = runs, tracing
        self._all: State = state
        self.rows = np.arange(len(runs))
        self.state: State = type(state)(*(array[runs] for array in state))
        self.trace = tracing.copied(runs)

    def put_back(self) -> None:
        """Set the rows of the runs to what the copies have become; safe to interrupt and to repeat."""
        for array, own in zip(self._all, self.state, strict=True):
            array[self._runs] = own
        self._tracing.take(self._runs, self.trace)
