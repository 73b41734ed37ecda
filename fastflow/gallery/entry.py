"""What an entry of the gallery is: a study with its source and its claim, and a check of the claim in the data."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.disk import put, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Data = dict[str, NDArray[np.float64]]
"""What an entry computes: arrays by name."""

Size = Mapping[str, int]
"""What ``compute`` is called with."""

TINY, DEFAULT, FULL = "tiny", "default", "full"
"""Sizes: of the tests, of a minute or two at most, and as published."""

PILOT_SECONDS = 2.0
"""A pilot that took so long says what the whole takes."""

LONG_SECONDS = 60.0
"""In a call that took so long compiling was little."""


class Verdict(NamedTuple):
    """Whether a claim holds in the data.

    Attributes
    ----------
    holds : bool
    judged_by : str, the figures that decide
    """

    holds: bool
    judged_by: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'does not hold'}: {self.judged_by}"


class Pilot(NamedTuple):
    """How long a part of the full size took.

    Attributes
    ----------
    done, of : int, so many of these pieces of work
    seconds : float, that they took
    each : float, seconds that one more takes
    """

    done: int
    of: int
    seconds: float
    each: float

    @property
    def predicted(self) -> float:
        """Seconds that all of them will take."""
        return self.seconds + self.each * (self.of - self.done)


@dataclass(frozen=True)
class Entry:
    """A published study.

    Attributes
    ----------
    name : str, what it is called in the shell
    source : str, authors, year and arXiv number
    claim : str, one sentence
    taken, chosen : str, what of the setting is the source's and what is chosen here
    sizes : the arguments of ``compute`` for each size
    counted : str, that size which is a number of equal pieces of work, such as trials: the time is in proportion to it
    compute : gives the data; where it draws random numbers it takes ``seed``, where it works in threads ``threads``
    draw : makes a figure of them
    check : judges the claim by them
    holds : bool, the verdict that was found at the default size; a claim that does not hold there stays as it is
    """

    name: str
    source: str
    claim: str
    taken: str
    chosen: str
    sizes: Mapping[str, Size]
    counted: str
    compute: Callable[..., Data]
    draw: Callable[[Data], Figure]
    check: Callable[[Data], Verdict]
    holds: bool = True

    def takes(self, option: str) -> bool:
        """Whether ``compute`` has such an argument."""
        return option in inspect.signature(self.compute).parameters

    def setting(self, size: str, seed: int = 0) -> str:
        """What ``compute`` is called with, in words."""
        given = {**self.sizes[size], **({"seed": seed} if self.takes("seed") else {})}
        return ", ".join(f"{name} = {value}" for name, value in given.items())

    def run(self, size: Size, seed: int = 0, threads: int | None = None) -> Data:
        """The data at sizes of your own, such as ``entry.sizes["default"] | {"trials": 3}``."""
        options = {"seed": seed, "threads": threads}
        return self.compute(**size, **{name: value for name, value in options.items() if self.takes(name)})

    def told(self, verdict: Verdict) -> str:
        """A verdict in words, which say where it is not the one that was found before."""
        if verdict.holds == self.holds:
            return f"{verdict}" if self.holds else f"{verdict} (as was found before)"
        return f"{verdict} (unlike before, when it {'held' if self.holds else 'did not hold'})"


def pilot(entry: Entry, seed: int = 0, threads: int | None = None) -> Pilot:
    """Measure what parts of the full size take: more and more pieces of it, until they take two seconds.

    Two parts tell what takes time once from what each piece takes.

    Parameters
    ----------
    entry : Entry
    seed, threads : int, as of `reproduce`

    Returns
    -------
    Pilot
    """
    size = entry.sizes[FULL]
    total = size[entry.counted]

    def seconds_of(count: int) -> float:
        begun = time.perf_counter()
        entry.run({**size, entry.counted: count}, seed, threads)
        return time.perf_counter() - begun

    first = min(2, total)
    compiling = seconds_of(first)
    found = [(first, compiling if compiling >= LONG_SECONDS else seconds_of(first))]
    while True:
        count, seconds = found[-1]
        long = seconds >= PILOT_SECONDS
        if (long and len(found) > 1) or (10 if long else 4) * count >= total:
            break
        more = count * (2 if long else 4)
        found.append((more, seconds_of(more)))
    less, before = found[-2] if len(found) > 1 else (0, 0.0)
    return Pilot(count, total, seconds, max(0.0, seconds - before) / (count - less))


def files_of(entry: Entry, folder: Path) -> list[Path]:
    """The files that `reproduce` writes: the data, the figure, and the words."""
    return [folder / f"{entry.name}{suffix}" for suffix in (".npz", ".png", ".txt")]


def reproduce(entry: Entry, folder: Path, size: str = DEFAULT, seed: int = 0, threads: int | None = None) -> Verdict:
    """Compute an entry, and write ``NAME.npz``, ``NAME.png`` and ``NAME.txt`` into a folder.

    Each file is there whole or not at all.

    Parameters
    ----------
    entry : Entry
    folder : path of a folder that exists
    size : "tiny", "default" or "full"
    seed : int, of the random numbers
    threads : int, default the CPUs that this process may use

    Returns
    -------
    Verdict
    """
    data = entry.run(entry.sizes[size], seed, threads)
    verdict = entry.check(data)
    numbers, picture, text = files_of(entry, folder)
    with writing(numbers) as file:
        np.savez(file, **data)
    with writing(picture) as file:
        entry.draw(data).savefig(file, dpi=150)
    words = (entry.source, entry.claim, f"Taken: {entry.taken}", f"Chosen here: {entry.chosen}")
    put(text, "\n".join((*words, f"Computed with {entry.setting(size, seed)}", entry.told(verdict), "")).encode())
    return verdict
