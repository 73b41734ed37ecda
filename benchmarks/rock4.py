"""ROCK4 (Abdulle, SIAM J. Sci. Comput. 23, 2002) with the stability polynomials of `fastflow.kernels.flow.chebyshev`.

The stages follow the recurrence of P, and a finishing method of four stages, the least in size that meets the eight
conditions of order 4 together with P (by Newton), has the stability polynomial w.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.flow.chebyshev import DEGREES, PAIRS, SHIFT, polynomials, zeros_of_w

FIRST_FINISH = np.array([0.396, -0.29, 0.7515, -0.093, 0.1618, 0.976, 0.0256, 0.488, 0.319, 0.167])
"""The finishing method at 14 stages, over the share of the step that it takes."""

TREES = np.array([1, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24])
"""What the elementary weights of a method of order 4 are: of the trees t, [t], [t t], [[t]], [t t t], ..., [[[t]]]."""


class Rock4(NamedTuple):
    """Of each method: how many ``stages``, its stability interval ``[-length, 0]``, and coefficients.

    ``recurrence`` (total, 3), from row ``first[i]`` on: ``g_j = mu h f(g_{j-1}) + nu g_{j-1} + kappa g_{j-2}`` for
    j = 1 .. s - 4. ``inner`` (methods, 4, 4), ``outer`` (methods, 4): the finishing method from there. ``error``
    (methods, 5): the weights of its slopes and the new one in the estimate of the error.
    """

    stages: np.ndarray
    length: np.ndarray
    first: np.ndarray
    recurrence: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    error: np.ndarray


@functools.cache
def rock4() -> Rock4:
    """All methods of `DEGREES`."""
    zeros, middle = zeros_of_w(), DEGREES.index(14)
    finishes: dict[int, np.ndarray] = {}
    for order in (DEGREES[middle::-1], DEGREES[middle:]):
        finish = FIRST_FINISH
        for degree in order:
            weights = _elementary_weights(_recurrence(degree, zeros[degree])[0])
            finish = _solve_finish(weights, finish)
            finishes[degree] = finish * (1 - weights[0])
    rows, lengths = zip(*(_recurrence(degree, zeros[degree]) for degree in DEGREES), strict=True)
    inner = np.array([_unpack(finishes[degree])[0] for degree in DEGREES])
    outer = np.array([_unpack(finishes[degree])[1] for degree in DEGREES])
    error = np.array(
        [_error_weights(_elementary_weights(row), a, b) for row, a, b in zip(rows, inner, outer, strict=True)]
    )
    first = np.cumsum([0, *map(len, rows)])
    made = (np.array(DEGREES), np.array(lengths), first, np.concatenate(rows), inner, outer, error)
    for array in made:
        array.flags.writeable = False
    return Rock4(*made)


def _recurrence(degree: int, zero: np.ndarray) -> tuple[np.ndarray, float]:
    """mu, nu, kappa of the stages (degree - 4, 3), and how far down ``|R| <= 1`` holds."""
    a, b, jet = polynomials(degree, zero)
    shift, scale = 1 + SHIFT / degree**2, 1 / jet[1]
    value, earlier, rows = 1.0, 0.0, []
    for k in range(degree - PAIRS):
        before = b[k - 1] if k else 0.0
        new = ((shift - a[k]) * value - before * earlier) / b[k]
        kappa = -before / b[k] * earlier / new
        rows.append((scale / b[k] * value / new, 1 - kappa, kappa))
        earlier, value = value, new
    return np.array(rows), (1 + shift) / scale


def _derivative(w: np.ndarray) -> np.ndarray:
    """What the elementary weights of a stage make of those of ``h f`` there; last axis trees."""
    one = np.ones_like(w[..., 0])
    t, tt, bush, tall = (w[..., i] for i in range(4))
    return np.stack([one, t, t**2, tt, t**3, t * tt, bush, tall], axis=-1)


def _elementary_weights(recurrence: np.ndarray) -> np.ndarray:
    """The weights of the trees up to order 4 of the last stage of a recurrence."""
    before, now = np.zeros(8), np.zeros(8)
    for mu, nu, kappa in recurrence:
        before, now = now, mu * _derivative(now) + nu * now + kappa * before
    return now


def _unpack(finish: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inner (..., 4, 4) and outer (..., 4) coefficients of finishing methods (..., 10)."""
    inner = np.zeros((*finish.shape[:-1], PAIRS, PAIRS))
    inner[..., [1, 2, 2, 3, 3, 3], [0, 0, 1, 0, 1, 2]] = finish[..., :6]
    return inner, finish[..., 6:]


def _slopes_after(weights: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The weights of the trees in each of four slopes (..., 4, 8), from where those of the state are ``weights``."""
    slopes: list[np.ndarray] = []
    for i in range(PAIRS):
        state = np.broadcast_to(weights, (*inner.shape[:-2], 8))
        for j, slope in enumerate(slopes):
            state = state + inner[..., i, j, None] * slope
        slopes.append(_derivative(state))
    return np.stack(slopes, axis=-2)


def _solve_finish(weights: np.ndarray, finish: np.ndarray) -> np.ndarray:
    """The finishing method (10,), over its share of the step: nearest to a given one, then by Newton of least norm."""
    share = 1 - weights[0]

    def defect(finish: np.ndarray) -> np.ndarray:
        inner, outer = _unpack(finish * share)
        return (weights + np.einsum("...i,...it->...t", outer, _slopes_after(weights, inner))) / TREES - 1

    for _ in range(30):
        now = defect(finish)
        slopes = (defect(finish + 1e-7 * np.eye(10)) - now).T / 1e-7
        change = np.linalg.lstsq(slopes, now, rcond=None)[0]
        finish = finish - change
        if np.abs(change).max() < 1e-14:
            break
    return finish


def _error_weights(weights: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """The combination of five slopes that vanishes up to order 3, scaled to ``h^4 y''''/24`` where f is linear."""
    slopes = np.vstack([_slopes_after(weights, inner), _derivative(TREES)])
    null: np.ndarray = np.linalg.svd(slopes[:, :4].T)[2][-1]
    return null / (null @ slopes[:, 7]) / 24
