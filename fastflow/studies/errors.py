"""What goes wrong with stores."""

from __future__ import annotations


class StoreError(OSError):
    """A store that is damaged, in use, of another study, or cannot be written.

    Attributes
    ----------
    result : `StudyResult`, what a run had done when its store could not be written; None where nothing was run
    """

    result: object = None
