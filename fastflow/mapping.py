"""Arrays that lie in a file where they are more than memory should hold: the system moves what is not in use to disk.

The file has no name once it is open (on Windows it goes when it is closed): it is gone when the last array of it is, or
the process, however that ends. It is full of NaN before it is used, so that a full disk is an error at the beginning
and not a signal that ends the process in the middle.
"""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from fastflow import memory
from fastflow.checks import FloatArray, FloatDType, shown
from fastflow.memory import format_bytes, require_memory

SHARE = 0.5
"""What is more than this share of the memory that there is lies in a file."""

PIECE = 2**24
"""Bytes that are written at once, so that Ctrl-C need not wait."""

ALIGNMENT = 64
"""Arrays begin at multiples of so many bytes, as vectors of a processor want it."""

IN_MEMORY = ("tmpfs", "ramfs")
"""Kinds of file systems that keep files there."""

WAY_OUT = "take fewer runs, or record less, or name a folder of a larger disk: Record(folder=...)"

Sizes = Mapping[str, tuple[tuple[int, ...], FloatDType]]
"""Shapes and dtypes of arrays by their names."""


def as_folder(name: str, value: str | Path) -> Path:
    """A folder that is there.

    Raises
    ------
    TypeError, ValueError
        for what is none
    """
    if not isinstance(value, str | Path):
        raise TypeError(f"{name} must be the path of a folder, got {shown(value)}")
    try:
        folder = Path(value).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError, ValueError):
        is_folder = False
    if not is_folder:
        raise ValueError(f"{name} must be the path of a folder that is there, got {shown(str(value))}")
    return folder


def folder_for(count: int, beside: int, chosen: Path | None) -> Path | None:
    """The folder in whose file arrays of ``count`` bytes should lie, None for memory.

    Parameters
    ----------
    count : int
    beside : int, bytes that will be taken, too, and can lie in memory only
    chosen : the folder that the user names, for arrays of any size; None for that of temporary files
    """
    if chosen is not None or not count:
        return chosen if count else None
    available = memory.available_memory()
    if available is None or (count <= SHARE * available and count + beside <= (1 - memory.HEADROOM) * available):
        return None
    return Path(tempfile.gettempdir())


def full_of_nan(sizes: Sizes, folder: Path | None, what: str) -> dict[str, FloatArray]:
    """Arrays full of NaN, in memory or in a file of a folder.

    Parameters
    ----------
    sizes : name: (shape, dtype)
    folder : of `folder_for`
    what : the arrays in words

    Raises
    ------
    MemoryError
        where the disk has no room for them
    """
    if folder is None:
        return {name: np.full(shape, np.nan, dtype) for name, (shape, dtype) in sizes.items()}
    counts = {name: math.prod(shape) for name, (shape, _) in sizes.items()}
    places, total = {}, 0
    for name, (_, dtype) in sizes.items():
        places[name] = total
        total += -(-counts[name] * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    if _lies_in_memory(folder):
        require_memory(total, what, f"{folder} lies in memory, too: {WAY_OUT}")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise _no_room(total, what, folder, f"{format_bytes(free)}")
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.truncate(total)
            for name, (_, dtype) in sizes.items():
                file.seek(places[name])
                _write_nan(file, counts[name], dtype)
            held = mmap.mmap(file.fileno(), total)
    except OSError as error:
        raise _no_room(total, what, folder, f"less ({error.strerror})") from error
    return {
        name: np.frombuffer(held, dtype, counts[name], places[name]).reshape(shape)
        for name, (shape, dtype) in sizes.items()
    }


def _write_nan(file: IO[bytes], count: int, dtype: FloatDType) -> None:
    piece = memoryview(np.full(min(count, PIECE // dtype.itemsize), np.nan, dtype)).cast("B")
    left = count * dtype.itemsize
    while left > 0:
        left -= file.write(piece[:left])


def _no_room(total: int, what: str, folder: Path, left: str) -> MemoryError:
    available = memory.available_memory()
    said = "" if available is None else f"this process may take only {format_bytes(available)}, and "
    return MemoryError(
        f"{what} would take {format_bytes(total)}, but {said}the disk of {folder} only {left} more; {WAY_OUT}"
    )


def _lies_in_memory(folder: Path) -> bool:
    """Whether files of a folder are kept in memory, as those of /tmp sometimes are."""
    kinds = {}
    for line in memory.lines_of(memory.PROC / "self" / "mounts"):
        _, place, kind, *_ = line.split(" ")
        kinds[Path(place.replace("\\040", " "))] = kind
    around = [path for path in (folder.resolve(), *folder.resolve().parents) if path in kinds]
    return bool(around) and kinds[around[0]] in IN_MEMORY
