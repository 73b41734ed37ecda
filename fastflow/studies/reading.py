"""Results from stores: of one, or of several put together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastflow.memory import require_memory
from fastflow.studies import growth
from fastflow.studies.errors import StoreError
from fastflow.studies.layout import store_path
from fastflow.studies.nodes import differences
from fastflow.studies.outcomes import FIELDS, NOT_DONE, bytes_of, empty_outcomes, lacks, over, rows_of
from fastflow.studies.result import StudyResult
from fastflow.studies.snapshot import Snapshot, read_store
from fastflow.studies.spec import fields_of

PART_COPIES = 2
"""Copies of a store's outcomes that there are while they are put among others."""


def open_study(store: str | Path) -> StudyResult:
    """What a store has, also while a study runs.

    Parameters
    ----------
    store : folder of a store that `Study.run` wrote
        No code is imported that its table names.

    Returns
    -------
    StudyResult

    Raises
    ------
    StoreError
        when there is none, or it is damaged

    Examples
    --------
    >>> try:
    ...     ff.open_study("nowhere.zarr")
    ... except ff.StoreError as error:
    ...     print(type(error).__name__)
    StoreError
    """
    return result_of(read_store(store_path(store)))


def result_of(found: Snapshot) -> StudyResult:
    """What was in a store at one moment, as a result."""
    return StudyResult(
        found.facts.table, found.arrays, found.held, adaptive=found.facts.adaptive, makers=found.facts.makers
    )


def merge(stores: str | Path | Sequence[str | Path], into: str | Path | None = None) -> StudyResult:
    """Put the outcomes of several stores of one study together: shards, or other trials and values of its axes.

    Parameters
    ----------
    stores : sequence of folders
    into : folder of a new store for the result; default none

    Returns
    -------
    StudyResult
        Over all values of the axes, and the largest number of trials. Its success is that of the first store.

    Raises
    ------
    StoreError
        when they are of different studies, or have different outcomes of one trial

    Warns
    -----
    UserWarning
        where different kinds of nodes made them, or parts of them

    Examples
    --------
    >>> ff.merge(["part0.zarr", "part1.zarr"], into="all.zarr")  # doctest: +SKIP
    """
    paths = [store_path(store) for store in ([stores] if isinstance(stores, str | Path) else stores)]
    if not paths:
        raise ValueError("there are no stores to merge")
    parts = [read_store(path, tell=False) for path in paths]
    makers = tuple(maker for part in parts for maker in part.facts.makers)
    others = [differences(part.facts.makers, makers[0]) if makers else "" for part in parts]
    if any(others):
        first = next(i for i, other in enumerate(others) if other)
        warnings.warn(
            f"{sum(map(bool, others))} of {len(parts)} stores were not, or not wholly, made as {paths[0]} was, the "
            f"first {paths[first]} by {others[first]}: the last bits of trials may depend on whose they are",
            stacklevel=2,
        )
    tables = [part.facts.table for part in parts]
    table = tables[0]
    for path, of_path in zip(paths[1:], tables[1:], strict=True):
        why = growth.conflict(of_path, table)
        if why is not None:
            raise StoreError(f"{path} and {paths[0]} are of different studies: {why}")
        table = growth.union(table, of_path)
    shape = (*growth.shape_of(table), table["trials"])
    trials, fields = (
        math.prod(shape) + PART_COPIES * max(part.arrays["status"].size for part in parts),
        fields_of(table),
    )
    require_memory(trials * bytes_of(fields), "the outcomes of all stores", "merge fewer, or count them one by one")
    whole = empty_outcomes(shape, fields)
    flat = rows_of(whole, math.prod(shape[:-1]), table["trials"])
    for path, part, of_path in zip(paths, parts, tables, strict=True):
        places = np.ix_(growth.moved_cells(part.held.all_cells, of_path, table), np.arange(of_path["trials"]))
        mine = rows_of(part.arrays, part.held.count, of_path["trials"])
        done, known = mine["status"] != NOT_DONE, flat["status"][places] != NOT_DONE
        for name, new in mine.items():
            field, old = fields[name], flat[name][places]
            has, had = done, known
            if name not in FIELDS:
                has, had = done & ~lacks(new, field), known & ~lacks(old, field)
            both = has & had
            if name != "seconds" and not np.array_equal(new[both], old[both], equal_nan=new.dtype.kind == "f"):
                raise StoreError(f"{path} has another {name} than the others for some of the same trials")
            flat[name][places] = np.where(over(has & ~had, field), new, old)
    kinds = tuple(maker for i, maker in enumerate(makers) if maker not in makers[:i])
    result = StudyResult(table, whole, adaptive=any(part.facts.adaptive for part in parts), makers=kinds)
    if into is not None:
        result.save(into)
    return result
