"""Running a job again and again."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from layerkit.oci.errors import OCIError

logger = logging.getLogger(__name__)

Job = Callable[[], Awaitable[None]]


@asynccontextmanager
async def repeat(job: Job, *, seconds: float, name: str) -> AsyncIterator[None]:
    """Run `job` at once and then every so many `seconds`, as long as the context lasts. One that fails is logged."""
    task = asyncio.create_task(_run(job, seconds, name))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _run(job: Job, seconds: float, name: str) -> None:
    while True:
        try:
            await job()
        except (OCIError, OSError) as error:
            logger.warning("%s failed, and is tried again in %g seconds: %s", name, seconds, error)
        await asyncio.sleep(seconds)
