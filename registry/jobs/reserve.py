"""The store's reserve: what a full disk took is kept again once there is room."""

import asyncio

from registry.storage.reserve import Reserve


async def keep_reserve(reserve: Reserve) -> None:
    await asyncio.to_thread(reserve.keep)
