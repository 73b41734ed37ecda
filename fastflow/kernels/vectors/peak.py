"""The FMA peak of this machine, measured: what every kernel's rate is a fraction of."""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.simd import Vector, counted_loop

CHAINS = SHAPE.tile_rows * SHAPE.tile_vectors
"""Independent accumulators, as many as the register tile has: enough to hide the latency of an FMA."""


@intrinsic
def _fma_chains(typingctx, x, count):
    """The sum of `CHAINS` vectors after ``count`` times ``acc = fma(acc, x, x)`` each, in registers."""
    lanes = SHAPE.vector_bytes // (x.bitwidth // 8)
    signature = x(x, types.intp)

    def codegen(context, builder, signature, arguments):
        x, count = arguments
        vector = Vector(context, builder, signature.return_type, lanes)
        factor = vector.splat(x)

        def body(k, state):
            return [vector.fma(accumulator, factor, factor) for accumulator in state]

        start = [
            vector.splat(builder.fadd(x, ir.Constant(x.type, float(chain)))) for chain in range(CHAINS)
        ]  # different starts, or the compiler would merge the chains
        state = counted_loop(builder, count, start, body)
        total = state[0]
        for accumulator in state[1:]:
            total = builder.fadd(total, accumulator)
        return vector.sum(total)

    return signature, codegen


@jit
def _run_chains(x, count):
    return _fma_chains(x, count)


@functools.cache
def measured_peak(dtype: str, threads: int) -> float:
    """`fma_peak`, measured once per process (half a second)."""
    return fma_peak(dtype, threads)


def fma_peak(dtype: DTypeLike = np.float64, threads: int = 1, seconds: float = 0.2) -> float:
    """The rate of fused multiply-adds from registers, in floating-point operations per second (an FMA counts two).

    Parameters
    ----------
    dtype : float64 or float32
    threads : int, how many run at once; the rate is that of all together
    seconds : float, about how long to measure; the best of eight parts counts
    """
    x = np.full(1, 0.5, dtype)[0]
    lanes = SHAPE.vector_bytes // x.itemsize
    per_count = 2 * lanes * CHAINS
    _run_chains(x, 1)  # compile, or load
    count, elapsed = 1000, 0.0
    while elapsed < seconds / 4:  # also the time that a processor takes to reach its speed
        count *= 2
        started = time.perf_counter()
        _run_chains(x, count)
        elapsed = time.perf_counter() - started
    count = max(1, int(count * seconds / 8 / elapsed))
    barrier = threading.Barrier(threads)

    def once() -> tuple[float, float]:
        barrier.wait()
        started = time.perf_counter()
        _run_chains(x, count)
        return started, time.perf_counter()

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(8):
            spans = [future.result() for future in [pool.submit(once) for _ in range(threads)]]
            wall = max(end for _, end in spans) - min(start for start, _ in spans)
            best = max(best, threads * per_count * count / wall)
    return best
