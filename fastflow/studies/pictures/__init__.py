"""Pictures of studies: maps of rates and times, and slices with intervals. Matplotlib is imported when one is drawn."""

from fastflow.studies.pictures.differences import difference_map
from fastflow.studies.pictures.kinds import plot
from fastflow.studies.pictures.lines import slices
from fastflow.studies.pictures.maps import rate_map, time_map

__all__ = ["difference_map", "plot", "rate_map", "slices", "time_map"]
