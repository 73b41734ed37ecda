"""Results: what training gives back, its files, tables and pictures."""

from fastflow.results import plot
from fastflow.results.runs import Interrupted, Runs

__all__ = ["Interrupted", "Runs", "plot"]
