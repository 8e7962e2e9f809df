"""A Repository over HTTP, before registries that do as they like."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from layerkit.oci.byterange import ByteRange
from layerkit.oci.descriptor import EMPTY, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    OCIError,
    RangeInvalid,
    SizeInvalid,
    TooManyRequests,
    Unavailable,
    Unsupported,
)
from layerkit.oci.manifest import MAX_SIZE, ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_INDEX, OCI_MANIFEST, OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content
from layerkit.remote.auth import Credentials
from layerkit.remote.client import Connection, open_client
from layerkit.remote.repository import RemoteRegistry, RemoteRepository
from tests.remote.server import ONCE, Handler, Server, run

NAME = RepositoryName("acme/web")
OTHER = RepositoryName("acme/base")
LATEST = Tag("latest")
RAW = b"0123456789" * 100
DIGEST = Digest.of(RAW)
BLOB = Descriptor(media_type=OCTET_STREAM, digest=DIGEST, size=len(RAW))
MANIFEST = Manifest.encode(ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=(BLOB,)))


@asynccontextmanager
async def repository_of(handler: Handler) -> AsyncIterator[tuple[RemoteRepository, Server]]:
    async with run(handler) as server, open_client(Connection(host=server.address, patience=ONCE)) as client:
        yield RemoteRepository(NAME, client), server


def answering(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Handler:
    async def handler(http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return handler


def headed(headers: dict[str, str], body: bytes = MANIFEST.raw) -> Handler:
    """HEAD is answered with these headers, GET as it should be."""

    async def handler(http: web.BaseRequest) -> web.StreamResponse:
        if http.method == "HEAD":
            return web.Response(headers=headers)
        return web.Response(body=body, headers={"Content-Type": OCI_MANIFEST})

    return handler


def content_of(raw: bytes) -> Content:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read


async def read(repository: RemoteRepository, digest: Digest = DIGEST, part: ByteRange | None = None) -> bytes:
    async with repository.open_blob(digest, part) as blob:
        return b"".join([chunk async for chunk in blob])


class TestBlobs:
    @pytest.mark.parametrize("raw", [RAW[:-1], RAW[::-1], RAW + b"x"], ids=["short", "other", "long"])
    async def test_content_of_another_digest_is_refused_at_its_end(self, raw: bytes) -> None:
        async with repository_of(answering(200, raw)) as (repository, _):
            with pytest.raises(DigestInvalid, match=DIGEST):
                await read(repository)

    async def test_a_blob_that_is_cut_off_names_the_registry(self) -> None:
        async def cut(http: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": str(len(RAW))})
            await response.prepare(http)
            await response.write(RAW[:500])
            assert http.transport is not None
            http.transport.close()
            return response

        async with repository_of(cut) as (repository, server):
            with pytest.raises(Unavailable, match=f"{server.address} broke off GET .*{DIGEST}"):
                await read(repository)

    async def test_a_blob_without_a_length_is_refused_before_it_is_read(self) -> None:
        ended = asyncio.Event()

        async def endless(http: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            try:
                await response.prepare(http)
                while True:
                    await response.write(b"x" * 65536)
            finally:
                ended.set()

        async with repository_of(endless) as (repository, _):
            with pytest.raises(SizeInvalid, match="did not say how long"):
                await read(repository)
            await ended.wait()

    @pytest.mark.parametrize("body", [b"<html>", b'{"errors":[{"code":"NAME_UNKNOWN"}]}'])
    async def test_a_404_in_whatever_words_is_an_unknown_blob(self, body: bytes) -> None:
        async with repository_of(answering(404, body)) as (repository, _):
            for asking in (read(repository), repository.stat_blob(DIGEST), repository.delete_blob(DIGEST)):
                with pytest.raises(BlobUnknown):
                    await asking

    async def test_a_range_that_is_ignored_is_told(self) -> None:
        async with repository_of(answering(200, RAW)) as (repository, server):
            with pytest.raises(Unsupported, match="the whole blob instead of the part bytes=10-19"):
                await read(repository, part=ByteRange(10, 19))
            assert server.headers[-1]["Range"] == "bytes=10-19"

    @pytest.mark.parametrize("first", [10, -10])
    async def test_of_a_blob_that_is_sent_whole_the_rest_is_taken(self, first: int) -> None:
        """A server MAY ignore the Range header (RFC 9110, section 14.2): what comes before costs time alone."""
        async with repository_of(answering(200, RAW)) as (repository, _):
            assert await read(repository, part=ByteRange(first)) == RAW[first:]

    @pytest.mark.parametrize(
        ("content_range", "body"),
        [
            ("bytes 0-9/1000", RAW[:10]),
            ("bytes 10-20/1000", RAW[10:21]),
            ("bytes 10-19/*", RAW[10:20]),
            ("bytes 10-19", RAW[10:20]),
            ("10-19/1000", RAW[10:20]),
            ("bytes 10-19/" + "9" * 5000, RAW[10:20]),
            ("", RAW[10:20]),
        ],
    )
    async def test_another_part_than_was_asked_for_is_refused(self, content_range: str, body: bytes) -> None:
        async with repository_of(answering(206, body, {"Content-Range": content_range})) as (repository, _):
            with pytest.raises(RangeInvalid):
                await read(repository, part=ByteRange(10, 19))

    @pytest.mark.parametrize("body", [RAW[10:19], RAW[10:21]], ids=["short", "long"])
    async def test_a_part_of_another_length_than_it_says_is_refused(self, body: bytes) -> None:
        async with repository_of(answering(206, body, {"Content-Range": "bytes 10-19/1000"})) as (repository, _):
            with pytest.raises(SizeInvalid, match=r"another part|ended after 19 of its 20 bytes"):
                await read(repository, part=ByteRange(10, 19))

    async def test_a_part_that_nobody_asked_for_is_refused(self) -> None:
        async with repository_of(answering(206, RAW[:10], {"Content-Range": "bytes 0-9/1000"})) as (repository, _):
            with pytest.raises(RangeInvalid):
                await read(repository)

    async def test_a_head_without_a_length_is_told(self) -> None:
        async def chunked(http: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(http)
            return response

        async with repository_of(chunked) as (repository, _):
            with pytest.raises(SizeInvalid, match="did not say how long"):
                await repository.stat_blob(DIGEST)


class TestManifests:
    async def test_our_types_are_asked_for_and_any_other_taken(self) -> None:
        async with repository_of(answering(200, MANIFEST.raw, {"Content-Type": OCI_MANIFEST})) as (repository, server):
            assert (await repository.get_manifest(LATEST)).raw == MANIFEST.raw
            assert OCI_MANIFEST in server.headers[-1]["Accept"]
            assert "*/*" in server.headers[-1]["Accept"]

    @pytest.mark.parametrize("length", [True, False], ids=["told", "not told"])
    async def test_more_than_four_mebibytes_are_refused(self, length: bool) -> None:
        async def large(http: web.BaseRequest) -> web.StreamResponse:
            headers = {"Content-Length": str(MAX_SIZE + 1)} if length else None
            response = web.StreamResponse(headers=headers)
            await response.prepare(http)
            await response.write(b" " * (MAX_SIZE + 1))
            return response

        async with repository_of(large) as (repository, _):
            with pytest.raises(SizeInvalid, match=f"more than {MAX_SIZE} bytes"):
                await repository.get_manifest(LATEST)

    async def test_just_four_mebibytes_are_taken(self) -> None:
        raw = MANIFEST.raw + b" " * (MAX_SIZE - len(MANIFEST.raw))
        async with repository_of(answering(200, raw, {"Content-Type": OCI_MANIFEST})) as (repository, _):
            assert (await repository.get_manifest(LATEST)).raw == raw

    async def test_content_of_another_digest_is_refused(self) -> None:
        asked = Digest.of(b"another manifest")
        headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": asked}
        async with repository_of(answering(200, MANIFEST.raw, headers)) as (repository, server):
            for reference in (asked, LATEST):
                with pytest.raises(DigestInvalid, match=f"{server.address} sent a manifest {MANIFEST.digest}"):
                    await repository.get_manifest(reference)

    async def test_a_digest_that_is_none_is_refused(self) -> None:
        headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": "sha256:short"}
        async with repository_of(answering(200, MANIFEST.raw, headers)) as (repository, _):
            with pytest.raises(DigestInvalid, match="sha256:short"):
                await repository.get_manifest(LATEST)

    async def test_without_a_digest_header_the_content_has_one(self) -> None:
        async with repository_of(answering(200, MANIFEST.raw, {"Content-Type": OCI_MANIFEST})) as (repository, _):
            assert (await repository.get_manifest(LATEST)).digest == MANIFEST.digest
            assert (await repository.get_manifest(MANIFEST.digest)).digest == MANIFEST.digest

    async def test_a_digest_of_another_algorithm_is_verified_as_such(self) -> None:
        digest = Digest.of(MANIFEST.raw, "sha512")
        headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": digest}
        async with repository_of(answering(200, MANIFEST.raw, headers)) as (repository, _):
            assert (await repository.get_manifest(LATEST)).digest == digest

    @pytest.mark.parametrize(
        "content_type", [f"{OCI_MANIFEST}; charset=utf-8", "application/json", "text/plain", "application/octet-stream"]
    )
    async def test_a_server_that_does_not_know_the_type_is_not_believed(self, content_type: str) -> None:
        """Its layers would not be copied: a manifest of an unknown type refers to nothing."""
        async with repository_of(answering(200, MANIFEST.raw, {"Content-Type": content_type})) as (repository, _):
            found = await repository.get_manifest(LATEST)
            assert found.media_type == OCI_MANIFEST
            assert list(found.document.references()) == [EMPTY, BLOB]

    async def test_what_is_no_manifest_at_all_is_refused(self) -> None:
        async with repository_of(answering(200, b"<html>", {"Content-Type": "text/plain"})) as (repository, _):
            with pytest.raises(ManifestInvalid):
                await repository.get_manifest(LATEST)

    async def test_a_404_in_whatever_words_is_an_unknown_manifest(self) -> None:
        async with repository_of(answering(404, b"<html>")) as (repository, _):
            for asking in (
                repository.get_manifest(LATEST),
                repository.stat_manifest(LATEST),
                repository.delete_manifest(DIGEST),
                repository.delete_tag(LATEST),
            ):
                with pytest.raises(ManifestUnknown):
                    await asking

    async def test_a_head_with_all_headers_is_enough(self) -> None:
        headers = {
            "Content-Type": OCI_MANIFEST,
            "Docker-Content-Digest": MANIFEST.digest,
            "Content-Length": str(len(MANIFEST.raw)),
        }
        async with repository_of(headed(headers)) as (repository, server):
            assert await repository.stat_manifest(LATEST) == MANIFEST.descriptor
            assert server.calls() == ["HEAD /v2/acme/web/manifests/latest"]

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Content-Type": OCI_MANIFEST}, {"Docker-Content-Digest": MANIFEST.digest, "Content-Type": ""}],
        ids=["nothing", "type", "digest"],
    )
    async def test_a_head_without_them_is_followed_by_a_get(self, headers: dict[str, str]) -> None:
        async with repository_of(headed(headers)) as (repository, server):
            assert await repository.stat_manifest(LATEST) == MANIFEST.descriptor
            assert server.calls() == ["HEAD /v2/acme/web/manifests/latest", "GET /v2/acme/web/manifests/latest"]

    async def test_a_manifest_is_put_with_its_length_and_its_type(self) -> None:
        bodies = []

        async def take(http: web.BaseRequest) -> web.StreamResponse:
            bodies.append(await http.read())
            return web.Response(status=201)

        async with repository_of(take) as (repository, server):
            await repository.put_manifest(MANIFEST, [LATEST, Tag("1")])
            await repository.put_manifest(MANIFEST)
            assert bodies == [MANIFEST.raw] * 3
            assert server.calls() == [
                "PUT /v2/acme/web/manifests/latest",
                "PUT /v2/acme/web/manifests/1",
                f"PUT /v2/acme/web/manifests/{MANIFEST.digest}",
            ]
            assert server.headers[-1]["Content-Type"] == OCI_MANIFEST
            assert server.headers[-1]["Content-Length"] == str(len(MANIFEST.raw))
            assert "Transfer-Encoding" not in server.headers[-1]


class TestUploads:
    def uploading(self, location: str, **headers: str) -> tuple[Handler, list[bytes]]:
        """A registry that sends every upload to `location`."""
        bodies: list[bytes] = []

        async def handler(http: web.BaseRequest) -> web.StreamResponse:
            bodies.append(await http.read())
            created = http.method == "PUT"
            all_headers = headers if created else {"Location": location, **headers}
            return web.Response(status=201 if created else 202, headers=all_headers)

        return handler, bodies

    @pytest.mark.parametrize(
        ("location", "expected"),
        [
            ("/v2/acme/web/blobs/uploads/1", f"/v2/acme/web/blobs/uploads/1?digest={DIGEST}"),
            ("/up/1?_state=a%3D%3D&b=c%2Fd", f"/up/1?_state=a%3D%3D&b=c%2Fd&digest={DIGEST}"),
            ("1", f"/v2/acme/web/blobs/uploads/1?digest={DIGEST}"),
        ],
    )
    async def test_a_blob_goes_to_the_location_with_its_digest_behind(self, location: str, expected: str) -> None:
        handler, bodies = self.uploading(location)
        async with repository_of(handler) as (repository, server):
            await repository.put_blob(BLOB, content_of(RAW))
            assert server.calls() == ["POST /v2/acme/web/blobs/uploads/", f"PUT {expected}"]
            assert server.headers[-1]["Content-Length"] == str(len(RAW))
            assert bodies == [b"", RAW]

    async def test_a_location_on_another_host_gets_the_content_and_no_authorization(self) -> None:
        """S8."""
        store_handler, bodies = self.uploading("")

        async with run(store_handler) as store:

            async def redirecting(http: web.BaseRequest) -> web.StreamResponse:
                if "Authorization" not in http.headers:
                    return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
                return web.Response(status=202, headers={"Location": f"http://{store.address}/up?x=1"})

            async with run(redirecting) as server:
                connection = Connection(host=server.address, credentials=Credentials("alice", "s3cret"))
                async with open_client(connection) as client:
                    await RemoteRepository(NAME, client).put_blob(BLOB, content_of(RAW))
            assert (store.seen, bodies) == ([f"PUT /up?x=1&digest={DIGEST}"], [RAW])
            assert store.authorizations == [""]

    async def test_a_location_that_is_missing_is_told(self) -> None:
        async with repository_of(answering(202)) as (repository, _):
            with pytest.raises(BlobUploadInvalid, match="did not say where to upload to"):
                await repository.put_blob(BLOB, content_of(RAW))

    async def test_a_location_that_is_no_url_is_told(self) -> None:
        async with repository_of(answering(202, headers={"Location": "http://[x/"})) as (repository, _):
            with pytest.raises(OCIError, match="no URL"):
                await repository.put_blob(BLOB, content_of(RAW))

    async def test_content_that_is_not_the_descriptor_s_ends_the_upload(self) -> None:
        handler, _ = self.uploading("/up/1")
        async with repository_of(handler) as (repository, _):
            with pytest.raises(SizeInvalid):
                await repository.put_blob(BLOB, content_of(RAW + b"x"))
            with pytest.raises(SizeInvalid):
                await repository.put_blob(BLOB, content_of(RAW[:-1]))

    @pytest.mark.parametrize(
        ("told", "offset"),
        [("0-0", 0), ("0-99", 100), ("bytes=0-99", 100), ("", 0), ("0-" + "9" * 5000, 0), ("0-٣", 0)],
    )
    async def test_an_upload_stands_where_the_registry_says(self, told: str, offset: int) -> None:
        async with repository_of(answering(204, headers={"Range": told} if told else {})) as (repository, server):
            upload_id = f"http://{server.address}/up/1"
            async with repository.open_upload(upload_id) as upload:
                assert upload.offset == offset

    async def test_chunks_are_sent_where_the_last_answer_said(self) -> None:
        """ "The Location header [...] of the previous response" (distribution-spec, "Pushing a blob in chunks")."""
        count = 0

        async def moving(http: web.BaseRequest) -> web.StreamResponse:
            nonlocal count
            count += 1
            await http.read()
            return web.Response(
                status=201 if http.method == "PUT" else 204 if http.method == "GET" else 202,
                headers={"Location": f"/up/{count}"},
            )

        async with repository_of(moving) as (repository, server):
            async with repository.open_upload(await repository.start_upload()) as upload:
                await upload.append(RAW)
                await upload.commit(DIGEST)
            assert server.calls() == [
                "POST /v2/acme/web/blobs/uploads/",
                "GET /up/1",
                "PATCH /up/2",
                f"PUT /up/3?digest={DIGEST}",
            ]
            assert server.headers[-2]["Content-Range"] == f"0-{len(RAW) - 1}"

    async def test_an_upload_that_ended_is_unknown(self) -> None:
        async with repository_of(answering(404)) as (repository, server):
            with pytest.raises(BlobUploadUnknown):
                async with repository.open_upload(f"http://{server.address}/up/1"):
                    pass

    async def test_another_algorithm_is_asked_for_and_the_usual_one_not(self) -> None:
        async with repository_of(answering(202, headers={"Location": "/up"})) as (repository, server):
            await repository.start_upload()
            await repository.start_upload(algorithm="sha512")
            assert server.calls() == [
                "POST /v2/acme/web/blobs/uploads/",
                "POST /v2/acme/web/blobs/uploads/?digest-algorithm=sha512",
            ]


class TestMounts:
    async def test_a_mount_is_one_request(self) -> None:
        async with repository_of(answering(201)) as (repository, server):
            assert await repository.mount_blob(DIGEST, OTHER)
            assert server.calls() == [f"POST /v2/acme/web/blobs/uploads/?mount={DIGEST}&from=acme/base"]

    async def test_the_token_of_a_mount_is_for_both_repositories(self) -> None:
        """Without the right to read the source no registry with tokens mounts from it."""

        async def give(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=b'{"token":"t"}')

        async with run(give) as service:

            async def guard(http: web.BaseRequest) -> web.StreamResponse:
                challenge = f'Bearer realm="http://{service.address}/token"'
                headers = {} if "Authorization" in http.headers else {"WWW-Authenticate": challenge}
                return web.Response(status=201 if "Authorization" in http.headers else 401, headers=headers)

            async with repository_of(guard) as (repository, _):
                assert await repository.mount_blob(DIGEST, OTHER)
            scopes = parse_qs(urlsplit(service.seen[0]).query)["scope"]
            assert scopes == ["repository:acme/base:pull", "repository:acme/web:pull,push"]

    @pytest.mark.parametrize("cancelled", [204, 202, 401, 403, 404, 405, 500])
    async def test_the_upload_that_begins_instead_is_cancelled_where_that_is_allowed(self, cancelled: int) -> None:
        """Some registries want the right to delete for it."""

        async def handler(http: web.BaseRequest) -> web.StreamResponse:
            if http.method == "POST":
                return web.Response(status=202, headers={"Location": "/up/1"})
            return web.Response(status=cancelled)

        async with repository_of(handler) as (repository, server):
            assert not await repository.mount_blob(DIGEST, OTHER)
            assert server.calls()[1] == "DELETE /up/1"

    @pytest.mark.parametrize("status", [401, 403, 404, 405])
    async def test_a_mount_that_is_refused_is_none(self, status: int) -> None:
        async with repository_of(answering(status)) as (repository, _):
            assert not await repository.mount_blob(DIGEST, OTHER)

    @pytest.mark.parametrize(("status", "kind"), [(429, TooManyRequests), (503, Unavailable)])
    async def test_a_registry_that_is_in_trouble_is_not_asked_on(self, status: int, kind: type[OCIError]) -> None:
        async with repository_of(answering(status)) as (repository, _):
            with pytest.raises(kind):
                await repository.mount_blob(DIGEST, OTHER)


class TestLists:
    def paging(self, link: Callable[[str, str], str]) -> Handler:
        """The tags a to e, two on a page; `link` makes the Link's target of the host and the last tag."""

        async def handler(http: web.BaseRequest) -> web.StreamResponse:
            query = parse_qs(urlsplit(http.raw_path).query)
            after = query.get("last", query.get("token", [""]))[0]
            following = [tag for tag in "abcde" if tag > after]
            more = len(following) > 2
            headers = {"Link": f'<{link(http.headers["Host"], following[1])}>; rel="next"'} if more else {}
            return web.Response(body=json.dumps({"name": NAME, "tags": following[:2]}).encode(), headers=headers)

        return handler

    @pytest.mark.parametrize(
        "link",
        [
            lambda host, last: f"/v2/acme/web/tags/list?n=2&last={last}",
            lambda host, last: f"list?last={last}",
            lambda host, last: f"?last={last}",
            lambda host, last: f"http://{host}/v2/acme/web/tags/list?n=2&last={last}",
            lambda host, last: f"https://inner.invalid/v2/acme/web/tags/list?n=2&last={last}",
            lambda host, last: f"/v2/acme/web/tags/list?token={last}",
        ],
        ids=["path", "relative", "query", "absolute", "another-host", "without-last"],
    )
    async def test_a_list_is_read_to_its_end(self, link: Callable[[str, str], str]) -> None:
        async with repository_of(self.paging(link)) as (repository, server):
            assert (await repository.list_tags()).items == tuple("abcde")
            assert len(server.calls()) == 3

    @pytest.mark.parametrize("name", ["last", "token"])
    async def test_a_page_says_where_the_next_one_begins_whatever_its_link_says(self, name: str) -> None:
        handler = self.paging(lambda host, last: f"/v2/acme/web/tags/list?n=2&{name}={last}")
        async with repository_of(handler) as (repository, _):
            page = await repository.list_tags(limit=2)
            assert (page.items, page.last) == (("a", "b"), "b")
            page = await repository.list_tags(limit=2, last="d")
            assert (page.items, page.last) == (("e",), None)

    @pytest.mark.parametrize("body", [b'{"name":"acme/web","tags":null}', b'{"tags":[]}', b"{}"])
    async def test_no_tags_are_an_empty_list(self, body: bytes) -> None:
        async with repository_of(answering(200, body)) as (repository, _):
            assert (await repository.list_tags()).items == ()

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b"[]", b'{"tags":{}}', b'{"tags":[1]}', b'{"tags":["../x"]}', b'{"tags":["\\u001b[2J"]}'],
    )
    async def test_what_is_no_list_of_tags_is_told(self, body: bytes) -> None:
        async with repository_of(answering(200, body)) as (repository, server):
            with pytest.raises(OCIError, match="the registry's answer is not the list asked for") as caught:
                await repository.list_tags()
            assert caught.value.message.startswith(f"GET http://{server.address}/v2/acme/web/tags/list: ")
            assert "\x1b" not in caught.value.message

    async def test_a_list_that_goes_round_in_circles_ends(self) -> None:
        headers = {"Link": '</v2/acme/web/tags/list?last=a>; rel="next"'}
        async with repository_of(answering(200, b'{"tags":["a"]}', headers)) as (repository, server):
            with pytest.raises(OCIError, match="round in circles"):
                await repository.list_tags()
            assert len(server.calls()) == 2

    async def test_a_link_that_is_no_url_is_told(self) -> None:
        headers = {"Link": '<http://[x/>; rel="next"'}
        async with repository_of(answering(200, b'{"tags":["a"]}', headers)) as (repository, _):
            for limit in (None, 1):
                with pytest.raises(OCIError, match="no URL"):
                    await repository.list_tags(limit=limit)

    async def test_the_tags_of_an_unknown_repository_are_an_error(self) -> None:
        async with repository_of(answering(404)) as (repository, _):
            with pytest.raises(NameUnknown):
                await repository.list_tags()

    async def test_repositories_are_checked_names(self) -> None:
        async with repository_of(answering(200, b'{"repositories":["a/b","../x"]}')) as (repository, _):
            with pytest.raises(OCIError, match="not the list asked for"):
                await RemoteRegistry(repository._client).list_repositories()

    async def test_no_repositories_are_an_empty_list(self) -> None:
        async with repository_of(answering(200, b'{"repositories":null}')) as (repository, _):
            assert (await RemoteRegistry(repository._client).list_repositories()).items == ()


class TestReferrers:
    ITEMS = tuple(
        Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(kind.encode()), size=1, artifact_type=kind)
        for kind in ("application/a", "application/b")
    )
    INDEX = Manifest.encode(ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=ITEMS))

    async def test_those_that_the_registry_did_not_filter_are_filtered(self) -> None:
        """ "If filtering is requested and applied" (distribution-spec, "Listing Referrers"): it may not be."""
        async with repository_of(answering(200, self.INDEX.raw)) as (repository, server):
            found = await repository.list_referrers(DIGEST, artifact_types=["application/b"])
            assert found.items == self.ITEMS[1:]
            assert server.calls() == [f"GET /v2/acme/web/referrers/{DIGEST}?artifactType=application/b"]
            assert (await repository.list_referrers(DIGEST)).items == self.ITEMS

    async def test_a_page_without_a_place_ends_at_its_last_digest(self) -> None:
        headers = {"Link": '</v2/more?token=1>; rel="next"'}
        async with repository_of(answering(200, self.INDEX.raw, headers)) as (repository, _):
            page = await repository.list_referrers(DIGEST, limit=2)
            assert page.last == self.ITEMS[-1].digest

    @pytest.mark.parametrize("manifests", ["[]", "null"])
    async def test_there_may_be_none(self, manifests: str) -> None:
        body = b'{"schemaVersion":2,"manifests":%s}' % manifests.encode()
        async with repository_of(answering(200, body)) as (repository, _):
            assert (await repository.list_referrers(DIGEST)).items == ()

    async def test_a_descriptor_that_is_none_is_named_by_its_path(self) -> None:
        body = b'{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:1","size":-1}]}'
        async with repository_of(answering(200, body)) as (repository, _):
            with pytest.raises(OCIError, match=re.escape("$.manifests[0]")):
                await repository.list_referrers(DIGEST)
