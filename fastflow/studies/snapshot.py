"""Snapshots: all that is in a store at one moment, checked, and read without running what others have written."""

from __future__ import annotations

import itertools
import json
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastflow.checks import as_count
from fastflow.memory import require_memory
from fastflow.studies import document
from fastflow.studies.document import Facts, Metadata
from fastflow.studies.errors import StoreError
from fastflow.studies.following import FOLLOWING, values_at
from fastflow.studies.held import Held
from fastflow.studies.layout import (
    COPY,
    DOCUMENT,
    all_chunks,
    beside,
    chunk_shape,
    coordinates_of,
    place_of,
    region_of,
    require_zarr,
)
from fastflow.studies.locks import remove_dead
from fastflow.studies.nodes import differences, this_node
from fastflow.studies.outcomes import NOT_DONE, Arrays, Field, bytes_of, empty_outcomes, lacks, over
from fastflow.studies.spec import WORDS, Table, as_table, fields_of, success_of

CODECS = ("bytes", "zstd", "crc32c", "vlen-utf8")
"""What a store is encoded by. Others are not read: some run code that they find in the data."""

READINGS = 100
"""How often a reader looks again where a store is replaced by a larger one meanwhile."""

WAIT_SECONDS = 0.02
"""How long it waits in between."""


class Snapshot(NamedTuple):
    """What was in a store at one moment.

    Attributes
    ----------
    facts : what it says of itself
    arrays, held : all outcomes, and of which cells they are
    sound : bool, False where something was damaged, whose trials are taken for not done
    """

    facts: Facts
    arrays: Arrays
    held: Held
    sound: bool


def read_store(path: Path, *, repair: bool = False, tell: bool = True) -> Snapshot:
    """All that is in a store at one moment, also while it is written or replaced by a larger one.

    Parameters
    ----------
    path : of its folder
    repair : take trials in damaged chunks for not done
    tell : warn of other kinds of nodes

    Raises
    ------
    StoreError
        when there is no such store, or it is damaged
    MemoryError
        when the outcomes take more memory than there is

    Warns
    -----
    UserWarning
        where other kinds of nodes, or other versions, made it, or some of it
    """
    require_zarr()
    remove_dead(path)
    found: Snapshot | StoreError
    for _ in range(READINGS):
        place = place_of(path)
        before = _bytes_of(place)
        try:
            found = _read(path, place, before, repair)
        except StoreError as error:
            found = error
        if place_of(path) == place and _bytes_of(place) == before:
            break
        time.sleep(WAIT_SECONDS)  # it has become another one meanwhile
    if isinstance(found, StoreError):
        raise found
    others = differences(found.facts.makers, this_node()) if tell else ""
    if others:
        part = " in part" if this_node() in found.facts.makers else ""
        warnings.warn(f"{path} was made{part} by {others}: its last bits may differ from today's", stacklevel=3)
    return found


def _bytes_of(place: Path) -> bytes | None:
    """The document of a store, None without one."""
    try:
        return (place / DOCUMENT).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"the store {place} cannot be read: {error.strerror or error}") from error


def _read(path: Path, place: Path, data: bytes | None, repair: bool) -> Snapshot:
    """What is in the store that lies at a place, and belongs to a path."""
    if not place.exists():
        half = beside(path, "new")
        more = f"; a half-made one is {half}, which the next run or save there removes" if half.exists() else ""
        raise StoreError(f"there is no store {path}{more}")
    again = "run the study with repair=True to"
    try:
        if data is None:
            raise KeyError(DOCUMENT)
        facts, metadata = document.read(data)
    except (KeyError, ValueError) as error:
        if (place / COPY).exists():
            raise StoreError(
                f"{place / DOCUMENT} is damaged ({error}); {again} restore it from its copy, if that is whole"
            ) from error
        why = "" if isinstance(error, KeyError) or data is None or b"fastflow" not in data else f": {error}"
        raise StoreError(f"{path} is not a store of a fastflow study{why}") from error
    try:
        _check_table(facts.table)
        held = Held(tuple(len(values) for values in facts.table["axes"].values()), facts.cells)
        shape, fields = held.array_shape(facts.table["trials"]), fields_of(facts.table)
        _check_arrays(metadata, shape, fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} is not a store that this fastflow can read: {error}") from error
    size = int(np.prod(shape, dtype=object)) * bytes_of(fields)
    require_memory(size, f"the outcomes in {path}", "count them share by share")
    from zarr.storage import LocalStore

    try:
        files = LocalStore(place, read_only=True)
        group = require_zarr().open_group(files, mode="r", zarr_format=3, use_consolidated=True)
    except (KeyError, OSError, ValueError) as error:  # it is being replaced, or gone
        raise StoreError(f"the store {path} cannot be read: {error}") from error
    arrays, sound = empty_outcomes(shape, fields), True
    filled = _fill(place, group, arrays, fields, facts.partial)
    for damage in itertools.chain(_damaged_files(place, group, facts, metadata, held), filled):
        if not repair:
            raise StoreError(f"{damage}; {again} compute, or write, it again")
        sound = False
    return Snapshot(facts, arrays, held, sound)


def _check_table(table: Table) -> None:
    """Whether a table is one of numbers and words, as far as reading results goes."""
    as_count("trials", table["trials"], 1)
    success_of(table).check(fields_of(table))
    for name, values in as_table("axes", table["axes"]).items():
        each = as_table(name, values) if isinstance(values, Mapping) else values
        if not isinstance(each, Mapping | list) or not all(isinstance(value, int | float | str) for value in each):
            raise ValueError(f"axis {name!r} has other values than numbers and strings")
    for name, follower in as_table(FOLLOWING, table.get(FOLLOWING, {})).items():
        values_at(table, as_table(name, follower))
        if not all(isinstance(value, int | float | str) for value in follower["values"]):
            raise ValueError(f"{name} has other values than numbers and strings")
    for word in WORDS:
        for one in table["axes"].get(word, {"": table.get(word, {})}).values():
            if not isinstance(as_table(word, one).get("kind", ""), str):
                raise ValueError(f"{word} has no kind")


def _check_arrays(metadata: dict[str, Metadata], shape: tuple[int, ...], fields: Mapping[str, Field]) -> None:
    """Whether the arrays are those of a study, and encoded by nothing that runs code of others."""
    for name, array in metadata.items():
        codecs = [codec["name"] for codec in array["codecs"]]
        if not set(codecs) <= set(CODECS) or array.get("storage_transformers"):
            raise ValueError(f"{name} is encoded by {', '.join(codecs)}")
    for name, field in fields.items():
        array, whole = metadata[name], (*shape, *field.shape)
        chunks = array["chunk_grid"]["configuration"]["chunk_shape"]
        wanted = whole, (*chunk_shape(shape), *field.shape), field.dtype
        if (tuple(array["shape"]), tuple(chunks), array["data_type"]) != wanted:
            raise ValueError(f"{name} has the shape {array['shape']}, in chunks of {chunks}, not {whole}")


def _damaged_files(place: Path, group: Any, facts: Facts, metadata: dict[str, Metadata], held: Held) -> Iterator[str]:
    """In words, each file beside the chunks that is not what was written."""
    try:
        document.read((place / COPY).read_bytes())
    except (OSError, KeyError, ValueError) as error:
        yield f"{place / COPY} is damaged ({getattr(error, 'strerror', None) or error})"
    for name, expected in metadata.items():
        file = place / name / DOCUMENT
        try:
            if json.loads(file.read_bytes()) != expected:
                raise ValueError("it is not what the document says")
        except (OSError, ValueError, RecursionError) as error:
            yield f"{file} is damaged ({getattr(error, 'strerror', None) or error})"
    for name, (_, values) in coordinates_of(facts.table, held).items():
        try:
            found = np.asarray(group[name])
            if found.shape != values.shape or not np.array_equal(found.astype(values.dtype), values):
                raise ValueError("it has other values than the document")
        except (KeyError, ValueError, RuntimeError, OSError, TypeError) as error:
            yield f"the chunk {place / name / 'c/0'} is damaged ({str(error).split('.')[0]})"


def _fill(
    place: Path, group: Any, arrays: Arrays, fields: Mapping[str, Field], partial: Collection[str]
) -> Iterator[str]:
    """Fill the arrays with what is in the chunks, and say in words which are damaged."""
    shape = arrays["status"].shape
    for chunk in all_chunks(shape):
        region = region_of(chunk, chunk_shape(shape), shape)
        read: Arrays = {}
        for name, field in reversed(list(fields.items())):  # the status first: what it vouches for is there then
            whole = (*chunk, *[0] * len(field.shape))
            file = place / name / "c" / "/".join(map(str, whole))
            try:
                read[name] = group[name][region]
            except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
                yield f"the chunk {file} is damaged ({str(error).split('.')[0]})"
                break
            if name == "status":
                done = read["status"] != NOT_DONE
                if not done.any():
                    if not file.is_file():
                        yield f"the chunk {file} is missing"
                    break
            elif name not in partial and np.any(lacks(read[name], field)[done]):
                yield f"the chunk {file} is missing, or older than the status of its trials"
                break
        else:
            for name, field in fields.items():
                arrays[name][region] = np.where(over(done, field), read[name], field.fill)
