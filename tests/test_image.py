"""A real input: 16 x 16 pixels of scikit-learn's picture china.jpg, grey, nearly sparse in the 2-D cosine transform.

``python tests/test_image.py FILE`` draws what is recovered of them.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import fft

import fastflow as ff
from fastflow import theory

datasets = pytest.importorskip("sklearn.datasets")
pytest.importorskip("PIL", reason="scikit-learn reads its pictures with Pillow")

SIDE, SPARSITY = 16, 20


def read_patch():
    """A corner of the roof: (16, 16), between 0 and 1."""
    picture = datasets.load_sample_image("china.jpg")
    assert picture.shape == (427, 640, 3)
    return picture[200 : 200 + SIDE, 300 : 300 + SIDE].mean(axis=2) / 255


@pytest.fixture(scope="module")
def patch():
    return read_patch()


def coefficients(patch, keep=None):
    """The coefficients of a picture in the orthonormal 2-D cosine transform, or only its largest."""
    values = fft.dctn(patch, norm="ortho").ravel()
    if keep is not None:
        values[np.argsort(np.abs(values))[:-keep]] = 0
    return values


def picture(coefficients):
    """The picture of some coefficients."""
    return fft.idctn(coefficients.reshape(SIDE, SIDE), norm="ortho")


def measured(coefficients, m, rng):
    """A and y of m random projections of the pixels, with A acting on the coefficients."""
    projections = rng.standard_normal((m, SIDE**2)) / np.sqrt(m)
    inverse_transform = np.array([picture(row).ravel() for row in np.eye(SIDE**2)]).T
    return projections @ inverse_transform, projections @ picture(coefficients).ravel()


def error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def test_a_sparse_picture_is_recovered_from_fewer_measurements_than_pixels(patch, rng):
    """All pixels of the picture of its 20 largest coefficients, from 96 numbers instead of 256; 48 are too few."""
    truth = coefficients(patch, SPARSITY)
    threshold = theory.l1_statistical_dimension(SPARSITY, SIDE**2)
    assert 48 < threshold - SIDE < threshold + SIDE < 96
    found = ff.baselines.basis_pursuit(*measured(truth, 96, rng))
    np.testing.assert_allclose(picture(found), picture(truth), rtol=0, atol=1e-12)
    assert np.count_nonzero(found) == SPARSITY
    assert error(ff.baselines.basis_pursuit(*measured(truth, 48, rng)), truth) > 0.1


def test_the_picture_itself_is_recovered_nearly(patch, rng):
    """From half as many measurements as pixels, better than by its 10 largest coefficients; least norm is far off."""
    truth = coefficients(patch)
    matrix, values = measured(truth, SIDE**2 // 2, rng)
    found = ff.baselines.basis_pursuit(matrix, values)
    assert np.abs(found).sum() < np.abs(truth).sum()
    assert error(found, truth) < error(coefficients(patch, 10), truth) < 0.18
    assert error(ff.baselines.least_norm(matrix, values), truth) > 0.5


def test_the_flow_limit_recovers_the_picture_as_basis_pursuit_does(patch, rng):
    """The sparse one from 96 numbers, closer the smaller the start; the whole one from 128 as well as basis pursuit."""
    truth = coefficients(patch, SPARSITY)
    problem = ff.CompressedSensing(*measured(truth, 96, rng), truth=truth)
    errors = []
    for alpha in (1e-1, 1e-3, 1e-5):
        runs = ff.train(problem, ff.DiagonalLinear(depth=3), ff.inits.Constant(alpha), ff.FlowLimit())
        assert runs.status[0] == ff.Status.CONVERGED
        errors.append(runs.error[0])
    print(errors)
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    np.testing.assert_allclose(picture(runs.solution[0]), picture(truth), rtol=0, atol=1e-4)

    truth = coefficients(patch)
    matrix, values = measured(truth, SIDE**2 // 2, rng)
    problem = ff.CompressedSensing(matrix, values, truth=truth)
    (found,) = ff.train(problem, ff.DiagonalLinear(depth=3), ff.inits.Constant(1e-5), ff.FlowLimit()).solution
    pursuit = ff.baselines.basis_pursuit(matrix, values)
    print(error(found, pursuit), error(found, truth), error(pursuit, truth))
    np.testing.assert_allclose(picture(found), picture(pursuit), rtol=0, atol=1e-3)
    assert np.abs(found).sum() <= np.abs(pursuit).sum() * (1 + 1e-4)


def draw():
    """The patch, what basis pursuit and the flow limit make of half as many projections, and least norm."""
    patch = read_patch()
    truth = coefficients(patch)
    matrix, values = measured(truth, SIDE**2 // 2, np.random.default_rng(0))
    problem = ff.CompressedSensing(matrix, values)
    runs = ff.train(problem, ff.DiagonalLinear(depth=3), ff.inits.Constant(1e-5), ff.FlowLimit())
    found = {
        "basis pursuit": ff.baselines.basis_pursuit(matrix, values),
        "flow limit": runs.solution[0],
        "least norm": ff.baselines.least_norm(matrix, values),
    }
    images = {f"{name}\nerror {error(x, truth):.2g}": picture(x) for name, x in found.items()}
    return ff.plot.plot_images({f"{SIDE} x {SIDE} pixels\n": patch} | images)


def test_the_drawing_shows_the_pixels():
    figure = draw()
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(shown[0], read_patch())
    np.testing.assert_allclose(shown[1], shown[2], rtol=0, atol=1e-3)
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(shown[0].min(), shown[0].max())}


if __name__ == "__main__":
    draw().savefig(sys.argv[1], dpi=150)
