"""The front door for arrays: what comes in as it is, and what `numpy.asarray` would drop or change without a word.

NumPy makes an array of nearly everything, and forgets on the way what its arrays do not have: a mask, units, an index,
a gradient to pass on. What a library's arrays have besides their entries it says by a documented attribute or method,
and these are the protocols below; no library is imported, and no class is known by its name. An object of such a
protocol is refused in one line with the call that says what is to be left behind. All else that NumPy reads is taken:
lists, matrices, memory-mapped files, buffers, tensors and arrays of other libraries that are on this machine.

`as_array` is that door, `as_real` the one for real numbers, which change no bit on their way. What else entries must be
(finite, of a shape, increasing) is asked in `fastflow.checks`, whose functions all come through here. A plain array
passes at the cost of one comparison.

What is not stored anywhere can be long beyond measure: a range, a view that repeats itself, lists in which one list
stands many times. NumPy makes it first and fails later, when the machine is full; here its entries are counted, and
memory for them is asked for, before any is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.memory import require_memory

AnyArray = NDArray[Any]  # type: ignore[explicit-any]
"""An array of whatever there is, before it is checked."""

FloatArray = NDArray[np.float32 | np.float64]
"""An array in either of the precisions that fastflow computes in."""

FEW = 10**5
"""Up to so many entries memory is not asked for."""

ENTRY_BYTES, OBJECT_BYTES = 8, 112
"""Bytes of an entry of an array, and of one that Python has to make first, at most."""

MOST_DIMENSIONS = 64
"""How deep NumPy looks into sequences of sequences."""

FARTHEST = 2**63
"""How many entries there are at least of what is too long to be counted."""

MOST_EXACT = 2.0**52
"""Up to here, and somewhat further, float64 holds every integer."""


@runtime_checkable
class Labelled(Protocol):
    """Data frames, series, labelled and nullable arrays: pandas, polars, xarray, Arrow."""

    def to_numpy(self) -> object:
        """The entries without index, names and coordinates."""


@runtime_checkable
class OfUnits(Protocol):
    """Quantities of pint and unyt."""

    @property
    def units(self) -> object:
        """What the entries are multiples of."""


@runtime_checkable
class OfUnit(Protocol):
    """Quantities and columns of astropy."""

    @property
    def unit(self) -> object:
        """What the entries are multiples of; None without."""


@runtime_checkable
class Sparse(Protocol):
    """Sparse matrices and arrays of SciPy."""

    def toarray(self) -> object:
        """All entries, also those that are 0."""


@runtime_checkable
class Compressed(Protocol):
    """Sparse arrays of PyData."""

    def todense(self) -> object:
        """All entries, also those that are 0."""


@runtime_checkable
class OfGradient(Protocol):
    """Tensors of PyTorch and what follows its interface."""

    @property
    def requires_grad(self) -> bool:
        """Whether what is computed from the entries shall be differentiated by them."""


@runtime_checkable
class Pending(Protocol):
    """Arrays of dask, which are a plan of how to compute them."""

    def __dask_graph__(self) -> object:
        """The plan; None where there is none."""


@runtime_checkable
class Masked(Protocol):
    """Arrays of `numpy.ma`, and masked ones of astropy."""

    @property
    def mask(self) -> object:
        """Where entries are missing."""


@runtime_checkable
class Indexed(Protocol):
    """What NumPy reads entry by entry, whether or not these are stored."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> object:
        """One of them."""


@runtime_checkable
class Whole(Protocol):
    """What gives NumPy all of its entries at once."""

    def __array__(self) -> AnyArray:
        """The entries."""


class Parted(NamedTuple):
    """An array, and where its entries are missing.

    Attributes
    ----------
    entries : array of any dtype; what stands at a missing entry means nothing
    missing : bool array of its shape, or None where nothing is
    """

    entries: AnyArray
    missing: NDArray[np.bool_] | None


def as_array(name: str, value: object) -> AnyArray:
    """An array of any dtype, and of exactly the entries that were given.

    Raises
    ------
    TypeError
        for what has more than entries, such as units or an index, and for what is no array at all
    ValueError
        for masked entries
    MemoryError
        for more entries than memory
    """
    if type(value) is np.ndarray:
        return value
    entries, missing = as_parted(name, value)
    if missing is not None:
        raise ValueError(
            f"{name} has {int(missing.sum())} masked of {missing.size} entries, and none may be missing here: give "
            f".filled(value), or leave them out{_COMPLETION}"
        )
    return entries


def as_parted(name: str, value: object) -> Parted:
    """An array of any dtype whose masked entries are missing.

    Raises
    ------
    TypeError, ValueError, MemoryError
        as `as_array`, but for masked entries
    """
    if type(value) is np.ndarray:
        return Parted(value, None)
    _refuse_what_is_more(name, value)
    _require_entries(name, value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | memoryview | range):
        _look_into(name, value)
    try:
        array = np.asanyarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError, RecursionError, OverflowError) as error:
        if "inhomogeneous" in str(error) or isinstance(error, RecursionError):
            raise TypeError(f"{name} must be an array of real numbers, got a ragged {_kind(value)}") from error
        reason = next(iter(str(error).splitlines()), "it has no entries that NumPy can read")
        raise TypeError(f"{name} must be an array of real numbers, got {_kind(value)}: {reason}") from error
    _refuse_what_is_more(name, array)  # such as what reads itself from a file, with its mask
    return Parted(np.asarray(array), _missing(array))


def as_real(name: str, value: object, *, gaps: bool = False) -> FloatArray:
    """A float array of any shape with the entries that were given, to the last bit.

    float32 stays float32; all else becomes float64.

    Parameters
    ----------
    name : what the array is called in messages
    value : what `as_array` takes
    gaps : whether masked entries may be missing; they become NaN

    Raises
    ------
    TypeError
        for complex, object and text arrays, ragged lists, and what would lose more than its entries' dtype
    ValueError
        for masked entries, and numbers that float64 does not hold exactly
    """
    array, missing = as_parted(name, value) if gaps else (as_array(name, value), None)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {_described(value, array)}")
    if isinstance(value, Sequence):
        _refuse_rounded(name, value, array)
    if missing is not None:
        array = np.where(missing, 0, array)  # whatever lies under the mask is nobody's number
    if array.dtype not in (np.float32, np.float64):
        array = _exactly(name, array)
    if missing is not None:
        array[missing] = np.nan
    return array


def as_list(name: str, values: ArrayLike | Sequence[ArrayLike]) -> list[ArrayLike]:
    """What is in a sequence, such as the factors of a network, or its widths.

    Raises
    ------
    TypeError
        for what is no sequence
    MemoryError
        for more entries than memory, stored or not
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise TypeError(f"{name} must be a sequence, first to last, got {_kind(values)}")
    if isinstance(values, np.ndarray):
        if values.ndim == 0:
            raise TypeError(f"{name} must be a sequence, first to last, got one number")
        repeated = 0 in values.strides  # so that its parts are what it holds many times
        _require(name, OBJECT_BYTES * len(values) + repeated * values.nbytes)
    else:
        _require_entries(name, values, arrays=False)
    return list(values)


def _require_entries(name: str, value: object, *, arrays: bool = True) -> None:
    """Ask for the memory of the entries that NumPy will make of nested sequences, which the first of each tell.

    Those of arrays in the sequences are counted unless they stay as they are.
    """
    counts, stored, each = [1], True, value
    while len(counts) <= MOST_DIMENSIONS and _is_read_by_entries(each):
        assert isinstance(each, Indexed)
        stored = stored and isinstance(each, list | tuple)
        try:
            counts.append(_length(each))
            each = each[0] if counts[-1] else None
        except (LookupError, TypeError, ValueError):  # it is no sequence after all, of which NumPy will tell
            return
    if len(counts) > MOST_DIMENSIONS:
        raise TypeError(f"{name} must be an array of real numbers, got a {_kind(value)} in itself")
    entries = math.prod(counts) * (each.size if arrays and isinstance(each, np.ndarray) else 1)
    if entries > FEW:
        _require(name, entries * (ENTRY_BYTES if stored else OBJECT_BYTES))


def _length(values: Indexed) -> int:
    try:
        return len(values)
    except OverflowError:
        return FARTHEST


def _is_read_by_entries(value: object) -> bool:
    if not isinstance(value, Indexed) or isinstance(value, str | bytes | bytearray | memoryview | Mapping | Whole):
        return False
    if isinstance(value, list | tuple | range):
        return True
    try:
        memoryview(value)  # type: ignore[arg-type]  # which refuses what is no buffer
    except TypeError:
        return True
    return False


def _require(name: str, count: int) -> None:
    require_memory(count, f"the entries of {name}", "give fewer of them")


def _exactly(name: str, array: AnyArray) -> FloatArray:
    """Numbers of any other dtype as native floats, which hold them exactly."""
    native = array.dtype.newbyteorder("=")
    if native in (np.float32, np.float64):
        return array.astype(native)
    with np.errstate(over="ignore"):
        floats: FloatArray = array.astype(np.float64)
    changed: list[object] = []
    if native.kind == "f" and native.itemsize > 8:
        changed = array[(floats.astype(native) != array) & ~np.isnan(array)][:1].tolist()
    elif native.kind in "iu" and native.itemsize == 8:
        large = np.abs(floats) > MOST_EXACT
        changed = [number for number in array[large].tolist() if int(float(number)) != number]
    if changed:
        raise _too_long(name, changed[0])
    return floats


def _refuse_rounded(name: str, values: Sequence[object], array: AnyArray) -> None:
    """Raise for lists of integers and floats whose integers NumPy has rounded to make them one array."""
    if array.dtype != np.float64 or not np.any(np.abs(array) > MOST_EXACT):
        return
    for number in np.array(values, object).ravel().tolist():
        if isinstance(number, int | np.integer) and int(float(number)) != number:
            raise _too_long(name, number)


def _too_long(name: str, number: object) -> ValueError:
    return ValueError(
        f"{name} has numbers that float64 does not hold, such as {number}: round them with .astype(float)"
    )


def _described(value: object, array: AnyArray) -> str:
    """What came, for messages about an array that holds no real numbers, and the way out where there is one."""
    if array.dtype.names is not None:
        return f"an array of the fields {', '.join(array.dtype.names)}: give one of them"
    if array.ndim == 0 and array.dtype.kind == "O":
        hint = ": give a list of what it yields" if isinstance(value, Iterator) else ""
        return f"dtype object ({'None' if value is None else _kind(value)}){hint}"
    return f"dtype {array.dtype}{_WAYS_OUT.get(array.dtype.kind, '')}"


_COMPLETION = " (of the matrix of a MatrixCompletion.from_dense masked entries are the unobserved ones)"

_WAYS_OUT = {
    "c": ": give .real where the imaginary parts do not count",
    "O": ": .astype(float) makes numbers of what is one",
    "U": ": .astype(float) reads numbers",
    "S": ": .astype(float) reads numbers",
    "M": ": give numbers, such as (times - times[0]) / numpy.timedelta64(1, 's')",
    "m": ": give numbers, such as spans / numpy.timedelta64(1, 's')",
}
"""What to do with a dtype of such a kind."""

_PLAIN = (int, float, complex, str, bytes, np.generic, type(None))
"""What has nothing but its value."""


def _refuse_what_is_more(name: str, value: object) -> None:
    """Raise for an object of which NumPy would keep the entries alone."""
    if type(value) is np.ndarray or isinstance(value, _PLAIN):
        return
    more = _more(value)
    if more is not None:
        raise TypeError(f"{name} is of type {_kind(value)}, {more}")


def _more(value: object) -> str | None:
    """What an object has besides its entries, and the way to these; None if nothing.

    Only an object has it: a class or a function has the same names.
    """
    if isinstance(value, type):
        return None
    if isinstance(value, Labelled):
        return "whose labels and nulls would be lost: give .to_numpy()"
    if isinstance(value, OfUnits) and value.units is not None:
        return f"whose units ({value.units}) would be lost: give plain numbers, such as .magnitude"
    if isinstance(value, OfUnit) and value.unit is not None:
        return f"whose unit ({value.unit}) would be lost: give plain numbers, such as .value"
    if isinstance(value, Sparse):
        return "which is sparse, and all entries are needed here: give .toarray()"
    if isinstance(value, OfGradient) and value.requires_grad:
        return "through which no gradient would be passed back: give .detach()"
    if isinstance(value, Pending) and value.__dask_graph__() is not None:
        return "which is still to be computed: give .compute()"
    if isinstance(value, Compressed):
        return "which is sparse, and all entries are needed here: give .todense()"
    return None


def _look_into(name: str, values: Sequence[object]) -> None:
    """Raise for a list, or lists of lists, in which something has more than its value."""
    if all(issubclass(kind, _PLAIN) for kind in set(map(type, values))):
        return
    for value in values:
        if isinstance(value, list | tuple):
            _look_into(name, value)
        elif not isinstance(value, _PLAIN) and type(value) is not np.ndarray:
            _refuse_what_is_more(name, value)
            if isinstance(value, np.ndarray) and _missing(value) is not None:
                raise ValueError(f"{name} is a {_kind(values)} of masked arrays, whose masks would be lost: stack them")


def _missing(array: AnyArray) -> NDArray[np.bool_] | None:
    """Where a masked array has no entries; None where it has all."""
    if type(array) is np.ndarray or not isinstance(array, Masked):
        return None
    mask = np.asarray(array.mask)
    if mask.dtype != np.bool_:  # one for each field of a record, which is refused as such
        return None
    return np.array(np.broadcast_to(mask, array.shape)) if mask.any() else None


def _kind(value: object) -> str:
    return type(value).__name__
