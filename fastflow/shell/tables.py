"""Tables: data files (``.npy``, ``.npz``, ``.csv``) read into problems.

Every complaint is one line that starts with the name of the file. A missing entry is an empty cell or NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray, as_floats, as_number, one_of
from fastflow.problems import CompressedSensing, LinearRegression, MatrixCompletion, MatrixEstimation, MatrixSensing
from fastflow.shell.arrays import Arrays, read_arrays
from fastflow.streams import stream

PROBLEMS = ("estimation", "completion", "autoencoder", "regression", "sensing", "compressed-sensing")
SAMPLES = ("rows", "columns")

Made = TypeVar("Made")


class Options(TypedDict):
    """What every problem takes."""

    truth: AnyArray | None
    normalization: str


@dataclass(frozen=True, eq=False)
class Data:
    """A problem that was read from a file.

    Attributes
    ----------
    problem : the problem to train on
    kind : one of `PROBLEMS`
    notes : what was decided on the way, in words for the user
    hidden : the entries that were hidden from ``problem``, or None; ``hidden.residual(W)`` is the error in them
    """

    problem: MatrixEstimation | MatrixCompletion | MatrixSensing | LinearRegression | CompressedSensing
    kind: str
    notes: tuple[str, ...] = ()
    hidden: MatrixCompletion | None = None


def read_problem(
    path: str | Path,
    kind: str | None = None,
    *,
    samples: str | None = None,
    normalization: str = "sum",
    truth: str | Path | None = None,
    hide: float | None = None,
    seed: int = 0,
) -> Data:
    """Read a file and make the problem that it poses.

    Parameters
    ----------
    path : ``.npy`` or ``.csv`` with a matrix, or ``.npz`` with named arrays

        * estimation, completion: ``matrix`` or ``target``, or the file's only array; NaN is a missing entry
        * completion also: ``shape``, ``rows``, ``cols``, ``values``
        * autoencoder: as for estimation, or ``inputs``
        * regression: ``inputs``, ``outputs``
        * sensing: ``operators`` (m, d_N, d_0), ``values`` (m,)
        * compressed-sensing: ``A`` (m, n), ``y`` (m,)

        An ``.npz`` may also hold ``truth``.
    kind : one of `PROBLEMS`, default what the arrays are for: estimation for a matrix. Estimation of a matrix with
        missing entries becomes completion.
    samples : "rows" (default) or "columns", how regression and autoencoder tables lie
    normalization : "sum" or "mean", see `MatrixProblem`
    truth : file with the matrix or vector that errors are measured against. Default: the file's own ``truth``; in
        completion also the matrix itself if nothing is missing in it.
    hide : fraction of the observed entries to hide, which makes completion of estimation; see `hide_entries`
    seed : int, of the hiding

    Raises
    ------
    OSError, ValueError, TypeError
        when the file cannot be read, or does not hold the problem
    """
    path = Path(path)
    if kind is not None:
        one_of("problem", kind, PROBLEMS)
    if samples is not None:
        one_of("samples", samples, SAMPLES)
    reference = None if truth is None else _read_matrix(Path(truth))
    arrays = read_arrays(path)
    return _about(path, lambda: _make(arrays, kind, samples, normalization, reference, hide, seed))


def hide_entries(
    problem: MatrixCompletion, fraction: float, seed: int = 0
) -> tuple[MatrixCompletion, MatrixCompletion]:
    """Split the observed entries at random: what is left to train on, and what is hidden.

    The entries are put in a random order that depends on the seed, the shape and their number alone, and the first
    ones are hidden: a larger fraction hides the same ones and more.

    Parameters
    ----------
    problem : MatrixCompletion with m entries
    fraction : float in (0, 1); the nearest whole number of entries is hidden
    seed : int

    Raises
    ------
    ValueError
        when that would hide no entry, or all
    """
    fraction = as_number("the fraction to hide", fraction, above=0)
    total = problem.values.size
    count = round(fraction * total)
    if fraction >= 1:
        raise ValueError(f"the fraction to hide must be less than 1, got {fraction:g}")
    if not 0 < count < total:
        raise ValueError(f"hiding {count} of {total} entries leaves nothing to compare: choose another fraction")
    order = stream(seed, "hide", problem.shape, total).permutation(total)

    def part(which: NDArray[np.int64]) -> MatrixCompletion:
        which = np.sort(which)
        return MatrixCompletion(
            problem.shape,
            problem.rows[which],
            problem.cols[which],
            problem.values[which],
            truth=problem.truth,
            normalization=problem.normalization,
        )

    return part(order[count:]), part(order[:count])


def _about(path: Path, action: Callable[[], Made]) -> Made:
    """Do it, and say which file a complaint is about."""
    try:
        return action()
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{path}: {error}") from None


def _make(
    arrays: Arrays,
    kind: str | None,
    samples: str | None,
    normalization: str,
    truth: FloatArray | None,
    hide: float | None,
    seed: int,
) -> Data:
    chosen = kind or _guess(arrays)
    notes = []
    if kind is None and len(arrays) > 1:
        notes.append(f"the arrays {', '.join(arrays)} make this {chosen}")
    if truth is None:
        truth = arrays.get("truth")
    options = Options(truth=truth, normalization=normalization)
    if chosen not in ("estimation", "completion") and hide is not None:
        raise ValueError(f"only entries of a matrix can be hidden, and this is {chosen}")
    if chosen not in ("autoencoder", "regression") and samples is not None:
        raise ValueError(f"only autoencoder and regression have samples, and this is {chosen}")
    if chosen == "sensing":
        operators, values = _named(arrays, chosen, "operators", "values")
        return Data(MatrixSensing(operators, values, **options), chosen, tuple(notes))
    if chosen == "compressed-sensing":
        matrix, values = _named(arrays, chosen, "A", "y")
        return Data(_compressed(matrix, values, options), chosen, tuple(notes))
    if chosen == "regression":
        inputs, outputs = _named(arrays, chosen, "inputs", "outputs")
        return Data(_regression(inputs, outputs, samples, options), chosen, tuple(notes))
    if chosen == "autoencoder":
        inputs = arrays["inputs"] if "inputs" in arrays else _matrix(arrays, chosen)
        inputs = _complete("inputs", inputs)
        problem = LinearRegression.autoencoder(inputs if samples == "columns" else inputs.T, **options)
        return Data(problem, chosen, tuple(notes))
    return _entries(arrays, chosen, hide, seed, options, notes)


def _entries(arrays: Arrays, chosen: str, hide: float | None, seed: int, options: Options, notes: list[str]) -> Data:
    """Estimation, or completion where entries are missing or to be hidden."""
    if chosen == "completion" and _has_coordinates(arrays):
        places: list[Any] = [arrays[name] for name in ("shape", "rows", "cols", "values")]
        problem = MatrixCompletion(*places, **options)
    else:
        matrix = as_floats("the matrix", _matrix(arrays, chosen), 2, nan_allowed=True)
        missing = int(np.isnan(matrix).sum())
        if chosen == "estimation" and not missing and hide is None:
            return Data(MatrixEstimation(matrix, **options), chosen, tuple(notes))
        if missing:
            becomes = ", so this is completion" if chosen == "estimation" else ""
            notes.append(f"{missing} of {matrix.size} entries are missing{becomes}")
        elif options["truth"] is None:
            options = Options(truth=matrix, normalization=options["normalization"])
        problem = MatrixCompletion.from_dense(matrix, **options)
    if hide is None:
        return Data(problem, "completion", tuple(notes))
    problem, hidden = hide_entries(problem, hide, seed)
    notes.append(f"{hidden.values.size} of {hidden.values.size + problem.values.size} entries are hidden (seed {seed})")
    return Data(problem, "completion", tuple(notes), hidden)


def _regression(inputs: AnyArray, outputs: AnyArray, samples: str | None, options: Options) -> LinearRegression:
    inputs, outputs = _complete("inputs", inputs), np.asarray(outputs)
    by_columns = samples == "columns"
    if outputs.ndim == 1:  # one output
        outputs = outputs[None, :] if by_columns else outputs[:, None]
    outputs = _complete("outputs", outputs)
    if by_columns:
        return LinearRegression(inputs, outputs, **options)
    if len(inputs) != len(outputs):
        raise ValueError(
            f"inputs and outputs must have one row a sample, got {len(inputs)} and {len(outputs)} rows "
            "(if the samples are columns: --samples columns)"
        )
    return LinearRegression(inputs.T, outputs.T, **options)


def _compressed(matrix: AnyArray, values: AnyArray, options: Options) -> CompressedSensing:
    matrix, values = as_floats("A", matrix, 2), as_floats("y", _as_vector(values), 1)
    if len(values) != len(matrix):
        raise ValueError(f"y must have one entry for each of the {len(matrix)} rows of A, got {len(values)}")
    truth = None if options["truth"] is None else _as_vector(options["truth"])
    return CompressedSensing(matrix, values, truth=truth, normalization=options["normalization"])


def _as_vector(array: AnyArray) -> AnyArray:
    """A vector that lies as one row or one column, as one; anything else as it is."""
    return np.ravel(array) if np.ndim(array) == 2 and 1 in np.shape(array) else array


def _guess(arrays: Arrays) -> str:
    """The problem that the names of the arrays are for."""
    names = set(arrays)
    if {"operators", "values"} <= names:
        return "sensing"
    if {"inputs", "outputs"} <= names:
        return "regression"
    if "y" in names or ("A" in names and len(names) > 1 and not {"matrix", "target"} & names):
        return "compressed-sensing"
    return "completion" if _has_coordinates(arrays) else "estimation"


def _has_coordinates(arrays: Arrays) -> bool:
    return {"shape", "rows", "cols", "values"} <= set(arrays)


def _listed(arrays: Arrays) -> str:
    names = sorted(arrays)
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"the file has {listed}" if names else "the file has no arrays"


def _named(arrays: Arrays, chosen: str, *names: str) -> list[AnyArray]:
    if not set(names) <= set(arrays):
        raise ValueError(f"{chosen} needs an .npz file with the arrays {' and '.join(names)}; {_listed(arrays)}")
    return [arrays[name] for name in names]


def _matrix(arrays: Arrays, chosen: str) -> AnyArray:
    for name in ("matrix", "target"):
        if name in arrays:
            return arrays[name]
    others = [name for name in arrays if name != "truth"]
    if len(others) == 1:
        return arrays[others[0]]
    raise ValueError(f"{chosen} needs an array named matrix or target, or a single array; {_listed(arrays)}")


def _complete(name: str, array: AnyArray, ndim: int | tuple[int, ...] = 2) -> FloatArray:
    """A matrix of numbers in which nothing is missing."""
    matrix = as_floats(name, array, ndim, nan_allowed=True)
    missing = np.isnan(matrix)
    if missing.any():
        places = ", ".join(f"{of} {at + 1}" for of, at in zip(("row", "column"), np.argwhere(missing)[0], strict=False))
        raise ValueError(
            f"{name}: {missing.sum()} of {matrix.size} entries are missing, the first in {places}; "
            "only completion does without entries"
        )
    return matrix


def _read_matrix(path: Path) -> FloatArray:
    arrays = read_arrays(path)
    given = arrays["truth"] if "truth" in arrays else _about(path, lambda: _matrix(arrays, "truth"))
    matrix: FloatArray = _about(path, lambda: _complete("truth", given, (1, 2)))
    return matrix
