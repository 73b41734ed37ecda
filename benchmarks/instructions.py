"""Instructions that hot loops take, for a machine that is never quiet: ``python -m benchmarks.instructions [--write]``.

Valgrind's callgrind counts them, of the code for AVX2, so that every processor and every load give the same counts;
``instructions.json`` has those that were. A case that takes 5% more of them fails (exit status 1). What is counted
is the difference of two whole calls, of which one takes more steps: what a call costs once is in neither.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

import fastflow as ff
from benchmarks import limits, peers_sgd, rules, tasks

COUNTS = Path(__file__).with_suffix(".json")
TARGET = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
MORE = 1.05
"""So many times the instructions of before are too many; fewer by as much are worth writing."""

RUNS = 16
FEWER, LEAST, FLOPS = 3, 60, 6e7
"""Steps of the shorter call, and of the longer one: at least so many, and so much work."""

Advance = Callable[[int], object]


def _descent(task: tasks.Task | tasks.DiagonalTask) -> tuple[Advance, int, int]:
    advance = tasks.fastflow(task, 1).advance
    return lambda steps: advance(steps, 1e-6), max(LEAST, int(FLOPS / task.flops)), task.runs


def _rule(name: str, task: tasks.Task | tasks.DiagonalTask) -> tuple[Advance, int, int]:
    return lambda steps: rules.advance(task, name, steps), max(LEAST, int(FLOPS / task.flops)), task.runs


def _limits(setting: limits.Setting) -> tuple[Advance, int, int]:
    matrices, values = limits.draw(setting, 2 * FEWER)

    def advance(trials: int) -> None:
        ff.flow_limit(matrices[:trials], values[:trials], setting.alpha, setting.depth, threads=1)

    return advance, 2 * FEWER, 1


def _flow(width: int) -> tuple[Advance, int, int]:
    task = tasks.estimation(width, 1, depth=2)
    problem, network = tasks.problem_and_network(task)

    def advance(steps: int) -> None:
        method = ff.GradientFlow(max_steps=steps, tol=0, gradient_tol=0)
        ff.train(problem, network, ff.inits.Explicit(task.starts), method, threads=1, progress=False)

    return advance, LEAST, 1


CASES: dict[str, Callable[[], tuple[Advance, int, int]]] = {
    **{f"descent, d = {d}": lambda d=d: _descent(tasks.estimation(d, RUNS)) for d in (4, 10, 20, 50, 100)},
    "descent, d = 20, float32": lambda: _descent(tasks.estimation(20, RUNS, np.float32)),
    "completion, d = 50": lambda: _descent(tasks.completion(50, RUNS)),
    "sensing, d = 30": lambda: _descent(tasks.sensing(runs=RUNS)),
    "diagonal, 100 x 40 a run": lambda: _descent(tasks.diagonal(100, 40, RUNS)),
    "diagonal, 400 x 200 shared": lambda: _descent(tasks.diagonal(400, 200, RUNS, True)),
    "Momentum, d = 10": lambda: _rule("Momentum", tasks.estimation(10, RUNS)),
    "Adam, d = 10": lambda: _rule("Adam", tasks.estimation(10, RUNS)),
    "batches of 1, diagonal, n = 100": lambda: (peers_sgd.fastflow(peers_sgd.diagonal(100, 40, 1), 1), 20 * LEAST, 64),
    "flow, d = 20": lambda: _flow(20),
    "limit, 128 x 48": lambda: _limits(limits.SETTINGS[0]),
}
"""A call of so many steps, the steps of a longer one, and the runs that take them."""


def work() -> None:
    """Take the steps of all cases, with a call between them that callgrind sees."""
    from fastflow import scheduling, threads

    scheduling.SLICE_SECONDS = threads.POLL_SECONDS = 1e6  # nothing goes by the clock, which is slow here
    gc.disable()
    for make in CASES.values():
        advance, steps, _ = make()
        advance(FEWER)
        for count in (FEWER, steps):
            os.getpgrp()
            advance(count)
        os.getpgrp()


def count() -> dict[str, float]:
    """Instructions of a step of a run, by case.

    Raises
    ------
    RuntimeError : valgrind is not there, or has failed
    """
    if shutil.which("valgrind") is None:
        raise RuntimeError("valgrind is not installed")
    python = [os.path.realpath(sys.executable), "-c", "from benchmarks.instructions import work; work()"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            **TARGET,
            "NUMBA_CACHE_DIR": folder,
            "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
        }
        subprocess.run(python, env=environment, check=True)  # compiles
        output = Path(folder) / "counts"
        options = ["--tool=callgrind", "--dump-before=getpgrp", f"--callgrind-out-file={output}"]
        done = subprocess.run(
            ["valgrind", *options, *python], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"valgrind failed:\n{done.stderr[-2000:]}")
        dumps = sorted(Path(folder).glob("counts.*"), key=lambda path: int(path.suffix[1:]))
        totals = [int(re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)[1]) for dump in dumps]  # type: ignore[index]
    found = {}
    # Before the first call of each case is what it takes to make it.
    for (name, make), fewer, more in zip(CASES.items(), totals[1::3], totals[2::3], strict=True):
        _, steps, runs = make()
        found[name] = (more - fewer) / (steps - FEWER) / runs
    return found


def main() -> int:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write what is found to {COUNTS.name}")
    write = parser.parse_args().write
    stored = json.loads(COUNTS.read_text()) if COUNTS.exists() else {"counts": {}}
    made_by = {name: version(name) for name in ("numba", "llvmlite")} | {"machine": platform.machine()}
    found, worse = count(), []
    for name, instructions in found.items():
        before = stored["counts"].get(name)
        ratio = instructions / before if before else float("nan")
        worse += [name] if ratio > MORE else []
        print(f"{name:34s} {instructions:12.0f} instructions a step of a run, {ratio:.3f} of those before", flush=True)
    if write:
        counts = {name: round(instructions) for name, instructions in found.items()}
        COUNTS.write_text(json.dumps({**made_by, "counts": counts}, indent=2) + "\n")
        return 0
    if made_by != {name: stored.get(name) for name in made_by}:
        print(f"counted before by {stored}, now by {made_by}")
    if worse:
        print(f"more than {MORE:g} times as many: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
