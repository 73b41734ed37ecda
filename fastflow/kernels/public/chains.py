"""Chains of factors, for users' calls: see `networks.chain`."""

from __future__ import annotations

import numpy as np
from numba import types

from fastflow.kernels.compile.arguments import INTEGERS, check_array, check_like, check_tuple
from fastflow.kernels.compile.jit import jit_inline, jit_public
from fastflow.kernels.networks import chain
from fastflow.kernels.networks.chain import ChainWorkspace, chain_places, chain_product_at, chain_sweep_back
from fastflow.kernels.networks.chain_steps import no_steps
from fastflow.kernels.vectors.layouts import VECTOR_BYTES, address, item_bytes, keep, kind_of

MOST = 2.0**62
"""More numbers than that are in no memory, and their number in no integer."""


def _check_widths(widths: types.Type) -> None:
    check_array("widths", widths, (1,), INTEGERS)


def _check_chain(factors: types.Type, widths: types.Type, work: types.Type, most_dimensions: int = 2) -> types.Array:
    like = check_array("factors", factors, range(1, most_dimensions + 1), contiguous=True)
    _check_widths(widths)
    for name, field in check_tuple("work", work, ChainWorkspace).items():
        check_like(f"work.{name}", field, like, "factors", contiguous=True, writable=True)
    return like


def _check_balancedness(factors: types.Type, widths: types.Type, work: types.Type) -> None:
    _check_chain(factors, widths, work, most_dimensions=1)


def _check_gradient(factors: types.Type, widths: types.Type, end_gradient: types.Type, work: types.Type) -> None:
    like = _check_chain(factors, widths, work)
    check_like("end_gradient", end_gradient, like, "factors", contiguous=True)


def _check_workspace(widths: types.Type, like: types.Type) -> None:
    _check_widths(widths)
    check_array("like", like, (1, 2))


@jit_inline
def _count(widths):
    """`networks.chain.parameter_count`, or -1 where the widths are none."""
    total, valid = 0.0, widths.size > 1
    for j in range(widths.size):
        valid &= widths[j] > 0
    for j in range(widths.size - 1):
        total += np.float64(widths[j]) * np.float64(widths[j + 1])
    count = -1
    if valid and total < MOST:
        count = 0
        for j in range(widths.size - 1):
            count += widths[j + 1] * widths[j]
    return count


@jit_inline
def _is_flat(array, like):
    """Whether an array has one dimension, or one run per lane."""
    lanes = VECTOR_BYTES // item_bytes(like) if array.ndim == 2 else 1
    return array.size == len(array) * lanes


@jit_inline
def _fits(factors, widths, work):
    """Whether factors and workspace have the sizes that the widths ask for."""
    like = factors.dtype.type(0)
    fits = len(factors) == _count(widths) and _is_flat(factors, like)
    if fits:
        widest, total = 0, 0
        for width in widths:
            widest = max(widest, width)
            total += width
        # Of widths that fit factors which are there no product is too large for an integer.
        ends = max(widths[0], widths[-1])
        fits = len(work.product) == widths[0] * widths[-1] and len(work.gradient) == len(factors)
        fits &= len(work.partial) >= total * ends
        fits &= len(work.sweep_a) >= widest * widest and len(work.sweep_b) >= widest * widest
        fits &= _is_flat(work.product, like) and _is_flat(work.partial, like) and _is_flat(work.gradient, like)
        fits &= _is_flat(work.sweep_a, like) and _is_flat(work.sweep_b, like)
    return fits


@jit_public(_check_widths)
def parameter_count(widths):
    """Count the entries of all factors of a chain.

    Parameters
    ----------
    widths : int64 array (N + 1,), ``d_0 ... d_N``

    Returns
    -------
    int, ``sum_j d_j d_{j-1}``

    Raises
    ------
    TypeError, ValueError
        for what are no widths

    Examples
    --------
    >>> ff.kernels.parameter_count(np.array([4, 3, 2]))
    18
    """
    count = _count(widths)
    if count < 0:
        raise ValueError("parameter_count: widths must be two or more numbers greater than 0")
    return count


@jit_public(_check_workspace)
def chain_workspace(widths, like):
    """Make memory for `chain_product` and `chain_gradient` of one run.

    Parameters
    ----------
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    like : array of the dtype of the factors

    Returns
    -------
    ChainWorkspace

    Raises
    ------
    TypeError, ValueError
        for what are no widths, and no such array

    Examples
    --------
    >>> widths, factors = np.array([2, 2, 2]), np.array([1.0, 0, 0, 2, 3, 0, 0, 1])  # diag(1, 2), diag(3, 1)
    >>> work = ff.kernels.chain_workspace(widths, factors)
    >>> ff.kernels.chain_product(factors, widths, work)
    >>> work.product.tolist()
    [3.0, 0.0, 0.0, 2.0]
    >>> ff.kernels.chain_gradient(factors, widths, np.array([1.0, 0, 0, 0]), work)
    >>> work.gradient.tolist()
    [3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    widest, total = 0.0, 0.0
    for width in widths:
        widest = max(widest, np.float64(width))
        total += np.float64(width)
    if _count(widths) < 0 or widest * max(total, widest) >= MOST:
        raise ValueError("chain_workspace: widths must be two or more numbers greater than 0")
    return chain.chain_workspace(widths, like)


@jit_public(_check_chain)
def chain_product(factors, widths, work):
    """Write ``W_N...W_1`` to ``work.product``, and what `chain_gradient` needs to ``work.partial``.

    Parameters
    ----------
    factors : array (parameter_count(widths),), C-contiguous
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    work : ChainWorkspace

    Raises
    ------
    TypeError, ValueError
        for other types, and for factors and a workspace that are not of these widths

    Examples
    --------
    >>> widths, factors = np.array([2, 2, 2]), np.array([1.0, 0, 0, 2, 3, 0, 0, 1])  # diag(1, 2), diag(3, 1)
    >>> work = ff.kernels.chain_workspace(widths, factors)
    >>> ff.kernels.chain_product(factors, widths, work)
    >>> work.product.tolist()
    [3.0, 0.0, 0.0, 2.0]
    >>> ff.kernels.chain_gradient(factors, widths, np.array([1.0, 0, 0, 0]), work)
    >>> work.gradient.tolist()
    [3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    if not _fits(factors, widths, work):
        raise ValueError("chain_product: factors and work must have the sizes that widths ask for")
    chain_product_at(kind_of(factors), widths, chain_places(factors, widths, work))
    keep(factors)
    keep(work)


@jit_public(_check_gradient)
def chain_gradient(factors, widths, end_gradient, work):
    """Write the gradient by every factor to ``work.gradient``, given the gradient ``end_gradient`` by the product.

    `chain_product` must have run on the same factors and ``work`` before: its partial products are used.

    Parameters
    ----------
    factors : array (parameter_count(widths),), C-contiguous
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    end_gradient : array (d_N * d_0,), C-contiguous
    work : ChainWorkspace

    Raises
    ------
    TypeError, ValueError
        as `chain_product`

    Examples
    --------
    >>> widths, factors = np.array([2, 2, 2]), np.array([1.0, 0, 0, 2, 3, 0, 0, 1])  # diag(1, 2), diag(3, 1)
    >>> work = ff.kernels.chain_workspace(widths, factors)
    >>> ff.kernels.chain_product(factors, widths, work)
    >>> work.product.tolist()
    [3.0, 0.0, 0.0, 2.0]
    >>> ff.kernels.chain_gradient(factors, widths, np.array([1.0, 0, 0, 0]), work)
    >>> work.gradient.tolist()
    [3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    if not _fits(factors, widths, work):
        raise ValueError("chain_gradient: factors and work must have the sizes that widths ask for")
    if len(end_gradient) != widths[0] * widths[-1] or not _is_flat(end_gradient, factors.dtype.type(0)):
        raise ValueError("chain_gradient: end_gradient must have an entry for each of the product")
    places = chain_places(factors, widths, work)
    chain_sweep_back(kind_of(factors), widths, address(end_gradient, 0), places, no_steps(), False)
    keep(factors)
    keep(end_gradient)
    keep(work)


@jit_public(_check_balancedness)
def chain_balancedness(factors, widths, work):
    """Measure by how much neighbouring factors differ: ``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F``.

    Parameters
    ----------
    factors : array (parameter_count(widths),), C-contiguous
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    work : ChainWorkspace, whose scratch is used

    Returns
    -------
    float; 0 for one factor

    Raises
    ------
    TypeError, ValueError
        as `chain_product`

    Examples
    --------
    >>> widths, factors = np.array([1, 1, 1]), np.array([3.0, 2.0])
    >>> work = ff.kernels.chain_workspace(widths, factors)
    >>> float(ff.kernels.chain_balancedness(factors, widths, work))
    5.0
    """
    if not _fits(factors, widths, work):
        raise ValueError("chain_balancedness: factors and work must have the sizes that widths ask for")
    return chain.chain_balancedness(factors, widths, work)
