"""Arrays: what data files (``.npy``, ``.npz``, ``.csv``) hold, by name.

Every complaint is one line that starts with the name of the file. A missing entry is an empty cell, NaN, or a word for
it such as NA. What is guessed of a table is said in a note; where it can be read in two ways, an option decides.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.memory import require_memory
from fastflow.results.archives import read_npy, read_npz

Arrays = dict[str, AnyArray]

Read = TypeVar("Read")

YES, NO = "yes", "no"
DROP, KEEP = "drop", "keep"
THOUSANDS, DECIMAL = "thousands", "decimal"
MATRIX, TRIPLETS = "matrix", "triplets"
MISSING, OBSERVED = "missing", "observed"

GAPS = frozenset(["", "na", "n/a", "#n/a", "<na>", "null", "none", "nan", "+nan", "-nan"])
"""What a cell without a number holds, in small letters."""
WITH_COMMA = re.compile(r"[+-]?[\d.]*\d,\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE)
GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
WITH_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)
BYTES_OF_LINE, BYTES_OF_CELL = 400, 110
"""What a line with its first cell, and each further cell, take of memory at most beside their letters."""
COUNTED = 3
"""From so many rows on a first column that counts them is no coincidence."""


class Reading(NamedTuple):
    """How a file is to be read where it can be read in two ways; None where it shall speak for itself.

    Attributes
    ----------
    header : "yes" or "no", whether the first line of a CSV names the columns
    row_numbers : "drop" or "keep", what to do with a first column that counts the rows
    comma : "thousands" or "decimal", what the comma in a quoted number such as "1,000" is
    layout : "matrix" or "triplets" (row, column, value), what three columns are
    mask : "missing" or "observed", what the true entries of an array called mask are
    """

    header: str | None = None
    row_numbers: str | None = None
    comma: str | None = None
    layout: str | None = None
    mask: str | None = None


class Contents(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    arrays : by name; the one of a ``.npy`` or ``.csv`` file is called ``matrix``
    names : those of the columns, where there is a header
    notes : what was guessed on the way, in words for the user
    """

    arrays: Arrays
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_arrays(path: str | Path, reading: Reading | None = None) -> Contents:
    """The arrays of a file by name, and how they were read.

    Raises
    ------
    OSError, ValueError
        when there is no such file, or it holds no such data
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Contents]] = {
        ".npy": lambda path: Contents({"matrix": _of_file(path, read_npy)}),
        ".npz": lambda path: Contents(_of_file(path, read_npz)),
        ".csv": lambda path: _read_csv(path, reading or Reading()),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: expected a .npy, .npz or .csv file")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected a file")
    try:
        return reader(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror or error}") from None


def _of_file(path: Path, read: Callable[[Path], Read]) -> Read:
    """Read, and say which file a complaint is about."""
    try:
        return read(path)
    except (ValueError, MemoryError) as error:
        raise type(error)(f"{path}: {error}") from None


class _Line(NamedTuple):
    number: int
    cells: list[str]


def _read_csv(path: Path, reading: Reading) -> Contents:
    _require_table(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [_Line(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
        if not lines:
            raise ValueError("no numbers in it")
        return _table(lines, reading)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not a text file in UTF-8") from None
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _require_table(path: Path) -> None:
    """Raise `MemoryError` where the lines and cells of a table are more than there is memory for."""
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            lines = chunk.count(b"\n") + chunk.count(b"\r")
            size += len(chunk) + BYTES_OF_LINE * lines + BYTES_OF_CELL * chunk.count(b",")
    require_memory(size, f"{path}: reading this table", "save it as .npy")


def _table(lines: Sequence[_Line], reading: Reading) -> Contents:
    """The matrix of a table of cells."""
    notes = []
    for line in lines:
        if len(line.cells) != len(lines[0].cells):
            raise ValueError(
                f"line {line.number} has {len(line.cells)} columns, line {lines[0].number} {len(lines[0].cells)}"
            )
    if len(lines[0].cells) > 1 and not any(line.cells[-1] for line in lines):
        lines = [_Line(line.number, line.cells[:-1]) for line in lines]
        notes.append("every line ends in a comma, after which no column is read (cells NA would make one)")
    names: tuple[str, ...] = ()
    if _has_header(lines, reading.header):
        names, lines = tuple(lines[0].cells), lines[1:]
        listed = ", ".join(repr(name) for name in names[:4]) + (", ..." if len(names) > 4 else "")
        notes.append(f"the first line names the columns: {listed}")
    if not lines:
        raise ValueError("no numbers in it")
    matrix = np.array(
        [[_number(cell, line.number, at, reading.comma) for at, cell in enumerate(line.cells, 1)] for line in lines]
    )
    words = [
        cell
        for line in lines
        for cell in line.cells
        if cell and cell.lower().lstrip("+-") != "nan" and cell.lower() in GAPS
    ]
    if words:
        notes.append(f"{len(words)} cells such as {words[0]!r} are missing entries")
    if reading.row_numbers is None and _counts_rows(lines, names):
        raise ValueError(
            "the first column looks like row numbers: save with index=False (pandas) or row.names=FALSE (R), or say "
            f"--row-numbers {DROP}, or --row-numbers {KEEP} if they are data"
        )
    if reading.row_numbers == DROP:
        if matrix.shape[1] == 1:
            raise ValueError("--row-numbers drop leaves no column")
        matrix, names = matrix[:, 1:], names[1:]
        notes.append("the first column, of row numbers, is left out")
    return Contents({"matrix": matrix}, names, tuple(notes))


def _has_header(lines: Sequence[_Line], said: str | None) -> bool:
    """Whether the first line names the columns: by words without any number among them, or by 0, 1, 2, ..."""
    first = lines[0].cells
    if said is not None:
        return said == YES
    if not any(_is_number(cell) for cell in first):
        return any(any(letter.isalpha() for letter in cell) and cell.lower() not in GAPS for cell in first)
    corner = int(first[0] == "")
    if _count(first[corner:], 0):
        if corner and _count([line.cells[0] for line in lines[1:]], 0):
            return True  # as pandas writes an index and the columns of a bare array
        others = [cell for line in lines[1:] for cell in line.cells if cell]
        if len(first) >= corner + COUNTED or (len(first) > 1 and not all(cell.isdecimal() for cell in others)):
            raise ValueError(
                f"the first line counts from 0 to {len(first) - corner - 1}, as pandas names columns: say "
                f"--header {YES}, or --header {NO} if it is data"
            )
    return False


def _counts_rows(lines: Sequence[_Line], names: Sequence[str]) -> bool:
    """Whether column 1 is 0, 1, 2, ... or 1, 2, 3, ...: an index, which would be trained on as if it were data."""
    cells = [line.cells[0] for line in lines]
    unnamed = bool(names) and names[0] == ""
    return len(lines[0].cells) > 1 and (unnamed or len(lines) >= COUNTED) and (_count(cells, 0) or _count(cells, 1))


def _count(cells: Sequence[str], first: int) -> bool:
    return bool(cells) and all(cell == str(number) for number, cell in enumerate(cells, first))


def _is_number(cell: str) -> bool:
    """Whether a cell is meant as a number, with a comma in it or without."""
    if WITH_COMMA.fullmatch(cell):
        return True
    try:
        return not math.isnan(float(cell))
    except ValueError:
        return False


def _number(cell: str, line: int, column: int, comma: str | None) -> float:
    """The number in a cell, NaN if it has none."""
    if cell.lower() in GAPS:
        return math.nan
    text: str | None = cell
    if WITH_COMMA.fullmatch(cell):
        if comma is None:
            raise ValueError(
                f"line {line}, column {column}: {cell!r} has a comma: say --comma {THOUSANDS}, or --comma {DECIMAL}"
            )
        if comma == THOUSANDS:
            text = cell.replace(",", "") if GROUPED.fullmatch(cell) else None
        else:
            text = cell.replace(",", ".") if WITH_DECIMAL_COMMA.fullmatch(cell) else None
    elif "_" in cell or (comma == DECIMAL and "." in cell):  # Python reads 1_000 as a number
        text = None
    try:
        number = None if text is None else float(text)
    except ValueError:
        number = None
    if number is None:
        hint = "; columns are separated by commas" if any(mark in cell for mark in ";\t ") else ""
        if comma == DECIMAL and "." in cell:
            hint = " with a decimal comma"
        shown = cell if len(cell) <= 30 else cell[:27] + "..."
        raise ValueError(f"line {line}, column {column}: {shown!r} is not a number{hint}")
    if math.isinf(number):
        raise ValueError(f"line {line}, column {column}: {number} is not finite")
    return number
