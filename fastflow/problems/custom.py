"""A problem of your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_array, as_real
from fastflow.checks import FloatArray, as_count, frozen, shown
from fastflow.kernels.losses.taught import has_formula
from fastflow.kernels.losses.trial import try_formula
from fastflow.problems.base import MatrixProblem


@dataclass(frozen=True, eq=False, repr=False)
class CustomProblem(MatrixProblem):
    """A problem of your own, whose loss and gradient `fastflow.kernels.add_problem` has been taught.

    Parameters
    ----------
    shape : (d_N, d_0), the shape of W
    data : the NamedTuple of arrays of the problem
    truth : array (d_N, d_0) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", as the loss is what your formula returns

    Raises
    ------
    TypeError
        for data of a class that `fastflow.kernels.add_problem` has not been told of
    ValueError
        where the formula reads or writes past its arrays, or its gradient is not that of its loss

    Notes
    -----
    The formula is tried when the problem is made: compiled so that every index is looked at, with data of other
    problems that are NaN beside those at hand, at random W, where its gradient is compared with differences of its
    loss. ``tol``, records and all else mean what they do elsewhere, and ``tol=None`` is for losses that may be
    negative; ``GradientDescent`` needs a step, as nothing is known of the Hessian.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Quartic(NamedTuple):
    ...     target: np.ndarray
    >>> def quartic(problem, index, product, gradient):
    ...     loss = 0.0
    ...     for i in range(product.size):
    ...         r = product[i] - problem.target[index, i]
    ...         gradient[i] = r**3
    ...         loss += 0.25 * r**4
    ...     return loss
    >>> ff.kernels.add_problem(Quartic, quartic)
    >>> ff.CustomProblem((2, 2), Quartic(np.eye(2).ravel())).shape
    (2, 2)
    """

    shape: tuple[int, int]
    data: NamedTuple
    name: ClassVar[str] = "custom"
    has_gradient: ClassVar[bool] = False
    is_least_squares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_known(type(self.data))
        for name, value in self.data._asdict().items():
            if as_array(f"data.{name}", value).dtype.kind not in "iuc":  # which are left as they are
                as_real(f"data.{name}", value)
        if self.normalization != "sum":
            raise ValueError("a CustomProblem has the loss that its formula returns: normalization must be 'sum'")
        if as_array("shape", self.shape).shape != (2,):
            raise TypeError(f"shape must be (d_N, d_0), the shape of W, got {shown(self.shape)}")
        shape = as_count("shape[0]", self.shape[0], 1), as_count("shape[1]", self.shape[1], 1)
        self._set(shape=shape, data=_frozen_data(self.data))
        self._check_common()
        try_formula(self.kernel_data([self], np.float64), shape[0] * shape[1])

    @property
    def residual_count(self) -> int:
        raise _only_compiled("residuals")

    @property
    def sample_count(self) -> int:
        raise TypeError(
            "a CustomProblem is known by its formula alone, which gives the gradient of all of it, not that of some "
            "samples: take GradientDescent, or one of fastflow's own problems"
        )

    def residual(self, product: ArrayLike) -> FloatArray:
        raise _only_compiled("residuals")

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        raise _only_compiled("residuals")

    def gradient(self, product: ArrayLike) -> FloatArray:
        raise _only_compiled("gradient outside compiled code")

    def estimate(self) -> FloatArray:
        raise ValueError("nothing is known of the solution of a CustomProblem: give a step")

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        kind: Callable[..., NamedTuple] = type(problems[0].data)
        _check_known(type(problems[0].data))  # another process may not have been told
        fields = zip(*(problem.data for problem in problems), strict=True)
        return kind(*(_stack_fields(field, dtype) for field in fields))


def _check_known(kind: type) -> None:
    if not has_formula(kind):
        raise TypeError(
            f"no formula is known for {kind.__name__}: register it with fastflow.kernels.add_problem(...), at the top "
            "level of an importable module, beside the class and outside of if __name__ == '__main__', so that every "
            "process that meets the problem knows it"
        )


def _frozen_data(data: NamedTuple) -> NamedTuple:
    """The data as read-only arrays of numbers."""
    arrays = {name: np.asarray(field) for name, field in data._asdict().items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} of {type(data).__name__} must be an array of real numbers, got {array.dtype}")
    return data._replace(**{name: frozen(array) for name, array in arrays.items()})


def _only_compiled(lacks: str) -> TypeError:
    return TypeError(
        f"a CustomProblem is known by its formula alone and has no {lacks}: what needs them works with fastflow's own "
        "problems (train and the loss of its runs work with yours)"
    )


def _stack_fields(arrays: Sequence[ArrayLike], dtype: DTypeLike) -> NDArray[np.generic]:
    """The arrays along a new first axis; real numbers in ``dtype``, integers as they are."""
    stacked = np.stack([np.asarray(array) for array in arrays])
    return np.ascontiguousarray(stacked, dtype if stacked.dtype.kind == "f" else None)
