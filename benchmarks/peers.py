"""fastflow beside JAX, PyTorch and NumPy, in one run on the same threads: ``python benchmarks/peers.py``.

Everybody does the same descent from the same starts, and must come to the same products. README.md says what the
tables mean. Each library has a process of its own, and they take turns; a missing one is skipped.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import limits, peers_flow, peers_sgd, report, rules, startup, studies, tasks, timing
from benchmarks.processes import Job, Library
from benchmarks.report import Table, number

THREADS = 2
OURS = "benchmarks.tasks"
PEERS = {"NumPy": "benchmarks.peer_numpy", "PyTorch": "benchmarks.peer_torch", "JAX": "benchmarks.peer_jax"}
CHECK_STEPS = 50

# Goals by width: the least fraction of the FMA peak, the least ratio to the fastest peer.
DESCENT_GOALS = {4: (0.45, 30), 10: (0.60, 10), 20: (0.70, 6), 50: (0.80, 5), 100: (0.90, 2.5)}
PROBLEM_GOALS = {"completion": 3, "sensing": 2}
DIAGONAL_GOALS = {(100, 40): 5, (400, 200): 2, (1000, 250): 2}
SHARED_GOALS = (0.75, 2)
WIDE, WIDE_GOALS = (300, 500, 1000), (0.90, 0.9)
LONGER, WIDE_LONGER = 4, 24
"""How many times as long descent is measured, and one run of a wide chain: a user's takes minutes, and what each call
costs once is no part of that."""
THREADS_GOAL = 1.9
FIRST_CALL_GOALS = {"empty": 12, "warm": 0.6}


@dataclass(frozen=True)
class Effort:
    """How much is measured: seconds of one measurement, repetitions, numbers of runs, widths."""

    seconds: float = 0.5
    repetitions: int = 5
    runs: tuple[int, ...] = (64, 256)
    widths: tuple[int, ...] = (4, 10, 20, 50, 100)
    float32_widths: tuple[int, ...] = (4, 10, 20, 32, 50, 64, 96, 100)


QUICK = Effort(0.05, 2, (64,), (4, 20), (4, 32))


class Session:
    """One run of the script: its effort, and the FMA peak as far as it has been seen."""

    def __init__(self, effort: Effort, threads: int, patience: float) -> None:
        self.effort, self.threads = effort, threads
        self._peaks: dict[str, float] = {}
        self._neighbours = timing.Neighbours(patience)
        self._libraries: dict[str, Library] = {}

    def peak(self, dtype: Any, threads: int) -> float:
        """The FMA peak in FLOP/s: the highest seen in this run, since neighbours can only lower it."""
        from fastflow.kernels.vectors.peak import fma_peak

        key = f"{np.dtype(dtype).name} {threads}"
        self._peaks[key] = max(self._peaks.get(key, 0.0), fma_peak(np.dtype(dtype), threads=threads))
        return self._peaks[key]

    def prepare(self, module: str, *jobs: Job) -> list[list[tasks.Formulation]]:
        """A library's formulations of each job, in the library's own process."""
        if module not in self._libraries:
            self._libraries[module] = Library(module, self._neighbours.add_own)
        return self._libraries[module].prepare(jobs)

    def measure(self, formulations: dict[str, tasks.Formulation], longer: float = 1.0) -> dict[str, timing.Measured]:
        advances = {name: formulation.advance for name, formulation in formulations.items()}
        return timing.interleaved(advances, longer * self.effort.seconds, self.effort.repetitions, self._neighbours)


def _others(measured: Iterable[timing.Measured]) -> float:
    return statistics.median(share for one in measured for share in one.others)


def _check(formulation: tasks.Formulation, expected: np.ndarray) -> None:
    """That a formulation comes to the expected products."""
    product = formulation.product(formulation.advance(CHECK_STEPS, timing.step_size(CHECK_STEPS)))
    tolerance = 1e-9 if expected.dtype == np.float64 else 1e-3
    np.testing.assert_allclose(
        product, expected, rtol=tolerance, atol=tolerance, err_msg=f"{formulation.library}: {formulation.how}"
    )


def _contenders(task: tasks.Task | tasks.DiagonalTask, session: Session) -> dict[str, tasks.Formulation]:
    """fastflow, each peer's plain formulation, and the fastest of the tuned ones of all peers; all checked."""
    ((ours,),) = session.prepare(OURS, (task, session.threads))
    expected = ours.product(ours.advance(CHECK_STEPS, timing.step_size(CHECK_STEPS)))
    contenders, tuned = {"fastflow": ours}, {}
    for library, module in PEERS.items():
        try:
            ((plain, *candidates),) = session.prepare(module, (task, session.threads))
        except ImportError as error:
            print(f"{library} is skipped: {error}", file=sys.stderr)
            continue
        contenders[library] = plain
        _check(plain, expected)
        for formulation in candidates:
            _check(formulation, expected)
            tuned[f"{formulation.library}, {formulation.how}"] = formulation
    if tuned:
        best = timing.fastest({name: f.advance for name, f in tuned.items()}, 0.3 * session.effort.seconds)
        contenders["tuned"] = tuned[best]
    return contenders


PEER_HEADER = (
    "fastflow",
    "of peak",
    "goal",
    *PEERS,
    "times the fastest",
    "goal",
    "bound",
    "tuned peer",
    "",
    "times it",
)


def _peer_cells(
    task: tasks.Task | tasks.DiagonalTask, session: Session, least: str, goal: float, longer: float = 1.0
) -> tuple[list[str], float]:
    """The cells of `PEER_HEADER`, and the share of the CPUs that others took."""
    contenders = _contenders(task, session)
    session.peak(task.dtype, session.threads)
    measured = session.measure(contenders, longer)
    peak = session.peak(task.dtype, session.threads)
    rates = {name: task.flops / one.median for name, one in measured.items()}
    cells = [number(rates["fastflow"] / 1e9), f"{rates['fastflow'] / peak:.2f}", least]
    cells += [number(rates.get(library, np.nan) / 1e9) for library in PEERS]
    plain = max((library for library in PEERS if library in rates), key=rates.__getitem__, default=None)
    if plain is None:
        cells += ["-", f"{goal:g}", "-"]
    else:
        faster = timing.ratio(measured[plain], measured["fastflow"])
        cells += [number(faster, 2), f"{goal:g}", number(peak / rates[plain], 2)]
    if "tuned" in contenders:
        best, faster = contenders["tuned"], timing.ratio(measured["tuned"], measured["fastflow"])
        cells += [number(rates["tuned"] / 1e9), f"{best.library}, {best.how}", number(faster, 2)]
    else:
        cells += ["-", "", "-"]
    return cells, _others(measured.values())


def _remarks(session: Session, others: list[float], more: str = "") -> str:
    peak = session.peak(np.float64, session.threads) / 1e9
    text = f"GFLOP/s; the FMA peak is {number(peak)} in float64. {report.stamp(statistics.median(others))}"
    return f"{text} {more}".strip()


def descent(session: Session) -> Table:
    """Gradient descent on 1/2 ||W_3 W_2 W_1 - Y||^2 by width and number of runs."""
    header = ["d", "runs", *PEER_HEADER]
    table, others = Table("Gradient descent, `1/2 ||W_3 W_2 W_1 - Y||^2`, float64", header), []
    for width in session.effort.widths:
        for runs in session.effort.runs:
            least, goal = DESCENT_GOALS[width]
            cells, busy = _peer_cells(tasks.estimation(width, runs), session, f"{least:.2f}", goal, LONGER)
            table.rows.append([str(width), str(runs), *cells])
            others.append(busy)
            _show(table)
    table.remarks = _remarks(session, others)
    return table


def wide(session: Session) -> Table:
    """One run of a wide chain, whose products all threads share."""
    table, others = Table("One run of a wide chain, `1/2 ||W_3 W_2 W_1 - Y||^2`, float64", ["d", *PEER_HEADER]), []
    least, goal = WIDE_GOALS
    for width in WIDE[:1] if session.effort.widths == QUICK.widths else WIDE:
        cells, busy = _peer_cells(tasks.estimation(width, 1), session, f"{least:.2f}", goal, WIDE_LONGER)
        table.rows.append([str(width), *cells])
        others.append(busy)
        _show(table)
    table.remarks = _remarks(session, others)
    return table


def _problem(name: str, title: str, task: tasks.Task, session: Session) -> Table:
    table = Table(title, PEER_HEADER)
    cells, busy = _peer_cells(task, session, "", PROBLEM_GOALS[name])
    table.rows.append(cells)
    _show(table)
    table.remarks = _remarks(session, [busy])
    return table


def completion(session: Session) -> Table:
    """Completion, in peers with a dense mask."""
    title = "Completion: n = 100, rank 5, 20% observed, depth 3, 64 runs, float64"
    return _problem("completion", title, tasks.completion(), session)


def sensing(session: Session) -> Table:
    """Sensing with shared operators, in peers two products of (runs, n^2) and (n^2, m)."""
    title = "Sensing: n = 30, 300 measurements shared by 64 runs, depth 2, float64"
    return _problem("sensing", title, tasks.sensing(), session)


def streaming_read(threads: int) -> float:
    """Bytes per second that so many threads read together, each one row after the other of 2 MB (an inner product)."""
    from concurrent.futures import ThreadPoolExecutor

    from fastflow.kernels import jit
    from fastflow.kernels.vectors.elementwise import ROWS_AT_ONCE, dot_rows

    @jit
    def read(matrix, x, result, times):  # type: ignore[no-untyped-def]
        for _ in range(times):
            for first in range(0, matrix.size // x.size, ROWS_AT_ONCE):
                dot_rows(result, matrix, first, x.size, ROWS_AT_ONCE, x)

    arrays = [(np.ones(2**18), np.ones(1024), np.zeros(ROWS_AT_ONCE)) for _ in range(threads)]
    times, best = 1000, 0.0
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda a: read(*a, 1), arrays))
        for _ in range(5):
            seconds = timing.seconds_of(lambda steps, _: list(pool.map(lambda a: read(*a, steps), arrays)), times)
            best = max(best, threads * times * arrays[0][0].nbytes / seconds)
    return best


def diagonal(session: Session) -> Table:
    """Gradient descent on x = u o u - v o v, one measurement matrix a run."""
    header = ["n", "m", *PEER_HEADER, "of a streaming read"]
    table, others = Table("Diagonal network, depth 2, one A per run, 64 runs, float64", header), []
    for (size, measurements), goal in DIAGONAL_GOALS.items():
        task = tasks.diagonal(size, measurements)
        cells, busy = _peer_cells(task, session, "", goal)
        read = 1e9 * float(cells[0]) / task.flops * task.matrix.nbytes  # bytes of A that a second goes through
        table.rows.append([str(size), str(measurements), *cells, f"{read / streaming_read(session.threads):.2f}"])
        others.append(busy)
        _show(table)
    table.remarks = _remarks(session, others)
    return table


def shared_diagonal(session: Session) -> Table:
    """The same with one matrix for all runs."""
    header = ["n", "m", *PEER_HEADER]
    table, others = Table("Diagonal network, depth 2, A shared by 256 runs, float64", header), []
    least, goal = SHARED_GOALS
    for size, measurements in DIAGONAL_GOALS:
        task = tasks.diagonal(size, measurements, 256, shared=True)
        cells, busy = _peer_cells(task, session, f"{least:.2f}", goal)
        table.rows.append([str(size), str(measurements), *cells])
        others.append(busy)
        _show(table)
    table.remarks = _remarks(session, others)
    return table


def flow_limit(session: Session) -> Table:
    """The limit of the flow beside basis pursuit and beside gradient descent."""
    table = limits.flow_limit(session.threads, session.effort.repetitions, session.effort.widths == QUICK.widths)
    table.remarks += f" Measured on {datetime.date.today():%Y-%m-%d}."
    return table


def phase_map(session: Session) -> Table:
    """The default phase diagram, and what the study layer and executors cost."""
    table = studies.studies(session.threads, session.effort.repetitions, session.effort.widths == QUICK.widths)
    table.remarks += f" Measured on {datetime.date.today():%Y-%m-%d}."
    return table


def float32_bound(width: int) -> float:
    """What a row tile can gain from float32: twice, but for the lanes of the last vector that a width leaves empty."""
    from fastflow.kernels.compile.target import SHAPE

    def used(itemsize: int) -> float:
        lanes = SHAPE.vector_bytes // itemsize
        return width / (lanes * -(-width // lanes))

    return 2 * used(4) / used(8)


def float32(session: Session) -> Table:
    """fastflow's rate in float32 beside float64."""
    header = ["d", "float64", "float32", "of float32 peak", "ratio", "bound of the row tile"]
    table, others = Table("float32 against float64, gradient descent, 64 runs", header), []
    for width in session.effort.float32_widths:
        both = {dtype.__name__: tasks.estimation(width, 64, dtype) for dtype in (np.float64, np.float32)}
        made = session.prepare(OURS, *((task, session.threads) for task in both.values()))
        measured = session.measure({name: ours for name, (ours,) in zip(both, made, strict=True)})
        rates = {name: both[name].flops / one.median for name, one in measured.items()}
        fraction = rates["float32"] / session.peak(np.float32, session.threads)
        cells = [number(rates[name] / 1e9) for name in both]
        cells += [f"{fraction:.2f}", number(timing.ratio(measured["float64"], measured["float32"]))]
        table.rows.append([str(width), *cells, number(float32_bound(width))])
        others.append(_others(measured.values()))
        _show(table)
    table.remarks = _remarks(session, others, "Goal: 1.8 at d = 32, 64, 96, elsewhere 0.9 of the bound.")
    return table


def update_rules(session: Session) -> Table:
    """The time of a step of each update rule over that of gradient descent, on one thread."""
    names = [name for name in rules.RULES if name != "GradientDescent"]
    header = ["rule", *(f"d = {width}" for width in session.effort.widths), "goal"]
    table = Table("A step of each update rule over one of gradient descent, depth 3, 64 runs, one thread", header)
    found = [
        rules.over_descent(tasks.estimation(width, 64), names, session.effort.repetitions)
        for width in session.effort.widths
    ]
    for name in names:
        goal = rules.GOALS.get(name, rules.GOAL)
        table.rows.append([name, *(number(each[name]) for each in found), number(goal)])
        _show(table)
    table.remarks = f"Processor time, in turns in one process. {report.stamp_of_load()}"
    return table


def threads(session: Session) -> Table:
    """fastflow on all threads against one."""
    many = f"{session.threads} threads"
    table, others = Table("Threads, gradient descent, 256 runs, float64", ["d", "1 thread", many, "ratio", "goal"]), []
    for width in (10, 50):
        task = tasks.estimation(width, 256)
        made = session.prepare(OURS, (task, 1), (task, session.threads))
        measured = session.measure({name: ours for name, (ours,) in zip(("1", many), made, strict=True)})
        cells = [number(task.flops / one.median / 1e9) for one in measured.values()]
        ratio = number(timing.ratio(measured["1"], measured[many]))
        table.rows.append([str(width), *cells, ratio, number(THREADS_GOAL * session.threads / 2)])
        others.append(_others(measured.values()))
        _show(table)
    table.remarks = _remarks(session, others)
    return table


def first_call(session: Session) -> Table:
    """A new process on an empty and on a warm cache."""
    header = ["cache", "import fastflow, s", "first train, s", "goal", "second train, s"]
    table = Table("The first call of `train` in a new process", header)
    for cache, times in startup.first_calls(1 + session.effort.repetitions // 2).items():
        goal = FIRST_CALL_GOALS[cache]
        table.rows.append([cache, f"{times.imported:.2f}", f"{times.first:.2f}", f"{goal:g}", f"{times.second:.3f}"])
        _show(table)
    table.remarks = "64 runs of 10 x 10 matrices, 10 steps. Medians over processes."
    return table


SECTIONS: dict[str, Callable[[Session], Table]] = {
    "descent": descent,
    "wide": wide,
    "completion": completion,
    "sensing": sensing,
    "diagonal": diagonal,
    "shared-diagonal": shared_diagonal,
    "flow-limit": flow_limit,
    "studies": phase_map,
    "flow": lambda session: peers_flow.table_of_flow(session.threads, session.effort.widths == QUICK.widths),
    "flow-descent": lambda session: peers_flow.table_of_descent(session.threads, session.effort.widths == QUICK.widths),
    "stochastic": lambda session: peers_sgd.tables(session.threads),
    "float32": float32,
    "rules": update_rules,
    "threads": threads,
    "first-call": first_call,
}


def _show(table: Table) -> None:
    """The last row, as soon as it is known."""
    named = zip(table.header, table.rows[-1], strict=True)
    print(f"{table.title}: " + ", ".join(f"{name} {cell}".strip() for name, cell in named), flush=True)


def main() -> None:
    """Parse the command line, measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few short measurements, to see that all works")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"which tables, of {', '.join(SECTIONS)}")
    parser.add_argument("--runs", type=int, nargs="+", help="numbers of runs in the first table, default 64 and 256")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds to wait for other processes, all in all")
    parser.add_argument("--write", action="store_true", help="write the tables into benchmarks/README.md")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    unknown = sorted(set(chosen) - set(SECTIONS))
    if unknown:
        parser.error(f"no such table: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    threads_here = timing.pin(THREADS)
    effort, patience = (QUICK, 0.0) if arguments.quick else (Effort(), arguments.patience)
    if arguments.runs:
        effort = dataclasses.replace(effort, runs=tuple(arguments.runs))
    session = Session(effort, threads_here, patience)
    texts = {"machine": report.machine(threads_here)}
    print(texts["machine"])
    for name in chosen:
        texts[name] = SECTIONS[name](session).markdown()
    print("\n\n".join(texts.values()))
    if arguments.write:
        for name, text in texts.items():
            report.write(name, text)


if __name__ == "__main__":
    main()
