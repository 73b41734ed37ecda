"""Order: which samples a step takes, and with which labels.

From a run's stream of random words (`descent.philox`), or as the user says. Without replacement samples are taken in
passes over all m of a problem. Pass e begins with 0 .. m - 1 and shuffles as it goes (Fisher and Yates): at place i the
index ``i + floor((m - i) w / 2^64)`` is drawn by word ``e m + i``, and the samples at both places change them; a batch is
the samples at the next b places. What is left of a pass when it has no more b is left out of it, so that any batch is a
uniform subset. With replacement sample i of all that a run takes is ``floor(m w / 2^64)`` by word i.

Label noise adds to each label of a sample its standard deviation times a normal of the stream, number
``i outputs + l`` for label l of sample i of all that a run takes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.descent.descend import StepRule
from fastflow.kernels.descent.philox import Words, index_at, normal_at, seek, words


class Order(NamedTuple):
    """How samples are taken.

    Attributes
    ----------
    size : int, of every batch
    sizes : int64 array (steps,), of each batch; empty where all have one
    given : int64 array (steps, size), the samples of each step; or (0, 0)
    replacement : bool
    noise : StepRule, the standard deviation of label noise at each step; a ``first`` of NaN for none
    keys : uint64 array (runs, 2), of the runs' streams
    """

    size: int
    sizes: np.ndarray
    given: np.ndarray
    replacement: bool
    noise: StepRule
    keys: np.ndarray


class Batch(NamedTuple):
    """What a step takes, and where a run is in its order.

    ``picked`` (largest,), the samples numbered through all problems; ``labels`` (largest * outputs,). ``places`` is the
    order of the pass, ``at`` (3,) the number of the pass, the places that it has taken, and all that the run has taken.
    """

    picked: np.ndarray
    labels: np.ndarray
    places: np.ndarray
    at: np.ndarray
    words: Words


PASS, PLACE, TAKEN = range(3)


def make_batch(largest: int, samples: int, outputs: int, dtype: DTypeLike) -> Batch:
    """Memory for one run at a time.

    Parameters
    ----------
    largest : int, the samples of the largest batch
    samples : int, the most that a problem has
    outputs : int, the labels of a sample
    dtype : of these
    """
    return Batch(
        np.zeros(largest, np.int64),
        np.zeros(largest * outputs, dtype),
        np.zeros(samples, np.int64),
        np.zeros(3, np.int64),
        words(),
    )


@jit_internal
def find_place(order, batch, run, step, count):
    """Come to where a run is before a step, in its order of so many samples."""
    seek(batch.words, order.keys[run])
    at = batch.at
    if order.sizes.size == 0:
        each = count // order.size
        at[PASS], at[PLACE], at[TAKEN] = step // each, step % each * order.size, step * order.size
    else:
        at[:] = 0
        for k in range(step):
            size = order.sizes[k]
            if at[PLACE] + size > count:
                at[PASS], at[PLACE] = at[PASS] + 1, 0
            at[PLACE], at[TAKEN] = at[PLACE] + size, at[TAKEN] + size
    if order.given.size == 0 and not order.replacement:
        taken = at[PLACE]
        _begin_pass(batch, count)
        for _ in range(taken):
            _next_of_pass(batch, count)


@jit_inline
def _begin_pass(batch, count):
    for i in range(count):
        batch.places[i] = i
    batch.at[PLACE] = 0


@jit_inline
def _next_of_pass(batch, count):
    i = batch.at[PLACE]
    j = i + index_at(batch.words, batch.at[PASS] * count + i, count - i)
    sample = batch.places[j]
    batch.places[j] = batch.places[i]
    batch.places[i] = sample
    batch.at[PLACE] = i + 1
    return sample


@jit_internal
def take_batch(order, batch, run, step, samples, first, count, noise):
    """Take the batch of a step of a run, from the ``count`` samples from number ``first`` on; returns its size.

    ``noise`` is the standard deviation of label noise, NaN for none.
    """
    size = order.size if order.sizes.size == 0 else order.sizes[step]
    picked, at = batch.picked, batch.at
    if order.given.size > 0:
        for i in range(size):
            picked[i] = first + order.given[step, i]
    elif order.replacement:
        for i in range(size):
            picked[i] = first + index_at(batch.words, at[TAKEN] + i, count)
    else:
        if at[PLACE] + size > count:
            at[PASS] += 1
            _begin_pass(batch, count)
        for i in range(size):
            picked[i] = first + _next_of_pass(batch, count)
    outputs, labels = samples.outputs, batch.labels
    for i in range(size):
        for label in range(outputs):
            labels[i * outputs + label] = samples.labels[picked[i] * outputs + label]
    if not np.isnan(noise):
        for i in range(size * outputs):
            labels[i] += noise * normal_at(batch.words, at[TAKEN] * outputs + i)
    at[TAKEN] += size
    return size
