"""The mirror maps against the definition of the factors, in many digits."""

from __future__ import annotations

import mpmath
import naive
import numpy as np
import pytest
from mpmath import mpf

from fastflow import kernels

DEPTHS = (1, 2, 2.5, 3, 3.7, 4, 5, 6, 8)
STARTS = [(1e-12, 1e-12), (1e-6, 1e-6), (0.1, 0.1), (2.0, 2.0), (1e3, 1e3), (1e-9, 1e-3), (0.3, 0.01), (1e3, 1e-2)]
SIDES = {"both": (1, 1), "u": (1, 0), "v": (0, 1)}


@pytest.fixture(autouse=True)
def _digits():
    """Enough for the last bits of ``c_a - z``, where ``c_a`` is 1e71."""
    with mpmath.workdps(200):
        yield


def thetas(a, b, depth):
    """From x that are all but 0 to x of size 1e12, of either sign."""
    if depth == 1:
        return [-1e6, -1.0, 0.0, 1e-9, 3.0]
    power = depth / (depth - 2) if depth > 2 else 1.0
    size = depth * abs(np.log(a or b)) / (2 * power)
    inward = [1e-9, 0.02, 0.7, 20.0]
    outward = [*inward, size, size + 12]
    up, down = (outward if a else inward), (outward if b else inward)
    return [0.0, *up, *(-theta for theta in down)]


def exact_z(theta, a, b, depth):
    """The definition of theta, solved for z."""
    theta = mpf(theta)
    if depth == 1:
        return theta - (a - b) / 2
    if depth == 2:
        return theta - (mpmath.log(a / b) / 2 if a and b else 0)
    k = depth - 2
    if b == 0:
        return a ** (-k) / k * (1 - mpmath.exp(-2 * theta))
    if a == 0:
        return b ** (-k) / k * (mpmath.exp(2 * theta) - 1)
    upper, lower = a ** (-k) / k, b ** (-k) / k
    return (upper - lower) / 2 + (upper + lower) / 2 * mpmath.tanh(theta)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_maps_against_the_factors(depth, sides):
    """x, x' and z as functions of theta, to a few roundings of theta and of what theta multiplies."""
    if depth == 1 and sides != "both":
        pytest.skip("at depth 1 a start of 0 does not stay 0")
    for start in STARTS:
        a, b = (value * side for value, side in zip(start, SIDES[sides], strict=True))
        mirror = kernels.make_mirror(np.array([a]), np.array([b]), depth)
        for theta in thetas(a, b, depth):
            x, slope, dual = (np.empty(1) for _ in range(3))
            kernels.mirror_point(mirror, np.array([theta]), x, slope)
            kernels.mirror_dual(mirror, np.array([theta]), dual)
            z = exact_z(theta, mpf(a), mpf(b), depth)
            expected_x, expected_slope = naive.mirror_point(mpf(a), mpf(b), z, depth)
            tolerance = 1e-15 * (1 + abs(theta)) * 2 * depth / (depth - 2 if depth > 2 else 1)
            assert abs(x[0] - expected_x) <= tolerance * abs(expected_x) + mpf(10) ** -130
            assert abs(slope[0] - expected_slope) <= tolerance * expected_slope
            ends = max(end for end in (mirror.upper[0], mirror.lower[0]) if np.isfinite(end)) if depth > 2 else 1.0
            assert abs(dual[0] - z) <= 1e-15 * (abs(z) + min(ends, abs(z) + mirror_room(a, b, z, depth)) + abs(theta))


def mirror_room(a, b, z, depth):
    """How far z is from the nearer end of its domain."""
    if depth <= 2:
        return 0
    k = depth - 2
    return min(abs(mpf(s) ** (-k) / k - sign * z) for s, sign in ((a, 1), (b, -1)) if s)


@pytest.mark.parametrize("depth", DEPTHS)
def test_theta_of_z_and_moves(depth):
    """``mirror_theta`` inverts ``mirror_dual``; a move by ``dz`` is exact also where ``z + dz`` would not be."""
    for a, b in STARTS:
        mirror = kernels.make_mirror(np.array([a]), np.array([b]), depth)
        domain = 1.0 if depth <= 2 else min(mirror.upper[0], mirror.lower[0])
        for z in (-0.9 * domain, -0.01 * domain, 0.0, 0.3 * domain):
            theta, back = np.empty(1), np.empty(1)
            kernels.mirror_theta(mirror, np.array([z]), theta)
            kernels.mirror_dual(mirror, theta, back)
            assert back[0] == pytest.approx(z, rel=3e-13, abs=1e-15 * domain * (1 + abs(theta[0])))
        for start in thetas(a, b, depth):
            z = exact_z(start, mpf(a), mpf(b), depth)
            change = float(mirror_room(a, b, z, depth)) / 3 if depth > 2 else 0.3
            for dz in (change, -change):
                theta = np.array([start])
                kernels.mirror_move(mirror, np.array([dz]), theta)
                moved = exact_z(theta[0], mpf(a), mpf(b), depth)
                assert moved - z == pytest.approx(dz, rel=1e-13 * (1 + abs(start)))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_network_without_v(depth):
    """``x = u^L``; at depth 1 x is free to be negative."""
    mirror = kernels.make_mirror(np.array([0.3]), None, depth)
    for z in (-2.0, 0.0, 0.2):
        theta, x, slope = (np.empty(1) for _ in range(3))
        kernels.mirror_theta(mirror, np.array([z]), theta)
        kernels.mirror_point(mirror, theta, x, slope)
        assert (x[0], slope[0]) == pytest.approx(naive.mirror_point(0.3, None, z, depth), rel=1e-13)


@pytest.mark.parametrize("depth", DEPTHS)
def test_theta_of_x(depth):
    """Exact, but for two sides and L >= 3, where 0.004 is promised."""
    for a, b in STARTS:
        for positive, negative in ((a, b), (a, 0.0), (0.0, b)):
            if depth == 1 and not (positive and negative):
                continue
            theta = np.array(thetas(positive, negative, depth))
            ones = np.ones_like(theta)
            mirror = kernels.make_mirror(positive * ones, negative * ones, depth)
            x, slope, found = (np.empty_like(theta) for _ in range(3))
            kernels.mirror_point(mirror, theta, x, slope)
            kernels.mirror_inverse(mirror, 0.5, 0.5 * x, found)
            exact = depth <= 2 or not (positive and negative)
            np.testing.assert_allclose(found, theta, rtol=1e-13 if exact else 0.004, atol=1e-13)


def roads(depth, rng):
    """Mirror maps of two-sided coordinates, which go by whole vectors, and of the same ones and one of one side."""
    a, b = np.exp(rng.uniform(-14, 1, (2, 37)))
    return kernels.make_mirror(a, b, depth), kernels.make_mirror(np.append(a, 0.1), np.append(b, 0.0), depth)


def outcomes(mirror, theta, change):
    """What all the maps give at theta, of the first coordinates."""
    n = theta.size
    count = mirror.scale.size
    theta, change = (np.append(array, np.full(count - n, 0.01)) for array in (theta, change))
    x, slope, moved, found = (np.empty(count) for _ in range(4))
    kernels.mirror_point(mirror, theta, x, slope)
    moved[:] = theta
    kernels.mirror_move(mirror, change, moved)
    kernels.mirror_inverse(mirror, 0.5, 0.5 * x, found)
    return x[:n], slope[:n], moved[:n], found[:n]


@pytest.mark.parametrize("depth", [2, 2.02, 2.5, 3, 4, 5, 8])
def test_coordinates_by_vectors_are_those_by_themselves(depth, rng):
    """Whether or not all have two sides: to some roundings of what theta multiplies."""
    whole, mixed = roads(depth, rng)
    growth = depth / (depth - 2) if depth > 2 else 1.0
    theta = rng.choice([-1, 1], 37) * np.exp(rng.uniform(-20, np.log(20 / growth), 37))
    theta[::9] = 0
    change = rng.uniform(-0.1, 0.1, 37)
    if depth > 2:
        change *= (whole.upper + whole.lower) / np.cosh(theta) ** 2
    tolerance = 4e-15 * growth * (1 + np.abs(theta).max())
    for by_vectors, by_itself in zip(*(outcomes(mirror, theta, change) for mirror in (whole, mixed)), strict=True):
        np.testing.assert_allclose(by_vectors, by_itself, rtol=tolerance, atol=0)


@pytest.mark.parametrize("depth", [2, 2.5, 3])
def test_coordinates_by_vectors_have_their_bits_in_every_place(depth, rng):
    whole, _ = roads(depth, rng)
    theta, change = rng.uniform(-3, 3, 37), rng.uniform(-1e-3, 1e-3, 37)
    expected = outcomes(whole, theta, change)
    for part in (slice(5, 6), slice(3, 30), slice(36, None, -1), slice(1, 33, 2)):
        some = kernels.Mirror(whole.depth, *(array[part] for array in whole[1:]))
        for found, entry in zip(outcomes(some, theta[part], change[part]), expected, strict=True):
            np.testing.assert_array_equal(found, entry[part])
