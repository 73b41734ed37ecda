"""What a picture of a study shows where: two axes against each other, the others panel by panel."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.baselines import BASELINES
from fastflow.checks import FloatArray, one_of
from fastflow.methods import METHODS
from fastflow.results.figures import literal
from fastflow.studies.axes import Value
from fastflow.studies.outcomes import Field
from fastflow.studies.quantiles import Quantiles

MOST_PANELS = 12
ACROSS = ("m", "delta")
"""Axes that lie horizontally in a map."""
UPWARD = ("sparsity", "rho", "rank")
"""Axes that stand vertically in a map."""
LABELS = {
    "m": "measurements m",
    "sparsity": "sparsity s",
    "delta": r"$\delta = m/n$",
    "rho": r"$\rho = s/m$",
    "rank": "rank",
    "scale": "scale of the start",
    "alpha": r"scale $\alpha$ of the start",
}
TITLES = {method.__name__: method.title for method in METHODS} | {kind.__name__: kind.label for kind in BASELINES}
"""Methods and baselines in words, by the kinds that a study's table has."""

DECADES = 30
"""From this ratio on values may be spread over decades."""

FAR_APART = 1000
"""From this ratio on two values are."""

SYMBOLS = {"sparsity": "s", "delta": r"$\delta$", "rho": r"$\rho$", "scale": "scale", "alpha": r"$\alpha$"}


AxisArray = NDArray[Any]
"""Values of an axis: integers, numbers or strings."""

Entry = TypeVar("Entry", bound=np.generic)


class Result(Protocol):
    """What is drawn of the result of a study.

    Attributes
    ----------
    axes : name -> values
    successes, trials : integer arrays over the cells, 0 trials where a cell is not there or not done
    fields : name -> what an outcome is of one trial
    quantiles : quantiles of an outcome over the trials of each cell
    success : str() says what counts
    setting : name -> value, the parameters that a picture should state and that are no axes
    has_alpha : whether the scale of the starts is alpha, the entry of every factor
    """

    @property
    def axes(self) -> Mapping[str, Sequence[Value]]: ...
    @property
    def successes(self) -> NDArray[np.int64]: ...
    @property
    def trials(self) -> NDArray[np.int64]: ...
    @property
    def fields(self) -> Mapping[str, Field]: ...
    def quantiles(self, outcome: str, q: ArrayLike = ..., confidence: float = ...) -> Quantiles: ...
    @property
    def success(self) -> object: ...
    @property
    def setting(self) -> Mapping[str, object]: ...
    @property
    def has_alpha(self) -> bool: ...


class Arrangement(NamedTuple):
    """Which axes are drawn against each other, and what each panel shows of the others."""

    axes: dict[str, Sequence[Value]]
    x: str
    y: str | None
    others: list[str]
    cells: list[tuple[int, ...]]
    has_alpha: bool = False

    @property
    def drawn(self) -> list[str]:
        """x, and y if there is one."""
        return [name for name in (self.x, self.y) if name is not None]

    def label(self, name: str) -> str:
        """How an axis is called beside it."""
        return label_of(self._meaning(name))

    def named(self, name: str, value: object) -> str:
        """A value with the symbol of its axis; a text by itself."""
        return named(self._meaning(name), value)

    def _meaning(self, name: str) -> str:
        """The name of a parameter, alpha for a scale that is."""
        return "alpha" if self.has_alpha and bare(name) == "scale" else name

    def values(self, name: str) -> AxisArray:
        """The values of an axis, numbers in increasing order."""
        if is_numeric(self.axes[name]):
            return np.sort(np.asarray(self.axes[name]))
        return np.array([str(value) for value in self.axes[name]])

    def cut(self, array: NDArray[Entry], cell: tuple[int, ...]) -> NDArray[Entry]:
        """What a panel shows of an array over the cells: (values of y, values of x)."""
        names = list(self.axes)
        array = np.moveaxis(np.asarray(array), [names.index(name) for name in self.others], range(len(self.others)))[
            cell
        ]
        left = [name for name in names if name not in self.others]
        if self.y is None:
            array, left = array[None], ["", *left]
        array = array if left[1] == self.x else array.T
        for axis, name in ((0, self.y), (1, self.x)):
            if name is not None and is_numeric(self.axes[name]):
                array = np.take(array, np.argsort(self.axes[name]), axis=axis)
        return array

    def parameters(self, cell: tuple[int, ...]) -> dict[str, Value]:
        """The values of a panel's other axes."""
        return {name: self.axes[name][i] for name, i in zip(self.others, cell, strict=True)}


def numbers_in(result: Result) -> list[str]:
    """The outcomes of a result that are numbers to draw."""
    return [name for name, field in result.fields.items() if field.shape == () and name != "status"]


def arrange(result: Result, x: str, y: str | None) -> Arrangement:
    """One or two axes against each other, and at most `MOST_PANELS` panels for the others."""
    if not np.any(result.trials):
        raise ValueError("no cell has trials yet, so there is nothing to draw")
    others = [name for name in result.axes if name not in (x, y)]
    cells = list(itertools.product(*(range(len(result.axes[name])) for name in others)))
    chosen = np.unique(np.linspace(0, len(cells) - 1, MOST_PANELS).round().astype(int))
    cells = [cells[i] for i in chosen] if len(cells) > MOST_PANELS else cells
    return Arrangement(dict(result.axes), x, y, others, cells, result.has_alpha)


def arrange_map(result: Result, x: str | None, y: str | None) -> Arrangement:
    """Two axes of numbers, those asked for."""
    numeric = [name for name, values in result.axes.items() if is_numeric(values)]
    for argument, name in (("x", x), ("y", y)):
        if name is not None:
            one_of(argument, name, numeric)
    # Of axes that are neither the longest.
    free = sorted((name for name in numeric if name not in (x, y)), key=lambda name: len(result.axes[name]))
    free.sort(key=lambda name: (bare(name) in ACROSS, bare(name) in UPWARD))
    if len(free) < (x is None) + (y is None):
        raise ValueError(f"a map needs two axes of numbers, got {', '.join(result.axes)}: slices draws one")
    if x is None:
        x = free.pop()
    return arrange(result, x, y if y is not None else free.pop())


def edges_of(values: AxisArray) -> FloatArray:
    """Where the cells of increasing values end: halfway to the next, (k + 1,)."""
    logarithmic = is_logarithmic(values)
    places = np.log(values) if logarithmic else values.astype(np.float64)
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    inner = 0.5 * (places[1:] + places[:-1])
    edges = np.concatenate([[2 * places[0] - inner[0]], inner, [2 * places[-1] - inner[-1]]])
    return np.exp(edges) if logarithmic else edges


def is_numeric(values: object) -> bool:
    """Whether a value, or all of several, are numbers; truth values are labels."""
    each = values.tolist() if isinstance(values, np.ndarray) else values
    each = each if isinstance(each, list | tuple) else [each]
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in each)


def is_logarithmic(values: AxisArray) -> bool:
    """Whether values are spread over decades, and more evenly in their logarithms."""
    places = np.sort(np.asarray(values, np.float64))
    if len(places) < 2 or places[0] <= 0 or places[-1] < DECADES * places[0]:
        return False
    if len(places) == 2:
        return bool(places[1] >= FAR_APART * places[0])
    gaps, ratios = np.diff(places), np.diff(np.log(places))
    return bool(ratios.std() / ratios.mean() < gaps.std() / gaps.mean())


def bare(name: str) -> str:
    """The name of a parameter without the word that it belongs to: "scale" of "init.scale"."""
    return name.rpartition(".")[2]


def are_whole(values: AxisArray) -> bool:
    """Whether all values are integers, between which no tick should be."""
    return values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool(np.all(values == np.floor(values))))


def label_of(name: str) -> str:
    """How an axis is called beside it."""
    return LABELS.get(bare(name)) or literal(name)


def named(name: str, value: object) -> str:
    """A value with the symbol of its axis; a text by itself."""
    if not isinstance(value, int | float | np.number) or not is_numeric(value):
        return TITLES.get(str(value)) or literal(str(value))
    text = f"{value:g}" if float(value).is_integer() else f"{value:.4g}"
    exponent = round(np.log10(value)) if value > 0 else 0
    if abs(exponent) >= 3 and float(value) == float(f"1e{exponent}"):
        text = f"$10^{{{exponent}}}$"
    return f"{SYMBOLS.get(bare(name)) or literal(name)} = {text}"
