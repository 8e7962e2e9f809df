"""Referrers at registries without an API for them (distribution-spec, "Unavailable Referrers API")."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from layerkit.oci.descriptor import EMPTY, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid, OCIError, Unavailable
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_INDEX, OCI_MANIFEST
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.remote.client import Connection, open_client
from layerkit.remote.referrers import fallback_tag
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from tests.remote.server import ONCE, run

NAME = RepositoryName("acme/web")
IMAGE = Manifest.encode(ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=()))
TAG = f"sha256-{IMAGE.digest.encoded}"


def artifact(kind: str) -> Manifest:
    return Manifest.encode(
        ImageManifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            artifact_type=f"application/{kind}",
            config=EMPTY,
            layers=(EMPTY,),
            subject=IMAGE.descriptor,
            annotations={"kind": kind},
        )
    )


SBOM, SIGNATURE, OTHER = artifact("sbom"), artifact("signature"), artifact("other")


@dataclass
class Old:
    """A registry that keeps manifests, and knows nothing of referrers. `status` is what it says when asked for them;
    one that `lists` them says so when they are put."""

    status: int = 404
    lists: bool = False
    manifests: dict[str, Manifest] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        _, kind, reference = http.path.rsplit("/", 2)
        self.calls.append(f"{http.method} {kind}/{reference[:12]}")
        if kind == "referrers":
            return web.Response(status=self.status)
        if http.method == "PUT":
            manifest = Manifest.of(await http.read(), http.headers["Content-Type"])
            self.manifests[reference] = self.manifests[manifest.digest] = manifest
            return web.Response(status=201, headers={"OCI-Subject": IMAGE.digest} if self.lists else {})
        if http.method == "DELETE":
            return web.Response(status=404 if self.manifests.pop(reference, None) is None else 202)
        found = self.manifests.get(reference)
        if found is None:
            return web.Response(status=404)
        headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        return web.Response(body=found.raw, headers=headers)

    def listed(self) -> list[Descriptor]:
        index = self.manifests[TAG].document
        assert isinstance(index, ImageIndex)
        return list(index.manifests or ())


@asynccontextmanager
async def repository_of(registry: Old) -> AsyncIterator[RemoteRepository]:
    async with run(registry) as server, open_client(Connection(host=server.address, patience=ONCE)) as client:
        yield RemoteRegistry(client).repository(NAME)


class TestTheTag:
    def test_it_is_made_of_the_subjects_digest(self) -> None:
        assert fallback_tag(IMAGE.digest) == TAG

    def test_no_more_of_it_than_fits(self) -> None:
        """ "truncated to 64 characters" (distribution-spec, "Referrers Tag Schema")."""
        digest = Digest.of(b"x", "sha512")
        assert fallback_tag(digest) == f"sha512-{digest.encoded[:64]}"


class TestReading:
    async def test_the_tag_has_them_where_there_is_no_api(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            assert (await repository.list_referrers(IMAGE.digest)).items == ()
            for manifest in (SBOM, SIGNATURE, OTHER):
                await repository.put_manifest(manifest)
            found = await repository.list_referrers(IMAGE.digest)
            assert found.items == (SBOM.pointer(), SIGNATURE.pointer(), OTHER.pointer())
            filtered = await repository.list_referrers(IMAGE.digest, artifact_types=["application/signature"])
            assert filtered.items == (SIGNATURE.pointer(),)

    async def test_they_come_in_pages_as_well(self) -> None:
        async with repository_of(Old()) as repository:
            for manifest in (SBOM, SIGNATURE, OTHER):
                await repository.put_manifest(manifest)
            page = await repository.list_referrers(IMAGE.digest, limit=2)
            assert (page.items, page.last) == ((SBOM.pointer(), SIGNATURE.pointer()), SIGNATURE.digest)
            page = await repository.list_referrers(IMAGE.digest, limit=2, last=SIGNATURE.digest)
            assert (page.items, page.last) == ((OTHER.pointer(),), None)
            assert (await repository.list_referrers(IMAGE.digest, limit=0)).items == ()

    async def test_a_registry_without_is_asked_once(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            for _ in range(3):
                await repository.list_referrers(IMAGE.digest)
            assert [call for call in registry.calls if "referrers" in call] == [f"GET referrers/{IMAGE.digest[:12]}"]

    @pytest.mark.parametrize("status", [401, 403, 503])
    async def test_another_error_is_no_sign_that_there_are_none(self, status: int) -> None:
        async with repository_of(Old(status=status)) as repository:
            with pytest.raises(OCIError):
                await repository.list_referrers(IMAGE.digest)

    async def test_something_else_under_the_tag_is_told_and_left_alone(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            await repository.put_manifest(IMAGE, [Tag(TAG)])
            with pytest.raises(ManifestInvalid, match=f"the tag {TAG} is for the list of referrers"):
                await repository.list_referrers(IMAGE.digest)
            with pytest.raises(ManifestInvalid):
                await repository.put_manifest(SBOM)
            assert registry.manifests[TAG] == IMAGE


class TestWriting:
    async def test_without_an_answer_about_the_subject_the_tag_is_written(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            await repository.put_manifest(SBOM, [Tag("sbom")])
            assert registry.listed() == [SBOM.pointer()]
            assert registry.manifests[TAG].media_type == OCI_INDEX
            await repository.put_manifest(SIGNATURE)
            assert registry.listed() == [SBOM.pointer(), SIGNATURE.pointer()]

    async def test_twice_is_once(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            await repository.put_manifest(SBOM)
            await repository.put_manifest(SBOM)
            assert registry.listed() == [SBOM.pointer()]

    async def test_a_registry_that_lists_them_itself_needs_no_tag(self) -> None:
        """ "OCI-Subject" (distribution-spec, "Pushing Manifests with Subject")."""
        registry = Old(lists=True)
        async with repository_of(registry) as repository:
            await repository.put_manifest(SBOM, [Tag("one"), Tag("two")])
            assert registry.calls == ["PUT manifests/one", "PUT manifests/two"]

    async def test_a_manifest_without_a_subject_needs_no_tag(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            await repository.put_manifest(IMAGE)
            assert len(registry.calls) == 1

    async def test_what_cannot_be_listed_now_is_an_error(self) -> None:
        """Or a signature would be pushed that nobody finds."""

        class Failing(Old):
            async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
                if http.method == "PUT" and TAG in http.path:
                    return web.Response(status=503)
                return await super().__call__(http)

        async with repository_of(Failing()) as repository:
            with pytest.raises(Unavailable):
                await repository.put_manifest(SBOM)


class TestDeleting:
    async def test_what_is_deleted_is_listed_no_longer(self) -> None:
        """ "Deleting Manifests" with a subject: the client removes the entry."""
        registry = Old()
        async with repository_of(registry) as repository:
            for manifest in (SBOM, SIGNATURE):
                await repository.put_manifest(manifest)
            await repository.delete_manifest(SBOM.digest)
            assert registry.listed() == [SIGNATURE.pointer()]
            assert SBOM.digest not in registry.manifests

    async def test_where_the_registry_lists_them_it_is_one_request(self) -> None:
        registry = Old(lists=True)
        async with repository_of(registry) as repository:
            await repository.put_manifest(SBOM)
            registry.calls.clear()
            await repository.delete_manifest(SBOM.digest)
            assert registry.calls == [f"DELETE manifests/{SBOM.digest[:12]}"]

    async def test_a_damaged_manifest_can_be_deleted(self) -> None:
        registry = Old()
        async with repository_of(registry) as repository:
            registry.manifests[SBOM.digest] = Manifest(OCI_MANIFEST, b"{", SBOM.digest)
            await repository.delete_manifest(SBOM.digest)
            assert registry.manifests == {}
