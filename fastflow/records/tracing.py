"""Tracing: one thread's trace, through which kernels fill the histories of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray, FloatDType
from fastflow.kernels.trace import Trace
from fastflow.records.quantities import Source
from fastflow.records.recording import Recording

WRITTEN = ("loss", "gradient_norm", "balancedness", "error")
"""What kernels write themselves, where it is wanted."""

PENDING_BYTES = 2**22
"""How much may wait for its quantities to be made: enough to keep the calls few, not so much that one takes seconds."""


class Tracing:
    """One thread's trace of a recording: kernels write numbers into the histories, and hand products and factors over.

    Parameters
    ----------
    recording : Recording
    truths : array (problems, size), or (0, 0)
    size, parameters : int, of a product and of the factors of a run
    least : int, how many products and factors it must hold
    dtype : of products and factors

    Attributes
    ----------
    trace : `kernels.Trace`
    """

    def __init__(
        self,
        recording: Recording,
        truths: FloatArray,
        size: int,
        parameters: int,
        least: int,
        dtype: FloatDType,
    ) -> None:
        self.recording = recording
        products, factors = recording.needs(Source.PRODUCTS), recording.needs(Source.FACTORS)
        row = size * products + parameters * factors
        capacity = max(least, PENDING_BYTES // (8 * row)) if row else 0
        if recording.is_costly:
            capacity = least
        self.trace = Trace(
            moments=recording.moments,
            loss=recording.of_kernel("loss"),
            gradient_norm=recording.of_kernel("gradient_norm"),
            balancedness=recording.of_kernel("balancedness"),
            error=recording.of_kernel("error"),
            truths=truths,
            pending_products=np.zeros((capacity * products, size), dtype),
            pending_factors=np.zeros((capacity * factors, parameters), dtype),
            pending_at=np.zeros((capacity, 2), np.int64),
            pending_count=np.zeros(1, np.int64),
        )

    def copied(self, runs: NDArray[np.int64]) -> Trace:
        """A trace with the rows of such runs in the place of all, and with nothing handed over."""
        trace = self.trace
        rows = {name: array[runs] for name in WRITTEN if (array := getattr(trace, name)).size}
        pending = {name: np.zeros_like(getattr(trace, name)) for name in trace._fields if name.startswith("pending")}
        return trace._replace(**rows, **pending)

    def take(self, runs: NDArray[np.int64], trace: Trace) -> None:
        """Keep what a trace of `copied` has; safe to interrupt and to repeat."""
        for name in WRITTEN:
            if getattr(trace, name).size:
                getattr(self.trace, name)[runs] = getattr(trace, name)
        self._keep(runs, trace)

    def keep(self) -> None:
        """Make quantities of what has been handed over; safe to interrupt and to repeat."""
        self._keep(None, self.trace)

    def _keep(self, numbers: NDArray[np.int64] | None, trace: Trace) -> None:
        count = int(trace.pending_count[0])
        if count:
            runs, moments = trace.pending_at[:count, 0], trace.pending_at[:count, 1]
            runs = runs if numbers is None else numbers[runs]
            self.recording.keep(runs, moments, trace.pending_products[:count], trace.pending_factors[:count])
            trace.pending_count[0] = 0
