"""Data frames of pandas, which is imported when they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas


def require_pandas() -> ModuleType:
    """Pandas, or the name of the extra that brings it.

    Raises
    ------
    ImportError
        without pandas
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install 'fastflow[study]'") from error
    return pandas


def frame_of_cells(
    axes: Mapping[str, Sequence[object]], shape: tuple[int, ...], columns: Mapping[str, ArrayLike | Sequence[str]]
) -> pandas.DataFrame:
    """A row for each cell: its place on the axes, and every column.

    Parameters
    ----------
    axes : name: values, for each axis of the shape
    shape : of the cells
    columns : name: array of that shape

    Raises
    ------
    ImportError
        without pandas
    """
    makes = require_pandas()
    places = np.unravel_index(np.arange(int(np.prod(shape))), shape) if shape else ()
    cells = [(name, np.asarray(values)[at]) for (name, values), at in zip(axes.items(), places, strict=True)]
    filled = [(name, np.ravel(values)) for name, values in columns.items()]
    frame: pandas.DataFrame = makes.concat([makes.Series(values, name=name) for name, values in cells + filled], axis=1)
    return frame
