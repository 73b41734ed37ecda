"""Bad input: one clear error each, of the right type, that names the argument, and before any work."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastflow as ff
from fastflow.kernels.descent.descend import descend
from fastflow.methods import Execution

inits = ff.inits
EYE = np.eye(3)
NAN = np.array([[1.0, np.nan], [0.0, 1.0]])
RAGGED = [[1.0, 2.0], [3.0]]
NOT_REAL = "must be an array of real numbers"


def estimation(**options):
    return ff.MatrixEstimation(EYE, **options)


def completion(rows=(0, 1), cols=(0, 1), values=(1.0, 2.0), shape=(3, 4), **options):
    return ff.MatrixCompletion(shape, rows, cols, values, **options)


def train(*arguments, **options):
    return ff.train(estimation(), *arguments, **options)


class NotANumber:
    def __repr__(self):
        return "NotANumber()"


PROBLEMS = [
    # Arrays that are no matrices of real numbers
    (lambda: ff.MatrixEstimation(EYE * 1j), TypeError, f"target {NOT_REAL}, got dtype complex128"),
    (lambda: ff.MatrixEstimation(EYE.astype(object)), TypeError, f"target {NOT_REAL}, got dtype object"),
    (lambda: ff.MatrixEstimation([["a", "b"]]), TypeError, f"target {NOT_REAL}, got dtype <U1"),
    (
        lambda: ff.MatrixEstimation(np.array([["2020-01-01"]], "M8[D]")),
        TypeError,
        f"target {NOT_REAL}, got dtype datetime",
    ),
    (lambda: ff.MatrixEstimation(None), TypeError, f"target {NOT_REAL}"),
    (lambda: ff.MatrixEstimation(RAGGED), TypeError, f"target {NOT_REAL}, got a ragged list"),
    (lambda: ff.MatrixEstimation(2.0), ValueError, r"target must have 2 dimension\(s\), got shape \(\)"),
    (lambda: ff.MatrixEstimation([1.0, 2.0]), ValueError, r"target must have 2 dimension\(s\), got shape \(2,\)"),
    (lambda: ff.MatrixEstimation(np.zeros((2, 3, 4))), ValueError, r"target must have 2 dimension\(s\), .*\(2, 3, 4\)"),
    (lambda: ff.MatrixEstimation(np.zeros((0, 3))), ValueError, r"target is empty: shape \(0, 3\)"),
    (lambda: ff.MatrixEstimation(NAN), ValueError, r"target must be finite, got nan at index \(0, 1\)"),
    (lambda: ff.MatrixEstimation([[-np.inf]]), ValueError, r"target must be finite, got -inf at index \(0, 0\)"),
    # What all problems share
    (lambda: estimation(truth=np.eye(4)), ValueError, r"truth must have the shape \(3, 3\) of W, got \(4, 4\)"),
    (lambda: estimation(truth=[1.0]), ValueError, r"truth must have 2 dimension"),
    (lambda: estimation(truth=EYE * np.nan), ValueError, "truth must be finite"),
    (lambda: estimation(truth=EYE * 1j), TypeError, f"truth {NOT_REAL}"),
    (lambda: estimation(truth=np.zeros((3, 3))), ValueError, "truth is the zero matrix"),
    (lambda: estimation(normalization="max"), ValueError, "normalization must be one of 'sum', 'mean', got 'max'"),
    (lambda: estimation(normalization=2), ValueError, "normalization must be one of 'sum', 'mean', got 2"),
    # Completion
    (lambda: completion((), (), ()), ValueError, "no entry is observed"),
    (lambda: completion((0, 1, 0), (2, 1, 2), (1, 2, 3)), ValueError, r"entry \(0, 2\) is observed 2 times"),
    (lambda: completion((0, 3)), ValueError, r"rows must be in 0 \.\. 2, got 3"),
    (lambda: completion((0, 1), (0, 4)), ValueError, r"cols must be in 0 \.\. 3, got 4"),
    (lambda: completion((0, -1)), ValueError, r"rows must be in 0 \.\. 2, got -1"),
    (lambda: completion((0.0, 1.0)), TypeError, "rows must be integers, got dtype float64"),
    (lambda: completion(cols=("a", "b")), TypeError, "cols must be integers, got dtype <U1"),
    (lambda: completion(rows=(True, False)), TypeError, "rows must be integers, got dtype bool"),
    (lambda: completion((0, 1, 2)), ValueError, r"rows must have the shape \(2,\) of values, got \(3,\)"),
    (lambda: completion(values=(1.0, np.nan)), ValueError, r"values must be finite, got nan at index \(1,\)"),
    (lambda: completion(values=(1.0, 2j)), TypeError, f"values {NOT_REAL}"),
    (lambda: completion(values=[[1.0], [2.0]]), ValueError, r"values must have 1 dimension"),
    (lambda: completion(shape=(3, 0)), ValueError, r"shape must be two positive integers, got \(3, 0\)"),
    (lambda: completion(shape=(3.0, 4.0)), ValueError, "shape must be two positive integers"),
    (lambda: completion(shape=(3,)), ValueError, r"shape must be two positive integers, got \(3,\)"),
    (lambda: completion(shape=3), ValueError, "shape must be two positive integers, got 3"),
    (lambda: completion(truth=EYE), ValueError, r"truth must have the shape \(3, 4\) of W"),
    (lambda: ff.MatrixCompletion.from_dense(EYE * np.nan), ValueError, "every entry of the matrix is NaN"),
    (
        lambda: ff.MatrixCompletion.from_dense([[np.inf, 1]]),
        ValueError,
        r"matrix must be finite, got inf at index \(0, 0\)",
    ),
    (lambda: ff.MatrixCompletion.from_dense([1.0, np.nan]), ValueError, r"matrix must have 2 dimension\(s\)"),
    (lambda: ff.MatrixCompletion.from_dense([["1", "x"]]), TypeError, f"matrix {NOT_REAL}"),
    # Sensing
    (lambda: ff.MatrixSensing(EYE, [1.0]), ValueError, r"operators must have 3 dimension\(s\), got shape \(3, 3\)"),
    (
        lambda: ff.MatrixSensing(EYE[None], [1.0, 2.0]),
        ValueError,
        "values must have one entry for each of the 1 rows of operators",
    ),
    (lambda: ff.MatrixSensing(np.zeros((0, 3, 3)), []), ValueError, r"operators is empty: shape \(0, 3, 3\)"),
    (lambda: ff.MatrixSensing(NAN[None], [1.0]), ValueError, r"operators must be finite, got nan at index \(0, 0, 1\)"),
    (lambda: ff.MatrixSensing(EYE[None], [np.nan]), ValueError, "values must be finite"),
    # Regression
    (
        lambda: ff.LinearRegression(np.ones((3, 5)), np.ones((2, 4))),
        ValueError,
        "inputs and outputs must have one column a sample, got 5 and 4 columns",
    ),
    (lambda: ff.LinearRegression(np.ones((3, 0)), np.ones((2, 0))), ValueError, "inputs is empty"),
    (lambda: ff.LinearRegression(np.ones((3, 2)), NAN), ValueError, "outputs must be finite"),
    (lambda: ff.LinearRegression([1.0, 2.0], EYE), ValueError, r"inputs must have 2 dimension\(s\)"),
    (lambda: ff.LinearRegression.autoencoder(NAN, samples="columns"), ValueError, "inputs must be finite"),
    (lambda: ff.LinearRegression(np.ones((3, 2)), np.ones((4, 2)), truth=EYE), ValueError, r"shape \(4, 3\) of W"),
]

NETWORKS = [
    (lambda: ff.DeepLinear(0), ValueError, "depth must be at least 1, got 0"),
    (lambda: ff.DeepLinear(-2), ValueError, "depth must be at least 1, got -2"),
    (lambda: ff.DeepLinear(2.5), TypeError, "depth must be an integer, got 2.5"),
    (lambda: ff.DeepLinear("3"), TypeError, "depth must be an integer, got '3'"),
    (lambda: ff.DeepLinear(True), TypeError, "depth must be an integer, got True"),
    (lambda: ff.DeepLinear(widths=(3,)), ValueError, r"widths must be .* at least two entries, got \(3,\)"),
    (lambda: ff.DeepLinear(widths=()), ValueError, r"widths must be .* at least two entries, got \(\)"),
    (lambda: ff.DeepLinear(widths=5), ValueError, r"widths must be .*, got 5"),
    (lambda: ff.DeepLinear(widths="33"), ValueError, r"widths must be .*, got '33'"),
    (lambda: ff.DeepLinear(widths=(3, 0, 3)), ValueError, r"widths\[1\] must be at least 1, got 0"),
    (lambda: ff.DeepLinear(widths=(3, 1.5)), TypeError, r"widths\[1\] must be an integer, got 1.5"),
    (lambda: ff.DeepLinear(3, (3, 3)), ValueError, r"depth 3 contradicts widths \(3, 3\), which have depth 1"),
    (lambda: train(ff.DeepLinear(widths=(3, 4))), ValueError, r"widths \(3, 4\) do not chain .* W is 3 x 3"),
    (lambda: train(ff.DeepLinear(widths=(4, 4, 3))), ValueError, "widths must start with 3 and end with 3"),
]

INITS = [
    (lambda: inits.Gaussian(-1), ValueError, "scale must be greater than 0, got -1"),
    (lambda: inits.Uniform(0), ValueError, "scale must be greater than 0, got 0"),
    (lambda: inits.Identity(np.nan), ValueError, "scale must be finite, got nan"),
    (lambda: inits.Orthogonal(np.inf), ValueError, "scale must be finite, got inf"),
    (lambda: inits.Gaussian("small"), TypeError, "scale must be a number, got 'small'"),
    (lambda: inits.Gaussian(1j), TypeError, "scale must be a number, got 1j"),
    (lambda: inits.Gaussian([1e-3, 1e-2]), TypeError, "scale must be a number"),
    (lambda: inits.Gaussian(True), TypeError, "scale must be a number, got True"),
    (lambda: inits.Gaussian(None), TypeError, "scale must be a number, got None"),
    (lambda: inits.Balanced(-1), ValueError, "scale must be greater than 0, got -1"),
    (lambda: inits.Gaussian(of="both"), ValueError, "of must be one of 'factor', 'product', got 'both'"),
    (lambda: inits.Identity(perturbation=-1), ValueError, "perturbation must be at least 0, got -1"),
    (
        lambda: train(init=inits.Identity(0.1, "factor", 0.2)),
        ValueError,
        "perturbation must be less than the scale 0.1",
    ),
    (lambda: inits.Balanced(product=NAN), ValueError, "product must be finite"),
    (lambda: inits.Balanced(product=EYE * 1j), TypeError, f"product {NOT_REAL}"),
    (
        lambda: train(init=inits.Balanced(product=np.eye(2))),
        ValueError,
        r"product must have the shape \(3, 3\) of W, got \(2, 2\)",
    ),
    (
        lambda: train(ff.DeepLinear(widths=(3, 2, 3)), inits.Balanced(product=EYE)),
        ValueError,
        "product has rank above the smallest width 2",
    ),
    (lambda: inits.Explicit(EYE), TypeError, "arrays must be a sequence of factors"),
    (lambda: inits.Explicit([]), TypeError, "arrays must be a sequence of factors"),
    (lambda: inits.Explicit([EYE, NAN]), ValueError, "factor 2 must be finite"),
    (lambda: inits.Explicit([EYE * 1j]), TypeError, f"factor 1 {NOT_REAL}"),
    (lambda: inits.Explicit([2.0]), ValueError, r"factor 1 must have 1 or 2 or 3 dimension\(s\)"),
    (
        lambda: train(init=inits.Explicit([[1.0, 2.0]])),
        ValueError,
        r"factors given have shapes \[\(2,\)\], the network",
    ),
    (
        lambda: train(init=inits.Explicit([EYE, np.eye(4)])),
        ValueError,
        "factors do not chain: factor 1 has 3 rows, factor 2 has 4 columns",
    ),
    (lambda: inits.Explicit([EYE, EYE[None]]), ValueError, "factors must all be one start, or all stacks"),
    (
        lambda: train(init=inits.Explicit([np.ones((2, 3, 3)), np.ones((4, 3, 3))])),
        ValueError,
        r"factors have different numbers of runs: \[2, 4\]",
    ),
    (lambda: inits.Explicit([np.ones((2, 3, 3))], steps=[1]), ValueError, "steps must be 2 nonnegative integers"),
    (lambda: inits.Explicit([np.ones((2, 3, 3))], steps=[1, -1]), ValueError, "steps must be 2 nonnegative integers"),
    (
        lambda: inits.Explicit([np.ones((2, 3, 3))], steps=[1.0, 2.0]),
        ValueError,
        "steps must be 2 nonnegative integers",
    ),
    (lambda: inits.Explicit([EYE], steps=[1]), ValueError, "steps (?!must be None)"),
    (
        lambda: train(init=inits.Explicit([EYE])),
        ValueError,
        r"factors given have shapes \[\(3, 3\)\], the network needs",
    ),
    (
        lambda: train(ff.DeepLinear(1), inits.Explicit([np.ones((4, 3, 3))]), runs=3),
        ValueError,
        "factors given are 4 starts for each problem, but runs is 3",
    ),
    (
        lambda: ff.train([estimation()] * 3, ff.DeepLinear(1), inits.Explicit([np.ones((4, 3, 3))])),
        ValueError,
        "4 starts cannot be shared evenly by 3 problems",
    ),
    # The arithmetic of the run decides whether a start is there at all.
    (lambda: train(init=inits.Gaussian(1e-300), dtype="float32", runs=2), ValueError, "zero or not finite in float32"),
    (
        lambda: train(init=inits.Gaussian(1e200, of="factor"), dtype="float32", runs=2),
        ValueError,
        "zero or not finite in float32",
    ),
]

METHODS = [
    (lambda: ff.GradientDescent(step=0), ValueError, "step must be greater than 0, got 0"),
    (lambda: ff.GradientDescent(step=-0.1), ValueError, "step must be greater than 0, got -0.1"),
    (lambda: ff.GradientDescent(step=np.nan), ValueError, "step must be finite, got nan"),
    (lambda: ff.GradientDescent(step="big"), TypeError, "step must be a number, 'safe', or like '0.5 edge', got 'big'"),
    (lambda: ff.GradientDescent(step=1j), TypeError, "step must be a number"),
    (lambda: ff.GradientDescent(step=[]), ValueError, "step is empty"),
    (lambda: ff.GradientDescent(step=[0.1, 0.0]), ValueError, "every step must be greater than 0, got 0"),
    (lambda: ff.GradientDescent(step=[0.1, np.inf]), ValueError, r"step must be finite, got inf at index \(1,\)"),
    (lambda: ff.GradientDescent(step=[[0.1]]), ValueError, r"step must have 1 dimension\(s\)"),
    (lambda: ff.GradientDescent(step=[0.1] * 3, max_steps=4), ValueError, "max_steps is 4, .* has only 3 entries"),
    (lambda: ff.GradientDescent(max_steps=-1), ValueError, "max_steps must be at least 0, got -1"),
    (lambda: ff.GradientDescent(max_steps=1.5), TypeError, "max_steps must be an integer, got 1.5"),
    (lambda: ff.GradientDescent(max_steps="many"), TypeError, "max_steps must be an integer, got 'many'"),
    (lambda: ff.GradientDescent(tol=-1), ValueError, "tol must be at least 0, got -1"),
    (lambda: ff.GradientDescent(tol=np.nan), ValueError, "tol must be finite"),
    (lambda: ff.GradientDescent(gradient_tol=-1e-3), ValueError, "gradient_tol must be at least 0, got -0.001"),
    (lambda: ff.GradientDescent(gradient_tol="0"), TypeError, "gradient_tol must be a number, got '0'"),
    (lambda: ff.GradientDescent(tol=-1e-10), ValueError, "tol must be at least 0, got -1e-10"),
    (lambda: ff.Decreasing(0), ValueError, "first must be greater than 0, got 0"),
    (lambda: ff.Decreasing(0.1, power=-1), ValueError, "power must be greater than 0, got -1"),
    (lambda: ff.Decreasing(0.1, scale="a"), TypeError, "scale must be a number, got 'a'"),
]

RECORDS = [
    (lambda: ff.Record(steps=1), ValueError, "steps must be at least 2, got 1"),
    (lambda: ff.Record(steps=2.5), TypeError, "steps must be an integer, got 2.5"),
    (lambda: ff.Record(steps="all"), TypeError, "steps must be an integer, got 'all'"),
    (lambda: ff.Record(steps=[]), ValueError, "steps must be a number of steps or an array of integers"),
    (lambda: ff.Record(steps=[0.5, 1.5]), ValueError, "steps must be a number of steps or an array of integers"),
    (lambda: ff.Record(steps=[[0, 1]]), ValueError, "steps must be a number of steps or an array of integers"),
    (lambda: ff.Record(steps=[0, 5, 5]), ValueError, "steps must be nonnegative and strictly increasing"),
    (lambda: ff.Record(steps=[5, 0]), ValueError, "steps must be nonnegative and strictly increasing"),
    (lambda: ff.Record(steps=[-1, 0]), ValueError, "steps must be nonnegative and strictly increasing"),
    (lambda: ff.Record(spacing="cubic"), ValueError, "spacing must be one of 'log', 'linear', 'last', got 'cubic'"),
]

TRAIN = [
    (lambda: ff.train(EYE), TypeError, r"problem must be a problem such as MatrixEstimation\(matrix\).*got ndarray"),
    (lambda: ff.train(ff.MatrixEstimation), TypeError, "problem must be a problem such as"),
    (lambda: ff.train(None), TypeError, "problem must be a problem .*got NoneType"),
    (lambda: ff.train([]), ValueError, "the list of problems is empty"),
    (lambda: ff.train([estimation(), EYE]), TypeError, "problem must be a problem .*got ndarray"),
    (
        lambda: ff.train([estimation(), ff.MatrixEstimation(np.eye(4))]),
        ValueError,
        r"problems in one list must have one class and shape, got MatrixEstimation \(3, 3\) and MatrixEstimation \(4",
    ),
    (
        lambda: ff.train([estimation(), completion(shape=(3, 3), warn=False)]),
        ValueError,
        r"one class and shape, got MatrixEstimation \(3, 3\) and MatrixCompletion \(3, 3\)",
    ),
    (
        lambda: ff.train([estimation(), estimation(truth=EYE)]),
        ValueError,
        "either every problem of a list has a truth, or none",
    ),
    (
        lambda: ff.train([ff.LinearRegression(np.ones((9, k)), np.ones((2, k))) for k in (2, 3)]),
        ValueError,
        "same number of samples",
    ),
    (lambda: train(3), TypeError, "network must be a DeepLinear or a DiagonalLinear, got int"),
    (lambda: train(0), TypeError, "network must be a DeepLinear or a DiagonalLinear, got int"),
    (
        lambda: train(ff.DeepLinear),
        TypeError,
        "network must be a DeepLinear or a DiagonalLinear, got the class DeepLinear, not one of it",
    ),
    (lambda: train(init=1e-3), TypeError, r"init must be an init such as inits.Gaussian\(1e-3\).*got float"),
    (lambda: train(init=0.0), TypeError, r"init must be an init such as inits.Gaussian\(1e-3\).*got float"),
    (lambda: train(init=[EYE]), TypeError, "init must be an init .*got list"),
    (
        lambda: train(method=0.1),
        TypeError,
        r"method must be a method such as GradientDescent\(\), .*, got float",
    ),
    (
        lambda: train(method=0),
        TypeError,
        r"method must be a method such as GradientDescent\(\), .*, got int",
    ),
    (lambda: train(record=10), TypeError, "record must be a Record, got int"),
    (lambda: train(record=True), TypeError, "record must be a Record, got bool"),
    (lambda: train(runs=0), ValueError, "runs must be at least 1, got 0"),
    (lambda: train(runs=-3), ValueError, "runs must be at least 1, got -3"),
    (lambda: train(runs=1.5), TypeError, "runs must be an integer, got 1.5"),
    (lambda: train(runs="10"), TypeError, "runs must be an integer, got '10'"),
    (lambda: train(runs=[]), ValueError, "runs must be a positive number or a sequence of nonnegative integers"),
    (lambda: train(runs=[0, -1]), ValueError, "runs must be a positive number or a sequence of nonnegative integers"),
    (lambda: train(runs=[0.5]), ValueError, "runs must be a positive number or a sequence of nonnegative integers"),
    (
        lambda: train(runs=[[1], [2, 3]]),
        ValueError,
        "runs must be a positive number or a sequence of nonnegative integers",
    ),
    (lambda: train(seed=-1), ValueError, "seed must be at least 0, got -1"),
    (lambda: train(seed=0.5), TypeError, "seed must be an integer, a numpy.random.Generator or None, got 0.5"),
    (lambda: train(threads=0), ValueError, "threads must be at least 1, got 0"),
    (lambda: train(threads="all"), TypeError, "threads must be an integer, got 'all'"),
    (lambda: train(dtype=complex), TypeError, "dtype must be float64 or float32, got complex128"),
    (lambda: train(dtype=np.float16), TypeError, "dtype must be float64 or float32, got float16"),
    (lambda: train(dtype="int"), TypeError, "dtype must be float64 or float32, got int64"),
    (lambda: train(dtype="double precision"), TypeError, "dtype must be float64 or float32"),
]

CASES = {
    "problem": PROBLEMS,
    "network": NETWORKS,
    "init": INITS,
    "method": METHODS,
    "record": RECORDS,
    "train": TRAIN,
}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(*case, id=f"{kind} {i}: {re.sub(r'[^A-Za-z0-9 ]', '', case[2])[:40]}")
        for kind, cases in CASES.items()
        for i, case in enumerate(cases)
    ],
)
def test_bad_input(call, error, message, monkeypatch):
    def work(*arguments):
        raise AssertionError("work was done before the input was checked")

    monkeypatch.setattr(Execution, "run", work)
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize(
    "call",
    [
        lambda: ff.Record(steps=np.linspace(0, 1, 5000)),
        lambda: train(runs=[-1] * 5000),
        lambda: inits.Explicit([np.ones((2, 3, 3))], steps=list(range(5000))),
        lambda: ff.DeepLinear(widths=[3.5] * 5000),
        lambda: train(ff.DeepLinear(widths=[3] * 5000 + [4])),
        lambda: inits.Gaussian(np.ones(5000).tolist()),
        lambda: completion(shape=np.ones(5000, int).tolist()),
        lambda: estimation(normalization="x" * 5000),
    ],
    ids=["record", "runs", "explicit steps", "widths", "widths to chain", "scale", "shape", "normalization"],
)
def test_a_message_does_not_print_a_large_argument(call):
    """Of an argument with thousands of entries the message shows a few."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert len(str(caught.value)) < 1000


def test_bad_input_is_found_before_anything_is_compiled():
    before = len(descend.signatures)
    with pytest.raises(ValueError, match="scale"):
        ff.train(ff.MatrixSensing(EYE[None], [1.0]), init=inits.Gaussian(-1), dtype=np.float32)
    assert len(descend.signatures) == before


def test_integers_and_whole_floats_count_as_counts():
    """A million steps may be written 1e6, and NumPy's integers are integers."""
    assert ff.GradientDescent(max_steps=1e6).max_steps == 10**6
    assert ff.DeepLinear(np.int32(4)).depth == 4
    assert ff.DeepLinear(widths=np.array([3, 4])).widths == (3, 4)
    assert ff.Record(steps=np.int64(7)).steps == 7
    assert len(ff.train(estimation(), runs=np.int16(3), method=ff.GradientDescent(max_steps=0))) == 3
