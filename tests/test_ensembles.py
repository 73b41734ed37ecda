"""Ensembles: what they draw has the law that they state, and depends on their values and the stream alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fastflow as ff
from fastflow import ensembles
from fastflow.ensembles import Autoencoder, Custom, LowRank, Regression, Sparse
from fastflow.streams import Streams, encode, stream
from fastflow.studies.setup import draw_problem


def biased(rng, n=4, size=1.0):
    """A user's ensemble: a matrix to estimate."""
    return ff.MatrixEstimation(size * rng.standard_normal((n, n)))


def wrong(rng):
    return rng.standard_normal(3)


@pytest.mark.parametrize("prefix", [(), (0,), (3, "problem", ("Sparse", 1.5, (2, "x")))])
def test_streams_are_the_streams_of_their_keys(prefix):
    draw = Streams(*prefix)
    for number in (0, 7, 10**12, 7):
        rng = draw(number)
        expected = stream(*prefix, number)
        assert np.array_equal(rng.integers(0, 2**32, 3, np.uint32), expected.integers(0, 2**32, 3, np.uint32))
        assert np.array_equal(rng.standard_normal(5), expected.standard_normal(5))


@pytest.mark.parametrize("matrix", ["gaussian", "rademacher", "dct", "correlated"])
@pytest.mark.parametrize("scaling", ["entries", "columns"])
def test_matrices_are_scaled_as_promised(matrix, scaling):
    ensemble = Sparse(n=60, m=30, sparsity=5, matrix=matrix, scaling=scaling)
    squares = np.mean([np.sum(ensemble.draw(stream(i)).matrix ** 2, axis=0) for i in range(60)], axis=0)
    if scaling == "columns":
        assert squares == pytest.approx(np.ones(60), rel=1e-12)
    else:  # the mean of 60 sums of 30 squares has standard deviation sqrt(2 / 1800) = 0.033, and 5 of these
        assert np.abs(squares - 1).max() < 0.17
        assert np.mean(squares) == pytest.approx(1, abs=0.02)


def test_kinds_of_matrices():
    signs = Sparse(n=20, m=10, sparsity=2, matrix="rademacher").draw(stream(0)).matrix * np.sqrt(10)
    assert np.array_equal(np.unique(signs.round(12)), [-1, 1])
    cosines = Sparse(n=20, m=10, sparsity=2, matrix="dct").draw(stream(0)).matrix
    assert cosines @ cosines.T == pytest.approx(2 * np.eye(10), abs=1e-12)  # rows of the transform, times n / m
    given = np.arange(60.0).reshape(3, 20)
    kept = Sparse(n=20, sparsity=2, matrix=given)
    assert kept.m == 3
    assert np.array_equal(kept.draw(stream(0)).matrix, given)
    assert dataclasses.replace(kept, sparsity=3).matrix is kept.matrix
    given[0, 0] = 1e9
    assert kept.matrix[0, 0] == 0
    correlated = Sparse(n=30, m=4000, sparsity=1, matrix="correlated", correlation=0.7).draw(stream(1)).matrix
    distance = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    assert np.abs(correlated.T @ correlated - 0.7**distance).max() < 5 * np.sqrt(2 / 4000)


@pytest.mark.parametrize("coefficients", ["gaussian", "sign", "flat", "decaying", "positive"])
def test_coefficients_and_values(coefficients):
    ensemble = Sparse(n=50, m=20, sparsity=8, coefficients=coefficients, decay=2.0)
    problem = ensemble.draw(stream(3))
    entries = problem.truth[problem.truth != 0]
    assert entries.size == 8
    assert problem.values == pytest.approx(problem.matrix @ problem.truth, rel=1e-12)
    sizes = {"sign": np.ones(8), "flat": np.ones(8), "decaying": np.arange(1.0, 9) ** -2}
    if coefficients in sizes:
        assert np.sort(np.abs(entries))[::-1] == pytest.approx(sizes[coefficients])
    assert np.all(entries > 0) == (coefficients in ("flat", "positive"))


def test_every_place_is_as_likely_in_the_support():
    ensemble = Sparse(n=10, m=2, sparsity=3)
    counts = sum((ensemble.draw(stream(i)).truth != 0).astype(int) for i in range(2000))
    assert np.abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_noise():
    quiet, loud = (Sparse(n=20, m=500, sparsity=3, noise=noise).draw(stream(5)) for noise in (0.0, 0.5))
    residual = loud.values - loud.matrix @ loud.truth
    assert np.std(residual) == pytest.approx(0.5, rel=5 / np.sqrt(1000))
    assert np.array_equal(quiet.matrix, loud.matrix)


def test_delta_and_rho_stand_for_m_and_sparsity():
    shares, counts = Sparse(n=50, delta=0.4, rho=0.25), Sparse(n=50, m=20, sparsity=5)
    assert (shares.measurements, shares.nonzeros) == (20, 5)
    assert encode(shares.key()) == encode(counts.key())
    assert dataclasses.replace(shares, delta=0.001, rho=0.001).key()[2:4] == (1, 1)


@pytest.mark.parametrize("observed", ["sensing", "completion", "estimation"])
@pytest.mark.parametrize("spectrum", ["gaussian", "power", "flat", (3.0, 1.0)])
def test_low_rank(observed, spectrum):
    m = None if observed == "estimation" else 40
    problem = LowRank(n=9, columns=7, rank=2, m=m, observed=observed, spectrum=spectrum, decay=0.5).draw(stream(0))
    values = np.linalg.svd(problem.truth, compute_uv=False)
    assert np.all(values[2:] < 1e-12 * values[0])
    wanted = {"power": 2**-0.5, "flat": 1.0, (3.0, 1.0): 1 / 3}
    if spectrum in wanted:
        assert values[1] / values[0] == pytest.approx(wanted[spectrum])
    assert np.linalg.norm(values) == pytest.approx(np.sqrt(10) if spectrum == (3.0, 1.0) else np.sqrt(63))
    assert problem.loss(problem.truth) < 1e-20
    if observed == "sensing":
        assert np.sum(problem.operators**2) == pytest.approx(63, rel=5 * np.sqrt(2 / (40 * 63)))


def test_symmetric_and_noisy_low_rank():
    truth = LowRank(n=6, rank=2, m=10, symmetric=True).draw(stream(0)).truth
    assert np.array_equal(truth, truth.T)
    assert np.linalg.eigvalsh(truth).min() > -1e-12
    noisy = LowRank(n=30, rank=2, m=800, observed="completion", noise=0.3).draw(stream(0))
    assert np.std(noisy.residual(noisy.truth)) == pytest.approx(0.3, rel=5 / np.sqrt(1600))


def test_regression_and_autoencoder():
    problem = Regression(n=8, samples=20, outputs=5, rank=2).draw(stream(0))
    assert np.linalg.matrix_rank(problem.truth) == 2
    assert problem.loss(problem.truth) < 1e-20
    problem = Autoencoder(n=8, samples=20, rank=3, spectrum="power", noise=0.1).draw(stream(0))
    values = np.linalg.svd(problem.inputs, compute_uv=False)
    assert problem.loss(problem.truth) == pytest.approx(0.5 * np.sum(values[3:] ** 2))


@pytest.mark.parametrize(
    "ensemble",
    [
        Sparse(n=20, m=10, sparsity=3, noise=0.1),
        LowRank(n=5, rank=2, m=10),
        Regression(n=5, samples=9),
        Autoencoder(n=5, samples=9, rank=2),
        Custom(biased, 1, size=2.0),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_one_key_one_draw(ensemble):
    first, second, other = (ensemble.draw(stream(*ensemble.key(), trial)) for trial in (0, 0, 1))
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, vars(second)[name])
    assert any(not np.array_equal(v, vars(other)[k]) for k, v in vars(first).items() if isinstance(v, np.ndarray))


def test_a_function_of_the_user():
    ensemble = Custom(biased, 1)
    assert ensemble.names == ("n", "size")
    assert ensemble.replaced(n=6).draw(stream(0)).shape == (6, 6)
    assert encode(Custom(biased, 1, n=3).key()) != encode(Custom(biased, 2, n=3).key())
    with pytest.raises(TypeError, match="must return a problem"):
        Custom(wrong, 1).draw(stream(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Custom(lambda rng: None, 1), "top level of a module"),
        (lambda: Custom(biased, 1, width=3), "no parameter 'width'; it has n, size"),
        (lambda: Custom(biased, None), "version must be"),
        (lambda: Sparse(n=10, m=5, delta=0.5), "give m or delta, not both"),
        (lambda: Sparse(n=10, m=5, sparsity=11), "sparsity must be at most n = 10"),
        (lambda: Sparse(n=10, matrix="dct", m=11, sparsity=1), "at most n = 10 rows"),
        (lambda: Sparse(n=10, matrix="bernoulli"), "matrix must be one of"),
        (lambda: Sparse(n=10, matrix=np.ones((3, 4))), "must have n = 10 columns"),
        (lambda: Sparse(n=10, m=5).draw(stream(0)), "needs sparsity"),
        (lambda: Sparse(n=10, sparsity=5).check(), "needs m"),
        (lambda: LowRank(n=4, rank=5), "rank must be at most 4"),
        (lambda: LowRank(n=4, rank=1, m=17, observed="completion"), "at most the 16 entries"),
        (lambda: LowRank(n=4, columns=3, symmetric=True), "symmetric matrix is square"),
        (lambda: LowRank(n=4, spectrum=(1.0, 2.0)), "largest first"),
        (lambda: LowRank(n=4, rank=1).check(), "needs m"),
        (lambda: Regression(n=4).check(), "needs samples"),
    ],
)
def test_what_is_wrong_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def kinds(rng, kind="vector", m=3):
    """A user's ensemble."""
    return (Sparse(6, m, 1) if kind == "vector" else LowRank(4, rank=1, m=m)).draw(rng)


EXAMPLES = (
    *(Sparse(n, m, s, noise=noise) for n, m, s, noise in ((6, 4, 2, 0.0), (6, 5, 1, 0.1), (7, 4, 2, 0.0))),
    Sparse(6, sparsity=1, matrix=np.eye(6)[:3]),
    *(
        LowRank(n, rank=1, m=m, observed=observed)
        for n, m in ((4, 9), (5, 8))
        for observed in ("sensing", "completion")
    ),
    LowRank(4, rank=2, observed="estimation"),
    *(Regression(4, samples, outputs) for samples in (5, 6) for outputs in (1, 2)),
    *(Autoencoder(n, 9, rank=rank) for n in (4, 5) for rank in (1, 2)),
    *(Custom(kinds, 1, kind=kind, m=m) for kind in ("vector", "matrix") for m in (3, 4)),
)


def test_a_form_decides_the_class_and_the_shape_of_problems(rng):
    forms = {}
    for ensemble in EXAMPLES:
        problem = ensemble.draw(rng)
        forms.setdefault((type(ensemble), encode(ensemble.form())), set()).add((type(problem), problem.shape))
    assert all(len(found) == 1 for found in forms.values())
    assert len(forms) < len(EXAMPLES)


@pytest.mark.parametrize("ensemble", EXAMPLES, ids=repr)
def test_systems_are_filled_with_what_is_drawn(ensemble):
    problem = ensemble.draw(stream(1))
    if not isinstance(ensemble, Custom):
        assert problem.unknown == ensemble.unknown
    if ensemble.system_shape is None:
        with pytest.raises(TypeError, match="does not draw into arrays"):
            ensemble.fill(stream(1), np.zeros((1, 1)), np.zeros(1), np.zeros(1))
        return
    m, n = ensemble.system_shape
    matrix, values, truth = np.empty((m, n)), np.empty(m), np.zeros(n)
    ensemble.fill(stream(1), matrix, values, truth)
    assert np.array_equal(matrix, problem.matrix)
    assert np.array_equal(values, problem.values)
    assert np.array_equal(truth, problem.truth)
    assert ensemble.rows_independent == (ensemble.matrix_name != "given")


def test_programs_are_those_of_gaussian_measurements_without_noise():
    assert Sparse.program({"matrix": "dct"}) == "l1"
    assert Sparse.program({"matrix": "correlated"}) is Sparse.program({"noise": 0.1}) is None
    assert LowRank.program({"observed": "sensing"}) == "nuclear"
    assert LowRank.program({"observed": "completion"}) is Regression.program({}) is None


def test_every_ensemble_is_registered():
    classes = {thing for thing in vars(ensembles).values() if isinstance(thing, type)}
    assert set(ensembles.ENSEMBLES) == classes - {ensembles.Ensemble, Custom}


def test_rows_of_transforms_are_drawn_as_operators(rng):
    """The cosine transform is the "dct" of the same stream; noise is in both parts of complex measurements."""
    seed = int(rng.integers(2**31))
    drawn = {
        kind: Sparse(n=20, m=8, sparsity=3, matrix=kind, noise=0.1).draw(np.random.default_rng(seed))
        for kind in ("cosine", "dct", "fourier")
    }
    cosine, dense, fourier = drawn.values()
    np.testing.assert_allclose(cosine.matrix.toarray(), dense.matrix, rtol=0, atol=1e-14)
    np.testing.assert_allclose(cosine.values, dense.values, rtol=0, atol=1e-14)
    for problem in (cosine, fourier):
        np.testing.assert_array_equal(problem.truth, dense.truth)
        assert 0.02 < np.abs(problem.residual(problem.truth)).max() < 0.5
    assert fourier.values.shape == (16,)
    with pytest.raises(ValueError, match="a partial Fourier transform has at most n = 10 rows"):
        Sparse(n=10, matrix="fourier", m=11, sparsity=1)
    with pytest.raises(ValueError, match="scaling must be 'entries'"):
        Sparse(n=10, matrix="cosine", scaling="columns")


def test_a_study_of_operators_has_the_trials_that_train_has():
    ensemble = Sparse(n=32, m=12, sparsity=2, matrix="fourier")
    network, init, method = ff.DiagonalLinear(2), ff.inits.Constant(1e-2), ff.FlowLimit()
    study = ff.Study(ensemble, network, init, method, axes={"m": [6, 12]}, trials=2)
    result = study.run(threads=1)
    assert np.all(result["status"] == ff.Status.CONVERGED)
    for j, m in enumerate((6, 12)):
        for trial in range(2):
            alone = ff.train(draw_problem(ensemble.replaced(m=m), 0, trial), network, init, method)
            assert alone.error[0] == result["error"][j, trial]
