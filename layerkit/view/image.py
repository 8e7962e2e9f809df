"""An image that is looked into, wherever it is: its manifest and config, and its layers as an index of headers.

A layer is read once from its start to its end; of one that is in a registry no copy is kept. What its headers say may
be remembered. Async; layers are read in threads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import BinaryIO, Final, Protocol, Self, TypeVar, cast

from layerkit.image.select import choose_platform
from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.layer.tree import FileTree
from layerkit.oci.config import MAX_SIZE, ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, ManifestInvalid, ManifestUnknown, OCIError
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import is_nondistributable
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Tag
from layerkit.oci.repository import Lister, Reader
from layerkit.progress import SILENT, Activity, Progress, Step, running

T = TypeVar("T")

_BATCH: Final = 2**20


class Headers(Protocol):
    """The indexes of layers that were read before."""

    def find(self, layer: Digest, diff_id: Digest | None = None) -> LayerIndex | None: ...

    def remember(self, layer: Digest, index: LayerIndex) -> None: ...


class RememberedHeaders:
    """Those of this process."""

    def __init__(self) -> None:
        self._indexes: dict[Digest, LayerIndex] = {}

    def find(self, layer: Digest, diff_id: Digest | None = None) -> LayerIndex | None:
        index = self._indexes.get(layer)
        return index if index is not None and diff_id in {None, index.diff_id} else None

    def remember(self, layer: Digest, index: LayerIndex) -> None:
        self._indexes[layer] = index


class Spools:
    """Layers of registries that are read more than once, in files without a name until the block ends."""

    def __init__(self) -> None:
        self._files: dict[Digest, BinaryIO] = {}
        self._is_open = False

    def __enter__(self) -> Self:
        self._is_open = True
        return self

    def __exit__(self, *error: object) -> None:
        self._is_open = False
        for file in self._files.values():
            file.close()
        self._files.clear()

    def find(self, layer: Digest) -> BinaryIO | None:
        """The layer, at its start."""
        file = self._files.get(layer)
        if file is not None:
            file.seek(0)
        return file

    def keep(self, layer: Digest, file: BinaryIO) -> bool:
        """Whether it is kept: outside of a block none is."""
        if self._is_open:
            self._files[layer] = file
        return self._is_open


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedImage:
    """One image for one platform. `name` is what people call it; `index` is that which it was chosen from."""

    name: str
    reader: Reader
    manifest: Manifest
    document: ImageManifest
    config: ImageConfig
    index: Manifest | None = None
    headers: Headers = field(default_factory=RememberedHeaders)
    progress: Progress = SILENT
    spools: Spools = field(default_factory=Spools)

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        return self.document.layers or ()

    async def indexes(self) -> list[LayerIndex]:
        """What is in each layer. Raises LayerError, and what the repository raises."""
        if len(self.layers) != len(self.config.diff_ids):
            counts = f"{len(self.layers)} layers, its config {len(self.config.diff_ids)} diff_ids"
            raise ManifestInvalid(f"{self.name}: its manifest has {counts}")
        return [
            await self._index(layer, diff_id) for layer, diff_id in zip(self.layers, self.config.diff_ids, strict=True)
        ]

    async def tree(self) -> FileTree:
        """The files of the image, with the whiteouts applied. Raises what `indexes` raises."""
        indexes = await self.indexes()
        return await asyncio.to_thread(FileTree.of, indexes)

    async def _index(self, layer: Descriptor, diff_id: Digest) -> LayerIndex:
        known = await asyncio.to_thread(self.headers.find, layer.digest, diff_id)
        if known is not None:
            return known
        index = await self.read_layer(layer, lambda file: index_layer(file, layer.media_type, diff_id))
        await asyncio.to_thread(self.headers.remember, layer.digest, index)
        return index

    async def read_layer(self, layer: Descriptor, read: Callable[[BinaryIO], T]) -> T:
        """What `read` makes, in a thread, of the layer as it is stored: a file at its start.

        Raises LayerError, which names the layer and the image, and what the repository raises.
        """
        step = Step(activity=Activity.INDEX, total=layer.size, descriptor=layer, group=self.name)
        try:
            with running(self.progress, step) as run:
                async with self._open(layer, run.advance) as file:
                    return await asyncio.to_thread(read, file)
        except LayerError as error:
            raise LayerError(f"layer {layer.digest} of {self.name}: {error}") from error

    @asynccontextmanager
    async def _open(self, layer: Descriptor, advance: Callable[[int], None]) -> AsyncIterator[BinaryIO]:
        kept = self.spools.find(layer.digest)
        if kept is not None:
            yield cast("BinaryIO", _Watched(kept, advance))
            return
        try:
            async with self.reader.open_blob(layer.digest) as blob:
                if blob.file is not None:
                    yield cast("BinaryIO", _Watched(blob.file, advance))
                    return
                with ExitStack() as stack:
                    spool = cast("BinaryIO", stack.enter_context(TemporaryFile(buffering=_BATCH)))
                    batch = bytearray()
                    async for chunk in blob:
                        advance(len(chunk))
                        batch += chunk
                        if len(batch) >= _BATCH:
                            await asyncio.to_thread(spool.write, batch)
                            batch = bytearray()
                    await asyncio.to_thread(spool.write, batch)
                    spool.seek(0)
                    if self.spools.keep(layer.digest, spool):
                        stack.pop_all()
                    yield spool
        except BlobUnknown:
            if not is_nondistributable(layer.media_type):
                raise
            raise LayerError("it may not be distributed, so that it cannot be looked into") from None


class _Watched:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._advance(len(content))
        return content


async def read_config(reader: Reader, document: ImageManifest) -> ImageConfig:
    """The config of an image. Raises ManifestInvalid where there is none that a runtime would take."""
    config = document.config
    if config.size > MAX_SIZE:
        raise ManifestInvalid(f"config {config.digest} has {config.size} bytes, {MAX_SIZE} are allowed")
    async with reader.open_blob(config.digest) as blob:
        return ImageConfig.parse(b"".join([chunk async for chunk in blob]))


async def view_image(
    reader: Reader,
    target: Tag | Digest,
    *,
    name: str,
    wanted: Platform | None,
    host: Platform,
    headers: Headers,
    progress: Progress = SILENT,
    spools: Spools | None = None,
) -> ViewedImage:
    """The image at `target`: of an index that for the `wanted` platform, else that for the host's, else the only one.

    Raises ManifestUnknown, which lists the platforms that there are, and ManifestInvalid for what is no image.
    """
    manifest, index = await reader.get_manifest(target), None
    if isinstance(manifest.document, ImageIndex):
        index = manifest
        chosen = _choose(manifest.document, wanted, host, name=name)
        manifest = await reader.get_manifest(chosen.digest)
    document = manifest.document
    if not isinstance(document, ImageManifest) or "json" not in document.config.media_type:
        raise ManifestInvalid(f"{name} is no image whose files could be looked at: it is of type {manifest.media_type}")
    try:
        config = await read_config(reader, document)
    except ManifestInvalid as error:
        raise ManifestInvalid(f"{name} is no image whose files could be looked at: {error.message}") from error
    return ViewedImage(
        name=name,
        reader=reader,
        manifest=manifest,
        document=document,
        config=config,
        index=index,
        headers=headers,
        progress=progress,
        spools=spools or Spools(),
    )


def _choose(index: ImageIndex, wanted: Platform | None, host: Platform, *, name: str) -> Descriptor:
    if wanted is not None:
        return choose_platform(index, wanted, name=name)
    images = [child for child in index.references() if child.platform and child.platform.os != "unknown"]
    if len(images) == 1:
        return images[0]
    try:
        return choose_platform(index, host, name=name)
    except ManifestUnknown as error:
        raise ManifestUnknown(f"{error.message}; choose one with --platform") from error


async def list_referrers(lister: Lister, digest: Digest) -> Sequence[Descriptor] | None:
    """What refers to this manifest; None where the repository cannot tell."""
    found: list[Descriptor] = []
    last = ""
    try:
        while True:
            page = await lister.list_referrers(digest, last=last)
            found += page.items
            if page.last is None:
                return found
            last = page.last
    except OCIError:
        return None
