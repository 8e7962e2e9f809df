"""What holds for every request, by the numbers of the design's list of what real clients depend upon."""

import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError, TooManyRequests, Unavailable
from layerkit.oci.mediatype import OCI_MANIFEST
from registry.handlers.errors import error_response
from tests.wire import Wire, image

RAW = b"content"
DIGEST = Digest.of(RAW)


@pytest.mark.parametrize("path", ["/v2/", "/v2", "/v2%2F"])
async def test_the_registry_says_what_it_is(wire: Wire, path: str) -> None:
    """1: "`GET /v2/` (and `/v2`) -> 200 `{}` `application/json`"."""
    answer = await wire("GET", path)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["Content-Type"] == "application/json"
    assert (await wire("HEAD", path)).status == 200


async def test_every_response_has_the_version(wire: Wire) -> None:
    """1: "`Docker-Distribution-Api-Version: registry/2.0` on *every* response"."""
    await wire.push_blob("a/b", RAW)
    await wire.push_blob("a/b", RAW * 100_000)
    for method, path in (
        ("GET", "/v2/"),
        ("GET", "/"),
        ("POST", "/v2/"),
        ("GET", "/v2/NO/tags/list"),
        ("GET", f"/v2/a/b/blobs/{DIGEST}"),
        ("GET", f"/v2/a/b/blobs/{Digest.of(RAW * 100_000)}"),
        ("HEAD", "/v2/a/b/manifests/none"),
        ("POST", "/v2/a/b/blobs/uploads/"),
    ):
        assert (await wire(method, path)).headers["Docker-Distribution-Api-Version"] == "registry/2.0"


async def test_errors_are_json(wire: Wire) -> None:
    """42: "`{"errors":[{"code","message","detail"}]}`, `Content-Type: application/json`"; "HEAD errors have none"."""
    for method, path, status, code in (
        ("GET", "/v2/a/b/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("GET", f"/v2/a/b/blobs/{DIGEST}", 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/a/b/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/A/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/a/b/nothing", 404, "UNSUPPORTED"),
        ("DELETE", "/v2/a/b/tags/list", 405, "UNSUPPORTED"),
        ("PATCH", "/v2/", 405, "UNSUPPORTED"),
    ):
        answer = await wire(method, path)
        assert (answer.status, set(answer.codes)) == (status, {code})
        assert answer.headers["Content-Type"] == "application/json"
        assert all(entry["message"] for entry in answer.json["errors"])
        assert (await wire("HEAD", path)).body == b""


async def test_an_endpoint_tells_its_methods(wire: Wire) -> None:
    """42: "An origin server MUST generate an Allow header field in a 405 response" (RFC 9110, section 15.5.6)."""
    assert (await wire("PATCH", "/v2/a/b/manifests/x")).headers["Allow"] == "DELETE, GET, HEAD, PUT"


@pytest.mark.parametrize("error", [TooManyRequests(), Unavailable()])
def test_who_is_to_come_again_is_told_when(error: OCIError) -> None:
    """43: "429/503 with `Retry-After` seconds"."""
    assert error_response(error).headers["Retry-After"].isdigit()


@pytest.mark.parametrize(
    "name", ["blobs", "tags/list", "a/manifests/b", "uploads/blobs/uploads", "a__b/c.d-e", "x" * 255]
)
async def test_names_may_be_words_of_the_api(wire: Wire, name: str) -> None:
    """46: "repos may contain `blobs`, `manifests`, `tags` components - route from the right"."""
    raw = await wire.push_image(name, "tags")
    assert (await wire("GET", f"/v2/{name}/manifests/tags")).body == raw
    assert (await wire("GET", f"/v2/{name}/tags/list")).json["tags"] == ["tags"]


@pytest.mark.parametrize("name", ["A", "a//b", "a__.b", "-a", "a-", "a/", "x" * 256, "a%20b", "%ff", ".."])
async def test_a_name_outside_the_grammar_is_400(wire: Wire, name: str) -> None:
    """46: "Names: `[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/...)*`"."""
    answer = await wire("GET", f"/v2/{name}/tags/list")
    assert (answer.status, answer.codes) == (400, ["NAME_INVALID"])


async def test_percent_encoded_paths_are_the_same(wire: Wire) -> None:
    """46: "percent-encoded `%3A`, `%2F` forms must work"."""
    await wire.push_blob("a/b", RAW)
    assert (await wire("GET", f"/v2/a%2Fb/blobs/{DIGEST.replace(':', '%3A')}")).body == RAW
    assert (await wire("GET", f"/v2/a%2fb%2fblobs%2f{DIGEST.replace(':', '%3a')}")).body == RAW


async def test_no_signatures_are_promised(wire: Wire) -> None:
    """48: "`X-Registry-Supports-Signatures` absent"."""
    assert "X-Registry-Supports-Signatures" not in (await wire("GET", "/v2/")).headers


async def test_one_connection_serves_many_requests(wire: Wire) -> None:
    """48: "HTTP/1.1 keep-alive", whatever the answers; headers in lower case, as some clients send them."""
    async with wire.connect() as line:
        for path, status in (("/v2/", 200), ("/v2/a/b/tags/list", 404), ("/v2/", 200), ("/nothing", 404)):
            await line.send(f"GET {path} HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n".encode())
            found, headers, _ = await line.read_answer()
            assert (found, headers.get("connection")) == (status, None)


async def test_requests_in_a_row_are_answered_in_order(wire: Wire) -> None:
    """48: pipelining; the bodies of refused requests are not taken for the next request."""
    async with wire.connect() as line:
        location = (await wire.start("a/b")).encode()
        await line.send(
            b"PATCH %b HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\ncontent"
            b"PATCH %b HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nContent-Range: 0-6\r\n\r\nGET / H"
            b"PUT /v2/a/b/manifests/.x HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n"
            b"PUT %b?digest=%b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n" % (location, location, location, DIGEST.encode())
        )
        assert [(await line.read_answer())[0] for _ in range(5)] == [202, 416, 400, 201, 200]


async def test_a_target_may_be_absolute(wire: Wire) -> None:
    """46: "a server MUST accept the absolute-form in requests" (RFC 9112, section 3.2.2)."""
    async with wire.connect() as line:
        for target, status in ((b"http://x:5000/v2/", 200), (b"HTTP://x/v2/", 200), (b"http://x", 404)):
            await line.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            assert (await line.read_answer())[0] == status


async def test_whoever_waits_is_told_to_go_on_once_the_request_is_welcome(wire: Wire) -> None:
    """41: "`Expect: 100-continue`: send only after auth/permission checks"."""
    location = await wire.start("a/b")
    raw = image()
    await wire.push_blob("a/b", b"{}")
    for method, target, body in (
        ("PATCH", location, RAW),
        ("PUT", f"{location}?digest={DIGEST}", b""),
        ("PUT", "/v2/a/b/manifests/x", raw),
        ("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", RAW),
    ):
        async with wire.connect() as line:
            head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\nExpect: 100-continue\r\n"
            await line.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            assert await line.read_head() == (100, {})
            await line.send(body)
            assert (await line.read_answer())[0] in {201, 202}


@pytest.mark.parametrize(
    ("method", "path", "length", "status"),
    [
        ("PATCH", "/v2/a/b/blobs/uploads/unknown", 10, 404),
        ("PUT", "/v2/A/b/manifests/x", 10, 400),
        ("PUT", "/v2/a/b/manifests/sha256:baddigest", 10, 400),
        ("PUT", "/v2/a/b/manifests/x", 5_000_000, 413),
        ("PUT", "/v2/a/b/tags/list", 10, 405),
    ],
)
async def test_whoever_waits_for_nothing_hears_it_before_sending(
    wire: Wire, method: str, path: str, length: int, status: int
) -> None:
    """41: no 100 before the error, and its JSON is there to be read."""
    async with wire.connect() as line:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        await line.send(head.encode())
        found, headers, body = await line.read_answer()
        assert (found, headers["content-type"]) == (status, "application/json")
        assert b'"errors"' in body


async def test_a_refusal_reaches_who_is_still_sending(wire: Wire) -> None:
    """41: "On early error drain or close the connection, else clients show "broken pipe" instead of our JSON"."""
    answer = await wire("PATCH", "/v2/a/b/blobs/uploads/unknown", bytes(20_000_000))
    assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n"])
async def test_what_is_no_http_is_answered_in_json_all_the_same(wire: Wire, raw: bytes) -> None:
    """42, 1."""
    async with wire.connect() as line:
        await line.send(raw)
        status, headers, body = await line.read_answer()
        assert status == 400
        assert await line.reader.read() == b""
        assert headers["docker-distribution-api-version"] == "registry/2.0"
        assert b'"errors"' in body
