"""How much memory there is, asked before work that would need more."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory() -> int | None:
    """Bytes that this process may still take, or None where the system does not say.

    The smaller of what Linux calls available and what is left of the control group's limit; elsewhere all of the
    physical memory.
    """
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    except OSError:
        pass
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            limits.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    if not limits:
        try:
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, OSError, ValueError):
            return None
    return max(min(limits), 0)


def format_bytes(count: float) -> str:
    """``1.5 GB`` and the like, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def require_memory(count: int, what: str, advice: str) -> None:
    """Raise `MemoryError` if ``count`` bytes are more than there are, before anything is allocated."""
    available = available_memory()
    if available is not None and count > available:
        raise MemoryError(
            f"{what} would take {format_bytes(count)}, but this machine has {format_bytes(available)} left; {advice}"
        )
