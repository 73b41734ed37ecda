"""``fastflow info``: what this installation is."""

from __future__ import annotations

import argparse
import platform
from typing import Any

import fastflow
from fastflow.shell.output import DONE, say
from fastflow.speed import speed_table
from fastflow.threads import thread_count


def add_info(commands: Any) -> None:
    """Add the command to the parser."""
    about = commands.add_parser("info", help="versions, CPU, threads and cache of this installation")
    about.add_argument(
        "--bench", action="store_true", help="measure the FMA peak and the rate of gradient descent (ten seconds)"
    )
    about.set_defaults(command=_info)


def info() -> str:
    """Versions, the CPU and the code shape chosen for it, threads, and where compiled kernels are kept."""
    from importlib.metadata import version

    import llvmlite.binding as llvm
    from numba.core import config

    from fastflow.kernels.compile.target import SHAPE, target_features
    from fastflow.kernels.descent.descend import descend

    vectors = sorted(target_features() & {"sse2", "avx", "avx2", "fma", "avx512f", "neon", "sve"})
    cache = getattr(getattr(descend, "_cache", None), "cache_path", None)
    rows = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "fastflow": fastflow.__version__,
        **{name: version(name) for name in ("numba", "llvmlite", "numpy", "scipy")},
        "cpu": f"{config.CPU_NAME or llvm.get_host_cpu_name()} ({', '.join(vectors) or 'no vector features known'})",
        "simd": f"{SHAPE.name}: vectors of {SHAPE.vector_bytes} bytes, tiles of {SHAPE.tile_rows} rows x "
        f"{SHAPE.tile_vectors} vectors",
        "threads": str(thread_count(None)),
        "kernel cache": cache or "none: no folder for it can be written; every process compiles",
    }
    return "\n".join(f"{name:14}{value}" for name, value in rows.items())


def _info(a: argparse.Namespace) -> int:
    say(info())
    if a.bench:
        say(speed_table())
    return DONE
