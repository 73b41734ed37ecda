"""Results: what training gives back, its files, tables and pictures."""

from fastflow.results import plot
from fastflow.results.runs import Interrupted, OperatorError, Runs

__all__ = ["Interrupted", "OperatorError", "Runs", "plot"]
