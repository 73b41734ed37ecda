"""Pictures of results. Matplotlib is imported when a picture is drawn, and no global state of it is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastflow.checks import FloatArray
from fastflow.status import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastflow.runs import Runs

BAND = (0.1, 0.9)
MOST_VALUES = 10
