"""The sizes of a core's caches, as the operating system has them: what is worked on together is chosen to fit.

They change no bit: which rows or runs go together changes the order of no sum.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import NamedTuple


class Levels(NamedTuple):
    """Bytes of the ``first`` and the ``second`` level of a core's data caches."""

    first: int
    second: int


USUAL = Levels(2**15, 2**19)
"""What is taken where nothing is known."""

LEAST, MOST = Levels(2**13, 2**17), Levels(2**18, 2**24)
"""What is believed: a virtual machine may say anything."""

OF_FIRST_CORE = Path("/sys/devices/system/cpu/cpu0/cache")
"""Where Linux says what caches a core has: the same one in every process, also where cores differ."""


def cache_levels(folder: Path = OF_FIRST_CORE) -> Levels:
    """The caches of this machine, `USUAL` where it does not say or cannot be believed.

    Parameters
    ----------
    folder : where Linux has them
    """
    told = _by_sysctl() if sys.platform == "darwin" else _by_files(folder)
    return Levels(
        *(
            found if least <= found <= most else usual
            for found, usual, least, most in zip(told, USUAL, LEAST, MOST, strict=True)
        )
    )


def _by_files(folder: Path) -> Levels:
    found = {1: 0, 2: 0}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found[int(level)] = int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return Levels(found[1], found[2])


def _by_sysctl() -> Levels:
    library, sizes = ctypes.CDLL(None), []
    for name in (b"hw.l1dcachesize", b"hw.l2cachesize"):
        value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
        failed = library.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
        sizes.append(0 if failed else value.value)
    return Levels(*sizes)


LEVELS = cache_levels()
"""Those of this machine."""
