"""What an entry of the gallery is: a study with its source and its claim, and a check of the claim in the data."""

from __future__ import annotations

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
    growth : float, how many times the default size's time the full one is expected to take
    compute : gives the data
    draw : makes a figure of them
    check : judges the claim by them
    """

    name: str
    source: str
    claim: str
    taken: str
    chosen: str
    sizes: Mapping[str, Size]
    growth: float
    compute: Callable[..., Data]
    draw: Callable[[Data], Figure]
    check: Callable[[Data], Verdict]


def reproduce(entry: Entry, folder: Path, size: str = DEFAULT) -> Verdict:
    """Compute an entry, and write ``NAME.npz``, ``NAME.png`` and ``NAME.txt`` into a folder.

    Each file is there whole or not at all.

    Parameters
    ----------
    entry : Entry
    folder : path of a folder that exists
    size : "tiny", "default" or "full"

    Returns
    -------
    Verdict
    """
    data = entry.compute(**entry.sizes[size])
    verdict = entry.check(data)
    with writing(folder / f"{entry.name}.npz") as file:
        np.savez(file, allow_pickle=False, **data)
    with writing(folder / f"{entry.name}.png") as file:
        entry.draw(data).savefig(file, dpi=150)
    words = (entry.source, entry.claim, f"Taken: {entry.taken}", f"Chosen here: {entry.chosen}", str(verdict))
    put(folder / f"{entry.name}.txt", ("\n".join(words) + "\n").encode())
    return verdict
