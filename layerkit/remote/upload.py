"""A blob's way into a registry: one stream where all goes well, and on from where it broke off.

POST, then PUT with the whole blob, whatever its size. Where that fails in a way that may pass:

1. HEAD the blob: the connection may have been lost after the last byte, and then it is there.
2. GET the upload: the registry says how much it has. The rest follows by PATCH with its Content-Range, and PUT ends it.
3. Where it has nothing, has forgotten the upload or cannot go on, the upload begins again.

What a registry refuses is remembered for its next blobs (`Habits`): parts at all, or more than so much at once.
Sources: distribution-spec, "Pushing a blob in chunks"; what goes wrong out there: GoogleContainerTools/jib#4301, #4526.
"""

from collections.abc import AsyncIterator
from typing import Final

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError, SizeInvalid
from layerkit.oci.mediatype import OCTET_STREAM
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import Content, verified
from layerkit.oci.request import HeadBlob, StartUpload
from layerkit.oci.scope import Scope, repository_scope
from layerkit.remote import answers
from layerkit.remote.client import Client
from layerkit.remote.outgoing import Body, close_iterator
from layerkit.remote.retry import Attempts, Transient

PART: Final = 8 * 1024 * 1024
"""Bytes of a part, where an upload is made in parts."""

_CREATED: Final = frozenset({200, 201, 202, 204})
_MOST_PART: Final = 256 * 1024 * 1024
_LOST: Final = frozenset({404, 416})
"""Statuses that say: there is no such upload, or it does not stand where we think."""

_FORBIDDEN: Final = frozenset({401, 403})


class BlobUpload:
    """One blob on its way into one repository."""

    def __init__(self, client: Client, name: RepositoryName, descriptor: Descriptor, content: Content) -> None:
        self._client = client
        self._name = name
        self._descriptor = descriptor
        self._content = content
        self._attempts = client.begin()
        self._location = ""
        self._offset = 0
        self._has_resumed = False
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Raises DigestInvalid or SizeInvalid where the content is not the descriptor's, or what the registry does."""
        while True:
            try:
                if not self._location:
                    await self._begin()
                await self._send()
            except Transient as passing:
                trouble = passing
            except OCIError as error:
                trouble = self._second_thoughts(error)
            else:
                return
            await self._attempts.wait(trouble)
            if await is_there(self._client, self._name, self._descriptor, self._attempts):
                return
            await self._find_place()

    def _second_thoughts(self, error: OCIError) -> Transient:
        """Raises the error, unless there is another way to bring the blob."""
        habits = self._client.habits
        if error is self._failure:
            # The content cannot be read: no registry can mend that.
            raise error
        if error.status == 413 and habits.takes_parts and habits.most_part is None and self._descriptor.size > PART:
            # Not the registry, as a rule, but a proxy before it.
            habits.most_part = PART
            self._location = ""
        elif self._has_resumed and error.status not in _FORBIDDEN:
            # What it had may not have been what we sent: begin again, and do not go on halfway another time.
            habits.takes_parts = False
            habits.most_part = None
            self._location = ""
        elif error.status not in _LOST or not self._location:
            raise error
        return Transient(error, "an upload was refused")

    async def _begin(self) -> None:
        self._offset, self._has_resumed = 0, False
        call = StartUpload(repository=self._name)
        async with self._client.send("POST", call, expected=frozenset({202, 201}), attempts=self._attempts) as response:
            self._location = answers.location(response)
            self._client.habits.least_part = answers.least_part(response)

    async def _send(self) -> None:
        size = self._descriptor.size
        if self._offset == 0 and not self._client.habits.most_part:
            await self._commit(self._whole, size)
            return
        while self._offset < size:
            self._has_resumed = True
            await self._append(min(size, self._offset + self._part()))
        await self._commit(None, 0)

    def _part(self) -> int:
        habits = self._client.habits
        if habits.most_part is None:
            return self._descriptor.size
        return max(habits.most_part, min(habits.least_part, _MOST_PART))

    async def _append(self, stop: int) -> None:
        """The bytes up to `stop`, by one PATCH."""
        start = self._offset
        headers = {
            "Content-Type": OCTET_STREAM,
            "Content-Length": str(stop - start),
            "Content-Range": f"{start}-{stop - 1}",
        }

        def body() -> AsyncIterator[bytes]:
            source = self._content(start)
            return self._watch(cut(source, stop - start, self._descriptor), source)

        async with self._client.attempt(
            "PATCH", self._location, scopes=push_scope(self._name), expected=_CREATED, headers=headers, body=body
        ) as response:
            self._location = answers.location(response, self._location)
            kept = answers.upload_offset(response)
        if kept is not None and kept < stop:
            short = SizeInvalid(
                f"{self._client.host} kept {kept} of the {stop} bytes of blob {self._descriptor.digest}"
            )
            raise Transient(short, "a part was kept in part")
        self._offset = stop
        self._attempts.progressed()

    async def _commit(self, body: Body | None, length: int) -> None:
        headers = {"Content-Type": OCTET_STREAM, "Content-Length": str(length)}
        async with self._client.attempt(
            "PUT",
            answers.with_digest(self._location, self._descriptor.digest),
            scopes=push_scope(self._name),
            expected=frozenset({200, 201}),
            headers=headers,
            body=body,
        ):
            pass

    def _whole(self) -> AsyncIterator[bytes]:
        source = self._content(0)
        return self._watch(verified(source, self._descriptor), source)

    async def _watch(self, chunks: AsyncIterator[bytes], source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield chunk
        except Exception as error:
            self._failure = error
            raise
        finally:
            await close_iterator(source)

    async def _find_place(self) -> None:
        """Where the upload stands, so far as the registry says; else it begins again."""
        location, before = self._location, self._offset
        self._location = ""
        if not location or not self._client.habits.takes_parts:
            return
        found = await upload_place(self._client, self._name, location, self._attempts)
        if found is not None and 0 < found[1] <= self._descriptor.size:
            self._location, self._offset = found
            self._has_resumed = True
            if self._offset > before:
                self._attempts.progressed()


async def is_there(client: Client, name: RepositoryName, descriptor: Descriptor, attempts: Attempts) -> bool:
    """Whether the repository has the blob: then it does not matter what became of the upload."""
    call = HeadBlob(repository=name, digest=descriptor.digest)
    try:
        async with client.send("HEAD", call, expected=frozenset({200}), attempts=attempts) as response:
            return response.content_length in (None, descriptor.size)
    except OCIError as error:
        if 400 <= error.status < 500:
            return False
        raise


async def upload_place(
    client: Client, name: RepositoryName, location: str, attempts: Attempts
) -> tuple[str, int] | None:
    """An upload's Location and how many bytes it has; None where the registry does not know."""
    try:
        async with client.send(
            "GET", location, scopes=push_scope(name), expected=frozenset({200, 204}), attempts=attempts
        ) as response:
            offset = answers.upload_offset(response)
            return (answers.location(response, location), offset) if offset is not None else None
    except OCIError as error:
        if 400 <= error.status < 500:
            return None
        raise


def push_scope(name: RepositoryName) -> frozenset[Scope]:
    """That of the request that began an upload, for those that follow it to its Location."""
    return frozenset({repository_scope(name, "pull", "push")})


async def cut(chunks: AsyncIterator[bytes], count: int, descriptor: Descriptor) -> AsyncIterator[bytes]:
    """The first `count` bytes. Raises SizeInvalid where there are fewer: a body must be as long as it says."""
    left = count
    async for chunk in chunks:
        part = chunk[:left]
        left -= len(part)
        if part:
            yield part
        if left == 0:
            return
    raise SizeInvalid(f"blob {descriptor.digest} is shorter than its {descriptor.size} bytes")


class RemoteUpload:
    """An upload whose length nobody knows yet. Chunks are gathered and sent as PATCH requests of 8 MiB, or more where
    the registry wants more."""

    def __init__(self, client: Client, name: RepositoryName, upload: str, location: str, offset: int) -> None:
        self.id = upload
        self._client = client
        self._name = name
        self._location = location
        self._sent = offset
        self._gathered = bytearray()
        self._has_ended = False

    @property
    def offset(self) -> int:
        """Bytes that it has, and those on their way."""
        return self._sent + len(self._gathered)

    async def append(self, chunk: bytes) -> None:
        self._gathered += chunk
        if len(self._gathered) >= max(PART, min(self._client.habits.least_part, _MOST_PART)):
            await self._flush()

    async def commit(self, digest: Digest) -> Descriptor:
        """Raises DigestInvalid."""
        await self._flush()
        self._has_ended = True
        attempts = self._client.begin()
        descriptor = Descriptor(media_type=OCTET_STREAM, digest=digest, size=self._sent)
        while True:
            try:
                async with self._client.attempt(
                    "PUT",
                    answers.with_digest(self._location, digest),
                    scopes=push_scope(self._name),
                    expected=frozenset({200, 201}),
                    headers={"Content-Length": "0"},
                ):
                    return descriptor
            except Transient as trouble:
                await attempts.wait(trouble)
                if await is_there(self._client, self._name, descriptor, attempts):
                    return descriptor

    async def cancel(self) -> None:
        self._has_ended = True
        await cancel_upload(self._client, self._name, self._location)

    async def close(self) -> None:
        """Send what was gathered, unless the upload has ended."""
        if not self._has_ended:
            await self._flush()

    async def _flush(self) -> None:
        part, self._gathered = bytes(self._gathered), bytearray()
        attempts = self._client.begin()
        while part:
            try:
                await self._send(part)
            except Transient as trouble:
                await attempts.wait(trouble)
                part = await self._find_rest(part, trouble, attempts)
            else:
                return

    async def _send(self, part: bytes) -> None:
        headers = {
            "Content-Type": OCTET_STREAM,
            "Content-Length": str(len(part)),
            "Content-Range": f"{self._sent}-{self._sent + len(part) - 1}",
        }
        async with self._client.attempt(
            "PATCH",
            self._location,
            scopes=push_scope(self._name),
            expected=_CREATED,
            headers=headers,
            body=lambda: once(part),
        ) as response:
            self._location = answers.location(response, self._location)
        self._sent += len(part)

    async def _find_rest(self, part: bytes, trouble: Transient, attempts: Attempts) -> bytes:
        """What the registry has not got of a part. Raises the trouble's error where it does not say."""
        place = await upload_place(self._client, self._name, self._location, attempts)
        if place is None or not 0 <= place[1] - self._sent <= len(part):
            raise trouble.error from trouble.__cause__
        rest = part[place[1] - self._sent :]
        self._location, self._sent = place
        return rest


async def cancel_upload(client: Client, name: RepositoryName, location: str) -> None:
    """Raises what the registry refuses it with: some allow it only to those who may delete."""
    async with client.send("DELETE", location, scopes=push_scope(name), expected=_CREATED):
        pass


async def once(content: bytes) -> AsyncIterator[bytes]:
    """A body of one chunk."""
    yield content
