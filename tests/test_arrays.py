"""The front door for arrays: every kind of input through every public function that takes an array.

What NumPy reads without loss gives what the plain array gives, to the last bit. What would lose something (a mask,
units, an index, a gradient, digits, an imaginary part) is one line that names the argument. No function is forgotten:
the list of those that take arrays is read from their signatures.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import dask.array
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from random_calls import Shrinking, shrink
from test_documentation import is_result, members

import fastflow as ff
from fastflow import baselines, ensembles, inits, metrics, theory
from fastflow.arrays import as_array, as_real
from fastflow.checks import as_number
from fastflow.methods import METHODS
from fastflow.methods.stepping import SteppingMethod
from fastflow.studies.statistics import wilson
from fastflow.studies.transitions import boundary, compare

# What takes arrays


class Call(NamedTuple):
    """A public function of one of its arrays.

    Attributes
    ----------
    given : the array
    call : what is computed from it, and compared
    named : how messages call it
    gaps : whether masked entries mean something
    kept : kinds of `LOSSY` that lose nothing here
    """

    given: np.ndarray
    call: Callable[[object], object]
    named: str
    gaps: bool = False
    kept: tuple[str, ...] = ()


WIDE = np.array([[2.0, 0.5, -1.0, 1.5], [0.5, 3.0, 1.0, -0.5], [-1.0, 0.5, 2.5, 1.0]])
OTHER = np.array([[1.0, -0.5, 2.0, 0.5], [1.5, 1.0, -2.0, 0.5], [0.5, 2.5, 1.0, -1.0]])
SQUARE = np.array([[2.0, 0.5], [0.5, 1.5]])
X4, Y3 = np.array([1.0, 0.5, 2.0, 1.5]), np.array([2.0, 1.5, 0.5])
OPERATORS = np.stack([WIDE, OTHER, WIDE[::-1]])
LARGE, SMALL, COUNTS = np.array([2.0, 1.5]), np.array([0.5, 0.25]), np.array([1, 2])
PLACES = np.array([0, 2, 1])

ESTIMATION = ff.MatrixEstimation(SQUARE)
PROBLEMS = {
    "MatrixEstimation": ff.MatrixEstimation(WIDE),
    "MatrixCompletion": ff.MatrixCompletion.from_dense(WIDE),
    "MatrixSensing": ff.MatrixSensing(OPERATORS, Y3),
    "LinearRegression": ff.LinearRegression(OTHER.T, OTHER[:, :3].T @ OTHER[:, :3], samples="columns"),
    "CompressedSensing": ff.CompressedSensing(WIDE, Y3),
}
SIGNED = ff.DiagonalLinear(2, identical=False)
FOUND = boundary([1.0, 2.0, 4.0], [[0, 5, 10]], 10, resamples=0)


class Data(NamedTuple):
    target: np.ndarray


def loss_of_data(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.target[index, i]
        loss += 0.5 * gradient[i] ** 2
    return loss


ff.kernels.add_problem(Data, loss_of_data)

ff.kernels.add_rule(Shrinking, shrink)


def of_factors(function: Callable[[list], object], factor: np.ndarray = SQUARE) -> Call:
    """A function of several factors, of the first of them."""
    return Call(factor, lambda a: function([a, factor]), "factor 1")


CALLS: dict[str, Call] = {
    # Operators
    "fastflow.operators.PartialFourier: rows": Call(
        COUNTS, lambda a: ff.operators.PartialFourier(4, a).frequencies, "rows"
    ),
    "fastflow.operators.PartialCosine: rows": Call(
        COUNTS, lambda a: ff.operators.PartialCosine(4, a).frequencies, "rows"
    ),
    "fastflow.operators.SubsampledHadamard: rows": Call(
        COUNTS, lambda a: ff.operators.SubsampledHadamard(4, a).chosen, "rows"
    ),
    "fastflow.operators.Circulant: kernel": Call(X4, lambda a: ff.operators.Circulant(a).kernel, "kernel"),
    "fastflow.operators.Circulant: rows": Call(COUNTS, lambda a: ff.operators.Circulant(X4, a).places, "rows"),
    "fastflow.operators.RankOne: left": Call(WIDE, lambda a: ff.operators.RankOne(a, OTHER).left, "left"),
    "fastflow.operators.RankOne: right": Call(WIDE, lambda a: ff.operators.RankOne(OTHER, a).right, "right"),
    # Problems
    "fastflow.MatrixEstimation: target": Call(WIDE, lambda a: ff.MatrixEstimation(a).target, "target"),
    "fastflow.MatrixEstimation: truth": Call(WIDE, lambda a: ff.MatrixEstimation(WIDE, truth=a).truth, "truth"),
    "fastflow.MatrixCompletion: rows": Call(
        PLACES, lambda a: ff.MatrixCompletion((3, 3), a, [0, 1, 2], Y3).rows, "rows"
    ),
    "fastflow.MatrixCompletion: cols": Call(
        PLACES, lambda a: ff.MatrixCompletion((3, 3), [0, 1, 2], a, Y3).cols, "cols"
    ),
    "fastflow.MatrixCompletion: values": Call(
        Y3, lambda a: ff.MatrixCompletion((3, 3), PLACES, [0, 1, 2], a).values, "values"
    ),
    "fastflow.MatrixCompletion: truth": Call(
        WIDE, lambda a: ff.MatrixCompletion.from_dense(WIDE, truth=a).truth, "truth"
    ),
    "fastflow.MatrixCompletion.from_dense: matrix": Call(
        WIDE, lambda a: entries(ff.MatrixCompletion.from_dense(a)), "matrix", gaps=True
    ),
    "fastflow.MatrixCompletion.from_dense: mask": Call(
        WIDE > 2.5, lambda a: entries(ff.MatrixCompletion.from_dense(WIDE, a)), "mask"
    ),
    "fastflow.MatrixCompletion.from_dense: truth": Call(
        WIDE, lambda a: ff.MatrixCompletion.from_dense(WIDE, truth=a).truth, "truth"
    ),
    "fastflow.MatrixSensing: operators": Call(OPERATORS, lambda a: ff.MatrixSensing(a, Y3).operators, "operators"),
    "fastflow.MatrixSensing: values": Call(Y3, lambda a: ff.MatrixSensing(OPERATORS, a).values, "values"),
    "fastflow.MatrixSensing: truth": Call(WIDE, lambda a: ff.MatrixSensing(OPERATORS, Y3, truth=a).truth, "truth"),
    "fastflow.LinearRegression: inputs": Call(
        WIDE, lambda a: ff.LinearRegression(a, SQUARE @ WIDE[:2]).inputs, "inputs"
    ),
    "fastflow.LinearRegression: outputs": Call(WIDE, lambda a: ff.LinearRegression(X4[None], a).outputs, "outputs"),
    "fastflow.LinearRegression: truth": Call(
        X4[None], lambda a: ff.LinearRegression(WIDE.T, Y3[None], truth=a).truth, "truth"
    ),
    "fastflow.LinearRegression.autoencoder: inputs": Call(
        WIDE, lambda a: ff.LinearRegression.autoencoder(a, samples="rows").outputs, "inputs"
    ),
    "fastflow.LinearRegression.autoencoder: truth": Call(
        SQUARE, lambda a: ff.LinearRegression.autoencoder(WIDE[:2], truth=a, samples="columns").truth, "truth"
    ),
    "fastflow.CompressedSensing: matrix": Call(
        WIDE, lambda a: ff.CompressedSensing(a, Y3).matrix, "matrix", kept=("scipy.sparse",)
    ),
    "fastflow.CompressedSensing: values": Call(Y3, lambda a: ff.CompressedSensing(WIDE, a).values, "values"),
    "fastflow.CompressedSensing: truth": Call(X4, lambda a: ff.CompressedSensing(WIDE, Y3, truth=a).truth, "truth"),
    "fastflow.CustomProblem: truth": Call(
        SQUARE, lambda a: ff.CustomProblem((2, 2), Data(SQUARE.ravel()), truth=a).truth, "truth"
    ),
    "fastflow.CustomProblem: data": Call(
        SQUARE.ravel(),
        lambda a: ff.CustomProblem.kernel_data([ff.CustomProblem((2, 2), Data(a))], np.float64).target,
        r"data\.target",
        kept=("complex", "complex without imaginary part", "large integers"),
    ),
    **{
        f"fastflow.{name}.{method}: {argument}": Call(
            np.ones(problem.shape), getattr(problem, method), named or problem.unknown
        )
        for name, problem in PROBLEMS.items()
        for method, argument, named in (
            ("residual", "product", ""),
            ("gradient", "product", ""),
            ("loss", "product", ""),
            ("normal_operator", "direction", "direction"),
        )
    },
    **{
        f"fastflow.{name}.explained: residual": Call(np.ones(problem.residual_count), problem.explained, "residual")
        for name, problem in PROBLEMS.items()
    },
    # Inits
    "fastflow.inits.Balanced: product": Call(SQUARE, lambda a: inits.Balanced(product=a).product, "product"),
    "fastflow.inits.Constant: scale": Call(X4, lambda a: inits.Constant(a).scale, "scale"),
    "fastflow.inits.Constant: negative": Call(X4, lambda a: inits.Constant(1.0, negative=a).negative, "negative"),
    "fastflow.inits.Explicit: arrays": of_factors(lambda factors: inits.Explicit(factors).arrays),
    "fastflow.inits.Explicit: steps": Call(COUNTS, lambda a: inits.Explicit([np.ones((2, 3, 3))], a).steps, "steps"),
    # Methods, records, running
    **{
        f"fastflow.{kind.__name__}: step": Call(SMALL, lambda a, kind=kind: kind(a).sequence, "step")
        for kind in METHODS
        if issubclass(kind, SteppingMethod)
    },
    "fastflow.LayerwiseDescent: multiples": Call(
        SMALL, lambda a: ff.LayerwiseDescent(multiples=a).multiples, "multiples"
    ),
    "fastflow.CustomRule: step": Call(SMALL, lambda a: ff.CustomRule(a, update=Shrinking(0.5)).sequence, "step"),
    "fastflow.StochasticGradientDescent: step": Call(
        SMALL, lambda a: ff.StochasticGradientDescent(a).descent.sequence, "step"
    ),
    "fastflow.StochasticGradientDescent: batch_size": Call(
        COUNTS, lambda a: ff.StochasticGradientDescent(batch_size=a).batch_sizes, "batch_size"
    ),
    "fastflow.StochasticGradientDescent: order": Call(
        COUNTS[None], lambda a: ff.StochasticGradientDescent(order=a).order, "order"
    ),
    "fastflow.StochasticGradientDescent: label_noise": Call(
        SMALL, lambda a: ff.StochasticGradientDescent(label_noise=a).label_noise, "label_noise"
    ),
    "fastflow.each: values": Call(SMALL, lambda a: ff.each(a).values, "each"),
    "fastflow.GradientFlow: times": Call(COUNTS / 2, lambda a: ff.GradientFlow(a).times, "times"),
    "fastflow.WeightNormalizationFlow: times": Call(COUNTS / 2, lambda a: ff.WeightNormalizationFlow(a).times, "times"),
    "fastflow.ProductFlow: times": Call(COUNTS / 2, lambda a: ff.ProductFlow(a).times, "times"),
    "fastflow.Record: steps": Call(COUNTS, lambda a: ff.Record(a).grid(9), "steps"),
    "fastflow.train: runs": Call(
        COUNTS, lambda a: ff.train(ESTIMATION, method=ff.GradientDescent(0.1, 2), runs=a).solution, "runs"
    ),
    "fastflow.flow_distance: runs": Call(
        COUNTS, lambda a: ff.flow_distance(ESTIMATION, method=ff.GradientDescent(0.1, 9), runs=a).distance, "runs"
    ),
    "fastflow.flow_distance: steps": Call(
        COUNTS, lambda a: ff.flow_distance(ESTIMATION, method=ff.GradientDescent(0.1, 9), runs=1, steps=a), "steps"
    ),
    "fastflow.flow_sharpness: runs": Call(
        COUNTS, lambda a: ff.flow_sharpness(ESTIMATION, runs=a, times=[0.1], rounds=0).sharpness, "runs"
    ),
    "fastflow.flow_sharpness: times": Call(
        COUNTS / 2, lambda a: ff.flow_sharpness(ESTIMATION, runs=1, times=a, rounds=0).sharpness, "times"
    ),
    "fastflow.flow_limit: matrix": Call(WIDE, lambda a: ff.flow_limit(a, Y3, 0.5, 2).x, "matrix"),
    "fastflow.flow_limit: values": Call(Y3, lambda a: ff.flow_limit(WIDE, a, 0.5, 2).x, "values"),
    "fastflow.saddle_paths: matrix": Call(WIDE, lambda a: ff.saddle_paths(a, Y3).x, "matrix"),
    "fastflow.saddle_paths: values": Call(Y3, lambda a: ff.saddle_paths(WIDE, a).x, "values"),
    "fastflow.normalized_limit: matrix": Call(WIDE, lambda a: ff.normalized_limit(a, Y3, 0.5).x, "matrix"),
    "fastflow.normalized_limit: values": Call(Y3, lambda a: ff.normalized_limit(WIDE, a, 0.5).x, "values"),
    "fastflow.normalized_limit: start": Call(X4, lambda a: ff.normalized_limit(WIDE, Y3, a).x, "start"),
    "fastflow.normalized_limit: ratio": Call(np.ones(2), lambda a: ff.normalized_limit(WIDE, Y3, 0.5, a).x, "ratio"),
    "fastflow.normalized_flow: matrix": Call(WIDE, lambda a: ff.normalized_flow(a, Y3, 0.5, [1.0]).x, "matrix"),
    "fastflow.normalized_flow: values": Call(Y3, lambda a: ff.normalized_flow(WIDE, a, 0.5, [1.0]).x, "values"),
    "fastflow.normalized_flow: start": Call(X4, lambda a: ff.normalized_flow(WIDE, Y3, a, [1.0]).x, "start"),
    "fastflow.normalized_flow: times": Call(COUNTS / 2, lambda a: ff.normalized_flow(WIDE, Y3, 0.5, a).x, "times"),
    "fastflow.normalized_flow: ratio": Call(
        np.ones(2), lambda a: ff.normalized_flow(WIDE, Y3, 0.5, [1.0], a).x, "ratio"
    ),
    "fastflow.flow_limit: alpha": Call(X4, lambda a: ff.flow_limit(WIDE, Y3, a, 2).x, "alpha"),
    "fastflow.flow_limit: negative": Call(X4, lambda a: ff.flow_limit(WIDE, Y3, 0.5, 2, negative=a).x, "negative"),
    "fastflow.gradient_flow: matrix": Call(WIDE, lambda a: ff.gradient_flow(a, Y3, 0.5, [1.0], 2).x, "matrix"),
    "fastflow.gradient_flow: values": Call(Y3, lambda a: ff.gradient_flow(WIDE, a, 0.5, [1.0], 2).x, "values"),
    "fastflow.gradient_flow: alpha": Call(X4, lambda a: ff.gradient_flow(WIDE, Y3, a, [1.0], 2).x, "alpha"),
    "fastflow.gradient_flow: times": Call(COUNTS / 2, lambda a: ff.gradient_flow(WIDE, Y3, 0.5, a, 2).x, "times"),
    "fastflow.gradient_flow: negative": Call(
        X4, lambda a: ff.gradient_flow(WIDE, Y3, 0.5, [1.0], 2, negative=a).x, "negative"
    ),
    "fastflow.kernels.make_mirror: positive": Call(X4, lambda a: ff.kernels.make_mirror(a, np.ones(4), 3), "positive"),
    "fastflow.kernels.make_mirror: negative": Call(X4, lambda a: ff.kernels.make_mirror(np.ones(4), a, 3), "negative"),
    # Studies
    "fastflow.StudyResult.compare: theory": Call(
        np.array([2.5]),
        lambda a: ff.StudyResult.compare(types.SimpleNamespace(boundary=lambda *_: FOUND, theory=lambda *_: None), a),
        "theory",
        gaps=True,
    ),
    "fastflow.StudyResult.quantiles: q": Call(SMALL, lambda a: studied().quantiles("loss", a).value, "q"),
    "fastflow.Outcome: steps": Call(COUNTS, lambda a: ff.Outcome(recovered_by, steps=a).steps, "steps"),
    "fastflow.studies.transitions.compare: theory": Call(
        np.array([2.5]), lambda a: compare(FOUND, a), "theory", gaps=True
    ),
    "fastflow.studies.transitions.boundary: values": Call(
        X4[:3], lambda a: boundary(a, [0, 5, 10], 10, resamples=0), "values"
    ),
    "fastflow.studies.transitions.boundary: successes": Call(
        np.array([0, 5, 10]), lambda a: boundary([1, 2, 3], a, 10, resamples=0), "successes"
    ),
    "fastflow.studies.transitions.boundary: trials": Call(
        np.array([10, 20, 30]), lambda a: boundary([1, 2, 3], [0, 5, 10], a, resamples=0), "trials"
    ),
    "fastflow.studies.transitions.Boundary.rates: values": Call(X4, FOUND.rates, "values"),
    "fastflow.studies.statistics.wilson: successes": Call(COUNTS, lambda a: wilson(a, 10), "successes"),
    "fastflow.studies.statistics.wilson: trials": Call(COUNTS, lambda a: wilson(1, a), "trials"),
    "fastflow.ensembles.Sparse: matrix": Call(
        WIDE, lambda a: ensembles.Sparse(4, matrix=a, sparsity=1).matrix, "matrix"
    ),
    "fastflow.ensembles.LowRank: spectrum": Call(
        LARGE, lambda a: ensembles.LowRank(4, m=9, spectrum=a).spectrum, "spectrum"
    ),
    "fastflow.ensembles.Regression: spectrum": Call(
        LARGE, lambda a: ensembles.Regression(4, 9, 3, 2, a).spectrum, "spectrum"
    ),
    "fastflow.ensembles.Autoencoder: spectrum": Call(
        LARGE, lambda a: ensembles.Autoencoder(4, 9, spectrum=a).spectrum, "spectrum"
    ),
    # Baselines
    "fastflow.baselines.BasisPursuit: weights": Call(X4, lambda a: baselines.BasisPursuit(a).weights, "weights"),
    "fastflow.baselines.LeastNorm: weights": Call(X4, lambda a: baselines.LeastNorm(a).weights, "weights"),
    "fastflow.baselines.basis_pursuit: matrix": Call(
        WIDE, lambda a: baselines.basis_pursuit(a, Y3), "matrix", kept=("scipy.sparse",)
    ),
    "fastflow.baselines.basis_pursuit: values": Call(Y3, lambda a: baselines.basis_pursuit(WIDE, a), "values"),
    "fastflow.baselines.basis_pursuit: weights": Call(X4, lambda a: baselines.basis_pursuit(WIDE, Y3, a), "weights"),
    "fastflow.baselines.best_rank: matrix": Call(WIDE, lambda a: baselines.best_rank(a, 1), "matrix"),
    "fastflow.baselines.lasso_path: matrix": Call(
        WIDE, lambda a: baselines.lasso_path(a, Y3, SMALL), "matrix", kept=("scipy.sparse",)
    ),
    "fastflow.baselines.lasso_path: values": Call(Y3, lambda a: baselines.lasso_path(WIDE, a, SMALL), "values"),
    "fastflow.baselines.lasso_path: penalties": Call(SMALL, lambda a: baselines.lasso_path(WIDE, Y3, a), "penalties"),
    "fastflow.baselines.least_norm: matrix": Call(
        WIDE, lambda a: baselines.least_norm(a, Y3), "matrix", kept=("scipy.sparse",)
    ),
    "fastflow.baselines.least_norm: values": Call(Y3, lambda a: baselines.least_norm(WIDE, a), "values"),
    "fastflow.baselines.least_norm: weights": Call(X4, lambda a: baselines.least_norm(WIDE, Y3, a), "weights"),
    "fastflow.baselines.nonnegative_least_squares: matrix": Call(
        WIDE, lambda a: baselines.nonnegative_least_squares(a, Y3), "matrix", kept=("scipy.sparse",)
    ),
    "fastflow.baselines.nonnegative_least_squares: values": Call(
        Y3, lambda a: baselines.nonnegative_least_squares(WIDE, a), "values"
    ),
    "fastflow.baselines.nuclear_norm_completion: matrix": Call(
        WIDE, lambda a: baselines.nuclear_norm_completion(a, tol=1e-3), "matrix", gaps=True
    ),
    "fastflow.baselines.nuclear_norm_sensing: operators": Call(
        OPERATORS, lambda a: baselines.nuclear_norm_sensing(a, Y3, tol=1e-3), "operators"
    ),
    "fastflow.baselines.nuclear_norm_sensing: values": Call(
        Y3, lambda a: baselines.nuclear_norm_sensing(OPERATORS, a, tol=1e-3), "values"
    ),
    "fastflow.baselines.oracle_least_squares: matrix": Call(
        WIDE, lambda a: baselines.oracle_least_squares(a, Y3, COUNTS), "matrix", kept=("scipy.sparse",)
    ),
    "fastflow.baselines.oracle_least_squares: values": Call(
        Y3, lambda a: baselines.oracle_least_squares(WIDE, a, COUNTS), "values"
    ),
    "fastflow.baselines.oracle_least_squares: support": Call(
        COUNTS, lambda a: baselines.oracle_least_squares(WIDE, Y3, a), "support"
    ),
    # Metrics
    **{
        f"fastflow.metrics.{function.__name__}: matrix": Call(WIDE, function, "matrix")
        for function in (
            metrics.effective_rank,
            metrics.entropy_rank,
            metrics.nuclear_norm,
            metrics.numerical_rank,
            metrics.singular_values,
            metrics.stable_rank,
        )
    },
    **{
        f"fastflow.metrics.{function.__name__}: vector": Call(X4, function, "vector")
        for function in (metrics.l1_norm, metrics.l2_norm, metrics.support)
    },
    "fastflow.metrics.schatten_norm: matrix": Call(WIDE, lambda a: metrics.schatten_norm(a, 0.5), "matrix"),
    "fastflow.metrics.effective_rank_of_values: values": Call(X4, metrics.effective_rank_of_values, "values"),
    "fastflow.metrics.numerical_rank_of_values: values": Call(
        X4, lambda a: metrics.numerical_rank_of_values(a, (4, 4)), "values"
    ),
    "fastflow.metrics.relative_error: matrix": Call(WIDE, lambda a: metrics.relative_error(a, OTHER), "matrix"),
    "fastflow.metrics.relative_error: truth": Call(WIDE, lambda a: metrics.relative_error(OTHER, a), "truth"),
    "fastflow.metrics.support_recovery: vector": Call(X4, lambda a: metrics.support_recovery(a, 2 * X4), "vector"),
    "fastflow.metrics.support_recovery: truth": Call(X4, lambda a: metrics.support_recovery(2 * X4, a), "truth"),
    "fastflow.metrics.balancedness: factors": of_factors(metrics.balancedness),
    "fastflow.metrics.balancedness_defects: factors": of_factors(metrics.balancedness_defects),
    "fastflow.metrics.balancedness_of_vectors: factors": of_factors(metrics.balancedness_of_vectors, X4),
    "fastflow.metrics.effective_alpha: factors": of_factors(lambda f: metrics.effective_alpha(f, 2), X4),
    # Theory
    "fastflow.theory.critical_point: factors": of_factors(
        lambda f: theory.critical_point(ff.MatrixEstimation(SQUARE @ SQUARE), ff.DeepLinear(2), f)
    ),
    "fastflow.theory.sharpness: factors": of_factors(lambda f: theory.sharpness(ESTIMATION, f)),
    "fastflow.theory.smallest_curvature: factors": of_factors(lambda f: theory.smallest_curvature(ESTIMATION, f)),
    "fastflow.theory.descent_region: factors": of_factors(lambda f: theory.descent_region(ESTIMATION, f)),
    "fastflow.theory.linear_rate: factors": of_factors(lambda f: theory.linear_rate(ESTIMATION, f)),
    "fastflow.theory.predicted_limit: factors": of_factors(lambda f: theory.predicted_limit(ESTIMATION, f)),
    "fastflow.theory.safe_step: factors": of_factors(lambda f: theory.safe_step(ESTIMATION, ff.DeepLinear(2), f)),
    "fastflow.theory.positive_part: matrix": Call(SQUARE, theory.positive_part, "matrix"),
    **{
        f"fastflow.theory.{function.__name__}: {name}": Call(
            WIDE,
            lambda a, f=function, name=name: f(**{"product": WIDE, "direction": WIDE, name: a}, depth=3),
            name,
        )
        for function in (theory.metric, theory.metric_inverse)
        for name in ("product", "direction")
    },
    "fastflow.theory.mode_time: value": Call(SMALL, lambda a: theory.mode_time(a, 2.0, 0.25, 3), "value"),
    "fastflow.theory.mode_time: eigenvalue": Call(LARGE, lambda a: theory.mode_time(0.5, a, 0.25, 3), "eigenvalue"),
    "fastflow.theory.mode_time: alpha": Call(SMALL, lambda a: theory.mode_time(0.5, 2.0, a, 3), "alpha"),
    "fastflow.theory.mode_value: t": Call(SMALL, lambda a: theory.mode_value(a, 2.0, 0.25, 3), "t"),
    "fastflow.theory.mode_value: eigenvalue": Call(LARGE, lambda a: theory.mode_value(1.0, a, 0.25, 3), "eigenvalue"),
    "fastflow.theory.mode_value: alpha": Call(SMALL, lambda a: theory.mode_value(1.0, 2.0, a, 3), "alpha"),
    "fastflow.theory.half_time: eigenvalue": Call(LARGE, lambda a: theory.half_time(a, 0.25, 3), "eigenvalue"),
    "fastflow.theory.half_time: alpha": Call(SMALL, lambda a: theory.half_time(2.0, a, 3), "alpha"),
    "fastflow.theory.escape_time: eigenvalue": Call(LARGE, lambda a: theory.escape_time(a, 0.25, 3), "eigenvalue"),
    "fastflow.theory.escape_time: alpha": Call(SMALL, lambda a: theory.escape_time(2.0, a, 3), "alpha"),
    "fastflow.theory.l1_critical_sparsity: measurements": Call(
        LARGE, lambda a: theory.l1_critical_sparsity(a, 8), "measurements"
    ),
    "fastflow.theory.l1_critical_sparsity: n": Call(LARGE, lambda a: theory.l1_critical_sparsity(1.0, a), "n"),
    "fastflow.theory.l1_statistical_dimension: sparsity": Call(
        LARGE, lambda a: theory.l1_statistical_dimension(a, 8), "sparsity"
    ),
    "fastflow.theory.l1_statistical_dimension: n": Call(LARGE, lambda a: theory.l1_statistical_dimension(1.0, a), "n"),
    "fastflow.theory.l1_finite_dimension: sparsity": Call(
        COUNTS, lambda a: theory.l1_finite_dimension(a, 8, samples=9), "sparsity"
    ),
    "fastflow.theory.l1_excess_bound: scale": Call(SMALL, lambda a: theory.l1_excess_bound(2, a, 9, 1.0), "scale"),
    "fastflow.theory.l1_excess_bound: norm": Call(LARGE, lambda a: theory.l1_excess_bound(2, 0.5, 9, a), "norm"),
    "fastflow.theory.l1_excess_scale: excess": Call(SMALL, lambda a: theory.l1_excess_scale(2, a, 9, 1.0), "excess"),
    "fastflow.theory.l1_excess_scale: norm": Call(LARGE, lambda a: theory.l1_excess_scale(2, 0.5, 9, a), "norm"),
    "fastflow.theory.nuclear_critical_rank: measurements": Call(
        LARGE, lambda a: theory.nuclear_critical_rank(a, (3, 4)), "measurements"
    ),
    "fastflow.theory.nuclear_statistical_dimension: rank": Call(
        LARGE, lambda a: theory.nuclear_statistical_dimension(a, (3, 4)), "rank"
    ),
    "fastflow.theory.nuclear_finite_dimension: rank": Call(
        COUNTS, lambda a: theory.nuclear_finite_dimension(a, (3, 4), samples=9), "rank"
    ),
    "fastflow.theory.bifurcation: steps": Call(
        SMALL, lambda a: theory.bifurcation(2, a, settle=10, kept=64).values, "steps"
    ),
    "fastflow.theory.period: path": Call(np.tile(X4, (1, 8)), theory.period, "path"),
    **{
        f"fastflow.theory.normalized_excess_bound: {name}": Call(
            SMALL,
            lambda a, name=name: theory.normalized_excess_bound(**{"ratio": 2.0, "start": 0.1, "norm": 1.0, name: a}),
            name,
        )
        for name in ("ratio", "start", "norm")
    },
    # Pictures
    "fastflow.results.plot.plot_images: images": Call(
        WIDE, lambda a: ff.plot.plot_images({"one": a}).axes[0].images[0].get_array().data, "image 'one'"
    ),
    "fastflow.results.plot.plot_recovery: alphas": Call(
        SMALL, lambda a: len(ff.plot.plot_recovery(recovered(), PROBLEMS["CompressedSensing"], a).axes), "alphas"
    ),
}


@functools.cache
def studied():
    """The result of a study."""
    ensemble = ensembles.Sparse(n=6, sparsity=1)
    return ff.Study(ensemble, method=baselines.LeastNorm(), axes={"m": [3]}, trials=3).run(threads=1, progress=False)


def recovered_by(trial):
    """An outcome."""
    return trial.solution


@functools.cache
def recovered():
    """Runs of two starts."""
    starts = inits.Explicit([SMALL[:, None] * np.ones(4)] * 2)
    return ff.train(PROBLEMS["CompressedSensing"], ff.DiagonalLinear(2), starts, ff.FlowLimit())


OF_ARRAYS = re.compile(r"ArrayLike|FloatArray|NDArray|NumberArray|ndarray|Sequence\[(int|float)\]")
BETWEEN_OURSELVES = ("fill", "solve_stack", "first_step", "matching_flow", "forward", "adjoint")
"""Methods that fastflow calls with arrays of its own."""


def entries(problem):
    return problem.rows, problem.cols, problem.values


def taken_arrays():
    """``function: parameter`` for every array that a public function takes from its user."""
    for name, member, owner in members():
        if owner is None and inspect.isclass(member) and (is_result(member) or issubclass(member, tuple)):
            continue  # a result, or data of kernels, which are read and not made
        if owner is not None and name.rpartition(".")[2] in BETWEEN_OURSELVES:
            continue
        if owner is ff.CustomProblem:
            continue  # has none of the methods of a problem
        try:
            parameters = inspect.signature(member).parameters
        except (TypeError, ValueError):  # compiled, or an enumeration
            continue
        for parameter in parameters.values():
            annotation = str(parameter.annotation)
            if (
                parameter.name not in ("widths", "shape")
                and OF_ARRAYS.search(annotation)
                and not annotation.startswith("Callable")
            ):
                yield f"{name}: {parameter.name}"


def test_no_function_that_takes_an_array_is_forgotten():
    missing = sorted(set(taken_arrays()) - CALLS.keys())
    assert not missing, f"no call in CALLS for {missing}"


# Kinds of input


class Foreign:
    """An array of another library, read by ``__array__``, with whatever else that library's arrays have."""

    def __init__(self, array, **more):
        self.array = array
        vars(self).update(more)

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class Interface:
    """An array by the older protocol."""

    def __init__(self, array):
        self.kept = array
        self.__array_interface__ = array.__array_interface__


class OfLibrary(Foreign):
    """What has methods, as they are looked up on classes."""

    def __dask_graph__(self):
        return None


class Frame(Foreign):
    def to_numpy(self):
        return self.array


class Rows(Foreign):
    def toarray(self):
        return self.array


class Coordinates(Foreign):
    def todense(self):
        return self.array


class Tensor(Foreign):
    """A tensor that wants a gradient, as PyTorch has it."""

    requires_grad = True

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


class Reluctant(Foreign):
    """What does not come to this machine by itself, as arrays on a device."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`\nand more lines")


class Quantity(np.ndarray):
    """An array with a unit, as astropy has it."""

    unit = "metre"


class Column(np.ndarray):
    """An array that might have a unit, and has none."""

    unit = None


def tuples(array):
    return tuple(map(tuples, array)) if array.ndim else array[()]


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def floats_only(change):
    return lambda a: change(a) if a.dtype.kind == "f" else None


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


def unsigned(array):
    return array.astype(np.uint16) if array.dtype.kind == "i" else None


LOSSLESS = {
    "list": lambda a: a.tolist(),
    "tuple": tuples,
    "list of arrays": list,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "reversed twice": lambda a: a[::-1].copy()[::-1],
    "read-only": read_only,
    "other bytes first": swapped,
    "float16": floats_only(lambda a: a.astype(np.float16)),
    "longdouble": floats_only(lambda a: a.astype(np.longdouble)),
    "unsigned": unsigned,
    "matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else None,
    "memory-mapped": lambda a: a.view(np.memmap),
    "masked nowhere": np.ma.array,
    "masked by falses": lambda a: np.ma.array(a, mask=np.zeros(a.shape, bool)),
    "buffer": memoryview,
    "__array__": lambda a: Foreign(a, units=None, requires_grad=False),
    "no plan": OfLibrary,
    "no unit": lambda a: a.view(Column),
    "__array_interface__": Interface,
}
"""What has nothing but its entries; None where there is no such thing."""


def masked(array):
    mask = np.zeros(array.shape, bool)
    mask.flat[-1] = True
    return np.ma.array(array, mask=mask)


def with_constant(array):
    values = array.tolist()
    last = values
    while isinstance(last[-1], list):
        last = last[-1]
    last[-1] = np.ma.masked
    return values


def framed(array):
    return pd.DataFrame(array) if array.ndim == 2 else pd.Series(array) if array.ndim == 1 else None


def fields(array):
    return array.astype([("a", array.dtype), ("b", array.dtype)])


def too_long(array):
    """With digits that a double has no room for."""
    longer = array.astype(np.longdouble) * (1 + np.finfo(np.longdouble).eps * 8)
    return longer if array.dtype.kind == "f" and np.any(longer.astype(float) != longer) else None


def too_large(array):
    return np.full(array.shape, 2**53 + 1) if array.dtype.kind == "f" else None


LOSSY: dict[str, tuple[Callable[[np.ndarray], object], str]] = {
    "masked": (masked, r"has 1 masked of \d+ entries"),
    "masked constant in a list": (with_constant, "masked arrays, whose masks would be lost"),
    "list of masked arrays": (lambda a: [masked(a), a], "masked arrays, whose masks would be lost"),
    "pandas": (framed, r"labels and nulls would be lost: give \.to_numpy\(\)"),
    "nullable": (lambda a: pd.array(a.ravel()), r"give \.to_numpy\(\)"),
    "xarray": (xr.DataArray, r"give \.to_numpy\(\)"),
    "polars": (Frame, r"give \.to_numpy\(\)"),
    "list of frames": (lambda a: [Frame(a)], r"give \.to_numpy\(\)"),
    "pint": (lambda a: Foreign(a, units="metre", magnitude=a), r"units \(metre\) would be lost: give plain numbers"),
    "astropy": (lambda a: a.view(Quantity), r"unit \(metre\) would be lost: give plain numbers, such as \.value"),
    "list of quantities": (lambda a: [a.view(Quantity)], r"unit \(metre\) would be lost"),
    "scipy.sparse": (lambda a: scipy.sparse.csr_array(a) if a.ndim == 2 else None, r"sparse.*: give \.toarray\(\)"),
    "sparse": (Rows, r"sparse.*: give \.toarray\(\)"),
    "sparse of PyData": (Coordinates, r"sparse.*: give \.todense\(\)"),
    "with gradient": (Tensor, r"gradient.*: give \.detach\(\)"),
    "dask": (dask.array.from_array, r"still to be computed: give \.compute\(\)"),
    "on a device": (Reluctant, r"Implicit conversion to a NumPy array is not allowed\. Please use `\.get\(\)`$"),
    "complex": (lambda a: a + 1e-3j, ""),
    "complex without imaginary part": (lambda a: a.astype(complex), ""),
    "objects": (lambda a: a.astype(object), ""),
    "text": (lambda a: a.astype(str), ""),
    "bytes": (lambda a: a.astype(bytes), ""),
    "text in a list": (lambda a: a.astype(str).tolist(), ""),
    "fields": (fields, ""),
    "dates": (lambda a: a.astype(np.int64).astype("M8[D]"), ""),
    "spans": (lambda a: a.astype(np.int64).astype("m8[s]"), ""),
    "ragged": (lambda a: [[1, 0], [1]], "a ragged list"),
    "generator": (lambda a: (x for x in a.tolist()), ""),
    "set": (lambda a: set(a.ravel().tolist()), ""),
    "dict": (lambda a: dict(enumerate(a.tolist())), ""),
    "more digits": (too_long, "numbers that float64 does not hold"),
    "large integers": (too_large, "numbers that float64 does not hold, such as 9007199254740993"),
}
"""What would lose something, and how that is said; None where there is no such thing."""

UNUSUAL = {
    "number": lambda a: a.ravel()[0],
    "0-d": lambda a: np.array(a.ravel()[0]),
    "empty": lambda a: a[:0],
    "one axis more": lambda a: a[None],
    "one entry less": lambda a: a[..., :-1],
    "bool": lambda a: a > a.mean(),
    "float32": lambda a: a.astype(np.float32),
    "int8": lambda a: a.astype(np.int8),
    "NaN": lambda a: np.full(a.shape, np.nan),
    "infinite": lambda a: np.full(a.shape, -np.inf),
    "huge": lambda a: np.full(a.shape, 1e308),
    "class": lambda a: np.ndarray,
    "word": lambda a: "word",
    "nothing": lambda a: [],
}
"""What may be taken or refused, but nothing else may happen."""


def leaves(result):
    """The arrays and numbers of a result."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, list | tuple):
        return [leaf for part in result for leaf in leaves(part)]
    return [] if result is None or isinstance(result, str) else [np.asarray(result)]


def same(one, two):
    one, two = leaves(one), leaves(two)
    assert len(one) == len(two) > 0
    for left, right in zip(one, two, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


def inputs(call, kinds):
    """Every kind that there is of the array of a call, with its name: one test a call, as there are 10,000 pairs."""
    for kind, make in kinds.items():
        given = None if kind in call.kept else make(call.given)
        if given is not None:
            yield kind, given


@pytest.mark.parametrize("name", CALLS)
def test_what_has_only_entries_is_taken(name):
    call = CALLS[name]
    for _kind, given in inputs(call, LOSSLESS):
        same(call.call(given), call.call(call.given))


@pytest.mark.parametrize("name", CALLS)
def test_what_would_lose_something_is_refused(name):
    call = CALLS[name]
    for kind, given in inputs(call, {kind: make for kind, (make, _) in LOSSY.items()}):
        if call.gaps and kind == "masked":
            same(call.call(given), call.call(np.where(given.mask, np.nan, call.given)))
            continue
        with pytest.raises((TypeError, ValueError), match=f"(?s){call.named}.*{LOSSY[kind][1]}") as caught:
            call.call(given)
        assert "\n" not in str(caught.value), kind


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_what_is_unusual_is_taken_or_refused_in_one_line(name):
    call = CALLS[name]
    for kind, given in inputs(call, UNUSUAL):
        complaint = ""
        try:
            call.call(given)
        except (TypeError, ValueError) as error:
            complaint = str(error)
        assert "\n" not in complaint, kind


# The doors themselves


def test_a_plain_array_passes_as_it_is():
    for dtype in (np.float64, np.float32):
        array = np.ones((2, 3), dtype)
        assert as_array("x", array) is array
        assert as_real("x", array) is array


@pytest.mark.parametrize("number", [2**53 - 1, 2**53, 2**60, -(2**63), 2**53 + 1, 2**63 - 1, -(2**63) + 1, 2**63])
def test_integers_are_taken_where_a_double_holds_them(number):
    dtype = np.uint64 if number >= 2**63 else np.int64
    array = np.array([0, number, 1], dtype)
    if int(float(number)) == number:
        assert as_real("x", array).tolist() == [0, number, 1]
    else:
        with pytest.raises(ValueError, match=f"such as {number}: round them"):
            as_real("x", array)


@pytest.mark.parametrize("beside", [0.5, -1, np.float64(0.5), True, np.inf])
def test_integers_beside_other_numbers_are_not_rounded(beside):
    """NumPy makes floats of such lists by itself."""
    for number in (2**53 + 1, np.int64(2**53 + 1), 2**63 + 1):
        with pytest.raises(
            ValueError, match=rf"^x has numbers that float64 does not hold, such as {number}: round them"
        ):
            as_real("x", [[number, 1.0], [beside, 1]])
    exact = as_real("x", [[2**60, 1.0], [beside, 1]])
    assert exact.tolist() == [[2.0**60, 1.0], [float(beside), 1.0]]


def test_float32_of_other_bytes_stays_float32():
    array = as_real("x", np.array([1.5, 2.5], ">f4"))
    assert array.dtype == np.float32
    assert array.dtype.isnative
    assert array.tolist() == [1.5, 2.5]


def test_what_lies_under_a_mask_is_nobodys_number():
    """Numbers that would be refused, and those that would be taken."""
    for array in (np.array([1, 2**53 + 1]), np.array([1.0, np.inf]), np.array([1, 1e30], ">f4")):
        given = np.ma.array(array, mask=[False, True])
        np.testing.assert_array_equal(as_real("x", given, gaps=True), [1, np.nan])


@pytest.mark.parametrize(
    "number",
    [
        1j,
        np.complex128(0.1 + 1j),
        np.complex64(0.1),
        np.array(0.1 + 0j),
        np.ma.masked,
        np.ma.array(0.1, mask=True),
        Foreign(np.array(0.1), units="metre"),
        Tensor(np.array(0.1)),
        np.array([0.1]),
        [0.1],
        [[0.1], []],
        "0.1",
        b"0.1",
        True,
        np.True_,
        None,
        np.datetime64("2020-01-01"),
        (x for x in [0.1]),
        pd.Series([0.1]),
        10**400,
    ],
    ids=lambda x: type(x).__name__,
)
def test_numbers_lose_nothing_either(number):
    for take in (lambda x: as_number("step", x), inits.Gaussian, lambda x: ff.GradientFlow(rtol=x)):
        with pytest.raises((TypeError, ValueError), match=r"^(step|scale|rtol) ") as caught:
            take(number)
        assert "\n" not in str(caught.value)


def test_a_complex_step_is_refused():
    for step in (0.1 + 1j, np.complex128(0.1 + 1j), np.array([0.1, 0.1j])):
        with pytest.raises(TypeError, match="step must be"):
            ff.GradientDescent(step)


def test_numbers_of_any_real_kind_are_taken():
    for kind in (float, np.float16, np.float32, np.longdouble, np.array, Fraction, Decimal):
        assert as_number("x", kind(0.5)) == 0.5
    for whole in (2, np.int8(2), np.uint64(2), np.array(2)):
        assert as_number("x", whole) == 2


# The libraries themselves, where they are


def test_pint():
    pint = pytest.importorskip("pint")
    with pytest.raises(TypeError, match=r"target is of type Quantity, whose units \(meter\) would be lost"):
        ff.MatrixEstimation(WIDE * pint.UnitRegistry().meter)


def test_astropy():
    units = pytest.importorskip("astropy.units")
    table = pytest.importorskip("astropy.table")
    with pytest.raises(TypeError, match=r"target is of type Quantity, whose unit \(m\) would be lost"):
        ff.MatrixEstimation(WIDE * units.m)
    assert metrics.l1_norm(table.Column(X4)) == 5
    with pytest.raises(TypeError, match="unit"):
        metrics.l1_norm(table.Column(X4, unit="m"))
    with pytest.raises(ValueError, match="vector has 1 masked of 4 entries"):
        metrics.l1_norm(table.MaskedColumn(X4, mask=X4 == 2))


def test_polars():
    polars = pytest.importorskip("polars")
    for given in (polars.DataFrame(WIDE), polars.Series(X4)):
        with pytest.raises(TypeError, match=r"give \.to_numpy\(\)"):
            ff.MatrixEstimation(given)


def test_torch():
    torch = pytest.importorskip("torch")
    plain = torch.tensor(WIDE)
    np.testing.assert_array_equal(ff.MatrixEstimation(plain).target, WIDE)
    with pytest.raises(TypeError, match=r"gradient would be passed back: give \.detach\(\)"):
        ff.MatrixEstimation(plain.clone().requires_grad_())
    with pytest.raises(TypeError, match="target must be an array of real numbers, got Tensor: "):
        ff.MatrixEstimation(plain.to_sparse())


def test_jax():
    jax = pytest.importorskip("jax")
    np.testing.assert_array_equal(ff.MatrixEstimation(jax.numpy.asarray(WIDE)).target, WIDE.astype(np.float32))
    with pytest.raises(TypeError, match="vector must be an array of real numbers, got "):
        jax.grad(metrics.l2_norm)(jax.numpy.ones(3))


def test_sparse_of_pydata():
    sparse = pytest.importorskip("sparse")
    with pytest.raises(TypeError, match=r"give \.todense\(\)"):
        ff.MatrixEstimation(sparse.COO.from_numpy(WIDE))


def test_scipy_sparse_of_every_format():
    for kind in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        for make in (getattr(scipy.sparse, f"{kind}_matrix"), getattr(scipy.sparse, f"{kind}_array")):
            with pytest.raises(TypeError, match=r"give \.toarray\(\)"):
                ff.MatrixEstimation(make(WIDE))


# What is too long


class Endless:
    """Entries that are made when they are asked for."""

    def __len__(self):
        return 10**12

    def __getitem__(self, index):
        return 1.0


ITSELF: list = []
ITSELF.append(ITSELF)
TOO_LONG = {
    "range": range(10**12),
    "beyond counting": range(10**30),
    "lazy": Endless(),
    "in a list": [range(10**12)] * 2,
    "one list many times": [[0.0] * 10**6] * 10**6,
    "in itself": ITSELF,
}
TAKE_MANY = {
    "array": lambda a: as_real("a", a),
    "runs": lambda a: ff.train(ESTIMATION, runs=a),
    "widths": lambda a: ff.DeepLinear(widths=a),
    "shape": lambda a: ff.MatrixCompletion(a, [0], [0], [1.0]),
    "balancedness": metrics.balancedness_of_vectors,
    "Explicit": inits.Explicit,
    "steps of an event": lambda a: ff.Event("loss", below=1, steps=a),
    "sharpness": lambda a: theory.sharpness(ESTIMATION, a),
    "safe step": lambda a: theory.safe_step(ESTIMATION, ff.DeepLinear(2), a),
}


@pytest.mark.parametrize("name", TAKE_MANY)
@pytest.mark.parametrize("given", TOO_LONG)
def test_what_is_too_long_is_refused_before_it_is_made(name, given):
    """At once, and in words: NumPy would fill the machine first."""
    with pytest.raises((MemoryError, TypeError, ValueError)) as refused:
        TAKE_MANY[name](TOO_LONG[given])
    assert type(refused.value) in (MemoryError, TypeError, ValueError)  # not NumPy's own, which comes too late
