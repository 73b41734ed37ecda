"""fastflow: where does gradient descent go when a linear map is learned through a product of factors?

A computation is a problem (what is observed) x a network (how the unknown is factored) x an init x a method::

    import fastflow as ff

    runs = ff.train(ff.MatrixEstimation(Y), ff.DeepLinear(depth=3), ff.inits.Gaussian(1e-3), record=ff.Record())
    print(runs.summary())
"""

from fastflow import baselines, ensembles, inits, kernels, methods, metrics, networks, operators, problems, theory
from fastflow._check import Guarantees, check
from fastflow._distance import FlowDistance, flow_distance
from fastflow._sharpness import FlowSharpness, flow_sharpness
from fastflow._train import train
from fastflow._versions import show_versions
from fastflow._warmup import warmup
from fastflow.dual import (
    Flow,
    LimitResult,
    SaddlePath,
    flow_limit,
    gradient_flow,
    normalized_flow,
    normalized_limit,
    saddle_paths,
)
from fastflow.each import each
from fastflow.methods import *  # noqa: F403, every method that there is
from fastflow.networks import *  # noqa: F403
from fastflow.problems import *  # noqa: F403
from fastflow.records import History, Record
from fastflow.results import Interrupted, OperatorError, Runs, plot
from fastflow.status import Status
from fastflow.studies.asked import Event, Outcome
from fastflow.studies.cost import Cost
from fastflow.studies.driver import StudyError, StudyInterrupted
from fastflow.studies.errors import StoreError
from fastflow.studies.following import together
from fastflow.studies.reading import merge, open_study
from fastflow.studies.result import StudyResult
from fastflow.studies.study import Study
from fastflow.studies.success import Success
from fastflow.version import __version__

load = Runs.load

__all__ = [
    "Cost",
    "Event",
    "Flow",
    "FlowDistance",
    "FlowSharpness",
    "Guarantees",
    "History",
    "Interrupted",
    "LimitResult",
    "OperatorError",
    "Outcome",
    "Record",
    "Runs",
    "SaddlePath",
    "Status",
    "StoreError",
    "Study",
    "StudyError",
    "StudyInterrupted",
    "StudyResult",
    "Success",
    "__version__",
    "baselines",
    "check",
    "each",
    "ensembles",
    "flow_distance",
    "flow_limit",
    "flow_sharpness",
    "gradient_flow",
    "inits",
    "kernels",
    "load",
    "merge",
    "metrics",
    "normalized_flow",
    "normalized_limit",
    "open_study",
    "operators",
    "plot",
    "saddle_paths",
    "show_versions",
    "theory",
    "together",
    "train",
    "warmup",
]

__all__ += methods.__all__
__all__ += networks.__all__
__all__ += problems.__all__
