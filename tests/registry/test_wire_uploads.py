"""Uploads, by the numbers of the design's list of what real clients depend upon."""

import pytest

from layerkit.oci.digest import Digest
from tests.wire import Answer, Wire, in_chunks

RAW = bytes(range(256)) * 12
DIGEST = Digest.of(RAW)
STREAM = {"Content-Type": "application/octet-stream"}


def assert_stands_at(answer: Answer, location: str, offset: int) -> None:
    """The three headers from which a client goes on."""
    assert answer.location == location
    assert answer.headers["Range"] == f"0-{max(0, offset - 1)}"
    assert answer.headers["Docker-Upload-UUID"] == location.rpartition("/")[2]


async def read(wire: Wire, digest: str = DIGEST, name: str = "a/b") -> bytes | None:
    """The blob, or None."""
    answer = await wire("GET", f"/v2/{name}/blobs/{digest}")
    return answer.body if answer.status == 200 else None


class TestStarting:
    @pytest.mark.parametrize("path", ["/v2/a/b/blobs/uploads/", "/v2/a/b/blobs/uploads"])
    @pytest.mark.parametrize("body", [None, b"", b"{}"])
    async def test_post_is_202(self, wire: Wire, path: str, body: bytes | None) -> None:
        """31: "202, `Location`, `Docker-Upload-UUID`, `Range: 0-0`, `Content-Length: 0`... Body may be `{}`/empty"."""
        answer = await wire("POST", path, body, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (202, b"", "0")
        assert_stands_at(answer, answer.location, 0)
        assert "OCI-Chunk-Min-Length" not in answer.headers

    async def test_every_upload_is_another(self, wire: Wire) -> None:
        """31: two clients may push the same blob at once."""
        assert await wire.start("a/b") != await wire.start("a/b")

    async def test_a_location_is_relative_and_keeps_its_state_in_the_path(self, wire: Wire) -> None:
        """34: "relative `/v2/...`"; "keep any state in the path"."""
        location = await wire.start("a/b")
        assert location.startswith("/v2/a/b/blobs/uploads/")
        assert not set(location) & set("?%+=&")

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_the_algorithm_may_be_told(self, wire: Wire, algorithm: str) -> None:
        """ "`POST .../uploads/?digest-algorithm=<alg>`" (1.2)."""
        location = await wire.start("a/b", f"?digest-algorithm={algorithm}")
        digest = Digest.of(RAW, algorithm)
        await wire("PATCH", location, RAW)
        assert (await wire("PUT", f"{location}?digest={digest}")).status == 201
        assert await read(wire, digest) == RAW

    async def test_another_algorithm_is_400(self, wire: Wire) -> None:
        """ "`POST .../uploads/?digest-algorithm=<alg>`" (1.2): what we cannot verify we do not begin."""
        answer = await wire("POST", "/v2/a/b/blobs/uploads/?digest-algorithm=md5")
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    async def test_a_bad_name_is_400(self, wire: Wire) -> None:
        """31, 46."""
        answer = await wire("POST", "/v2/A/b/blobs/uploads/")
        assert (answer.status, answer.codes) == (400, ["NAME_INVALID"])


class TestMounting:
    @pytest.mark.parametrize(
        "query", ["mount={}&from=x/y", "mount={}&from=x%2Fy&origin=z", "mount={}", "mount={}&from="]
    )
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_a_blob_that_is_there_is_mounted(self, wire: Wire, query: str, algorithm: str) -> None:
        """32: "201 + Location(blob) + Docker-Content-Digest"; "no `from` = anonymous"."""
        digest = await wire.push_blob("x/y", RAW, algorithm)
        for escaped in (digest, digest.replace(":", "%3A")):
            answer = await wire("POST", f"/v2/a/b/blobs/uploads/?{query.format(escaped)}")
            assert (answer.status, answer.location) == (201, f"/v2/a/b/blobs/{digest}")
            assert answer.headers["Docker-Content-Digest"] == digest
            assert await read(wire, digest) == RAW

    @pytest.mark.parametrize(
        "query", ["mount={}&from=x/y", "mount={}&from=x/z", "mount={}&from=NO", "mount=no&from=x/y"]
    )
    async def test_what_cannot_be_mounted_is_an_upload(self, wire: Wire, query: str) -> None:
        """32: "else 202 as normal POST (never 404/401)"; "CI and MO then cancel the fallback upload by DELETE"."""
        await wire.push_blob("x/y", b"other")
        answer = await wire("POST", f"/v2/a/b/blobs/uploads/?{query.format(DIGEST)}")
        assert answer.status == 202
        assert_stands_at(answer, answer.location, 0)
        assert (await wire("PUT", f"{answer.location}?digest={DIGEST}", RAW)).status == 201
        answer = await wire("POST", f"/v2/a/b/blobs/uploads/?{query.format(Digest.of(b'never'))}")
        assert (await wire("DELETE", answer.location)).status == 204

    async def test_a_bad_source_is_not_any_source(self, wire: Wire) -> None:
        """32: whoever names a repository gets the blob from there or not at all."""
        await wire.push_blob("x/y", RAW)
        assert (await wire("POST", f"/v2/a/b/blobs/uploads/?mount={DIGEST}&from=NO")).status == 202

    async def test_a_deleted_blob_is_not_mounted(self, wire: Wire) -> None:
        """32, 23."""
        await wire.push_blob("x/y", RAW)
        await wire("DELETE", f"/v2/x/y/blobs/{DIGEST}")
        for query in (f"mount={DIGEST}&from=x/y", f"mount={DIGEST}"):
            assert (await wire("POST", f"/v2/a/b/blobs/uploads/?{query}")).status == 202


class TestInOneRequest:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_post_with_digest_and_body_is_201(self, wire: Wire, algorithm: str, is_chunked: bool) -> None:
        """33: "POST `?digest=` with body (POST-only monolithic) -> 201"."""
        digest = Digest.of(RAW, algorithm)
        body = in_chunks(RAW[:99], RAW[99:]) if is_chunked else RAW
        answer = await wire("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", body, headers=STREAM)
        assert (answer.status, answer.location) == (201, f"/v2/a/b/blobs/{digest}")
        assert answer.headers["Docker-Content-Digest"] == digest
        assert await read(wire, digest) == RAW

    async def test_post_without_the_body_is_the_beginning_of_an_upload(self, wire: Wire) -> None:
        """33: "POST `?digest=` with Content-Length 0 whose digest isn't the empty blob's -> 202"."""
        answer = await wire("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", b"")
        assert answer.status == 202
        assert (await wire("PUT", f"{answer.location}?digest={DIGEST}", RAW)).status == 201

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_the_empty_blob_is_complete_without_a_body(self, wire: Wire, algorithm: str) -> None:
        """33, 39: "Empty blob valid"."""
        digest = Digest.of(b"", algorithm)
        assert (await wire("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", b"")).status == 201
        assert await read(wire, digest) == b""

    async def test_post_with_another_digest_is_400(self, wire: Wire) -> None:
        """33: DIGEST_INVALID, and nothing is kept."""
        answer = await wire("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", RAW + b"oh no")
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
        assert await read(wire) is None


class TestAppending:
    async def test_patch_without_content_range_appends(self, wire: Wire) -> None:
        """35: "PATCH without Content-Range (docker, CI, GG: whole blob, chunked TE) = append. -> 202, Location,
        `Range: 0-<last>`, Docker-Upload-UUID"; 34: "accept the older one"."""
        location = await wire.start("a/b")
        for start in range(0, len(RAW), 1000):
            body = RAW[start : start + 1000]
            answer = await wire("PATCH", location, in_chunks(body[:1], body[1:]) if start else body, headers=STREAM)
            assert (answer.status, answer.body) == (202, b"")
            assert_stands_at(answer, location, min(len(RAW), start + 1000))
        assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 201
        assert await read(wire) == RAW

    @pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}/*", "bytes={}-{}", "bytes {}-{}/3072"])
    async def test_a_chunk_says_where_it_belongs(self, wire: Wire, form: str) -> None:
        """36: "`Content-Range: a-b` - no `bytes ` prefix, no `/total` (accept `bytes a-b/*` leniently)"."""
        location = await wire.start("a/b")
        for start in (0, 1024, 2048):
            header = {"Content-Range": form.format(start, start + 1023)}
            answer = await wire("PATCH", location, RAW[start : start + 1024], headers=header)
            assert answer.status == 202
            assert_stands_at(answer, location, start + 1024)
        assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 201

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    @pytest.mark.parametrize("first", [0, 99, 101, 1000])
    async def test_a_chunk_out_of_order_is_416(self, wire: Wire, method: str, first: int) -> None:
        """36: "a != offset -> 416 + Location + `Range: 0-<last>` + Docker-Upload-UUID"; 39: also on PUT; 30."""
        location = await wire.start("a/b")
        await wire("PATCH", location, RAW[:100], headers={"Content-Range": "0-99"})
        url = f"{location}?digest={DIGEST}" if method == "PUT" else location
        header = {"Content-Range": f"{first}-{first + 9}"}
        answer = await wire(method, url, RAW[first : first + 10], headers=header)
        assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])
        assert_stands_at(answer, location, 100)
        # The client looks where it stands, with whatever query it has by now, and goes on from there.
        assert_stands_at(await wire("GET", url), location, 100)
        rest = {"Content-Range": f"100-{len(RAW) - 1}"}
        assert (await wire("PUT", f"{location}?digest={DIGEST}", RAW[100:], headers=rest)).status == 201
        assert await read(wire) == RAW

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("last", [8, 10, 1000])
    async def test_a_chunk_of_another_length_is_400(self, wire: Wire, method: str, is_chunked: bool, last: int) -> None:
        """36: "length != b-a+1 -> 400 SIZE_INVALID"; "Don't store partial bytes of a failed PATCH unless the offset
        reported next says so"."""
        location = await wire.start("a/b")
        body = in_chunks(RAW[:5], RAW[5:10]) if is_chunked else RAW[:10]
        url = f"{location}?digest={DIGEST}" if method == "PUT" else location
        answer = await wire(method, url, body, headers={"Content-Range": f"0-{last}"})
        assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])
        kept = int(answer.headers["Range"].partition("-")[2])
        kept += kept > 0
        assert kept <= last + 1
        assert_stands_at(await wire("GET", location), location, kept)
        await wire("PATCH", location, RAW[kept:], headers={"Content-Range": f"{kept}-{len(RAW) - 1}"})
        assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 201

    async def test_a_content_range_that_is_none_is_400(self, wire: Wire) -> None:
        """36: with "Location+Range": RC goes on from any 4xx that has them."""
        location = await wire.start("a/b")
        for header in ("0", "5-4", "items 0-9", "0-9,10-19"):
            answer = await wire("PATCH", location, RAW[:10], headers={"Content-Range": header})
            assert (answer.status, answer.codes) == (400, ["BLOB_UPLOAD_INVALID"])
            assert_stands_at(answer, location, 0)

    async def test_an_empty_patch_changes_nothing(self, wire: Wire) -> None:
        """35, 37: "zero bytes: `0-0`"."""
        location = await wire.start("a/b")
        for body in (b"", in_chunks()):
            answer = await wire("PATCH", location, body)
            assert answer.status == 202
            assert_stands_at(answer, location, 0)

    @pytest.mark.parametrize(("count", "header"), [(0, "0-0"), (1, "0-0"), (2, "0-1"), (3072, "0-3071")])
    async def test_the_range_is_inclusive_and_without_a_unit(self, wire: Wire, count: int, header: str) -> None:
        """37: "`0-N` inclusive, no `bytes=`, MO parses `%d-%d`"."""
        location = await wire.start("a/b")
        assert (await wire("PATCH", location, RAW[:count])).headers["Range"] == header
        assert (await wire("GET", location)).headers["Range"] == header

    async def test_what_came_before_the_connection_broke_is_kept(self, wire: Wire) -> None:
        """36, 38: the offset that GET tells is the one to go on from."""
        location = await wire.start("a/b")
        async with wire.connect() as line:
            head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(RAW)}\r\n\r\n"
            await line.send(head.encode() + RAW[:1000])
        while (answer := await wire("GET", location)).status == 400:
            pass  # the server has not noticed yet
        offset = int(answer.headers["Range"].partition("-")[2]) + 1
        assert offset == 1000
        rest = {"Content-Range": f"{offset}-{len(RAW) - 1}"}
        assert (await wire("PATCH", location, RAW[offset:], headers=rest)).status == 202
        assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 201


class TestLookingAndCancelling:
    async def test_get_tells_where_it_stands(self, wire: Wire) -> None:
        """38: "GET upload -> 204 + Location + Range + Docker-Upload-UUID"."""
        location = await wire.start("a/b")
        answer = await wire("GET", location)
        assert (answer.status, answer.body) == (204, b"")
        assert_stands_at(answer, location, 0)
        await wire("PATCH", location, RAW)
        assert_stands_at(await wire("GET", location), location, len(RAW))

    async def test_delete_ends_it(self, wire: Wire) -> None:
        """38: "DELETE upload -> 204; unknown -> 404 BLOB_UPLOAD_UNKNOWN"."""
        location = await wire.start("a/b")
        await wire("PATCH", location, RAW)
        answer = await wire("DELETE", location)
        assert (answer.status, answer.body) == (204, b"")
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            answer = await wire(method, f"{location}?digest={DIGEST}", b"" if method[0] == "P" else None)
            assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])

    @pytest.mark.parametrize("upload", ["x", "sha256-unknown", "..", "%2e%2e", "a%00b", "x" * 65])
    async def test_an_unknown_upload_is_404(self, wire: Wire, upload: str) -> None:
        """38: whatever stands there is no path of ours."""
        answer = await wire("GET", f"/v2/a/b/blobs/uploads/{upload}")
        assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])

    async def test_an_upload_belongs_to_its_repository(self, wire: Wire) -> None:
        """38, 10: who may push to one repository may not write into another's."""
        location = await wire.start("a/b")
        assert (await wire("PATCH", location.replace("/a/b/", "/a/c/"), RAW)).status == 404


class TestCommitting:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("sent", [0, 1000, len(RAW)])
    async def test_put_is_201(self, wire: Wire, algorithm: str, sent: int) -> None:
        """39: "body optional (last chunk or, monolithic, all of it) -> 201 + Location + Docker-Content-Digest";
        "sha512 digest on session which hashed sha256 -> re-hash"."""
        digest = Digest.of(RAW, algorithm)
        location = await wire.start("a/b")
        if sent:
            await wire("PATCH", location, RAW[:sent])
        answer = await wire("PUT", f"{location}?digest={digest}", RAW[sent:], headers=STREAM)
        assert (answer.status, answer.body, answer.location) == (201, b"", f"/v2/a/b/blobs/{digest}")
        assert answer.headers["Docker-Content-Digest"] == digest
        assert await read(wire, digest) == RAW

    @pytest.mark.parametrize(
        "query", ["?digest={}", "?_state=a/b%2B%3D&digest={}", "?digest=&ns=x&digest={}", "?x=1&digest={}&&y"]
    )
    async def test_the_query_is_read_as_clients_write_it(self, wire: Wire, query: str) -> None:
        """34: "query re-encoded & re-ordered (CD), `&digest=` appended raw (RC), `?digest=` naive"."""
        for text in (DIGEST, DIGEST.replace(":", "%3A")):
            location = await wire.start("a/b")
            assert (await wire("PUT", location + query.format(text), RAW)).status == 201

    async def test_a_digest_that_is_not_the_content_s_is_400(self, wire: Wire) -> None:
        """39: "Digest mismatch -> 400 DIGEST_INVALID"."""
        location = await wire.start("a/b")
        answer = await wire("PUT", f"{location}?digest={DIGEST}", RAW + b"oh no")
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
        assert await read(wire) is None
        assert await read(wire, Digest.of(RAW + b"oh no")) is None

    @pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:baddigest", "?digest=md5:x"])
    async def test_a_digest_that_is_none_is_400_and_ends_nothing(self, wire: Wire, query: str) -> None:
        """39, 42: the client may put it right."""
        location = await wire.start("a/b")
        await wire("PATCH", location, RAW)
        answer = await wire("PUT", location + query)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
        assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 201

    async def test_a_put_whose_reply_was_lost_may_be_repeated(self, wire: Wire) -> None:
        """39: "404 BLOB_UPLOAD_UNKNOWN makes clients restart: prefer idempotent 201 for a short memory"."""
        location = await wire.start("a/b")
        await wire("PATCH", location, RAW)
        first = await wire("PUT", f"{location}?digest={DIGEST}")
        for body in (b"", RAW):
            again = await wire("PUT", f"{location}?digest={DIGEST}", body)
            assert (again.status, again.location) == (first.status, first.location)
            assert again.headers["Docker-Content-Digest"] == DIGEST

    async def test_only_the_same_end_of_an_upload_is_repeated(self, wire: Wire) -> None:
        """39: not with another digest, not in another repository, not for another upload, and not once the blob is
        deleted; and nothing else can be done with what has ended."""
        location = await wire.start("a/b")
        await wire("PUT", f"{location}?digest={DIGEST}", RAW)
        await wire.push_blob("a/c", RAW)
        for url in (
            f"{location}?digest={Digest.of(b'')}",
            f"{location}?digest={Digest.of(RAW, 'sha512')}",
            f"{location.replace('/a/b/', '/a/c/')}?digest={DIGEST}",
            f"{location}x?digest={DIGEST}",
        ):
            answer = await wire("PUT", url)
            assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
        for method in ("GET", "PATCH", "DELETE"):
            assert (await wire(method, location)).status == 404
        await wire("DELETE", f"/v2/a/b/blobs/{DIGEST}")
        assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 404

    async def test_a_blob_that_is_there_may_be_pushed_again(self, wire: Wire) -> None:
        """39, 31: two clients push the same base image; both get 201."""
        locations = [await wire.start("a/b") for _ in range(2)]
        for location in locations:
            assert (await wire("PUT", f"{location}?digest={DIGEST}", RAW)).status == 201

    async def test_it_is_there_at_once(self, wire: Wire) -> None:
        """40: "MO does HEAD blob at once after PUT: read-after-write"."""
        await wire.push_blob("a/b", RAW)
        assert (await wire("HEAD", f"/v2/a/b/blobs/{DIGEST}")).headers["Content-Length"] == str(len(RAW))
