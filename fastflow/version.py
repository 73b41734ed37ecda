"""The version, and what a file that is written says of the versions that wrote it."""

from __future__ import annotations

__version__ = "0.1.0"
