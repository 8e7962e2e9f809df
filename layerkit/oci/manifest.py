"""Manifests and indexes: raw bytes first, what they say second.

Sources: image-spec, manifest.md and image-index.md; distribution, docs/content/spec/manifest-v2-2.md.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, Self

import msgspec

from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.mediatype import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE_MANIFESTS,
    INDEXES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    is_nondistributable,
)

MAX_SIZE: Final = 4 * 1024 * 1024
"""Bytes that every registry and client takes (distribution-spec, "Pushing Manifests")."""


MAX_NESTING: Final = 4
"""Indexes within indexes that are followed: nobody needs more, and whoever makes more means no good."""


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    # None stands for JSON's null, which Go programs write for an empty list or map.
    schema_version: int = 0
    media_type: str | None = None
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    @property
    def config_type(self) -> str | None:
        """The media type of the config, where there is one."""
        return None

    def references(self) -> Iterator[Descriptor]:
        """Everything that must be in the repository before this document: not the subject, which may be missing."""
        return iter(())

    def referrer_type(self) -> str | None:
        """What a list of referrers says of this document: its artifactType, for an image else its config's type."""
        return self.artifact_type or self.config_type or None


class ImageManifest(_Document, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One image for one platform, or an artifact: a config and layers."""

    config: Descriptor
    layers: tuple[Descriptor, ...] | None = None

    @property
    def config_type(self) -> str | None:
        return self.config.media_type

    def references(self) -> Iterator[Descriptor]:
        yield self.config
        yield from self.layers or ()


class ImageIndex(_Document, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A list of manifests, most often one for each platform. A child may also be a blob (BuildKit's cache)."""

    manifests: tuple[Descriptor, ...] | None = None

    def references(self) -> Iterator[Descriptor]:
        return iter(self.manifests or ())


class ArtifactManifest(_Document, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Blobs with a type, from a release candidate of the image-spec."""

    blobs: tuple[Descriptor, ...] | None = None

    def references(self) -> Iterator[Descriptor]:
        return iter(self.blobs or ())


class OtherDocument(_Document, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A manifest of a type that we don't know: kept as it is, related to others by `subject` alone."""


Document = ImageManifest | ImageIndex | ArtifactManifest | OtherDocument


_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\Z")
"""RFC 6838, section 4.2, as the image-spec wants `mediaType` to be: what is sent as a header must be one line."""


class _Probe(msgspec.Struct, rename="camel"):
    media_type: Any = msgspec.UNSET
    config: Any = msgspec.UNSET
    layers: Any = msgspec.UNSET
    manifests: Any = msgspec.UNSET
    fs_layers: Any = msgspec.UNSET


class Manifest(msgspec.Struct, frozen=True, dict=True):
    """A manifest as it is stored and sent: exact bytes, their media type and digest. Made by `Manifest.of`."""

    media_type: str
    raw: bytes
    digest: Digest

    @classmethod
    def of(cls, raw: bytes, media_type: str, algorithm: str = "sha256") -> Self:
        """The manifest with these bytes; they are not looked at before `document` is."""
        return cls(media_type=media_type, raw=raw, digest=Digest.of(raw, algorithm))

    @classmethod
    def encode(cls, document: Document) -> Self:
        """The manifest of a document of our own making, whose `media_type` must be set.

        Raises ManifestInvalid where it could not be read again, as for want of `schema_version=2`.
        """
        if not document.media_type:
            raise ManifestInvalid("a manifest that we write names its media type")
        try:
            raw = encode_json(document)
        except ValueError as error:
            raise ManifestInvalid(f"manifest invalid: {error}") from error
        parse_document(raw, document.media_type)
        return cls.of(raw, document.media_type)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))

    @cached_property
    def document(self) -> Document:
        """What the bytes say. Raises ManifestInvalid."""
        return parse_document(self.raw, self.media_type)

    def pointer(self) -> Descriptor:
        """The descriptor as a list of referrers shows it: with artifactType and annotations."""
        return msgspec.structs.replace(
            self.descriptor,
            artifact_type=self.document.referrer_type(),
            annotations=self.document.annotations or {},
        )


def parse_document(raw: bytes, media_type: str) -> Document:
    """What a manifest of this media type says. Raises ManifestInvalid with the path of what is wrong.

    A document that two readers could take for different things is refused (image-spec, CVE-2021-41190): `mediaType`
    that differs from the Content-Type, an image with `manifests`, an index with `config` or `layers`.
    """
    if media_type in SCHEMA1:
        raise ManifestInvalid("Docker schema 1 manifests are not supported: push the image again with docker >= 1.10")
    try:
        probe = decode_json(raw, _Probe)
        _refuse_ambiguity(probe, media_type)
        if media_type in IMAGE_MANIFESTS:
            document: Document = decode_json(raw, ImageManifest)
        elif media_type in INDEXES:
            document = decode_json(raw, ImageIndex)
        elif media_type == OCI_ARTIFACT:
            document = decode_json(raw, ArtifactManifest)
        else:
            return decode_json(raw, OtherDocument)
    except ValueError as error:
        raise ManifestInvalid(f"manifest invalid: {error}") from error
    if document.schema_version != 2 and media_type != OCI_ARTIFACT:
        raise ManifestInvalid(f"manifest invalid: schemaVersion is {shorten(str(document.schema_version))}, expected 2")
    return document


def _refuse_ambiguity(probe: _Probe, media_type: str) -> None:
    unset = msgspec.UNSET
    if probe.media_type not in (unset, None, "", media_type):
        stated = shorten(str(probe.media_type))
        raise ManifestInvalid(f"manifest invalid: its mediaType is {stated}, its Content-Type {media_type}")
    if probe.fs_layers is not unset:
        raise ManifestInvalid("manifest invalid: fsLayers is Docker schema 1")
    if media_type in IMAGE_MANIFESTS and probe.manifests is not unset:
        raise ManifestInvalid(f"manifest invalid: it has `manifests`, its type is {media_type}: index or image?")
    if media_type in INDEXES and not (probe.config is unset and probe.layers is unset):
        raise ManifestInvalid(
            f"manifest invalid: it has `config` or `layers`, its type is {media_type}: index or image?"
        )


def detect_media_type(raw: bytes) -> str:
    """The media type of a manifest that came without one: its `mediaType`, else what its fields show.

    Raises ManifestInvalid where neither tells.
    """
    try:
        probe = decode_json(raw, _Probe)
    except ValueError as error:
        raise ManifestInvalid(f"manifest invalid: {error}") from error
    if isinstance(probe.media_type, str) and probe.media_type:
        if not _MEDIA_TYPE.match(probe.media_type):
            raise ManifestInvalid(f"manifest invalid: mediaType {shorten(probe.media_type)} is no TYPE/SUBTYPE")
        return probe.media_type
    if probe.manifests is not msgspec.UNSET:
        return OCI_INDEX
    if probe.config is not msgspec.UNSET:
        docker = isinstance(probe.config, dict) and "docker" in str(probe.config.get("mediaType"))
        return DOCKER_MANIFEST if docker else OCI_MANIFEST
    raise ManifestInvalid("manifest invalid: no Content-Type, no mediaType, and no fields that tell")


def required_digests(document: Document) -> list[Digest]:
    """What must be in the repository before `document`, once each, in byte order.

    Non-distributable layers, told by their media type, need not be there.
    """
    return sorted({item.digest for item in document.references() if not is_nondistributable(item.media_type)})


ACCEPT: Final = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, OCI_ARTIFACT, "*/*;q=0.1")
"""What our client asks for: everything that there is, as it is stored."""
