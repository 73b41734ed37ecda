"""The SIMD shape of the target CPU: how wide a vector is, and how many accumulators the registers hold.

Numba compiles for the host unless ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` say otherwise; the same variables
decide here, so that a tile is always shaped for the machine that its code is generated for. The shape never
changes a result: an element of a product is one FMA chain whatever the vector width is.
"""

from __future__ import annotations

import platform
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core import config


class SimdShape(NamedTuple):
    """Vector width in bytes, how many registers there are, and the largest register tiles: rows by vectors, and rows by
    columns of lane vectors.

    ``wide_rows`` is how many rows a tile of one more vector can have (0: there is none); where a matrix has just so
    many vectors, or a few more than fill the usual tiles, it keeps more accumulators busy.
    """

    name: str
    vector_bytes: int
    registers: int
    tile_rows: int
    tile_vectors: int
    lane_rows: int
    lane_columns: int
    wide_rows: int = 0


def target_features() -> frozenset[str]:
    """The enabled features of the CPU that Numba compiles for, as LLVM names them (``avx2``, ``fma``, ...)."""
    if config.CPU_FEATURES is not None:
        flags = config.CPU_FEATURES.split(",")
    elif config.CPU_NAME == "generic":
        flags = []
    else:
        flags = llvm.get_host_cpu_features().flatten().split(",")
    return frozenset(flag[1:] for flag in flags if flag.startswith("+"))


def simd_shape() -> SimdShape:
    """The tile shapes for the target: accumulators, one row of B and one element of A must fit in the registers."""
    features = target_features()
    if "avx512f" in features:  # 32 registers of 64 bytes: 24 + 3 + 1, 25 + 5 + 1, 24 + 4 + 1
        return SimdShape("AVX-512", 64, 32, 8, 3, 5, 5, 6)
    if "avx2" in features and "fma" in features:  # 16 registers of 32 bytes: 12 + 3 + 1, 12 + 2 + 1
        return SimdShape("AVX2", 32, 16, 4, 3, 6, 2)
    if platform.machine().lower() in ("arm64", "aarch64"):  # 32 registers of 16 bytes: 24 + 4 + 1, 25 + 5 + 1
        return SimdShape("NEON", 16, 32, 6, 4, 5, 5)
    return SimdShape("portable", 16, 16, 4, 2, 2, 2)


SHAPE = simd_shape()


def cpu_name() -> str:
    """The CPU that Numba compiles for, as LLVM names it."""
    return str(config.CPU_NAME or llvm.get_host_cpu_name())
