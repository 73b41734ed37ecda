"""Update rules of a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastflow.kernels.rules.taught import has_rule, try_rule
from fastflow.methods.stepping import FreeStepMethod


@dataclass(frozen=True, eq=False, repr=False)
class CustomRule(FreeStepMethod):
    """An update rule of your own, which `fastflow.kernels.add_rule` has been taught.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`; your function is given ``step``
    update : the NamedTuple of the rule

    Raises
    ------
    TypeError
        for a rule of a class that `fastflow.kernels.add_rule` has not been told of
    ValueError
        where the function cannot be compiled, raises, or reads or writes past its arrays

    Notes
    -----
    The function is tried when the method is made. It is compiled into the loop over steps, once for each class of
    rules, in each process. Runs never end as STALLED, since it may move later; where it makes a factor NaN the loss is
    NaN, which ends the run as DIVERGED.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> import numpy as np, fastflow as ff
    >>> class Signum(NamedTuple):
    ...     momentum: float
    >>> def signum(rule, factors, gradient, memory, step, k):
    ...     for i in range(factors.size):
    ...         memory[0, i] = rule.momentum * memory[0, i] + gradient[i]
    ...         factors[i] -= step * np.sign(memory[0, i])
    >>> ff.kernels.add_rule(Signum, signum, slots=1)
    >>> method = ff.CustomRule(1e-3, update=Signum(0.9), max_steps=100)
    """

    update: NamedTuple | None = None

    label: ClassVar[str] = "custom"
    title: ClassVar[str] = "an update rule of one's own"

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self.update)
        if not isinstance(self.update, tuple) or not has_rule(kind):
            raise TypeError(
                f"no update rule is known for {kind.__name__}: register it with fastflow.kernels.add_rule(...), at the "
                "top level of an importable module, beside the class and outside of if __name__ == '__main__', so that "
                "every process that meets the rule knows it"
            )
        try_rule(self.update)

    @property
    def remembers(self) -> str:
        return f"{type(self).__name__} {type(self.update).__name__}"

    @property
    def rule(self) -> NamedTuple:
        assert self.update is not None
        has_rule(type(self.update))  # another process may not have been told
        return self.update
