"""Export: images as one tar that every engine and tool loads.

    oci-layout, index.json                  for containerd, for podman and skopeo (`oci-archive`), and for us
    manifest.json                           for docker without containerd, for podman and skopeo (`docker-archive`)
    blobs/<algorithm>/<digits>              everything, once

`manifest.json` lists one image for each name, of an index the one for `platform`. The same images give the same bytes.
Source: LAYERS, item 45; moby's daemon writes the same form (daemon/containerd/image_exporter.go).
"""

import os
import secrets
import tarfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from layerkit.content.listed import IMAGE_NAME, REF_NAME
from layerkit.files import BATCH, readable_errors, run_in_thread, sync_folder
from layerkit.image.select import choose_platform
from layerkit.oci.codec import encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid, ManifestUnknown, OCIError
from layerkit.oci.manifest import MAX_NESTING, ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import DOCKER_CONFIG, OCI_CONFIG, OCI_INDEX, is_nondistributable
from layerkit.oci.platform import Platform
from layerkit.oci.reference import DEFAULT_TAG, Reference, Tag
from layerkit.oci.repository import Reader, find_child, verified

_MARKER: Final = b'{"imageLayoutVersion":"1.0.0"}'
_RECORD: Final = 512
_TRAILER: Final = bytes(2 * _RECORD)
_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """An image or index, and the names that it is to have; `tags` are for who knows no more of them. A referrer has
    neither."""

    manifest: Manifest
    names: tuple[Reference, ...] = ()
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What will be in the archive. Made by `plan_export`."""

    source: Reader
    documents: tuple[tuple[str, bytes], ...]
    """`oci-layout`, `index.json` and, where there is an image that it can list, `manifest.json`."""
    manifests: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]
    saved: tuple[Digest, ...]
    """The images that `manifest.json` lists, or whose image for the platform it lists."""

    async def chunks(
        self, *, without: Collection[Digest] = (), advance: Callable[[Descriptor, int], None] | None = None
    ) -> AsyncIterator[bytes]:
        """The tar. Blobs `without` which it is to be are left out; `advance` hears of those that are in it.

        Raises DigestInvalid or SizeInvalid where the source's content is not what its manifests say.
        """
        for name, raw in self.documents:
            yield _header(name, len(raw)) + _padded(raw)
        contents: dict[str, Manifest | Descriptor] = {_path(manifest.digest): manifest for manifest in self.manifests}
        contents |= {_path(blob.digest): blob for blob in self.blobs if blob.digest not in without}
        yield _folder("blobs")
        for folder in sorted({path.rpartition("/")[0] for path in contents}):
            yield _folder(folder)
        for path, content in sorted(contents.items()):
            if isinstance(content, Manifest):
                yield _header(path, len(content.raw)) + _padded(content.raw)
                continue
            yield _header(path, content.size)
            async with self.source.open_blob(content.digest) as blob:
                async for chunk in verified(aiter(blob), content):
                    if advance is not None:
                        advance(content, len(chunk))
                    yield chunk
            yield bytes(-content.size % _RECORD)
        yield _TRAILER


async def plan_export(source: Reader, images: Sequence[NamedImage], platform: Platform) -> Export:
    """Find what the images are made of. Raises ManifestInvalid where indexes are nested too deep."""
    plan = _Plan(source)
    for image in images:
        await plan.add(image.manifest, MAX_NESTING)
    index = ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=tuple(_entries(images)))
    documents = [("oci-layout", _MARKER), ("index.json", encode_json(index))]
    saved = {image.manifest.digest: entry for image in images if (entry := plan.saved(image, platform)) is not None}
    if saved:
        documents.append(("manifest.json", encode_json(list(saved.values()))))
    return Export(
        source=source,
        documents=tuple(documents),
        manifests=tuple(plan.manifests.values()),
        blobs=tuple(plan.blobs.values()),
        saved=tuple(saved),
    )


async def write_archive(
    path: Path, export: Export, *, advance: Callable[[Descriptor, int], None] | None = None
) -> None:
    """Write the archive, which has its name only when it is complete and durable. An older one is replaced."""
    _refuse_other_files(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with readable_errors(str(path.parent)):
        try:
            with temporary.open("xb", buffering=0) as file:
                write = partial(_write, file)
                batch: list[bytes] = []
                gathered = 0
                async for chunk in export.chunks(advance=advance):
                    batch.append(chunk)
                    gathered += len(chunk)
                    if gathered >= BATCH:
                        await run_in_thread(write, batch)
                        batch, gathered = [], 0
                await run_in_thread(write, batch)
                await run_in_thread(os.fsync, file.fileno())
            temporary.rename(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _refuse_other_files(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OCIError(f"{path} is no regular file: name another one for the archive")
    if not path.parent.is_dir():
        raise OCIError(f"{path.parent} is no folder: make it, or name another one for the archive")


class _Plan:
    """What is found on the way from the images down."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self.manifests: dict[Digest, Manifest] = {}
        self.blobs: dict[Digest, Descriptor] = {}

    async def add(self, manifest: Manifest, nesting: int) -> None:
        if manifest.digest in self.manifests:
            return
        self.manifests[manifest.digest] = manifest
        is_index = isinstance(manifest.document, ImageIndex)
        if is_index and nesting == 0:
            raise ManifestInvalid(f"index {manifest.digest} is the {MAX_NESTING + 1}th within each other: too many")
        for descriptor in manifest.document.references():
            if is_nondistributable(descriptor.media_type):
                continue
            child = await find_child(self._source, descriptor) if is_index else None
            if child is None:
                self.blobs.setdefault(descriptor.digest, descriptor)
            else:
                await self.add(child, nesting - 1)

    def saved(self, image: NamedImage, platform: Platform) -> dict[str, object] | None:
        """The entry of `manifest.json`; None for what docker could not load."""
        found = self._image_for(image.manifest, platform) if image.manifest.document.subject is None else None
        if found is None or found.config.media_type not in _CONFIGS:
            return None
        layers = found.layers or ()
        if any(layer.digest not in self.blobs for layer in layers):
            return None
        return {
            "Config": _path(found.config.digest),
            "RepoTags": [reference.with_default_tag().familiar() for reference in image.names],
            "Layers": [_path(layer.digest) for layer in layers],
        }

    def _image_for(self, manifest: Manifest, platform: Platform) -> ImageManifest | None:
        """The image for the platform; of an index that has none for it the first one."""
        document = manifest.document
        if isinstance(document, ImageManifest):
            return document
        if not isinstance(document, ImageIndex):
            return None
        children = list(document.references())
        with suppress(ManifestUnknown):
            children.insert(0, choose_platform(document, platform, name=str(manifest.digest)))
        images = (self._image_for(self.manifests[c.digest], platform) for c in children if c.digest in self.manifests)
        return next((image for image in images if image is not None), None)


def _entries(images: Sequence[NamedImage]) -> list[Descriptor]:
    entries: list[Descriptor] = []
    owners: dict[str, Digest] = {}
    for image in images:
        digest = image.manifest.digest
        for reference in image.names:
            tag = reference.tag or DEFAULT_TAG
            name = f"{reference.name}:{tag}"
            if owners.setdefault(name, digest) != digest:
                raise ManifestInvalid(f"{name} cannot be the name of two images in one archive")
            annotations = {REF_NAME: str(tag), IMAGE_NAME: name}
            entries.append(msgspec.structs.replace(image.manifest.descriptor, annotations=annotations))
        entries += [
            msgspec.structs.replace(image.manifest.descriptor, annotations={REF_NAME: str(tag)}) for tag in image.tags
        ]
        if not image.names and not image.tags:
            entries.append(image.manifest.descriptor)
    return entries


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _folder(name: str) -> bytes:
    member = tarfile.TarInfo(f"{name}/")
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member.tobuf(tarfile.PAX_FORMAT)


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % _RECORD)


def _write(file: BinaryIO, batch: Sequence[bytes]) -> None:
    for chunk in batch:
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]
