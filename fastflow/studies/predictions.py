"""Where convex programs switch from failure to success, in the parameters of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from fastflow import theory
from fastflow.checks import FloatArray, one_of
from fastflow.theory.roots import invert

PROGRAMS = {
    "l1": r"statistical dimension of $\ell_1$",
    "nonnegative l1": r"statistical dimension of $\ell_1$, $x \geq 0$",
    "nuclear": "statistical dimension of the nuclear norm",
}
"""The programs whose curve is known, and how a picture names it."""


def predicted(program: str, along: str, parameters: Mapping[str, object]) -> FloatArray | None:
    """The value of one parameter at which a convex program recovers half of the trials, the others given.

    That of the statistical dimension, for Gaussian measurements without noise: `theory.l1_statistical_dimension` and
    `theory.nuclear_statistical_dimension`.

    Parameters
    ----------
    program : "l1", "nonnegative l1" or "nuclear"
    along : str
        The parameter: m, delta = m/n, sparsity, rho = sparsity/m or n; for "nuclear" m or rank.
    parameters : name -> number or array that broadcast
        Of an ensemble: n with one of m and delta, one of sparsity and rho, less the one asked for; for "nuclear" n,
        columns (n without it), m, rank. Others do not matter.

    Returns
    -------
    array of the common shape, or None where these parameters determine nothing
    """
    one_of("program", program, PROGRAMS)
    along, parameters = _bare(along), {_bare(name): value for name, value in parameters.items()}
    known: dict[str, FloatArray] = {
        name: np.asarray(value, np.float64) for name, value in parameters.items() if _is_number(value)
    }
    known.pop(along, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        if program == "nuclear":
            return _nuclear(along, known)
        return _l1(along, known, nonnegative=program == "nonnegative l1")


def _l1(along: str, known: dict[str, FloatArray], nonnegative: bool) -> FloatArray | None:
    def fraction(share: ArrayLike) -> FloatArray:
        return np.asarray(theory.l1_statistical_dimension(share, 1.0, nonnegative=nonnegative))

    n, m, sparsity = known.get("n"), known.get("m"), known.get("sparsity")
    delta, rho = known.get("delta"), known.get("rho")
    if n is not None:
        delta = m / n if m is not None else delta
        m = delta * n if delta is not None else m
    if along in ("m", "delta") and n is not None:
        if sparsity is not None:
            share: FloatArray = np.clip(sparsity / n, 0, 1)
        elif rho is not None:
            share = _share(fraction, np.clip(rho, 0, 1))
        else:
            return None
        return fraction(share) * (n if along == "m" else 1)
    if along in ("sparsity", "rho") and n is not None and delta is not None:
        share = np.asarray(theory.l1_critical_sparsity(np.clip(delta, 0, 1), 1.0, nonnegative=nonnegative))
        return share * n if along == "sparsity" else np.where(delta > 0, share / delta, 0.0)
    if along == "n" and m is not None and sparsity is not None:
        return sparsity / _share(fraction, np.clip(sparsity / m, 0, 1))
    return None


def _share(fraction: Callable[[FloatArray], FloatArray], rho: FloatArray) -> FloatArray:
    """The s/n at which s/m is rho on the curve, on which it increases from 0 to 1."""
    return invert(lambda share: share / np.maximum(fraction(share), 1e-300), rho, 0.0, 1.0)


def _nuclear(along: str, known: dict[str, FloatArray]) -> FloatArray | None:
    n, m, rank = known.get("n"), known.get("m"), known.get("rank")
    columns = known.get("columns", n)
    if n is None or columns is None or n.ndim or columns.ndim:
        return None
    shape = int(n), int(columns)
    if along == "m" and rank is not None:
        return np.asarray(theory.nuclear_statistical_dimension(np.clip(rank, 0, min(shape)), shape))
    if along == "rank" and m is not None:
        return np.asarray(theory.nuclear_critical_rank(np.clip(m, 0, shape[0] * shape[1]), shape))
    return None


def _bare(name: str) -> str:
    """The name without the word that it belongs to: "m" of "ensemble.m"."""
    return name.rpartition(".")[2]


def _is_number(value: object) -> TypeGuard[ArrayLike]:
    return isinstance(value, int | float | np.number | np.ndarray) and np.asarray(value).dtype.kind in "iuf"
