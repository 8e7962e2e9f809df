"""A Repository of a registry, over HTTP."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec

from layerkit.oci.byterange import ByteRange
from layerkit.oci.codec import decode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    OCIError,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    TooManyRequests,
    Unsupported,
)
from layerkit.oci.link import parse_next
from layerkit.oci.manifest import ACCEPT, MAX_SIZE, ImageIndex, Manifest, detect_media_type
from layerkit.oci.mediatype import OCTET_STREAM, strip_parameters
from layerkit.oci.reference import RepositoryName, Tag, parse_repository_name, parse_tag
from layerkit.oci.repository import Content, Page, verified
from layerkit.oci.request import (
    DeleteBlob,
    DeleteManifest,
    GetBlob,
    GetManifest,
    HeadBlob,
    HeadManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    PutManifest,
    Request,
    StartUpload,
    scopes_of,
)
from layerkit.oci.scope import Scope, repository_scope
from layerkit.remote.client import Client, follow

T = TypeVar("T")

_OK: Final = frozenset({200})
_CREATED: Final = frozenset({200, 201, 202, 204})
_PART: Final = 8 * 1024 * 1024
_MOST_LIST_BYTES: Final = 64 * 1024 * 1024
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z", re.ASCII)
_UPLOAD_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z", re.ASCII)
_UNTYPED: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
"""What servers that don't know better say of a manifest: it says itself what it is."""


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str] | None = None


class RemoteRegistry:
    """The Registry behind a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def repository(self, name: RepositoryName) -> "RemoteRepository":
        return RemoteRepository(name, self._client)

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        call = ListRepositories(limit=limit, last=last)
        items, following = await _read_list(self._client, call, limit, _repositories)
        return Page(tuple(items), following)


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    name: RepositoryName
    _client: Client

    async def stat_blob(self, digest: Digest) -> Descriptor:
        call = HeadBlob(repository=self.name, digest=digest)
        try:
            async with self._client.send("HEAD", call, expected=_OK) as response:
                return Descriptor(media_type=OCTET_STREAM, digest=digest, size=_content_length(response))
        except OCIError as error:
            raise _absent(error, BlobUnknown) from error

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator["RemoteBlob"]:
        headers = {"Range": str(part)} if part else {}
        call = GetBlob(repository=self.name, digest=digest)
        async with AsyncExitStack() as stack:
            send = self._client.send("GET", call, expected=frozenset({200, 206}), headers=headers)
            try:
                response = await stack.enter_async_context(send)
            except OCIError as error:
                raise _absent(error, BlobUnknown) from error
            yield _reader(response, digest, part)

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        call = HeadManifest(repository=self.name, reference=reference)
        try:
            async with self._client.send("HEAD", call, expected=_OK, headers=_accept()) as response:
                digest = response.headers.get("Docker-Content-Digest", "")
                media_type = strip_parameters(response.headers.get("Content-Type", ""))
                if digest and media_type and "Content-Length" in response.headers:
                    return Descriptor(media_type=media_type, digest=Digest(digest), size=_content_length(response))
        except OCIError as error:
            raise _absent(error, ManifestUnknown) from error
        # Some registries answer HEAD without the headers that say what is there.
        return (await self.get_manifest(reference)).descriptor

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        call = GetManifest(repository=self.name, reference=reference)
        try:
            async with self._client.send("GET", call, expected=_OK, headers=_accept()) as response:
                raw = await _read_whole(response, MAX_SIZE)
                media_type = strip_parameters(response.headers.get("Content-Type", ""))
                stated = response.headers.get("Docker-Content-Digest")
        except OCIError as error:
            raise _absent(error, ManifestUnknown) from error
        expected = reference if isinstance(reference, Digest) else Digest(stated) if stated else None
        digest = Digest.of(raw, expected.algorithm if expected else "sha256")
        if expected is not None and digest != expected:
            raise DigestInvalid(
                f"{self._client.host} sent a manifest {digest} for {self.name}@{expected}: "
                "its content or the way here is damaged"
            )
        return Manifest(detect_media_type(raw) if media_type in _UNTYPED else media_type, raw, digest)

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        location = await self._begin(StartUpload(repository=self.name))
        headers = {"Content-Type": OCTET_STREAM, "Content-Length": str(descriptor.size)}
        url = _with_digest(location, descriptor.digest)

        def body() -> AsyncIterator[bytes]:
            return verified(content(0), descriptor)

        async with self.send_upload("PUT", url, frozenset({200, 201}), headers, body):
            pass

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:
        call = StartUpload(repository=self.name, mount=digest, source=source)
        scopes = frozenset({repository_scope(source, "pull")} if source else ())
        try:
            async with self._client.send("POST", call, scopes=scopes, expected=frozenset({201, 202})) as response:
                if response.status == 201:
                    return True
                location = _location(response)
        except OCIError as error:
            # Some refuse instead of beginning an upload, where we may not read the source.
            if 400 <= error.status < 500 and not isinstance(error, TooManyRequests):
                return False
            raise
        # A courtesy, which some allow only to those who may delete: what nobody goes on with expires.
        with suppress(OCIError):
            async with self.send_upload("DELETE", location, _CREATED):
                pass
        return False

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        # Only what differs from the default is asked for: older registries do not know the parameter.
        wanted = None if algorithm == "sha256" else algorithm
        return await self._begin(StartUpload(repository=self.name, algorithm=wanted))

    @asynccontextmanager
    async def open_upload(self, upload: str) -> AsyncIterator["RemoteUpload"]:
        """The upload's id is its Location."""
        try:
            async with self.send_upload("GET", upload, frozenset({204, 200})) as response:
                location = _location(response, upload)
                match = _UPLOAD_RANGE.match(response.headers.get("Range", ""))
        except OCIError as error:
            raise _absent(error, BlobUploadUnknown) from error
        # `0-0` is no byte, by custom.
        offset = int(match[1]) + 1 if match is not None and match[1] != "0" else 0
        remote = RemoteUpload(upload, location, offset, self)
        try:
            yield remote
        finally:
            await remote.close()

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        for reference in tags or (manifest.digest,):
            call = PutManifest(repository=self.name, reference=reference)
            headers = {"Content-Type": manifest.media_type, "Content-Length": str(len(manifest.raw))}
            async with self._client.send(
                "PUT", call, expected=_CREATED, headers=headers, body=lambda: _once(manifest.raw)
            ):
                pass

    async def delete_blob(self, digest: Digest) -> None:
        await self._delete(DeleteBlob(repository=self.name, digest=digest), BlobUnknown)

    async def delete_manifest(self, digest: Digest) -> None:
        await self._delete(DeleteManifest(repository=self.name, reference=digest), ManifestUnknown)

    async def delete_tag(self, tag: Tag) -> None:
        await self._delete(DeleteManifest(repository=self.name, reference=tag), ManifestUnknown)

    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        call = ListTags(repository=self.name, limit=limit, last=last)
        try:
            items, following = await _read_list(self._client, call, limit, _tags)
        except OCIError as error:
            raise _absent(error, NameUnknown) from error
        return Page(tuple(items), following)

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        call = ListReferrers(
            repository=self.name, digest=digest, artifact_types=tuple(artifact_types), limit=limit, last=last
        )
        items, following = await _read_list(self._client, call, limit, _referrers, lambda found: found.digest)
        # A registry may leave the filter to us.
        return Page(tuple(d for d in items if not artifact_types or d.artifact_type in artifact_types), following)

    async def _begin(self, call: StartUpload) -> str:
        async with self._client.send("POST", call, expected=frozenset({202, 201})) as response:
            return _location(response)

    def send_upload(
        self,
        method: str,
        location: str,
        expected: frozenset[int],
        headers: dict[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request to a Location that the registry gave: with the scopes of the request that began the upload."""
        return self._client.send(
            method, location, scopes=_push_scope(self.name), expected=expected, headers=headers, body=body
        )

    async def _delete(self, call: DeleteBlob | DeleteManifest, absent: type[OCIError]) -> None:
        try:
            async with self._client.send("DELETE", call, expected=_CREATED):
                pass
        except OCIError as error:
            raise _absent(error, absent) from error


@dataclass(frozen=True, slots=True)
class RemoteBlob:
    descriptor: Descriptor
    start: int
    stop: int
    _response: aiohttp.ClientResponse

    @property
    def file(self) -> BinaryIO | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._response.content.iter_any()
        if (self.start, self.stop) == (0, self.descriptor.size):
            async for chunk in verified(chunks, self.descriptor):
                yield chunk
            return
        left = self.stop - self.start
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise SizeInvalid(f"blob {self.descriptor.digest}: the registry sent another part than was asked for")


@dataclass(slots=True)
class RemoteUpload:
    """Chunks are gathered and sent as PATCH requests of 8 MiB."""

    id: str
    _location: str
    _sent: int
    _repository: RemoteRepository
    _gathered: bytearray = field(default_factory=bytearray)
    _ended: bool = False

    @property
    def offset(self) -> int:
        return self._sent + len(self._gathered)

    async def append(self, chunk: bytes) -> None:
        self._gathered += chunk
        if len(self._gathered) >= _PART:
            await self._flush()

    async def commit(self, digest: Digest) -> Descriptor:
        await self._flush()
        self._ended = True
        url = _with_digest(self._location, digest)
        async with self._repository.send_upload("PUT", url, frozenset({200, 201}), {"Content-Length": "0"}):
            return Descriptor(media_type=OCTET_STREAM, digest=digest, size=self._sent)

    async def cancel(self) -> None:
        self._ended = True
        async with self._repository.send_upload("DELETE", self._location, _CREATED):
            pass

    async def close(self) -> None:
        if not self._ended:
            await self._flush()

    async def _flush(self) -> None:
        part, self._gathered = bytes(self._gathered), bytearray()
        if not part:
            return
        headers = {
            "Content-Type": OCTET_STREAM,
            "Content-Length": str(len(part)),
            "Content-Range": f"{self._sent}-{self._sent + len(part) - 1}",
        }
        async with self._repository.send_upload(
            "PATCH", self._location, _CREATED, headers, lambda: _once(part)
        ) as response:
            self._location = _location(response, self._location)
        self._sent += len(part)


def _reader(response: aiohttp.ClientResponse, digest: Digest, part: ByteRange | None) -> RemoteBlob:
    """The reader of a 200 or a 206; a registry that ignores the range and sends everything is told from its status."""
    if response.status == 200:
        if part is not None:
            raise Unsupported(f"GET {response.url}: the registry sent the whole blob instead of the part {part}")
        size = _content_length(response)
        return RemoteBlob(Descriptor(media_type=OCTET_STREAM, digest=digest, size=size), 0, size, response)
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if match is None:
        raise RangeInvalid(f"GET {response.url}: the registry sent a part without saying which")
    start, stop, size = int(match[1]), int(match[2]) + 1, int(match[3])
    if part is None or (start, stop) != part.resolve(size):
        raise RangeInvalid(
            f"GET {response.url}: the registry sent bytes {start} to {stop - 1}, another part than asked"
        )
    return RemoteBlob(Descriptor(media_type=OCTET_STREAM, digest=digest, size=size), start, stop, response)


def _absent(error: OCIError, kind: type[OCIError]) -> OCIError:
    """A 404 in whatever words means that what was asked for is not there."""
    return kind(error.message, details=error.details) if error.status == 404 else error


def _content_length(response: aiohttp.ClientResponse) -> int:
    if response.content_length is None or response.content_length < 0:
        raise SizeInvalid(f"{response.method} {response.url}: the registry did not say how long the content is")
    return response.content_length


async def _read_whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises SizeInvalid above `limit` bytes."""
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise SizeInvalid(f"{response.method} {response.url}: the answer has more than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _accept() -> dict[str, str]:
    return {"Accept": ", ".join(ACCEPT)}


def _push_scope(name: RepositoryName) -> frozenset[Scope]:
    return frozenset({repository_scope(name, "pull", "push")})


def _location(response: aiohttp.ClientResponse, default: str = "") -> str:
    location = response.headers.get("Location", default)
    if not location:
        raise BlobUploadInvalid(f"{response.method} {response.url}: the registry did not say where to upload to")
    return follow(str(response.url), location)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}"


ListRequest = ListTags | ListRepositories | ListReferrers


async def _read_list(
    client: Client,
    call: ListRequest,
    limit: int | None,
    parse: Callable[[bytes], Sequence[T]],
    place_of: Callable[[T], str] = str,
) -> tuple[list[T], str | None]:
    """The items of one page and where the next one begins after; without a limit the items of all pages."""
    items: list[T] = []
    target: Request | str = call
    scopes = frozenset(scopes_of(call))
    seen: set[str] = set()
    left = _MOST_LIST_BYTES
    while True:
        async with client.send("GET", target, scopes=scopes, expected=_OK) as response:
            raw = await _read_whole(response, left)
            following = parse_next(response.headers.get("Link", ""))
            url = str(response.url)
        left -= len(raw)
        try:
            items += parse(raw)
        except (ValueError, NameInvalid, TagInvalid) as error:
            raise OCIError(f"GET {url}: the registry's answer is not the list asked for: {error}") from error
        if following is None:
            return items, None
        link = urlsplit(follow(url, following))
        if limit is not None:
            # Where the link doesn't tell in our words where it leads, it is after what we have.
            return items, dict(parse_qsl(link.query)).get("last") or (place_of(items[-1]) if items else None)
        # The list goes on at the same registry: behind a proxy the host of an absolute link may be an inner one.
        target = follow(url, f"{link.path}?{link.query}")
        if target in seen:
            raise OCIError(f"GET {url}: the registry's list goes round in circles: {target} comes twice")
        seen.add(target)


def _tags(raw: bytes) -> list[Tag]:
    return [parse_tag(tag) for tag in decode_json(raw, _Tags).tags or ()]


def _repositories(raw: bytes) -> list[RepositoryName]:
    return [parse_repository_name(name) for name in decode_json(raw, _Catalog).repositories or ()]


def _referrers(raw: bytes) -> list[Descriptor]:
    return list(decode_json(raw, ImageIndex).references())
