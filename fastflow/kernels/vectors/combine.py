"""Linear combinations of many arrays, and their squares, in one pass: the arithmetic of integrators.

What an array of an integrator costs is its way through the cache, so that an array is read once for all that is made of
it. Arrays are contiguous float64, and are named by their addresses.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.elementwise import PARTIAL_BYTES
from fastflow.kernels.vectors.simd import Vector, constant, for_vectors, switch

MOST_TERMS = 16
"""So many rows at most go into a sum of `combine_rows_at`."""

ESTIMATES = {7: 1, 11: 2}
"""How many estimates of its error a step has, by how many slopes they are made of: what `measure_step_at` knows."""


def _members(builder, tuple_type, value):
    return [builder.extract_value(value, i) for i in range(tuple_type.count)]


@intrinsic
def combine_at(typingctx, target, factors, sources, sums, weights, size):
    """``target = sum_k factors[k] sources[k]`` and ``sums[j] += weights[j] sources[0]``, for ``size`` numbers.

    Tuples of addresses and as many numbers; no source is a sum, but the target may be a source. FMAs in the order of k.
    """
    if not all(isinstance(members, types.BaseTuple) for members in (factors, sources, sums, weights)):
        return None
    signature = types.void(target, factors, sources, sums, weights, types.intp)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, types.float64, SHAPE.vector_bytes // 8)
        parts = [
            _members(builder, kind, value) for kind, value in zip(signature.args[1:5], arguments[1:5], strict=True)
        ]
        factors, weights = ([vector.splat(number) for number in parts[i]] for i in (0, 3))
        sources, sums = ([vector.at(place) for place in parts[i]] for i in (1, 2))
        target = vector.at(arguments[0])

        def body(offset, mask):
            first = vector.load(sources[0], offset, mask)
            total = builder.fmul(factors[0], first)
            for factor, source in zip(factors[1:], sources[1:], strict=True):
                total = vector.fma(factor, vector.load(source, offset, mask), total)
            for weight, place in zip(weights, sums, strict=True):
                vector.store(vector.fma(weight, first, vector.load(place, offset, mask)), place, offset, mask)
            vector.store(total, target, offset, mask)

        for_vectors(builder, vector, arguments[5], body)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def combine_rows_at(typingctx, target, share, start, factors, matrix, size, rows):
    """``target = share * start + sum_k factors[k] * row k``, ``k < rows``, in one pass; FMAs in the order of k.

    Addresses of ``size`` numbers, of the factors, and of a matrix of rows of ``size``, from 1 to `MOST_TERMS` of them.
    """
    n = types.intp
    signature = types.void(n, types.float64, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, types.float64, SHAPE.vector_bytes // 8)
        target, start, factors, matrix = (vector.at(arguments[i]) for i in (0, 2, 3, 4))
        share, size = vector.splat(arguments[1]), arguments[5]

        def emit(count):
            places = [builder.gep(matrix, [builder.mul(constant(k), size)]) for k in range(count)]
            splats = [vector.splat(builder.load(builder.gep(factors, [constant(k)]))) for k in range(count)]

            def body(offset, mask):
                total = builder.fmul(share, vector.load(start, offset, mask))
                for splat, place in zip(splats, places, strict=True):
                    total = vector.fma(splat, vector.load(place, offset, mask), total)
                vector.store(total, target, offset, mask)

            for_vectors(builder, vector, size, body, unroll=False)

        switch(builder, arguments[6], {k: (lambda k=k: emit(k)) for k in range(1, MOST_TERMS + 1)})
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def squares_at(typingctx, sources, size, results):
    """``results[k] = ||sources[k]||^2``, each sum in the order of `elementwise.dot`.

    A tuple of addresses of ``size`` numbers each, and the address of as many results.
    """
    if not isinstance(sources, types.BaseTuple):
        return None
    signature = types.void(sources, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, types.float64, PARTIAL_BYTES // 8)
        places = [vector.at(place) for place in _members(builder, signature.args[0], arguments[0])]
        totals = [cgutils.alloca_once_value(builder, vector.zero) for _ in places]
        results = vector.at(arguments[2])

        def body(offset, mask):
            for place, total in zip(places, totals, strict=True):
                number = vector.load(place, offset, mask)
                builder.store(vector.fma(number, number, builder.load(total)), total)

        for_vectors(builder, vector, arguments[1], body)
        for k, total in enumerate(totals):
            builder.store(vector.sum(builder.load(total)), builder.gep(results, [constant(k)]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def measure_step_at(typingctx, state, last, new, slope, bent, slopes, factors, size, rows, results):
    """All that is asked of a step of which all slopes are there, in one pass; FMAs in the order of the slopes.

    Addresses of ``size`` numbers: the ``state``, the point of the ``last`` stage, the ``new`` point and the ``slope``
    there, which is also written to the last of ``rows`` rows of ``slopes``; to ``bent`` goes the slope less the one
    before it. ``factors`` (2, `MOST_TERMS`) of the slopes in each of the estimates of the error. ``results``: the
    squares, as of `squares_at`, of new less last, of bent, of new less state, of new, of the slope, of each estimate.
    """
    n = types.intp
    signature = types.void(*[n] * 10)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, types.float64, PARTIAL_BYTES // 8)
        state, last, new, slope, bent, slopes, factors, results = (
            vector.at(arguments[i]) for i in (0, 1, 2, 3, 4, 5, 6, 9)
        )
        size = arguments[7]

        def emit(count, estimates):
            places = [builder.gep(slopes, [builder.mul(constant(k), size)]) for k in range(count)]
            numbers = [[constant(MOST_TERMS * j + k) for k in range(count)] for j in range(estimates)]
            weights = [[vector.splat(builder.load(builder.gep(factors, [k]))) for k in its] for its in numbers]
            totals = [cgutils.alloca_once_value(builder, vector.zero) for _ in range(5 + estimates)]

            def body(offset, mask):
                there, here = vector.load(new, offset, mask), vector.load(slope, offset, mask)
                rows = [vector.load(place, offset, mask) for place in places[:-1]] + [here]
                turned = builder.fsub(here, rows[-2])
                vector.store(turned, bent, offset, mask)
                vector.store(here, places[-1], offset, mask)
                apart = builder.fsub(there, vector.load(last, offset, mask))
                change = builder.fsub(there, vector.load(state, offset, mask))
                errors = [vector.zero] * estimates
                for k, row in enumerate(rows):
                    errors = [vector.fma(its[k], row, error) for its, error in zip(weights, errors, strict=True)]
                for number, total in zip((apart, turned, change, there, here, *errors), totals, strict=True):
                    builder.store(vector.fma(number, number, builder.load(total)), total)

            for_vectors(builder, vector, size, body, unroll=False)
            for k, total in enumerate(totals):
                builder.store(vector.sum(builder.load(total)), builder.gep(results, [constant(k)]))

        switch(builder, arguments[8], {k: (lambda k=k, many=many: emit(k, many)) for k, many in ESTIMATES.items()})
        return context.get_dummy_value()

    return signature, codegen
