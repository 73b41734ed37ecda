"""Outcomes whose dtype and shape nobody has stated: a store tells, or one of the study's first trials.

All that compute parts of a study come to the same: which trials are looked at depends on the study alone, and what they
give not on where they are computed. They are computed where all others are, one at a time, and handed out anew then.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor

import numpy as np

from fastflow.studies.asked import Asked, Outcome
from fastflow.studies.design import Design
from fastflow.studies.executors import Crew, Future
from fastflow.studies.outcomes import Field
from fastflow.studies.spec import Table, fields_of
from fastflow.studies.tasks import Piece, Report, TrialError
from fastflow.studies.tries import TRIES

LOOKED_AT = 8
"""So many trials are looked at, of as many cells, where the first ones diverge or have no value."""

WAY_OUT = "state it, as Outcome(function, shape=(), dtype='float64')"


def find_fields(design: Design, known: Table, crew: Crew, seconds: float) -> Design:
    """The design with dtype and shape of all its outcomes.

    Parameters
    ----------
    design : Design
    known : the table of a study that a store has, or an empty one
    crew : computes trials where that does not tell
    seconds : that there are for it

    Raises
    ------
    TrialError
        where a trial raises, or none tells
    """
    asked = dict(design.asked)
    if not _unknown(asked):
        return design
    if known:
        fields = fields_of(known)
        asked = {label: _stated(one, fields.get(label)) for label, one in asked.items()}
    until, why = time.monotonic() + seconds, ""
    cells = np.linspace(0, design.cells, LOOKED_AT, endpoint=False).astype(int).tolist()
    for cell, trial in dict.fromkeys((cell, i % design.trials) for i, cell in enumerate(cells)):
        unknown = _unknown(asked)
        if not unknown:
            break
        piece = Piece(cell, design.setup(cell), design.where(cell), trial, trial + 1)
        for finished in _computed(crew, piece, until, unknown[0]).finished:
            for label in set(unknown) & set(finished.outcomes):
                values = finished.outcomes[label]
                asked[label] = _stated(asked[label], Field(values.dtype.name, np.nan, values.shape[1:]))
            why = why or "".join(f", since {text}" for _, text in finished.told[:1])
    for label in _unknown(asked):
        raise TrialError(f"no trial of the first {LOOKED_AT} has told what the outcome {label!r} is{why}: {WAY_OUT}")
    return design.asking(asked)


def _unknown(asked: Mapping[str, Asked]) -> list[str]:
    """The labels of outcomes of which it is not stated what they are."""
    return [label for label, one in asked.items() if not one.is_stated]


def _stated(one: Asked, field: Field | None) -> Asked:
    """An outcome with what a field says where it says nothing itself."""
    return one.as_of(field.dtype, field.shape) if field is not None and isinstance(one, Outcome) else one


def _computed(crew: Crew, piece: Piece, until: float, label: str) -> Report:
    """What comes back of a trial; a pool that breaks of it is put up again, as often as a trial is tried."""
    answers: queue.SimpleQueue[Future] = queue.SimpleQueue()
    for last in [False] * (TRIES - 1) + [True]:
        crew.submit([piece]).add_done_callback(answers.put)
        try:
            left = until - time.monotonic()
            return answers.get(timeout=None if left == math.inf else max(left, 0)).result()
        except queue.Empty:
            crew.ask_to_stop()
            when = f"time was up before the first trial, {piece.where}, had told"
            raise TrialError(f"{when} what the outcome {label!r} is: {WAY_OUT}") from None
        except crew.deaths as error:
            if last or (isinstance(error, BrokenExecutor) and not crew.renew()):
                raise TrialError(f"{piece.where}, trial {piece.first}: its worker died") from error
    raise AssertionError
