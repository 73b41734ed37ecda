"""Archives: the arrays of ``.npz`` and ``.npy`` files, whoever wrote them.

Nothing is unpickled, and nothing is allocated before the sizes that a file declares are held against the file's own and
against the memory that there is.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.checks import FloatDType
from fastflow.mapping import folder_for, full_of_nan
from fastflow.memory import require_memory

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Readers of headers by the versions of the format; the third has names of fields that no array of numbers has."""

RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""By how much a member that NumPy has written may be longer than its bytes in the archive, by its compression."""

SUFFIX = ".npy"

READING = "reading the arrays of this file"

FLOATS: tuple[FloatDType, ...] = (np.dtype(np.float64), np.dtype(np.float32))
"""Numbers of which there may be more than memory holds."""

PIECE = 2**24
"""Bytes that are copied at once."""

Parts = Sequence[AnyArray]
"""Arrays (rows, columns, ...) of one dtype that are written as one, (rows, columns, all of their entries)."""


def write_npz(file: IO[bytes], arrays: Mapping[str, AnyArray | Parts]) -> None:
    """Write arrays as `numpy.savez` does, also those that are still in parts, without a copy of any."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(name + SUFFIX, "w", force_zip64=True) as entry:
                if isinstance(array, np.ndarray):
                    np.lib.format.write_array(entry, array, allow_pickle=False)
                else:
                    _write_parts(entry, array)


def _write_parts(entry: IO[bytes], parts: Parts) -> None:
    rows, columns = parts[0].shape[:2]
    flat = [part.reshape(rows, columns, -1) for part in parts]
    shape = (rows, columns, sum(part.shape[2] for part in flat))
    header = {"descr": np.lib.format.dtype_to_descr(flat[0].dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(entry, header)
    step = max(1, PIECE // max(1, math.prod(shape[1:]) * flat[0].itemsize))
    for row in range(0, rows, step):
        entry.write(np.concatenate([part[row : row + step] for part in flat], axis=2).data)


def read_npy(path: Path) -> AnyArray:
    """The array of a ``.npy`` file.

    Raises
    ------
    OSError
        when the file cannot be read
    ValueError
        when it is not a whole file of numbers, in words that follow its name
    MemoryError
        when the array is larger than the memory that there is
    """
    with path.open("rb") as file:
        with _reading(SUFFIX):
            size = _declared(file, os.fstat(file.fileno()).st_size).size
        _require(size)
        with _reading(SUFFIX):
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)


def read_npz(path: Path, mapped: str | None = None) -> dict[str, AnyArray]:
    """The arrays of a ``.npz`` file by name.

    Parameters
    ----------
    path : of the file
    mapped : how names of arrays of floats begin that may lie in a temporary file (`fastflow.mapping`)

    Raises
    ------
    OSError, ValueError, MemoryError
        as `read_npy`
    """
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(path.open("rb"))
        with _reading(".npz"):
            archive = opened.enter_context(zipfile.ZipFile(file))
            members = archive.infolist()
            _check_members(members, os.fstat(file.fileno()).st_size)
            declared = {}
            for member in members:
                with archive.open(member) as entry:
                    declared[member.filename.removesuffix(SUFFIX)] = _declared(entry, member.file_size)
        arrays = _rooms(declared, mapped)
        with _reading(".npz"):
            for member in members:
                name = member.filename.removesuffix(SUFFIX)
                with archive.open(member) as entry:
                    if name in arrays:
                        _declared(entry, member.file_size)
                        _fill(arrays[name], entry)
                    else:
                        arrays[name] = np.lib.format.read_array(entry, allow_pickle=False)
        return arrays


def _rooms(declared: Mapping[str, Declared], mapped: str | None) -> dict[str, AnyArray]:
    """Arrays in a file for what is too large; memory is asked for all else."""
    large = {
        name: (each.shape, each.floats)
        for name, each in declared.items()
        if mapped is not None and name.startswith(mapped) and each.floats is not None
    }
    size = sum(declared[name].size for name in large)
    rest = sum(each.size for each in declared.values()) - size
    folder = folder_for(size, rest, None)
    _require(rest if folder else rest + size)
    return dict(full_of_nan(large, folder, READING)) if folder else {}


def _fill(array: AnyArray, entry: IO[bytes]) -> None:
    """Read all of an array from the rest of a file, whose checksum is that of what has come."""
    room = memoryview(array.reshape(-1)).cast("B")
    while room:
        piece = entry.read(min(PIECE, len(room)))
        if not piece:
            raise ValueError("a size")
        room[: len(piece)] = piece
        room = room[len(piece) :]
    if entry.read(1):
        raise ValueError("a size")


class _ObjectsError(ValueError):
    """The file has objects of Python, which only their code could read."""


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise for members that an archive of ``size`` bytes cannot have, or NumPy does not write."""
    names = {member.filename for member in members}
    if len(names) < len(members) or not all(name.endswith(SUFFIX) for name in names):
        raise ValueError("names of members")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("members that overlap, or lie outside")
    if any(member.file_size > RATIOS.get(member.compress_type, 0) * member.compress_size for member in members):
        raise ValueError("sizes of members")


class Declared(NamedTuple):
    """An array as its header has it: ``floats`` its dtype where a file may hold it as it is, ``size`` its bytes."""

    shape: tuple[int, ...]
    floats: FloatDType | None
    size: int


def _declared(file: IO[bytes], size: int) -> Declared:
    """The array of a header, whose bytes must be all that is left of the ``size`` bytes of a file."""
    try:
        shape, is_fortran, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    except Exception as error:
        raise ValueError("a header") from error
    if dtype.hasobject:
        raise _ObjectsError("holds Python objects, expected arrays of numbers")
    count = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or count != size - file.tell():
        raise ValueError("a size")
    floats = None if is_fortran else next((each for each in FLOATS if each == dtype), None)
    return Declared(shape, floats, count)


def _require(size: int) -> None:
    require_memory(size, READING, "use a machine with more memory")


@contextlib.contextmanager
def _reading(suffix: str) -> Iterator[None]:
    """Whatever readers of NumPy and Python raise for what is damaged, of which they promise no kinds, is one error."""
    try:
        yield
    except (_ObjectsError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk, not of what is on it
            raise
        raise ValueError(f"is not a whole {suffix} file of NumPy arrays") from error
