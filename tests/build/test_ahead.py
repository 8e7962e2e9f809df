"""Layers that are sent while others are made: when, what is not sent, and what becomes of failures."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from layerkit.build.ahead import going_ahead
from layerkit.build.builder import Builder
from layerkit.content.memory import MemoryRegistry, MemoryRepository
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import Denied
from layerkit.oci.mediatype import DOCKER_LAYER_FOREIGN_GZIP, OCI_LAYER_GZIP
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import Content, Repository
from layerkit.progress import Outcome
from layerkit.spec.model import ImageSpec
from layerkit.transfer import Copy
from tests.build.conftest import Load
from tests.progress import Recorded

NAME = RepositoryName("acme/web")


class Destination:
    """A Repository that tells of each blob that arrives, refuses those that are `refused`, and takes none while it is
    `closed`."""

    def __init__(self) -> None:
        self.inner: MemoryRepository = MemoryRegistry().repository(NAME)
        self.arrived: asyncio.Queue[Digest] = asyncio.Queue()
        self.begun = asyncio.Event()
        self.closed: asyncio.Event | None = None
        self.refused: set[Digest] = set()
        self.asked: list[Digest] = []
        self.given_up = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def stat_blob(self, digest: Digest) -> Descriptor:
        self.asked.append(digest)
        return await self.inner.stat_blob(digest)

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        self.begun.set()
        try:
            if self.closed is not None:
                await self.closed.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if descriptor.digest in self.refused:
            raise Denied(f"{descriptor.digest} is not wanted")
        await self.inner.put_blob(descriptor, content)
        self.arrived.put_nowait(descriptor.digest)

    @property
    def repository(self) -> Repository:
        repository: Repository = self  # type: ignore[assignment] # the rest of it is the inner one's
        return repository


@pytest.fixture
def source() -> MemoryRepository:
    return MemoryRegistry().repository(NAME)


@pytest.fixture
async def layers(source: MemoryRepository) -> list[Descriptor]:
    """Four that the source has."""
    return [await _put(source, bytes([n]) * 100) for n in range(4)]


async def _put(source: MemoryRepository, raw: bytes) -> Descriptor:
    async def content(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    layer = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(raw), size=len(raw))
    await source.put_blob(layer, content)
    return layer


def digests(layers: Sequence[Descriptor]) -> set[Digest]:
    return {layer.digest for layer in layers}


async def test_nothing_is_sent_of_an_image_that_does_not_change(
    source: MemoryRepository, layers: list[Descriptor]
) -> None:
    destination = Destination()
    async with going_ahead(Copy(source=source, destination=destination.repository)) as ahead:
        for layer in layers:
            ahead.has(layer)
        rest = await ahead.finish()
    assert destination.asked == []
    assert rest.present == frozenset()


async def test_once_something_changes_all_are_sent_while_the_build_goes_on(
    source: MemoryRepository, layers: list[Descriptor]
) -> None:
    destination, progress = Destination(), Recorded()
    async with going_ahead(Copy(source=source, destination=destination.repository, progress=progress)) as ahead:
        ahead.has(layers[0])
        ahead.changes()
        ahead.has(layers[1])
        # The build still runs here.
        assert {await destination.arrived.get(), await destination.arrived.get()} == digests(layers[:2])
        ahead.has(layers[2])
        ahead.has(layers[2])
        rest = await ahead.finish()
    assert rest.present == digests(layers[:3])
    assert len(destination.asked) == 3, "each is asked for once, however often it was told of"
    assert progress.outcomes == {layer.digest: [Outcome.COPIED] for layer in layers[:3]}


async def test_what_went_ahead_is_not_asked_for_again(source: MemoryRepository, layers: list[Descriptor]) -> None:
    destination = Destination()
    async with going_ahead(Copy(source=source, destination=destination.repository)) as ahead:
        ahead.changes()
        ahead.has(layers[0])
        rest = await ahead.finish()
    destination.asked.clear()
    await rest.blob(layers[1])
    assert destination.asked == [layers[1].digest]
    assert rest.present == {layers[0].digest}


async def test_layers_that_may_not_be_distributed_stay(source: MemoryRepository) -> None:
    foreign = Descriptor(media_type=DOCKER_LAYER_FOREIGN_GZIP, digest=Digest.of(b"foreign"), size=7)
    destination = Destination()
    async with going_ahead(Copy(source=source, destination=destination.repository)) as ahead:
        ahead.changes()
        ahead.has(foreign)
        await ahead.finish()
    assert destination.asked == []


async def test_a_failure_waits_for_the_push(source: MemoryRepository, layers: list[Descriptor]) -> None:
    """The build goes on, and nothing more is sent in vain."""
    destination = Destination()
    destination.refused.add(layers[0].digest)
    async with going_ahead(Copy(source=source, destination=destination.repository)) as ahead:
        ahead.changes()
        ahead.has(layers[0])
        with pytest.raises(Denied, match="is not wanted"):
            await ahead.finish()
        ahead.has(layers[1])
        with pytest.raises(Denied, match="is not wanted"):
            await ahead.finish()
    assert destination.asked == [layers[0].digest]


async def test_a_build_that_fails_gives_up_what_is_on_its_way(
    source: MemoryRepository, layers: list[Descriptor]
) -> None:
    destination, progress = Destination(), Recorded()
    destination.closed = asyncio.Event()
    copy = Copy(source=source, destination=destination.repository, progress=progress)

    async def fail() -> None:
        async with going_ahead(copy) as ahead:
            ahead.changes()
            ahead.has(layers[0])
            await destination.begun.wait()
            raise ValueError("the build's own")

    with pytest.raises(ValueError, match="the build's own"):
        await fail()
    assert destination.given_up == 1
    assert progress.ended


class Heard:
    """A Listener that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def changes(self) -> None:
        self.events.append("changes")

    def has(self, layer: Descriptor) -> None:
        self.events.append(layer.digest)


async def test_a_build_tells_of_its_layers_as_they_are_made(builder: Builder, load: Load, context: Path) -> None:
    for name in ("a", "b"):
        (context / name).write_text(name)
    spec = load("from: scratch\nlayers:\n- {name: a, copy: [./a:/a]}\n- {name: b, copy: [./b:/b]}\n")
    image = ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))
    first, second = Heard(), Heard()
    (result,) = await builder.build([image], {image.name: first})
    written = [layer.written.descriptor.digest for layer in result.images[0].layers]
    assert first.events[0] == "changes"
    assert sorted(event for event in first.events if event != "changes") == sorted(written)

    # What another image of the same run made is told of, too.
    spec = load("from: scratch\nlayers:\n- {name: a, copy: [./a:/a]}\n")
    again = ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))
    await builder.build([image, again], {image.name: second})
    assert set(second.events) == set(written)
