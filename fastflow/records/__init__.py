"""Records: when and what is kept of runs, by one table of quantities."""

from fastflow.records.history import History
from fastflow.records.quantities import NAMED, QUANTITIES, Panel, Quantity, Source
from fastflow.records.record import LAST, Record
from fastflow.records.recording import Recording, no_recording, recording_at_steps, recording_at_times
from fastflow.records.tracing import Tracing

__all__ = [
    "LAST",
    "NAMED",
    "QUANTITIES",
    "History",
    "Panel",
    "Quantity",
    "Record",
    "Recording",
    "Source",
    "Tracing",
    "no_recording",
    "recording_at_steps",
    "recording_at_times",
]
