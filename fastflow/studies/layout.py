"""The layout of stores: where they lie, what is in which chunk, and which values stand along their axes."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fastflow.checks import shown
from fastflow.studies.following import FOLLOWING
from fastflow.studies.held import Held
from fastflow.studies.outcomes import Field
from fastflow.studies.spec import Table

CHUNK_ENTRIES = 2**17
Chunk = tuple[int, ...]

DOCUMENT = "zarr.json"
COPY = "status/group.json"
"""A copy of the document, from which `repair` restores it; where Zarr looks for no arrays."""


def require_zarr() -> ModuleType:
    """Zarr, or the name of the extra that brings it.

    Raises
    ------
    ImportError
        without Zarr
    """
    try:
        import zarr
    except ImportError as error:
        raise ImportError("a store needs zarr: pip install 'fastflow[study]'") from error
    return zarr


def store_path(store: str | Path) -> Path:
    """The folder of a store, ``~`` for the home folder.

    Raises
    ------
    TypeError, ValueError
        for what is no path of a folder
    """
    if not isinstance(store, str | os.PathLike):
        raise TypeError(f"store must be the path of a folder, got {shown(store)}")
    text = os.fspath(store)
    if not isinstance(text, str):
        raise TypeError(f"store must be the path of a folder, as a string, got {shown(store)}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError(
            f"store must be a folder of a file system, got {shown(text)}: write it to a folder, and copy that when the "
            "study is done"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"store: {error}") from error


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Whole trials, and of the last axes as much as makes a chunk of `CHUNK_ENTRIES`."""
    sizes, room = [], CHUNK_ENTRIES
    for size in reversed(shape):
        sizes.append(min(size, max(1, room)))
        room //= sizes[-1]
    return tuple(reversed(sizes))


def region_of(chunk: Chunk, sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The entries of an array of such a shape that are in a chunk, of arrays cut into chunks of such sizes."""
    return tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(chunk, sizes, shape, strict=True))


def all_chunks(shape: tuple[int, ...]) -> Iterator[Chunk]:
    """The places of all chunks of an array of such a shape, row by row."""
    return itertools.product(*(range(-(-n // size)) for n, size in zip(shape, chunk_shape(shape), strict=True)))


Coordinates = dict[str, tuple[tuple[str, ...], np.ndarray[Any, Any]]]
"""Names -> the dimensions along which they lie, and their values."""


def coordinates_of(table: Table, held: Held) -> Coordinates:
    """For xarray: the values of each axis and of what moves along with them, and of a share which cells it has."""
    coordinates: Coordinates = {}
    if held.cells is not None:
        coordinates["cell"] = ("cell",), held.cells
    axes, following = list(table["axes"]), table.get(FOLLOWING, {})
    found: Coordinates = {name: ((name,), _as_stored(list(values))) for name, values in table["axes"].items()}
    for name, follower in following.items():
        values = _as_stored(follower["values"])
        found[name] = tuple(follower["of"]), values.reshape([len(table["axes"][one]) for one in follower["of"]])
    for name, (along, values) in found.items():
        if held.cells is None:
            coordinates[name] = along, values
        else:
            at = np.unravel_index(held.cells, held.shape)
            coordinates[name] = ("cell",), values[tuple(at[axes.index(one)] for one in along)]
    return coordinates


def _as_stored(labels: list[object]) -> np.ndarray[Any, Any]:
    """Values of one kind as numbers, others as strings."""
    kinds = {type(label) for label in labels}
    plain = (len(kinds) == 1 and kinds != {str}) or kinds == {int, float}
    array = np.array(labels) if plain else np.array(list(map(str, labels)), dtype=object)
    if array.dtype.kind == "O" and plain:  # integers beyond 64 bits
        array = np.array(list(map(str, labels)), dtype=object)
    return array


def dimensions_of(name: str, field: Field) -> list[str]:
    """The names of the axes that an outcome has of its own."""
    return [f"{name}_{i}" for i in range(len(field.shape))]


def beside(path: Path, what: str) -> Path:
    """Where a store is made or put aside: a name that is nobody's copy of it."""
    return path.with_name(f".{path.name}.fastflow-{what}")


def place_of(path: Path) -> Path:
    """Where a store is; beside its path where a driver is about to put a larger one there, or died then."""
    old = beside(path, "old")
    return old if not path.exists() and old.exists() else path
