"""Ensembles: how a trial of a study draws its problem, and the truth that its solution is compared with.

An ensemble is a frozen dataclass, checked when it is made. ``draw(rng)`` gives a problem; `fastflow.Study` draws from
streams that are keyed by the ensemble's own values and the trial, never by a place in a grid.
"""

from fastflow.ensembles.base import Ensemble
from fastflow.ensembles.custom import Custom
from fastflow.ensembles.low_rank import LowRank
from fastflow.ensembles.regression import Autoencoder, Regression
from fastflow.ensembles.sparse import Sparse

__all__ = ["ENSEMBLES", "Autoencoder", "Custom", "Ensemble", "LowRank", "Regression", "Sparse"]

ENSEMBLES: tuple[type[Ensemble], ...] = (Sparse, LowRank, Regression, Autoencoder)
"""Every ensemble that there is, but for `Custom`, which a file names by its function."""
