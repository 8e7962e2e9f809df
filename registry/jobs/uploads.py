"""Uploads that nobody has gone on with for long: their bytes would stay for ever."""

import logging
import time
from collections.abc import Callable

from registry.storage.interface import Storage

logger = logging.getLogger(__name__)


async def expire_uploads(storage: Storage, *, seconds: float, clock: Callable[[], float] = time.time) -> None:
    """Remove uploads to which nothing was written for `seconds`. One that is being written to stays."""
    removed = await storage.expire_uploads(clock() - seconds)
    if removed:
        logger.info("removed %d uploads that nobody went on with", removed)
