"""The gallery: published studies that one command redoes, and whether what they claim holds in the data.

Each module is an example on the public API alone. ``fastflow reproduce`` runs them, or ``reproduce(ENTRIES["..."])``.
"""

from fastflow.gallery.bifurcations import BIFURCATIONS
from fastflow.gallery.entry import Entry, Size, Verdict, reproduce
from fastflow.gallery.normalized import NORMALIZED

__all__ = ["ENTRIES", "Entry", "Size", "Verdict", "reproduce"]

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (BIFURCATIONS, NORMALIZED)}
"""By their names."""
