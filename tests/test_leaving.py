"""Tasks that have but so much time, and workers that are told to end: what they have done is kept, and the bits too."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings

import numpy as np
import pytest
from test_studies import same_bits
from test_tries import CELLS, in_worker, plain, processes, study

import fastflow as ff
from fastflow.ensembles import Custom
from fastflow.studies.leaving import this_process
from fastflow.studies.tasks import Piece, run_task

TRIALS = 8


def told(rng, m=3, flag=""):
    """A user's ensemble whose process is told to end, once, in the sixth trial of a cell, which then takes its time."""
    problem = plain(rng, m)
    if in_worker() and m == CELLS[1] and not os.path.exists(flag):
        with open(f"{flag}.draws", "ab", buffering=0) as draws:
            draws.write(b".")
            drawn = draws.tell()
        if drawn >= 6:
            with contextlib.suppress(FileExistsError), open(flag, "x"):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
    return problem


def asked(flag):
    method = ff.baselines.LeastNorm()
    return ff.Study(Custom(told, 1, flag=str(flag)), method=method, axes={"m": CELLS}, trials=TRIALS)


def piece_of(study, cell=1):
    return Piece(cell, study.setup(cell), study.where(cell), 0, study.trials)


def test_a_task_without_time_does_one_trial():
    """And with it all of them, in parts, with the same bits."""
    pieces = [piece_of(study(plain), cell) for cell in (0, 1)]
    whole = run_task(pieces)
    for seconds, counts in ((1e-9, [1]), (600.0, [4, 4])):
        report = run_task(pieces, most_seconds=seconds)
        assert [len(one.outcomes["status"]) for one in report.finished] == counts
        for one, expected in zip(report.finished, whole.finished, strict=False):
            for name in ("error", "loss", "status"):
                assert np.array_equal(one.outcomes[name], expected.outcomes[name][: len(one.outcomes[name])])


@pytest.mark.parametrize("seconds", [1e-9, 600.0])
def test_no_limit_of_tasks_changes_a_bit(seconds):
    expected = study(plain).run(threads=1, progress=False)
    found = study(plain).run(threads=2, task_seconds=10.0, max_task_seconds=seconds, progress=False)
    assert found.complete
    assert same_bits(found, expected)


def test_a_process_that_is_told_to_end_hands_back_what_it_has(tmp_path):
    with processes() as pool:
        task = [piece_of(asked(tmp_path / "flag"))]
        report = pool.submit(run_task, task, most_seconds=600.0, home=this_process()).result()
    assert report.leaving
    assert report.late is None
    (found,) = report.finished
    # Each draw is of a trial, but for one of each part, which asks how large they are: 1 + 1, 1 + 2, and 1 of the next.
    assert len(found.outcomes["status"]) == 3
    assert not np.isnan(found.outcomes["error"]).any()


def test_a_pool_told_to_end_loses_nothing(tmp_path):
    """Nor is any trial suspected of it."""
    with processes(2) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asked(tmp_path / "flag").run(pool, task_seconds=10.0, max_task_seconds=600.0, progress=False)
    assert (tmp_path / "flag").exists()
    assert found.complete
    assert same_bits(found, asked(tmp_path / "flag").run(threads=1, progress=False))
