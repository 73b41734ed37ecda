"""What `train` does with a run: its steps, its end, its history; and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings

import naive
import numpy as np
import pytest
import threadpoolctl

import fastflow as ff
from fastflow.kernels.descent.descend import descend
from fastflow.setting import default_init
from fastflow.status import Status

ALL = ff.Record(steps=50, product=True, factors=True)


def descent(*, step=0.05, **options):
    """Gradient descent with a step that is nobody's default."""
    return ff.GradientDescent(step=step, **options)


def as_start(factors):
    """Explicit factors."""
    return ff.inits.Explicit(factors)


# Against the oracle


STEPS = {
    "constant": (0.05, 0.05),
    "decreasing": (ff.Decreasing(0.1, power=0.6, scale=20.0), lambda k: 0.1 / (1 + k / 20.0) ** 0.6),
    "explicit": (np.geomspace(0.1, 0.01, 120), np.geomspace(0.1, 0.01, 120)),
}


@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize("step", STEPS)
def test_against_the_oracle(step, normalization, kind, make_problem, make_factors, rng):
    """120 steps from one start, everything that can be recorded at every step of them."""
    ours, theirs = STEPS[step]
    widths, truth = (4, 3, 5, 3), rng.standard_normal((3, 4))
    problem, factors = make_problem(kind, (3, 4), truth, normalization=normalization), make_factors(widths)
    record = ff.Record(steps=121, spacing="linear", product=True, factors=True)
    method = ff.GradientDescent(step=ours, max_steps=120, tol=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "step .* is above the linear stability edge", UserWarning)
        runs = ff.train(problem, ff.DeepLinear(widths=widths), as_start(factors), method, record=record)
    expected = naive.gradient_descent(problem, factors, theirs, 120)
    assert Status(runs.status[0]).label == expected.status == "max steps"
    assert runs.steps[0] == expected.steps == 120

    history = runs.history
    np.testing.assert_array_equal(history.steps, np.arange(121))
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(history.loss[0], expected.losses, **close)
    for j in range(3):
        np.testing.assert_allclose(history.factors[j][0], [path[j] for path in expected.path], **close)
        np.testing.assert_allclose(runs.factors[j][0], expected.factors[j], **close)
    products = np.array([naive.chain_product(path) for path in expected.path])
    np.testing.assert_allclose(history.product[0], products, **close)
    values = np.linalg.svd(products, compute_uv=False)
    np.testing.assert_allclose(history.singular_values[0], values, **close)
    np.testing.assert_allclose(history.effective_rank[0], values.sum(axis=1) / values[:, 0], **close)
    defects = [naive.chain_balancedness(path) for path in expected.path]
    np.testing.assert_allclose(history.balancedness[0], defects, **close)
    norms = [np.sqrt(sum(np.sum(g**2) for g in naive.gradient(problem, path))) for path in expected.path]
    np.testing.assert_allclose(history.gradient_norm[0], norms, **close)
    errors = np.linalg.norm(products - truth, axis=(1, 2)) / np.linalg.norm(truth)
    np.testing.assert_allclose(history.error[0], errors, **close)
    np.testing.assert_allclose(runs.error[0], errors[-1], **close)
    np.testing.assert_allclose(runs.loss[0], expected.loss, **close)
    np.testing.assert_allclose(runs.solution[0], products[-1], **close)


@pytest.mark.parametrize("kind", ["estimation", "completion"])
def test_float32_against_the_oracle(kind, make_problem, make_factors):
    widths = (4, 3, 5, 3)
    problem, factors = make_problem(kind, (3, 4)), make_factors(widths)
    runs = ff.train(
        [problem], ff.DeepLinear(widths=widths), as_start(factors), descent(max_steps=60), record=ALL, dtype="float32"
    )
    expected = naive.gradient_descent(problem, factors, 0.05, 60)
    for array in (runs.solution, *runs.factors, runs.history.product, runs.history.singular_values):
        assert array.dtype == np.float32
    np.testing.assert_allclose(runs.history.loss[0], np.array(expected.losses)[runs.history.steps], rtol=1e-4)
    np.testing.assert_allclose(runs.solution[0], naive.chain_product(expected.factors), atol=1e-5)


def test_a_problem_class_and_dtype_is_compiled_once(make_problem):
    """Compilation takes seconds, so no option of a method, an init or a record may ask for one of its own.

    A signature's first argument is the problem, its last ones the group of runs, one at a time or one per lane, and
    what moves it.
    """
    problem, network = make_problem("estimation", (3, 3)), ff.DeepLinear(2)
    for step in (None, 1e-3, ff.Decreasing(1e-3), np.full(3, 1e-3)):
        for record in (None, ff.Record(2), ALL):
            ff.train(problem, network, runs=2, method=ff.GradientDescent(step, max_steps=3), record=record)
    ff.train([problem] * 2, network, as_start([np.eye(3, order="F")] * 2), descent(max_steps=3), threads=1)
    ff.train(ff.MatrixEstimation(np.asfortranarray(problem.target), truth=np.eye(3)), network, record=ALL)
    signatures = descend.signatures
    assert len(signatures) == len({(signature[0], *signature[-2:]) for signature in signatures})


# Ends


def test_converged_at_the_first_loss_that_is_at_most_tol(make_problem, make_factors):
    """``tol`` is absolute: the same whatever the loss was at the start."""
    problem, factors = make_problem("estimation", (4, 4)), make_factors((4, 4))
    losses = np.array(naive.gradient_descent(problem, factors, 0.05, 200).losses)
    for k in (0, 1, 57):
        for tol, steps in ((losses[k] * (1 + 1e-9), k), (losses[k] * (1 - 1e-9), k + 1)):
            runs = ff.train(problem, ff.DeepLinear(1), as_start(factors), descent(max_steps=200, tol=tol))
            assert (runs.status[0], runs.steps[0]) == (Status.CONVERGED, steps)
            assert runs.loss[0] <= tol


def test_critical_at_the_first_gradient_that_is_at_most_its_tolerance(kind, make_problem, make_factors):
    widths = (3, 2, 4)
    problem, factors = make_problem(kind, (4, 3), normalization="mean"), make_factors(widths)
    path = naive.gradient_descent(problem, factors, 0.05, 100).path
    norms = [np.sqrt(sum(np.sum(g**2) for g in naive.gradient(problem, f))) for f in path]
    gradient_tol = norms[60] * (1 + 1e-6)
    first = int(np.argmax(np.array(norms) <= gradient_tol))
    method = descent(max_steps=100, tol=0, gradient_tol=gradient_tol)
    runs = ff.train([problem], ff.DeepLinear(widths=widths), as_start(factors), method, record=ff.Record([0, 100]))
    assert (runs.status[0], runs.steps[0]) == (Status.CRITICAL, first)
    assert runs.history.gradient_norm[0, -1] == pytest.approx(norms[first], rel=1e-9)


def test_a_saddle_is_critical_or_stalled_and_never_converged():
    """From a start of zero nothing moves, at whatever loss; without a gradient tolerance that is a stall."""
    problem, zero = ff.MatrixEstimation(np.diag([2.0, 1.0])), [np.zeros((2, 2)), np.zeros((2, 2))]
    for gradient_tol, status in ((0.0, Status.STALLED), (1e-9, Status.CRITICAL)):
        method = ff.GradientDescent(max_steps=1000, gradient_tol=gradient_tol)
        runs = ff.train(problem, ff.DeepLinear(2), as_start(zero), method, record=ALL)
        assert (runs.status[0], runs.steps[0], runs.loss[0]) == (status, 0, 2.5)
        assert np.all(runs.history.loss == 2.5)


def test_a_plateau_is_no_stall():
    """Beside a saddle the loss shows nothing for thousands of steps, while the factors grow; the run escapes."""
    problem, alpha = ff.MatrixEstimation(np.diag([1.0, 0.5])), 1e-30
    start, record = as_start([alpha * np.eye(2), alpha * np.eye(2)]), ff.Record(np.arange(0, 30_000, 100))
    runs = ff.train(problem, ff.DeepLinear(2), start, descent(step=0.01, max_steps=30_000), record=record)
    flat = runs.history.loss[0] == runs.history.loss[0, 0]
    assert np.count_nonzero(flat) >= 40
    assert runs.status[0] == Status.CONVERGED
    np.testing.assert_allclose(runs.solution[0], problem.target, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_stalled_where_the_last_bit_no_longer_changes(dtype, make_problem, rng):
    """The end of a stalled run is a fixed point: another step from there changes no bit, and one before it did."""
    problem, network = ff.MatrixEstimation(np.diag([2.0, 1.0, 0.3])), ff.DeepLinear(widths=(3, 2, 3))
    method = ff.GradientDescent(max_steps=100_000, tol=0)
    runs = ff.train(problem, network, ff.inits.Gaussian(0.5), method, 20, dtype=dtype, record=ALL)
    stalled = runs.status == Status.STALLED
    assert stalled.any()
    assert set(runs.status) <= {Status.STALLED, Status.MAX_STEPS}
    np.testing.assert_allclose(runs.loss[stalled], 0.5 * 0.3**2, rtol=1e-6)
    again = ff.train(problem, network, runs.last, descent(step=runs.step[0], max_steps=200_000, tol=0), dtype=dtype)
    np.testing.assert_array_equal(again.flat_factors[stalled], runs.flat_factors[stalled])
    np.testing.assert_array_equal(again.steps[stalled], runs.steps[stalled])
    run = int(np.flatnonzero(stalled)[0])
    before = ff.train(
        problem,
        network,
        ff.inits.Gaussian(0.5),
        ff.GradientDescent(max_steps=runs.steps[run] - 1, tol=0),
        [run],
        dtype=dtype,
    )
    assert before.status[0] == Status.MAX_STEPS
    assert not np.array_equal(before.flat_factors[0], runs.flat_factors[run])


def test_an_explicit_sequence_does_not_stall():
    """A step that is too small for any bit may be followed by one that is not."""
    problem, start = ff.MatrixEstimation([[1.0]]), as_start([[[0.5]]])
    steps = np.array([1e-30, 1e-30, 0.5])
    runs = ff.train(problem, ff.DeepLinear(1), start, ff.GradientDescent(step=steps))
    assert (runs.status[0], runs.steps[0], runs.solution[0, 0, 0]) == (Status.MAX_STEPS, 3, 0.75)
    runs = ff.train(problem, ff.DeepLinear(1), start, ff.GradientDescent(step=1e-30, max_steps=3))
    assert (runs.status[0], runs.steps[0]) == (Status.STALLED, 0)


def test_max_steps_of_zero_evaluates_the_start(make_problem, make_factors):
    problem, factors = make_problem("sensing", (3, 4)), make_factors((4, 2, 3))
    method = ff.GradientDescent(max_steps=0)
    runs = ff.train(problem, ff.DeepLinear(widths=(4, 2, 3)), as_start(factors), method, record=ALL)
    assert (runs.status[0], runs.steps[0]) == (Status.MAX_STEPS, 0)
    assert runs.loss[0] == pytest.approx(naive.loss(problem, factors), rel=1e-13)
    np.testing.assert_array_equal(runs.history.steps, [0])
    for got, wanted in zip(runs.factors, factors, strict=True):
        np.testing.assert_array_equal(got[0], wanted)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_diverged_where_the_loss_is_no_longer_finite(dtype):
    """At the first such step; the history is NaN from there on, and finite before."""
    problem = ff.MatrixEstimation([[1.0]])
    runs = ff.train(
        problem,
        ff.DeepLinear(2),
        as_start([[[5.0]], [[5.0]]]),
        ff.GradientDescent(step=np.full(60, 1.0)),
        dtype=dtype,
        record=ff.Record(np.arange(61)),
    )
    with np.errstate(all="ignore"):
        start = [np.full((1, 1), 5.0, dtype)] * 2
        expected = naive.gradient_descent(
            ff.MatrixEstimation(np.ones((1, 1), dtype)), start, np.full(60, 1.0, dtype), 60
        )
    assert expected.status == "diverged"
    assert (runs.status[0], runs.steps[0]) == (Status.DIVERGED, expected.steps)
    assert not np.isfinite(runs.loss[0])
    finite = np.arange(61) < expected.steps
    np.testing.assert_array_equal(np.isfinite(runs.history.loss[0]), finite)
    np.testing.assert_array_equal(np.isfinite(runs.history.singular_values[0, :, 0]), finite)
    np.testing.assert_allclose(runs.history.loss[0, finite], expected.losses[:-1], rtol=1e-4)
    assert "diverged" in runs.summary()


def test_a_start_that_overflows_has_diverged_at_step_zero():
    runs = ff.train(
        ff.MatrixEstimation([[1.0]]), ff.DeepLinear(2), as_start([[[1e200]], [[1e200]]]), descent(), record=ALL
    )
    assert (runs.status[0], runs.steps[0]) == (Status.DIVERGED, 0)
    assert np.isnan(runs.history.loss).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1e60, 1e100, 1e200])
def test_a_run_that_diverges_raises_no_warning(size, dtype):
    """Its status says what happened; a warning of NumPy's would say it again in the words of our code."""
    problem = ff.MatrixEstimation(np.eye(2), truth=np.eye(2))
    runs = ff.train(problem, ff.DeepLinear(2), as_start([size * np.eye(2)] * 2), descent(), record=ALL, dtype=dtype)
    assert runs.status[0] == Status.DIVERGED
    assert not runs.error[0] < 1e30
    assert "diverged" in runs.summary()


def test_every_status_has_a_label_and_says_what_to_try():
    for status in Status:
        assert status.label == status.name.lower().replace("_", " ")
        assert status.message.endswith(".")
    for status, word in (("MAX_STEPS", "max_steps"), ("DIVERGED", "smaller step"), ("RUNNING", "runs.last")):
        assert word in Status[status].message


# Records


def test_after_its_end_a_history_repeats_the_last_value(make_problem):
    problem, network = make_problem("completion", (4, 3)), ff.DeepLinear(2)
    method = ff.GradientDescent(max_steps=2000, tol=1e-6)
    runs = ff.train(problem, network, ff.inits.Gaussian(0.1), method, 12, record=ALL)
    assert np.all(runs.status == Status.CONVERGED)
    for run in range(12):
        after = runs.history.steps >= runs.steps[run]
        assert after.any()
        np.testing.assert_array_equal(runs.history.loss[run, after], runs.loss[run])
        for got, wanted in zip(runs.history.factors, runs.factors, strict=True):
            np.testing.assert_array_equal(got[run, after], np.broadcast_to(wanted[run], got[run, after].shape))
        last = np.linalg.svd(runs.solution[run], compute_uv=False)
        np.testing.assert_allclose(
            runs.history.singular_values[run, after], np.broadcast_to(last, (after.sum(), 3)), atol=1e-14
        )
        assert np.all(runs.history.loss[run, ~after] > 1e-6)


@pytest.mark.parametrize(
    ("record", "max_steps", "steps"),
    [
        (ff.Record(5, "linear"), 100, [0, 25, 50, 75, 100]),
        (ff.Record(4, "linear"), 10, [0, 3, 7, 10]),
        (ff.Record(5, "log"), 1000, [0, 1, 10, 100, 1000]),
        (ff.Record(1000, "log"), 6, [0, 1, 2, 3, 4, 5, 6]),
        (ff.Record(200), 1, [0, 1]),
        (ff.Record(2), 100, [0, 100]),
        (ff.Record([3, 7, 500]), 100, [3, 7, 500]),
        (ff.Record(np.array([0], np.uint8)), 100, [0]),
        (ff.Record(range(3)), 100, [0, 1, 2]),
    ],
)
def test_the_steps_that_are_recorded(record, max_steps, steps, make_problem):
    runs = ff.train(
        make_problem("estimation", (3, 3)), runs=2, method=ff.GradientDescent(max_steps=max_steps), record=record
    )
    np.testing.assert_array_equal(runs.history.steps, steps)
    assert runs.history.loss.shape == (2, len(steps))
    assert np.isfinite(runs.history.loss).all()


def test_default_record_is_log_spaced_with_both_ends():
    grid = ff.Record().grid(100_000)
    assert (grid[0], grid[1], grid[-1]) == (0, 1, 100_000)
    assert np.all(np.diff(grid) > 0)
    gaps = np.diff(np.log(grid[100:]))
    assert gaps.max() < 1.1 * gaps.min()


def test_only_what_is_asked_for_is_kept(make_problem, rng):
    problem = make_problem("estimation", (3, 4), rng.standard_normal((3, 4)))
    names = [
        "loss",
        "gradient_norm",
        "singular_values",
        "effective_rank",
        "balancedness",
        "error",
        "product",
        "factors",
    ]
    nothing = dict.fromkeys(names, False)
    shapes = {"singular_values": (3,), "product": (3, 4)}
    for name in names:
        record = ff.Record(steps=5, **{**nothing, name: True})
        history = ff.train(problem, runs=2, method=ff.GradientDescent(max_steps=20), record=record).history
        assert history.recorded == [name]
        if name != "factors":
            assert getattr(history, name).shape == (2, len(history.steps), *shapes.get(name, ()))
    history = ff.train(
        make_problem("estimation", (3, 4)), runs=2, method=ff.GradientDescent(max_steps=20), record=ALL
    ).history
    assert history.error is None
    assert ff.train(problem, runs=2, method=ff.GradientDescent(max_steps=20)).history is None


def test_a_record_of_zero_products_has_ranks_of_zero():
    runs = ff.train(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), as_start([np.zeros((2, 2))] * 2), record=ALL)
    assert np.all(runs.history.effective_rank == 0)
    assert np.all(runs.history.singular_values == 0)


def test_errors_are_measured_against_the_truth_and_do_not_train(make_problem, rng):
    truth, other = rng.standard_normal((2, 3, 4))
    with_truth = ff.MatrixEstimation(truth + 0.1, truth=truth)
    without = ff.MatrixEstimation(truth + 0.1)
    options = {"runs": 4, "method": ff.GradientDescent(max_steps=50)}
    runs, blind = ff.train(with_truth, **options), ff.train(without, **options)
    assert blind.error is None
    np.testing.assert_array_equal(runs.solution, blind.solution)
    np.testing.assert_allclose(runs.error, ff.metrics.relative_error(runs.solution, truth), rtol=1e-13)
    assert not np.allclose(runs.error, ff.metrics.relative_error(runs.solution, other))


def test_each_problem_of_a_list_has_its_own_truth(rng):
    truths = rng.standard_normal((3, 3, 4))
    runs = ff.train([ff.MatrixEstimation(t, truth=t) for t in truths], runs=2, method=ff.GradientDescent(max_steps=50))
    expected = [ff.metrics.relative_error(runs.solution[run], truths[run // 2]) for run in range(6)]
    np.testing.assert_allclose(runs.error, expected, rtol=1e-13)
    np.testing.assert_array_equal(runs.problem_index, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(runs.run_index, [0, 1, 0, 1, 0, 1])


def test_problems_of_a_list_may_differ_in_normalization(make_problem, make_factors):
    problem = make_problem("estimation", (3, 4))
    mean = ff.MatrixEstimation(problem.target, normalization="mean")
    runs = ff.train([problem, mean], ff.DeepLinear(1), as_start(make_factors((4, 3))), descent(max_steps=0), runs=1)
    assert runs.loss[1] == pytest.approx(runs.loss[0] * 2 / 12, rel=1e-14)


# Which runs


def test_the_default_number_of_runs(make_problem, make_factors):
    problem, method = make_problem("estimation", (3, 3)), ff.GradientDescent(max_steps=1)
    assert len(ff.train(problem, method=method)) == 256
    assert len(ff.train(problem, init=ff.inits.Identity(0.1), method=method)) == 1
    assert len(ff.train(problem, init=ff.inits.Balanced(product=np.eye(3)), method=method)) == 1
    assert len(ff.train(problem, ff.DeepLinear(1), as_start([np.eye(3)]), method)) == 1
    assert len(ff.train(problem, ff.DeepLinear(1), as_start([np.zeros((5, 3, 3))]), method)) == 5
    assert len(ff.train([problem] * 3, init=ff.inits.Identity(0.1), method=method)) == 3


def test_the_default_network_and_init(make_problem):
    problem, method = make_problem("estimation", (3, 4)), ff.GradientDescent(max_steps=5)
    default = ff.train(problem, method=method, runs=3)
    init = ff.inits.Gaussian(float(f"{1e-3 * np.linalg.norm(problem.target, 2):.3g}"))
    named = ff.train(problem, ff.DeepLinear(depth=3), init, method, runs=3, seed=0)
    assert default.widths == (4, 3, 3, 3)
    np.testing.assert_array_equal(default.solution, named.solution)


def test_no_round_off_decides_the_default_start():
    """A size that processors find as 1 or as 1 + 5e-14 gives one start, and a scale that can be read."""
    exact, rough = (ff.MatrixEstimation(size * np.eye(3)) for size in (1.0, 1 + 5e-14))
    assert default_init(ff.DeepLinear(2), exact) == default_init(ff.DeepLinear(2), rough) == ff.inits.Gaussian(1e-3)


@pytest.mark.parametrize(
    "init",
    [ff.inits.Identity(0.1), ff.inits.Balanced(product=np.eye(3)), ff.inits.Explicit([np.eye(3)] * 3)],
    ids=["Identity", "Balanced", "Explicit"],
)
def test_runs_that_could_not_differ_raise(init, make_problem):
    with pytest.raises(ValueError, match=rf"{type(init).__name__} starts every run at the same factors.*runs=1"):
        ff.train(make_problem("estimation", (3, 3)), init=init, runs=2)


def test_going_on_counts_steps_on(make_problem):
    problem = make_problem("estimation", (3, 3))
    first = ff.train(problem, runs=3, method=ff.GradientDescent(max_steps=10, tol=0))
    second = ff.train(
        problem, init=first.last, method=ff.GradientDescent(max_steps=25, tol=0), record=ff.Record([5, 10, 20])
    )
    np.testing.assert_array_equal(second.steps, 25)
    assert np.isnan(second.history.loss[:, 0]).all()
    np.testing.assert_array_equal(second.history.loss[:, 1], first.loss)
    # A smaller max_steps than a run has taken already ends it where it is.
    third = ff.train(problem, init=second.last, method=ff.GradientDescent(max_steps=5, tol=0))
    np.testing.assert_array_equal(third.steps, 25)
    np.testing.assert_array_equal(third.solution, second.solution)


def test_a_sequence_of_steps_that_a_run_has_left_behind_ends_it():
    """Nothing is read beyond the sequence; in a process of its own, which a wild read would kill."""
    code = """if True:
        import numpy as np, fastflow as ff
        start = ff.inits.Explicit([np.zeros((1, 3, 3))], steps=np.array([2**40]))
        method = ff.GradientDescent(step=np.full(3, 0.1))
        runs = ff.train(ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(1), start, method)
        print(runs.steps[0], ff.Status(runs.status[0]).label)
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(2**40), "max", "steps"]


# Memory


def test_a_record_too_large_is_refused_before_it_is_allocated():
    """10^4 runs of 10^6 products of 100 x 100 take 800 TB; the message says how much, and what to do."""
    problem = ff.MatrixEstimation(np.eye(100))
    record = ff.Record(steps=10**6, spacing="linear", product=True)
    method = ff.GradientDescent(step=1e-3, max_steps=10**6)
    message = r"results of 10000 runs would take 8\d\d TB, but this process may take only .* more; take fewer runs"
    with pytest.raises(MemoryError, match=message):
        ff.train(problem, ff.DeepLinear(1), method=method, runs=10_000, record=record)


def test_more_runs_than_memory_are_refused_in_words():
    with pytest.raises(MemoryError, match="take fewer runs"):
        ff.train(ff.MatrixEstimation(np.eye(4)), ff.DeepLinear(2), runs=10**13)


def test_a_record_says_how_much_it_takes(make_problem):
    problem = make_problem("completion", (3, 4))
    for dtype in ("float64", "float32"):
        runs = ff.train(problem, runs=7, method=ff.GradientDescent(max_steps=30), record=ALL, dtype=dtype)
        arrays = [getattr(runs.history, name) for name in runs.history.recorded if name != "factors"]
        taken = sum(array.nbytes for array in (*arrays, *runs.history.factors))
        promised = ALL.nbytes(runs.architecture, 7, 30, dtype)
        assert taken <= promised <= taken + 7 * 8 * len(runs.history.steps)


# Living inside other code


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_inputs_of_any_layout_give_the_same_bits(dtype, rng):
    matrix = rng.integers(-3, 4, (5, 4)).astype(float)
    read_only = matrix.copy()
    read_only.flags.writeable = False
    given = [
        np.asfortranarray(matrix),
        np.repeat(np.repeat(matrix, 2, axis=0), 3, axis=1)[::2, ::3],
        matrix.astype(np.int16),
        matrix.tolist(),
        read_only,
    ]
    options = {"runs": 3, "method": ff.GradientDescent(max_steps=30), "dtype": dtype}
    expected = ff.train(ff.MatrixEstimation(matrix), **options)
    for target in given:
        np.testing.assert_array_equal(ff.train(ff.MatrixEstimation(target), **options).solution, expected.solution)


def test_explicit_starts_of_any_layout_are_taken_and_kept_as_they_are(rng):
    problem = ff.MatrixEstimation(rng.standard_normal((3, 5)))
    factors = [rng.integers(-2, 3, (4, 5)), rng.integers(-2, 3, (3, 4))]
    method = descent(step=1e-3, max_steps=20)
    expected = ff.train(problem, ff.DeepLinear(widths=(5, 4, 3)), as_start([f.astype(float) for f in factors]), method)
    for convert in (np.asfortranarray, lambda f: f.astype(np.int8), lambda f: np.repeat(f, 2, axis=1)[:, ::2]):
        given = [convert(f) for f in factors]
        before = [g.copy() for g in given]
        runs = ff.train(problem, ff.DeepLinear(widths=(5, 4, 3)), as_start(given), method)
        np.testing.assert_array_equal(runs.solution, expected.solution)
        for g, b in zip(given, before, strict=True):
            np.testing.assert_array_equal(g, b)
            assert g.flags.writeable


def test_going_on_leaves_the_first_result_alone(make_problem):
    problem = make_problem("estimation", (3, 3))
    first = ff.train(problem, runs=3, method=ff.GradientDescent(max_steps=10))
    before = first.flat_factors.copy()
    ff.train(problem, init=first.last, method=ff.GradientDescent(max_steps=50))
    np.testing.assert_array_equal(first.flat_factors, before)


def global_state():
    """What a library could change behind the back of its user."""
    pools = sorted((pool["filepath"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info())
    random_state = np.random.get_state()  # noqa: NPY002
    return {
        "thread pools": pools,
        "random state": [np.asarray(part).tolist() for part in random_state],
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "floating-point errors": np.geterr(),
        "threads": threading.active_count(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }


@pytest.fixture
def two_blas_threads(make_problem):
    """A setting of the user's that is not ours, in every BLAS that a first call has loaded."""
    ff.train(make_problem("completion", (4, 4)), runs=2, method=ff.GradientDescent(max_steps=5), record=ALL)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        yield
        blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        assert {pool["num_threads"] for pool in blas} == {2}


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_global_is_changed(threads, make_problem, two_blas_threads):
    problem, before = make_problem("completion", (4, 4)), global_state()
    ff.train(problem, runs=8, threads=threads, record=ALL, method=ff.GradientDescent(max_steps=50))
    assert global_state() == before
    with pytest.raises(ValueError, match="runs"):
        ff.train(problem, runs=0)
    with pytest.raises(ValueError, match="zero or not finite"):
        ff.train(problem, init=ff.inits.Gaussian(1e-300), dtype="float32")
    assert global_state() == before


def test_nothing_global_is_changed_by_calls_that_overlap(make_problem, two_blas_threads):
    """Threads of a user train at once; the BLAS pools have their threads back when all are done."""
    problem = make_problem("completion", (4, 4))
    arguments = {"runs": 16, "method": ff.GradientDescent(max_steps=3000, tol=0), "threads": 2}
    expected = ff.train(problem, **arguments)
    before, results = global_state(), []
    workers = [threading.Thread(target=lambda: results.append(ff.train(problem, **arguments))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert global_state() == before
    assert len(results) == 3
    for result in results:
        np.testing.assert_array_equal(result.solution, expected.solution)


def test_no_progress_bar_where_standard_error_is_no_terminal(make_problem, capfd):
    ff.train(make_problem("estimation", (3, 3)), runs=3, method=ff.GradientDescent(max_steps=50))
    out, err = capfd.readouterr()
    assert out == err == ""
