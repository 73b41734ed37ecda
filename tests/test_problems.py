"""The problems themselves, in plain NumPy: losses, gradients, their operators, and what they take from a user."""

from __future__ import annotations

import dataclasses

import naive
import numpy as np
import pytest

import fastflow as ff

SHAPE = (5, 4)


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_loss_and_gradient_are_those_of_the_oracle(kind, normalization, make_problem, rng):
    problem = make_problem(kind, SHAPE, normalization=normalization)
    product = rng.standard_normal(SHAPE)
    loss, gradient = naive.loss_gradient(problem, product)
    assert problem.shape == SHAPE
    assert problem.residual_count == naive.residual_count(problem) == problem.residual(product).size
    assert problem.weight == naive.weight(problem)
    assert problem.loss(product) == pytest.approx(naive.weight(problem) * loss, rel=1e-13)
    np.testing.assert_allclose(problem.gradient(product), naive.weight(problem) * gradient, rtol=0, atol=1e-12)


def test_mean_is_the_mean_of_the_squared_residuals(kind, make_problem, rng):
    problem = make_problem(kind, SHAPE, normalization="mean")
    product = rng.standard_normal(SHAPE)
    assert problem.loss(product) == pytest.approx(np.mean(problem.residual(product) ** 2), rel=1e-13)


def test_normal_operator_is_the_square_of_the_derivative_of_the_residuals(kind, make_problem, rng):
    problem = make_problem(kind, SHAPE)
    at, first, second = rng.standard_normal((3, *SHAPE))

    def derivative(direction):
        return problem.residual(at + direction) - problem.residual(at)

    expected = derivative(first) @ derivative(second)
    assert np.sum(problem.normal_operator(first) * second) == pytest.approx(expected, rel=1e-11, abs=1e-12)
    assert np.sum(problem.normal_operator(second) * first) == pytest.approx(expected, rel=1e-11, abs=1e-12)


def test_the_estimate_is_the_solution_where_the_data_fix_it(make_problem, rng):
    truth = rng.standard_normal(SHAPE)
    everything = np.nonzero(np.ones(SHAPE))
    basis = np.eye(truth.size).reshape(-1, *SHAPE)
    problems = [
        ff.MatrixEstimation(truth),
        ff.MatrixCompletion(SHAPE, *everything, truth[everything]),
        ff.MatrixSensing(basis, truth.ravel()),
        make_problem("regression by gram", SHAPE, truth),
    ]
    for problem in problems:
        np.testing.assert_allclose(problem.estimate(), truth, rtol=0, atol=1e-12)
        np.testing.assert_allclose(problem.expected_solution(4), truth, rtol=0, atol=1e-12)
        assert problem.loss(truth) < 1e-25
        assert np.abs(problem.gradient(truth)).max() < 1e-13


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_the_estimate_is_unbiased(kind, rng):
    """The mean of 4000 draws lies within 5 standard errors of the truth, entry by entry (p < 1e-5)."""
    truth, draws = rng.standard_normal((3, 4)), 4000
    estimates = np.empty((draws, 3, 4))
    for i in range(draws):
        if kind == "completion":
            at = np.unravel_index(rng.permutation(12)[:5], (3, 4))
            problem = ff.MatrixCompletion((3, 4), *at, truth[at], warn=False)
        else:
            # The norm is fixed: the estimate divides by it, which a random one would bias.
            operators = rng.standard_normal((6, 3, 4))
            operators *= np.sqrt(6 * 12 / np.sum(operators**2))
            problem = ff.MatrixSensing(operators, np.sum(operators * truth, axis=(1, 2)))
        estimates[i] = problem.estimate()
    errors = (estimates.mean(axis=0) - truth) / (estimates.std(axis=0) / np.sqrt(draws))
    assert np.abs(errors).max() < 5


def determined_problems(make_problem, rng, **options):
    """Problems of every kind whose data determine W, of shape (3, 2)."""
    shape = (3, 2)
    operators, everything = rng.standard_normal((8, *shape)), np.nonzero(np.ones(shape))
    return [
        make_problem("estimation", shape, **options),
        ff.MatrixCompletion(shape, *everything, rng.standard_normal(6), **options),
        ff.MatrixSensing(operators, rng.standard_normal(8), **options),
        make_problem("regression by gram", shape, **options),
    ]


def test_the_spectrum_is_that_of_the_dense_derivative(make_problem, rng):
    """The ends, and no value that M has not; round-off of an SVD is some ulps of the largest."""
    for problem in determined_problems(make_problem, rng):
        dense, spectrum = np.linalg.svd(naive.derivative(problem), compute_uv=False), problem.spectrum()
        np.testing.assert_allclose(spectrum[[0, -1]], dense[[0, -1]], rtol=0, atol=1e-13 * dense[0])
        assert np.all(np.diff(spectrum) <= 0)
        assert np.abs(spectrum[:, None] - dense).min(axis=1).max() <= 1e-13 * dense[0]


@pytest.mark.parametrize("kind", ["completion", "sensing", "regression by samples"])
def test_there_is_no_spectrum_where_the_data_determine_nothing(kind, make_problem):
    problem = make_problem(kind, SHAPE)
    assert problem.spectrum() is None
    assert np.linalg.matrix_rank(naive.derivative(problem)) < problem.shape[0] * problem.shape[1]


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_least_squares_are_those_of_the_dense_derivative(normalization, make_problem, rng):
    for problem in determined_problems(make_problem, rng, normalization=normalization):
        matrix = naive.derivative(problem)
        dense = np.linalg.lstsq(matrix, -problem.residual(np.zeros(problem.shape)), rcond=None)[0]
        solution = problem.least_squares()
        assert solution.dtype == np.float64
        np.testing.assert_allclose(solution.ravel(), dense, rtol=0, atol=1e-12 * np.abs(dense).max())


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_a_direct_target_says_the_whole_loss(kind, normalization, make_problem, rng):
    problem, product = make_problem(kind, SHAPE, normalization=normalization), rng.standard_normal(SHAPE)
    target = problem.direct_target()
    if kind == "estimation":
        expected = 0.5 * problem.weight * np.linalg.norm(product - target) ** 2
        assert problem.loss(product) == pytest.approx(expected, rel=1e-13)
    else:
        assert target is None


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_the_minimum_of_full_rank_is_that_of_the_dense_derivative(kind, normalization, make_problem):
    """Lower ranks are in test_limits.py."""
    problem = make_problem(kind, SHAPE, normalization=normalization)
    minimum = problem.minimum(min(SHAPE))
    if kind in ("completion", "sensing"):
        assert minimum is None
        return
    matrix, start = naive.derivative(problem), problem.residual(np.zeros(SHAPE))
    solution = np.linalg.lstsq(matrix, -start, rcond=None)[0]
    loss = naive.weight(problem) * 0.5 * np.sum((matrix @ solution + start) ** 2)
    np.testing.assert_allclose(minimum.solution.ravel(), solution, rtol=0, atol=1e-11 * np.abs(solution).max())
    assert minimum.value == pytest.approx(loss, rel=1e-10, abs=1e-24)
    assert minimum.determined == (np.linalg.matrix_rank(matrix) == matrix.shape[1])


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_expected_solution_of_a_rank_is_the_best_of_that_rank(rank, rng):
    """For estimation and regression, where it can be known: no random matrix near it of that rank has a lower loss."""
    inputs, outputs = rng.standard_normal((4, 20)), rng.standard_normal((5, 20))
    for problem in (
        ff.MatrixEstimation(rng.standard_normal(SHAPE)),
        ff.LinearRegression(inputs, outputs, samples="columns"),
    ):
        solution = problem.expected_solution(rank)
        assert ff.metrics.numerical_rank(solution, 1e-10) == rank
        left, values, right = np.linalg.svd(solution)
        lower = np.sqrt(values[:rank])[:, None] * right[:rank]
        upper = left[:, :rank] * np.sqrt(values[:rank])
        for size in (1e-3, 1e-1, 1.0):
            for _ in range(20):
                other = (upper + size * rng.standard_normal(upper.shape)) @ (
                    lower + size * rng.standard_normal(lower.shape)
                )
                assert problem.loss(other) >= problem.loss(solution) * (1 - 1e-13)


def test_regression_prefers_the_gram_matrix_where_it_is_cheaper(rng):
    for columns, samples in [(1, 1), (4, 1), (4, 2), (4, 3), (3, 50), (50, 3)]:
        problem = ff.LinearRegression(
            rng.standard_normal((columns, samples)), rng.standard_normal((2, samples)), samples="columns"
        )
        by_gram, by_samples = 2 * columns * columns, 2 * columns * samples + 2 * samples * columns
        assert problem.prefers_gram == (by_gram < by_samples)


def test_autoencoder_is_the_regression_of_the_inputs_on_themselves(rng):
    inputs = rng.standard_normal((4, 9))
    problem = ff.LinearRegression.autoencoder(inputs, normalization="mean", samples="columns")
    assert problem.shape == (4, 4)
    assert problem.loss(np.eye(4)) == 0
    assert problem.loss(np.zeros((4, 4))) == pytest.approx(np.mean(inputs**2))


def test_from_dense_observes_what_is_not_nan(rng):
    matrix = rng.standard_normal(SHAPE)
    matrix[rng.random(SHAPE) < 0.5] = np.nan
    matrix[0, 0], matrix[4, 3] = 0.0, 7.0
    problem = ff.MatrixCompletion.from_dense(matrix, normalization="mean")
    rebuilt = np.full(SHAPE, np.nan)
    rebuilt[problem.rows, problem.cols] = problem.values
    np.testing.assert_array_equal(rebuilt, matrix)
    assert problem.normalization == "mean"


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
        lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
        lambda a: a.astype(np.float32),
        lambda a: a.astype(int),
        lambda a: a.astype(np.uint8),
        lambda a: a.tolist(),
    ],
    ids=["fortran", "strided", "reversed", "float32", "int", "uint8", "list"],
)
def test_any_layout_and_any_real_dtype_is_taken(convert, rng):
    """Integers count as the floats that they are; nothing that comes in is changed or made read-only."""
    matrix = rng.integers(0, 5, (4, 6)).astype(float)
    given = convert(matrix)
    before = np.array(given)
    problem = ff.MatrixEstimation(given)
    np.testing.assert_array_equal(problem.target, matrix)
    assert problem.target.dtype in (np.float32, np.float64)
    assert problem.loss(matrix) == 0
    np.testing.assert_array_equal(np.array(given), before)
    if isinstance(given, np.ndarray):
        assert given.flags.writeable


def test_read_only_data_are_taken(rng):
    matrix = rng.standard_normal(SHAPE)
    matrix.flags.writeable = False
    assert ff.MatrixEstimation(matrix).loss(matrix) == 0


def test_what_was_checked_stays_as_it_was(rng):
    """The arrays of a problem cannot be written, and what the caller does with his own array later changes nothing."""
    matrix = rng.standard_normal(SHAPE)
    problem = ff.MatrixEstimation(matrix, truth=matrix)
    with pytest.raises(ValueError, match="read-only"):
        problem.target[0, 0] = 1
    with pytest.raises(AttributeError):
        problem.target = matrix  # type: ignore[misc]
    before = matrix.copy()
    matrix[0, 0] = np.nan
    np.testing.assert_array_equal(problem.target, before)
    np.testing.assert_array_equal(problem.truth, before)


def test_residual_of_a_matrix_of_another_shape_raises(kind, make_problem):
    with pytest.raises(ValueError, match=r"W must have shape \(5, 4\), got \(4, 5\)"):
        make_problem(kind, SHAPE).residual(np.zeros((4, 5)))


MATRIX = np.arange(12.0).reshape(3, 4)
HIDDEN = MATRIX % 5 == 1


def observed(problem):
    return dict(zip(zip(problem.rows.tolist(), problem.cols.tolist(), strict=True), problem.values, strict=True))


SEEN = {(int(i), int(j)): MATRIX[i, j] for i, j in np.argwhere(~HIDDEN)}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, np.float16, ">f8"])
def test_masked_entries_are_not_observed(dtype):
    """Whatever lies under the mask: numbers, infinities, NaN."""
    matrix = MATRIX.astype(dtype)
    masked = np.ma.array(matrix, mask=HIDDEN)
    assert observed(ff.MatrixCompletion.from_dense(masked)) == SEEN
    assert observed(ff.MatrixCompletion.from_dense(matrix, HIDDEN)) == SEEN
    assert observed(ff.MatrixCompletion.from_dense(matrix.tolist(), mask=HIDDEN.tolist())) == SEEN
    if matrix.dtype.kind == "f":
        for junk in (np.nan, np.inf, -1.0):
            under = np.where(HIDDEN, junk, matrix)
            assert observed(ff.MatrixCompletion.from_dense(np.ma.array(under, mask=HIDDEN))) == SEEN
            assert observed(ff.MatrixCompletion.from_dense(under, HIDDEN)) == SEEN


def test_masks_add_up():
    """One of the array, one beside it, and NaN."""
    only = [np.zeros(MATRIX.shape, bool) for _ in range(3)]
    for mask, place in zip(only, ([0, 1], [1, 2], [2, 0]), strict=True):
        mask[tuple(place)] = True
    masked = np.ma.array(np.where(only[0], np.nan, MATRIX), mask=only[1])
    problem = ff.MatrixCompletion.from_dense(masked, only[2])
    assert observed(problem).keys() == {tuple(map(int, at)) for at in np.argwhere(~np.any(only, axis=0))}
    np.testing.assert_array_equal(masked.mask, only[1])


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            HIDDEN.astype(int),
            TypeError,
            r"mask must be boolean, True where an entry is not observed \(~observed\), got",
        ),
        (HIDDEN.T, ValueError, r"mask must have the shape \(3, 4\) of matrix, got \(4, 3\)"),
        (np.ones((3, 4), bool), ValueError, "no entry is observed"),
        (np.ma.array(HIDDEN, mask=HIDDEN), ValueError, "mask has 3 masked of 12 entries"),
    ],
)
def test_masks_that_say_nothing(mask, error, message):
    with pytest.raises(error, match=message):
        ff.MatrixCompletion.from_dense(MATRIX, mask)


def test_rows_and_columns_of_which_nothing_is_observed(recwarn):
    """Each is named, whatever the way in; a study's ensemble draws them knowingly."""
    hidden = np.zeros(SHAPE, bool)
    hidden[[1, 3]] = True
    hidden[:, 2] = True
    whole = np.ones(SHAPE)
    message = r"nothing is observed of rows 1, 3 and column 2 \(from 0 on\) of the 5 x 4 matrix"
    with pytest.warns(UserWarning, match=message) as caught:
        problem = ff.MatrixCompletion.from_dense(whole, hidden)
    assert caught[0].filename == __file__
    assert [index.tolist() for index in problem.unobserved] == [[1, 3], [2]]
    with pytest.warns(UserWarning, match=message) as caught:
        ff.MatrixCompletion(SHAPE, problem.rows, problem.cols, problem.values)
    assert caught[0].filename == __file__
    with pytest.warns(
        UserWarning, match=r"nothing is observed of rows 1, 2, 3, 4, 5, 6, 7, 8 and 91 more and columns 1"
    ):
        ff.MatrixCompletion((100, 3), [0], [0], [1.0])
    before = len(recwarn)
    ff.MatrixCompletion.from_dense(whole, hidden, warn=False)
    ff.MatrixCompletion.from_dense(np.where(np.eye(4, dtype=bool), 1.0, np.nan))
    ff.ensembles.LowRank(5, rank=1, m=3, observed="completion").draw(np.random.default_rng(0))
    assert len(recwarn) == before


INPUTS, OUTPUTS = np.arange(15.0).reshape(3, 5) ** 2, np.arange(10.0).reshape(2, 5)


def test_samples_as_rows_are_the_same_problem(rng):
    product = rng.standard_normal((2, 3))
    expected = 0.5 * np.sum((product @ INPUTS - OUTPUTS) ** 2)
    silent = ff.LinearRegression(INPUTS, OUTPUTS)
    columns = ff.LinearRegression(INPUTS, OUTPUTS, samples="columns")
    rows = ff.LinearRegression(INPUTS.T, OUTPUTS.T, samples="rows")
    with pytest.warns(
        UserWarning, match="samples are the 5 rows, since only their numbers agree; say samples="
    ) as caught:
        found = ff.LinearRegression(INPUTS.T, OUTPUTS.T)
    assert caught[0].filename == __file__
    for problem in (silent, columns, rows, found):
        assert problem.shape == (2, 3)
        assert problem.samples == "columns"
        assert problem.loss(product) == pytest.approx(expected, rel=1e-13)
        np.testing.assert_array_equal(problem.inputs, INPUTS)
        again = dataclasses.replace(problem, normalization="mean")  # which has nothing left to find out
        np.testing.assert_array_equal(again.outputs, OUTPUTS)


def test_shapes_that_leave_samples_open_warn(rng):
    inputs, outputs = rng.standard_normal((2, 4, 6))
    for samples, turned in (("columns", np.asarray), ("rows", np.transpose)):
        problem = ff.LinearRegression(turned(inputs), turned(outputs), samples=samples)
        np.testing.assert_array_equal(problem.inputs, inputs)
        problem = ff.LinearRegression.autoencoder(turned(inputs), samples=samples)
        np.testing.assert_array_equal(problem.outputs, inputs)
    message = 'both axes of the 4 x 6 tables could be samples: columns are taken for them; say samples="rows" or'
    for make in (lambda: ff.LinearRegression(inputs, outputs), lambda: ff.LinearRegression.autoencoder(inputs)):
        with pytest.warns(UserWarning, match=message) as caught:
            problem = make()
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(problem.inputs, inputs)


@pytest.mark.parametrize(
    ("arguments", "samples", "message"),
    [
        ((INPUTS, OUTPUTS), "lines", "samples must be one of 'rows', 'columns', got 'lines'"),
        (
            (INPUTS, OUTPUTS),
            "rows",
            r"one row a sample, got 3 and 2 rows .*; if samples are columns: samples='columns'",
        ),
        ((INPUTS.T, OUTPUTS.T), "columns", r"one column a sample, got 3 and 2 columns .*samples='rows'"),
        ((INPUTS, OUTPUTS[:, :4]), None, r"one column a sample, got 5 and 4 columns \(shapes \(3, 5\), \(2, 4\)\)$"),
    ],
)
def test_samples_that_do_not_match(arguments, samples, message):
    with pytest.raises(ValueError, match=message):
        ff.LinearRegression(*arguments, samples=samples)
