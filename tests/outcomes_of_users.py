"""Outcomes, and a success, as a user could have them in a module of his own."""

from __future__ import annotations

import time

import numpy as np

import fastflow as ff
from fastflow.ensembles import Sparse


def largest(trial):
    """The largest entry in magnitude."""
    return np.abs(trial.solution).max()


def thinks_for_a_second(trial):
    time.sleep(1)
    return largest(trial)


def first_two(trial):
    """An array of whole numbers."""
    return np.array([trial.number, trial.steps])


def residual(trial):
    """What only the problem tells."""
    return float(np.linalg.norm(trial.problem.residual(trial.solution)))


def loss_in_between(trial):
    """What only a history tells."""
    return trial.history.loss[len(trial.history.steps) // 2]


def raises(trial):
    """Not of every trial."""
    if trial.number == 2:
        raise ZeroDivisionError("no such number")
    return 1.0


def asks_for_too_much(trial):
    """Memory, of one trial."""
    return float(np.empty(2**57 if trial.number == 2 else 1).size)


def is_nan(trial):
    return np.nan if trial.number == 1 else 1.0


def has_another_shape(trial):
    return trial.solution


def of_some(trial):
    """An array, of the later trials only."""
    if trial.number == 0:
        raise ZeroDivisionError("no such array")
    return np.array([trial.number, trial.steps], np.float32)


def is_none(trial):
    return None


def whole_or_nan(trial):
    return trial.number if trial.number % 2 == 0 else np.nan


def as_many_as_measurements(trial):
    return trial.problem.values


def is_complex(trial):
    return 1.0 + 1.0j


def is_a_fraction(trial):
    return 0.5


def misspells(trial):
    return trial.solutions[0]


def looks_back(trial):
    return trial.history.loss[-1]


def writes(trial):
    trial.solution[0] = 1.0
    return 1.0


def of_two(outcomes):
    """A success by a function of outcomes."""
    return (outcomes["error"] <= 1e-2) | (outcomes["largest"] < 1)


def draws_one(rng):
    """A problem of one number."""
    return ff.MatrixEstimation([[1.0]], truth=[[1.0]])


def draws(rng, m=5):
    """An ensemble."""
    return Sparse(n=8, m=m, sparsity=1).draw(rng)


def draws_more(rng, problem):
    """What is held out of it."""
    matrix = rng.standard_normal((7, 8))
    return ff.CompressedSensing(matrix, matrix @ problem.truth, truth=problem.truth, normalization="mean")


def draws_too_much(rng, problem):
    """What has another unknown."""
    return ff.CompressedSensing(np.eye(9), np.ones(9))
