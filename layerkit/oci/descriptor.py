"""Descriptors: the type, digest and size of content that is somewhere else.

Source: image-spec, descriptor.md.
"""

from typing import Annotated, Final

import msgspec

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_EMPTY
from layerkit.oci.platform import Platform

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`size` is in bytes; `data` is the content itself in base64, for tiny content."""

    media_type: str
    digest: Digest
    size: Size
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    data: str | None = None
    artifact_type: str | None = None
    platform: Platform | None = None

    def bare(self) -> "Descriptor":
        """Type, digest and size alone."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


EMPTY_CONTENT: Final = b"{}"
EMPTY: Final = Descriptor(media_type=OCI_EMPTY, digest=Digest.of(EMPTY_CONTENT), size=2, data="e30=")
"""The config of an artifact that has none (image-spec, manifest.md, "Guidance for an Empty Descriptor")."""
