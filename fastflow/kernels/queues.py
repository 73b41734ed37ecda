"""Queues: how kernels that take one problem or run after the other say how far they are."""

from __future__ import annotations

PLACE = 0
"""The entry of a workspace's ``at`` that is the place in the queue; its end when all is done."""
