"""Files of runs: NumPy arrays and one JSON text in a ``.npz``, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.checks import as_count, as_number, printable, shown
from fastflow.disk import writing
from fastflow.kernels.rules.rule import RATES
from fastflow.networks import Architecture, architecture_of
from fastflow.records import History
from fastflow.records.quantities import NAMED
from fastflow.results.archives import Parts, read_npz, write_npz
from fastflow.status import Status

FORMAT = 1

PREFIX, MEMORY = "history_", "memory_"
"""How the names of arrays begin that are of a history, or of what a rule remembers."""

FLOATS, WHOLE_NUMBERS = (np.float64, np.float32), (np.int64,)
"""Types of arrays."""

WHOLE = ("status", "steps", "problem_index", "run_index")
"""Arrays of whole numbers from 0 on."""

DESCRIBED = {"problem", "network", "init", "method", "seed"}
"""What a description has."""


class Facts(TypedDict):
    """What is known of runs beside their arrays, as `fastflow.Runs` has it."""

    seconds: float
    threads: int
    flops: float
    description: dict[str, str]


def write_runs(
    path: str | Path,
    arrays: Mapping[str, AnyArray],
    architecture: Architecture,
    history: History | None,
    facts: Facts,
) -> Path:
    """Write a file of runs, which appears whole or not at all.

    Parameters
    ----------
    path : of the file; ``.npz`` is appended if it was missing
    arrays : name: array (runs, ...)
    architecture : Architecture
    history : History or None
    facts : what else is known of the runs, as JSON can hold it

    Returns
    -------
    Path, of the file
    """
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    meta = {"format": FORMAT, **architecture.attributes, **facts}
    written: dict[str, AnyArray | Parts] = dict(arrays)
    if history is not None:
        axis, moments = history.axis
        written[f"{PREFIX}{axis}s"] = moments
        for name in history.recorded:
            written[f"{PREFIX}{name}"] = getattr(history, name)
    with writing(path) as file:
        write_npz(file, {"meta": np.array(json.dumps(meta)), **written})
    return path


def read_runs(path: str | Path) -> tuple[dict[str, AnyArray], Architecture, History | None, Facts]:
    """What `write_runs` wrote: arrays, architecture, history, and facts.

    Raises
    ------
    OSError
        when the file cannot be read
    ValueError
        when the file is not one that `write_runs` wrote
    MemoryError
        when its arrays are larger than the memory that there is
    """
    path = Path(path).expanduser()
    try:
        arrays = read_npz(path, mapped=PREFIX)
        meta = json.loads(str(arrays.pop("meta")))
        found = meta["format"]
        if found == FORMAT:
            architecture = architecture_of(meta)
            runs = _check_runs(arrays, architecture)
            return arrays, architecture, _pop_history(arrays, architecture, runs), _facts(meta)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a file of fastflow runs") from error
    raise ValueError(f"{path} has format {shown(found)}, this fastflow reads format {FORMAT}")


def _check_runs(arrays: Mapping[str, AnyArray], architecture: Architecture) -> int:
    """How many runs there are, each with a whole entry of everything."""
    (runs,) = arrays["loss"].shape
    shapes = {"solution": architecture.solution_shape, "flat_factors": (architecture.parameter_count,)}
    optional = {"error"} & set(arrays)
    for name in {"solution", "flat_factors", "loss", "step"} | optional:
        _check(name, arrays[name], FLOATS, (runs, *shapes.get(name, ())))
    for name in WHOLE:
        _check(name, arrays[name], WHOLE_NUMBERS, (runs,))
        if arrays[name].min() < 0:  # of no runs, too, there is none
            raise ValueError(name)
    if not np.isin(arrays["status"], list(Status)).all():
        raise ValueError("status")
    if any(name.startswith(MEMORY) for name in arrays):
        _check_memory(arrays, runs, architecture.parameter_count)
    return int(runs)


def _check_memory(arrays: Mapping[str, AnyArray], runs: int, parameters: int) -> None:
    """What a rule remembers, as `fastflow.inits.base.RuleMemory` has it."""
    rule, slots, rates, begun = (arrays[f"{MEMORY}{name}"] for name in ("rule", "slots", "rates", "begun"))
    if rule.dtype.kind != "U" or rule.ndim != 0 or slots.ndim != 2 or slots.shape[1] % parameters:
        raise ValueError(MEMORY)
    _check("slots", slots, FLOATS, (runs, slots.shape[1]))
    _check("rates", rates, (np.float64,), (runs, RATES))
    _check("begun", begun, WHOLE_NUMBERS, (runs,))


def _pop_history(arrays: dict[str, AnyArray], architecture: Architecture, runs: int) -> History | None:
    """The history among the arrays, which are taken from them."""
    kept: dict[str, Any] = {
        name.removeprefix(PREFIX): arrays.pop(name) for name in list(arrays) if name.startswith(PREFIX)
    }
    if not kept:
        return None
    (axis,) = {"steps", "times"} & set(kept)
    moments = kept[axis]
    _check(axis, moments, FLOATS if axis == "times" else WHOLE_NUMBERS, moments.shape[:1])
    if not (np.all(moments >= 0) and np.all(moments[1:] >= moments[:-1])):
        raise ValueError(axis)
    for name in set(kept) - {axis}:
        shape = NAMED[name].shape(architecture)
        if shape is None:
            raise ValueError(name)
        _check(name, kept[name], FLOATS, (runs, len(moments), *shape))
    if "factors" in kept:
        kept["factors"] = architecture.unpack(kept["factors"])
    return History(**kept)


def _check(name: str, array: AnyArray, dtypes: tuple[type, ...], shape: tuple[int, ...]) -> None:
    if array.dtype not in dtypes or array.shape != shape:
        raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}, expected shape {shape}")


def _facts(meta: Mapping[str, Any]) -> Facts:
    description = meta["description"]
    if not set(description) >= DESCRIBED or not all(isinstance(text, str) for text in description.values()):
        raise ValueError("description")
    as_count("seed", int(description["seed"]), 0)
    return Facts(
        seconds=as_number("seconds", meta["seconds"], least=0),
        threads=as_count("threads", meta["threads"], 1),
        flops=as_number("flops", meta["flops"], least=0),
        description={printable(name): printable(text) for name, text in description.items()},
    )
