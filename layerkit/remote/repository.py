"""A Repository of a registry, over HTTP."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from layerkit.oci.byterange import ByteRange
from layerkit.oci.codec import decode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    OCIError,
    TagInvalid,
    TooManyRequests,
)
from layerkit.oci.link import parse_next
from layerkit.oci.manifest import ACCEPT, MAX_SIZE, ImageIndex, Manifest, detect_media_type
from layerkit.oci.mediatype import OCTET_STREAM, strip_parameters
from layerkit.oci.reference import RepositoryName, Tag, parse_repository_name, parse_tag
from layerkit.oci.repository import Content, Page
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
from layerkit.oci.scope import repository_scope
from layerkit.remote import answers
from layerkit.remote.address import follow, show
from layerkit.remote.blob import RemoteBlob, open_remote_blob
from layerkit.remote.client import Client
from layerkit.remote.referrers import add_to_fallback, read_fallback, remove_from_fallback
from layerkit.remote.upload import BlobUpload, RemoteUpload, cancel_upload, once, push_scope

T = TypeVar("T")

_ACCEPT: Final = {"Accept": ", ".join(ACCEPT)}
_OK: Final = frozenset({200})
_CREATED: Final = frozenset({200, 201, 202, 204})
_MOST_LIST_BYTES: Final = 64 * 1024 * 1024
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


class RemoteRepository(msgspec.Struct, frozen=True):
    name: RepositoryName
    _client: Client

    async def stat_blob(self, digest: Digest) -> Descriptor:
        call = HeadBlob(repository=self.name, digest=digest)
        try:
            async with self._client.send("HEAD", call, expected=_OK) as response:
                return Descriptor(media_type=OCTET_STREAM, digest=digest, size=answers.content_length(response))
        except OCIError as error:
            raise answers.absent(error, BlobUnknown) from error

    def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AbstractAsyncContextManager[RemoteBlob]:
        return open_remote_blob(self._client, GetBlob(repository=self.name, digest=digest), part)

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        call = HeadManifest(repository=self.name, reference=reference)
        try:
            async with self._client.send("HEAD", call, expected=_OK, headers=_ACCEPT) as response:
                digest = response.headers.get("Docker-Content-Digest", "")
                media_type = strip_parameters(response.headers.get("Content-Type", ""))
                if digest and media_type and "Content-Length" in response.headers:
                    size = answers.content_length(response)
                    return Descriptor(media_type=media_type, digest=Digest(digest), size=size)
        except OCIError as error:
            raise answers.absent(error, ManifestUnknown) from error
        # Some registries answer HEAD without the headers that say what is there.
        return (await self.get_manifest(reference)).descriptor

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        call = GetManifest(repository=self.name, reference=reference)
        try:
            answer = await self._client.read(call, limit=MAX_SIZE, headers=_ACCEPT)
        except OCIError as error:
            raise answers.absent(error, ManifestUnknown) from error
        media_type = strip_parameters(answer.headers.get("Content-Type", ""))
        stated = answer.headers.get("Docker-Content-Digest")
        expected = reference if isinstance(reference, Digest) else Digest(stated) if stated else None
        digest = Digest.of(answer.body, expected.algorithm if expected else "sha256")
        if expected is not None and digest != expected:
            raise DigestInvalid(
                f"{self._client.host} sent a manifest {digest} for {self.name}@{expected}: "
                "its content or the way here is damaged"
            )
        return Manifest(detect_media_type(answer.body) if media_type in _UNTYPED else media_type, answer.body, digest)

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        await BlobUpload(self._client, self.name, descriptor, content).run()

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:
        call = StartUpload(repository=self.name, mount=digest, source=source)
        scopes = frozenset({repository_scope(source, "pull")} if source else ())
        try:
            async with self._client.send("POST", call, scopes=scopes, expected=frozenset({201, 202})) as response:
                if response.status == 201:
                    return True
                location = answers.location(response)
        except OCIError as error:
            # Some refuse instead of beginning an upload, where we may not read the source.
            if 400 <= error.status < 500 and not isinstance(error, TooManyRequests):
                return False
            raise
        # A courtesy: what nobody goes on with expires.
        with suppress(OCIError):
            await cancel_upload(self._client, self.name, location)
        return False

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        # Only what differs from the default is asked for: older registries do not know the parameter.
        wanted = None if algorithm == "sha256" else algorithm
        call = StartUpload(repository=self.name, algorithm=wanted)
        async with self._client.send("POST", call, expected=frozenset({202, 201})) as response:
            self._client.habits.least_part = answers.least_part(response)
            return answers.location(response)

    @asynccontextmanager
    async def open_upload(self, upload: str) -> AsyncIterator[RemoteUpload]:
        """The upload's id is its Location."""
        scopes = push_scope(self.name)
        try:
            async with self._client.send("GET", upload, scopes=scopes, expected=frozenset({204, 200})) as response:
                location = answers.location(response, upload)
                offset = answers.upload_offset(response) or 0
        except OCIError as error:
            raise answers.absent(error, BlobUploadUnknown) from error
        remote = RemoteUpload(self._client, self.name, upload, location, offset)
        try:
            yield remote
        finally:
            await remote.close()

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        subject = _subject_of(manifest)
        is_listed = subject is None
        for reference in tags or (manifest.digest,):
            call = PutManifest(repository=self.name, reference=reference)
            headers = {"Content-Type": manifest.media_type, "Content-Length": str(len(manifest.raw))}
            async with self._client.send(
                "PUT", call, expected=_CREATED, headers=headers, body=lambda: once(manifest.raw)
            ) as response:
                is_listed = is_listed or "OCI-Subject" in response.headers
        if subject is not None and is_listed:
            self._client.habits.lists_referrers = True
        elif subject is not None:
            await add_to_fallback(self, subject, manifest.pointer())

    async def delete_blob(self, digest: Digest) -> None:
        await self._delete(DeleteBlob(repository=self.name, digest=digest), BlobUnknown)

    async def delete_manifest(self, digest: Digest) -> None:
        subject = None
        if not self._client.habits.lists_referrers:
            with suppress(DigestInvalid, ManifestInvalid):
                subject = _subject_of(await self.get_manifest(digest))
        await self._delete(DeleteManifest(repository=self.name, reference=digest), ManifestUnknown)
        if (
            subject is not None
            and await self._ask_for_referrers(ListReferrers(repository=self.name, digest=subject)) is None
        ):
            await remove_from_fallback(self, subject, digest)

    async def delete_tag(self, tag: Tag) -> None:
        await self._delete(DeleteManifest(repository=self.name, reference=tag), ManifestUnknown)

    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        call = ListTags(repository=self.name, limit=limit, last=last)
        try:
            items, following = await _read_list(self._client, call, limit, _tags)
        except OCIError as error:
            raise answers.absent(error, NameUnknown) from error
        return Page(tuple(items), following)

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        call = ListReferrers(
            repository=self.name, digest=digest, artifact_types=tuple(artifact_types), limit=limit, last=last
        )
        page = await self._ask_for_referrers(call)
        if page is None:
            listed = await read_fallback(self, digest)
            after = next((place + 1 for place, d in enumerate(listed) if d.digest == last), 0)
            items = [d for d in listed[after:] if not artifact_types or d.artifact_type in artifact_types]
            more = limit is not None and 0 < limit < len(items)
            kept = items if limit is None else items[:limit]
            return Page(tuple(kept), kept[-1].digest if more else None)
        # A registry may leave the filter to us.
        kept = [d for d in page.items if not artifact_types or d.artifact_type in artifact_types]
        return Page(tuple(kept), page.last)

    async def _ask_for_referrers(self, call: ListReferrers) -> Page[Descriptor] | None:
        """What the API answers, or None where the registry has none."""
        if self._client.habits.lists_referrers is False:
            return None
        try:
            items, following = await _read_list(self._client, call, call.limit, _referrers, lambda found: found.digest)
        except OCIError as error:
            if error.status != 404:
                raise
            self._client.habits.lists_referrers = False
            return None
        self._client.habits.lists_referrers = True
        return Page(tuple(items), following)

    async def _delete(self, call: DeleteBlob | DeleteManifest, absent: type[OCIError]) -> None:
        attempts = self._client.begin()
        try:
            async with self._client.send("DELETE", call, expected=_CREATED, attempts=attempts):
                pass
        except OCIError as error:
            if error.status == 404 and attempts.failed:
                # The attempt whose answer was lost did it.
                return
            raise answers.absent(error, absent) from error


def _subject_of(manifest: Manifest) -> Digest | None:
    """What it refers to, if we can read it: whether the registry takes it is the registry's matter."""
    try:
        return manifest.document.subject.digest if manifest.document.subject else None
    except ManifestInvalid:
        return None


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
        answer = await client.read(target, scopes=scopes, limit=left)
        following, url = parse_next(answer.headers.get("Link", "")), answer.url
        left -= len(answer.body)
        try:
            items += parse(answer.body)
        except (ValueError, NameInvalid, TagInvalid) as error:
            raise OCIError(f"GET {show(url)}: the registry's answer is not the list asked for: {error}") from error
        if following is None:
            return items, None
        link = urlsplit(follow(url, following))
        if limit is not None:
            # Where the link doesn't tell in our words where it leads, it is after what we have.
            return items, dict(parse_qsl(link.query)).get("last") or (place_of(items[-1]) if items else None)
        # The list goes on at the same registry: behind a proxy the host of an absolute link may be an inner one.
        target = follow(url, f"{link.path}?{link.query}")
        if target in seen:
            raise OCIError(f"GET {show(url)}: the registry's list goes round in circles: {target} comes twice")
        seen.add(target)


def _tags(raw: bytes) -> list[Tag]:
    return [parse_tag(tag) for tag in decode_json(raw, _Tags).tags or ()]


def _repositories(raw: bytes) -> list[RepositoryName]:
    return [parse_repository_name(name) for name in decode_json(raw, _Catalog).repositories or ()]


def _referrers(raw: bytes) -> list[Descriptor]:
    return list(decode_json(raw, ImageIndex).references())
