"""What goes wrong with stores."""

from __future__ import annotations


class StoreError(OSError):
    """A store that is damaged, in use, of another study, or cannot be written.

    Attributes
    ----------
    result : `StudyResult`, what a run had done when its store could not be written; None where nothing was run

    Examples
    --------
    >>> try:
    ...     ff.open_study("nowhere.zarr")
    ... except ff.StoreError as error:
    ...     print(type(error).__name__)
    StoreError
    """

    result: object = None
