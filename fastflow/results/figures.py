"""Figures, empty ones, and texts in them; without matplotlib the extra that brings it is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastflow.arrays import as_array
from fastflow.checks import printable, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Given: TypeAlias = "Axes | Sequence[Axes] | None"
"""Axes of the user's own to draw into: one, or as many as there are panels; None for a new figure."""


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


def panels_of(ax: Given, count: int) -> list[Axes]:
    """The user's own axes, one for each of so many panels.

    Raises
    ------
    TypeError
        for what are no axes
    ValueError
        where they are not as many as the panels
    """
    from matplotlib.axes import Axes

    given = [ax] if isinstance(ax, Axes) else list(np.ravel(as_array("ax", ax)))
    if not all(isinstance(one, Axes) for one in given):
        raise TypeError(f"ax must be matplotlib axes, or a sequence of them, got {shown(ax)}")
    if len(given) != count:
        raise ValueError(
            f"ax must be one for each of the {count} panel{'s' * (count > 1)} of this picture, got {len(given)}: give "
            "as many, or choose fewer panels"
        )
    return given


def figure_of(panels: Sequence[Axes]) -> Figure:
    """The figure in which axes of the user's lie."""
    figure = panels[0].figure
    while figure.figure is not figure:  # a part of one
        figure = figure.figure
    return figure


def literal(text: str) -> str:
    """A text of somebody's as matplotlib draws it letter for letter: between two dollar signs it sees formulas."""
    return "\n".join(map(printable, text.split("\n"))).replace("$", r"\$")
