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
from fastflow.methods.base import nbytes_of
from fastflow.records import Tracing
from fastflow.scheduling import Worker

PATIENCE_SECONDS = 0.5
"""What a call of a kernel may take of its caller's time where Ctrl-C has to wait for it."""

LONGER, FEW = 4, 20
"""A slice is so many times as long where a usual one has fewer than so many evaluations: it ends with one more."""

ASIDE_SECONDS = 2.0
"""What a slice aside should take: each costs an evaluation of the loss, and no more than one is lost by Ctrl-C."""

State = TypeVar("State", RunState, FlowRuns)


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


class AsideWorker(Worker, Generic[State]):
    """A worker that keeps a trace, and does its slices aside where Ctrl-C cannot wait for them.

    Attributes
    ----------
    tracing : Tracing
    is_aside : bool, whether Ctrl-C cannot wait for its slices
    aside : what a slice has brought, until it is put back
    """

    tracing: Tracing
    is_aside: bool = False
    aside: Aside[State] | None = None

    def plan_slices(self, operations: float) -> None:
        """Do slices aside if the least of them are of so many operations that Ctrl-C cannot wait."""
        self.is_aside = operations > PATIENCE_SECONDS * scheduling.SLOW
        usual = scheduling.SLICE_SECONDS
        few = FEW * operations > usual * scheduling.SLOW
        self.slice_seconds = ASIDE_SECONDS if self.is_aside else LONGER * usual if few else None

    def settle(self) -> None:
        if self.aside is not None:
            self.aside.put_back()
            self.aside = None
        self.tracing.keep()

    def nbytes(self, made: object, given: tuple[object, ...], state: State) -> int:
        """Bytes of what it has made for itself, its trace and copies of the runs in hand included.

        Parameters
        ----------
        made : arrays in nested tuples
        given : those that it works on, which are not its own
        state : of all runs
        """
        trace = self.tracing.trace
        needed = nbytes_of((made, trace), given)
        if self.is_aside:
            needed += nbytes_of(trace, given) + self.members * nbytes_of(state) // len(state.status)
        return needed
