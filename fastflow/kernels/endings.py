"""How runs end, as kernels write it: the numbers of `fastflow.status.Status`."""

from __future__ import annotations

from fastflow.status import Status

RUNNING, CONVERGED, CRITICAL, STALLED, MAX_STEPS, DIVERGED, MAX_TIME, INACCURATE = map(int, Status)
