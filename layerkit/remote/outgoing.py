"""The body of a request on its way out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Body = Callable[[], AsyncIterator[bytes]]
"""A request's body, which can be begun again."""


class Outgoing:
    """A request's body on its way out: begun again where the request is, and closed in the end.

    `failure` is what the content raised while it was read. The other side may take nothing of it for `stall` seconds;
    the time that the content takes to come does not count.
    """

    def __init__(self, body: Body | None, *, stall: float) -> None:
        self._body = body
        self._stall = stall
        self._running: AsyncIterator[bytes] | None = None
        self._clock: asyncio.Timeout | None = None
        self.failure: Exception | None = None

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Raises TimeoutError out of the context where the other side takes too long."""
        async with asyncio.timeout(None) as clock:
            self._clock = clock
            try:
                yield
            finally:
                self._clock = None

    async def begin(self) -> AsyncIterator[bytes] | None:
        await self.close()
        if self._body is None:
            return None
        self._running = self._read(self._body())
        return self._running

    async def close(self) -> None:
        running, self._running = self._running, None
        # Who still reads it was cancelled, and closes it himself.
        with suppress(RuntimeError):
            await close_iterator(running)

    async def _read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                self._reschedule(asyncio.get_running_loop().time() + self._stall)
                yield chunk
                self._reschedule(None)
        except Exception as error:
            self.failure = error
            raise
        finally:
            await close_iterator(chunks)

    def _reschedule(self, when: float | None) -> None:
        if self._clock is not None:
            self._clock.reschedule(when)


async def close_iterator(chunks: AsyncIterator[bytes] | None) -> None:
    """Let go of what a generator holds now, and not when somebody finds that nobody reads it any more."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
