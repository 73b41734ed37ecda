"""Each library in a process of its own, which works when it is its turn and sleeps otherwise.

In one process they share an allocator, the settings of BLAS and dozens of threads, and what one leaves behind the next
one pays for, or may seem to. Here nothing is shared but the machine.
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.tasks import DiagonalTask, Formulation, Task

Job = tuple[Task | DiagonalTask, int]
"""What is to be done, and by how many threads."""


def _formulations(module: str, task: Task | DiagonalTask, threads: int) -> list[Formulation]:
    """fastflow's one; or a peer's plain one and its tuned ones."""
    library = importlib.import_module(module)
    if hasattr(library, "fastflow"):
        return [library.fastflow(task, threads)]
    which = "" if isinstance(task, Task) else "_diagonal"
    plain, tuned = (getattr(library, f"{name}{which}") for name in ("plain", "tuned"))
    return [plain(task, threads), *tuned(task, threads)]


def _serve(module: str, connection: Connection) -> None:
    """Answer requests until the other end closes."""
    made: list[list[Formulation]] = []
    result: Any = None
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:
            return
        answer: Any = None
        try:
            if name == "prepare":
                made, result = [], None  # the arrays of the jobs before
                made = [_formulations(module, *job) for job in arguments[0]]
                answer = [[(one.library, one.how) for one in each] for each in made]
            elif name == "advance":
                job, number, steps, step = arguments
                started = time.process_time()
                result = made[job][number].advance(steps, step)
                answer = time.process_time() - started
            else:
                job, number = arguments
                answer = made[job][number].product(result)
        except Exception as error:
            answer = error
        connection.send(answer)


class Library:
    """A library in a process of its own.

    Parameters
    ----------
    module : `benchmarks.tasks` for fastflow, or the module of a peer
    spent : is told the CPU seconds of each piece of work, all threads together
    """

    def __init__(self, module: str, spent: Callable[[float], None]) -> None:
        self._spent = spent
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(module, other), daemon=True)
        self._process.start()
        other.close()

    def _ask(self, *request: Any) -> Any:
        self._connection.send(request)
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def prepare(self, jobs: Sequence[Job]) -> list[list[Formulation]]:
        """For each job the library's formulations, which do their work over there; those made before are gone.

        Raises
        ------
        ImportError
            where the library is not installed
        """

        def formulation(job: int, number: int, library: str, how: str) -> Formulation:
            def advance(steps: int, step: float) -> None:
                self._spent(self._ask("advance", job, number, steps, step))

            return Formulation(library, how, advance, lambda _: self._ask("product", job, number))

        return [
            [formulation(job, number, *names) for number, names in enumerate(each)]
            for job, each in enumerate(self._ask("prepare", list(jobs)))
        ]
