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
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.memory import require_memory

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Readers of headers by the versions of the format; the third has names of fields that no array of numbers has."""

RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""By how much a member that NumPy has written may be longer than its bytes in the archive, by its compression."""

SUFFIX = ".npy"


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
            size = _declared(file, os.fstat(file.fileno()).st_size)
        _require(size)
        with _reading(SUFFIX):
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)


def read_npz(path: Path) -> dict[str, AnyArray]:
    """The arrays of a ``.npz`` file by name.

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
            size = 0
            for member in members:
                with archive.open(member) as entry:
                    size += _declared(entry, member.file_size)
        _require(size)
        arrays = {}
        with _reading(".npz"):
            for member in members:
                with archive.open(member) as entry:
                    arrays[member.filename.removesuffix(SUFFIX)] = np.lib.format.read_array(entry, allow_pickle=False)
        return arrays


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


def _declared(file: IO[bytes], size: int) -> int:
    """The bytes of an array by its header, which must be all that is left of the ``size`` bytes of a file."""
    try:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    except Exception as error:
        raise ValueError("a header") from error
    if dtype.hasobject:
        raise _ObjectsError("holds Python objects, expected arrays of numbers")
    count = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or count != size - file.tell():
        raise ValueError("a size")
    return count


def _require(size: int) -> None:
    require_memory(size, "reading the arrays of this file", "use a machine with more memory")


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
