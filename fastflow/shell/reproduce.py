"""``fastflow reproduce``: published studies, their data, figures, and whether their claims hold."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from fastflow.checks import one_of
from fastflow.shell.arguments import Commands, a_count, a_thread_count
from fastflow.shell.output import DONE, check_writable, say


def add_reproduce(commands: Commands) -> None:
    """Add the command to the parser."""
    p = commands.add_parser("reproduce", help="redo a published study, and say whether its claim holds")
    p.set_defaults(command=_reproduce)
    p.add_argument("name", metavar="NAME", nargs="?", help="of a study; default: list them")
    p.add_argument("--list", action="store_true", help="list the studies, their claims, and whether these were found")
    p.add_argument("--full", action="store_true", help="the full size; says beforehand how long that takes here")
    p.add_argument("--out", type=Path, metavar="DIR", default=Path("gallery"), help="folder (default: gallery)")
    p.add_argument("--overwrite", action="store_true", help="replace the results that are in the folder")
    p.add_argument("--seed", type=a_count(0), metavar="K", help="of the random numbers (default: 0)")
    p.add_argument("--threads", type=a_thread_count(), metavar="K", help="default: the CPUs that there are")


def _reproduce(a: argparse.Namespace) -> int:
    from fastflow.gallery import DEFAULT, ENTRIES, FULL, files_of, pilot, reproduce

    if a.list or a.name is None:
        for name, entry in ENTRIES.items():
            say(f"{name} ({'holds' if entry.holds else 'does not hold'})\n    {entry.claim}\n    {entry.source}")
        return DONE
    entry = ENTRIES[one_of("NAME", a.name, tuple(ENTRIES))]
    if a.seed is not None and not entry.takes("seed"):
        raise ValueError(f"{entry.name} draws no random numbers: leave out --seed")
    there = [path for path in files_of(entry, a.out) if path.exists()]
    if there and not a.overwrite:
        raise ValueError(f"{there[0]} exists: --overwrite replaces it, --out takes another folder")
    check_writable(a.out)
    seed = 0 if a.seed is None else a.seed
    size = FULL if a.full else DEFAULT
    if a.full:
        say(f"timing a part of the full size, {entry.setting(size, seed)}")
        found = pilot(entry, seed, a.threads)
        of = f"{found.done} of {found.of} {entry.counted} took {found.seconds:.2g} s"
        say(f"{of}, so computing the full size takes about {max(1, found.predicted):.0f} s here")
    say(f"computing {entry.name}, {entry.setting(size, seed)}")
    begin = time.perf_counter()
    reproduce(entry, a.out, size, seed, a.threads)
    say((a.out / f"{entry.name}.txt").read_text().rstrip())
    say(f"wrote {a.out / entry.name}.npz, .png and .txt in {time.perf_counter() - begin:.1f} s")
    return DONE
