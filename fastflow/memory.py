"""How much memory there is, asked before work that would need more.

What bounds a process is the machine, its limit of address space, and every control group that it is in: of version 1 or
2, nested as containers, systemd and SLURM nest them, each with a limit and with what its processes have taken of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

HEADROOM = 0.1
"""The share of the memory left that is not asked for: what arrays bring with them, and other processes, live there."""

UNLIMITED = 2**60
"""From here on a limit of a control group is none."""

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that this process may still take, or None where the system does not say."""
    limits = [*_of_machine(), *_of_groups(), *_of_process(), *_of_job()]
    return max(min(limits), 0) if limits else None


def _of_machine() -> Iterator[int]:
    """What Linux calls available; elsewhere all of the physical memory."""
    fields = _fields(PROC / "meminfo")
    if "MemAvailable" in fields:
        yield 1024 * fields["MemAvailable"]
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups() -> Iterator[int]:
    """What the control groups of this process leave, from its own up to the root; cached files make room."""
    for line in lines_of(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots, limit, usage, cached = [CGROUP, CGROUP / "unified"], "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            roots, limit, usage = [CGROUP / "memory"], "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        for root in roots:
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder == root.parent:
                    break
                most, taken = _number(folder / limit), _number(folder / usage)
                if most is not None and taken is not None and most < UNLIMITED:
                    yield most - taken + _fields(folder / "memory.stat").get(cached, 0)


def _of_process() -> Iterator[int]:
    """What is left of the limit of address space (``ulimit -v``)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    most, size = resource.getrlimit(resource.RLIMIT_AS)[0], _fields(PROC / "self" / "status").get("VmSize")
    if most != resource.RLIM_INFINITY and size is not None:
        yield most - 1024 * size


def _of_job() -> Iterator[int]:
    """What SLURM grants a job on a node (``--mem``, ``--mem-per-cpu``) less what this process has: no group may say."""
    resident = 1024 * _fields(PROC / "self" / "status").get("VmRSS", 0)
    for name, times in (("SLURM_MEM_PER_NODE", "1"), ("SLURM_MEM_PER_CPU", os.environ.get("SLURM_CPUS_ON_NODE", "1"))):
        granted = os.environ.get(name, "")
        if granted.isdecimal() and times.isdecimal() and int(granted):
            yield int(granted) * int(times) * 2**20 - resident


def lines_of(path: Path) -> list[str]:
    """The lines of a file of the system, none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []


def _number(path: Path) -> int | None:
    lines = lines_of(path)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of lines ``name number`` or ``name: number unit``."""
    found = {}
    for line in lines_of(path):
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def format_bytes(count: float) -> str:
    """``1.5 GB`` and the like, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


LEAST_WORK = 2**24
"""Bytes up to which work is not asked for: asking costs as much as small work takes."""


def require_work(numbers: int, copies: float, what: str) -> None:
    """Raise `MemoryError` if so many copies of so many float64 numbers are more than there is room for."""
    count = int(8 * copies * numbers)
    if count > LEAST_WORK:
        require_memory(count, f"{what} of {numbers} numbers", "take a smaller one, or a machine with more memory")


UNASKED = 2**20
"""Bytes up to which nothing is asked for: the system's files that tell of it take longer to read than small work."""


def require_memory(count: int, what: str, advice: str) -> None:
    """Raise `MemoryError` if ``count`` bytes are more than there are with some room to spare, before any are taken."""
    available = available_memory() if count > UNASKED else None
    if available is not None and count > (1 - HEADROOM) * available:
        raise MemoryError(
            f"{what} would take {format_bytes(count)}, but this process may take only {format_bytes(available)} more; "
            f"{advice}"
        )
