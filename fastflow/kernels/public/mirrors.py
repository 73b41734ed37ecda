"""The mirror maps of diagonal networks, for users' calls: see `dual.mirror`."""

from __future__ import annotations

import math
import numbers

import numpy as np
from numba import types

from fastflow.arrays import as_real
from fastflow.kernels.compile.arguments import check_array, check_float, check_tuple, shown
from fastflow.kernels.compile.jit import jit_inline, jit_public
from fastflow.kernels.dual import mirror as maps
from fastflow.kernels.dual.mirror import SHALLOWEST, Mirror

FLOAT64 = (types.float64,)


def make_mirror(positive: np.ndarray, negative: np.ndarray | None, depth: float) -> Mirror:
    """Make the mirror maps of the network ``x = u^L - v^L``.

    Parameters
    ----------
    positive : array (n,) or (problems, n), u(0)
    negative : array of the same shape, v(0); or None for the network ``x = u^L``
    depth : number, L: 1, 2, or at least 2.01, whole or not; for L >= 2 starts are at least 0, and 0 stays 0

    Returns
    -------
    Mirror

    Raises
    ------
    TypeError, ValueError
        for starts and depths that are none

    Examples
    --------
    >>> mirror = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2)
    >>> x, slope = np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_point(mirror, np.zeros(2), x, slope)
    >>> x.tolist()  # the start: u = v
    [0.0, 0.0]
    """
    if isinstance(depth, bool) or not isinstance(depth, numbers.Real):
        raise TypeError(f"depth must be a number, got {type(depth).__name__}")
    if depth not in (1, 2) and not SHALLOWEST <= depth < math.inf:
        raise ValueError(f"depth must be 1, 2, or a number from {SHALLOWEST} on, got {depth}")
    starts = {"positive": as_real("positive", positive)}
    if negative is not None:
        starts["negative"] = as_real("negative", negative)
    for name, start in starts.items():
        if start.ndim not in (1, 2):
            raise TypeError(f"{name} must be an array of numbers with 1 or 2 dimensions, got shape {start.shape}")
        if start.shape != starts["positive"].shape:
            raise ValueError(
                f"positive and negative have different shapes: {starts['positive'].shape} and {start.shape}"
            )
        if not np.all(start >= (0 if depth > 1 else -np.inf)):
            raise ValueError(f"{name} must be numbers{', at least 0' if depth > 1 else ''}")
    return maps.make_mirror(starts["positive"], starts.get("negative"), depth)


def _check_map(mirror: types.Type, **arrays: types.Type) -> None:
    fields = check_tuple("mirror", mirror, Mirror)
    depth = fields.pop("depth")
    if depth not in (types.float64, types.int64):
        raise TypeError(f"mirror.depth must be a number of float64, got {shown(depth)}")
    check_array("mirror.sides", fields.pop("sides"), (1,), (types.int8, types.int64))
    for name, field in fields.items():
        check_array(f"mirror.{name}", field, (1,), FLOAT64)
    for name, array in arrays.items():
        check_array(name, array, (1,), FLOAT64)


def _check_point(mirror: types.Type, theta: types.Type, x: types.Type, slope: types.Type) -> None:
    _check_map(mirror, theta=theta)
    _check_filled(x=x, slope=slope)


def _check_dual(mirror: types.Type, theta: types.Type, z: types.Type) -> None:
    _check_map(mirror, theta=theta)
    _check_filled(z=z)


def _check_theta(mirror: types.Type, z: types.Type, theta: types.Type) -> None:
    _check_map(mirror, z=z)
    _check_filled(theta=theta)


def _check_move(mirror: types.Type, change: types.Type, theta: types.Type) -> None:
    _check_map(mirror, change=change)
    _check_filled(theta=theta)


def _check_inverse(mirror: types.Type, boost: types.Type, x: types.Type, theta: types.Type) -> None:
    _check_map(mirror, x=x)
    check_float("boost", boost)
    _check_filled(theta=theta)


def _check_filled(**arrays: types.Type) -> None:
    for name, array in arrays.items():
        check_array(name, array, (1,), FLOAT64, writable=True)


@jit_inline
def _fits(mirror, size):
    """Whether mirror maps are those of so many coordinates."""
    fits = mirror.depth == 1 or mirror.depth == 2 or mirror.depth >= SHALLOWEST
    fits = fits and mirror.sides.size == size and mirror.scale.size == size and mirror.rest.size == size
    return fits and mirror.upper.size == size and mirror.lower.size == size


@jit_public(_check_point)
def mirror_point(mirror, theta, x, slope):
    """Evaluate x and its slope where the coordinates are.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    theta : float64 array (n,)
    x, slope : float64 arrays (n,) that are filled with x and ``dx/dz``, infinite where x is too large for a float

    Raises
    ------
    TypeError, ValueError
        for other types and sizes

    Examples
    --------
    >>> mirror = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2)
    >>> x, slope = np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_point(mirror, np.zeros(2), x, slope)
    >>> x.tolist()  # the start: u = v
    [0.0, 0.0]
    """
    if not _fits(mirror, theta.size) or x.size != theta.size or slope.size != theta.size:
        raise ValueError("mirror_point: mirror, theta, x and slope must be of one number of coordinates")
    maps.mirror_point(mirror, theta, x, slope)


@jit_public(_check_dual)
def mirror_dual(mirror, theta, z):
    """Find z where the coordinates are: exact to the last bits of z, or of ``c_a`` and ``c_b`` near them.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    theta : float64 array (n,)
    z : float64 array (n,) that is filled

    Raises
    ------
    TypeError, ValueError
        for other types and sizes

    Examples
    --------
    >>> mirror, z = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2), np.array([1.0, -0.5])
    >>> theta, again = np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_theta(mirror, z, theta)
    >>> ff.kernels.mirror_dual(mirror, theta, again)
    >>> np.allclose(again, z)
    True
    """
    if not _fits(mirror, theta.size) or z.size != theta.size:
        raise ValueError("mirror_dual: mirror, theta and z must be of one number of coordinates")
    maps.mirror_dual(mirror, theta, z)


@jit_public(_check_theta)
def mirror_theta(mirror, z, theta):
    """Find theta from z, near the ends of the domain with a loss that `mirror_move` has not.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    z : float64 array (n,)
    theta : float64 array (n,) that is filled; NaN where z is outside of the domain

    Raises
    ------
    TypeError, ValueError
        for other types and sizes

    Examples
    --------
    >>> mirror, z = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2), np.array([1.0, -0.5])
    >>> theta, again = np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_theta(mirror, z, theta)
    >>> ff.kernels.mirror_dual(mirror, theta, again)
    >>> np.allclose(again, z)
    True
    """
    if not _fits(mirror, theta.size) or z.size != theta.size:
        raise ValueError("mirror_theta: mirror, z and theta must be of one number of coordinates")
    maps.mirror_theta(mirror, z, theta)


@jit_public(_check_move)
def mirror_move(mirror, change, theta):
    """Move to where z is larger by a change, without forming z.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    change : float64 array (n,)
    theta : float64 array (n,) that is moved; NaN where the domain ends before

    Raises
    ------
    TypeError, ValueError
        for other types and sizes

    Examples
    --------
    >>> mirror, theta, z = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2), np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_move(mirror, np.array([1.0, -0.5]), theta)
    >>> ff.kernels.mirror_dual(mirror, theta, z)
    >>> z.round(12).tolist()
    [1.0, -0.5]
    """
    if not _fits(mirror, theta.size) or change.size != theta.size:
        raise ValueError("mirror_move: mirror, change and theta must be of one number of coordinates")
    maps.mirror_move(mirror, change, theta)


@jit_public(_check_inverse)
def mirror_inverse(mirror, boost, x, theta):
    """Find theta where ``boost x(theta)`` is x: exact but for two sides and L > 2, where it is off by at most 0.004.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    boost : float > 0
    x : float64 array (n,), of which one-sided coordinates must have their sign
    theta : float64 array (n,) that is filled

    Raises
    ------
    TypeError, ValueError
        for other types and sizes

    Examples
    --------
    >>> mirror, theta = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2), np.zeros(2)
    >>> x, slope = np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_inverse(mirror, 1.0, np.array([0.3, -0.2]), theta)
    >>> ff.kernels.mirror_point(mirror, theta, x, slope)
    >>> x.round(9).tolist()
    [0.3, -0.2]
    """
    if not _fits(mirror, theta.size) or x.size != theta.size or not boost > 0:
        raise ValueError("mirror_inverse: mirror, x and theta must be of one number of coordinates, and boost > 0")
    maps.mirror_inverse(mirror, boost, x, theta)
