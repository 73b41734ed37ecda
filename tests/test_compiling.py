"""While kernels are compiled: Ctrl-C is one line, and a user who waits is told why."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numba.core.event import trigger_event

from fastflow import scheduling, shell
from fastflow.kernels.compile.interrupts import interruptible


def raise_interrupt():
    signal.raise_signal(signal.SIGINT)


def _raw_object_cache_notify():
    """Named as what LLVM calls."""
    raise_interrupt()


def swallow():
    try:
        raise_interrupt()
    except KeyboardInterrupt:
        return
    pytest.fail("it was to be raised here, first")


@pytest.mark.parametrize(
    ("work", "reached"), [(raise_interrupt, False), (_raw_object_cache_notify, True), (swallow, True)]
)
def test_no_interrupt_is_lost_and_none_comes_where_llvm_calls_back(work, reached):
    seen = []
    handler = signal.getsignal(signal.SIGINT)

    def compile_something():
        with interruptible():
            with interruptible():  # as kernels are compiled within the compilation of others
                work()
            seen.append(True)

    with pytest.raises(KeyboardInterrupt):
        compile_something()
    assert bool(seen) == reached
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("work", [_raw_object_cache_notify, swallow])
def test_an_interrupt_that_came_to_nothing_comes_again_soon(work):
    begun = time.perf_counter()

    def compile_for_a_minute():
        with interruptible():
            work()
            while time.perf_counter() < begun + 60:
                time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        compile_for_a_minute()
    assert time.perf_counter() < begun + 30


def test_a_handler_that_raises_nothing_is_called_once():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with interruptible():
            raise_interrupt()
            _raw_object_cache_notify()
            assert len(heard) == 1
        assert len(heard) == 2
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.5])
def test_ctrl_c_while_the_shell_compiles_is_one_line(tmp_path, seconds):
    np.save(tmp_path / "data.npy", np.eye(4))
    command = [sys.executable, "-m", "fastflow", "train", str(tmp_path / "data.npy"), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("training"):
            assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):  # it compiles for longer
            process.wait(seconds)
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate()
    *before, last = complained.splitlines()
    assert last == "fastflow: interrupted"
    assert all("compiling for a first call" in line for line in before)
    assert process.returncode in (130, -signal.SIGINT)  # which a shell shows as 130


SCRIPT = """
import sys
import fastflow as ff
from fastflow import scheduling

scheduling.COMPILE_SECONDS = 1e-3
for _ in range(2):
    ff.train(ff.MatrixEstimation([[1.0]]), ff.DeepLinear(1), runs=1, threads=1, progress=True)
"""


def test_compiling_says_so_once(tmp_path):
    start = [sys.executable, "-c", SCRIPT]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("fastflow: compiling")]
    assert len(said) == 1
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=True)
    assert "compiling" not in done.stderr  # what is loaded from the cache does not count


@pytest.mark.parametrize(("progress", "says"), [(True, True), (False, False), (None, False)])
def test_compiling_is_told_unless_it_is_to_be_quiet(progress, says, monkeypatch, capsys, caplog):
    """By default on a terminal; elsewhere, as here, through logging, which shows nothing unless it is asked to."""
    monkeypatch.setattr(scheduling, "COMPILE_SECONDS", 1e-3)
    monkeypatch.setattr(scheduling, "_told_of_compiling", threading.Event())
    logs = progress is None
    with caplog.at_level(logging.INFO, "fastflow"), scheduling.telling_of_compiling(progress):
        with trigger_event("numba:compile"):
            scheduling._told_of_compiling.wait(5 if says or logs else 0.1)
        for _ in range(500 * logs):  # the event is set before the line is written
            if caplog.messages:
                break
            time.sleep(0.01)
    assert capsys.readouterr().err.startswith("fastflow: compiling") == says
    assert [line.startswith("compiling") for line in caplog.messages] == [True] * logs


@pytest.mark.parametrize("command", ["train", "phase", "study"])
def test_an_empty_number_of_threads_is_the_default(command, tmp_path, capsys):
    """As a variable that is not set leaves it; what is no number is not."""
    given = ["--threads", " x"] + ([str(tmp_path / "none")] if command != "phase" else [])
    assert shell.main([command, *given]) == 2
    assert "argument --threads: expected a number, got ' x'" in capsys.readouterr().err
    if command == "train":
        np.save(tmp_path / "data.npy", np.eye(2))
        out = ["--out", str(tmp_path / "out"), "--record", "0", "--runs", "2", "--max-steps", "3", "--overwrite"]
        for empty in (["--threads="], ["--threads", ""], ["--threads", "  "]):
            assert shell.main(["train", str(tmp_path / "data.npy"), *empty, *out]) == 0
