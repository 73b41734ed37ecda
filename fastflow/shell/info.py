"""``fastflow info``: what this installation is."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version

from fastflow.kernels.compile.cache import cache_path
from fastflow.kernels.compile.target import SHAPE, cpu_name, target_features
from fastflow.shell.arguments import Commands
from fastflow.shell.output import DONE, say
from fastflow.shell.speed import speed_table
from fastflow.threads import thread_count
from fastflow.version import __version__


def add_info(commands: Commands) -> None:
    """Add the command to the parser."""
    about = commands.add_parser("info", help="versions, CPU, threads and cache of this installation")
    about.add_argument(
        "--bench", action="store_true", help="measure the FMA peak and the rate of gradient descent (ten seconds)"
    )
    about.set_defaults(command=_info)


def info() -> str:
    """Versions, the CPU and the code shape chosen for it, threads, and where compiled kernels are kept."""
    vectors = sorted(target_features() & {"sse2", "avx", "avx2", "fma", "avx512f", "neon", "sve"})
    rows = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "fastflow": __version__,
        **{name: version(name) for name in ("numba", "llvmlite", "numpy", "scipy")},
        "cpu": f"{cpu_name()} ({', '.join(vectors) or 'no vector features known'})",
        "simd": f"{SHAPE.name}: vectors of {SHAPE.vector_bytes} bytes, tiles of {SHAPE.tile_rows} rows x "
        f"{SHAPE.tile_vectors} vectors",
        "threads": str(thread_count(None)),
        "kernel cache": cache_path() or "none: no folder for it can be written; every process compiles",
    }
    return "\n".join(f"{name:14}{value}" for name, value in rows.items())


def _info(a: argparse.Namespace) -> int:
    say(info())
    if a.bench:
        say(speed_table())
    return DONE
