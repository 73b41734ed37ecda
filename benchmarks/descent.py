"""asv: `train` by width, depth, dtype and threads, on every problem; beside the FMA peak and beside NumPy."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import fastflow as ff
from benchmarks import peer_numpy, peers_sgd, tasks, timing

FLOPS = 3e9
"""Work of one measurement: some hundredths to tenths of a second."""

RUNS = 64
DTYPES = ["float64", "float32"]


def _need_cpus(threads: int) -> None:
    if threads > (os.cpu_count() or 1):
        raise NotImplementedError  # asv's word for: not here


def _prepare(task: tasks.Task | tasks.DiagonalTask, threads: int) -> tuple[tasks.Formulation, int]:
    """The descent, compiled, and how many steps to take."""
    formulation = tasks.fastflow(task, threads)
    formulation.advance(2, timing.step_size(2))
    return formulation, max(4, int(FLOPS / task.flops))


class _Descent:
    """What the suites share: `time_train` goes on with what `setup` has prepared."""

    formulation: tasks.Formulation
    steps: int

    def time_train(self, *_: Any) -> None:
        self.formulation.advance(self.steps, timing.step_size(self.steps))


class Widths(_Descent):
    """Three square factors."""

    params = ([4, 10, 20, 50, 100], DTYPES, [1, 2])
    param_names = ("width", "dtype", "threads")

    def setup(self, width: int, dtype: str, threads: int) -> None:
        _need_cpus(threads)
        self.formulation, self.steps = _prepare(tasks.estimation(width, RUNS, dtype), threads)


class Depths(_Descent):
    """More and fewer factors, on one thread."""

    params = ([2, 5, 10], [4, 10, 50])
    param_names = ("depth", "width")

    def setup(self, depth: int, width: int) -> None:
        self.formulation, self.steps = _prepare(tasks.estimation(width, RUNS, depth=depth), 1)


class Problems(_Descent):
    """Completion and sensing, each with their own loss."""

    params = (["completion", "sensing"], DTYPES, [1, 2])
    param_names = ("problem", "dtype", "threads")

    def setup(self, problem: str, dtype: str, threads: int) -> None:
        _need_cpus(threads)
        self.formulation, self.steps = _prepare(getattr(tasks, problem)(runs=RUNS, dtype=dtype), threads)


class Diagonal(_Descent):
    """A diagonal network, its measurement matrix that of one run or of all."""

    params = ([(100, 40), (400, 200), (1000, 250)], [False, True], DTYPES, [1, 2])
    param_names = ("shape", "shared", "dtype", "threads")

    def setup(self, shape: tuple[int, int], shared: bool, dtype: str, threads: int) -> None:
        _need_cpus(threads)
        self.formulation, self.steps = _prepare(tasks.diagonal(*shape, RUNS, shared, dtype), threads)


class Batches:
    """Steps along a few samples, and along noisy ones."""

    params = (["diagonal", "completion"], [1, 8], [0.0, 0.1])
    param_names = ("problem", "batch", "label_noise")

    def setup(self, problem: str, batch: int, label_noise: float) -> None:
        task = peers_sgd.diagonal(100, 40, batch) if problem == "diagonal" else peers_sgd.completion(50, batch)
        self.problem, self.network = peers_sgd.of_fastflow(task)
        self.init, self.batch, self.noise = ff.inits.Explicit(task.starts), batch, label_noise
        self._train(2)

    def _train(self, steps: int) -> None:
        method = ff.StochasticGradientDescent(1e-5, self.batch, label_noise=self.noise, max_steps=steps, tol=0)
        ff.train(self.problem, self.network, self.init, method, threads=1, progress=False)

    def time_train(self, *_: Any) -> None:
        self._train(10_000)


class Regression:
    """Regression through the Gram matrix (many samples) and through the samples (few); rectangular factors."""

    params = ([1000, 20], DTYPES, [1, 2])
    param_names = ("samples", "dtype", "threads")

    def setup(self, samples: int, dtype: str, threads: int) -> None:
        _need_cpus(threads)
        rng = np.random.default_rng(0)
        inputs = rng.standard_normal((60, samples)) / np.sqrt(samples)
        self.problem = ff.LinearRegression(
            inputs, rng.standard_normal((20, samples)) / np.sqrt(samples), samples="columns"
        )
        self.options = {"runs": RUNS, "threads": threads, "dtype": dtype, "progress": False}
        self._train(2)

    def _train(self, steps: int) -> None:
        method = ff.GradientDescent(1e-3, max_steps=steps, tol=0)
        ff.train(self.problem, ff.DeepLinear(widths=(60, 20, 20, 20)), ff.inits.Gaussian(1.0), method, **self.options)

    def time_train(self, *_: Any) -> None:
        self._train(40)


class Recording:
    """A run that keeps its losses, singular values and balancedness, and all of its factors."""

    params = ([4, 20], [False, True])
    param_names = ("width", "factors")

    def setup(self, width: int, factors: bool) -> None:
        self.problem = ff.MatrixEstimation(np.eye(width))
        self.record = ff.Record(100, factors=factors)
        self._train(2)

    def _train(self, steps: int) -> None:
        method = ff.GradientDescent(1e-3, max_steps=steps, tol=0)
        ff.train(self.problem, method=method, runs=RUNS, threads=1, record=self.record, progress=False)

    def time_train(self, *_: Any) -> None:
        self._train(200)


class Memory:
    """The most memory that a process with one call of `train` takes."""

    params = (["estimation", "completion", "sensing"],)
    param_names = ("problem",)

    def setup(self, problem: str) -> None:
        width = {"width": 100} if problem != "sensing" else {}
        self.formulation, _ = _prepare(getattr(tasks, problem)(runs=RUNS, **width), 2)

    def peakmem_train(self, _: str) -> None:
        self.formulation.advance(2, timing.step_size(2))


class Machine:
    """Times on one thread over the least that they could be, and over NumPy's. (asv takes larger for worse.)"""

    params = ([4, 10, 20, 50, 100],)
    param_names = ("width",)

    def setup(self, width: int) -> None:
        self.task = tasks.estimation(width, RUNS)
        self.formulation, self.steps = _prepare(self.task, 1)

    def track_time_over_time_at_fma_peak(self, _: int) -> float:
        from fastflow.kernels.vectors.peak import fma_peak

        seconds = min(timing.seconds_of(self.formulation.advance, self.steps) for _ in range(5))
        return seconds / (self.steps * self.task.flops / fma_peak(np.float64, threads=1))

    def track_time_over_time_in_numpy(self, _: int) -> float:
        numpy = peer_numpy.plain(self.task, 1)
        steps = max(2, self.steps // 10)
        numpy.advance(2, timing.step_size(2))
        ours, theirs = timing.Measured(), timing.Measured()
        for _ in range(5):
            ours.seconds.append(timing.seconds_of(self.formulation.advance, self.steps) / self.steps)
            theirs.seconds.append(timing.seconds_of(numpy.advance, steps) / steps)
        return timing.ratio(ours, theirs)


Machine.track_time_over_time_at_fma_peak.unit = "1"  # type: ignore[attr-defined]
Machine.track_time_over_time_in_numpy.unit = "1"  # type: ignore[attr-defined]
