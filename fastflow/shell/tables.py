"""Tables: data files (``.npy``, ``.npz``, ``.csv``) read into problems.

Every complaint is one line that starts with the name of the file. A missing entry is an empty cell or NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray, as_floats, one_of
from fastflow.problems import CompressedSensing, LinearRegression, MatrixCompletion, MatrixEstimation, MatrixSensing
from fastflow.problems.regression import COLUMNS, ROWS, SAMPLES
from fastflow.shell.arrays import MATRIX, Arrays, Contents, Reading, read_arrays
from fastflow.shell.entries import are_triplets, as_triplets, hidden_by, hide_entries

ESTIMATION, COMPLETION = "estimation", "completion"
PROBLEMS = (ESTIMATION, COMPLETION, "autoencoder", "regression", "sensing", "compressed-sensing")

Made = TypeVar("Made")
Notes = tuple[str, ...]


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
    widths: Sequence[int] | None = None,
    reading: Reading | None = None,
) -> Data:
    """Read a file and make the problem that it poses.

    Parameters
    ----------
    path : ``.npy`` or ``.csv`` with a matrix, or ``.npz`` with named arrays

        * estimation, completion: ``matrix`` or ``target``, or the file's only array; NaN is a missing entry, and so is
          what an array called ``mask`` says
        * completion also: ``shape``, ``rows``, ``cols``, ``values``
        * autoencoder: as for estimation, or ``inputs``
        * regression: ``inputs``, ``outputs``
        * sensing: ``operators`` (m, d_N, d_0), ``values`` (m,)
        * compressed-sensing: ``A`` (m, n), ``y`` (m,)

        An ``.npz`` may also hold ``truth``.
    kind : one of `PROBLEMS`, default what the arrays are for: estimation for a matrix. Estimation of a matrix with
        missing entries becomes completion.
    samples : "rows" or "columns", how regression and autoencoder tables lie; default what their shapes, or ``widths``,
        allow
    normalization : "sum" or "mean", see `MatrixProblem`
    truth : file with the matrix or vector that errors are measured against. Default: the file's own ``truth``; in
        completion also the matrix itself if nothing is missing in it.
    hide : fraction of the observed entries to hide, which makes completion of estimation; see `hide_entries`
    seed : int, of the hiding
    widths : those of the network, if they are known
    reading : how the file is read where it can be read in two ways

    Raises
    ------
    OSError, ValueError, TypeError
        when the file cannot be read, can be read in two ways, or does not hold the problem
    """
    path = Path(path)
    if kind is not None:
        one_of("problem", kind, PROBLEMS)
    if samples is not None:
        one_of("samples", samples, SAMPLES)
    reading = reading or Reading()
    reference, said = (None, Notes()) if truth is None else _read_truth(Path(truth), reading)
    contents = read_arrays(path, reading)
    request = _Request(kind, samples, normalization, reference, hide, seed, widths, reading)
    data = _about(path, lambda: _make(contents, request))
    return replace(data, notes=(*data.notes, *contents.notes, *said))


def _about(path: Path, action: Callable[[], Made]) -> Made:
    """Do it, and say which file a complaint is about."""
    try:
        return action()
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{path}: {error}") from None


class _Request(NamedTuple):
    """What `read_problem` is asked for; ``truth`` is that of a file of its own."""

    kind: str | None
    samples: str | None
    normalization: str
    truth: FloatArray | None
    hide: float | None
    seed: int
    widths: Sequence[int] | None
    reading: Reading


def _make(contents: Contents, request: _Request) -> Data:
    arrays, kind, samples = contents.arrays, request.kind, request.samples
    chosen = kind or _guess(arrays)
    notes = []
    if kind is None and len(arrays) > 1:
        notes.append(f"the arrays {', '.join(arrays)} make this {chosen}")
    truth = request.truth if request.truth is not None else arrays.get("truth")
    options = Options(truth=truth, normalization=request.normalization)
    of_matrix = chosen in (ESTIMATION, COMPLETION)
    if not of_matrix and request.hide is not None:
        raise ValueError(f"only entries of a matrix can be hidden, and this is {chosen}")
    if not of_matrix and "mask" in arrays:
        raise ValueError(f"a mask is for the entries of a matrix, and this is {chosen}, where none may be missing")
    if chosen not in ("autoencoder", "regression") and samples is not None:
        raise ValueError(f"only autoencoder and regression have samples, and this is {chosen}")
    if chosen == "sensing":
        operators, values = _named(arrays, chosen, "operators", "values")
        data = Data(MatrixSensing(operators, values, **options), chosen)
        used = {"operators", "values"}
    elif chosen == "compressed-sensing":
        matrix, values = _named(arrays, chosen, "A", "y")
        data, used = Data(_compressed(matrix, values, options), chosen), {"A", "y"}
    elif chosen == "regression":
        inputs, outputs = _named(arrays, chosen, "inputs", "outputs")
        data, used = _regression(inputs, outputs, request, options), {"inputs", "outputs"}
    elif chosen == "autoencoder":
        name = "inputs" if "inputs" in arrays else _matrix_name(arrays, chosen)
        data, used = _autoencoder(arrays[name], request, options), {name}
    elif chosen == COMPLETION and _has_coordinates(arrays):
        used = {"shape", "rows", "cols", "values"}
        data = _of_coordinates(arrays, request, options)
    else:
        name = _matrix_name(arrays, chosen)
        data, used = _entries(arrays[name], contents, chosen, request, options), {name, "mask"}
    unused = sorted(set(arrays) - used - {"truth"})
    if unused:
        notes.append(f"not used: {', '.join(unused)}")
    return replace(data, notes=(*notes, *data.notes))


def _of_coordinates(arrays: Arrays, request: _Request, options: Options) -> Data:
    """Completion from the places of entries."""
    places: list[Any] = [arrays[name] for name in ("shape", "rows", "cols", "values")]
    return _hidden(MatrixCompletion(*places, **options, warn=request.hide is None), request, ())


def _entries(matrix: AnyArray, contents: Contents, chosen: str, request: _Request, options: Options) -> Data:
    """Estimation, or completion where entries are missing or to be hidden."""
    notes: list[str] = []
    layout = request.reading.layout or (MATRIX if request.kind == ESTIMATION else None)
    if are_triplets(matrix, contents.names, layout):
        return _of_triplets(matrix, request, options)
    if "mask" in contents.arrays:
        hidden, said = hidden_by(contents.arrays["mask"], request.reading.mask)
        if hidden.shape != matrix.shape:
            raise ValueError(f"mask must have the shape {matrix.shape} of the matrix, got {hidden.shape}")
        matrix = np.ma.array(matrix, mask=hidden)
        notes.append(said)
    matrix = as_floats("the matrix", matrix, 2, nan_allowed=True)
    missing = int(np.isnan(matrix).sum())
    if chosen == ESTIMATION and not missing and request.hide is None:
        return Data(MatrixEstimation(matrix, **options), chosen, tuple(notes))
    if missing:
        if request.kind == ESTIMATION:
            raise ValueError(f"{missing} of {matrix.size} entries are missing, so this is --problem completion")
        becomes = ", so this is completion" if chosen == ESTIMATION else ""
        notes.insert(0, f"{missing} of {matrix.size} entries are missing{becomes}")
    elif options["truth"] is None:
        options = Options(truth=matrix, normalization=options["normalization"])
    problem = MatrixCompletion.from_dense(matrix, **options, warn=request.hide is None)
    return _hidden(problem, request, tuple(notes))


def _hidden(problem: MatrixCompletion, request: _Request, notes: tuple[str, ...]) -> Data:
    """Completion, some of whose entries may be to be hidden."""
    if request.hide is None:
        return Data(problem, COMPLETION, notes)
    problem, hidden = hide_entries(problem, request.hide, request.seed)
    count, total = hidden.values.size, hidden.values.size + problem.values.size
    notes = (*notes, f"{count} of {total} entries are hidden (seed {request.seed})")
    rows, columns = problem.unobserved
    if len(rows) or len(columns):
        notes = (*notes, f"of {len(rows)} rows and {len(columns)} columns no entry is left to learn from")
    return Data(problem, COMPLETION, notes, hidden)


def _of_triplets(table: AnyArray, request: _Request, options: Options) -> Data:
    """Completion of a matrix of the truth's shape, or that just has room for the entries."""
    found, given = as_triplets(table), None if options["truth"] is None else np.shape(options["truth"])
    shape = (
        given if given is not None and len(given) == 2 else (int(found.rows.max()) + 1, int(found.columns.max()) + 1)
    )
    note = (
        f"triplets: {len(found.values)} entries of a {shape[0]} x {shape[1]} matrix, rows and columns counted from "
        f"{found.first}"
    )
    problem = MatrixCompletion(shape, *found[:3], **options, warn=request.hide is None)
    return _hidden(problem, request, (note,))


def _regression(inputs: AnyArray, outputs: AnyArray, request: _Request, options: Options) -> Data:
    inputs, outputs = _complete("inputs", inputs), _complete("outputs", outputs, (1, 2))
    one = outputs.ndim == 1  # one output
    tables = {ROWS: outputs[:, None] if one else outputs, COLUMNS: outputs[None, :] if one else outputs}
    samples, notes = request.samples, Notes()
    if samples is None:
        possible = [s for axis, s in enumerate(SAMPLES) if inputs.shape[axis] == tables[s].shape[axis]]
        if not possible:
            raise ValueError(
                "inputs and outputs must have one row, or one column, a sample, got shapes "
                f"{inputs.shape} and {outputs.shape}"
            )
        samples, notes = _samples(inputs, possible, request.widths)
    return Data(LinearRegression(inputs, tables[samples], samples=samples, **options), "regression", notes)


def _autoencoder(inputs: AnyArray, request: _Request, options: Options) -> Data:
    inputs, samples, notes = _complete("inputs", inputs), request.samples, Notes()
    if samples is None:
        samples, notes = _samples(inputs, SAMPLES, request.widths)
    return Data(LinearRegression.autoencoder(inputs, samples=samples, **options), "autoencoder", notes)


def _samples(inputs: FloatArray, possible: Sequence[str], widths: Sequence[int] | None) -> tuple[str, Notes]:
    """What samples are, of what they can be, and a note that says why.

    Raises
    ------
    ValueError
        where they can be both
    """
    why = "only their numbers agree"
    if len(possible) > 1 and widths is not None:
        possible = [s for axis, s in enumerate(SAMPLES) if inputs.shape[1 - axis] == widths[0]]
        why = f"the first width is {widths[0]}"
    if len(possible) != 1:
        raise ValueError(
            f"both axes of a {inputs.shape[0]} x {inputs.shape[1]} table could be samples: say --samples {ROWS}, or "
            f"--samples {COLUMNS}"
        )
    (samples,) = possible
    return samples, (f"samples are the {inputs.shape[SAMPLES.index(samples)]} {samples}, since {why}",)


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


def _matrix_name(arrays: Arrays, chosen: str) -> str:
    for name in ("matrix", "target"):
        if name in arrays:
            return name
    others = [name for name in arrays if name not in ("truth", "mask")]
    if len(others) == 1:
        return others[0]
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


def _read_truth(path: Path, reading: Reading) -> tuple[FloatArray, Notes]:
    contents = read_arrays(path, reading)
    arrays = contents.arrays
    name = "truth" if "truth" in arrays else _about(path, lambda: _matrix_name(arrays, "truth"))
    matrix: FloatArray = _about(path, lambda: _complete("truth", arrays[name], (1, 2)))
    return matrix, tuple(f"truth: {note}" for note in contents.notes)
