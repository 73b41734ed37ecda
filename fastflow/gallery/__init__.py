"""The gallery: published studies that one command redoes, and whether what they claim holds in the data.

Each module is an example on the public API alone. ``fastflow reproduce`` runs them, or ``reproduce(ENTRIES["..."])``.
"""

from fastflow.gallery.autoencoders import AUTOENCODERS
from fastflow.gallery.bifurcations import BIFURCATIONS
from fastflow.gallery.completion import COMPLETION
from fastflow.gallery.divergence import DIVERGENCE
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Entry, Pilot, Size, Verdict, files_of, pilot, reproduce
from fastflow.gallery.images import IMAGES
from fastflow.gallery.kernel_to_rich import KERNEL_TO_RICH
from fastflow.gallery.label_noise import LABEL_NOISE
from fastflow.gallery.minimisers import MINIMISERS
from fastflow.gallery.nonnegative import NONNEGATIVE
from fastflow.gallery.normalized import NORMALIZED
from fastflow.gallery.recovery import RECOVERY
from fastflow.gallery.saddles import SADDLES
from fastflow.gallery.sharpness import SHARPNESS
from fastflow.gallery.steps import STEPS
from fastflow.gallery.stochastic_steps import STOCHASTIC_STEPS
from fastflow.gallery.stopping import STOPPING
from fastflow.gallery.trajectories import TRAJECTORIES
from fastflow.gallery.unobserved import UNOBSERVED

__all__ = [
    "DEFAULT",
    "ENTRIES",
    "FULL",
    "TINY",
    "Entry",
    "Pilot",
    "Size",
    "Verdict",
    "files_of",
    "pilot",
    "reproduce",
]

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        TRAJECTORIES,
        AUTOENCODERS,
        STEPS,
        RECOVERY,
        NONNEGATIVE,
        COMPLETION,
        UNOBSERVED,
        KERNEL_TO_RICH,
        STOCHASTIC_STEPS,
        BIFURCATIONS,
        SHARPNESS,
        DIVERGENCE,
        STOPPING,
        NORMALIZED,
        SADDLES,
        MINIMISERS,
        LABEL_NOISE,
        IMAGES,
    )
}
"""By their names."""
