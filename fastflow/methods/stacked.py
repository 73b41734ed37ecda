"""Methods that solve stacks of linear systems: many small problems of one shape, as arrays instead of objects.

A study of 10^5 small problems would spend a fifth of its time on making and checking an object for each of them. What
draws systems into arrays, and what solves them there, may meet without.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.inits import Init
from fastflow.methods.base import Method
from fastflow.networks import Network


class SystemStack(NamedTuple):
    """Systems ``A x = y`` of one shape.

    Attributes
    ----------
    matrices : array (systems, m, n), A
    values : array (systems, m), y
    independent : bool
        Whether the rows of every A are known to be independent, if there are no more of them than columns.
    """

    matrices: FloatArray
    values: FloatArray
    independent: bool


class StackEnds(NamedTuple):
    """Where a method ended, system by system.

    Attributes
    ----------
    solution : array (systems, n); NaN where it diverged
    loss : array (systems,), ``1/2 ||A x - y||^2``
    steps : int array (systems,)
    status : int array (systems,), a `Status`
    seconds : float, what the work took, compiling apart
    """

    solution: FloatArray
    loss: FloatArray
    steps: NDArray[np.int64]
    status: NDArray[np.int64]
    seconds: float


class StackedMethod(Method):
    """A method that takes the systems of a stack to their ends, one start each, with the bits that `train` has."""

    @abstractmethod
    def solve_stack(
        self, stack: SystemStack, network: Network, init: Init, seed: int, trials: NDArray[np.int64]
    ) -> StackEnds:
        """Take every system of a stack to its end, in the calling thread.

        Parameters
        ----------
        stack : SystemStack
        network, init : Network and Init, of which the method has been asked (`check`)
        seed : int, of random starts
        trials : int array (systems,), the numbers of the trials that key these

        Returns
        -------
        StackEnds

        Raises
        ------
        ValueError
            for starts that the method does not take
        """
