"""``fastflow study``: any study from a TOML file; and what ``fastflow phase`` shares with it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastflow.shell.arguments import Commands, a_number, a_thread_count, argument
from fastflow.shell.output import (
    DONE,
    FAILED,
    INCOMPLETE,
    INTERRUPTED,
    check_writable,
    complain,
    handling,
    interrupt,
    say,
)
from fastflow.studies.driver import StudyError, StudyInterrupted
from fastflow.studies.errors import StoreError
from fastflow.studies.layout import require_zarr, store_path
from fastflow.studies.locks import holder_of
from fastflow.studies.reading import open_study
from fastflow.studies.result import StudyResult
from fastflow.studies.study import Study
from fastflow.studies.tasks import ON_ERROR, RAISE
from fastflow.studies.transitions import Boundary, Crossing

if TYPE_CHECKING:
    from distributed import Client

MOST_ROWS = 12
"""Of the table of crossings."""


def add_study(commands: Commands) -> None:
    """Add the command to the parser."""
    p = commands.add_parser(
        "study",
        help="run the Monte Carlo study that a TOML file describes",
        description="Run the Monte Carlo study that a TOML file describes: tables ensemble, network, init and method, "
        "each with a kind and its parameters; axes; trials, seed, outcomes and success. Writes FILE.zarr, a Zarr store "
        "(read it with fastflow.open_study, or xarray), and the picture FILE.png.",
        epilog="example: fastflow study recovery.toml --out results/recovery",
    )
    p.set_defaults(command=_study)
    p.add_argument("file", metavar="FILE", type=Path, nargs="?", help="a TOML file")
    p.add_argument("--status", type=Path, metavar="STORE", help="only say how a study stands, also while it runs")
    p.add_argument("--out", type=Path, metavar="NAME", help="of NAME.zarr and NAME.png (default: that of FILE)")
    p.add_argument(
        "--trust", action="store_true", help="import and run the functions and classes of others that FILE names"
    )
    add_running(p)


def add_running(p: argparse.ArgumentParser) -> None:
    """Add the options of how a study is run."""
    g = p.add_argument_group("running")
    g.add_argument("--resume", action="store_true", help="go on with the store that there is, or let it grow")
    g.add_argument("--repair", action="store_true", help="compute again what is damaged in the store")
    g.add_argument(
        "--adaptive",
        action="store_true",
        help="spend trials where the transition is: a pilot of 20, which counts in no rate, and 20 more or all",
    )
    g.add_argument("--max-seconds", type=a_number(above=0), metavar="T", help="stop after so long; --resume goes on")
    g.add_argument(
        "--shard",
        type=_shard,
        metavar="I/K",
        help="only share I of K, I = 0 .. K-1, of the cells, or of their trials where K is more; no picture is drawn, "
        "and fastflow merge puts the stores together",
    )
    g.add_argument(
        "--threads",
        type=a_thread_count(),
        metavar="N",
        help="number of threads (default: all CPUs that there are for it)",
    )
    g.add_argument("--scheduler", metavar="ADDRESS", help="use the dask scheduler there, such as tcp://host:8786")
    g.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default=RAISE,
        help="what becomes of the study when a trial raises: it ends, or that trial has failed (default: raise)",
    )
    g.add_argument(
        "--task-timeout",
        type=a_number(above=0),
        metavar="T",
        help="seconds that a trial may take before it is given up (default: no limit)",
    )
    g.add_argument(
        "--max-task-seconds",
        type=a_number(above=0),
        metavar="T",
        help="seconds after which a task hands back the trials that it has done (default: no limit)",
    )
    g.add_argument("--cost", action="store_true", help="only say what it will cost in time and memory")


@argument
def _shard(text: str) -> tuple[int, int]:
    first, _, last = text.partition("/")
    try:
        share, of = int(first), int(last)
    except ValueError:
        raise ValueError(f"expected I/K, such as 0/10, got {text!r}") from None
    if not 0 <= share < of:
        raise ValueError(f"expected share I of K with I in 0 .. K-1, got {text!r}")
    return share, of


def _study(a: argparse.Namespace) -> int:
    if a.status is not None:
        if a.file is not None:
            raise ValueError("--status is of a store, and no study is run: leave FILE out")
        say(standing(a.status))
        return DONE
    if a.file is None:
        raise ValueError("give a TOML file, or --status STORE")
    try:
        table = tomllib.loads(a.file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{a.file} is no TOML file: {error}") from None
    if a.trust:  # functions may lie beside the file, but none there takes the name of another module
        sys.path.append(str(a.file.resolve().parent))
    study = Study.from_table(table, trust=a.trust)
    return run_and_show(study, a.file.with_suffix("") if a.out is None else a.out, a)


def run_and_show(study: Study, name: Path, a: argparse.Namespace) -> int:
    """Run a study into ``name.zarr``, print what came out, and draw ``name.png``; the exit code."""
    name = store_path(name)
    store, picture = (name.with_name(name.name + suffix) for suffix in (".zarr", ".png"))
    if a.cost:
        if a.shard is not None:
            raise ValueError("--cost is that of the whole study: leave out --shard")
        say(str(study.cost(threads=a.threads)))
        return DONE
    require_zarr()
    if store.exists() and not (a.resume or a.repair):
        raise ValueError(f"{store} exists: --resume goes on with it, --out takes another name")
    check_writable(store.parent)
    axes = " x ".join(f"{len(axis.values)} {axis.name}" for axis in study.axes)
    say(f"{axes} = {study.cells} cells of {study.trials} trials, into {store}")
    code, ended = DONE, ""
    try:
        with handling(interrupt, signal.SIGTERM), _executor(a.scheduler) as executor:
            result = study.run(
                executor,
                store,
                threads=a.threads,
                shard=a.shard,
                max_seconds=a.max_seconds,
                adaptive=a.adaptive,
                repair=a.repair,
                on_error=a.on_error,
                task_timeout=a.task_timeout,
                max_task_seconds=a.max_task_seconds,
            )
    except StudyInterrupted as stop:
        result, code, ended = stop.result, INTERRUPTED, f"interrupted; --resume goes on from {store}"
    except StudyError as error:
        result, code, ended = error.result, FAILED, f"error: {error}"
    except StoreError as error:
        if not isinstance(error.result, StudyResult):
            raise
        result, code, ended = error.result, FAILED, f"error: {error}"
    say(result.summary())
    if a.adaptive and code == DONE:
        say(f"adaptive: {1 - result.done.mean():.0%} of the trials were saved")
    if result.left and code == DONE:
        code = INCOMPLETE
        say(f"not complete, {result.left} trials are left: --resume goes on from {store}")
    if not result.done.any():
        return complain(ended or "nothing was done", code or FAILED)
    if a.shard is None:
        say(crossings(result))
        with handling(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
            code = max(code, draw_picture(result, picture))
    return complain(ended, code) if ended else code


def standing(store: Path) -> str:
    """How the study in a store stands: what is done, how it ended, when something came in, and who computes."""
    path = store_path(store)
    result = open_study(path)
    total, done = result.done.size, int(result.done.sum())
    written = max((file.stat().st_mtime for file in (path / "status").rglob("*")), default=path.stat().st_mtime)
    holder = holder_of(path)
    lines = [result.summary(), f"{done / total:.0%} of {total} trials; last written {time.time() - written:.0f} s ago"]
    lines.append(f"{holder} is writing" if holder else "nobody is writing")
    return "\n".join(lines)


def draw_picture(result: StudyResult, picture: Path) -> int:
    """Draw a result into a file, and say so, or why not; the exit code."""
    try:
        result.plot().savefig(picture, dpi=150)
    except (ImportError, ValueError) as error:  # the study extra is missing, or there is nothing to draw
        complain(f"no picture: {error}", DONE)
    except OSError as error:
        return complain(f"error: the picture could not be written: {error}", FAILED)
    else:
        say(f"wrote {picture}")
    return DONE


def crossings(result: StudyResult, most: int = MOST_ROWS) -> str:
    """A table of where the rate of success crosses one half, beside the statistical dimension."""
    try:
        along = result.along()
    except ValueError:
        return ""
    known = result.rates[np.isfinite(result.rates)]
    if np.all(known == 0) or np.all(known == 1):
        return f"{along} at 50%: nowhere, as {'no' if np.all(known == 0) else 'every'} trial succeeded"
    found, theory = result.boundary(), result.theory()
    names = [name for name in result.axes if name != along]
    places = list(np.ndindex(found.value.shape))
    chosen = sorted({round(i) for i in np.linspace(0, len(places) - 1, min(most, len(places)))})
    title = f"{along} at 50%" + ("" if theory is None else f", and the statistical dimension ({result.program})")
    lines = [f"{title}:"]
    header = "".join(f"{name:>14}" for name in names) + f"{'crossing':>14}{'95% interval':>22}"
    lines.append(header + ("" if theory is None else f"{'theory':>10}"))
    for i in chosen:
        at = places[i]
        values = [result.axes[name][j] for name, j in zip(names, at, strict=True)]
        row = "".join(f"{value if isinstance(value, str) else format(value, 'g'):>14}" for value in values)
        row += f"{_place(found, at):>14}{_interval(found, at):>22}"
        lines.append(row + ("" if theory is None else f"{'-' if np.isnan(theory[at]) else f'{theory[at]:.2f}':>10}"))
    outside = sorted({int(status) for status in found.status.ravel() if status > Crossing.SEPARATED})
    lines.extend(f"{Crossing(status).name.lower()}: {Crossing(status).message}" for status in outside)
    return "\n".join(lines)


def _place(found: Boundary, at: tuple[int, ...]) -> str:
    """A crossing, or where it would lie."""
    status = Crossing(int(found.status[at]))
    return f"{found.value[at]:.2f}" if np.isfinite(found.value[at]) else status.name.lower()


def _interval(found: Boundary, at: tuple[int, ...]) -> str:
    low, high = found.low[at], found.high[at]
    if np.isnan(low) or (np.isinf(low) and np.isinf(high)):
        return "-"
    if np.isinf(low) or np.isinf(high):
        return f"up to {high:.2f}" if np.isinf(low) else f"from {low:.2f} on"
    return f"{low:.2f} .. {high:.2f}"


@contextlib.contextmanager
def _executor(address: str | None) -> Iterator[Client | None]:
    """A dask client of a running scheduler; without an address None."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("--scheduler needs dask: pip install 'fastflow[dask]'") from error
    why = None
    try:  # not as dask's default: a client that fails would stay it, and all that uses dask here would wait for it
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, MemoryError) as error:  # MemoryError: the answer of a server that is no scheduler
        why = str(error)
    if why is not None:
        # What is left of such a client closes when it is collected, and were that while another one is made, dask would
        # wait for itself.
        gc.collect()
        raise ValueError(f"no dask scheduler answers at {address}: {why}")
    with client:
        yield client
