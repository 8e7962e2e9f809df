"""Attaching: documents as referrers of an image, which registries keep and move with it.

Source: image-spec, manifest.md, "Guidelines for Artifact Usage": an empty config, and the document as the one layer.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from layerkit import __version__
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_MANIFEST
from layerkit.oci.repository import Content, Reader, Repository

MADE_BY: Final = "layerkit.version"
"""Says which layerkit made a document: it makes it anew, and nobody else's."""
PREDICATE: Final = "in-toto.io/predicate-type"
_MOST_BYTES: Final = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A document of one media type; `predicate` is what an in-toto statement is about, "" for other documents."""

    media_type: str
    content: bytes = field(repr=False)
    predicate: str = ""

    @property
    def annotations(self) -> Mapping[str, str]:
        predicate = {PREDICATE: self.predicate} if self.predicate else {}
        return MappingProxyType({**predicate, MADE_BY: __version__})


async def attach(repository: Repository, subject: Descriptor, attachment: Attachment) -> Manifest:
    """Put the document beside the image, in the place of the one that an earlier build put there."""
    layer = Descriptor(
        media_type=attachment.media_type,
        digest=Digest.of(attachment.content),
        size=len(attachment.content),
        annotations={PREDICATE: attachment.predicate} if attachment.predicate else {},
    )
    manifest = Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            artifact_type=attachment.media_type,
            config=EMPTY,
            layers=(layer,),
            subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
            annotations=dict(attachment.annotations),
        )
    )
    await repository.put_blob(EMPTY, _content_of(EMPTY_CONTENT))
    await repository.put_blob(layer, _content_of(attachment.content))
    await repository.put_manifest(manifest)
    page = await repository.list_referrers(subject.digest, artifact_types=[attachment.media_type])
    for known in page.items:
        is_ours = MADE_BY in known.annotations and known.annotations.get(PREDICATE, "") == attachment.predicate
        if is_ours and known.digest != manifest.digest:
            await repository.delete_manifest(known.digest)
    return manifest


async def read_attachment(reader: Reader, referrer: Digest) -> bytes:
    """The document that a referrer is. Raises ManifestInvalid for one that has none, or several."""
    manifest = await reader.get_manifest(referrer)
    document = manifest.document
    layers = (document.layers or ()) if isinstance(document, ImageManifest) else ()
    if len(layers) != 1 or layers[0].size > _MOST_BYTES:
        raise ManifestInvalid(f"referrer {referrer} holds {len(layers)} documents or one too large, one was expected")
    async with reader.open_blob(layers[0].digest) as blob:
        return b"".join([chunk async for chunk in blob])


def _content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read
