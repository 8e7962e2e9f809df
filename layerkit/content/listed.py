"""Repositories whose images are listed in an `index.json`: a layout's folder, and an archive.

The list's entries carry the names: `org.opencontainers.image.ref.name` is the tag (of some programs the whole name),
`io.containerd.image.name` the name with its registry. Source: image-spec, image-layout.md, "index.json file".
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestUnknown, NameUnknown
from layerkit.oci.manifest import ImageIndex, Manifest
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Page, page_of

REF_NAME: Final = "org.opencontainers.image.ref.name"
IMAGE_NAME: Final = "io.containerd.image.name"


class Listing(Protocol):
    """What lists images, and has their manifests."""

    @property
    def place(self) -> str:
        """What messages call it."""

    def hold(self, digests: Iterable[Digest]) -> None: ...

    def entries(self) -> tuple[Descriptor, ...]: ...

    def read_manifest(self, digest: Digest) -> Manifest | None:
        """The manifest with this digest, listed or not; None for a blob as well."""


class ListedRepository(ABC):
    """The manifests and lists of one name. The name "" stands for all images, by their `ref.name` alone."""

    name: RepositoryName

    @property
    @abstractmethod
    def listing(self) -> Listing: ...

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        return (await self.get_manifest(reference)).descriptor

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        digest = reference if isinstance(reference, Digest) else self.tags().get(reference)
        if digest is None:
            raise self.manifest_unknown(reference)
        self.listing.hold([digest])
        manifest = self.listing.read_manifest(digest)
        if manifest is None:
            raise self.manifest_unknown(reference)
        return manifest

    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        if not self.tags() and not any(self.owns(entry) for entry in self.listing.entries()):
            raise NameUnknown(f"{self.name or 'any image'} is not in {self.listing.place}")
        return page_of(list(self.tags()), limit=limit, last=last)

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        found: dict[Digest, Descriptor] = {}
        for manifest in self.reachable():
            subject = manifest.document.subject
            if subject is not None and subject.digest == digest:
                pointer = manifest.pointer()
                if not artifact_types or pointer.artifact_type in artifact_types:
                    found[manifest.digest] = pointer
        page = page_of(list(found), limit=limit, last=last)
        return Page(tuple(found[item] for item in page.items), page.last)

    def reachable(self) -> Iterator[Manifest]:
        """Every manifest, the children of indexes included."""
        return reachable_manifests(self.listing, (entry.digest for entry in self.listing.entries()))

    def tags(self) -> dict[Tag, Digest]:
        return {tag: entry.digest for entry in self.listing.entries() if (tag := self.tag_of(entry))}

    def tag_of(self, entry: Descriptor) -> Tag | None:
        if not self.name:
            return Tag(entry.annotations[REF_NAME]) if REF_NAME in entry.annotations else None
        name, tag = full_name(entry)
        return tag if name == self.name else None

    def owns(self, entry: Descriptor) -> bool:
        return not self.name or self.tag_of(entry) is not None or not entry.annotations

    def manifest_unknown(self, reference: Tag | Digest) -> ManifestUnknown:
        name = f"{self.name}{'@' if isinstance(reference, Digest) else ':'}{reference}" if self.name else reference
        return ManifestUnknown(f"{name} is not in {self.listing.place}")


def reachable_manifests(listing: Listing, roots: Iterable[Digest]) -> Iterator[Manifest]:
    """The manifests among `roots` and the children of indexes among them, once each."""
    waiting = list(roots)
    seen: set[Digest] = set()
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        manifest = listing.read_manifest(digest)
        if manifest is not None:
            yield manifest
            if isinstance(manifest.document, ImageIndex):
                waiting += [child.digest for child in manifest.document.references()]


def names_of(entries: Iterable[Descriptor]) -> set[RepositoryName]:
    return {name for entry in entries if (name := full_name(entry)[0])}


def full_name(entry: Descriptor) -> tuple[RepositoryName, Tag | None]:
    """Name and tag of an entry with a full name, `registry.example/acme/web:1`; of any other an empty name."""
    name, _, tag = entry.annotations.get(IMAGE_NAME, "").rpartition(":")
    is_tagged = name and "/" not in tag and "@" not in name
    return (RepositoryName(name), Tag(tag)) if is_tagged else (RepositoryName(""), None)
