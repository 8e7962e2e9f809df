"""Ahead: layers are on their way to a repository while others of their image are still made.

Nothing is sent before it is known that the image changes: of an unchanged one only its tag need be asked for. A failure
is kept for whoever then pushes the image; the build goes on without.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec

from layerkit.build.together import first_failure
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.mediatype import is_nondistributable
from layerkit.transfer import BLOBS_AT_ONCE, Copy


class Listener(Protocol):
    """Who hears of the layers of an image while it is built, in the event loop."""

    def changes(self) -> None:
        """A layer is made that nobody remembers: most likely the image will be another one than before."""

    def has(self, layer: Descriptor) -> None:
        """The store has this layer of the image, or knows where it is."""


class _Deaf:
    def changes(self) -> None:
        """Hears nothing."""

    def has(self, layer: Descriptor) -> None:
        """Hears nothing."""


DEAF: Final[Listener] = _Deaf()
"""For images that nobody waits for."""


class Ahead:
    """A Listener that copies layers as `copy` says. To be had of `going_ahead`."""

    def __init__(self, copy: Copy, tasks: asyncio.TaskGroup) -> None:
        self._copy = copy
        self._tasks = tasks
        self._places = asyncio.Semaphore(BLOBS_AT_ONCE)
        self._is_changed = False
        self._waiting: dict[Digest, Descriptor] = {}
        self._sent: dict[Digest, asyncio.Task[None]] = {}
        self._arrived: set[Digest] = set()
        self._failures: list[OCIError] = []

    def changes(self) -> None:
        self._is_changed = True
        for layer in self._waiting.values():
            self._send(layer)
        self._waiting.clear()

    def has(self, layer: Descriptor) -> None:
        if is_nondistributable(layer.media_type):
            return
        if self._is_changed:
            self._send(layer)
        else:
            self._waiting[layer.digest] = layer

    async def finish(self) -> Copy:
        """The copy that is left to do, once all that was begun is done. Raises the first failure there was."""
        if self._sent:
            await asyncio.wait(self._sent.values())
        if self._failures:
            raise self._failures[0]
        return msgspec.structs.replace(self._copy, present=frozenset(self._arrived))

    def _send(self, layer: Descriptor) -> None:
        if layer.digest not in self._sent:
            self._sent[layer.digest] = self._tasks.create_task(self._bring(layer))

    async def _bring(self, layer: Descriptor) -> None:
        async with self._places:
            # After a failure nobody will need the rest.
            if not self._failures:
                try:
                    await self._copy.blob(layer)
                except OCIError as error:
                    self._failures.append(error)
                else:
                    self._arrived.add(layer.digest)


@asynccontextmanager
async def going_ahead(copy: Copy) -> AsyncIterator[Ahead]:
    """What is still on its way when the block fails is given up."""
    tasks = asyncio.TaskGroup()
    try:
        async with tasks:
            yield Ahead(copy, tasks)
    except BaseExceptionGroup as group:
        # That of the block: those of the tasks are kept.
        raise first_failure(group) from None
