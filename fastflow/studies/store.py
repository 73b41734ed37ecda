"""Stores: the outcomes of a study on disk, as a Zarr group that xarray opens, also while the study runs.

One process writes. Chunks hold many cells; data are written before the status that vouches for them, each file whole or
not at all, and a checksum outside the compressor finds what the disk has changed. So a driver may be killed at any
moment: what the status calls done is there, or reading says that it is not.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import socket
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fastflow.studies.held import Held
from fastflow.studies.outcomes import FIELDS, NOT_DONE, Arrays, empty_outcomes
from fastflow.studies.spec import Table
from fastflow.version import __version__

FORMAT = 1
CHUNK_ENTRIES = 2**17
Chunk = tuple[int, ...]


class StoreError(OSError):
    """A store that is damaged, in use, of another study, or cannot be written.

    Attributes
    ----------
    result : `StudyResult`, what a run had done when its store could not be written; None where nothing was run
    """

    result: object = None


class Store:
    """A store that is open for writing, by this process alone.

    Parameters
    ----------
    path : its folder
    group : the Zarr group
    shape : the shape of every array, cells and then trials
    """

    def __init__(self, path: Path, group: Any, shape: tuple[int, ...]) -> None:
        self.path, self.group, self.chunks = path, group, chunk_shape(shape)
        self.shape = shape

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
            when the disk is full or the like; what was stored before stays as it is
        """
        chunks = sorted(dirty)
        try:
            for name in FIELDS:  # the status comes last
                for chunk in chunks:
                    region = _region(chunk, self.chunks, self.shape)
                    self.group[name][region] = arrays[name][region]
                # On the disk, not only on its way there, before the status says so.
                for chunk in chunks:
                    _sync(self.path / name / "c" / "/".join(map(str, chunk)))
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"the store {self.path} cannot be written: {reason}; what it had before is still there, and the same "
                "study goes on from it when that is mended"
            ) from error

    def describe(self, table: Table) -> None:
        """Put another table of the study into the store."""
        self.group.attrs["fastflow"] = _attributes(table)
        _sync(self.path / "zarr.json")


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


def _sync_all(folder: Path) -> None:
    """Everything in a folder."""
    if os.name != "nt":
        for place, _, files in os.walk(folder):
            for name in (*files, "."):
                handle = os.open(os.path.join(place, name), os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)


def _sync(path: Path) -> None:
    """A file and the folder that it is in."""
    with contextlib.suppress(FileNotFoundError):  # a chunk of fill values alone is not written
        for place, flags in ((path, os.O_RDONLY if path.is_dir() else os.O_RDWR), (path.parent, os.O_RDONLY)):
            if os.name == "nt" and place != path:
                continue
            handle = os.open(place, flags)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


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


_locks: set[int] = set()
"""The locks that this process holds."""


@functools.cache
def _let_go_in_children() -> None:
    """A forked worker that outlives a killed driver must not keep its lock: the child closes what it inherited."""

    def close() -> None:
        for handle in _locks:
            os.close(handle)
        _locks.clear()

    os.register_at_fork(after_in_child=close)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store; it ends with the process, however that ends.

    Raises
    ------
    StoreError
        when another driver holds it, or there can be none at this place

    Warns
    -----
    UserWarning
        on a file system without locks, where the user keeps two drivers apart
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: the user keeps two drivers apart
        yield
        return
    lock = path.with_name(path.name + ".lock")
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"the store {path} cannot be made: {error.strerror or error}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise StoreError(
                f"the store {path} is being written by {holder}; read it meanwhile with open_study"
            ) from None
        except OSError as error:
            warnings.warn(
                f"the file system of {path} has no locks ({error.strerror}): keep other drivers off this store",
                stacklevel=4,
            )
            break
        with contextlib.suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(handle).st_ino:
                break
        os.close(handle)  # the one before took its file away between our opening and locking it
    _let_go_in_children()
    owner = os.getpid()
    _locks.add(handle)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {owner} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        if os.getpid() == owner:
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
            _locks.discard(handle)
            os.close(handle)


def _attributes(table: Table) -> dict[str, object]:
    return {"format": FORMAT, "made_by": _versions(), "study": dict(table)}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"fastflow": __version__, **{name: version(name) for name in ("numpy", "numba", "scipy")}}


def create(path: Path, table: Table, arrays: Arrays, held: Held) -> Store:
    """A new store in the place of what there is, if any; the lock must be held. It appears whole or not at all.

    That of a share has a dimension "cell" instead of the axes, and along it the values of these.
    """
    zarr = require_zarr()
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import LocalStore

    names, shape = list(table["axes"]) if held.cells is None else ["cell"], arrays["status"].shape
    fresh, old = _beside(path, "new"), _beside(path, "old")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        group = zarr.create_group(LocalStore(fresh), zarr_format=3, attributes={"fastflow": _attributes(table)})
        if held.cells is not None:
            group.create_array("cell", data=held.cells, dimension_names=["cell"])
        for axis, (name, values) in enumerate(table["axes"].items()):
            labels = list(values)
            kinds = {type(label) for label in labels}
            array = np.array(labels if len(kinds) == 1 or kinds == {int, float} else list(map(str, labels)))
            if held.cells is not None:
                array = array[np.unravel_index(held.cells, held.shape)[axis]]
            text = array.dtype.kind == "U"
            along = name if held.cells is None else "cell"
            coordinate = group.create_array(
                name, shape=array.shape, dtype="str" if text else array.dtype, dimension_names=[along]
            )
            coordinate[:] = array.astype(object) if text else array
        for name, (kind, fill) in FIELDS.items():
            group.create_array(
                name,
                shape=shape,
                chunks=chunk_shape(shape),
                dtype=kind,
                fill_value=fill,
                compressors=[ZstdCodec(level=1), Crc32cCodec()],
                dimension_names=[*names, "trial"],
            )
        store = Store(fresh, group, shape)
        filled = _all_chunks(shape) if np.any(arrays["status"] != NOT_DONE) else ()
        store.write(arrays, filled)
        _sync_all(fresh)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"the store {path} cannot be made: {error.strerror or error}") from error
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    _sync(path)  # its folder, too, before the old one goes
    shutil.rmtree(old, ignore_errors=True)
    return Store(path, zarr.open_group(LocalStore(path), mode="r+", zarr_format=3), shape)


def _beside(path: Path, what: str) -> Path:
    """Where a store is made or put aside: a name that is nobody's copy of it."""
    return path.with_name(f".{path.name}.fastflow-{what}")


def recover(path: Path) -> None:
    """Undo what a driver that was killed left half done; the lock must be held."""
    old = _beside(path, "old")
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)
    shutil.rmtree(_beside(path, "new"), ignore_errors=True)
    for left in path.glob("*/c/**/*.partial"):
        left.unlink(missing_ok=True)


def attach(path: Path, shape: tuple[int, ...]) -> Store:
    """A store that exists, for writing; the lock must be held."""
    from zarr.storage import LocalStore

    return Store(path, require_zarr().open_group(LocalStore(path), mode="r+", zarr_format=3), shape)


def read_table(path: Path) -> Table:
    """The table of the study that a store is of.

    Raises
    ------
    StoreError
        when there is no such store
    """
    zarr = require_zarr()
    from zarr.storage import LocalStore

    if not path.exists():
        raise StoreError(f"there is no store {path}")
    try:
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r", zarr_format=3)
        attributes = group.attrs["fastflow"]
        table, found = dict(attributes["study"]), attributes["format"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is not a store of a fastflow study") from error
    if found != FORMAT:
        raise StoreError(f"{path} has format {found}, this fastflow reads format {FORMAT}")
    if attributes["made_by"] != _versions():
        made = ", ".join(f"{name} {number}" for name, number in attributes["made_by"].items())
        warnings.warn(f"{path} was made by {made}: its last bits may differ from today's", stacklevel=3)
    return table


def _held(path: Path, group: Any) -> tuple[Held, tuple[int, ...]]:
    """The cells that a store has, and the shape of all its arrays, which must be that of its study."""
    name = "zarr.json"
    try:
        table = group.attrs["fastflow"]["study"]
        cells = np.asarray(group["cell"]) if "cell" in group else None
        held = Held(tuple(len(values) for values in table["axes"].values()), cells)
        shape = held.array_shape(table["trials"])
        for name in FIELDS:
            if group[name].shape != shape:
                raise ValueError(f"its shape is {group[name].shape}, not {shape}")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StoreError(
            f"{path} is damaged: {name} cannot be read ({error}); compute the study again in another folder"
        ) from error
    return held, shape


def read_arrays(path: Path, *, repair: bool = False) -> tuple[Arrays, Held]:
    """All outcomes in a store, also while it is written, and of which cells they are.

    Parameters
    ----------
    repair : take trials in damaged chunks for not done

    Raises
    ------
    StoreError
        for a damaged chunk
    """
    from zarr.storage import LocalStore

    group = require_zarr().open_group(LocalStore(path, read_only=True), mode="r", zarr_format=3)
    held, shape = _held(path, group)
    arrays = empty_outcomes(shape)
    for chunk in _all_chunks(shape):
        region = _region(chunk, chunk_shape(shape), shape)
        read: Arrays = {}
        damage = None
        for name in reversed(FIELDS):  # the status first: what it vouches for is there then
            file = path / name / "c" / "/".join(map(str, chunk))
            try:
                read[name] = group[name][region]
            except (ValueError, RuntimeError, OSError) as error:
                damage = f"the chunk {file} is damaged ({str(error).split('.')[0]})"
                break
            if name == "status":
                done = read["status"] != NOT_DONE
                if not done.any():
                    break
            elif np.any(read[name][done] == FIELDS[name][1]):
                damage = f"the chunk {file} is missing, or older than the status of its trials"
                break
        if damage is not None:
            if repair:
                continue
            raise StoreError(f"{damage}; run the study with repair=True to compute its trials again")
        if not done.any():
            continue
        for name, (_, fill) in FIELDS.items():
            arrays[name][region] = np.where(done, read[name], fill)
    return arrays, held
