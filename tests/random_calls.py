"""Random calls of public kernels that are wrong somewhere; run by `test_public_kernels` in a process of its own.

Each kernel has arguments that are right, and of each argument values that are wrong beside the right others. A wrong
value either has the type of the right one, and other sizes, or another type; so few versions are compiled.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from fastflow import kernels

FLOAT = np.float64
NOTHING = (None, "text", b"bytes", object(), (), (1.0, 2.0), {}, {1}, [1.0], [[1.0, 2.0]], 1j, ..., int, len)
ODD = (
    np.zeros(3, complex),
    np.zeros(3, bool),
    np.zeros(3, ">f8"),
    np.zeros(3, np.float16),
    np.zeros(3, "U3"),
    np.zeros(3, object),
    np.zeros(3, [("a", float), ("b", int)]),
    np.zeros(3, "M8[s]"),
    np.ma.masked_array(np.zeros(3), [True, False, False]),
    np.zeros((2, 3, 4)),
    np.zeros(()),
    np.float64(3.0),
    np.frombuffer(bytes(25), np.uint8)[1:].view(FLOAT),
)


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def others(array, *, written=False, strided=False):
    """Arrays of the type of one, of other sizes, and arrays of other types."""
    sizes = {0, 1, len(array) - 1, len(array) + 1, 2 * len(array), 1000} - {len(array)}
    found = [np.ones((size, *array.shape[1:]), array.dtype) for size in sizes]
    found += [array.astype(np.float32), array.astype(np.int32), array[None], list(array), array.tobytes()]
    found += [readonly(array)] * written
    found += [np.repeat(array, 2)[::2]] * strided
    return [*found, *ODD, *NOTHING, 3, 2.5]


def fields(right, **wrong):
    """NamedTuples of which one field is wrong, and what is none."""
    found = [right._replace(**{name: value}) for name, values in wrong.items() for value in values]
    return [*found, tuple(right), right[:-1], type(right), *NOTHING, *ODD, 3, 2.5]


NO_INTEGER = (1.0, True, np.uint64(1), np.float32(1), *NOTHING, *ODD)
NO_DEPTH = tuple(value for value in (True, np.uint64(1), np.float32(1), *NOTHING, *ODD) if type(value) is not FLOAT)
IMPOSSIBLE = [
    *(np.array(widths, np.int64) for widths in ([], [4], [0, 3, 2], [4, -3, 2], [4, 3, 2, 0], [-4, -3, -2])),
    *(np.array(widths, np.int64) for widths in ([2**40] * 2, [2**62] * 3)),
    np.array([4.0, 3.0, 2.0]),
    np.array([4, 3, 2], np.int32),
    np.array([4, 3, 2], np.uint64),
    np.array([[4, 3, 2]]),
    (4, 3, 2),
    [4, 3, 2],
    *ODD,
    *NOTHING,
    7,
]
NO_WIDTHS = [
    *IMPOSSIBLE,
    *(np.array(widths, np.int64) for widths in ([4, 3], [4, 3, 3], [2**32, 2**32, 1], [3, 6], [18, 1], [4, 3, 2, 1])),
]


class Mine(NamedTuple):
    """A user's problem, the formula of which reads what is there."""

    target: np.ndarray


def mine(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.target[index, i]
        loss += gradient[i] ** 2 / 2
    return loss


class Shrinking(NamedTuple):
    """A user's update rule."""

    factor: float


def shrink(rule, factors, gradient, memory, step, k):
    for i in range(factors.size):
        factors[i] = rule.factor * factors[i] - step * gradient[i]


def cases():
    """Each kernel by its name, its right arguments, and wrong ones for each."""
    a, b = np.ones((3, 4)), np.ones((4, 5))
    wrong_matrices = [np.ones(12), np.ones((3, 4), np.float32), np.ones((3, 4), int), [[1.0]], *ODD, *NOTHING, 3, 2.5]
    wrong_a = [np.ones(shape) for shape in ((3, 3), (3, 5), (3, 0), (0, 3), (4, 2))]
    wrong_b = [np.ones(shape) for shape in ((3, 5), (5, 4), (0, 5), (5, 0), (7, 7))]
    yield "product_nn", (a, b), ([*wrong_a, *wrong_matrices], [*wrong_b, *wrong_matrices])
    wrong_a = [np.ones(shape) for shape in ((3, 3), (5, 3), (0, 3), (3, 0), (2, 4))]
    yield "product_tn", (a.T.copy(), b), ([*wrong_a, *wrong_matrices], [*wrong_b, *wrong_matrices])
    wrong_a = [np.ones(shape) for shape in ((3, 3), (3, 5), (3, 0), (0, 3), (4, 2))]
    wrong_b = [np.ones(shape) for shape in ((5, 3), (4, 5), (5, 0), (0, 5), (7, 7))]
    yield "product_nt", (a, b.T.copy()), ([*wrong_a, *wrong_matrices], [*wrong_b, *wrong_matrices])

    widths, factors, end = np.array([4, 3, 2]), np.ones(18), np.ones(8)
    work = kernels.chain_workspace(widths, factors)
    wrong_work = fields(
        work, **{name: others(array, written=True, strided=True) for name, array in work._asdict().items()}
    )
    # Scratch may be larger than it must be.
    wrong_work = [each for each in wrong_work if not _only_larger(each, work)]
    wrong_factors = others(factors, strided=True)
    yield "parameter_count", (widths,), (IMPOSSIBLE,)
    no_like = [each for each in others(factors) if not _is_floats(each)]
    yield "chain_workspace", (widths, factors), (IMPOSSIBLE, no_like)
    yield "chain_product", (factors, widths, work), (wrong_factors, NO_WIDTHS, wrong_work)
    wrong_end = others(end, strided=True)
    yield "chain_gradient", (factors, widths, end, work), (wrong_factors, NO_WIDTHS, wrong_end, wrong_work)
    yield "chain_balancedness", (factors, widths, work), (wrong_factors, NO_WIDTHS, wrong_work)

    x = np.ones(7)
    no_vector = [each for each in others(x) if not isinstance(each, np.ndarray) or each.dtype != np.float32]
    yield "relative_error", (x, 2 * x), (no_vector, no_vector)

    mirror = kernels.make_mirror(x, x, 3)
    wrong_maps = {name: others(getattr(mirror, name)) for name in ("scale", "rest", "upper", "lower")}
    wrong_sides = [*others(x), np.ones(6, np.int8), np.ones(0, np.int8), np.ones(70, np.int8), *NOTHING]
    wrong_mirror = fields(
        mirror, depth=(0, -1, 0.0, -1.0, 0.5, 1.5, np.nan, *NO_DEPTH), sides=wrong_sides, **wrong_maps
    )
    read, filled = others(x), others(x, written=True)
    yield "mirror_point", (mirror, x, x.copy(), x.copy()), (wrong_mirror, read, filled, filled)
    yield "mirror_dual", (mirror, x, x.copy()), (wrong_mirror, read, filled)
    yield "mirror_theta", (mirror, x, x.copy()), (wrong_mirror, read, filled)
    yield "mirror_move", (mirror, x, x.copy()), (wrong_mirror, read, filled)
    wrong_boost = (0.0, -1.0, np.nan, *NOTHING, *ODD[:-2])
    yield "mirror_inverse", (mirror, 1.0, x, x.copy()), (wrong_mirror, wrong_boost, read, filled)
    wrong_start = [-x, x[:6], np.full(7, np.nan), np.ones((2, 2, 2)), *ODD[:1], *ODD[4:10], "text", {}, [[1.0], [1, 2]]]
    wrong_depth = (0, -1, 0.5, 1.5, 2.001, np.nan, np.inf, True, *NOTHING)
    yield "make_mirror", (x, x, 2), (wrong_start, wrong_start, wrong_depth)

    kernels.add_problem(Mine, mine)
    product = np.ones(6)
    problems = (
        kernels.Estimation(np.ones((2, 6))),
        kernels.Completion(np.array([0, 5, 1]), np.ones(3), np.array([0, 2, 3])),
        kernels.Sensing(np.ones((2, 24)), np.ones((2, 4))),
        kernels.RegressionBySamples(np.ones((2, 15)), np.ones((2, 10))),
        kernels.RegressionByGram(*(np.ones((2, size)) for size in (6, 9, 6, 1, 9, 6, 1))),
        Mine(np.ones((2, 6))),
    )
    for problem in problems:
        room = kernels.loss_workspace(problem, 6, FLOAT)
        sizes = {name: others(array, written=True, strided=True) for name, array in room._asdict().items()}
        wrong_room = [each for each in fields(room, **sizes) if not _only_larger(each, room)]
        wrong_index = (-1, 2, 10**12, -(2**63), 2**63 - 1, *NO_INTEGER)
        wrong_columns = (0, -1, -3, 4, 7, 2**62, *NO_INTEGER)
        wrong_problem = [*NOTHING, *ODD, 3, tuple(problem), type(problem), mirror, work]
        if not isinstance(problem, Mine):
            wrong_problem += fields(problem, **_wrong_data(problem))
        else:
            wrong_problem += [Mine(np.ones((0, 6))), Mine(np.ones((1, 6))), Mine(3.0)]
        arguments = (problem, 1, product, 3, room)
        yield (
            "loss_gradient",
            arguments,
            (wrong_problem, wrong_index, others(product, strided=True), wrong_columns, wrong_room),
        )
        wrong_dtype = (int, complex, "text", np.float16, object())
        no_problem = (3, None, (1, 2), mirror, work, "text")
        yield "loss_workspace", (problem, 6, FLOAT), (no_problem, (0, -1, 2.5, True, None, "6"), wrong_dtype)
    yield "add_problem", (Mine, mine), ((dict, 3, None, tuple, kernels.Estimation, Mine(x)), (3, None, "mine"))
    no_rule, no_slots = (dict, 3, None, tuple, Shrinking(0.5)), (-1, 0.5, None, "1")
    yield "add_rule", (Shrinking, shrink, 0), (no_rule, (3, None, "mine"), no_slots)
    yield "jit", (mine,), ((3, None, "mine", len, int, kernels.product_nn),)


def _wrong_data(problem):
    """Of each array of a problem what does not fit the others, of which the problem at hand is the second of two."""
    if isinstance(problem, kernels.Completion):
        entries = ([0, 5], [0, 5, 6], [0, 5, -1], [0, 5, 2**40], [0, 5, -(2**63)], [0.0, 5.0, 1.0], [[0, 5, 1]])
        bounds = ([0, 2], [0], [], [0, 2, 4], [0, -1, 3], [0, 3, 2], [0, -(2**62), 2**62], [0.0, 2.0, 3.0])
        return {
            "entries": [np.array(each) for each in entries],
            "values": others(problem.values, strided=True),
            "bounds": [np.array(each, float if each and isinstance(each[0], float) else np.int64) for each in bounds],
        }
    wrong = {}
    for name, array in problem._asdict().items():
        rows, size = array.shape
        shapes = [(rows, size - 1), (rows, size + 1), (rows, 2 * size + 1), (rows, 0), (0, size), (1, size)]
        wrong[name] = [
            *(np.ones(shape) for shape in shapes),
            array.astype(np.float32),
            array[0],
            array.T,
            *ODD,
            *NOTHING,
        ]
    return wrong


def _is_floats(value):
    return isinstance(value, np.ndarray) and value.dtype in (np.float32, FLOAT) and value.ndim in (1, 2)


def _only_larger(given, right):
    """Whether a workspace is right but for scratch that is larger than it must be."""
    if type(given) is not type(right):
        return False
    scratch = ("partial", "sweep_a", "sweep_b", "scratch")
    return all(
        isinstance(array, np.ndarray)
        and (array.dtype, array.ndim, array.flags.c_contiguous) == (wanted.dtype, 1, True)
        and array.flags.writeable
        and array.flags.aligned
        and (len(array) == len(wanted) or (name in scratch and len(array) > len(wanted)))
        and not isinstance(array, np.ma.MaskedArray)
        for name, array, wanted in zip(right._fields, given, right, strict=True)
    )


def main(calls, seed):
    rng = np.random.default_rng(seed)
    known = list(cases())
    for name, right, _ in known:
        getattr(kernels, name)(*right)
    refused = 0
    for _ in range(calls):
        name, right, wrong = known[rng.integers(len(known))]
        arguments = list(right)
        place = int(rng.integers(len(arguments)))
        arguments[place] = wrong[place][rng.integers(len(wrong[place]))]
        try:
            result = getattr(kernels, name)(*arguments)
        except (TypeError, ValueError):
            refused += 1
            continue
        print("NOT REFUSED", name, place, repr(arguments[place])[:200], "->", result)
    print(refused)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
