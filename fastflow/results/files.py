"""Files of runs: NumPy arrays and one JSON text in a ``.npz``, no pickle."""

from __future__ import annotations

import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.networks import Architecture, architecture_of
from fastflow.records import History

FORMAT = 1

PREFIX = "history_"


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
    written: dict[str, Any] = dict(arrays)
    if history is not None:
        axis, moments = history.axis
        written[f"{PREFIX}{axis}s"] = moments
        for name in history.recorded:
            values = getattr(history, name)
            if name == "factors":
                runs, records = values[0].shape[:2]
                values = np.concatenate([v.reshape(runs, records, -1) for v in values], axis=-1)
            written[f"{PREFIX}{name}"] = values
    # A name of its own for each writer, and never through a link that somebody has put there.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            np.savez(file, meta=np.array(json.dumps(meta)), **written)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_runs(path: str | Path) -> tuple[dict[str, AnyArray], Architecture, History | None, Facts]:
    """What `write_runs` wrote: arrays, architecture, history, and facts.

    Raises
    ------
    ValueError
        when the file is not one that `write_runs` wrote
    """
    path = Path(path).expanduser()
    wrong = f"{path} is not a file of fastflow runs"
    with path.open("rb") as handle:
        try:
            file = np.load(handle, allow_pickle=False)
            meta = json.loads(str(file["meta"]))
            found = meta["format"]
            arrays = {name: file[name] for name in file.files if name != "meta"} if found == FORMAT else {}
        except (ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(wrong) from error
    if found != FORMAT:
        raise ValueError(f"{path} has format {found}, this fastflow reads format {FORMAT}")
    architecture = architecture_of(meta)
    history = None
    if not {f"{PREFIX}steps", f"{PREFIX}times"}.isdisjoint(arrays):
        kept: dict[str, Any] = {
            name.removeprefix(PREFIX): arrays.pop(name) for name in list(arrays) if name.startswith(PREFIX)
        }
        if "factors" in kept:
            kept["factors"] = architecture.unpack(kept["factors"])
        history = History(**kept)
    facts = Facts(
        seconds=meta["seconds"], threads=meta["threads"], flops=meta["flops"], description=meta["description"]
    )
    return arrays, architecture, history, facts
