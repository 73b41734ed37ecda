"""Tables as Markdown, and their place in README.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
README = FOLDER / "README.md"
LIBRARIES = ("fastflow", "numba", "llvmlite", "numpy", "scipy", "jax", "torch")


@dataclass
class Table:
    """A table under a title, with a line of remarks below it."""

    title: str
    header: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    remarks: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines += ["| " + " | ".join(cells) + " |" for cells in (self.header, ["---"] * len(self.header), *self.rows)]
        return "\n".join(lines + (["", self.remarks] if self.remarks else []))


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent; a dash for one that is missing."""
    if value != value:
        return "-"
    decimals = max(0, digits - len(str(int(abs(value)))))
    return f"{value:.{decimals}f}"


def _version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return "commit " + subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine(threads: int) -> str:
    """The machine, the vectors that fastflow chose, and the versions, in one paragraph."""
    from fastflow.kernels.compile.target import SHAPE

    shape = f"{SHAPE.name} ({8 * SHAPE.vector_bytes}-bit vectors, tile {SHAPE.tile_rows} x {SHAPE.tile_vectors})"
    parts = [f"{_cpu()}, {os.cpu_count()} CPUs of which {threads} are used", f"{platform.system()}, {shape}"]
    parts += [f"Python {platform.python_version()}", *map(_version, LIBRARIES), _commit()]
    return "; ".join(filter(None, parts)) + "."


def stamp(others: float) -> str:
    """When it was measured, and how much of the CPUs other processes took meanwhile."""
    return (
        f"Measured on {datetime.date.today():%Y-%m-%d}; other processes took {100 * others:.0f}% of the CPUs (median)."
    )


def stamp_of_load() -> str:
    """Where and when it was measured, and how busy the machine was: for processor time, which that disturbs less."""
    return f"{_cpu()}; measured on {datetime.date.today():%Y-%m-%d} at a load of {os.getloadavg()[0]:.0f}."


def write(name: str, text: str) -> None:
    """Put the text between the README's markers of that name."""
    readme = README.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"{README.name} has no place for {name}: {begin} ... {end}")
    README.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", readme), encoding="utf-8")
