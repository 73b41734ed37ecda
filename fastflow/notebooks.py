"""Notebooks: how what prints looks there, and whether this is one."""

from __future__ import annotations

import html
import importlib
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose standard error is shown though it is no terminal."""
    return "ipykernel" in sys.modules


def as_html(text: str) -> str:
    """Words with their lines and columns as they are; no character of theirs is markup."""
    return f"<pre>{html.escape(text)}</pre>"


def bar_class() -> type[tqdm[NoReturn]]:
    """The progress bars of tqdm that suit this place: a notebook's own, where it has the widgets for them."""
    # Elsewhere without asyncio, which tqdm.auto imports.
    bar: type[tqdm[NoReturn]] = importlib.import_module("tqdm.auto" if in_notebook() else "tqdm").tqdm
    return bar
