"""What hangs or kills its workers: tried again with the same bits, named and set aside in the end; the rest goes on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import outcomes_of_users as users
import pytest

import fastflow as ff
from fastflow.ensembles import Custom, Sparse
from fastflow.studies import driver as driving
from fastflow.studies.tasks import Piece, run_piece
from fastflow.studies.tries import TRIES, Tries

CELLS = (3, 4, 5, 6)


def plain(rng, m=3):
    return Sparse(n=8, m=m, sparsity=1).draw(rng)


def is_bad(problem, above):
    """Of the functions below, each of which has its own draws: one of the four problems with m = 5."""
    return len(problem.values) == 5 and problem.values[0] > above


def in_worker():
    return multiprocessing.parent_process() is not None


def hanging(rng, m=3):
    """A user's ensemble that hangs in a trial."""
    problem = plain(rng, m)
    if is_bad(problem, 0.0) and threading.current_thread() is not threading.main_thread():
        time.sleep(60)
    return problem


def deadly(rng, m=3):
    """A user's ensemble that kills its process in a trial."""
    problem = plain(rng, m)
    if is_bad(problem, 0.3) and in_worker():
        os.kill(os.getpid(), signal.SIGKILL)
    return problem


def hungry(rng, m=3):
    """A user's ensemble, one draw of which asks for more memory than there is."""
    problem = plain(rng, m)
    if is_bad(problem, -0.15):
        np.empty(2**57)
    return problem


WITHOUT = []


def hungry_beside(rng, m=3):
    """A user's ensemble, the first draw of which gets no memory."""
    problem = plain(rng, m)
    in_study = threading.current_thread() is not threading.main_thread()
    if in_study and not WITHOUT:
        WITHOUT.append(problem)
        raise MemoryError("another one has it")
    return problem


def stopped(rng, m=3, flag=""):
    """A user's ensemble that stops its process, which then hears nothing, but once.

    In no trial that has drawn this or that: where the flag is decides what is drawn.
    """
    problem = plain(rng, m)
    if m == 5 and in_worker():
        with contextlib.suppress(FileExistsError), open(flag, "x"):
            os.kill(os.getpid(), signal.SIGSTOP)
    return problem


def study(function, **parameters):
    method = ff.baselines.LeastNorm()
    return ff.Study(Custom(function, 1, **parameters), method=method, axes={"m": CELLS}, trials=4)


@contextlib.contextmanager
def processes(count=1, **options):
    """A pool of processes that are soon there again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastflow.studies.tasks", "scipy.linalg", "pytest"])
    with concurrent.futures.ProcessPoolExecutor(count, context, **options) as pool:
        yield pool


def check(result, failed):
    """Whether some trials have failed, or are not done, and all others are what they are in this thread."""
    found = result.outcomes
    assert np.array_equal(failed, (found["status"] == ff.Status.FAILED) | (found["status"] < 0))
    for cell, trial in np.argwhere(~failed):
        expected = run_piece(result.design.setup(cell), trial, trial + 1)
        for name in ("error", "loss", "status"):
            assert found[name][cell, trial] == expected[name][0]


NONE = np.zeros((len(CELLS), 4), bool)
HANGS, DIES, STARVES = NONE.copy(), NONE.copy(), NONE.copy()
HANGS[2, 1] = DIES[2, 3] = STARVES[2, 0] = True


def test_a_trial_that_hangs_fails_or_ends_the_study_when_the_others_are_done():
    asked = study(hanging)
    with pytest.warns(UserWarning, match=r"1 trial .* failed; the first: m = 5, trial 1: took longer than 0\.1 s, 3"):
        result = asked.run(threads=2, task_timeout=0.1, on_error="record", progress=False)
    check(result, HANGS)
    assert result.complete
    with pytest.raises(ff.StudyError, match=r"m = 5, trial 1: took longer than 0\.1 s, 3 times .*15 of 16") as caught:
        asked.run(threads=2, task_timeout=0.1, progress=False)
    check(caught.value.result, HANGS)


def test_a_trial_that_hangs_in_another_process():
    with processes() as pool, pytest.warns(UserWarning, match="m = 5, trial 1: took longer than 0.5 s"):
        check(study(hanging).run(pool, task_timeout=0.5, on_error="record", progress=False), HANGS)


def test_a_trial_that_kills_its_workers(tmp_path):
    asked = study(deadly)
    with (
        processes() as pool,
        pytest.raises(ff.StudyError, match=r"m = 5, trial 3: its worker died, 3 times .* \(15 of 16") as caught,
        pytest.warns(UserWarning, match=r"workers died \d+ times; what they were at was tried again"),
    ):
        asked.run(pool, tmp_path / "s.zarr", progress=False)
    check(caught.value.result, DIES)
    check(ff.open_study(tmp_path / "s.zarr"), DIES)
    check(asked.run(threads=1, store=tmp_path / "s.zarr", progress=False), NONE)  # in this process it kills nobody


def test_a_process_that_hears_nothing_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(driving, "SILENCE_SECONDS", 1.0)
    with processes() as pool, pytest.warns(UserWarning, match="workers died"):
        result = study(stopped, flag=str(tmp_path / "flag")).run(pool, task_timeout=1.0, progress=False)
    assert (tmp_path / "flag").exists()
    check(result, NONE)


def test_no_trial_is_to_blame_where_no_worker_comes_up():
    with processes(initializer=os.abort) as pool, pytest.raises(ff.StudyError, match=r"executor failed.*\(0 of 16"):
        study(plain).run(pool, on_error="record", progress=False)


def test_a_trial_that_asks_for_too_much_memory_fails(monkeypatch):
    """It alone, by its name; where little is left to the process it is not the trial's fault, and the study ends."""
    with pytest.warns(
        UserWarning, match=r"1 trial of this run ended as failed; the first: m = 5, .*Unable to allocate"
    ):
        found = study(hungry).run(threads=2, on_error="record", progress=False)
    assert found.complete
    check(found, STARVES)
    with pytest.raises(ff.StudyError, match=r"m = 5, trial .*MemoryError: Unable to allocate"):
        study(hungry).run(threads=2, progress=False)
    monkeypatch.setattr("fastflow.studies.tasks.available_memory", lambda: 10**6)
    with pytest.raises(ff.StudyError, match=r"m = 5, trial .*MemoryError: Unable to allocate"):
        study(hungry).run(threads=2, on_error="record", progress=False)


def test_a_trial_that_gets_memory_when_it_is_alone():
    WITHOUT.clear()
    found = study(hungry_beside).run(threads=2, on_error="record", progress=False)
    assert found.complete
    assert WITHOUT
    for name, array in study(hungry_beside).run(threads=1, progress=False).outcomes.items():
        assert name == "seconds" or np.array_equal(array, found.outcomes[name]), name


def test_an_outcome_that_asks_for_too_much_memory():
    """The trial keeps the rest."""
    method, axes = ff.baselines.LeastNorm(), {"m": CELLS}
    asked = {"x": ff.Outcome(users.asks_for_too_much, shape=(), dtype="float64")}
    hungry_study = ff.Study(Custom(plain, 1), method=method, axes=axes, trials=4, outcomes=asked)
    with pytest.warns(UserWarning, match=r"4 trials of this run have no outcome 'x'; .*trial 2: .*MemoryError: Unable"):
        found = hungry_study.run(threads=2, on_error="record", progress=False)
    assert np.array_equal(np.isnan(found["x"]), np.broadcast_to(np.arange(4) == 2, (4, 4)))
    for name, array in study(plain).run(threads=1, progress=False).outcomes.items():
        assert name == "seconds" or np.array_equal(array, found.outcomes[name]), name


def test_an_executor_that_gives_no_answer_is_named_with_what_it_was_at(monkeypatch):
    class Silent:
        num_workers = 1

        def submit(self, *arguments):
            return concurrent.futures.Future()

    monkeypatch.setattr(driving, "SILENCE_SECONDS", 0.1)
    with pytest.raises(ff.StudyError, match=r"gives no answer; it was at m = \d, trial 0 to 3; m") as caught:
        study(plain).run(Silent(), task_timeout=0.1, progress=False)
    assert not caught.value.result.done.any()


def test_what_a_scheduler_has_lost_is_handed_out_again():
    """As dask's futures are cancelled when their scheduler dies; but not for ever."""

    class Lossy:
        num_workers = 1

        def __init__(self, losses):
            self.losses = losses

        def submit(self, function, *arguments):
            future = concurrent.futures.Future()
            if self.losses:
                self.losses -= 1
                future.cancel()
            else:
                future.set_result(function(*arguments))
            return future

    check(study(plain).run(Lossy(5), progress=False), NONE)
    with pytest.raises(ff.StudyError, match="the executor failed: CancelledError"):
        study(plain).run(Lossy(10**6), progress=False)


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_suspects_are_halved_until_the_guilty_are_alone(workers, rng):
    """Whatever kills a pool is found, nothing else is set aside, and a cell is given up after three of its trials."""
    pieces = [Piece(cell, None, f"cell {cell}", 2 * i, 2 * i + 2) for cell in range(12) for i in range(4)]
    guilty = {(int(cell), int(trial)) for cell, trial in rng.integers((12, 8), size=(5, 2))}
    guilty |= {(3, trial) for trial in range(8)}
    tries, waiting, done, aside, tried = Tries(), list(pieces), set(), set(), Counter()
    for _ in range(10_000):
        out = []
        while len(out) < 2 * workers + 1:
            task = tries.next(not out)
            if task is None:
                task = [waiting.pop()] if waiting else []
            if not task:
                break
            if task[0].cell not in tries.given_up:
                out.append(task[0])
        aside |= {(piece.cell, piece.first) for piece, _ in tries.aside}
        if not out:
            break
        trials = [{(piece.cell, trial) for trial in range(piece.first, piece.last)} for piece in out]
        tried.update(trial for some in trials for trial in some)
        dies = any(some & guilty for some in trials)
        for piece, some in zip(out, trials, strict=True):
            if dies:
                tries.lost([piece])
            else:
                done |= some
    else:
        pytest.fail("it does not end")
    assert aside <= guilty
    assert all(tried[trial] >= TRIES for trial in aside)
    for cell in range(12):
        own = {trial for trial in guilty if trial[0] == cell}
        assert len(own & aside) == min(TRIES, len(own))
        assert (cell in tries.given_up) == (len(own) >= TRIES)
        if len(own) < TRIES:
            assert {(cell, trial) for trial in range(8)} - own <= done
