"""What a driver of the store does: eleven verbs, of which four belong to an open upload.

A blob that `commit` answered for is durable: it survives the loss of power. Whatever the index says of a blob is
written after that, so the index may lag the store, and never leads it.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from layerkit.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class UploadKey:
    """An upload of one repository: the same id asked for below another repository is another key."""

    repository: str
    id: str


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """`size` in bytes; `modified` in seconds since 1970."""

    digest: Digest
    size: int
    modified: float


class OpenUpload(Protocol):
    """An upload that this caller alone writes to. Closing it raises StorageFull where what was appended found no room:
    what did is kept, and the next opening's `offset` says how much."""

    @property
    def offset(self) -> int:
        """Bytes appended so far, those of earlier openings included."""

    async def append(self, chunk: bytes) -> None:
        """May raise StorageFull for an earlier chunk."""

    async def commit(self, digest: Digest) -> int:
        """Make the bytes the blob `digest`, durably; the answer is its size. The upload is gone.
        Raises DigestInvalid where they are not that blob's (the upload is gone then too), and StorageFull."""

    async def cancel(self) -> None: ...


class Storage(Protocol):
    async def start(self, key: UploadKey) -> None: ...

    def open_upload(self, key: UploadKey, *, algorithm: str = "sha256") -> AbstractAsyncContextManager[OpenUpload]:
        """Raises BlobUploadUnknown, and BlobUploadInvalid while another worker or request has it open."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob as a file of this machine. Raises BlobUnknown. Opening never waits for a disk to be read."""

    async def expire_uploads(self, before: float) -> int:
        """Remove uploads to which nothing was written since `before`, in seconds since 1970, and which nobody has
        open. The answer is how many they were."""

    def check_room(self) -> None:
        """Raises StorageFull where so little is left that only what frees space may still be written."""

    async def stat(self, digest: Digest) -> StoredBlob:
        """Raises BlobUnknown."""

    async def delete(self, digest: Digest) -> None:
        """No error where it is gone already."""

    def list(self) -> AsyncIterator[StoredBlob]:
        """All blobs, in no order."""
