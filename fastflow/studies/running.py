"""Running a study: what is asked for, the store and what it has, and the driver that does the rest."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from pathlib import Path

import numpy as np

from fastflow.checks import as_count, as_number, one_of, shown
from fastflow.memory import require_memory
from fastflow.studies import growth
from fastflow.studies.design import Design
from fastflow.studies.driver import Driver, StudyError, StudyInterrupted
from fastflow.studies.errors import StoreError
from fastflow.studies.executors import Crew
from fastflow.studies.held import Held
from fastflow.studies.layout import require_zarr, store_path
from fastflow.studies.locks import Lock, locked
from fastflow.studies.outcomes import (
    NOT_DONE,
    Arrays,
    bytes_of,
    empty_outcomes,
    lacks,
    rows_of,
)
from fastflow.studies.plan import Order, Plan, held_by, order_of, share_with_twins
from fastflow.studies.result import StudyResult
from fastflow.studies.snapshot import Snapshot, read_store
from fastflow.studies.spec import Table, fields_of
from fastflow.studies.store import Store, attach, create, mend_document, recover
from fastflow.studies.tasks import ON_ERROR, RAISE, TrialError
from fastflow.studies.unstated import find_fields

WORKING = 1.6
"""What a running study takes for its outcomes, over what these take in the end (measured)."""


def run_study(
    design: Design,
    executor: object = None,
    store: str | Path | None = None,
    threads: int | None = None,
    shard: tuple[int, int] | None = None,
    max_seconds: float | None = None,
    progress: bool | None = None,
    adaptive: bool = False,
    repair: bool = False,
    task_seconds: float | None = None,
    on_error: str = RAISE,
    task_timeout: float | None = None,
    max_task_seconds: float | None = None,
) -> StudyResult:
    """What `Study.run` does, where the arguments are explained."""
    shard = _as_shard(shard, design)
    if max_seconds is not None:
        max_seconds = as_number("max_seconds", max_seconds, above=0)
    if task_seconds is not None:
        task_seconds = as_number("task_seconds", task_seconds, above=0)
    one_of("on_error", on_error, ON_ERROR)
    timeout = math.inf if task_timeout is None else as_number("task_timeout", task_timeout, above=0)
    most = math.inf if max_task_seconds is None else as_number("max_task_seconds", max_task_seconds, above=0)
    driver: Driver | None = None
    try:
        with contextlib.ExitStack() as stack:
            order = order_of(design, shard, adaptive)
            held = held_by(design, order)
            there, lock, path = None, None, None
            if store is not None:
                path = store_path(store).resolve()  # not a link, which would have a lock of its own
                require_zarr()
                lock = stack.enter_context(locked(path))
                there = lock.keeping(functools.partial(_read, path, repair))
            crew = Crew(executor, threads, on_error, timeout, most)
            stack.callback(crew.close)
            known = {} if there is None else there.facts.table
            design = find_fields(design, known, crew, math.inf if max_seconds is None else max_seconds)
            size = int(WORKING * held.count * design.trials * bytes_of(design.fields))
            require_memory(size, f"the outcomes of {held.count} x {design.trials} trials", "take fewer")
            kept = None
            arrays, pilots = {}, False
            table: Table = design.describe()
            if path is None or lock is None:
                arrays = empty_outcomes(held.array_shape(design.trials), design.fields)
            else:
                kept, arrays, held = lock.keeping(functools.partial(_open, path, design, held, there, lock))
                there = None
                pilots, table = kept.facts.adaptive, growth.with_outcomes(table, kept.facts.table)
            shared = share_with_twins(design, fields_of(table), arrays, held)
            _tell_of_reruns(design, arrays, held, order, adaptive)
            plan = Plan(design, arrays, held, order, adaptive)
            driver = Driver(
                design,
                table,
                arrays,
                held,
                kept,
                crew,
                plan,
                task_seconds,
                timeout,
                on_error,
                pilots=pilots or adaptive,
            )
            driver.changed(shared)
            try:
                return driver.run(max_seconds, progress)
            except StudyInterrupted:
                raise
            except KeyboardInterrupt as stop:  # one more, at another place, when the lock is still ours
                raise driver.interrupted() from stop
    except StudyInterrupted:
        raise
    except KeyboardInterrupt as stop:  # before the work, or after it
        if driver is not None:
            raise driver.interrupted() from stop
        told = StudyInterrupted("interrupted before any trial was begun: what the store has it keeps; .result has none")
        told.result = _nothing_done(design)
        raise told from stop
    except TrialError as error:
        failed = StudyError(f"{error} (no other trial was begun; .result has none)")
        failed.result = _nothing_done(design)
        raise failed from error


def _nothing_done(design: Design) -> StudyResult:
    """What there is before the work."""
    cells = (*design.shape, design.trials)
    nothing = {
        name: np.broadcast_to(np.array(field.fill, field.dtype), (*cells, *field.shape))
        for name, field in design.fields.items()
    }
    return StudyResult(design.describe(), nothing, None, design)


def _tell_of_reruns(design: Design, arrays: Arrays, held: Held, order: Order, adaptive: bool) -> None:
    """Say how many trials are to be run again for outcomes that they lack; pilots may find that less will do."""
    flat = rows_of(arrays, held.count, design.trials)
    rows = [held.row(cell) for cell in order.cells.tolist()]
    done, again = flat["status"][rows] != NOT_DONE, []
    done[:, : order.first] = done[:, order.last :] = False
    for name in design.asked:
        lacking = done & lacks(flat[name][rows], design.fields[name])
        if lacking.any():
            again.append((name, lacking))
    if again:
        count = np.count_nonzero(np.any([lacking for _, lacking in again], axis=0))
        warnings.warn(
            f"{count} trials that the store has lack outcomes ({', '.join(name for name, _ in again)}): they are run "
            f"again for these{', as far as their cells need them' * adaptive}, and must come out as they did",
            stacklevel=4,
        )


def _as_shard(shard: tuple[int, int] | None, design: Design) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    if np.shape(shard) != (2,):
        raise TypeError(f"shard must be (i, k), share i of k, got {shown(shard)}")
    i, k = as_count("shard[0]", shard[0], 0), as_count("shard[1]", shard[1], 1)
    if i >= k:
        raise ValueError(f"shard must be (i, k) with i in 0 .. k - 1, got ({i}, {k})")
    return i, k


def _read(path: Path, repair: bool) -> Snapshot | None:
    """What is in the store at a path, None where there is none."""
    recover(path)
    if not path.exists():
        return None
    if repair:
        mend_document(path)
    return read_store(path, repair=repair)


def _open(path: Path, design: Design, held: Held, found: Snapshot | None, lock: Lock) -> tuple[Store, Arrays, Held]:
    """The store at a path, made or grown to what is wanted; what is in it, and of which cells."""
    table: Table = design.describe()
    if found is None:
        arrays = empty_outcomes(held.array_shape(design.trials), design.fields)
        return create(path, table, arrays, held, lock), arrays, held
    old = found.facts.table
    why = growth.conflict(old, table) or growth.lacking(old, table)
    if why is not None:
        raise StoreError(f"the store {path} is of another study: {why}")
    table = growth.with_outcomes(table, old)
    arrays, held = growth.moved(found.arrays, found.held, old, table, held)
    if arrays is not found.arrays or not found.sound:
        adaptive, makers = found.facts.adaptive, found.facts.makers
        return create(path, table, arrays, held, lock, adaptive=adaptive, makers=makers), arrays, held
    return attach(path, found.facts, arrays["status"].shape, lock), arrays, held
