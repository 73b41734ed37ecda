"""Stores: the outcomes of a study on disk, as a Zarr group that xarray opens, also while the study runs.

One process writes. Chunks hold many cells; data are written before the status that vouches for them, each file whole or
not at all, and a checksum outside the compressor finds what the disk has changed; one document under a digest says what
the numbers mean. So a driver may be killed at any moment: what the status calls done is there, or reading says that it
is not.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastflow.disk import PARTIAL, put, sync, sync_all
from fastflow.status import Status
from fastflow.studies import document
from fastflow.studies.document import Facts, Metadata
from fastflow.studies.errors import StoreError
from fastflow.studies.held import Held
from fastflow.studies.layout import (
    COPY,
    DOCUMENT,
    Chunk,
    all_chunks,
    beside,
    chunk_shape,
    coordinates_of,
    dimensions_of,
    region_of,
    require_zarr,
)
from fastflow.studies.locks import Lock
from fastflow.studies.outcomes import FIELDS, NOT_DONE, Arrays, Field, partial_of
from fastflow.studies.spec import Table, fields_of, meaning_of

ABOUT: dict[str, dict[str, str]] = {
    "error": {"long_name": "relative error ||x - truth|| / ||truth||", "units": "1"},
    "loss": {"long_name": "loss at the end, in the units of the data"},
    "steps": {"long_name": "steps of the method", "units": "1"},
    "seconds": {"long_name": "time of computing, shared out among trials computed together", "units": "s"},
    "status": {"long_name": "how the trial ended, a fastflow.Status; -1 where it is not done"},
}
"""What the outcomes of every study are, in the words of CF (https://cfconventions.org)."""


class Store:
    """A store that is open for writing, by this process alone.

    Parameters
    ----------
    path : its folder
    facts : what it says of itself
    shape : the shape of every array, cells and then trials
    lock : held, of this store
    """

    def __init__(self, path: Path, facts: Facts, shape: tuple[int, ...], lock: Lock) -> None:
        from fastflow.studies.synced import SyncedStore

        self.path, self.facts, self.shape, self.lock = path, facts, shape, lock
        self.chunks = chunk_shape(shape)
        self._group = require_zarr().open_group(SyncedStore(path), mode="r+", zarr_format=3, use_consolidated=True)

    def chunks_of(self, cell: tuple[int, ...], first: int, last: int) -> Iterator[Chunk]:
        """The chunks that hold these trials of a cell."""
        *cells, trials = self.chunks
        place = tuple(i // size for i, size in zip(cell, cells, strict=True))
        for i in range(first // trials, (last - 1) // trials + 1):
            yield (*place, i)

    def write(self, arrays: Arrays, dirty: Iterable[Chunk]) -> None:
        """Write some chunks of the arrays.

        Raises
        ------
        StoreError
            when the disk is full or the like, or the store is no longer the one that was opened; what was stored before
            stays as it is
        """
        chunks = sorted(dirty)
        with self._writing():
            for name in arrays:  # the status comes last
                for chunk in chunks:
                    region = region_of(chunk, self.chunks, self.shape)
                    self._group[name][region] = arrays[name][region]

    def describe(self, table: Table, adaptive: bool, partial: tuple[str, ...] = ()) -> None:
        """Put another table of the study into the store, whether a pilot decides in it, and what trials may lack.

        Raises
        ------
        StoreError
            as `write`
        """
        if (table, adaptive, partial) == (self.facts.table, self.facts.adaptive, self.facts.partial):
            return
        with self._writing():
            metadata = document.read((self.path / DOCUMENT).read_bytes())[1]
            self.facts = self.facts._replace(table=table, adaptive=adaptive, partial=partial)
            data = document.written(self.facts, metadata)
            put(self.path / DOCUMENT, data)
            put(self.path / COPY, data)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Write, if this is still our store, and say in words why that cannot be."""
        try:
            try:
                ours = document.read((self.path / DOCUMENT).read_bytes())[0].identity == self.facts.identity
            except (FileNotFoundError, NotADirectoryError):
                raise StoreError(f"the store {self.path} was moved or deleted while it was written") from None
            except (KeyError, ValueError):
                ours = False
            if not ours:
                raise StoreError(
                    f"{self.path} is another store than the one that was written until now: it is left alone"
                )
            if not self.lock.is_held():
                raise StoreError(
                    f"the lock file of {self.path} was removed while it was written, so another driver may write it: "
                    "see that there is none, and go on from the store"
                )
            yield
        except StoreError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"the store {self.path} cannot be written: {reason}; what it had before is still there, and the same "
                "study goes on from it when that is mended"
            ) from error


def create(path: Path, table: Table, arrays: Arrays, held: Held, lock: Lock, *, adaptive: bool = False) -> Store:
    """A new store in the place of what there is, if any. It appears whole or not at all.

    That of a share has a dimension "cell" instead of the axes, and along it the values of these.

    Raises
    ------
    StoreError
        when the disk is full or the like
    """
    require_zarr()
    shape = arrays["status"].shape
    facts = document.new_facts(table, adaptive, held.cells, partial_of(arrays, fields_of(table)))
    fresh, old = beside(path, "new"), beside(path, "old")
    try:
        _remove(fresh)
        data = document.written(facts, _make_arrays(fresh, table, arrays, held))
        for name in (DOCUMENT, COPY):
            put(fresh / name, data)
        sync_all(fresh)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
        sync(path.parent)  # before the old one goes
        _remove(old)
    except OSError as error:
        with contextlib.suppress(OSError):
            _remove(fresh)
            if old.exists() and not path.exists():
                old.rename(path)
        raise StoreError(f"the store {path} cannot be made: {error.strerror or error}") from error
    return Store(path, facts, shape, lock)


def _make_arrays(folder: Path, table: Table, arrays: Arrays, held: Held) -> dict[str, Metadata]:
    """The arrays of a store in a new folder, and their metadata."""
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import LocalStore

    codecs = [ZstdCodec(level=1), Crc32cCodec()]
    group = require_zarr().create_group(LocalStore(folder), zarr_format=3)
    coordinates = coordinates_of(table, held)
    for name, (along, values) in coordinates.items():
        coordinate = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype="str" if values.dtype.kind == "O" else values.dtype,
            compressors=codecs,
            dimension_names=list(along),
        )
        coordinate[:] = values
    shape, names = arrays["status"].shape, list(table["axes"]) if held.cells is None else ["cell"]
    others = [name for name in coordinates if name not in names]
    done = arrays["status"] != NOT_DONE
    fields = fields_of(table)
    for name, field in fields.items():
        array = group.create_array(
            name,
            shape=(*shape, *field.shape),
            chunks=(*chunk_shape(shape), *field.shape),
            dtype=field.dtype,
            fill_value=field.fill,
            compressors=codecs,
            dimension_names=[*names, "trial", *dimensions_of(name, field)],
            attributes=_attributes(table, name, field, others),
            config={"write_empty_chunks": True},  # so that a chunk of the status that is not there is one that is lost
        )
        for chunk in all_chunks(shape):
            region = region_of(chunk, chunk_shape(shape), shape)
            if name == "status" or done[region].any():
                array[region] = arrays[name][region]
    return {name: json.loads((folder / name / DOCUMENT).read_bytes()) for name in (*coordinates, *fields)}


def _attributes(table: Table, name: str, field: Field, others: list[str]) -> dict[str, Any]:
    """What tells xarray, and netCDF, of values that are none: masked ones, or of the status named ones.

    And what an outcome is, in which units; of integers what stands where a trial has no such number; and, as CF has it,
    which ``others`` are coordinates beside those of the dimensions.
    """
    common: dict[str, Any] = dict(ABOUT.get(name, {}))
    if others:
        common["coordinates"] = " ".join(others)
    if name == "status":
        flags = {NOT_DONE: "not_done"} | {int(status): status.name.lower() for status in Status}
        return {**common, "flag_values": list(flags), "flag_meanings": " ".join(flags.values())}
    # As xarray reads it: an integer, or the bytes of a double in base 64.
    packed = base64.standard_b64encode(struct.pack("<d", field.fill)).decode()
    whole = np.dtype(field.dtype).kind != "f"
    attributes = {**common, "_FillValue": int(field.fill) if whole else packed}
    if name not in FIELDS:
        attributes["long_name"] = meaning_of(table, name)
        if whole:
            attributes["no_such_number"] = int(field.none)
    return attributes


def _remove(path: Path) -> None:
    """A folder with all that is in it, or a link, whose target stays."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def recover(path: Path) -> None:
    """Undo what a driver that was killed left half done; the lock must be held.

    Raises
    ------
    StoreError
        when that cannot be
    """
    old = beside(path, "old")
    try:
        if old.exists():
            if path.exists():
                _remove(old)
            else:
                old.rename(path)
                sync(path.parent)
        _remove(beside(path, "new"))
        for left in path.rglob(f"*{PARTIAL}"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be written: {error.strerror or error}") from error


def mend_document(path: Path) -> None:
    """Restore the document of a store from its copy, where it is damaged; the lock must be held."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        document.read((path / DOCUMENT).read_bytes())
        return
    with contextlib.suppress(OSError, KeyError, ValueError):
        data = (path / COPY).read_bytes()
        document.read(data)
        put(path / DOCUMENT, data)


def attach(path: Path, facts: Facts, shape: tuple[int, ...], lock: Lock) -> Store:
    """A store that exists, for writing."""
    return Store(path, facts, shape, lock)
