"""Arrays: what data files (``.npy``, ``.npz``, ``.csv``) hold, by name.

Every complaint is one line that starts with the name of the file. A missing entry is an empty cell or NaN.
"""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray

Arrays = dict[str, AnyArray]


def read_arrays(path: str | Path) -> Arrays:
    """The arrays of a file by name; the one of a ``.npy`` or ``.csv`` file is called ``matrix``.

    Raises
    ------
    OSError, ValueError
        when there is no such file, or it holds no such data
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Arrays]] = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
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


def _read_npy(path: Path) -> Arrays:
    try:
        with path.open("rb") as file:
            return {"matrix": np.lib.format.read_array(file, allow_pickle=False)}
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: {_numpy_complaint(error, '.npy')}") from None


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file):
            pass  # np.load would take a file that is no archive for a pickle
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: {_numpy_complaint(error, '.npz')}") from None


def _numpy_complaint(error: Exception, suffix: str) -> str:
    if "allow_pickle" in str(error):
        return "holds Python objects, expected arrays of numbers"
    return f"is not a whole {suffix} file of NumPy arrays"


def _read_csv(path: Path) -> Arrays:
    rows: list[list[float]] = []
    first_line, header_corner = 0, None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                if not cells:
                    continue
                if not first_line:
                    first_line, columns = reader.line_num, len(cells)
                    if _is_header(cells):
                        header_corner = cells[0].strip()
                        continue
                if len(cells) != columns:
                    raise ValueError(f"line {reader.line_num} has {len(cells)} columns, line {first_line} {columns}")
                rows.append([_number(cell, reader.line_num, at) for at, cell in enumerate(cells, start=1)])
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not a text file in UTF-8") from None
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not rows:
        raise ValueError(f"{path}: no numbers in it")
    matrix = np.array(rows)
    if _has_row_numbers(matrix, header_corner):
        raise ValueError(
            f"{path}: the first column looks like the row numbers that pandas writes: save with index=False"
        )
    return {"matrix": matrix}


def _is_header(cells: list[str]) -> bool:
    """Whether the first line names the columns: words, and no number among them."""
    words = 0
    for cell in map(str.strip, cells):
        try:
            if cell and not math.isnan(float(cell)):
                return False
        except ValueError:
            words += 1
    return words > 0


def _number(cell: str, line: int, column: int) -> float:
    """The number in a cell, NaN if the cell is empty."""
    cell = cell.strip()
    if not cell:
        return math.nan
    try:
        number = float(cell) if "_" not in cell else None  # Python reads 1_000 as a number
    except ValueError:
        number = None
    if number is None:
        hint = "; columns are separated by commas" if any(mark in cell for mark in ";\t ") else ""
        shown = cell if len(cell) <= 30 else cell[:27] + "..."
        raise ValueError(f"line {line}, column {column}: {shown!r} is not a number{hint}")
    if math.isinf(number):
        raise ValueError(f"line {line}, column {column}: {number} is not finite")
    return number


def _has_row_numbers(matrix: FloatArray, header_corner: str | None) -> bool:
    """Whether column 1 is 0, 1, 2, ... under an empty cell: an index, which would be trained on as if it were data."""
    if header_corner is None:
        numbers, corner = (
            matrix[1:, 0],
            np.isnan(matrix[0, 0]) and np.array_equal(matrix[0, 1:], range(len(matrix.T) - 1)),
        )
    else:
        numbers, corner = matrix[:, 0], header_corner == ""
    return bool(corner and matrix.shape[1] > 1 and np.array_equal(numbers, range(len(numbers))))
