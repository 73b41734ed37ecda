"""Update rules: each against its textbook in NumPy, and the law by which each is known to be right."""

from __future__ import annotations

import naive
import numpy as np
import pytest

import fastflow as ff

RNG = np.random.default_rng(11)
TARGET = RNG.standard_normal((4, 3))
MATRIX = ff.MatrixEstimation(TARGET)
A = RNG.standard_normal((6, 14)) / np.sqrt(6)
VECTOR = ff.CompressedSensing(A, A @ np.where(np.arange(14) < 2, 1.0, 0.0))
ENDS = {"tol": 0, "gradient_tol": 0}

RULES = {
    "heavy ball": (ff.Momentum, 0.004, {"momentum": 0.9}),
    "decay": (ff.Momentum, 0.01, {"momentum": 0.5, "weight_decay": 0.1}),
    "nesterov": (ff.Momentum, 0.004, {"momentum": 0.9, "nesterov": True}),
    "by the book": (ff.Momentum, 0.01, {"momentum": "(k-1)/(k+2)", "nesterov": True}),
    "sign": (ff.SignDescent, 1e-3, {}),
    "rmsprop": (ff.RMSprop, 1e-3, {"average": 0.9, "epsilon": 1e-3, "weight_decay": 0.01}),
    "adam": (ff.Adam, 1e-3, {"averages": (0.9, 0.99), "epsilon": 1e-3, "weight_decay": 0.01}),
    "normalized": (ff.NormalizedDescent, 1e-3, {}),
    "shared": (ff.SharedRate, 1e-3, {"average": 0.9, "epsilon": 1e-4}),
    "long": (ff.BarzilaiBorwein, 0.01, {"kind": "long"}),
    "short": (ff.BarzilaiBorwein, 0.01, {"kind": "short"}),
    "sharpness": (ff.SharpnessAware, 0.02, {"radius": 0.05}),
    "muon": (ff.Muon, 1e-3, {"momentum": 0.9, "weight_decay": 0.01}),
    "muon of nesterov": (ff.Muon, 1e-3, {"momentum": 0.9, "nesterov": True}),
}
CHAOTIC = {"sign": 30, "rmsprop": 100, "normalized": 200, "long": 20, "short": 30, "muon": 60, "muon of nesterov": 60}
"""The steps after which round-off is no longer of its own size: signs flip, steps are quotients of small numbers."""


def start_and_end(runs, run):
    return tuple([factor[run, at] for factor in runs.history.factors] for at in (0, 1))


def train(problem, network, scale, method, runs, dtype=np.float64, record=True):
    kept = ff.Record(np.array([0, method.max_steps]), factors=True) if record else None
    return ff.train(problem, network, ff.inits.Gaussian(scale), method, runs, record=kept, dtype=dtype)


def gradients_of(problem, network):
    """The gradient of a list of factors, as fastflow has them, in plain NumPy."""
    if isinstance(network, ff.DeepLinear):
        return lambda factors: naive.gradient(problem, factors)
    count = network.depth if not network.identical else 1

    def gradients(factors):
        sides = [factors[at : at + count] * (network.depth // count) for at in range(0, len(factors), count)]
        slopes = naive.hadamard_gradient(sides, naive.vector_loss_gradient(problem, naive.hadamard_product(sides))[1])
        return [slope for side in slopes for slope in side[:count]]

    return gradients


NETWORKS = {
    "chain": (MATRIX, ff.DeepLinear(widths=(3, 5, 5, 4)), 0.5),
    "wide chain": (ff.MatrixEstimation(np.diag(np.arange(1.0, 52.0) / 51)), ff.DeepLinear(2), 0.5),
    "one factor": (MATRIX, ff.DeepLinear(1), 0.5),
    "diagonal": (VECTOR, ff.DiagonalLinear(2), 0.5),
    "independent": (VECTOR, ff.DiagonalLinear(3, identical=False), 0.5),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_that_of_its_textbook(rule, network):
    """In all layouts: runs in lanes, padded, alone, and many by one matrix."""
    kind, step, options = RULES[rule]
    problem, words, scale = NETWORKS[network]
    if not isinstance(words, kind.networks):
        pytest.skip("a diagonal network has no singular values")
    count = CHAOTIC.get(rule, 40 if network == "wide chain" else 1000)
    method = kind(step, max_steps=count, **ENDS, **options)
    for number in (1, 9) if "chain" not in network else (3,):
        runs = train(problem, words, scale, method, number)
        assert np.all(runs.status == ff.Status.MAX_STEPS), runs.summary()
        for run in {0, number - 1}:
            start, end = start_and_end(runs, run)
            for got, wanted in zip(
                end,
                naive.descend_by(kind.label, gradients_of(problem, words), start, step, count, **options),
                strict=True,
            ):
                np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)


if __name__ == "__main__":
    import sys
    for network in sys.argv[1].split(","):
        for rule in (sys.argv[2].split(",") if len(sys.argv) > 2 else RULES):
            try:
                test_a_rule_is_that_of_its_textbook(rule, network)
                print("ok", network, rule, flush=True)
            except BaseException as e:
                print("BAD", network, rule, str(e)[:600], flush=True)
