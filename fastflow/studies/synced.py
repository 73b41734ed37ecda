"""Zarr's store in a folder, with files that are synced before they are moved to their places."""

from __future__ import annotations

import asyncio

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from fastflow.disk import put


class SyncedStore(LocalStore):
    """A folder whose files are there whole or not at all, also after a loss of power."""

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(put, self.root / key, value.to_bytes())

    def set_sync(self, key: str, value: Buffer) -> None:
        put(self.root / key, value.to_bytes())
