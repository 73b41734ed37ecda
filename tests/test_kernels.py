"""Every kernel against the oracle, and gradients against differences of the oracle's loss."""

from __future__ import annotations

import itertools

import hypothesis
import naive
import numpy as np
import pytest
from hypothesis import strategies as st

from fastflow import kernels
from fastflow.kernels import chain_balancedness, chain_gradient, chain_product
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.losses.loss import loss_gradient, scratch_size
from fastflow.kernels.networks.chain import sweeps_from_left
from fastflow.kernels.vectors.row_tiles import LARGE

WIDTHS = [
    (4, 3),
    (1, 1),
    (6, 1),
    (1, 5),
    (9, 4, 2),
    (2, 4, 9),
    (5, 1, 7),
    (3, 13, 3),
    (2, 2),
    (2, 2, 2),
    (3, 3, 3, 3),
    (4, 4, 4),
    (5, 5, 5, 5, 5),
    (12, 7, 5, 2),
    (2, 5, 7, 12),
    (1, 6, 3, 1),
    (8, 8, 8, 8),
    (17, 9, 6, 5, 3),
    (3, 5, 6, 9, 17),
    (7, 6, 5, 4, 3, 2),
    (2, 3, 4, 5, 6, 7),
    (4, 1, 6, 2, 9, 3, 5),
    (5, 3, 9, 2, 6, 1, 4),
]
TOLERANCE = {np.dtype(np.float64): 2e-14, np.dtype(np.float32): 1e-5}


@kernels.jit
def _evaluate(problem, index, factors, widths, chain, work):
    chain_product(factors, widths, chain)
    loss_gradient(problem, index, chain.product, widths[0], work)
    chain_gradient(factors, widths, work.gradient, chain)


@kernels.jit
def _chain(factors, widths, end_gradient, chain):
    chain_product(factors, widths, chain)
    chain_gradient(factors, widths, end_gradient, chain)


@kernels.jit
def _balancedness(factors, widths, chain):
    return chain_balancedness(factors, widths, chain)


def pack(factors, dtype=np.float64):
    """Flat storage of factors."""
    return np.concatenate([factor.ravel() for factor in factors]).astype(dtype)


def unpack(flat, widths):
    """Factors of flat storage, in float64."""
    factors, at = [], 0
    for before, after in itertools.pairwise(widths):
        factors.append(flat[at : at + after * before].reshape(after, before).astype(np.float64))
        at += after * before
    assert at == len(flat)
    return factors


def workspace(flat, widths):
    """A chain workspace that is full of NaN: nothing that was left there may be read."""
    chain = kernels.chain_workspace(np.array(widths), flat)
    for array in chain:
        array[:] = np.nan
    return chain


def loss_workspace(data, size, dtype):
    """A loss workspace that is full of NaN."""
    sizes = (size, scratch_size(data, size), 1, 1)
    return kernels.LossWorkspace(*(np.full(count, np.nan, dtype) for count in sizes))


def assert_close(got, wanted, dtype, factor=1.0):
    """Equal up to round-off of the largest entry."""
    wanted = np.asarray(wanted)
    assert np.shape(got) == wanted.shape
    scale = np.max(np.abs(wanted), initial=np.finfo(np.float32).tiny)
    np.testing.assert_array_less(np.abs(got - wanted), factor * TOLERANCE[np.dtype(dtype)] * scale + 1e-300)


# Products


def test_every_element_of_a_product_is_one_fma_chain_in_the_order_of_k(dtype, rng):
    """To the last bit, at every remainder of the vector width and of the row tile."""
    for m in range(1, 10):
        for n in range(1, 26):
            a, b = rng.standard_normal((m, 3)).astype(dtype), rng.standard_normal((3, n)).astype(dtype)
            np.testing.assert_array_equal(kernels.product_nn(a, b), naive.fma_product(a, b), f"m={m}, n={n}")


def test_long_fma_chains(dtype, rng):
    """To the last bit, for every length of the chain up to 40."""
    for k in range(1, 41):
        a, b = rng.standard_normal((2, k)).astype(dtype), rng.standard_normal((k, 9)).astype(dtype)
        np.testing.assert_array_equal(kernels.product_nn(a, b), naive.fma_product(a, b), f"k={k}")


@hypothesis.given(m=st.integers(1, 40), k=st.integers(1, 40), n=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_the_three_products_agree_bit_for_bit(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    product = kernels.product_nn(a, b)
    assert_close(product, naive.product_nn(a, b), np.float64, factor=k)
    transposed_a, transposed_b = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    np.testing.assert_array_equal(kernels.product_tn(transposed_a, b), product)
    np.testing.assert_array_equal(kernels.product_nt(a, transposed_b), product)


def test_products_of_float32_against_the_oracle(rng):
    dtype = np.dtype(np.float32)
    a, b = rng.standard_normal((19, 6)).astype(dtype), rng.standard_normal((6, 37)).astype(dtype)
    assert_close(kernels.product_nn(a, b), naive.product_nn(a, b), dtype)
    assert_close(kernels.product_tn(np.ascontiguousarray(a.T), b), naive.product_tn(a.T, b), dtype)
    assert_close(kernels.product_nt(a, np.ascontiguousarray(b.T)), naive.product_nt(a, b.T), dtype)


def test_a_part_of_a_product_is_the_product_of_the_part(rng):
    """Rows and columns do not know how many neighbours they have."""
    a, b = rng.standard_normal((70, 33)), rng.standard_normal((33, 90))
    product = kernels.product_nn(a, b)
    for rows, columns in [(slice(0, 1), slice(0, 1)), (slice(5, 24), slice(3, 30)), (slice(61, 70), slice(80, 90))]:
        part = kernels.product_nn(np.ascontiguousarray(a[rows]), np.ascontiguousarray(b[:, columns]))
        np.testing.assert_array_equal(part, product[rows, columns])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_large_product_has_the_bits_of_its_rows(dtype, rng):
    """Of which tiles meet several panels; of few rows at a time they do not."""
    for m, k, n in ((520, 523, 70), (1100, 260, 131), (515, 1040, 9)):
        assert m * k * np.dtype(dtype).itemsize >= LARGE > 100 * k * 8
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        for multiply, first, second in (
            (kernels.product_nn, a, b),
            (kernels.product_tn, a.T.copy(), b),
            (kernels.product_nt, a, b.T.copy()),
        ):
            whole = multiply(first, second)
            rows = [np.arange(m)[at : at + 100] for at in range(0, m, 100)]
            parts = [multiply(first[:, some] if first.shape[0] == k else first[some], second) for some in rows]
            np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_products_take_any_memory_layout(rng):
    a, b = rng.standard_normal((11, 6)), rng.standard_normal((6, 10))
    product = kernels.product_nn(a, b)
    strided = np.repeat(b, 2, axis=1)[:, ::2]
    strided.flags.writeable = False
    np.testing.assert_array_equal(kernels.product_nn(np.asfortranarray(a), strided), product)


@pytest.mark.parametrize("name", ["product_nn", "product_tn", "product_nt"])
def test_products_of_matrices_that_do_not_fit_raise(name):
    with pytest.raises(ValueError, match=name):
        getattr(kernels, name)(np.zeros((2, 3)), np.zeros((4, 5)))


def test_not_a_number_goes_where_it_should_and_nowhere_else(rng):
    a, b = rng.standard_normal((9, 4)), rng.standard_normal((4, 21))
    a[4, 2], b[1, 17] = np.nan, np.inf
    product = kernels.product_nn(a, b)
    bad = np.zeros(product.shape, bool)
    bad[4], bad[:, 17] = True, True
    np.testing.assert_array_equal(~np.isfinite(product), bad)


# Chains


def test_both_sweeps_occur_in_the_widths_tested_here():
    directions = {sweeps_from_left(np.array(widths)) for widths in WIDTHS if len(widths) > 3}
    assert directions == {True, False}
    assert {len(widths) - 1 for widths in WIDTHS} == {1, 2, 3, 4, 5, 6}


@hypothesis.given(widths=st.lists(st.integers(1, 60), min_size=2, max_size=8))
def test_the_sweep_runs_from_the_cheaper_side(widths):
    left = naive.multiplications(widths, from_left=True)
    right = naive.multiplications(widths, from_left=False)
    assert sweeps_from_left(np.array(widths)) == (left < right)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_chain_kernels(widths, dtype, make_factors, rng):
    factors = make_factors(widths)
    flat = pack(factors, dtype)
    factors = unpack(flat, widths)
    end_gradient = rng.standard_normal((widths[-1], widths[0])).astype(dtype)
    assert kernels.parameter_count(np.array(widths)) == flat.size

    before, chain = flat.copy(), workspace(flat, widths)
    _chain(flat, np.array(widths), end_gradient.ravel(), chain)
    np.testing.assert_array_equal(flat, before)
    assert chain.product.dtype == chain.gradient.dtype == dtype
    assert_close(chain.product, naive.chain_product(factors).ravel(), dtype)
    gradients = naive.chain_gradient(factors, end_gradient.astype(np.float64))
    for got, wanted in zip(unpack(chain.gradient, widths), gradients, strict=True):
        assert_close(got, wanted, dtype)

    defect = _balancedness(flat, np.array(widths), workspace(flat, widths))
    assert_close(defect, naive.chain_balancedness(factors), dtype)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_chain_kernels_with_one_run_per_lane(widths, dtype, make_factors, rng):
    """Arrays (elements, lanes) give each lane the bits of its run alone; a lane of NaN touches no other."""
    lanes = SHAPE.vector_bytes // dtype.itemsize
    runs = [pack(make_factors(widths), dtype) for _ in range(lanes)]
    runs[1][:] = np.nan
    ends = rng.standard_normal((lanes, widths[-1] * widths[0])).astype(dtype)
    together = kernels.ChainWorkspace(
        *(np.full((array.size, lanes), np.nan, dtype) for array in kernels.chain_workspace(np.array(widths), runs[0]))
    )
    _chain(np.stack(runs, axis=1), np.array(widths), np.ascontiguousarray(ends.T), together)
    for lane, (run, end_gradient) in enumerate(zip(runs, ends, strict=True)):
        alone = workspace(run, widths)
        _chain(run, np.array(widths), end_gradient, alone)
        np.testing.assert_array_equal(together.product[:, lane], alone.product)
        np.testing.assert_array_equal(together.gradient[:, lane], alone.gradient)


@hypothesis.given(widths=st.lists(st.integers(1, 14), min_size=2, max_size=7), seed=st.integers(0, 2**32))
def test_chain_kernels_on_random_widths(widths, seed):
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal(shape[::-1]) for shape in itertools.pairwise(widths)]
    end_gradient = rng.standard_normal((widths[-1], widths[0]))
    flat = pack(factors)
    chain = workspace(flat, widths)
    _chain(flat, np.array(widths), end_gradient.ravel(), chain)
    assert_close(chain.product, naive.chain_product(factors).ravel(), np.float64, factor=10)
    gradients = naive.chain_gradient(factors, end_gradient)
    for got, wanted in zip(unpack(chain.gradient, widths), gradients, strict=True):
        assert_close(got, wanted, np.float64, factor=10)


def test_not_a_number_in_a_factor_reaches_the_product_and_the_other_gradients(make_factors):
    widths = (5, 3, 4)
    factors = make_factors(widths)
    factors[0][1, 2] = np.nan
    flat = pack(factors)
    chain = workspace(flat, widths)
    _chain(flat, np.array(widths), np.ones(20), chain)
    bad = np.zeros((4, 5), bool)
    bad[:, 2] = True
    np.testing.assert_array_equal(np.isnan(chain.product).reshape(4, 5), bad)
    first, second = unpack(chain.gradient, widths)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(np.isnan(second), np.array([[False, True, False]] * 4))


# Losses and gradients end to end


def _check_problem(problems, index, widths, dtype, factors, *, shared=False):
    data = type(problems[0]).kernel_data(problems, dtype, shared=shared)
    flat = pack(factors, dtype)
    chain, work = workspace(flat, widths), loss_workspace(data, widths[0] * widths[-1], dtype)
    _evaluate(data, index, flat, np.array(widths), chain, work)

    factors = unpack(flat, widths)
    wanted, end_gradient = naive.loss_gradient(problems[index], naive.chain_product(factors))
    assert work.loss[0] == pytest.approx(wanted, rel=10 * TOLERANCE[dtype])
    assert_close(work.gradient, end_gradient.ravel(), dtype, factor=4)
    for got, gradient in zip(unpack(chain.gradient, widths), naive.chain_gradient(factors, end_gradient), strict=True):
        assert_close(got, gradient, dtype, factor=4)
    return unpack(chain.gradient, widths)


@pytest.mark.parametrize(
    "widths", [(5, 4), (7, 3, 2), (2, 3, 7), (9, 5, 4, 6), (3, 2, 1, 4, 5, 8), (6, 4, 5, 3, 2, 2)], ids=str
)
def test_loss_and_gradient_with_shared_data(kind, widths, dtype, make_problem, make_factors):
    problem = make_problem(kind, (widths[-1], widths[0]))
    _check_problem([problem], 0, widths, dtype, make_factors(widths), shared=True)


def test_loss_and_gradient_with_data_of_one_problem_per_run(kind, dtype, make_problem, make_factors):
    """Observed entries differ in number from problem to problem, too."""
    widths = (6, 5, 3, 4)
    problems = [make_problem(kind, (4, 6)) for _ in range(4)]
    if kind == "completion":
        assert len({problem.residual_count for problem in problems}) > 1
    for index in (0, 1, 3):
        _check_problem(problems, index, widths, dtype, make_factors(widths))


@pytest.mark.parametrize(
    "widths", [(4, 3), (5, 1, 3), (2, 3, 6), (6, 4, 3, 2), (2, 2, 3, 1, 3), (3, 2, 2, 2, 2, 2, 4)], ids=str
)
def test_gradient_against_differences_of_the_loss(kind, widths, make_problem, make_factors):
    problem = make_problem(kind, (widths[-1], widths[0]))
    factors = make_factors(widths)
    gradients = _check_problem([problem], 0, widths, np.dtype(np.float64), factors)
    differences = naive.numerical_gradient(lambda moved: naive.loss(problem, moved), factors)
    scale = max(np.abs(difference).max() for difference in differences)
    for gradient, difference in zip(gradients, differences, strict=True):
        np.testing.assert_allclose(gradient, difference, rtol=0, atol=1e-9 * scale)


def test_the_gram_form_of_the_loss_keeps_its_accuracy_near_the_minimum(make_problem, rng):
    """``1/2 <W, W XX^T - 2 YX^T> + 1/2 ||Y||^2`` would lose a loss of 1e-20 in a round-off of 1e-16."""
    truth = rng.standard_normal((4, 3))
    problem = make_problem("regression by gram", (4, 3), truth)
    factors = [truth + 1e-10 * rng.standard_normal((4, 3))]
    data = type(problem).kernel_data([problem], np.float64)
    flat, work = pack(factors), loss_workspace(data, 12, np.float64)
    _evaluate(data, 0, flat, np.array([3, 4]), workspace(flat, (3, 4)), work)
    assert work.loss[0] == pytest.approx(naive.loss(problem, factors), rel=1e-4, abs=0)
    assert work.loss[0] < 1e-18


def test_loss_gradient_outside_compiled_code_says_so(make_problem):
    data = type(make_problem("estimation", (2, 2))).kernel_data([make_problem("estimation", (2, 2))], np.float64)
    with pytest.raises(TypeError, match="compiled code"):
        loss_gradient(data, 0, np.zeros(4), 2, None)
