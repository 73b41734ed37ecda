"""The document of a store, its ``zarr.json``: all that decides what its numbers mean, under one digest.

It has the study's table and the cells of a share as one text, since netCDF has no tables, and the metadata of every
array, as Zarr's consolidated metadata has them. Nothing else in the store is believed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.studies.grid import MOST_CELLS
from fastflow.studies.nodes import Node, this_node
from fastflow.studies.spec import Table

FORMAT = 2
TEXT, DIGEST = "fastflow", "fastflow_digest"
"""Names of attributes of the group."""

Metadata = Mapping[str, Any]
"""Metadata of an array, or of the group, as Zarr writes them."""


class Facts(NamedTuple):
    """What a store says of itself.

    Attributes
    ----------
    table : of the study
    adaptive : bool, whether a pilot has decided how many trials a cell has, see `fastflow.studies.pilot`
    cells : int array, increasing, of a share; None where the arrays have all cells
    identity : str, of this store alone
    made_by : the kind of node that made it
    partial : names of outcomes that trials may lack whose status says that they are done
    """

    table: Table
    adaptive: bool
    cells: NDArray[np.int64] | None
    identity: str
    made_by: Node
    partial: tuple[str, ...] = ()


def new_facts(table: Table, adaptive: bool, cells: NDArray[np.int64] | None, partial: tuple[str, ...] = ()) -> Facts:
    """What a new store says of itself."""
    return Facts(table, adaptive, cells, uuid.uuid4().hex, this_node(), partial)


def written(facts: Facts, arrays: Mapping[str, Metadata]) -> bytes:
    """The document with these facts, and the metadata of each array."""
    cells = None if facts.cells is None else base64.b64encode(zlib.compress(facts.cells.astype("<i8").tobytes()))
    text = {
        "format": FORMAT,
        "made_by": dict(facts.made_by),
        "identity": facts.identity,
        "study": dict(facts.table),
        "adaptive": facts.adaptive,
        "cells": None if cells is None else cells.decode(),
    }
    if facts.partial:
        text["partial"] = list(facts.partial)
    document: dict[str, Any] = {
        "attributes": {TEXT: json.dumps(text)},
        "zarr_format": 3,
        "node_type": "group",
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": dict(arrays)},
    }
    document["attributes"][DIGEST] = _digest(document)
    return json.dumps(document, indent=1).encode()


def read(data: bytes) -> tuple[Facts, dict[str, Metadata]]:
    """The facts, and the metadata of each array.

    Raises
    ------
    KeyError
        for what has no facts of fastflow in it
    ValueError
        for what is damaged, or has another format
    """
    try:
        document = json.loads(data)
        attributes = document["attributes"]
        text = attributes[TEXT]
    except (TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if isinstance(text, Mapping):  # as the first format had it
        raise ValueError(f"it has format {text.get('format')}, this fastflow reads format {FORMAT}")
    if attributes.pop(DIGEST, None) != _digest(document):
        raise ValueError("it is not what its digest says")
    try:
        facts = json.loads(text)
        if facts["format"] != FORMAT:
            raise ValueError(f"it has format {facts['format']}, this fastflow reads format {FORMAT}")
        cells = facts["cells"]
        if cells is not None:
            packed = zlib.decompressobj().decompress(base64.b64decode(cells), 8 * MOST_CELLS)
            cells = np.frombuffer(packed, "<i8").astype(np.int64)
        partial = tuple(map(str, facts.get("partial", ())))
        found = Facts(facts["study"], facts["adaptive"], cells, facts["identity"], facts["made_by"], partial)
        return found, document["consolidated_metadata"]["metadata"]
    except (KeyError, TypeError, zlib.error, RecursionError) as error:
        raise ValueError(str(error)) from error


def _digest(document: Metadata) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
