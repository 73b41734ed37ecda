"""Arguments: how the shell reads numbers, and a parser whose complaints are one line."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import NoReturn, TypeAlias, TypeVar

from fastflow.checks import as_count, as_number, printable
from fastflow.shell.output import WRONG_INPUT

Value = TypeVar("Value")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: error: {printable(message)} (see {self.prog} --help)\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""What `argparse.ArgumentParser.add_subparsers` gives, to which every command adds itself."""


def argument(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """A type for argparse, which would print the name of the function where that has something to say."""

    def read_argument(text: str) -> Value:
        try:
            return read(text)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_argument


def as_real(text: str) -> float:
    """A number; whole ones exactly, whatever their size."""
    with contextlib.suppress(ValueError):
        return int(text)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text!r}") from None


def a_count(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number, at least this."""
    return argument(lambda text: as_count("the value", as_real(text), least))


def a_thread_count() -> Callable[[str], int | None]:
    """The type of the option that is a number of threads; empty, as a variable that is not set leaves it, is none."""
    return argument(lambda text: as_count("the value", as_real(text), 1) if text.strip() else None)


def a_number(**limits: float) -> Callable[[str], float]:
    """The type of an option that is a number, within the limits that `checks.as_number` knows."""
    return argument(lambda text: as_number("the value", as_real(text), **limits))
