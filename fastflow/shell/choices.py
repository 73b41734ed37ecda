"""Choices: what the options of ``fastflow train`` ask for, as a network, an init, a method and a record."""

from __future__ import annotations

import argparse
import dataclasses
from typing import NamedTuple

import numpy as np

from fastflow import inits, theory
from fastflow.inits import Init
from fastflow.methods import (
    METHODS,
    SAFE,
    EarlyStopping,
    FlowLimit,
    GradientDescent,
    GradientFlow,
    Method,
    Momentum,
    SteppingMethod,
    StochasticGradientDescent,
)
from fastflow.networks import DeepLinear, DiagonalLinear, Network
from fastflow.problems import CompressedSensing, Problem
from fastflow.records import Record
from fastflow.setting import small_scale

INITS: dict[str, type[inits.Gaussian | inits.Uniform | inits.Orthogonal | inits.Balanced | inits.Identity]] = {
    "gaussian": inits.Gaussian,
    "uniform": inits.Uniform,
    "orthogonal": inits.Orthogonal,
    "balanced": inits.Balanced,
    "identity": inits.Identity,
}
LABELS = {method.label: method for method in METHODS}
MAX_STEPS = 100_000
"""The default of ``--max-steps``, which is not for Newton steps."""


class Choices(NamedTuple):
    """What `train` is asked for; ``runs`` is None where the init says it."""

    network: Network
    init: Init
    method: Method
    record: Record | None
    runs: int | None


def default_scale(a: argparse.Namespace, problem: Problem) -> float:
    """The ``--scale`` where none is given: small beside the solution, of a product, or of a vector's factor."""
    of_factor = isinstance(problem, CompressedSensing) and a.of != "product"
    return small_scale(problem, 1 / (a.depth or DiagonalLinear().depth) if of_factor else 1.0)


def choices_for(a: argparse.Namespace, problem: Problem) -> Choices:
    """What the options mean for a problem.

    Raises
    ------
    ValueError
        for options that are not for such a problem
    """
    if isinstance(problem, CompressedSensing):
        return _for_vector(a, problem)
    _refuse("for compressed sensing", {"--nonnegative": a.nonnegative, "--method limit": a.method == FlowLimit.label})
    if len(a.scale) > 1:
        raise ValueError("several values of --scale are for compressed sensing; a matrix takes one")
    init = INITS[a.init or "gaussian"](scale=a.scale[0], of=a.of or "product")
    network = DeepLinear(a.depth, a.widths)
    kind = _kind_of(a)
    if issubclass(kind, SteppingMethod | StochasticGradientDescent):
        return Choices(network, init, _stepping(a, kind), _record_of(a), a.runs)
    _refuse("for --method descent", {"--dtype": a.dtype not in kind.dtypes})
    if not issubclass(kind, GradientFlow):
        return _by_fields(a, kind, problem, network, init)
    flow = _flow(a, kind, problem, network)
    return Choices(network, init, flow, Record() if np.size(flow.times) else None, a.runs)


def alphas_for(a: argparse.Namespace) -> list[float]:
    """The entries of every factor of a diagonal network at its starts."""
    power = 1 / _depth(a) if a.of == "product" else 1.0
    return [float(scale**power) for scale in a.scale]


def _kind_of(a: argparse.Namespace) -> type[Method]:
    """What is asked for by ``--method``, which takes the other options.

    Raises
    ------
    ValueError
        where it does not take them
    """
    kind = LABELS[a.method]
    if kind is EarlyStopping:
        if a.hold_out is None:
            raise ValueError(f"--method {kind.label} needs --hold-out, how many measurements it looks at")
        kind = GradientDescent
    steps = issubclass(kind, SteppingMethod | StochasticGradientDescent)
    _refuse("for methods that take steps", {"--hold-out": a.hold_out is not None and not steps})
    _refuse_fields(a, kind)
    return kind


def _record_of(a: argparse.Namespace) -> Record | None:
    """What is recorded of methods that take steps."""
    return a.record.also("test_loss") if a.record is not None and a.hold_out is not None else a.record


def _has_batches(a: argparse.Namespace) -> bool:
    """Whether steps are along batches, which are drawn by ``--seed``."""
    return issubclass(LABELS[a.method], StochasticGradientDescent) or any(name in _own_fields(a) for name in OF_BATCHES)


def _depth(a: argparse.Namespace) -> float:
    """That of a diagonal network."""
    return 2 if a.depth is None else float(a.depth)


def _for_vector(a: argparse.Namespace, problem: CompressedSensing) -> Choices:
    """One run for each scale, all factors starting there."""
    _refuse(
        "for matrices: a diagonal network has one run for each --alpha",
        {
            "--widths": a.widths is not None,
            "--init": a.init is not None,
            "--runs": a.runs is not None,
            "--seed": a.seed != 0 and not _has_batches(a) and a.hold_out is None,
        },
    )
    network = DiagonalLinear(_depth(a), signed=not a.nonnegative)
    start = np.array(alphas_for(a))[:, None] * np.ones(problem.shape)
    init: Init = inits.Constant(a.scale[0], a.of or "factor")
    if len(a.scale) > 1:
        init = inits.Explicit([start] * (2 if network.signed else 1))
    kind = _kind_of(a)
    if issubclass(kind, SteppingMethod | StochasticGradientDescent):
        record = _record_of(a)
        record = None if record is None else record.with_product()
        return Choices(network, init, _stepping(a, kind), record, None)
    _refuse(
        "for --method descent, or flow of a matrix" if a.gradient_tol else "for --method descent",
        {"--gradient-tol": bool(a.gradient_tol), "--dtype": a.dtype != "float64"},
    )
    if a.method == FlowLimit.label:
        recorded = a.record is not None and a.record.says_when
        _refuse("for --method descent and flow", {"--step": a.step is not None, "--record": recorded})
        if a.tol == 0:
            raise ValueError("--tol of --method limit, relative to the norm of y, must be greater than 0")
        most = FlowLimit.max_steps if a.max_steps == MAX_STEPS else a.max_steps
        tol = FlowLimit.tol if a.tol is None else a.tol
        return Choices(network, init, FlowLimit(tol, most), None, None)
    if not issubclass(kind, GradientFlow):
        return _by_fields(a, kind, problem, network, init)
    return Choices(network, init, _flow(a, kind, problem, network), None, None)


def _by_fields(a: argparse.Namespace, kind: type[Method], problem: Problem, network: Network, init: Init) -> Choices:
    """A method of which the shell knows no more than its fields."""
    options = {"step": a.step, "max_steps": a.max_steps, "tol": a.tol, "gradient_tol": a.gradient_tol}
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    method = kind(**{name: value for name, value in options.items() if name in known and value is not None})
    record = a.record
    try:
        method.check(network, init, record, a.dtype, problem)
    except ValueError:
        record = None
    return Choices(network, init, method, record, a.runs)


def _flow(a: argparse.Namespace, kind: type[Method], problem: Problem, network: Network) -> GradientFlow:
    """As long as gradient descent would take, and at the times of the steps that it would record."""
    _refuse("for --method descent", {"--step safe": a.step == SAFE})
    step = 0.5 * theory.edge if a.step is None else a.step
    if isinstance(step, theory.Edge):
        step = step.step(problem, network)
    times = [] if a.record is None else step * a.record.grid(a.max_steps)
    options = {"times": times, "tol": a.tol, "gradient_tol": a.gradient_tol or None}
    flow = kind(**options | _own_fields(a))
    assert isinstance(flow, GradientFlow)
    return flow


OF_RULES = ("momentum", "nesterov", "weight_decay", "ratio", "batch_size", "label_noise")
"""The fields of single methods that have an option of the same name."""

OF_BATCHES = ("batch_size", "label_noise")
"""Those that make of a method that takes steps the update of batches."""

OF_MOMENTUM = ("momentum", "nesterov", "weight_decay")
"""Those that batches without an update take to be of `Momentum`."""


def _own_fields(a: argparse.Namespace) -> dict[str, float | str | bool]:
    """Those of `OF_RULES` that were given."""
    given = {name: getattr(a, name) for name in OF_RULES}
    return {name: value for name, value in given.items() if value is not None and value is not False}


def _known_fields(kind: type[Method]) -> set[str]:
    """The fields that a method has, or what the shell makes of it."""
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if issubclass(kind, SteppingMethod):
        return known | set(OF_BATCHES)
    return known | set(OF_MOMENTUM) if kind is StochasticGradientDescent else known


def _refuse_fields(a: argparse.Namespace, kind: type[Method]) -> None:
    for name in _own_fields(a):
        takers = [each.label for each in METHODS if name in _known_fields(each)]
        _refuse(f"for --method {', '.join(takers)}", {f"--{name.replace('_', '-')}": name not in _known_fields(kind)})


def _stepping(a: argparse.Namespace, kind: type[Method]) -> Method:
    """A method that takes steps; along batches where one of `OF_BATCHES` is given, stopped early by ``--hold-out``."""
    method = _plain_stepping(a, kind)
    options: dict[str, object] = {"method": method}
    return method if a.hold_out is None else LABELS[EarlyStopping.label](**options)


def _plain_stepping(a: argparse.Namespace, kind: type[Method]) -> Method:
    options = {"step": a.step, "max_steps": a.max_steps, "tol": a.tol, "gradient_tol": a.gradient_tol}
    given = _own_fields(a)
    of_batches = {name: given.pop(name) for name in OF_BATCHES if name in given}
    if kind is StochasticGradientDescent:
        plain = {} if "nesterov" in given else {"momentum": 0.0}
        update = LABELS[Momentum.label](**plain | given) if given else None
        return kind(**options | of_batches | {"update": update})
    if of_batches:
        update = None if kind is GradientDescent else kind(**given)
        return LABELS[StochasticGradientDescent.label](**options | of_batches | {"update": update})
    return kind(**options | given)


def _refuse(why: str, options: dict[str, bool]) -> None:
    given = [name for name, present in options.items() if present]
    if given:
        raise ValueError(f"{' and '.join(given)} {'are' if len(given) > 1 else 'is'} {why}")
