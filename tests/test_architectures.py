"""What architectures say of their factors: balance, independence, the largest curvature of what is expected."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow.kernels.networks.hadamard import DEEPEST
from fastflow.networks import ARCHITECTURES, Architecture, Chain, Hadamard, Network
from fastflow.records import NAMED
from fastflow.records.snapshot import Subject
from fastflow.theory.hessian import Hessian


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_independent_factors_make_the_same_product(depth, signed, identical, rng):
    form = Hadamard(5, depth, signed, identical)
    factors = [rng.standard_normal(shape) for shape in form.factor_shapes]
    spread = form.independent_factors(factors)
    assert form.independent.independent == form.independent
    assert [factor.shape for factor in spread] == form.independent.factor_shapes
    sides = [spread[:depth], spread[depth:]] if signed else [spread]
    np.testing.assert_array_equal(naive.hadamard_product(sides), naive.hadamard_product(form.sides_of(factors)))
    if not identical or depth == 1:
        assert form.independent == form


def test_a_chain_is_independent_and_known_by_its_factors(make_factors):
    chain, factors = Chain((3, 2, 4)), make_factors((3, 2, 4))
    assert chain.independent == chain == Chain.of(factors) == Chain.of([factor[None] for factor in factors])
    for one, other in zip(chain.independent_factors(factors), factors, strict=True):
        np.testing.assert_array_equal(one, other)


def test_balance_is_relative_to_the_size_of_the_factors(rng):
    """Of one start and of a stack, at any scale; a defect above the tolerance counts."""
    balanced = ff.inits.Balanced(product=rng.standard_normal((3, 3)), scale=1e6).draw(Chain((3, 3, 3)), rng)
    wrong = [balanced[0] * (1 + 1e-6), balanced[1]]
    stack = [np.array(pair) for pair in zip(balanced, wrong, strict=True)]
    chain = Chain((3, 3, 3))
    assert chain.balanced(balanced)
    assert not chain.balanced(wrong)
    np.testing.assert_array_equal(chain.balanced(stack), [True, False])
    np.testing.assert_array_equal(chain.balanced(stack, 1e-4), [True, True])
    form, equal = Hadamard(4, 2, True, False), rng.standard_normal(4)
    assert form.balanced([equal, -equal, equal, equal])
    assert not form.balanced([equal, equal, equal, 1.01 * equal])


@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_largest_curvature_of_vectors_is_that_of_the_hessian(depth, normalization, rng):
    """At equal factors of a nonnegative solution that fits, the end of a small start, where v is 0."""
    matrix, solution = rng.standard_normal((7, 4)), 0.5 + rng.random(4)
    problem = ff.CompressedSensing(matrix, matrix @ solution, normalization=normalization)
    form = Hadamard(4, depth, depth > 1, False)
    factors = [solution ** (1 / depth)] * depth + [np.zeros(4)] * (len(form.factor_shapes) - depth)
    hessian = Hessian(problem, form.network, factors)
    dense = np.array([hessian.times(row) for row in np.eye(hessian.size)])
    largest = np.linalg.eigvalsh((dense + dense.T) / 2)[-1]
    assert form.largest_curvature(problem, 1e-11) == pytest.approx(largest, rel=1e-10)
    assert replace(form, identical=True).largest_curvature(problem, 1e-11) == pytest.approx(largest, rel=1e-10)


def test_one_limit_of_depth(rng):
    a, y = rng.standard_normal((2, 3)), rng.standard_normal(2)
    ff.DiagonalLinear(DEEPEST)
    ff.flow_limit(a, y, 0.5, DEEPEST)
    with pytest.raises(ValueError, match=f"at most {DEEPEST}"):
        ff.DiagonalLinear(DEEPEST + 1)
    with pytest.raises(ValueError, match=f"at most {DEEPEST}"):
        ff.flow_limit(a, y, 0.5, DEEPEST + 1)


@dataclass(frozen=True)
class Scaled(Network):
    """A third network, ``W = c M`` with a number c, of which nothing is known but where its factors lie."""

    def pose(self, problem):
        return problem.of_matrix()

    def architecture(self, problem):
        return ScaledMatrix((1, *problem.of_matrix().shape))


@dataclass(frozen=True)
class ScaledMatrix(Chain):
    """Its architecture, no chain but for what there is to write down of it: ``widths`` are (1, d_N, d_0)."""

    @property
    def network(self):
        return Scaled()

    @property
    def solution_shape(self):
        return self.widths[1:]

    @property
    def factor_shapes(self):
        return [(1, 1), self.widths[1:]]


@pytest.mark.parametrize("runs", [(), (5,)])
def test_factors_need_only_chain_where_the_network_is_a_chain(runs):
    """Whether given factors are those of a network, the network says, not the init."""
    init = ff.inits.Explicit([np.ones((*runs, 1, 1)), np.ones((*runs, 4, 3))])
    assert init.count(ScaledMatrix((1, 4, 3))) == (5 if runs else None)
    with pytest.raises(ValueError, match="factors do not chain: factor 1 has 1 rows, factor 2 has 3 columns"):
        init.count(Chain((3, 4, 4)))
    with pytest.raises(ValueError, match=re.escape("the network needs [(1, 1), (4, 4)]")):
        init.count(ScaledMatrix((1, 4, 4)))


def test_vectors_of_different_numbers_of_runs_are_refused():
    init = ff.inits.Explicit([np.ones((2, 3)), np.ones((4, 3))])
    with pytest.raises(ValueError, match=re.escape("different numbers of runs: [2, 4]")):
        init.count(Hadamard(3, 2, True, True))


def test_theorems_on_chains_predict_no_limit_of_another_network(rng):
    """Even where its factors happen to chain."""
    problem = ff.MatrixEstimation(rng.standard_normal((1, 3)))
    starts, which = rng.standard_normal((1, 4)), np.zeros(1, np.int64)
    Subject([problem], Chain((3, 1, 1)), which, np.zeros((0, 0)), starts).limits  # noqa: B018, it has one
    with pytest.raises(ValueError, match=r"limit_distance needs .* none is known for a Scaled network: leave it out"):
        Subject([problem], ScaledMatrix((1, 1, 3)), which, np.zeros((0, 0)), starts).limits  # noqa: B018


def test_a_network_without_a_flow_or_a_hessian_says_so_before_any_work(rng):
    problem, network, start = ff.MatrixEstimation(rng.standard_normal((4, 3))), Scaled(), ff.inits.Gaussian(0.5)
    factors = [np.ones((1, 1)), np.ones((4, 3))]
    no_flow = "GradientFlow knows no flow of a Scaled network: use GradientDescent"
    for flow in (
        lambda: ff.train(problem, network, start, ff.GradientFlow(), runs=2),
        lambda: ff.check(problem, network, start, ff.GradientFlow()),
        lambda: ff.flow_distance(problem, network, start, ff.GradientDescent(0.1)),
    ):
        with pytest.raises(TypeError, match=no_flow):
            flow()
    with pytest.raises(TypeError, match="in the cell .*" + no_flow):
        ff.Study(ff.ensembles.LowRank(3, rank=1), network, start, ff.GradientFlow(), axes={"m": [4, 9]}, trials=2)
    no_hessian = "the Hessian by the factors of a Scaled network is not known"
    for hessian in (
        lambda: ff.theory.sharpness(problem, factors, network),
        lambda: ff.theory.critical_point(problem, network, factors),
        lambda: NAMED["sharpness"].prepare(
            Subject([problem], ScaledMatrix((1, 4, 3)), np.zeros(1, np.int64), np.zeros((0, 0)), np.ones((1, 13)))
        ),
    ):
        with pytest.raises(TypeError, match=no_hessian):
            hessian()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_networks_say_of_themselves_what_their_architectures_make(kind):
    """A network that says nothing has neither."""
    architecture = ARCHITECTURES[kind]
    assert kind.has_flow == (architecture.make_field is not Architecture.make_field)
    assert kind.has_hessian == (architecture.make_curvature is not Architecture.make_curvature)
