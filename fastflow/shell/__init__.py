"""The command ``fastflow``: training from a data file, phase diagrams and studies, and what this installation is.

``fastflow train DATA``, ``fastflow phase``, ``fastflow study FILE``, ``fastflow merge STORE ...``,
``fastflow reproduce NAME`` and ``fastflow info``. A mistake in the arguments
or in the data is one line on standard error and exit code 2, before any work; Ctrl-C and SIGTERM save what is done and
give exit code 130.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastflow.shell.arguments import Parser
from fastflow.shell.info import add_info
from fastflow.shell.merge import add_merge
from fastflow.shell.output import (
    DONE,
    FAILED,
    INCOMPLETE,
    INTERRUPTED,
    WRONG_INPUT,
    complain,
    journal_on_stderr,
    plain_warnings,
)
from fastflow.shell.phase import add_phase
from fastflow.shell.reproduce import add_reproduce
from fastflow.shell.study import add_study
from fastflow.shell.train import add_train
from fastflow.version import __version__

__all__ = ["DONE", "FAILED", "INCOMPLETE", "INTERRUPTED", "WRONG_INPUT", "main"]


ABOUT = "fastflow: where does gradient descent go when a linear map is learned through a product of factors?"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : the arguments after the command's name, default those of this process

    Returns
    -------
    int
        the exit code: 0 done; 2 wrong arguments or data; 3 a study that ended before all of it, or of its share, was
        done; 130 interrupted; 1 every run diverged, or the results could not be written
    """
    with plain_warnings(), journal_on_stderr():
        try:
            arguments = _parser().parse_args(argv)
            return int(arguments.command(arguments))
        except SystemExit as end:  # argparse, after --help, --version and its own complaints
            return int(end.code or 0)
        except OSError as error:
            of_file = error.filename is not None
            return complain(f"error: {f'{error.filename}: {error.strerror}' if of_file else error}", WRONG_INPUT)
        except (ValueError, TypeError, MemoryError, ImportError) as error:  # ImportError: an extra is missing
            return complain(f"error: {error}", WRONG_INPUT)
        except KeyboardInterrupt:
            return complain("interrupted", INTERRUPTED)


def _parser() -> Parser:
    parser = Parser(
        prog="fastflow",
        description=ABOUT,
    )
    parser.add_argument("--version", action="version", version=f"fastflow {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_info(commands)
    add_merge(commands)
    add_phase(commands)
    add_reproduce(commands)
    add_study(commands)
    add_train(commands)
    return parser
