"""``fastflow info``: what this installation is."""

from __future__ import annotations

import argparse

from fastflow._versions import described_versions
from fastflow.shell.arguments import Commands
from fastflow.shell.output import DONE, say
from fastflow.shell.speed import speed_table


def add_info(commands: Commands) -> None:
    """Add the command to the parser."""
    about = commands.add_parser("info", help="versions, CPU, threads and cache of this installation")
    about.add_argument(
        "--bench", action="store_true", help="measure the FMA peak and the rate of gradient descent (ten seconds)"
    )
    about.set_defaults(command=_info)


def _info(a: argparse.Namespace) -> int:
    say(described_versions())
    if a.bench:
        say(speed_table())
    return DONE
