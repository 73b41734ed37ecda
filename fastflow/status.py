"""How a run ended."""

from __future__ import annotations

from enum import IntEnum

from fastflow.kernels import endings


class Status(IntEnum):
    """How a run ended; `message` says what that means and what to try.

    The numbers are part of the saved format, and those that kernels write.

    Examples
    --------
    >>> ff.Status.MAX_STEPS.label
    'max steps'
    >>> ff.Status.MAX_STEPS.message
    'max_steps was reached; train(..., init=runs.last) with a larger max_steps goes on.'
    """

    RUNNING = endings.RUNNING
    CONVERGED = endings.CONVERGED
    CRITICAL = endings.CRITICAL
    STALLED = endings.STALLED
    MAX_STEPS = endings.MAX_STEPS
    DIVERGED = endings.DIVERGED
    MAX_TIME = endings.MAX_TIME
    INACCURATE = endings.INACCURATE
    FAILED = endings.FAILED
    STOPPED = endings.STOPPED

    @property
    def message(self) -> str:
        """What the status means, and what to try."""
        return _MESSAGES[self]

    @property
    def label(self) -> str:
        """The status as it is printed: lower case, words."""
        return self.name.lower().replace("_", " ")


_MESSAGES = {
    Status.RUNNING: "Interrupted before its end; train(..., init=runs.last) goes on from here.",
    Status.CONVERGED: "The loss is at most tol, or as near to the least. Of a FlowLimit: the residual is at most tol "
    "||y||, or what of y no x reaches, and the estimated error of x at most 1e-8 of its largest entry.",
    Status.CRITICAL: "The gradient norm is at most gradient_tol: a critical point, a minimum or a saddle. "
    "A gradient flow has then come to rest; of GradientDescent with gradient_tol=None the loss is at most 1e-6 of that "
    "of the product 0 above the least, and max_steps more would hardly lower it.",
    Status.STALLED: "The factors no longer change in their last bit: this precision goes no further. "
    "At a loss above tol this is a critical point (a minimum under a rank constraint, or a saddle that the start "
    "cannot leave); try float64, or another start.",
    Status.MAX_STEPS: "max_steps was reached; train(..., init=runs.last) with a larger max_steps goes on.",
    Status.DIVERGED: "The loss is no longer finite; try a smaller step or a smaller start. Of a FlowLimit: the search "
    "left the range of float64; scale A and y, or take a start nearer to the size of x^(1/L). "
    "Of a baseline: its solution is not finite.",
    Status.MAX_TIME: "The gradient flow was followed to the last of the times.",
    Status.INACCURATE: "The solution is what was reached, and may be wrong: Newton's method did not bring the residual "
    "to tol, or round-off decides x (columns or rows of A that are nearly dependent, or a tie of least l1 norm that no "
    "further digits decided; flow_limit(...).error estimates by how much). Try a larger tol or max_steps, or a start "
    "nearer to the size of x^(1/L). Of a GradientFlow: the flow came to rest where round-off decides x. "
    "Of a ProductFlow: no step was small enough for its tolerance. Of a baseline: its solution misses the tolerance "
    "that it states.",
    Status.FAILED: "The trial of a study raised an exception, which a warning named; Study.run(on_error='raise') ends "
    "with the first one.",
    Status.STOPPED: "The loss of what is held out fell no further: the run is where it was least (EarlyStopping).",
}
