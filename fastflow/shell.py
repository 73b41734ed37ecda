"""The command ``fastflow``: training from a data file, and what this installation is.

``fastflow train DATA`` and ``fastflow info``. A mistake in the arguments or in the data is one line on standard error
and exit code 2, before any work; Ctrl-C and SIGTERM save what is done and give exit code 130.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastflow
from fastflow import plot, tables
from fastflow.architectures import Chain
from fastflow.checks import as_count, as_number
from fastflow.choices import INITS, METHODS, choices_for
from fastflow.memory import format_bytes
from fastflow.networks import DeepLinear
from fastflow.problems import NORMALIZATIONS, CompressedSensing
from fastflow.records import Record
from fastflow.runs import QUANTILES, Interrupted, Runs
from fastflow.speed import speed_table
from fastflow.status import Status
from fastflow.threads import thread_count
from fastflow.train import DEFAULT_RUNS, train

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : the arguments after the command's name, default those of this process

    Returns
    -------
    int
        the exit code: 0 done; 2 wrong arguments or data; 130 interrupted; 1 the results could not be written
    """
    with _plain_warnings():
        try:
            arguments = _parser().parse_args(argv)
            return int(arguments.command(arguments))
        except SystemExit as end:  # argparse, after --help, --version and its own complaints
            return int(end.code or 0)
        except (ValueError, TypeError, OSError, MemoryError) as error:
            return _complain(f"error: {error}", WRONG_INPUT)
        except KeyboardInterrupt:
            return _complain("interrupted", INTERRUPTED)


def info() -> str:
    """Versions, the CPU and the code shape chosen for it, threads, and where compiled kernels are kept."""
    from importlib.metadata import version

    import llvmlite.binding as llvm
    from numba.core import config

    from fastflow.kernels.target import target_features

    shape = fastflow.kernels.SHAPE
    vectors = sorted(target_features() & {"sse2", "avx", "avx2", "fma", "avx512f", "neon", "sve"})
    cache = getattr(getattr(fastflow.kernels.descend, "_cache", None), "cache_path", None)
    rows = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "fastflow": fastflow.__version__,
        **{name: version(name) for name in ("numba", "llvmlite", "numpy", "scipy")},
        "cpu": f"{config.CPU_NAME or llvm.get_host_cpu_name()} ({', '.join(vectors) or 'no vector features known'})",
        "simd": f"{shape.name}: vectors of {shape.vector_bytes} bytes, tiles of {shape.tile_rows} rows x "
        f"{shape.tile_vectors} vectors",
        "threads": str(thread_count(None)),
        "kernel cache": cache or "none: no folder for it can be written; every process compiles",
    }
    return "\n".join(f"{name:14}{value}" for name, value in rows.items())


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastflow", description=(fastflow.__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"fastflow {fastflow.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    about = commands.add_parser("info", help="versions, CPU, threads and cache of this installation")
    about.add_argument(
        "--bench", action="store_true", help="measure the FMA peak and the rate of gradient descent (ten seconds)"
    )
    about.set_defaults(command=_info)
    _add_train(commands)
    return parser


def _add_train(commands: Any) -> None:
    p = commands.add_parser(
        "train",
        help="train a deep linear network on a data file, from many random starts",
        description="Train a deep linear network W = W_N ... W_1 on a data file by gradient descent from many starts, "
        "or a diagonal network x = u^N - v^N on measurements y = A x. Prints a table, and writes DIR/runs.npz (read it "
        "with fastflow.load) and the picture DIR/runs.png.",
        epilog="example: fastflow train matrix.csv --depth 3 --scale 1e-3 --runs 256 --out results",
    )
    p.set_defaults(command=_train)
    p.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help=".npy, .csv or .npz file. A matrix (in an .npz called matrix or target), where NaN or an empty cell is a "
        "missing entry; or an .npz with inputs and outputs (regression), operators and values (sensing), shape, "
        "rows, cols and values (completion), or A and y (compressed sensing); truth may be added",
    )

    g = p.add_argument_group("problem")
    g.add_argument(
        "--problem",
        choices=tables.PROBLEMS,
        help="default: what the file holds; estimation for a matrix, completion if entries are missing",
    )
    g.add_argument("--samples", choices=tables.SAMPLES, help="where regression tables have samples (default: rows)")
    g.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        default="sum",
        help="the loss is 1/2 sum r_i^2, or the mean of r_i^2 (default: sum)",
    )
    g.add_argument("--truth", type=Path, metavar="FILE", help="the matrix or vector that errors are measured against")
    g.add_argument(
        "--hide",
        type=_number(above=0),
        metavar="FRACTION",
        help="hide this fraction of the entries at random (by --seed), train on the rest, and print the error on them",
    )

    g = p.add_argument_group("network and start")
    size = g.add_mutually_exclusive_group()
    size.add_argument("--depth", type=_count(1), metavar="N", help="number of factors (default: 3; of a vector 2)")
    size.add_argument("--widths", type=_widths, metavar="d0,...,dN", help="widths, such as 64,10,64, instead")
    g.add_argument("--init", choices=INITS, help="kind of start (default: gaussian; of a vector all entries are equal)")
    g.add_argument(
        "--scale",
        "--alpha",
        type=_scales,
        default=(1e-3,),
        metavar="SIZE",
        help="size of the start (default: 1e-3); of a vector also several, such as 1,1e-2,1e-4",
    )
    g.add_argument(
        "--of", choices=("product", "factor"), help="whose size --scale is (default: product; of a vector factor)"
    )
    g.add_argument("--nonnegative", action="store_true", help="x = u^N instead of u^N - v^N (of a vector)")
    g.add_argument(
        "--runs", type=_count(1), metavar="N", help=f"number of starts (default: {DEFAULT_RUNS}; identity: 1)"
    )
    g.add_argument("--seed", type=_count(0), default=0, help="seed of the random starts (default: 0)")

    g = p.add_argument_group("method")
    g.add_argument(
        "--method",
        choices=METHODS,
        default="descent",
        help="gradient descent (default), the gradient flow, or (of a vector) the flow's limit alone",
    )
    g.add_argument("--step", type=_step, help="a number, or none: half the linear stability edge of the data (default)")
    g.add_argument("--max-steps", type=_count(0), default=100_000, metavar="K", help="most steps (default: 100000)")
    g.add_argument("--tol", type=_number(least=0), default=1e-10, help="stop at this loss (default: 1e-10)")
    g.add_argument(
        "--gradient-tol",
        type=_number(least=0),
        default=0.0,
        metavar="TOL",
        help="stop at this norm of the gradient (default: 0)",
    )
    g.add_argument(
        "--threads", type=_count(1), metavar="N", help="number of threads (default: the CPUs that this process may use)"
    )
    g.add_argument(
        "--dtype", choices=("float64", "float32"), default="float64", help="of all arithmetic (default: float64)"
    )

    g = p.add_argument_group("results")
    g.add_argument(
        "--record",
        type=_record,
        default=Record(),
        metavar="N",
        help="number of steps, spread logarithmically, to record at; 0: no history, no picture (default: 200)",
    )
    g.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="folder for results (default: runs)")


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse, which would print the name of the function where that has something to say."""

    def read_argument(text: str) -> Any:
        try:
            return read(text)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_argument


def _real(text: str) -> float:
    """A number; whole ones exactly, whatever their size."""
    with contextlib.suppress(ValueError):
        return int(text)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text!r}") from None


def _count(least: int) -> Callable[[str], Any]:
    return _argument(lambda text: as_count("the value", _real(text), least))


def _number(**limits: float) -> Callable[[str], Any]:
    return _argument(lambda text: as_number("the value", _real(text), **limits))


@_argument
def _step(text: str) -> float | None:
    return None if text.lower() == "none" else as_number("the value", _real(text), above=0)


@_argument
def _widths(text: str) -> tuple[int, ...] | None:
    return DeepLinear(widths=tuple(as_count("each width", _real(width), 1) for width in text.split(","))).widths


@_argument
def _scales(text: str) -> tuple[float, ...]:
    return tuple(as_number("the value", _real(part), above=0) for part in text.split(","))


@_argument
def _record(text: str) -> Record | None:
    steps = as_count("the value", _real(text), 0)
    return Record(steps) if steps else None


def _info(a: argparse.Namespace) -> int:
    _say(info())
    if a.bench:
        _say(speed_table())
    return DONE


def _train(a: argparse.Namespace) -> int:
    data = tables.read_problem(
        a.data, a.problem, samples=a.samples, normalization=a.normalization, truth=a.truth, hide=a.hide, seed=a.seed
    )
    network, init, method, record, count = choices_for(a, data.problem)
    if count is None:
        count = DEFAULT_RUNS if init.random else len(a.scale)
    architecture = network.architecture(data.problem)
    threads = min(thread_count(a.threads), count)
    _check_writable(a.out)

    _say(f"{a.data}: {data.kind}, {data.problem.unknown} is {' x '.join(map(str, data.problem.shape))}")
    for note in data.notes:
        _say(f"  {note}")
    if isinstance(architecture, Chain):
        of = f"with widths {','.join(map(str, architecture.widths))}"
    else:
        of = f"of {architecture.network} from alpha = {', '.join(f'{scale:g}' for scale in a.scale)}"
    _say(f"training {count} {'runs' if count > 1 else 'run'} {of}, threads: {threads}")
    if record is not None:
        size = record.nbytes(architecture, count, a.max_steps, a.dtype, has_truth=data.problem.truth is not None)
        _say(f"the record of {len(record.grid(a.max_steps))} steps takes {format_bytes(size)} of memory")

    interrupted = False
    try:
        with _handling(_interrupt, signal.SIGTERM):
            runs = train(data.problem, network, init, method, a.runs, a.seed, threads, record=record, dtype=a.dtype)
    except Interrupted as stop:
        runs, interrupted = stop.runs, True
    draw: Callable[[], Any] | None = None if runs.history is None else runs.plot
    if isinstance(data.problem, CompressedSensing):
        draw = functools.partial(plot.plot_recovery, runs, data.problem, a.scale)
    return _finish(runs, data, a.out, draw, interrupted=interrupted)


def _finish(runs: Runs, data: tables.Data, folder: Path, draw: Callable[[], Any] | None, *, interrupted: bool) -> int:
    """Save, print and draw; the exit code."""
    picture = folder / "runs.png"
    problem = None
    try:
        with _handling(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
            saved = runs.save(folder / "runs.npz")
            picture.unlink(missing_ok=True)  # that of earlier runs
    except OSError as error:
        problem = f"error: the results could not be written: {error}"
    _say(runs.summary())
    if data.hidden is not None:
        _say(_hidden_errors(runs, data.hidden))
    if problem is not None:
        return _complain(problem, FAILED)
    _say(f"wrote {saved} ({format_bytes(saved.stat().st_size)})")
    if interrupted:
        ended = int(np.sum(runs.status != Status.RUNNING))
        message = f"interrupted when {ended} of {len(runs)} runs had ended; all are saved as they were, without picture"
        return _complain(message, INTERRUPTED)
    if draw is None:
        return DONE
    try:
        draw().savefig(picture, dpi=150)
    except (ImportError, ValueError) as error:  # the study extra is missing, or every run diverged
        _complain(f"no picture: {error}", DONE)
    except OSError as error:
        return _complain(f"error: the picture could not be written: {error}", FAILED)
    else:
        _say(f"wrote {picture}")
    return DONE


def _hidden_errors(runs: Runs, hidden: tables.MatrixCompletion) -> str:
    """Quantiles over the runs that did not diverge of the relative error on the hidden entries."""
    size = np.linalg.norm(hidden.values) or 1.0
    kept = runs.solution[runs.status != Status.DIVERGED]
    row = f"{'hidden error':16}"
    if len(kept):
        numbers = np.quantile([np.linalg.norm(hidden.residual(w)) / size for w in kept], QUANTILES)
        row += "".join(f"{number:12.4g}" for number in numbers)
    return f"{row}   (relative, on {hidden.values.size} hidden entries)"


def _check_writable(folder: Path) -> None:
    """Make the folder, and find out now rather than after hours whether results can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"cannot write to the folder {folder}: {error.strerror or error}") from None


def _say(text: str) -> None:
    """Print, now; a reader who has left, as in ``fastflow train ... | head``, stops no training."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    print(f"fastflow: {message}", file=sys.stderr)
    return code


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handling(handler: Any, *signals: signal.Signals) -> Iterator[None]:
    """Handle signals this way in the block; outside the main thread, where Python cannot, leave them as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, handler)) for number in signals]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print a warning as one line, without the place in the source that gave it."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _complain(f"warning: {message}", DONE)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
