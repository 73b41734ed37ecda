"""The figures that pictures are drawn into. Imported when one is drawn, since it needs matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that a notebook shows, though pyplot knows nothing of it."""

    def _repr_png_(self) -> bytes:
        """What IPython asks of a value to show it as an image."""
        image = io.BytesIO()
        self.savefig(image, format="png")
        return image.getvalue()

    def show(self, warn: bool = True) -> None:
        """Hand the figure to pyplot, as ``pyplot.figure(figure)`` does, and show its window.

        Parameters
        ----------
        warn : bool, whether to warn where pyplot's backend has no windows
        """
        from matplotlib import pyplot

        if self.canvas.manager is None:
            pyplot.figure(self)
        super().show(warn)
