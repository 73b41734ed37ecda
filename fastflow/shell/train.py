"""``fastflow train``: training from a data file."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastflow._train import train
from fastflow.checks import as_count, as_number
from fastflow.memory import format_bytes
from fastflow.methods import SAFE
from fastflow.networks import Chain, DeepLinear
from fastflow.problems import NORMALIZATIONS, CompressedSensing
from fastflow.problems.regression import SAMPLES
from fastflow.records import Record
from fastflow.results import Interrupted, Runs, plot
from fastflow.results.runs import QUANTILES
from fastflow.setting import DEFAULT_RUNS
from fastflow.shell import tables
from fastflow.shell.arguments import Commands, a_count, a_number, a_thread_count, argument, as_real
from fastflow.shell.arrays import DECIMAL, DROP, KEEP, MATRIX, MISSING, NO, OBSERVED, THOUSANDS, TRIPLETS, YES, Reading
from fastflow.shell.choices import INITS, LABELS, alphas_for, choices_for, default_scale
from fastflow.shell.output import DONE, FAILED, INTERRUPTED, check_writable, complain, handling, interrupt, say
from fastflow.status import Status
from fastflow.theory import Edge
from fastflow.threads import thread_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS, PICTURE = "runs.npz", "runs.png"
"""What is written into the folder."""


def add_train(commands: Commands) -> None:
    """Add the command to the parser."""
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
        "missing entry, and what an array called mask says; or an .npz with inputs and outputs (regression), operators "
        "and values (sensing), shape, rows, cols and values (completion), or A and y (compressed sensing); truth may "
        "be added",
    )

    g = p.add_argument_group("problem")
    g.add_argument(
        "--problem",
        choices=tables.PROBLEMS,
        help="default: what the file holds; estimation for a matrix, completion if entries are missing",
    )
    g.add_argument(
        "--samples",
        choices=SAMPLES,
        help="what the samples of regression and autoencoder tables are (default: what the shapes or --widths allow)",
    )
    g.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        default="sum",
        help="the loss is 1/2 sum r_i^2, or the mean of r_i^2 (default: sum)",
    )
    g.add_argument("--truth", type=Path, metavar="FILE", help="the matrix or vector that errors are measured against")
    g.add_argument(
        "--hide",
        type=a_number(above=0),
        metavar="FRACTION",
        help="hide this fraction of the entries at random (by --seed), train on the rest, and print the error on them",
    )

    g.add_argument(
        "--hold-out",
        type=a_count(1),
        metavar="M",
        help="hold out this many measurements (samples, entries) at random (by --seed), and stop each run where their "
        "loss is least",
    )

    g = p.add_argument_group("data file", "needed only where a file can be read in two ways, which is said")
    g.add_argument("--header", choices=(YES, NO), help="whether the first line of a .csv names the columns")
    g.add_argument("--row-numbers", choices=(DROP, KEEP), help="a first column that counts the rows")
    g.add_argument("--comma", choices=(THOUSANDS, DECIMAL), help='the comma in a quoted number such as "1,000"')
    g.add_argument("--layout", choices=(MATRIX, TRIPLETS), help="what three columns are; triplets: row, column, value")
    g.add_argument("--mask", choices=(MISSING, OBSERVED), help="what the true entries of an array called mask are")

    g = p.add_argument_group("network and start")
    size = g.add_mutually_exclusive_group()
    size.add_argument(
        "--depth", type=a_number(least=1), metavar="N", help="number of factors (default: 3; of a vector 2)"
    )
    size.add_argument("--widths", type=_widths, metavar="d0,...,dN", help="widths, such as 64,10,64, instead")
    g.add_argument("--init", choices=INITS, help="kind of start (default: gaussian; of a vector all entries are equal)")
    g.add_argument(
        "--scale",
        "--alpha",
        type=_scales,
        metavar="SIZE",
        help="size of the start (default: 1e-3 of that of the solution that the data point to); of a vector also "
        "several, such as 1,1e-2,1e-4",
    )
    g.add_argument(
        "--of", choices=("product", "factor"), help="whose size --scale is (default: product; of a vector factor)"
    )
    g.add_argument("--nonnegative", action="store_true", help="x = u^N instead of u^N - v^N (of a vector)")
    g.add_argument(
        "--runs", type=a_count(1), metavar="N", help=f"number of starts (default: {DEFAULT_RUNS}; identity: 1)"
    )
    g.add_argument("--seed", type=a_count(0), default=0, help="seed of the random starts (default: 0)")

    g = p.add_argument_group("method")
    g.add_argument(
        "--method",
        choices=tuple(LABELS),
        default="descent",
        help="gradient descent (default) or another update rule, the gradient flow, or (of a vector) the flow's limit "
        "alone",
    )
    g.add_argument(
        "--momentum",
        type=_momentum,
        help="of --method momentum, muon and sgd: a number below 1, or with --nesterov (k-1)/(k+2)",
    )
    g.add_argument("--nesterov", action="store_true", help="Nesterov's momentum")
    g.add_argument("--weight-decay", type=a_number(least=0), metavar="MU", help="of the factors")
    g.add_argument(
        "--ratio",
        type=a_number(above=0),
        metavar="R",
        help="of --method weight-normalization and its flow: the rate of the direction over that of the length "
        "(default: 1)",
    )
    g.add_argument(
        "--step",
        type=_step,
        help="a number; a multiple of the linear stability edge of the data, such as 0.9edge; none: half of it "
        "(default); or safe: small enough that the loss is known to fall at every step",
    )
    g.add_argument(
        "--batch-size",
        "--batch",
        type=a_count(1),
        metavar="B",
        help="samples (measurements, entries) a step (default of --method sgd: 1; of other rules all of them)",
    )
    g.add_argument(
        "--label-noise",
        type=a_number(least=0),
        metavar="S",
        help="the standard deviation of noise that the labels of a batch get at every step (default: 0)",
    )
    g.add_argument("--max-steps", type=a_count(0), default=100_000, metavar="K", help="most steps (default: 100000)")
    g.add_argument(
        "--tol",
        type=a_number(least=0),
        help="stop at this loss; of --method limit, at this residual over the norm of y (default: 1e-10 times the loss "
        "of the product 0, above the least loss)",
    )
    g.add_argument(
        "--gradient-tol",
        type=a_number(least=0),
        metavar="TOL",
        help="stop at this norm of the gradient; 0: never (default, without --tol: where the loss hardly falls)",
    )
    g.add_argument(
        "--threads",
        type=a_thread_count(),
        metavar="N",
        help="number of threads (default: all CPUs that there are for it)",
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
    g.add_argument("--overwrite", action="store_true", help="replace the results that are in the folder")


@argument
def _step(text: str) -> float | str | Edge | None:
    if text.lower() in ("none", SAFE):
        return None if text.lower() == "none" else SAFE
    edge = Edge.read(text)
    if edge is not None:
        return edge
    try:
        number = as_real(text)
    except ValueError:
        raise ValueError(f"expected a number, {SAFE}, or like 0.5edge, got {text!r}") from None
    return as_number("the value", number, above=0)


@argument
def _momentum(text: str) -> float | str:
    try:
        return as_number("the value", as_real(text), least=0, below=1)
    except ValueError:
        if text.startswith("("):
            return text  # which the method looks at
        raise


@argument
def _widths(text: str) -> tuple[int, ...] | None:
    return DeepLinear(widths=tuple(as_count("each width", as_real(width), 1) for width in text.split(","))).widths


@argument
def _scales(text: str) -> tuple[float, ...]:
    return tuple(as_number("the value", as_real(part), above=0) for part in text.split(","))


@argument
def _record(text: str) -> Record | None:
    steps = as_count("the value", as_real(text), 0)
    return Record(steps) if steps else None


def _train(a: argparse.Namespace) -> int:
    for earlier in (a.out / RESULTS, a.out / PICTURE):
        if earlier.exists() and not a.overwrite:
            raise ValueError(f"{earlier} exists: --overwrite replaces it, --out takes another folder")
    data = tables.read_problem(
        a.data,
        a.problem,
        samples=a.samples,
        normalization=a.normalization,
        truth=a.truth,
        hide=a.hide,
        seed=a.seed,
        widths=a.widths,
        reading=Reading(a.header, a.row_numbers, a.comma, a.layout, a.mask),
    )
    if a.hold_out is not None:
        data = dataclasses.replace(data, problem=data.problem.hold_out(a.hold_out, a.seed))
    if a.scale is None:
        a.scale = (default_scale(a, data.problem),)
    network, init, method, record, count = choices_for(a, data.problem)
    if count is None:
        count = DEFAULT_RUNS if init.random else len(a.scale)
    architecture = network.architecture(data.problem)
    threads = min(thread_count(a.threads), count)
    check_writable(a.out)

    say(f"{a.data}: {data.kind}, {data.problem.unknown} is {' x '.join(map(str, data.problem.shape))}")
    for note in data.notes:
        say(f"  {note}")
    if isinstance(architecture, Chain):
        of = f"with widths {','.join(map(str, architecture.widths))}"
    else:
        of = f"of {architecture.title} from alpha = {', '.join(f'{alpha:g}' for alpha in alphas_for(a))}"
    say(f"training {count} {'runs' if count > 1 else 'run'} {of}, threads: {threads}")
    if record is not None:
        size = record.nbytes(architecture, count, a.max_steps, a.dtype, has_truth=data.problem.truth is not None)
        say(f"the record of {len(record.grid(a.max_steps))} steps takes {format_bytes(size)} of memory")

    interrupted = False
    try:
        with handling(interrupt, signal.SIGTERM):
            runs = train(data.problem, network, init, method, a.runs, a.seed, threads, record=record, dtype=a.dtype)
    except Interrupted as stop:
        runs, interrupted = stop.runs, True
    draw: Callable[[], Figure] | None = None if runs.history is None else runs.plot
    if isinstance(data.problem, CompressedSensing):
        draw = functools.partial(plot.plot_recovery, runs, data.problem, alphas_for(a))
    return _finish(runs, data, a.out, draw, interrupted=interrupted)


def _finish(
    runs: Runs, data: tables.Data, folder: Path, draw: Callable[[], Figure] | None, *, interrupted: bool
) -> int:
    """Save, print and draw; the exit code."""
    picture = folder / PICTURE
    problem = None
    try:
        with handling(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
            saved = runs.save(folder / RESULTS)
            picture.unlink(missing_ok=True)  # that of earlier runs
    except OSError as error:
        problem = f"error: the results could not be written: {error}"
    say(runs.summary())
    if data.hidden is not None:
        say(_hidden_errors(runs, data.hidden))
    if problem is not None:
        return complain(problem, FAILED)
    say(f"wrote {saved} ({format_bytes(saved.stat().st_size)})")
    if interrupted:
        ended = int(np.sum(runs.status != Status.RUNNING))
        message = f"interrupted when {ended} of {len(runs)} runs had ended; all are saved as they were, without picture"
        return complain(message, INTERRUPTED)
    code = FAILED if np.all(runs.status == Status.DIVERGED) else DONE
    if draw is None:
        return complain("every run diverged", code) if code == FAILED else DONE
    try:
        draw().savefig(picture, dpi=150)
    except (ImportError, ValueError) as error:  # the study extra is missing, or every run diverged
        complain(f"no picture: {error}", DONE)
    except OSError as error:
        return complain(f"error: the picture could not be written: {error}", FAILED)
    else:
        say(f"wrote {picture}")
    return code


def _hidden_errors(runs: Runs, hidden: tables.MatrixCompletion) -> str:
    """Quantiles over the runs that did not diverge of the relative error on the hidden entries."""
    size = np.linalg.norm(hidden.values) or 1.0
    kept = runs.solution[runs.status != Status.DIVERGED]
    row = f"{'hidden error':16}"
    if len(kept):
        numbers = np.quantile([np.linalg.norm(hidden.residual(w)) / size for w in kept], QUANTILES)
        row += "".join(f"{number:12.4g}" for number in numbers)
    return f"{row}   (relative, on {hidden.values.size} hidden entries)"
