"""Results from stores: of one, or of several put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastflow.studies import growth
from fastflow.studies.outcomes import FIELDS, NOT_DONE, empty_outcomes
from fastflow.studies.result import StudyResult
from fastflow.studies.spec import Table
from fastflow.studies.store import StoreError, read_arrays, read_table


def open_study(store: str | Path) -> StudyResult:
    """What a store has, also while a study runs.

    Parameters
    ----------
    store : folder of a store that `Study.run` wrote

    Returns
    -------
    StudyResult

    Raises
    ------
    StoreError
        when there is none, or it is damaged
    """
    path = Path(store)
    return StudyResult(read_table(path), *read_arrays(path))


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
    """
    paths = [Path(store) for store in ([stores] if isinstance(stores, str | Path) else stores)]
    if not paths:
        raise ValueError("there are no stores to merge")
    table: Table | None = None
    tables: list[Table] = []
    for path in paths:
        tables.append(read_table(path))
        if table is not None:
            why = growth.conflict(tables[-1], table)
            if why is not None:
                raise StoreError(f"{path} and {paths[0]} are of different studies: {why}")
        table = tables[-1] if table is None else growth.union(table, tables[-1])
    assert table is not None
    whole = empty_outcomes((*growth.shape_of(table), table["trials"]))
    flat = {name: array.reshape(-1, table["trials"]) for name, array in whole.items()}
    for path, of_path in zip(paths, tables, strict=True):
        arrays, held = read_arrays(path)
        places = np.ix_(growth.moved_cells(held.all_cells, of_path, table), np.arange(of_path["trials"]))
        there = {name: array[places] for name, array in flat.items()}
        done, known = arrays["status"].reshape(there["status"].shape) != NOT_DONE, there["status"] != NOT_DONE
        for name in FIELDS:
            new, old = arrays[name].reshape(done.shape), there[name]
            if name != "seconds" and not np.array_equal(
                new[done & known], old[done & known], equal_nan=new.dtype.kind == "f"
            ):
                raise StoreError(f"{path} has another {name} than the others for some of the same trials")
            flat[name][places] = np.where(done & ~known, new, old)
    result = StudyResult(table, whole)
    if into is not None:
        result.save(into)
    return result
