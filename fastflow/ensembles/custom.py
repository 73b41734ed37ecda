"""An ensemble of your own: an importable function that draws problems."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np

from fastflow.checks import as_count, meant, shown
from fastflow.ensembles.base import Ensemble
from fastflow.equality import by_value
from fastflow.problems import Problem
from fastflow.streams import Key, encode


@by_value("function", "version", "test", "parameters")
class Custom(Ensemble):
    """Problems that a function of yours draws: ``function(rng, **parameters) -> problem``.

    Parameters
    ----------
    function : a function at the top level of a module
        Other processes import it, so a lambda or a function inside another one will not do. All randomness must come
        from ``rng``, a `numpy.random.Generator`; its other parameters may be axes of a study.
    version : int or str
        Change it when the function changes what it draws: results of two versions are never put into one store.
    test : a function at the top level of a module, ``test(rng, problem) -> problem``; default none
        It draws what is held out of a problem for the outcome "test_loss": measurements of the same unknown, or more
        samples, as a problem with ``normalization="mean"``. ``rng`` is of another stream than that of the problem. What
        is no function is a parameter of that name.
    **parameters : numbers and strings
        Those of the function that have no default, or another value.

    Notes
    -----
    Before any work a study draws one problem for each combination of those parameters that are no numbers, and sees
    whether its network, init and methods take it: numbers should change sizes, and not the kind of the problem.

    Examples
    --------
    >>> def drawn(rng, n, m):  # at the top level of a module
    ...     A = rng.standard_normal((m, n))
    ...     return ff.CompressedSensing(A, A[:, 0])
    >>> ensemble = ff.ensembles.Custom(drawn, version=1, n=20)  # doctest: +SKIP
    >>> study = ff.Study(ensemble, method=ff.FlowLimit(), axes={"m": [5, 10]})  # doctest: +SKIP
    """

    def __init__(
        self,
        function: Callable[..., Problem],
        version: int | str,
        *,
        test: object = None,
        **parameters: object,
    ) -> None:
        self.function, self.version = function, version
        self.test: Callable[[np.random.Generator, Problem], Problem] | None = None
        if callable(test):
            importable(test)
            self.test = test
        elif test is not None:
            parameters["test"] = test
        self.parameters: dict[str, Key] = {}
        if not isinstance(version, int | str) or isinstance(version, bool):
            raise TypeError(f"version must be an integer or a string, got {shown(version)}")
        if isinstance(version, int):
            as_count("version", version, 0, None)
        name = importable(function)
        signature = inspect.signature(function)
        if not signature.parameters or next(iter(signature.parameters)) in parameters:
            raise TypeError(f"{name} must take a generator as its first parameter")
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
        known = [p.name for p in list(signature.parameters.values())[1:] if p.kind is not inspect.Parameter.VAR_KEYWORD]
        for key, value in parameters.items():
            if key not in known and not takes_any:
                has = f"{', '.join(known) or 'none'}{meant(key, known)}"
                raise TypeError(f"{name} has no parameter {key!r}; it has {has}")
            self.parameters[key] = _as_key(key, value)
        self._names = tuple(dict.fromkeys((*known, *parameters)))
        self._missing = [
            p.name
            for p in list(signature.parameters.values())[1:]
            if p.default is p.empty and p.name not in parameters and p.kind is not inspect.Parameter.VAR_KEYWORD
        ]

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    @property
    def title(self) -> str:
        """``module:function``."""
        return title_of(self.function)

    def replaced(self, **changes: object) -> Self:
        parameters: dict[str, Any] = self.parameters | changes
        made = type(self)(self.function, self.version, **parameters)
        made.test = self.test
        return made

    def check(self) -> None:
        self._required(**dict.fromkeys(self._missing))

    def key(self) -> tuple[Key, ...]:
        # Without the module, which is another when it runs as a script.
        return ("Custom", self.function.__qualname__, self.version, tuple(sorted(self.parameters.items())))

    def form(self) -> tuple[Key, ...]:
        words = {name: value for name, value in self.parameters.items() if not _is_number(value)}
        return (self.function.__qualname__, tuple(sorted(words.items())))

    def draw(self, rng: np.random.Generator) -> Problem:
        self.check()
        problem = self.function(rng, **self.parameters)
        if not isinstance(problem, Problem):
            raise TypeError(f"{self.title} must return a problem such as CompressedSensing, got {shown(problem)}")
        return problem

    @property
    def test_size(self) -> int:
        return 0 if self.test is None else 1

    def draw_test(self, rng: np.random.Generator, problem: Problem, drawn: np.random.Generator) -> Problem:
        assert self.test is not None
        found = self.test(rng, problem)
        if not isinstance(found, Problem) or found.shape != problem.shape:
            raise TypeError(
                f"{title_of(self.test)} must return a problem whose unknown has the shape {problem.shape}, got "
                f"{shown(found)}"
            )
        return found

    def __repr__(self) -> str:
        held_out = {} if self.test is None else {"test": title_of(self.test)}
        parameters = "".join(f", {name}={value!r}" for name, value in (held_out | self.parameters).items())
        return f"Custom({self.title}, version={self.version!r}{parameters})"


def title_of(function: Callable[..., Problem]) -> str:
    """``module:function``."""
    return f"{function.__module__}:{function.__qualname__}"


def importable(function: object) -> str:
    """The name of a function that another process can import.

    Raises
    ------
    TypeError
        for what is none
    """
    name, module = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if not callable(function) or name is None or module is None:
        raise TypeError(f"function must be a function of a module, got {shown(function)}")
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise TypeError(
            f"function must be at the top level of a module, where other processes can import it; {name} of {module} "
            "is not (a lambda and a function inside another one never are)"
        )
    return str(name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _as_key(name: str, value: object) -> Key:
    """A value that a stream of random numbers can be keyed by."""
    try:
        encode(cast(Key, value))
    except TypeError:
        raise TypeError(f"{name} must be a number, a string, or a sequence of them, got {shown(value)}") from None
    return cast(Key, value)
