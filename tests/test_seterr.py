"""What theory and metrics say does not depend on what `numpy.seterr` makes of terms that overflow or vanish."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import metrics, theory

EXTREME = np.diag([1e-300, 1e-200, 1.0])
ESTIMATION = ff.MatrixEstimation(np.diag([1e-200, 1.0, 3.0]))
REGRESSION = ff.LinearRegression(np.diag([1e-10, 1.0, 2.0]), np.diag([1e-200, 1.0, 1.0]), samples="columns")
SPARSE = ff.CompressedSensing(np.eye(2, 3), np.array([1.0, 1e-200]), truth=np.array([1.0, 1e-200, 0.0]))
SCALES = np.array([1e-200, 1e-5, 1.0, 1e100])

CALLS = {
    "mode_value": lambda: [
        theory.mode_value([0.0, 1e-300, 1.0, 1e300, np.inf], [[2.0], [0.0], [-2.0]], scale, depth)
        for scale in SCALES
        for depth in (1, 2, 3, 7)
    ],
    "mode_time": lambda: theory.mode_time([1e-300, 0.5, 1.0], [[2.0], [0.0], [-2.0]], 1e-120, 3),
    "half_time": lambda: theory.half_time([2.0, 0.0, -2.0], 1e-200, 2),
    "escape_time": lambda: theory.escape_time([2.0, 1e-300], 1e-120, 3),
    "l1_excess_bound": lambda: [theory.l1_excess_bound(d, SCALES, 9, 1e-300) for d in (2, 3, 5)],
    "l1_excess_scale": lambda: theory.l1_excess_scale(3, [1e-5, 1.0, 1e10], 9, 1.0),
    "monotone_step": lambda: [theory.monotone_step(8, 1e-200, 0.0), theory.monotone_step(8, 1e60, 1e200)],
    "stability_edge": lambda: [theory.stability_edge(p, ff.DeepLinear(3)) for p in (ESTIMATION, REGRESSION)],
    "of starts": lambda: [
        function(problem, [scale * np.eye(3)] * 3)
        for function in (theory.descent_region, theory.sharpness, theory.smallest_curvature, theory.predicted_limit)
        for problem in (ESTIMATION, REGRESSION)
        for scale in SCALES[:3]
    ],
    "safe_step": lambda: theory.safe_step(ESTIMATION, ff.DeepLinear(3), [1e-200 * np.eye(3)] * 3),
    "linear_rate": lambda: theory.linear_rate(ESTIMATION, [1e-200 * np.eye(3)] * 3),
    "critical_point": lambda: theory.critical_point(ESTIMATION, ff.DeepLinear(3), [1e-200 * np.eye(3)] * 3),
    "metric": lambda: theory.metric(EXTREME[1:, 1:], EXTREME[1:, 1:], 3),
    "metric_inverse": lambda: theory.metric_inverse(EXTREME, np.eye(3), 3),
    "global_minimum": lambda: theory.global_minimum(ESTIMATION, 2),
    "positive_part": lambda: theory.positive_part(EXTREME - np.diag([1e-250, 0, 0])),
    "dimensions": lambda: [
        theory.l1_statistical_dimension([1e-3, 1.0, 999.0], 1000),
        theory.l1_critical_sparsity([1.0, 500.0, 999.0], 1000),
        theory.nuclear_statistical_dimension(1, (30, 40)),
        theory.nuclear_critical_rank(600, (30, 40)),
        theory.l1_finite_dimension(3, 20),
        theory.nuclear_finite_dimension(2, (5, 6)),
    ],
    "check": lambda: [
        ff.check(ESTIMATION, ff.DeepLinear(3), ff.inits.Identity(1e-100, of="factor")),
        ff.check(SPARSE, ff.DiagonalLinear(3), ff.inits.Constant(1e-200)),
    ],
    "ranks": lambda: [
        function(EXTREME)
        for function in (
            metrics.effective_rank,
            metrics.entropy_rank,
            metrics.stable_rank,
            metrics.numerical_rank,
            metrics.nuclear_norm,
        )
    ],
    "schatten_norm": lambda: [metrics.schatten_norm(EXTREME, p) for p in (0.5, 3.0)],
    "norms": lambda: [
        metrics.l2_norm(np.diag(EXTREME)),
        metrics.relative_error(EXTREME, EXTREME - np.eye(3)),
        metrics.relative_error(1e200 * np.eye(3), 1e-100 * np.eye(3)),
    ],
    "balancedness": lambda: [
        metrics.balancedness([EXTREME, 1e200 * EXTREME]),
        metrics.balancedness_of_vectors([np.diag(EXTREME), 1e200 * np.diag(EXTREME)]),
    ],
    "support": lambda: [metrics.support(np.diag(EXTREME)), metrics.support_recovery([0.0], [0.0])],
}


@pytest.mark.parametrize("name", CALLS)
def test_no_term_raises(name):
    quietly = CALLS[name]()
    with np.errstate(all="raise"):
        loudly = CALLS[name]()
        assert set(np.geterr().values()) == {"raise"}
    assert repr(loudly) == repr(quietly)
