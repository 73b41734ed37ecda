"""A real input: the 1797 handwritten digits of scikit-learn, 8 x 8 pixels of 0 .. 16 each, divided by 16."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import shell
from fastflow.shell import tables

datasets = pytest.importorskip("sklearn.datasets")

RANK = 10
OPTIMUM_MARGIN = 1e-7


@pytest.fixture(scope="module")
def digits():
    """The digits, one a row: (1797, 64), entries in [0, 1]."""
    pixels = datasets.load_digits().data
    assert pixels.shape == (1797, 64)
    return pixels / 16


@pytest.fixture(scope="module")
def spectrum(digits):
    """Eigenvalues of X X^T, largest first, and its eigenvectors. All entries are multiples of 1/256, so it is exact."""
    values, vectors = np.linalg.eigh(digits.T @ digits)
    values, vectors = values[::-1], vectors[:, ::-1]
    assert np.sum(values > 1e-12 * values[0]) == 61
    return values, vectors


def test_autoencoder_reaches_the_optimum(digits, spectrum):
    """Widths (64, 10, 64), from Gaussian starts of product scale 1e-3, by half the stability edge.

    The least loss over rank 10 is ``1/2 sum_{i > 10} lambda_i(X X^T)``, at ``W = U_10 U_10^T``.
    """
    values, vectors = spectrum
    optimum = 0.5 * values[RANK:].sum()
    runs = ff.train(
        ff.LinearRegression.autoencoder(digits.T, samples="columns"),
        ff.DeepLinear(widths=(64, RANK, 64)),
        ff.inits.Gaussian(1e-3),
        ff.GradientDescent(step=None, max_steps=60_000, tol=optimum * (1 + OPTIMUM_MARGIN)),
        runs=4,
    )
    assert (runs.status == ff.Status.CONVERGED).all()
    leading = vectors[:, :RANK]
    for loss, product in zip(runs.loss, runs.solution, strict=True):
        from_data = 0.5 * np.sum((digits @ product.T - digits) ** 2)  # not from the Gram matrix, as in training
        assert loss == pytest.approx(optimum, rel=1e-6)
        assert from_data == pytest.approx(optimum, rel=1e-6)
        # An excess e turns the leading space by up to sqrt(2 e / (lambda_10 - lambda_11)) = 1.7e-3. (Elsewhere W is
        # not determined so well: three pixels are 0 in every digit, and W never learns what to do with them.)
        assert np.linalg.norm(product @ leading - leading, 2) < 2e-3
    assert ff.metrics.numerical_rank(runs.solution, 1e-9).max() == RANK


def test_hidden_pixels_against_depth(digits, tmp_path):
    """Half of the pixels hidden, the others fitted to 2% of their energy, from Gaussian starts of product scale 0.1.

    One factor cannot move a hidden pixel from where it started, near 0: its relative error is 1. Products of two and
    three factors are drawn to low rank and fill most of it in. (Depth 3 does so more greedily than digits deserve.)
    """
    np.save(tmp_path / "digits.npy", digits)
    data = tables.read_problem(tmp_path / "digits.npy", hide=0.5)
    assert data.hidden is not None
    energy = 0.5 * np.sum(data.problem.values**2)
    errors = {}
    for depth in (1, 2, 3):
        runs = ff.train(
            data.problem,
            ff.DeepLinear(depth),
            ff.inits.Gaussian(0.1),
            ff.GradientDescent(step=None, max_steps=4000, tol=0.02 * energy),
            runs=1,
        )
        assert (runs.status == ff.Status.CONVERGED).all()
        miss = data.hidden.residual(runs.solution[0])
        errors[depth] = np.linalg.norm(miss) / np.linalg.norm(data.hidden.values)
    assert errors[1] == pytest.approx(1, abs=1e-3)
    assert errors[2] < 0.45
    assert errors[3] < 0.55


def test_from_the_shell(digits, tmp_path, capsys):
    """``fastflow train digits.npy --problem autoencoder --widths 64,10,64`` on the file as it is, samples in rows."""
    path = tmp_path / "digits.npy"
    np.save(path, digits)
    arguments = ["train", str(path), "--problem", "autoencoder", "--widths", "64,10,64", "--runs", "2"]
    assert shell.main([*arguments, "--max-steps", "50", "--out", str(tmp_path / "out")]) == 0
    runs = ff.load(tmp_path / "out" / "runs.npz")
    problem = ff.LinearRegression.autoencoder(digits.T, samples="columns")
    assert runs.loss == pytest.approx([problem.loss(product) for product in runs.solution], rel=1e-12)
    assert f"{path}: autoencoder, W is 64 x 64" in capsys.readouterr().out
