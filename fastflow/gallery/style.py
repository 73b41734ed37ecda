"""The style of the gallery: theory as lines, simulation as points, colours that differ in grey, too."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

THEORY, POINTS, OTHER = "black", "#0072B2", "#E69F00"  # of the palette of Okabe and Ito, dark to light


def panel(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of one panel with labelled axes."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes
