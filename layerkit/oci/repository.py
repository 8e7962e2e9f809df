"""Repository: the scope of all reading and writing, wherever the content is.

"A scope for API calls on a registry for a collection of content (including manifests, blobs, and tags)"
(distribution-spec, "Definitions"). Memory, a layout on disk, a registry over HTTP and the registry's own store are
Repositories; building, pushing, pulling and mirroring read from one and write to another. One contract suite
(`tests/contract`) holds all of them to what is written here.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, Generic, Protocol, TypeVar

import msgspec

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.errors import DigestInvalid, ManifestUnknown, SizeInvalid
from layerkit.oci.manifest import Manifest
from layerkit.oci.mediatype import is_layer
from layerkit.oci.reference import Reference, RepositoryName, Tag

T = TypeVar("T")
Item_co = TypeVar("Item_co", covariant=True)

Content = Callable[[int], AsyncIterator[bytes]]
"""Content that can be read again from any offset, in bytes, so that whoever sends it can resume."""


class Page(msgspec.Struct, Generic[Item_co], frozen=True):
    """A part of a list. `last` is where the next page begins after, None at the list's end."""

    items: tuple[Item_co, ...]
    last: str | None = None


def page_of(items: Iterable[T], *, limit: int | None, last: str) -> Page[T]:
    """The page after `last` of items that are sorted here, by their text's bytes. A `limit` of 0 gives no items and
    nothing to go on with (distribution-spec, "Listing Tags")."""
    following = sorted((item for item in items if str(item) > last), key=str)
    if limit is None or len(following) <= limit:
        return Page(tuple(following))
    kept = tuple(following[:limit])
    return Page(kept, str(kept[-1]) if kept else None)


class BlobReader(Protocol):
    """An open blob, or the part `[start, stop)` of it that was asked for.

    Iterating gives its bytes once. Where the blob is a file of this machine, `file` is that file, open as long as the
    reader is, and may be read or sent instead: it holds the whole blob, not just the part.
    """

    @property
    def descriptor(self) -> Descriptor: ...

    @property
    def start(self) -> int: ...

    @property
    def stop(self) -> int: ...

    @property
    def file(self) -> BinaryIO | None: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Upload(Protocol):
    """A blob on its way in, open for one writer. Closing keeps what was appended; `commit` or `cancel` ends it."""

    @property
    def id(self) -> str: ...

    @property
    def offset(self) -> int:
        """Bytes that it has."""

    async def append(self, chunk: bytes) -> None: ...

    async def commit(self, digest: Digest) -> Descriptor:
        """Make the bytes a blob of the repository. Raises DigestInvalid; the upload is gone then as well."""

    async def cancel(self) -> None: ...


class Reader(Protocol):
    async def stat_blob(self, digest: Digest) -> Descriptor:
        """Raises BlobUnknown."""

    def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AbstractAsyncContextManager[BlobReader]:
        """Raises BlobUnknown, and RangeInvalid where the blob has no such part. A whole blob is verified as it is
        read: the iteration raises DigestInvalid or SizeInvalid at its end where the content is not the digest's."""

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        """Raises ManifestUnknown."""

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """The exact bytes that were put. Raises ManifestUnknown."""


class Writer(Protocol):
    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        """Write a whole blob. Raises DigestInvalid or SizeInvalid where the content is not the descriptor's."""

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:
        """Take a blob from another repository of the same registry, from any one that has it where `source` is None.
        False where that cannot be done, and the blob must be written."""

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        """Begin an upload whose digest, most likely, will be of this algorithm. The answer is its id."""

    def open_upload(self, upload: str) -> AbstractAsyncContextManager[Upload]:
        """Raises BlobUploadUnknown, whose details may have `{"digest": ...}` of the blob that it became, and
        BlobUploadInvalid while somebody else has it open."""

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        """Write a manifest and let the tags point to it.
        Raises ManifestInvalid, and ManifestBlobUnknown with a detail for each missing blob or child."""


class Deleter(Protocol):
    async def delete_blob(self, digest: Digest) -> None:
        """Raises BlobUnknown, and Denied while a manifest of the repository refers to it."""

    async def delete_manifest(self, digest: Digest) -> None:
        """Together with the tags that point to it. Raises ManifestUnknown."""

    async def delete_tag(self, tag: Tag) -> None:
        """The manifest stays. Raises ManifestUnknown."""


class Lister(Protocol):
    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        """In byte order, those after `last`. Raises NameUnknown where the repository does not exist."""

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        """The manifests whose `subject` is `digest`, whether that exists or not, in an order that holds.
        With `artifact_types` only those of one of these types."""


class Repository(Reader, Writer, Deleter, Lister, Protocol):
    """All four, for one name of one registry."""

    @property
    def name(self) -> RepositoryName: ...


class Registry(Protocol):
    """Repositories by name. Naming one that does not exist is no error before something is read from it."""

    def repository(self, name: RepositoryName) -> Repository: ...

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        """Those that have a manifest, in byte order, after `last`."""


OpenRegistry = Callable[[Reference], AbstractAsyncContextManager[Registry]]
"""How the registry of a reference is reached, by whoever has no business with its address and credentials."""


async def find_child(source: Reader, descriptor: Descriptor) -> Manifest | None:
    """A child of an index; None where that is a blob (BuildKit's cache), or is not there."""
    if is_layer(descriptor.media_type):
        return None
    try:
        return await source.get_manifest(descriptor.digest)
    except ManifestUnknown:
        return None


async def verified(chunks: AsyncIterator[bytes], descriptor: Descriptor) -> AsyncIterator[bytes]:
    """The same chunks, never more than `size` bytes of them.

    Raises SizeInvalid as soon as there are too many or at an early end, DigestInvalid at the end.
    """
    digester = new_hash(descriptor.digest.algorithm)
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > descriptor.size:
            raise SizeInvalid(f"blob {descriptor.digest} is longer than its {descriptor.size} bytes")
        digester.update(chunk)
        yield chunk
    if received != descriptor.size:
        raise SizeInvalid(f"blob {descriptor.digest} ended after {received} of its {descriptor.size} bytes")
    if Digest.from_hash(digester) != descriptor.digest:
        raise DigestInvalid(f"blob {descriptor.digest} is damaged: its content has {Digest.from_hash(digester)}")
