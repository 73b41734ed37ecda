"""``fastflow reproduce``: published studies, their data, figures, and whether their claims hold."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from fastflow.checks import one_of
from fastflow.shell.arguments import Commands
from fastflow.shell.output import DONE, check_writable, say


def add_reproduce(commands: Commands) -> None:
    """Add the command to the parser."""
    p = commands.add_parser("reproduce", help="redo a published study, and say whether its claim holds")
    p.set_defaults(command=_reproduce)
    p.add_argument("name", metavar="NAME", nargs="?", help="of a study; default: list them")
    p.add_argument("--list", action="store_true", help="list the studies and their claims")
    p.add_argument("--full", action="store_true", help="the full size; says beforehand how long that takes here")
    p.add_argument("--out", type=Path, metavar="DIR", default=Path("gallery"), help="folder (default: gallery)")


def _reproduce(a: argparse.Namespace) -> int:
    from fastflow.gallery import ENTRIES, reproduce

    if a.list or a.name is None:
        say("\n".join(f"{name}\n    {entry.claim}\n    {entry.source}" for name, entry in ENTRIES.items()))
        return DONE
    entry = ENTRIES[one_of("NAME", a.name, tuple(ENTRIES))]
    check_writable(a.out)
    if a.full:
        entry.compute(**entry.sizes["tiny"])  # compiles
        begin = time.perf_counter()
        entry.compute(**entry.sizes["default"])
        say(f"the full size takes about {entry.growth * (time.perf_counter() - begin):.0f} s here")
    begin = time.perf_counter()
    verdict = reproduce(entry, a.out, "full" if a.full else "default")
    say(f"{entry.source}\n{entry.claim}\n{verdict}")
    say(f"wrote {a.out / entry.name}.npz, .png and .txt in {time.perf_counter() - begin:.1f} s")
    return DONE
