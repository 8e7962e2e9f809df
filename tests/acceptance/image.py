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


async def write_image(folder: Path, fixtures: Iterable[Fixture]) -> Layout:
    """A layout at `folder` whose tag TAG is an image of all layers of the fixtures."""
    layout = Layout(folder, create=True)
    repository = layout.repository(RepositoryName(""))
    image = Image.empty(parse_platform("linux/amd64")).with_execution({"Cmd": ["/nothing"]})
    for fixture in fixtures:
        for entries in fixture.layers:
            content, media_type, diff_id = _store(fixture, entries)
            layer = Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))
            await repository.put_blob(layer, content_of(content))
            image = image.with_layer(layer, diff_id, created_by=fixture.name)
    image = image.created_at(0)
    raw = image.config.raw
    config = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(raw), size=len(raw))
    await repository.put_blob(config, content_of(raw))
    await repository.put_manifest(image.manifest, [Tag(TAG)])
    return layout


def _store(fixture: Fixture, entries: Iterable[Entry]) -> tuple[bytes, str, Digest]:
    """The bytes of a layer as they are stored, their media type, and the diff_id."""
    sink = io.BytesIO()
    if fixture.members:
        written = write_layer(entries, sink, compression=Compression.NONE)
        tar = sink.getvalue()
        parts = (tar[start : start + _MEMBER] for start in range(0, len(tar), _MEMBER))
        return b"".join(gzip.compress(part, 1, mtime=0) for part in parts), OCI_LAYER_GZIP, written.diff_id
    written = write_layer(entries, sink, compression=fixture.stored)
    assert (written.descriptor.media_type == OCI_LAYER) is (fixture.stored is Compression.NONE)
    return sink.getvalue(), written.descriptor.media_type, written.diff_id
