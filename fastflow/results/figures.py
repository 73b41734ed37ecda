"""Figures, empty ones, and texts in them; without matplotlib the extra that brings it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastflow.checks import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, which notebooks show and pyplot may take.

    Raises
    ------
    ImportError
        without matplotlib
    """
    try:
        import matplotlib.figure  # noqa: F401

        from fastflow.results.canvas import Picture
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'fastflow[study]'") from error
    return Picture(figsize=(width, height), layout="constrained")


def literal(text: str) -> str:
    """A text of somebody's as matplotlib draws it letter for letter: between two dollar signs it sees formulas."""
    return "\n".join(map(printable, text.split("\n"))).replace("$", r"\$")
