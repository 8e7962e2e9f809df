"""Shared: caches in repositories of registries, so that what one machine has made another need not make.

    manifest     an image manifest whose artifactType is ARTIFACT, and whose config is the empty descriptor
    layers[0]    JSON of type RECORDS: of each layer the diff_id, size of the tar, codec and descriptor
    layers[1:]   those layers, so that the registry keeps them

A layer is found there by its diff_id, and that is always taken of what is read here. So whoever writes to a cache can
at most name a blob that is not the layer with this diff_id. What is brought here is held against it. What a push mounts
stays where it is, unseen, and podman for one does not look either: there a cache is as good as those who write to it.
What was found so is remembered nowhere.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from layerkit.build.built import BuildResult
from layerkit.build.recipes import LayerRecord
from layerkit.build.together import run_together
from layerkit.content.memory import MemoryRegistry
from layerkit.content.store import Store
from layerkit.layer.compress import Codec
from layerkit.layer.decompress import decompress
from layerkit.layer.errors import LayerError
from layerkit.layer.write import FORMAT_VERSION
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.errors import ManifestInvalid, ManifestUnknown, OCIError
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_MANIFEST, is_layer
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, Tag
from layerkit.oci.repository import Content, Reader, Repository, verified
from layerkit.transfer import BLOBS_AT_ONCE, Copy

ARTIFACT: Final = "application/vnd.layerkit.cache.v1+json"
RECORDS: Final = "application/vnd.layerkit.cache.records.v1+json"
MOST_BYTES: Final = 16 * 2**20
"""Of the records of one cache: each has 400."""


class _Records(msgspec.Struct, frozen=True):
    """`format` is the FORMAT_VERSION of whoever wrote them."""

    format: int
    layers: tuple[LayerRecord, ...]


@dataclass(frozen=True, slots=True)
class SharedLayers:
    """What some caches have; `store` is to know where it is."""

    store: Store
    _found: list[tuple[LayerRecord, Reference, Reader]] = field(default_factory=list)
    _taken: dict[Digest, tuple[LayerRecord, Reference]] = field(default_factory=dict)

    @property
    def domains(self) -> set[str]:
        """The registries of the caches."""
        return {reference.domain for _, reference, _ in self._found}

    async def read(self, reference: Reference, repository: Reader) -> int:
        """Take up the cache of this name, and return how many layers it has. Raises OCIError where it is none."""
        records = await _read(repository, reference)
        self._found.extend((record, reference, repository) for record in records)
        return len(records)

    def find(self, codec: Codec, size: int) -> list[LayerRecord]:
        """Layers made by this codec of a tar of this size."""
        wanted = codec.record, codec.media_type, size
        return [
            layer
            for layer, *_ in self._found
            if (layer.codec, layer.descriptor.media_type, layer.uncompressed_size) == wanted
        ]

    async def has(self, layer: LayerRecord) -> bool:
        """Whether the blob is in one of the caches, to be taken: the store knows where from then on."""
        for record, reference, repository in self._found:
            if record != layer:
                continue
            try:
                found = await repository.stat_blob(layer.descriptor.digest)
            except OCIError:
                # It is made here, then.
                continue
            if found.size == layer.descriptor.size:
                await self.store.note_origin(layer.descriptor, reference)
                self._taken[layer.descriptor.digest] = record, reference
                return True
        return False

    def has_taken(self, layer: LayerRecord) -> bool:
        return layer.descriptor.digest in self._taken

    async def bring(self) -> None:
        """Bring all that was taken, and see that it is what the caches said. Raises LayerError where it is not, and
        OCIError."""
        for layer, reference in self._taken.values():
            digest = layer.descriptor.digest
            await self.store.bring(digest)
            found = await asyncio.to_thread(self._read_diff_id, layer.descriptor)
            if found != layer.diff_id:
                self.store.remove(digest)
                raise LayerError(
                    f"layer {digest} of the cache {reference} has other content than the cache says (diff_id {found}, "
                    f"not {layer.diff_id}): build without it, and see who writes to it"
                )

    def _read_diff_id(self, layer: Descriptor) -> Digest:
        digester = new_hash()
        with self.store.path_of(layer.digest).open("rb") as file:
            for piece in decompress(file, layer.media_type):
                digester.update(piece)
        return Digest.from_hash(digester)


async def _read(repository: Reader, reference: Reference) -> list[LayerRecord]:
    document = (await repository.get_manifest(reference.target)).document
    if not isinstance(document, ImageManifest) or document.artifact_type != ARTIFACT:
        raise ManifestInvalid(f"{reference} is no cache of layerkit, but something else")
    first, *listed = document.layers or (EMPTY,)
    if first.media_type != RECORDS or first.size > MOST_BYTES:
        raise ManifestInvalid(f"{reference} is no cache that this version of layerkit can read")
    async with repository.open_blob(first.digest) as blob:
        raw = b"".join([chunk async for chunk in verified(aiter(blob), first)])
    try:
        records = decode_json(raw, _Records)
    except ValueError as error:
        raise ManifestInvalid(f"the records of {reference} are damaged: {error}") from None
    kept = [layer.bare() for layer in listed if is_layer(layer.media_type)]
    if records.format != FORMAT_VERSION:
        return []
    # Only what is a layer and nothing more: annotations or URLs would become part of the image.
    return [layer for layer in records.layers if layer.descriptor in kept]


def layers_of(results: Iterable[BuildResult]) -> tuple[LayerRecord, ...]:
    """What was made for these images, each once: what a cache of them has."""
    written = [layer.written for result in results for image in result.images for layer in image.layers]
    records = {layer.descriptor.digest: LayerRecord.of(layer) for layer in written}
    # Of other layers the descriptor alone does not tell what they are (eStargz).
    return tuple(record for record in records.values() if record.descriptor == record.descriptor.bare())


async def write_shared(layers: Sequence[LayerRecord], copy: Copy, tag: Tag = DEFAULT_TAG) -> bool:
    """Let the tag of the destination of `copy` be a cache of these layers, which are in its source. The one that was
    there is replaced: of several who write, the last one stays. False where it is the same already.

    Raises OCIError.
    """
    raw = encode_json(_Records(format=FORMAT_VERSION, layers=tuple(layers)))
    records = Descriptor(media_type=RECORDS, digest=Digest.of(raw), size=len(raw))
    blobs = [layer.descriptor for layer in layers]
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            artifact_type=ARTIFACT,
            config=EMPTY,
            layers=(records, *blobs),
        )
    )
    if await _has(copy.destination, tag, manifest.digest):
        return False
    small = MemoryRegistry().repository(RepositoryName("cache"))
    for descriptor, content in ((EMPTY, EMPTY_CONTENT), (records, raw)):
        await small.put_blob(descriptor, _content_of(content))
    await run_together([copy.blob(blob) for blob in blobs], at_once=BLOBS_AT_ONCE)
    beside = Copy(source=small, destination=copy.destination, progress=copy.progress)
    for descriptor in (EMPTY.bare(), records):
        await beside.blob(descriptor)
    await copy.destination.put_manifest(manifest, [tag])
    return True


async def _has(destination: Repository, tag: Tag, digest: Digest) -> bool:
    try:
        return (await destination.stat_manifest(tag)).digest == digest
    except ManifestUnknown:
        return False


def _content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read
