"""Registries as registries.conf routes them: read from mirrors first, written to where they really are.

Whoever reads notices nothing of it. A mirror that fails, whatever the reason, is passed over, and one that cannot be
reached is not asked again. What says whether something is *there* (`stat_blob`, lists) is the location's: a push must
not leave out what only a mirror has.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid, OCIError, Unavailable, Unsupported
from layerkit.oci.manifest import Manifest
from layerkit.oci.reference import Reference, RepositoryName, Tag
from layerkit.oci.repository import BlobReader, Content, Page, Repository, Upload, verified
from layerkit.remote.client import Client, Connection
from layerkit.remote.registries import Endpoint, Pulls, Registries
from layerkit.remote.repository import RemoteRegistry, RemoteRepository

Describe = Callable[[Endpoint, bool], Connection]
"""How to reach an endpoint; the flag is whether it is a mirror, for which nobody waits long."""


@asynccontextmanager
async def open_routed(domain: str, registries: Registries, describe: Describe) -> AsyncIterator["RoutedRegistry"]:
    """The registry of that domain; its connections are closed at the end of the context."""
    async with AsyncExitStack() as stack:

        def connect(endpoint: Endpoint, is_mirror: bool) -> Client:
            client = Client(describe(endpoint, is_mirror))
            stack.push_async_callback(client.close)
            return client

        yield RoutedRegistry(domain, registries, connect)


@dataclass(slots=True, eq=False)
class Mirror:
    """One mirror of one repository, and what was found out about it."""

    repository: RemoteRepository
    client: Client
    pulls: Pulls
    has_served: bool = False
    is_down: bool = False

    def serves(self, reference: Tag | Digest) -> bool:
        """Whether it is to be asked. What a tag led to is on the mirror that knew the tag."""
        if self.is_down:
            return False
        is_digest = isinstance(reference, Digest)
        if is_digest and self.has_served:
            return True
        return self.pulls is Pulls.ALL or (self.pulls is Pulls.DIGEST_ONLY) == is_digest

    def fail(self, error: OCIError) -> None:
        self.is_down = isinstance(error, Unavailable)
        if error.status != 404:
            self.client.note(f"mirror {self.client.host} is passed over: {error.message}")


class RoutedRegistry:
    """`connect` makes the client of an endpoint, which is used for all repositories of its host."""

    def __init__(self, domain: str, registries: Registries, connect: Callable[[Endpoint, bool], Client]) -> None:
        self._domain = domain
        self._registries = registries
        self._connect = connect
        self._clients: dict[tuple[str, bool, bool], Client] = {}
        self._repositories: dict[RepositoryName, Repository] = {}

    def repository(self, name: RepositoryName) -> Repository:
        """Raises Denied where it is blocked."""
        if name not in self._repositories:
            self._repositories[name] = self._make(name)
        return self._repositories[name]

    def _make(self, name: RepositoryName) -> Repository:
        reference = Reference(domain=self._domain, path=name)
        route = self._registries.route(reference)
        location = self._repository_at(route.location, is_mirror=False)[1]
        if not route.mirrors and route.location.reference == reference:
            return location
        mirrors = []
        for endpoint in route.mirrors:
            client, repository = self._repository_at(endpoint, is_mirror=True)
            mirrors.append(Mirror(repository, client, endpoint.pulls))
        return MirroredRepository(name, location, mirrors, lambda source: self._relocate(source, route.location))

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        """Raises Unsupported where the registry is a part of another one."""
        probe = Reference(domain=self._domain, path=RepositoryName("repository"))
        location = self._registries.route(probe).location
        if location.reference.path != probe.path:
            raise Unsupported(
                f"the repositories of {self._domain} cannot be listed: they are a part of {location.reference.domain}"
            )
        client, _ = self._repository_at(location, is_mirror=False)
        return await RemoteRegistry(client).list_repositories(limit=limit, last=last)

    def _repository_at(self, endpoint: Endpoint, *, is_mirror: bool) -> tuple[Client, RemoteRepository]:
        key = (endpoint.reference.host, endpoint.insecure, is_mirror)
        if key not in self._clients:
            self._clients[key] = self._connect(endpoint, is_mirror)
        client = self._clients[key]
        return client, RemoteRegistry(client).repository(endpoint.reference.path)

    def _relocate(self, source: RepositoryName, beside: Endpoint) -> RepositoryName | None:
        """The name that another repository of this registry has at the same host, if it is there."""
        found = self._registries.route(Reference(domain=self._domain, path=source)).location.reference
        return found.path if found.domain == beside.reference.domain else None


class MirroredRepository:
    """A Repository of which some is read elsewhere. `name` is the one that people use."""

    def __init__(
        self,
        name: RepositoryName,
        location: Repository,
        mirrors: Sequence[Mirror],
        relocate: Callable[[RepositoryName], RepositoryName | None],
    ) -> None:
        self.name = name
        self._location = location
        self._mirrors = mirrors
        self._relocate = relocate

    async def get_manifest(self, reference: Tag | Digest) -> Manifest:
        for mirror in self._mirrors:
            if mirror.serves(reference):
                try:
                    manifest = await mirror.repository.get_manifest(reference)
                except OCIError as error:
                    mirror.fail(error)
                else:
                    mirror.has_served = True
                    return manifest
        return await self._location.get_manifest(reference)

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[BlobReader]:
        async with AsyncExitStack() as stack:
            for mirror in self._mirrors:
                if mirror.serves(digest):
                    try:
                        blob = await stack.enter_async_context(mirror.repository.open_blob(digest, part))
                    except OCIError as error:
                        mirror.fail(error)
                    else:
                        yield _Relay(blob, mirror, self._location)
                        return
            yield await stack.enter_async_context(self._location.open_blob(digest, part))

    async def stat_manifest(self, reference: Tag | Digest) -> Descriptor:
        return await self._location.stat_manifest(reference)

    async def stat_blob(self, digest: Digest) -> Descriptor:
        return await self._location.stat_blob(digest)

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        await self._location.put_blob(descriptor, content)

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:
        there = self._relocate(source) if source is not None else None
        if source is not None and there is None:
            return False
        return await self._location.mount_blob(digest, there)

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        return await self._location.start_upload(algorithm=algorithm)

    def open_upload(self, upload: str) -> AbstractAsyncContextManager[Upload]:
        return self._location.open_upload(upload)

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        await self._location.put_manifest(manifest, tags)

    async def delete_blob(self, digest: Digest) -> None:
        await self._location.delete_blob(digest)

    async def delete_manifest(self, digest: Digest) -> None:
        await self._location.delete_manifest(digest)

    async def delete_tag(self, tag: Tag) -> None:
        await self._location.delete_tag(tag)

    async def list_tags(self, *, limit: int | None = None, last: str = "") -> Page[Tag]:
        return await self._location.list_tags(limit=limit, last=last)

    async def list_referrers(
        self, digest: Digest, *, artifact_types: Sequence[str] = (), limit: int | None = None, last: str = ""
    ) -> Page[Descriptor]:
        return await self._location.list_referrers(digest, artifact_types=artifact_types, limit=limit, last=last)


class _Relay:
    """The BlobReader of a mirror's blob, whose rest comes from the location where the mirror breaks off for good."""

    def __init__(self, blob: BlobReader, mirror: Mirror, location: Repository) -> None:
        self._blob = blob
        self._mirror = mirror
        self._location = location
        self.descriptor = blob.descriptor
        self.start = blob.start
        self.stop = blob.stop

    @property
    def file(self) -> BinaryIO | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        is_whole = (self.start, self.stop) == (0, self.descriptor.size)
        async for chunk in verified(self._chunks(), self.descriptor) if is_whole else self._chunks():
            yield chunk

    async def _chunks(self) -> AsyncIterator[bytes]:
        position = self.start
        try:
            async for chunk in self._blob:
                position += len(chunk)
                yield chunk
        except OCIError as error:
            # Of content that is not the digest's nothing can be used, and it has been handed on.
            if position >= self.stop or isinstance(error, DigestInvalid):
                raise
            self._mirror.fail(error)
        else:
            return
        async with self._location.open_blob(self.descriptor.digest, ByteRange(position, self.stop - 1)) as rest:
            async for chunk in rest:
                yield chunk
