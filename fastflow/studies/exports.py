"""Results of studies as tables of xarray and pandas, which are imported when they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fastflow.studies.axes import Value
from fastflow.studies.frames import require_pandas
from fastflow.studies.layout import dimensions_of
from fastflow.studies.outcomes import FIELDS, NOT_DONE, Arrays, Field, numbers_of
from fastflow.studies.success import Success

if TYPE_CHECKING:
    import pandas
    import xarray


Along = Mapping[str, tuple[tuple[str, ...], ArrayLike]]
"""What moves along with axes: the names of these, and an array over them."""


def to_xarray(
    axes: Mapping[str, Sequence[Value]],
    along: Along,
    outcomes: Arrays,
    fields: Mapping[str, Field],
    success: Success,
    pilot: int,
) -> xarray.Dataset:
    """What `StudyResult.to_xarray` gives."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install 'fastflow[study]'") from error
    done, dimensions = outcomes["status"] != NOT_DONE, (*axes, "trial")
    data: dict[str, tuple[tuple[str, ...], ArrayLike]] = {}
    for name, field in fields.items():
        whole = name in FIELDS and np.dtype(field.dtype).kind == "i"  # -1 where not done
        values = outcomes[name] if whole else numbers_of(outcomes, name, field)
        data[name] = ((*dimensions, *dimensions_of(name, field)), values)
    data["successes"] = (tuple(axes), np.count_nonzero(success.of(outcomes)[..., pilot:], axis=-1))
    data["trials"] = (tuple(axes), np.count_nonzero(done[..., pilot:], axis=-1))
    coordinates = {**{name: list(values) for name, values in axes.items()}, **along}
    return xarray.Dataset(data, coordinates, {"success": str(success)} | ({"pilot": pilot} if pilot else {}))


def to_dataframe(
    axes: Mapping[str, Sequence[Value]],
    along: Along,
    outcomes: Arrays,
    fields: Mapping[str, Field],
    success: Success,
    pilot: int,
) -> pandas.DataFrame:
    """What `StudyResult.to_dataframe` gives."""
    makes = require_pandas()
    counted = outcomes["status"] != NOT_DONE
    counted[..., :pilot] = False
    places = np.nonzero(counted)
    columns: dict[str, ArrayLike] = {
        name: np.asarray(values)[places[i]] for i, (name, values) in enumerate(axes.items())
    }
    of_axis = dict(zip(axes, places, strict=False))
    for name, (of, values) in along.items():
        columns[name] = np.asarray(values)[tuple(of_axis[one] for one in of)]
    columns["trial"] = places[-1]
    for name, field in fields.items():
        values = outcomes[name][places] if name in FIELDS else numbers_of(outcomes, name, field)[places]
        for at in np.ndindex(field.shape):
            columns["_".join((name, *map(str, at)))] = values[:, *at]
    columns["success"] = success.of(outcomes)[places]
    return makes.DataFrame(columns)
