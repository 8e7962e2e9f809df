"""`layerkit images`."""

import asyncio
from collections.abc import Iterator

import click
import msgspec

from layerkit.cli.environment import open_store
from layerkit.cli.output import Output, format_json, format_option, format_rows
from layerkit.cli.voice import printable
from layerkit.content.store import Store
from layerkit.oci.config import MAX_SIZE, ImageConfig
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.reference import parse_reference
from layerkit.sizes import format_size


@click.command()
@format_option
def images(*, form: str) -> None:
    """List the images of the local store: name, digest, bytes as stored, platforms and the time of their making.

    \b
    layerkit images
    layerkit images --format json
    """
    output = Output()
    found = asyncio.run(_list(open_store()))
    if form == "json":
        output.answer(format_json([each.as_json() for each in found]))
        return
    for line in format_rows((each.as_row() for each in found), right=(2,)):
        output.answer(printable(line))


class _Listed(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    manifest: Manifest
    size: int
    created: str | None
    platforms: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "digest": self.manifest.digest,
            "mediaType": self.manifest.media_type,
            "size": self.size,
            "created": self.created,
            "platforms": list(self.platforms),
        }

    def as_row(self) -> tuple[str, ...]:
        created = (self.created or "")[:10]
        return self.name, self.manifest.digest, format_size(self.size), created or "-", ",".join(self.platforms)


async def _list(store: Store) -> list[_Listed]:
    found = []
    for name in (await store.list_repositories()).items:
        repository = store.repository(name)
        for tag in (await repository.list_tags()).items:
            manifest = await repository.get_manifest(tag)
            configs = list(_configs(store, manifest))
            times = [config.created for config in configs if config.created]
            found.append(
                _Listed(
                    name=parse_reference(f"{name}:{tag}").familiar(),
                    manifest=manifest,
                    size=sum(_blobs(store, manifest).values()),
                    created=max(times, default=None),
                    platforms=tuple(dict.fromkeys(str(config.platform.normalized()) for config in configs)),
                )
            )
    return found


def _images(store: Store, manifest: Manifest) -> Iterator[ImageManifest]:
    document = manifest.document
    if isinstance(document, ImageManifest):
        yield document
    elif isinstance(document, ImageIndex):
        for descriptor in document.references():
            child = store.read_manifest(descriptor.digest)
            if child is not None:
                yield from _images(store, child)


def _configs(store: Store, manifest: Manifest) -> Iterator[ImageConfig]:
    """Those that are of images: an artifact's is anything."""
    for image in _images(store, manifest):
        if image.config.size <= MAX_SIZE:
            try:
                yield ImageConfig.parse(store.path_of(image.config.digest).read_bytes())
            except (OCIError, OSError):
                continue


def _blobs(store: Store, manifest: Manifest) -> dict[Digest, int]:
    """The sizes of all blobs of an image, once each."""
    found: dict[Digest, int] = {}
    for descriptor in manifest.document.references():
        child = store.read_manifest(descriptor.digest) if isinstance(manifest.document, ImageIndex) else None
        found |= _blobs(store, child) if child else {descriptor.digest: descriptor.size}
    return found
