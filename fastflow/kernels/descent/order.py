"""Order: which samples a step takes, and with which labels.

From a run's stream of random words (`random.philox`), or as the user says. Without replacement samples are taken in
passes over all m of a problem. Pass e begins with 0 .. m - 1 and shuffles as it goes (Fisher and Yates): at place i the
index ``i + floor((m - i) w / 2^64)`` is drawn by word ``e m + i``, and the samples at both places change them; a batch
is the samples at the next b places. What is left of a pass when it has no more b is left out of it, so that any batch
is a uniform subset. With replacement sample i of all that a run takes is ``floor(m w / 2^64)`` by word i.

Label noise adds to each label of a sample its standard deviation times a normal of the stream, number
``i outputs + l`` for label l of sample i of all that a run takes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.descent.descend import StepRule
from fastflow.kernels.random.philox import (
    WordPlaces,
    Words,
    index_at,
    make_words,
    normal_at,
    seek,
    word_places,
)
from fastflow.kernels.vectors.layouts import address, integer_at, item_bytes, number_at, set_integer, set_number


class Order(NamedTuple):
    """How samples are taken.

    Attributes
    ----------
    size : int, of every batch
    sizes : int64 array (steps,), of each batch; empty where all have one
    given : int64 array (steps, size), the samples of each step; or (0, 0)
    replacement : bool
    noise : StepRule, the standard deviation of label noise at each step, 0 for none
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
    picked, labels = np.zeros(largest, np.int64), np.zeros(largest * outputs, dtype)
    return Batch(picked, labels, np.zeros(samples, np.int64), np.zeros(3, np.int64), make_words())


class OrderPlaces(NamedTuple):
    """What `take_batch` reads and writes, as addresses: arrays would cost more than small steps do.

    Attributes
    ----------
    size, outputs : int, of a batch and of the labels of a sample
    varied, chosen, replacement : bool, whether batches have ``sizes``, or are ``given``, or drawn with replacement
    sizes, given, picked, labels, places, at : int, addresses of the arrays of `Order` and `Batch`
    known : int, that of the labels of all samples
    words : WordPlaces
    """

    size: int
    outputs: int
    varied: bool
    chosen: bool
    replacement: bool
    sizes: int
    given: int
    picked: int
    labels: int
    places: int
    at: int
    known: int
    words: WordPlaces


@jit_inline
def order_places(order, batch, samples):
    """The `OrderPlaces` of arrays, which must be kept alive while they are in use."""
    return OrderPlaces(
        order.size,
        samples.outputs,
        order.sizes.size > 0,
        order.given.size > 0,
        order.replacement,
        address(order.sizes, 0),
        address(order.given, 0),
        address(batch.picked, 0),
        address(batch.labels, 0),
        address(batch.places, 0),
        address(batch.at, 0),
        address(samples.labels, 0),
        word_places(batch.words),
    )


@jit_inline
def find_place(order, batch, places, run, step, count):
    """Come to where a run is before a step, in its order of so many samples."""
    seek(batch.words, order.keys[run])
    at = batch.at
    if places.varied:
        at[:] = 0
        for k in range(step):
            if at[PLACE] + order.sizes[k] > count:
                at[PASS], at[PLACE] = at[PASS] + 1, 0
            at[PLACE], at[TAKEN] = at[PLACE] + order.sizes[k], at[TAKEN] + order.sizes[k]
    else:
        each = count // order.size
        at[PASS], at[PLACE], at[TAKEN] = step // each, step % each * order.size, step * order.size
    if not places.chosen and not places.replacement:
        _begin_pass(places, at[PASS], at[PLACE], count)


@jit_internal
def _begin_pass(places, number, taken, count):
    """Begin a pass, and come to where so many of its places are taken."""
    for i in range(count):
        set_integer(places.places + 8 * i, i)
    set_integer(places.at + 8 * PASS, number)
    for i in range(taken):
        _next_of_pass(places, number, i, count)
    set_integer(places.at + 8 * PLACE, taken)


@jit_inline
def _next_of_pass(places, number, i, count):
    """The sample at place i of a pass, where all before are taken."""
    here = places.places + 8 * i
    there = here + 8 * index_at(places.words, number * count + i, count - i)
    sample = integer_at(there)
    set_integer(there, integer_at(here))
    set_integer(here, sample)
    return sample


@jit_internal
def take_batch(zero, places, step, first, count, noise):
    """Take the batch of a step, of the ``count`` samples from number ``first`` on; returns its size.

    ``noise`` is the standard deviation of label noise, 0 for none.
    """
    size = integer_at(places.sizes + 8 * step) if places.varied else places.size
    taken = integer_at(places.at + 8 * TAKEN)
    if places.chosen:
        for i in range(size):
            set_integer(places.picked + 8 * i, first + integer_at(places.given + 8 * (step * size + i)))
    elif places.replacement:
        for i in range(size):
            set_integer(places.picked + 8 * i, first + index_at(places.words, taken + i, count))
    else:
        number, place = integer_at(places.at + 8 * PASS), integer_at(places.at + 8 * PLACE)
        if place + size > count:
            number, place = number + 1, 0
            _begin_pass(places, number, 0, count)
        for i in range(size):
            set_integer(places.picked + 8 * i, first + _next_of_pass(places, number, place + i, count))
        set_integer(places.at + 8 * PLACE, place + size)
    bytes_each, outputs = item_bytes(zero), places.outputs
    for i in range(size):
        known = places.known + integer_at(places.picked + 8 * i) * outputs * bytes_each
        for label in range(outputs):
            place = places.labels + (i * outputs + label) * bytes_each
            set_number(zero, place, number_at(zero, known + label * bytes_each))
    if noise != 0:
        for i in range(size * outputs):
            place = places.labels + i * bytes_each
            stranger = noise * normal_at(places.words, taken * outputs + i)
            set_number(zero, place, number_at(zero, place) + stranger)
    set_integer(places.at + 8 * TAKEN, taken + size)
    return size
