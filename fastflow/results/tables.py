"""Tables of runs, for xarray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastflow.checks import FloatArray, NumberArray
from fastflow.networks import Architecture
from fastflow.records import NAMED, History

if TYPE_CHECKING:
    import xarray

Variable = tuple[str | tuple[str, ...], NumberArray]
"""The name of an axis, or those of several, and the array that has them."""


def dataset_of(
    solution: FloatArray,
    numbers: Mapping[str, NumberArray],
    coordinates: Mapping[str, NumberArray],
    architecture: Architecture,
    history: History | None,
    attributes: Mapping[str, str | float | list[int]],
) -> xarray.Dataset:
    """A dataset with the dimensions of `fastflow.Runs.to_xarray`.

    Parameters
    ----------
    solution : array (runs, *solution_shape)
    numbers : name: array (runs,)
    coordinates : likewise
    architecture : Architecture
    history : History or None
    attributes : what else is known, as xarray can write it

    Raises
    ------
    ImportError
        without xarray
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install 'fastflow[study]'") from error
    data: dict[str, Variable] = {"solution": (("run", *architecture.solution_axes), solution)}
    data |= {name: ("run", values) for name, values in numbers.items()}
    of_runs: dict[str, Variable] = {name: ("run", values) for name, values in coordinates.items()}
    if history is not None:
        axis, moments = history.axis
        of_runs[f"record_{axis}"] = ("record", moments)
        for name in history.recorded:
            values = getattr(history, name)
            if name == "factors":
                for (factor_name, axes), factor in zip(architecture.factor_axes.items(), values, strict=True):
                    data[f"history_{factor_name}"] = (("run", "record", *axes), factor)
            else:
                data[f"history_{name}"] = (("run", "record", *NAMED[name].axes(architecture)), values)
    return xarray.Dataset(data, of_runs, attributes)
