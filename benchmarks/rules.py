"""asv: a step of each update rule, steps along batches; and by rule the time over that of gradient descent:
``python -m benchmarks.rules``.

Processor time on one thread, the rules taking turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any, NamedTuple

import numpy as np

import fastflow as ff
from benchmarks import peers_sgd, tasks

NONE = float("nan")
GOAL, GOALS = 1.25, {"Adam": 1.6, "Muon": NONE}
"""A step at most so many times one of gradient descent, by rule; NaN where that is not the aim."""

FLOPS, RUNS, WIDTHS, REPETITIONS = 6e8, 64, (4, 10, 20, 50, 100), 9

FEWEST, LONG = 8, 300
"""Steps of a measurement: at least so many; and no more of `BarzilaiBorwein`, after which quotients of round-off are
steps that diverge (long ones of some starts before), so that it is asked several times instead."""


class Heavy(NamedTuple):
    """Momentum as a user would write it."""

    momentum: float


def heavy(rule, factors, gradient, memory, step, k):  # type: ignore[no-untyped-def]
    """The heavy ball."""
    for i in range(factors.size):
        memory[0, i] = rule.momentum * memory[0, i] - step * gradient[i]
        factors[i] += memory[0, i]


ff.kernels.add_rule(Heavy, heavy, slots=1)

RULES = {
    "GradientDescent": (ff.GradientDescent, {}),
    "Momentum": (ff.Momentum, {}),
    "Nesterov": (ff.Momentum, {"nesterov": True}),
    "SharedRate": (ff.SharedRate, {}),
    "NormalizedDescent": (ff.NormalizedDescent, {}),
    "BarzilaiBorwein": (ff.BarzilaiBorwein, {"kind": "short"}),
    "SignDescent": (ff.SignDescent, {}),
    "RMSprop": (ff.RMSprop, {}),
    "Adam": (ff.Adam, {}),
    "SharpnessAware": (ff.SharpnessAware, {}),
    "Muon": (ff.Muon, {}),
    "CustomRule": (ff.CustomRule, {"update": Heavy(0.9)}),
}


def advance(task: tasks.Task | tasks.DiagonalTask, rule: str, steps: int) -> float:
    """So many steps of all runs; the seconds of processor time of one."""
    kind, options = RULES[rule]
    problem, network = tasks.problem_and_network(task)
    method: Any = kind(1e-6, max_steps=steps, tol=0, gradient_tol=0, **options)
    init = ff.inits.Explicit(task.starts)
    started = time.process_time()
    runs = ff.train(problem, network, init, method, threads=1, dtype=task.dtype, progress=False)
    seconds = time.process_time() - started
    if np.any(runs.steps != steps):
        raise RuntimeError(f"{rule} ended before {steps} steps: {runs.status_counts()}")
    return seconds / steps


def over_descent(task: tasks.Task | tasks.DiagonalTask, rules: list[str], repetitions: int) -> dict[str, float]:
    """The time of a step of each rule over that of gradient descent."""
    steps = max(FEWEST, int(FLOPS / task.flops))
    seconds: dict[str, list[float]] = {rule: [] for rule in ("GradientDescent", *rules)}
    for rule in seconds:
        advance(task, rule, 2)
    for _ in range(repetitions):
        for rule, taken in seconds.items():
            count = steps if rule != "Muon" else max(FEWEST, steps // 10)
            times = 1
            if rule == "BarzilaiBorwein":
                times, count = -(-count // LONG), min(count, LONG)
            several = sum(count * advance(task, rule, count) - 2 * advance(task, rule, 2) for _ in range(times))
            taken.append(several / (count - 2) / times)
    return {rule: statistics.median(seconds[rule]) / statistics.median(seconds["GradientDescent"]) for rule in rules}


class Rules:
    """A step of each rule on three square factors, and on a diagonal network."""

    params = (list(RULES), ["chain 4", "chain 20", "diagonal"])
    param_names = ("rule", "network")

    def setup(self, rule: str, network: str) -> None:
        if rule == "Muon" and network == "diagonal":
            raise NotImplementedError
        width = int(network.split()[-1]) if network != "diagonal" else 0
        self.task: Any = tasks.estimation(width, RUNS) if width else tasks.diagonal(100, 40, RUNS, True)
        self.steps = max(FEWEST, int(FLOPS / self.task.flops))
        if rule == "BarzilaiBorwein":
            self.steps = min(self.steps, LONG)
        advance(self.task, rule, 2)

    def time_train(self, rule: str, network: str) -> None:
        advance(self.task, rule, self.steps)


class Batches:
    """Steps along samples that each run draws: diagonal networks, and completion by two factors."""

    params = (["diagonal 100", "diagonal 400", "completion 50"], [1, 8])
    param_names = ("task", "batch")

    def setup(self, name: str, batch: int) -> None:
        kind, size = name.split()
        measurements = {"100": 40, "400": 200}
        task = peers_sgd.completion(50, batch) if kind == "completion" else None
        task = task or peers_sgd.diagonal(int(size), measurements[size], batch)
        self.advance = peers_sgd.fastflow(task, 1)
        self.advance(20)

    def time_train(self, name: str, batch: int) -> None:
        self.advance(2000)


def main() -> None:
    """Print a line for each width."""
    rules = sys.argv[1].split(",") if len(sys.argv) > 1 else [rule for rule in RULES if rule != "GradientDescent"]
    for width in map(int, sys.argv[2].split(",")) if len(sys.argv) > 2 else WIDTHS:
        found = over_descent(tasks.estimation(width, RUNS), rules, REPETITIONS)
        print(f"d = {width}: " + ", ".join(f"{rule} {ratio:.2f}" for rule, ratio in found.items()), flush=True)
    found = over_descent(tasks.diagonal(100, 40, RUNS, True), [r for r in rules if r != "Muon"], REPETITIONS)
    print("diagonal, n = 100: " + ", ".join(f"{rule} {ratio:.2f}" for rule, ratio in found.items()))


if __name__ == "__main__":
    main()
