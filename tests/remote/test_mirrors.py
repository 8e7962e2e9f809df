"""Registries with mirrors: read from them, in their order, and written where they really are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUnknown, Denied, DigestInvalid, ManifestUnknown, Unsupported
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_MANIFEST, OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Repository
from layerkit.remote.client import Connection, open_client
from layerkit.remote.mirrors import RoutedRegistry, open_routed
from layerkit.remote.registries import Endpoint, Registries, parse_registries
from layerkit.remote.repository import RemoteRegistry
from layerkit.remote.retry import HASTY, PATIENT
from registry.app import run_server
from registry.config import Address, Configuration
from tests.programs import LayerkitProcess
from tests.remote.server import Handler, Hurry, Server, closed_address, run, run_tap

DOMAIN = "registry.example"
NAME = RepositoryName("acme/web")
LATEST = Tag("latest")
RAW = bytes(range(256)) * 2000
BLOB = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(RAW), size=len(RAW))


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


def manifest_of(kind: str) -> Manifest:
    return Manifest.encode(
        ImageManifest(
            schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=(BLOB,), annotations={"kind": kind}
        )
    )


async def fill(repository: Repository, kind: str) -> Manifest:
    await repository.put_blob(EMPTY, content_of(EMPTY_CONTENT))
    await repository.put_blob(BLOB, content_of(RAW))
    manifest = manifest_of(kind)
    await repository.put_manifest(manifest, [LATEST])
    return manifest


@dataclass
class Routed:
    """The registry with its rules; `told` is what people are told."""

    registry: RoutedRegistry
    told: list[str] = field(default_factory=list)

    @property
    def repository(self) -> Repository:
        return self.registry.repository(NAME)

    async def read(self, part: ByteRange | None = None) -> bytes:
        async with self.repository.open_blob(BLOB.digest, part) as blob:
            return b"".join([chunk async for chunk in blob])


@asynccontextmanager
async def routed(rules: str) -> AsyncIterator[Routed]:
    told: list[str] = []
    hurry = Hurry()

    def describe(endpoint: Endpoint, is_mirror: bool) -> Connection:
        return Connection(
            host=endpoint.reference.host,
            note=told.append,
            timing=hurry.timing,
            patience=HASTY if is_mirror else PATIENT,
        )

    registries = Registries({rule.prefix: rule for rule in parse_registries(rules.encode(), "test.conf")})
    async with open_routed(DOMAIN, registries, describe) as registry:
        yield Routed(registry, told)


def rule(location: str, *mirrors: str) -> str:
    """DOMAIN is at `location`; each mirror is a location, with options behind commas."""
    tables = ", ".join(f"{{location = {mirror}}}" for mirror in mirrors)
    return f'[[registry]]\nprefix = "{DOMAIN}"\nlocation = "{location}"\nmirror = [{tables}]\n'


@dataclass
class Ours:
    """A real registry behind a tap."""

    tap: Server
    direct: RemoteRegistry

    @property
    def address(self) -> str:
        return self.tap.address

    def at(self, path: str) -> str:
        return f"{self.address}/{path}"


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Ours, Ours]]:
    """The location, and a mirror."""
    async with AsyncExitStack() as stack:
        found = []
        for name in ("location", "mirror"):
            configuration = Configuration(root=tmp_path / name, listen=Address(port=0), drain_seconds=1)
            address = await stack.enter_async_context(run_server(configuration))
            tap = await stack.enter_async_context(run_tap(address))
            client = await stack.enter_async_context(open_client(Connection(host=address)))
            found.append(Ours(tap, RemoteRegistry(client)))
        yield found[0], found[1]


class TestReading:
    async def test_what_the_mirror_has_comes_from_it(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        there = await fill(mirror.direct.repository(RepositoryName("hub/acme/web")), "mirror")
        await fill(location.direct.repository(NAME), "location")
        async with routed(rule(location.address, f'"{mirror.at("hub")}"')) as found:
            assert await found.repository.get_manifest(LATEST) == there
            assert await found.read() == RAW
            assert await found.read(ByteRange(5, 9)) == RAW[5:10]
            assert location.tap.seen == []
            assert found.repository.name == NAME

    async def test_what_it_has_not_comes_from_the_location(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        there = await fill(location.direct.repository(NAME), "location")
        async with routed(rule(location.address, f'"{mirror.address}"')) as found:
            assert await found.repository.get_manifest(LATEST) == there
            assert await found.read() == RAW
            assert len(mirror.tap.seen) == 2
            assert found.told == [], "it is what mirrors are like"

    @pytest.mark.parametrize("status", [401, 403, 500, 503])
    async def test_a_mirror_that_fails_is_passed_over_and_told(self, two: tuple[Ours, Ours], status: int) -> None:
        location, _ = two

        async def fail(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=status)

        await fill(location.direct.repository(NAME), "location")
        async with run(fail) as broken, routed(rule(location.address, f'"{broken.address}"')) as found:
            await found.repository.get_manifest(LATEST)
            assert await found.read() == RAW
            assert any(text.startswith(f"mirror {broken.address} is passed over: ") for text in found.told)

    async def test_a_mirror_that_is_away_is_asked_once(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        closed = closed_address()
        await fill(mirror.direct.repository(NAME), "mirror")
        async with routed(rule(location.address, f'"{closed}"', f'"{mirror.address}"')) as found:
            await found.repository.get_manifest(LATEST)
            await found.repository.get_manifest(LATEST)
            assert [text.partition(": ")[0] for text in found.told] == [f"mirror {closed} is passed over"]
            assert location.tap.seen == []

    async def test_a_mirror_with_another_content_is_passed_over(self, two: tuple[Ours, Ours]) -> None:
        location, _ = two
        there = await fill(location.direct.repository(NAME), "location")

        async def lie(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=manifest_of("lie").raw, headers={"Content-Type": OCI_MANIFEST})

        async with run(lie) as liar, routed(rule(location.address, f'"{liar.address}"')) as found:
            assert await found.repository.get_manifest(there.digest) == there
            assert "damaged" in found.told[0]

    async def test_where_a_mirror_breaks_off_the_location_goes_on(self, two: tuple[Ours, Ours]) -> None:
        location, _ = two
        await fill(location.direct.repository(NAME), "location")
        async with run(breaking(RAW)) as mirror, routed(rule(location.address, f'"{mirror.address}"')) as found:
            assert await found.read() == RAW
            assert await found.read() == RAW
            assert any("is passed over" in text for text in found.told)
            assert len(location.tap.seen) == 2

    async def test_the_content_of_both_together_is_verified(self, two: tuple[Ours, Ours]) -> None:
        location, _ = two
        await fill(location.direct.repository(NAME), "location")
        async with run(breaking(RAW[::-1])) as mirror, routed(rule(location.address, f'"{mirror.address}"')) as found:
            with pytest.raises(DigestInvalid):
                await found.read()

    async def test_what_nobody_has_is_the_locations_error(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        async with routed(rule(location.address, f'"{mirror.address}"')) as found:
            with pytest.raises(ManifestUnknown, match=location.address):
                await found.repository.get_manifest(LATEST)
            with pytest.raises(BlobUnknown, match=location.address):
                await found.read()


def breaking(raw: bytes) -> Handler:
    """A registry whose blob ends after 1000 bytes, again and again."""

    async def handler(http: web.BaseRequest) -> web.StreamResponse:
        if "Range" in http.headers:
            return web.Response(status=503)
        response = web.StreamResponse(headers={"Content-Length": str(len(raw))})
        await response.prepare(http)
        await response.write(raw[:1000])
        assert http.transport is not None
        http.transport.close()
        return response

    return handler


class TestTagsAndDigests:
    @pytest.mark.parametrize(
        ("pulls", "by_tag", "by_digest"), [("all", 1, 1), ("digest-only", 0, 1), ("tag-only", 1, 0)]
    )
    async def test_a_mirror_may_be_for_one_of_them(
        self, two: tuple[Ours, Ours], pulls: str, by_tag: int, by_digest: int
    ) -> None:
        location, mirror = two
        rules = rule(location.address, f'"{mirror.address}", pull-from-mirror = "{pulls}"')
        await fill(location.direct.repository(NAME), "location")
        there = await fill(mirror.direct.repository(NAME), "mirror")
        for reference, asked in ((LATEST, by_tag), (there.digest, by_digest)):
            mirror.tap.seen.clear()
            async with routed(rules) as found:
                try:
                    await found.repository.get_manifest(reference)
                except ManifestUnknown:
                    assert not asked, "the location has another image"
                assert len(mirror.tap.seen) == asked

    async def test_what_a_tag_led_to_is_where_the_tag_was(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        await fill(mirror.direct.repository(NAME), "mirror")
        async with routed(rule(location.address, f'"{mirror.address}", pull-from-mirror = "tag-only"')) as found:
            manifest = await found.repository.get_manifest(LATEST)
            assert await found.repository.get_manifest(manifest.digest) == manifest
            assert await found.read() == RAW
            assert location.tap.seen == []


class TestWriting:
    async def test_it_goes_to_the_location_alone(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        async with routed(rule(location.at("inner"), f'"{mirror.address}"')) as found:
            manifest = await fill(found.repository, "pushed")
            await found.repository.stat_manifest(LATEST)
            assert (await found.repository.list_tags()).items == (LATEST,)
            assert (await found.repository.list_referrers(manifest.digest)).items == ()
            assert mirror.tap.seen == []
            there = location.direct.repository(RepositoryName("inner/acme/web"))
            assert await there.get_manifest(LATEST) == manifest
            await found.repository.delete_tag(LATEST)
            await found.repository.delete_manifest(manifest.digest)
            await found.repository.delete_blob(BLOB.digest)
            with pytest.raises(BlobUnknown):
                await there.stat_blob(BLOB.digest)

    async def test_what_only_a_mirror_has_is_not_there(self, two: tuple[Ours, Ours]) -> None:
        """A push would leave it out."""
        location, mirror = two
        await fill(mirror.direct.repository(NAME), "mirror")
        async with routed(rule(location.address, f'"{mirror.address}"')) as found:
            with pytest.raises(BlobUnknown):
                await found.repository.stat_blob(BLOB.digest)
            with pytest.raises(ManifestUnknown):
                await found.repository.stat_manifest(LATEST)

    async def test_a_blob_is_mounted_from_where_its_repository_is(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        await fill(location.direct.repository(RepositoryName("inner/acme/base")), "base")
        rules = rule(location.at("inner"), f'"{mirror.address}"')
        elsewhere = f'[[registry]]\nprefix = "{DOMAIN}/other"\nlocation = "elsewhere.example"\n'
        async with routed(rules + elsewhere) as found:
            assert not await found.repository.mount_blob(BLOB.digest, RepositoryName("other/base"))
            assert await found.repository.mount_blob(BLOB.digest, RepositoryName("acme/base"))
            assert location.tap.seen == [
                f"POST /v2/inner/acme/web/blobs/uploads/?mount={BLOB.digest}&from=inner/acme/base"
            ]

    async def test_an_upload_goes_to_the_location(self, two: tuple[Ours, Ours]) -> None:
        location, mirror = two
        async with routed(rule(location.address, f'"{mirror.address}"')) as found:
            async with found.repository.open_upload(await found.repository.start_upload()) as upload:
                await upload.append(RAW)
                await upload.commit(BLOB.digest)
            assert (await location.direct.repository(NAME).stat_blob(BLOB.digest)).size == len(RAW)


class TestRegistries:
    async def test_without_a_rule_it_is_the_registry_itself(self, two: tuple[Ours, Ours]) -> None:
        location, _ = two
        await fill(location.direct.repository(NAME), "location")
        registries = Registries({})
        async with open_routed(
            location.address, registries, lambda endpoint, _: Connection(host=endpoint.reference.host)
        ) as found:
            await found.repository(NAME).get_manifest(LATEST)
            assert (await found.list_repositories()).items == (NAME,)

    async def test_a_part_of_a_registry_cannot_be_listed(self, two: tuple[Ours, Ours]) -> None:
        location, _ = two
        async with routed(rule(location.at("inner"))) as found:
            with pytest.raises(Unsupported, match=f"{DOMAIN} cannot be listed"):
                await found.registry.list_repositories()

    async def test_a_blocked_repository_is_not_asked(self) -> None:
        async with routed(f'[[registry]]\nlocation = "{DOMAIN}/acme"\nblocked = true\n') as found:
            with pytest.raises(Denied, match=r"blocked by test\.conf"):
                _ = found.repository


class TestTheCommandLine:
    async def test_commands_heed_the_users_rules(self, two: tuple[Ours, Ours], tmp_path: Path) -> None:
        location, mirror = two
        there = await fill(mirror.direct.repository(NAME), "mirror")
        folder = tmp_path / "home/.config/containers"
        folder.mkdir(parents=True)
        (folder / "registries.conf").write_text(
            rule(location.at("inner"), f'"{mirror.address}"')
            + '[[registry]]\nlocation = "bad.example"\nblocked = true\n'
        )
        layerkit = LayerkitProcess(tmp_path / "data", {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": ""})
        image = f"{DOMAIN}/acme/web:latest"
        pulled = await asyncio.to_thread(layerkit, "pull", image)
        assert pulled.stdout.strip() == there.digest
        await asyncio.to_thread(layerkit, "push", image)
        pushed = await location.direct.repository(RepositoryName("inner/acme/web")).get_manifest(LATEST)
        assert pushed == there
        blocked = await asyncio.to_thread(layerkit, "pull", "bad.example/web", check=False)
        assert "error: bad.example/web is blocked by " in blocked.stderr
