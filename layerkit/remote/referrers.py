"""Referrers at a registry that has no API for them: an index under the tag `sha256-HEX` lists them.

Source: distribution-spec, "Unavailable Referrers API" and "Pushing Manifests with Subject". Two clients that write the
index at once can lose one's entry: the spec has nothing against that.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid, ManifestUnknown
from layerkit.oci.manifest import ImageIndex, Manifest
from layerkit.oci.mediatype import OCI_INDEX
from layerkit.oci.reference import Tag

_MOST_HEX: Final = 64


class _Manifests(Protocol):
    async def get_manifest(self, reference: Tag | Digest) -> Manifest: ...

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None: ...


def fallback_tag(subject: Digest) -> Tag:
    """`sha256-HEX`, and no more of it than fits (`<alg>-<ref>`, "truncated to 32 and 64 characters")."""
    return Tag(f"{subject.algorithm[:32]}-{subject.encoded[:_MOST_HEX]}")


async def read_fallback(repository: _Manifests, subject: Digest) -> tuple[Descriptor, ...]:
    """Those that the tag lists; none where there is no such tag."""
    tag = fallback_tag(subject)
    try:
        index = await repository.get_manifest(tag)
    except ManifestUnknown:
        return ()
    if not isinstance(index.document, ImageIndex):
        raise ManifestInvalid(f"the tag {tag} is for the list of referrers, and something else is under it")
    return tuple(index.document.manifests or ())


async def add_to_fallback(repository: _Manifests, subject: Digest, referrer: Descriptor) -> None:
    """List a referrer under the tag of its subject, if it is not there yet."""
    listed = await read_fallback(repository, subject)
    if all(other.digest != referrer.digest for other in listed):
        await _write(repository, subject, (*listed, referrer))


async def remove_from_fallback(repository: _Manifests, subject: Digest, referrer: Digest) -> None:
    """List a referrer no longer."""
    listed = await read_fallback(repository, subject)
    left = tuple(other for other in listed if other.digest != referrer)
    if len(left) < len(listed):
        await _write(repository, subject, left)


async def _write(repository: _Manifests, subject: Digest, referrers: tuple[Descriptor, ...]) -> None:
    index = ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=referrers)
    await repository.put_manifest(Manifest.encode(index), [fallback_tag(subject)])
