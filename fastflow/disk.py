"""Files that are there whole or not at all, also after a loss of power: written beside, synced, moved, synced."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
"""How the name of a file ends that is still being written."""


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of what there is when all is written, or is gone."""
    # A name of its own for each writer, and never through a link that somebody has put there.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def put(path: Path, data: bytes) -> None:
    """Write a file in the place of what there is; folders that are missing are made."""
    make_folder(path.parent)
    with writing(path) as file:
        file.write(data)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each known to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_all(folder: Path) -> None:
    """Bring everything in a folder to the disk."""
    if os.name != "nt":
        for place, _, files in os.walk(folder):
            for name in files:
                sync(Path(place) / name)
            sync(Path(place))
