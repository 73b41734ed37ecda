"""Stores: the outcomes of a study on disk, as a Zarr group that xarray opens, also while the study runs.

One process writes. Chunks hold many cells; data are written before the status that vouches for them, each file whole or
not at all, and a checksum outside the compressor finds what the disk has changed; one document under a digest says what
the numbers mean. So a driver may be killed at any moment: what the status calls done is there, or reading says that it
is not.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import struct
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastflow.checks import as_count, shown
from fastflow.memory import require_memory
from fastflow.status import Status
from fastflow.studies import document
from fastflow.studies.disk import PARTIAL, put, sync, sync_all
from fastflow.studies.document import Facts, Metadata
from fastflow.studies.errors import StoreError
from fastflow.studies.held import Held
from fastflow.studies.locks import Lock
from fastflow.studies.nodes import difference, this_node
from fastflow.studies.outcomes import BYTES, FIELDS, NOT_DONE, Arrays, empty_outcomes
from fastflow.studies.spec import WORDS, Table, as_table, success_of

CHUNK_ENTRIES = 2**17
Chunk = tuple[int, ...]

DOCUMENT = "zarr.json"
COPY = "status/group.json"
"""A copy of the document, from which `repair` restores it; where Zarr looks for no arrays."""

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
            for name in FIELDS:  # the status comes last
                for chunk in chunks:
                    region = _region(chunk, self.chunks, self.shape)
                    self._group[name][region] = arrays[name][region]

    def describe(self, table: Table, adaptive: bool) -> None:
        """Put another table of the study into the store, or that a pilot decides in it, or no longer.

        Raises
        ------
        StoreError
            as `write`
        """
        if (table, adaptive) == (self.facts.table, self.facts.adaptive):
            return
        with self._writing():
            metadata = document.read((self.path / DOCUMENT).read_bytes())[1]
            self.facts = self.facts._replace(table=table, adaptive=adaptive)
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


def _region(chunk: Chunk, sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(chunk, sizes, shape, strict=True))


def _all_chunks(shape: tuple[int, ...]) -> Iterator[Chunk]:
    return itertools.product(*(range(-(-n // size)) for n, size in zip(shape, chunk_shape(shape), strict=True)))


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
    facts = document.new_facts(table, adaptive, held.cells)
    fresh, old = _beside(path, "new"), _beside(path, "old")
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
    coordinates = _coordinates(table, held)
    for name, (along, values) in coordinates.items():
        coordinate = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype="str" if values.dtype.kind == "O" else values.dtype,
            compressors=codecs,
            dimension_names=[along],
        )
        coordinate[:] = values
    shape, names = arrays["status"].shape, list(table["axes"]) if held.cells is None else ["cell"]
    done = arrays["status"] != NOT_DONE
    for name, (kind, fill) in FIELDS.items():
        array = group.create_array(
            name,
            shape=shape,
            chunks=chunk_shape(shape),
            dtype=kind,
            fill_value=fill,
            compressors=codecs,
            dimension_names=[*names, "trial"],
            attributes=_attributes(name, kind, fill),
            config={"write_empty_chunks": True},  # so that a chunk of the status that is not there is one that is lost
        )
        for chunk in _all_chunks(shape):
            region = _region(chunk, chunk_shape(shape), shape)
            if name == "status" or done[region].any():
                array[region] = arrays[name][region]
    return {name: json.loads((folder / name / DOCUMENT).read_bytes()) for name in (*coordinates, *FIELDS)}


def _coordinates(table: Table, held: Held) -> dict[str, tuple[str, np.ndarray[Any, Any]]]:
    """For xarray: the values of each axis, and of a share which cells it has; along which dimension."""
    coordinates: dict[str, tuple[str, np.ndarray[Any, Any]]] = {}
    if held.cells is not None:
        coordinates["cell"] = "cell", held.cells
    for axis, (name, values) in enumerate(table["axes"].items()):
        labels = list(values)
        kinds = {type(label) for label in labels}
        plain = (len(kinds) == 1 and kinds != {str}) or kinds == {int, float}
        array = np.array(labels) if plain else np.array(list(map(str, labels)), dtype=object)
        if array.dtype.kind == "O" and plain:  # integers beyond 64 bits
            array = np.array(list(map(str, labels)), dtype=object)
        if held.cells is not None:
            array = array[np.unravel_index(held.cells, held.shape)[axis]]
        coordinates[name] = name if held.cells is None else "cell", array
    return coordinates


def _attributes(name: str, kind: str, fill: float) -> dict[str, Any]:
    """What tells xarray, and netCDF, of values that are none: masked ones, or of the status named ones."""
    if name == "status":
        flags = {NOT_DONE: "not_done"} | {int(status): status.name.lower() for status in Status}
        return {"flag_values": list(flags), "flag_meanings": " ".join(flags.values())}
    # As xarray reads it: an integer, or the bytes of a double in base 64.
    packed = base64.standard_b64encode(struct.pack("<d", fill)).decode()
    return {"_FillValue": packed if np.dtype(kind).kind == "f" else int(fill)}


def _beside(path: Path, what: str) -> Path:
    """Where a store is made or put aside: a name that is nobody's copy of it."""
    return path.with_name(f".{path.name}.fastflow-{what}")


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
    old = _beside(path, "old")
    try:
        if old.exists():
            if path.exists():
                _remove(old)
            else:
                old.rename(path)
                sync(path.parent)
        _remove(_beside(path, "new"))
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
        where another kind of node, or other versions, made it
    """
    require_zarr()
    found: Snapshot | StoreError
    for _ in range(READINGS):
        place = _place_of(path)
        before = _bytes_of(place)
        try:
            found = _read(path, place, before, repair)
        except StoreError as error:
            found = error
        if _place_of(path) == place and _bytes_of(place) == before:
            break
        time.sleep(WAIT_SECONDS)  # it has become another one meanwhile
    if isinstance(found, StoreError):
        raise found
    other = difference(found.facts.made_by, this_node()) if tell else ""
    if other:
        warnings.warn(f"{path} was made by {other}: its last bits may differ from today's", stacklevel=3)
    return found


def _place_of(path: Path) -> Path:
    """Where a store is; beside its path where a driver is about to put a larger one there, or died then."""
    old = _beside(path, "old")
    return old if not path.exists() and old.exists() else path


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
        raise StoreError(f"there is no store {path}")
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
        shape = held.array_shape(facts.table["trials"])
        _check_arrays(metadata, shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} is not a store that this fastflow can read: {error}") from error
    require_memory(int(np.prod(shape, dtype=object)) * BYTES, f"the outcomes in {path}", "count them share by share")
    from zarr.storage import LocalStore

    group = require_zarr().open_group(LocalStore(place, read_only=True), mode="r", zarr_format=3, use_consolidated=True)
    arrays, sound = empty_outcomes(shape), True
    for damage in itertools.chain(_damaged_files(place, group, facts, metadata, held), _fill(place, group, arrays)):
        if not repair:
            raise StoreError(f"{damage}; {again} compute, or write, it again")
        sound = False
    return Snapshot(facts, arrays, held, sound)


def _check_table(table: Table) -> None:
    """Whether a table is one of numbers and words, as far as reading results goes."""
    as_count("trials", table["trials"], 1)
    success_of(table)
    for name, values in as_table("axes", table["axes"]).items():
        each = as_table(name, values) if isinstance(values, Mapping) else values
        if not isinstance(each, Mapping | list) or not all(isinstance(value, int | float | str) for value in each):
            raise ValueError(f"axis {name!r} has other values than numbers and strings")
    for word in WORDS:
        for one in table["axes"].get(word, {"": table.get(word, {})}).values():
            if not isinstance(as_table(word, one).get("kind", ""), str):
                raise ValueError(f"{word} has no kind")


def _check_arrays(metadata: dict[str, Metadata], shape: tuple[int, ...]) -> None:
    """Whether the arrays are those of a study, and encoded by nothing that runs code of others."""
    for name, array in metadata.items():
        codecs = [codec["name"] for codec in array["codecs"]]
        if not set(codecs) <= set(CODECS) or array.get("storage_transformers"):
            raise ValueError(f"{name} is encoded by {', '.join(codecs)}")
    for name, (kind, _) in FIELDS.items():
        array = metadata[name]
        chunks = array["chunk_grid"]["configuration"]["chunk_shape"]
        if tuple(array["shape"]) != shape or tuple(chunks) != chunk_shape(shape) or array["data_type"] != kind:
            raise ValueError(f"{name} has the shape {array['shape']}, in chunks of {chunks}, not {shape}")


def _damaged_files(place: Path, group: Any, facts: Facts, metadata: dict[str, Metadata], held: Held) -> Iterator[str]:
    """In words, each file beside the chunks that is not what was written."""
    for name, expected in metadata.items():
        file = place / name / DOCUMENT
        try:
            if json.loads(file.read_bytes()) != expected:
                raise ValueError("it is not what the document says")
        except (OSError, ValueError, RecursionError) as error:
            yield f"{file} is damaged ({getattr(error, 'strerror', None) or error})"
    for name, (_, values) in _coordinates(facts.table, held).items():
        try:
            found = np.asarray(group[name])
            if found.shape != values.shape or not np.array_equal(found.astype(values.dtype), values):
                raise ValueError("it has other values than the document")
        except (KeyError, ValueError, RuntimeError, OSError, TypeError) as error:
            yield f"the chunk {place / name / 'c/0'} is damaged ({str(error).split('.')[0]})"


def _fill(place: Path, group: Any, arrays: Arrays) -> Iterator[str]:
    """Fill the arrays with what is in the chunks, and say in words which are damaged."""
    shape = arrays["status"].shape
    for chunk in _all_chunks(shape):
        region = _region(chunk, chunk_shape(shape), shape)
        read: Arrays = {}
        for name in reversed(FIELDS):  # the status first: what it vouches for is there then
            file = place / name / "c" / "/".join(map(str, chunk))
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
            elif np.any(read[name][done] == FIELDS[name][1]):
                yield f"the chunk {file} is missing, or older than the status of its trials"
                break
        else:
            for name, (_, fill) in FIELDS.items():
                arrays[name][region] = np.where(done, read[name], fill)
