"""Results of studies as tables of xarray and pandas, which are imported when they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastflow.studies.outcomes import FIELDS

if TYPE_CHECKING:
    import pandas
    import xarray

    from fastflow.studies.result import StudyResult


def to_xarray(result: StudyResult) -> xarray.Dataset:
    """What `StudyResult.to_xarray` gives."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install 'fastflow[study]'") from error
    dimensions = (*result.axes, "trial")
    data: dict[str, Any] = {}
    for name in FIELDS:
        values = result.outcomes[name]
        data[name] = (dimensions, values if values.dtype.kind == "i" else np.where(result.done, values, np.nan))
    data["successes"], data["trials"] = (tuple(result.axes), result.successes), (tuple(result.axes), result.trials)
    coordinates = {name: list(values) for name, values in result.axes.items()}
    return xarray.Dataset(data, coordinates, {"success": str(result.success)})


def to_dataframe(result: StudyResult) -> pandas.DataFrame:
    """What `StudyResult.to_dataframe` gives."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install 'fastflow[study]'") from error
    places = np.nonzero(result.done)
    columns: dict[str, Any] = {
        name: np.asarray(values)[places[i]] for i, (name, values) in enumerate(result.axes.items())
    }
    columns["trial"] = places[-1]
    columns |= {name: result.outcomes[name][places] for name in FIELDS}
    columns["success"] = result.success.of(result.outcomes)[places]
    return pandas.DataFrame(columns)
