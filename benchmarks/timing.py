"""Timing on a machine that others use too: interleaved repetitions, and a look at what else ran meanwhile."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Advance = Callable[[int, float], Any]

DISTURBED = 0.05
"""The share of the CPUs taken by others above which a measurement is repeated."""

ATTEMPTS = 3


@dataclass
class Measured:
    """Seconds per step in each repetition, and the share of the CPUs that other processes took meanwhile."""

    seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def step_size(steps: int) -> float:
    """Small enough that every run is still on its way after so many steps."""
    return min(0.02, 1 / steps)


def pin(threads: int) -> int:
    """Keep this process and its children on so many CPUs, where the system can; returns how many they have."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cpus)
    return len(cpus)


class Neighbours:
    """The share of this process's CPUs that others use: everything busy or stolen, but for our own time.

    Our own is that of this process, and what `add_own` is told of.

    Parameters
    ----------
    patience : seconds that may be spent, all in all, on waiting for them to stop
    """

    def __init__(self, patience: float = 0.0) -> None:
        import psutil

        self.patience = patience
        self._times = psutil.cpu_times
        self._cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        self.start()

    def _idle(self) -> float:
        times = self._times(percpu=True)
        return sum(times[cpu].idle + getattr(times[cpu], "iowait", 0.0) for cpu in self._cpus)

    def add_own(self, seconds: float) -> None:
        """Another process has worked for us, so many CPU seconds."""
        self._own -= seconds

    def start(self) -> None:
        self._wall, self._own, self._idle_before = time.perf_counter(), time.process_time(), self._idle()

    def share(self) -> float:
        """Since `start`."""
        whole = (time.perf_counter() - self._wall) * len(self._cpus)
        others = whole - (self._idle() - self._idle_before) - (time.process_time() - self._own)
        return max(0.0, others / whole)

    def wait(self) -> None:
        """Until they are quiet or patience is at its end; long enough for the last library's threads to fall asleep."""
        while True:
            self.start()
            time.sleep(0.3)
            if self.share() <= DISTURBED or self.patience <= 0:
                return
            self.patience -= 0.3


def seconds_of(advance: Advance, steps: int) -> float:
    """Wall seconds for so many steps."""
    started = time.perf_counter()
    advance(steps, step_size(steps))
    return time.perf_counter() - started


def calibrate(advance: Advance, seconds: float) -> int:
    """How many steps take about so many seconds. The first call, which may compile, is not counted."""
    advance(2, step_size(2))
    steps = 2
    while True:
        elapsed = min(seconds_of(advance, steps) for _ in range(2))
        if elapsed >= 0.3 * seconds:
            return max(2, round(steps * seconds / elapsed))
        steps = max(steps + 1, int(steps * min(20.0, 0.6 * seconds / max(elapsed, 1e-6))))


def interleaved(
    contenders: Mapping[str, Advance], seconds: float, repetitions: int, neighbours: Neighbours
) -> dict[str, Measured]:
    """Measure all contenders in turn, again and again, for about so many seconds each.

    A measurement during which others took more than `DISTURBED` of the CPUs is repeated while there is patience, up to
    `ATTEMPTS` times; the least disturbed one is kept.
    """
    steps = {name: calibrate(advance, seconds) for name, advance in contenders.items()}
    measured = {name: Measured() for name in contenders}
    for _ in range(repetitions):
        for name, advance in contenders.items():
            tries = []
            for _ in range(ATTEMPTS):
                neighbours.wait()
                neighbours.start()
                elapsed = seconds_of(advance, steps[name])
                tries.append((neighbours.share(), elapsed / steps[name]))
                if tries[-1][0] <= DISTURBED or neighbours.patience <= 0:
                    break
            others, each = min(tries)
            measured[name].seconds.append(each)
            measured[name].others.append(others)
    return measured


def fastest(contenders: Mapping[str, Advance], seconds: float) -> str:
    """The name of the contender with the least time per step, from the better of two short looks at each."""
    times = {}
    for name, advance in contenders.items():
        steps = calibrate(advance, seconds)
        times[name] = min(seconds_of(advance, steps) for _ in range(2)) / steps
    return min(times, key=times.__getitem__)


def ratio(slower: Measured, faster: Measured) -> float:
    """How many times faster: the median over repetitions of the ratio within a repetition."""
    return statistics.median(s / f for s, f in zip(slower.seconds, faster.seconds, strict=True))
