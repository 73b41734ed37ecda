"""``fastflow merge``: the stores of shards, or of other values and trials, put together."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastflow.shell.arguments import Commands
from fastflow.shell.output import DONE, INCOMPLETE, check_writable, say
from fastflow.shell.study import crossings, draw_picture
from fastflow.studies.layout import require_zarr, store_path
from fastflow.studies.reading import merge


def add_merge(commands: Commands) -> None:
    """Add the command to the parser."""
    p = commands.add_parser(
        "merge",
        help="put the stores of a study's shards together",
        description="Put the stores of one study together: its shards, or other trials and values of its axes. Trials "
        "that several have must agree. Writes NAME.zarr and the picture NAME.png; exit code 3 where trials are "
        "missing.",
        epilog="example: fastflow merge shard-*.zarr --out recovery",
    )
    p.set_defaults(command=_merge)
    p.add_argument("stores", metavar="STORE", type=Path, nargs="+", help="stores that fastflow study wrote")
    p.add_argument("--out", type=Path, metavar="NAME", required=True, help="of NAME.zarr and NAME.png")


def _merge(a: argparse.Namespace) -> int:
    name = store_path(a.out)
    store, picture = (name.with_name(name.name + suffix) for suffix in (".zarr", ".png"))
    require_zarr()
    if store.exists():
        raise ValueError(f"{store} exists: --out takes another name")
    check_writable(store.parent)
    result = merge(a.stores, into=store)
    say(result.summary())
    say(f"wrote {store}")
    if not result.done.any():
        return INCOMPLETE
    say(crossings(result))
    code = draw_picture(result, picture)
    missing = result.done.size - int(result.done.sum())
    if missing and not result.adaptive:
        say(f"not complete: {missing} trials are in none of these stores")
        code = max(code, INCOMPLETE)
    return code if code else DONE
