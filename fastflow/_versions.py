"""What this installation is, in words for a report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from fastflow.kernels.compile.cache import cache_path
from fastflow.kernels.compile.levels import LEVELS
from fastflow.kernels.compile.target import SHAPE, cpu_name, target_features
from fastflow.threads import blas_libraries, thread_count
from fastflow.version import __version__

NEEDED = ("numba", "llvmlite", "numpy", "scipy")
OPTIONAL = ("dask", "matplotlib", "pandas", "scikit-learn", "xarray", "zarr")


def show_versions() -> None:
    """Print what a report of a fault should say: versions, the CPU, the BLAS, threads, and where the cache is.

    It is what ``fastflow info`` prints.

    Examples
    --------
    >>> ff.show_versions()  # doctest: +SKIP
    python        3.12.8 on Linux x86_64
    fastflow      0.1.0
    ...
    """
    print(described_versions())


def described_versions() -> str:
    """Versions, the CPU and the code shape chosen for it, threads, and where compiled kernels are kept; a line each."""
    vectors = sorted(target_features() & {"sse2", "avx", "avx2", "fma", "avx512f", "neon", "sve"})
    blas = {f"{of['internal_api']} {of.get('version') or ''} {of.get('architecture') or ''}" for of in blas_libraries()}
    rows = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "fastflow": __version__,
        **{name: version(name) for name in NEEDED},
        **{name: _version_of(name) for name in OPTIONAL},
        "blas": " and ".join(sorted(blas)) or "unknown",
        "cpu": f"{cpu_name()} ({', '.join(vectors) or 'no vector features known'})",
        "simd": f"{SHAPE.name}: vectors of {SHAPE.vector_bytes} bytes, tiles of {SHAPE.tile_rows} rows x "
        f"{SHAPE.tile_vectors} vectors",
        "caches": f"{LEVELS.first // 1024} and {LEVELS.second // 1024} KiB a core, the first two levels",
        "threads": str(thread_count(None)),
        "kernel cache": cache_path() or "none: no folder for it can be written; every process compiles",
    }
    return "\n".join(f"{name:14}{value}" for name, value in rows.items())


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
