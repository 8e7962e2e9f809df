"""Layers to an image in an OCI layout, by layerkit's own writer."""

import gzip
import io
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

from layerkit.content.layout import Layout
from layerkit.image.image import Image
from layerkit.layer.compress import Compression
from layerkit.layer.entry import Entry
from layerkit.layer.write import write_layer
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content
from tests.acceptance.fixtures import Fixture

TAG: Final = "1"
_MEMBER: Final = 2**20


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


async def write_image(folder: Path, fixtures: Iterable[Fixture], *, stored: Compression | None = None) -> Layout:
    """A layout at `folder` whose tag TAG is an image of all layers of the fixtures, all `stored` so if it is given."""
    return await _write(
        folder,
        (
            (fixture.name, *_store(entries, stored or fixture.stored, members=fixture.members))
            for fixture in fixtures
            for entries in fixture.layers
        ),
    )


async def write_tar_image(folder: Path, tar: bytes) -> Layout:
    """A layout at `folder` whose tag TAG is an image of these bytes as its only layer."""
    return await _write(folder, [("tar", tar, _describe(tar, OCI_LAYER), Digest.of(tar))])


async def _write(folder: Path, layers: Iterable[tuple[str, bytes, Descriptor, Digest]]) -> Layout:
    """Of each layer its name, its bytes as they are stored, their descriptor, and the diff_id."""
    layout = Layout(folder, create=True)
    repository = layout.repository(RepositoryName(""))
    image = Image.empty(parse_platform("linux/amd64")).with_execution({"Cmd": ["/nothing"]})
    for name, content, layer, diff_id in layers:
        await repository.put_blob(layer, content_of(content))
        image = image.with_layer(layer, diff_id, created_by=name)
    image = image.created_at(0)
    raw = image.config.raw
    config = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(raw), size=len(raw))
    await repository.put_blob(config, content_of(raw))
    await repository.put_manifest(image.manifest, [Tag(TAG)])
    return layout


def _store(entries: Iterable[Entry], stored: Compression, *, members: bool) -> tuple[bytes, Descriptor, Digest]:
    """The bytes of a layer as they are stored, their descriptor, and the diff_id."""
    sink = io.BytesIO()
    if members and stored is Compression.GZIP:
        written = write_layer(entries, sink, compression=Compression.NONE)
        tar = sink.getvalue()
        parts = (tar[start : start + _MEMBER] for start in range(0, len(tar), _MEMBER))
        content = b"".join(gzip.compress(part, 1, mtime=0) for part in parts)
        return content, _describe(content, OCI_LAYER_GZIP), written.diff_id
    written = write_layer(entries, sink, compression=stored)
    return sink.getvalue(), written.descriptor, written.diff_id


def _describe(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))
