"""``fastflow phase``: the phase diagram of sparse recovery."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from fastflow.baselines import BasisPursuit
from fastflow.checks import as_count, one_of, shown
from fastflow.ensembles.sparse import COEFFICIENTS, MATRICES, SCALINGS, Sparse
from fastflow.inits import Constant
from fastflow.methods import METHODS, Method
from fastflow.networks import DiagonalLinear
from fastflow.shell.arguments import Commands, a_count, a_number, argument, as_real
from fastflow.shell.study import add_running, run_and_show
from fastflow.studies.axes import MOST_VALUES
from fastflow.studies.measures import MEASURED
from fastflow.studies.spec import build
from fastflow.studies.study import Study
from fastflow.studies.success import Success

PURSUIT, DEFAULT = "pursuit", "limit"
FOLLOWED = {method.label: method for method in METHODS if issubclass(DiagonalLinear, method.networks)}
"""The methods that train a diagonal network, by their labels."""

VALUES = 31
"""How many values an axis has by default."""

DEFAULT_DEPTH, DEFAULT_ALPHA, DEFAULT_CORRELATION = 2, 1e-6, 0.5


def add_phase(commands: Commands) -> None:
    """Add the command to the parser."""
    p = commands.add_parser(
        "phase",
        help="the phase diagram of sparse recovery by a diagonal network",
        description="Where does a diagonal network x = u^N - v^N recover a sparse vector from m measurements? A Monte "
        "Carlo study over m and sparsity by the limit of the gradient flow. Prints the fitted crossings beside the "
        "statistical dimension, and writes NAME.zarr (read it with fastflow.open_study, or xarray) and the picture "
        "NAME.png.",
        epilog="example: fastflow phase --depth 3 --alpha 1e-3 --trials 100 --out depth3",
    )
    p.set_defaults(command=_phase)

    g = p.add_argument_group("problem")
    g.add_argument("--n", type=a_count(1), default=128, help="length of the vector (default: 128)")
    values = f"values: FIRST:LAST, FIRST:LAST:COUNT, or a list such as 8,16,32 (default: {VALUES} from {{}})"
    g.add_argument("--m", type=_values, metavar="M", help="measurements, " + values.format("n/31 to 31n/32"))
    g.add_argument("--sparsity", type=_values, metavar="S", help="nonzeros, " + values.format("n/62 to n/2"))
    g.add_argument("--matrix", choices=MATRICES, default="gaussian", help="kind of matrix (default: gaussian)")
    g.add_argument("--correlation", type=a_number(above=-1), metavar="R", help="of a correlated one (default: 0.5)")
    g.add_argument(
        "--scaling", choices=SCALINGS, default="entries", help="entries of variance 1/m (default), or columns of norm 1"
    )
    g.add_argument("--coefficients", choices=COEFFICIENTS, default="gaussian", help="of the truth (default: gaussian)")
    g.add_argument("--noise", type=a_number(least=0), default=0.0, help="standard deviation of noise (default: 0)")

    g = p.add_argument_group("network and method")
    g.add_argument("--depth", type=a_number(least=1), metavar="N", help="number of factors (default: 2)")
    g.add_argument("--nonnegative", action="store_true", help="x = u^N instead of u^N - v^N")
    g.add_argument("--alpha", type=a_number(above=0), metavar="SIZE", help="size of the start (default: 1e-6)")
    g.add_argument(
        "--method",
        choices=(*FOLLOWED, PURSUIT),
        default=DEFAULT,
        help=f"{', '.join(method.title for method in FOLLOWED.values())}, or {BasisPursuit.label} (default: {DEFAULT})",
    )
    g.add_argument("--max-steps", type=a_count(1), metavar="K", help="most steps of the method")

    g = p.add_argument_group("trials and results")
    g.add_argument("--trials", type=a_count(1), default=50, help="of each cell (default: 50)")
    g.add_argument("--below", type=a_number(above=0), default=1e-3, help="relative error of a success (default: 1e-3)")
    g.add_argument(
        "--outcomes",
        type=_names,
        metavar="NAMES",
        help="what is kept of each trial, too: a list of l1_norm, support_recovery, ... (those of fastflow.Study)",
    )
    g.add_argument("--seed", type=a_count(0), default=0, help="seed of all random numbers (default: 0)")
    g.add_argument("--out", type=Path, default=Path("phase"), metavar="NAME", help="(default: phase)")
    add_running(p)


@argument
def _values(text: str) -> tuple[int, ...]:
    """Integers: a list, or a range."""
    if ":" not in text:
        return tuple(_whole(part) for part in text.split(","))
    first, last, *count = (_whole(part) for part in text.split(":"))
    if len(count) > 1 or not first <= last:
        raise ValueError(f"expected FIRST:LAST or FIRST:LAST:COUNT, got {text!r}")
    many = as_count("the count", count[0] if count else min(VALUES, last - first + 1), 1, MOST_VALUES)
    return tuple(sorted({round(value) for value in np.linspace(first, last, many).tolist()}))


@argument
def _names(text: str) -> list[str]:
    """Names of outcomes."""
    return [one_of("an outcome", name.strip(), MEASURED) for name in text.split(",")]


def _whole(text: str) -> int:
    try:
        return as_count("the value", as_real(text), 1)
    except (ValueError, TypeError):
        raise ValueError(f"expected whole numbers from 1 on, got {shown(text)}") from None


def _spread(first: float, last: float) -> tuple[int, ...]:
    return tuple(sorted({max(1, round(value)) for value in np.linspace(first, last, VALUES).tolist()}))


def study_of(a: argparse.Namespace) -> Study:
    """The study that the options ask for.

    Raises
    ------
    ValueError
        for options that do not combine
    """
    n = a.n
    if a.correlation is not None and a.matrix != "correlated":
        raise ValueError(f"--correlation is that of --matrix correlated, and the matrix is {a.matrix}")
    if a.method == PURSUIT:
        for option in ("depth", "alpha", "max_steps"):
            if getattr(a, option) is not None:
                raise ValueError(
                    f"--{option.replace('_', '-')} has no meaning for --method pursuit, the convex program"
                )
    ensemble = Sparse(
        n,
        matrix=a.matrix,
        correlation=DEFAULT_CORRELATION if a.correlation is None else a.correlation,
        scaling=a.scaling,
        coefficients=a.coefficients,
        noise=a.noise,
    )
    axes = {
        "m": a.m or _spread(n / 32, n * 31 / 32),
        "sparsity": a.sparsity or _spread(n / 64, math.ceil(n * 31 / 64)),
    }
    network = init = None
    method: Method | BasisPursuit = BasisPursuit(nonnegative=a.nonnegative)
    if a.method != PURSUIT:
        network = DiagonalLinear(a.depth or DEFAULT_DEPTH, signed=not a.nonnegative)
        init = Constant(DEFAULT_ALPHA if a.alpha is None else a.alpha)
        steps = {} if a.max_steps is None else {"max_steps": a.max_steps}
        method = build({"kind": FOLLOWED[a.method].__name__, **steps})
    success = Success(below=a.below)
    rest = {"trials": a.trials, "seed": a.seed, "success": success, "outcomes": a.outcomes}
    return Study(ensemble, network, init, method, axes=axes, **rest)


def _phase(a: argparse.Namespace) -> int:
    return run_and_show(study_of(a), a.out, a)
