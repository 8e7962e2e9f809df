"""An image for several platforms, made by hand in an OCI layout."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

from layerkit.content.layout import Layout
from layerkit.layer.compress import Compression
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.source import BytesSource
from layerkit.layer.write import write_layer
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


def layer_of(path: str, content: bytes) -> bytes:
    """An uncompressed layer with one file."""
    tar = io.BytesIO()
    entry = Entry(path=path, type=EntryType.FILE, mode=0o644, source=BytesSource(content))
    write_layer([entry], tar, compression=Compression.NONE)
    return tar.getvalue()


async def make_index(folder: Path) -> tuple[str, Digest]:
    """An index of three images in an OCI layout, as skopeo names it, and its digest."""
    repository = Layout(folder, create=True).repository(RepositoryName(""))
    children = []
    for text in PLATFORMS:
        platform = parse_platform(text)
        layer = layer_of("platform", text.encode())
        config = ImageConfig.build(
            {
                "architecture": platform.architecture,
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(layer)]},
            }
        )
        parts = []
        for raw, media_type in ((config.raw, OCI_CONFIG), (layer, OCI_LAYER)):
            parts.append(Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw)))
            await repository.put_blob(parts[-1], content_of(raw))
        manifest = Manifest.encode(
            ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=parts[0], layers=(parts[1],))
        )
        await repository.put_manifest(manifest)
        children.append(
            Descriptor(media_type=OCI_MANIFEST, digest=manifest.digest, size=len(manifest.raw), platform=platform)
        )
    index = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=tuple(children)))
    await repository.put_manifest(index, [Tag("all")])
    return f"oci:{folder}:all", index.digest
