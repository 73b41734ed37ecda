"""Bits: the same call gives the same bits, whatever the threads, blocks, slices, order and company of its runs."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import scheduling
from fastflow.kernels.networks import chain_group
from fastflow.records import tracing
from fastflow.status import Status

RECORD = ff.Record(steps=40, product=True, factors=True)


def assert_same(first, second, rows=None):
    """Everything in ``first``, or in these rows of it, is in ``second`` bit for bit."""
    rows = np.arange(len(first)) if rows is None else np.asarray(rows)
    assert len(rows) == len(second)
    for name in ("solution", "loss", "status", "steps", "step", "flat_factors"):
        np.testing.assert_array_equal(getattr(first, name)[rows], getattr(second, name), name)
    if first.error is not None:
        np.testing.assert_array_equal(first.error[rows], second.error)
    assert (first.history is None) == (second.history is None)
    if first.history is None:
        return
    np.testing.assert_array_equal(first.history.steps, second.history.steps)
    assert first.history.recorded == second.history.recorded
    for name in first.history.recorded:
        ours, theirs = getattr(first.history, name), getattr(second.history, name)
        for a, b in zip(ours, theirs, strict=True) if name == "factors" else [(ours, theirs)]:
            np.testing.assert_array_equal(a[rows], b, name)


@pytest.fixture
def tiny_slices(monkeypatch):
    """Kernel calls of a few steps, and pending records that fill at once."""
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(tracing, "PENDING_BYTES", 1)


@pytest.fixture(params=[2, 3])
def depth(request):
    """Depths of the networks here."""
    return request.param


def test_threads(kind, depth, make_problem, rng):
    problem = make_problem(kind, (5, 4), rng.standard_normal((5, 4)))
    method = ff.GradientDescent(max_steps=1500, tol=1e-3, gradient_tol=1e-3)
    runs = [
        ff.train(problem, ff.DeepLinear(depth), ff.inits.Gaussian(0.1), method, 40, threads=threads, record=RECORD)
        for threads in (1, 2, 3)
    ]
    assert len(set(runs[0].steps.tolist())) > 5, "the runs should end at different steps"
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_blocks_and_slices(kind, depth, make_problem, request):
    problem = make_problem(kind, (5, 4))
    method = ff.GradientDescent(max_steps=300, tol=1e-3)
    arguments = (problem, ff.DeepLinear(depth), ff.inits.Gaussian(0.1), method, 20)
    whole = ff.train(*arguments, threads=1, record=RECORD)
    request.getfixturevalue("tiny_slices")
    assert_same(whole, ff.train(*arguments, threads=1, record=RECORD))
    assert_same(whole, ff.train(*arguments, threads=2, record=RECORD))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_how_many_runs_a_thread_takes_at_once(size, make_problem, monkeypatch):
    arguments = (make_problem("completion", (5, 4)), ff.DeepLinear(3), ff.inits.Gaussian(0.1))
    options = {"method": ff.GradientDescent(max_steps=300, tol=1e-3), "runs": 23, "record": RECORD}
    whole = ff.train(*arguments, threads=2, **options)

    def take(queue, least):
        with queue._lock:
            first = queue._next
            queue._next = min(len(queue), first + size)
            return np.arange(first, queue._next)

    monkeypatch.setattr(scheduling.Queue, "take", take)
    assert_same(whole, ff.train(*arguments, threads=2, **options))
    assert_same(whole, ff.train(*arguments, threads=1, **options))


@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize("widths", [(4, 5), (6, 2, 5), (1, 7, 3, 2), (9, 12, 16, 11)], ids=str)
def test_layouts(kind, widths, normalization, make_problem, rng, monkeypatch):
    """Runs go one at a time, one per SIMD lane, or as rows of a matrix; their ends come at different steps."""
    truth = rng.standard_normal((widths[-1], widths[0]))
    problems = [make_problem(kind, truth.shape, truth, normalization=normalization) for _ in range(3)]
    step = 0.3 * min(ff.theory.stability_edge(p, ff.DeepLinear(widths=widths)) for p in problems)
    options = {"threads": 1, "method": ff.GradientDescent(step, max_steps=150, tol=1e-2), "record": RECORD}
    for given, runs in ((problems, 7), (problems[0], 19)):
        arguments = (given, ff.DeepLinear(widths=widths), ff.inits.Gaussian(0.5))
        chosen = ff.train(*arguments, runs=runs, **options)
        with monkeypatch.context() as patch:
            patch.setattr(chain_group, "LANE_WIDTH", 0)
            assert_same(chosen, ff.train(*arguments, runs=runs, **options))


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_the_end_of_a_run_does_not_depend_on_when_it_is_looked_at(normalization, make_problem):
    """A tolerance that is exactly the loss at some step ends the run there, recorded or not, alone or not."""
    problem, network = make_problem("estimation", (5, 3), normalization=normalization), ff.DeepLinear(2)
    every = ff.Record(np.arange(41))
    losses = ff.train(problem, network, ff.inits.Gaussian(1.0), ff.GradientDescent(max_steps=40), 1, record=every)
    for k, tol in enumerate(losses.history.loss[0]):
        method = ff.GradientDescent(max_steps=40, tol=tol)
        for record in (every, None):
            runs = ff.train(problem, network, ff.inits.Gaussian(1.0), method, 1, record=record)
            assert (runs.steps[0], runs.status[0]) == (k, Status.CONVERGED), "recorded" if record else "not recorded"
            assert runs.loss[0] == tol


def test_a_record_changes_nothing(kind, make_problem):
    arguments = (make_problem(kind, (5, 4)), ff.DeepLinear(3), ff.inits.Gaussian(0.1))
    options = {"method": ff.GradientDescent(max_steps=200), "runs": 9}
    with_record, without = ff.train(*arguments, record=RECORD, **options), ff.train(*arguments, **options)
    with_record.history = None
    assert_same(with_record, without)


def test_run_17_of_64_is_run_17_of_1000_is_run_17_alone(kind, depth, make_problem):
    arguments = (make_problem(kind, (5, 4)), ff.DeepLinear(depth), ff.inits.Orthogonal(0.1))
    options = {"method": ff.GradientDescent(max_steps=200, tol=1e-4), "record": ff.Record(20)}
    many, fewer = ff.train(*arguments, runs=1000, **options), ff.train(*arguments, runs=64, **options)
    assert_same(many, fewer, range(64))
    assert_same(fewer, ff.train(*arguments, runs=[17], **options), [17])
    assert_same(many, ff.train(*arguments, runs=[999, 17, 500], **options), [999, 17, 500])
    assert_same(fewer, ff.train(*arguments, runs=range(63, -1, -1), **options), range(63, -1, -1))


@pytest.mark.parametrize("kind", ["estimation", "completion"])
def test_both_dtypes(kind, dtype, make_problem, tiny_slices):
    arguments = (make_problem(kind, (9, 7)), ff.DeepLinear(3), ff.inits.Gaussian(0.1))
    options = {"method": ff.GradientDescent(max_steps=200), "dtype": dtype}
    many = ff.train(*arguments, runs=19, threads=2, record=RECORD, **options)
    assert many.solution.dtype == many.history.product.dtype == dtype
    assert_same(many, ff.train(*arguments, runs=[11, 3], threads=1, record=RECORD, **options), [11, 3])


@pytest.mark.parametrize(
    "widths", [(1, 1), (4, 3, 2), (2, 5, 1, 3), (3, 9, 2, 4, 6), (17, 16, 15, 18), (55, 51, 53)], ids=str
)
def test_company_at_many_widths(widths, make_problem):
    arguments = (make_problem("estimation", (widths[-1], widths[0])), ff.DeepLinear(widths=widths))
    options = {"init": ff.inits.Gaussian(0.5), "method": ff.GradientDescent(max_steps=60, tol=0), "record": RECORD}
    many = ff.train(*arguments, runs=21, threads=2, **options)
    assert_same(many, ff.train(*arguments, runs=[20], threads=1, **options), [20])
    assert_same(many, ff.train(*arguments, runs=[7, 20, 13], threads=1, **options), [7, 20, 13])


@pytest.mark.parametrize("when", ["after some steps", "at once"])
def test_a_run_beside_a_diverging_one_is_itself_alone(when, depth, dtype, make_problem, make_factors):
    bad = 1e3 if when == "after some steps" else np.sqrt(np.finfo(dtype).max)
    problem, network = make_problem("estimation", (5, 5)), ff.DeepLinear(depth)
    starts = [make_factors((5,) * (depth + 1)) for _ in range(9)]
    starts[4] = [bad * factor for factor in starts[4]]
    stacked = [np.stack(factors) for factors in zip(*starts, strict=True)]
    options = {"method": ff.GradientDescent(max_steps=300, tol=0), "record": RECORD, "dtype": dtype}
    together = ff.train(problem, network, ff.inits.Explicit(stacked), threads=1, **options)
    assert together.status[4] == Status.DIVERGED
    assert (together.steps[4] == 0) == (when == "at once")
    assert np.count_nonzero(together.status == Status.DIVERGED) == 1
    assert np.isfinite(np.delete(together.solution, 4, axis=0)).all()
    for run in range(9):
        alone = ff.train(problem, network, ff.inits.Explicit(starts[run]), threads=1, **options)
        assert_same(together, alone, [run])


def test_problems_in_a_list_give_what_each_gives_alone(kind, make_problem, make_factors):
    """Also without a list; but a product with operators that all runs share sums in an order of its own."""
    problems = [make_problem(kind, (4, 6)) for _ in range(5)]
    starts = [make_factors((6, 4, 4, 4)) for _ in problems]
    stacked = [np.stack(factors) for factors in zip(*starts, strict=True)]
    options = {"method": ff.GradientDescent(max_steps=100), "record": RECORD}
    together = ff.train(problems, ff.DeepLinear(3), ff.inits.Explicit(stacked), **options)
    np.testing.assert_array_equal(together.problem_index, np.arange(5))
    for i, (problem, start) in enumerate(zip(problems, starts, strict=True)):
        assert_same(together, ff.train([problem], ff.DeepLinear(3), ff.inits.Explicit(start), **options), [i])
        bare = ff.train(problem, ff.DeepLinear(3), ff.inits.Explicit(start), **options)
        if kind == "sensing":
            np.testing.assert_allclose(bare.solution[0], together.solution[i], rtol=0, atol=1e-11)
        else:
            assert_same(together, bare, [i])


def test_problems_of_a_list_do_not_see_the_ones_behind_them(make_problem):
    problems = [make_problem("completion", (4, 6)) for _ in range(4)]
    options = {"network": ff.DeepLinear(2), "method": ff.GradientDescent(max_steps=100), "record": RECORD}
    together = ff.train(problems, runs=3, **options)
    assert_same(together, ff.train(problems[:2], runs=3, **options), range(6))
    assert_same(together, ff.train(problems, runs=[2], **options), [2, 5, 8, 11])


STEP_RULES = {
    "constant": 0.02,
    "decreasing": ff.Decreasing(0.05, power=0.7, scale=30),
    "explicit": np.geomspace(0.05, 0.001, 200),
}


@pytest.mark.parametrize("step", STEP_RULES.values(), ids=STEP_RULES)
@pytest.mark.parametrize("kind", ["estimation", "completion"])
def test_going_on_is_never_having_stopped(step, kind, depth, make_problem):
    """Stopped at steps 0, 60 and 61, and then taken to 200; by then about half of the runs have converged."""
    problem, network = make_problem(kind, (4, 3)), ff.DeepLinear(depth)
    tol = 0.0

    def method(max_steps):
        return ff.GradientDescent(step=step, max_steps=max_steps, tol=tol)

    tol = np.median(ff.train(problem, network, ff.inits.Gaussian(1.0), method(190), 30).loss)
    whole = ff.train(problem, network, ff.inits.Gaussian(1.0), method(200), 30, record=RECORD)
    assert {Status.CONVERGED, Status.MAX_STEPS} <= set(whole.status)
    part = ff.train(problem, network, ff.inits.Gaussian(1.0), method(0), 30)
    for stop in (60, 61):
        part = ff.train(problem, network, part.last, method(stop))
        assert np.all(part.steps <= stop)
    rest = ff.train(problem, network, part.last, method(200), record=RECORD)
    histories, rest.history, whole_history, whole.history = rest.history, None, whole.history, None
    assert_same(whole, rest)
    # What a run recorded after it went on is what it would have recorded; before that there is nothing.
    seen = whole_history.steps[None, :] >= part.steps[:, None]
    for name in ("loss", "singular_values", "product", "balancedness"):
        ours, theirs = getattr(whole_history, name), getattr(histories, name)
        np.testing.assert_array_equal(ours[seen], theirs[seen], name)
        assert np.isnan(theirs[~seen]).all()


def test_going_on_in_float32(make_problem):
    problem, network = make_problem("estimation", (4, 3)), ff.DeepLinear(3)
    options = {"dtype": np.float32}
    whole = ff.train(problem, network, ff.inits.Gaussian(0.3), ff.GradientDescent(max_steps=300), 20, **options)
    part = ff.train(problem, network, ff.inits.Gaussian(0.3), ff.GradientDescent(max_steps=100), 20, **options)
    assert_same(whole, ff.train(problem, network, part.last, ff.GradientDescent(max_steps=300), **options))


def test_going_on_with_every_kind_of_end(make_problem, make_factors):
    """A run that has diverged, stalled, converged or come to a critical point is still there when others go on."""
    problem, network = ff.MatrixEstimation(np.diag([3.0, 1.0])), ff.DeepLinear(2)
    eye, zero = np.eye(2), np.zeros((2, 2))
    starts = [
        [1e6 * eye, eye],
        [zero, zero],
        [np.sqrt(problem.target), np.sqrt(problem.target)],
        [0.1 * eye, 0.1 * eye],
    ]
    stacked = [np.stack(factors) for factors in zip(*starts, strict=True)]

    def train(init, max_steps):
        return ff.train(problem, network, init, ff.GradientDescent(step=0.1, max_steps=max_steps, tol=1e-20))

    whole, part = train(ff.inits.Explicit(stacked), 400), train(ff.inits.Explicit(stacked), 20)
    assert whole.status.tolist() == [Status.DIVERGED, Status.STALLED, Status.CONVERGED, Status.CONVERGED]
    assert part.status[3] == Status.MAX_STEPS
    assert_same(whole, train(part.last, 400))


class Interruption:
    """Stands for `run_workers`: runs the worker here, and Ctrl-C comes when it has asked so many times."""

    def __init__(self, after=None):
        self.after, self.polls = after, 0

    def __call__(self, worker, count, on_poll):
        worker(self.should_stop)

    def should_stop(self):
        self.polls += 1
        if self.polls == self.after:
            raise KeyboardInterrupt
        return False


@pytest.mark.parametrize("part_of_the_way", [0.13, 0.37, 0.87])
@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_interrupted_anywhere_and_continued(part_of_the_way, kind, make_problem, monkeypatch, tiny_slices):
    """Ctrl-C between two slices: what was done is kept, and going on gives the bits of never having stopped."""
    problem, network, method = make_problem(kind, (5, 4)), ff.DeepLinear(3), ff.GradientDescent(max_steps=150)
    arguments = (problem, network, ff.inits.Gaussian(0.1), method, 60)
    never = Interruption()
    with monkeypatch.context() as patch:
        patch.setattr(scheduling, "run_workers", never)
        whole = ff.train(*arguments)
        patch.setattr(scheduling, "run_workers", Interruption(after=round(part_of_the_way * never.polls)))
        with pytest.raises(ff.Interrupted, match="of 60 runs had ended") as caught:
            ff.train(*arguments, record=RECORD)
    assert isinstance(caught.value, KeyboardInterrupt)
    part = caught.value.runs
    running = part.status == Status.RUNNING
    assert running.any()
    assert np.any((part.steps > 0) & (part.steps < 150))
    assert f"{np.count_nonzero(~running)} of 60" in str(caught.value)
    assert_same(whole, ff.train(problem, network, part.last, method))
    # What it says of a run that had not ended belongs to where that run is.
    for run in np.flatnonzero(running):
        assert part.loss[run] == pytest.approx(problem.loss(part.solution[run]), rel=1e-10)
        beyond = part.history.steps > part.steps[run]
        assert np.isnan(part.history.loss[run, beyond]).all()
        assert np.isfinite(part.history.loss[run, part.history.steps < part.steps[run]]).all()


def test_the_same_call_twice(kind, make_problem):
    arguments = (make_problem(kind, (4, 4)), ff.DeepLinear(3), ff.inits.Balanced(0.1))
    options = {"method": ff.GradientDescent(max_steps=100), "runs": 6, "seed": 5, "record": RECORD}
    first = ff.train(*arguments, **options)
    assert_same(first, ff.train(*arguments, **options))
    other = ff.train(*arguments, **{**options, "seed": 6})
    assert not np.array_equal(first.solution, other.solution)
