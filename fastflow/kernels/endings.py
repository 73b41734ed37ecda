"""How runs end: the numbers that kernels write, that `fastflow.status.Status` names, and that are in saved files."""

from __future__ import annotations

RUNNING = 0
CONVERGED = 1
CRITICAL = 2
STALLED = 3
MAX_STEPS = 4
DIVERGED = 5
MAX_TIME = 6
INACCURATE = 7
FAILED = 8
STOPPED = 9
