"""Whatever is sent: no answer is a 5xx, an error is the spec's JSON, others are served, and nothing is left over."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.app import run_server
from registry.config import Address, Configuration, LogLevel
from tests.wire import Line, Wire, blob, image

RAW = b"content"
DIGEST = Digest.of(RAW)
HEAD = "Host: x\r\nConnection: close\r\n"
TELLING = {"GET", "PUT", "POST", "PATCH", "DELETE"}
"""Methods whose errors have a body."""


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    """When the test is over, the server still serves, and has no more open files and tasks than before."""
    async with AsyncExitStack() as stack:
        configuration = Configuration(
            root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1, log_level=LogLevel.ERROR
        )
        address = await stack.enter_async_context(run_server(configuration))
        connector = aiohttp.TCPConnector(force_close=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        wire = Wire(address, session)
        await wire.push_image("a", "latest", RAW)
        before = count_open()
        yield wire
        async with asyncio.timeout(20):
            while any(now > then for now, then in zip(count_open(), before, strict=True)):
                assert (await wire("GET", "/v2/")).status == 200
        assert (await wire("GET", f"/v2/a/blobs/{DIGEST}")).body == RAW


def count_open() -> tuple[int, int]:
    """Files and tasks of the server and its clients."""
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


async def exchange(wire: Wire, *parts: bytes) -> tuple[int, bytes]:
    """Send these bytes on a connection of their own: the status and body of the answer, 0 for none at all."""
    async with asyncio.timeout(20), wire.connect() as line:
        try:
            for part in parts:
                await line.send(part)
            status, _, body = await line.read_answer()
        except (ConnectionError, asyncio.IncompleteReadError):
            return 0, b""
        return status, body


def check_answer(status: int, body: bytes, *, has_body: bool = True) -> None:
    assert status < 500, body
    if status >= 400 and has_body:
        errors = msgspec.json.decode(body)["errors"]
        assert errors
        assert all(entry["code"].isupper() and entry["message"] for entry in errors)


BAD_TARGETS = [
    *("", "/", "*", "//", "/v2//", "/v2/../../etc/passwd", "/v2/%2e%2e/%2e%2e/registry.db", "http://", "http://x"),
    *(
        f"/v2/{name}/tags/list"
        for name in ("A", "%00", "%ff%fe", "%c0%af", "a%0d%0ab", "%", "%zz", "a%20b", "\xe4", "-")
    ),
    *(
        f"/v2/a/manifests/{text}"
        for text in ("%00", "..%2f..", "sha256:", "sha256:zz", ":", "a" * 129, "md5:00", "%0a")
    ),
    *(
        f"/v2/a/blobs/{text}"
        for text in ("sha256:../../x", f"{DIGEST}0", f"{DIGEST.upper()}", "%0d%0aX:%20y", "sha256:%00")
    ),
    *(
        f"/v2/a/blobs/uploads/{text}"
        for text in ("..", "..%2fx", "%00", "sha256-" + "x" * 65, "%2e", "sha256-%0a", "\xff")
    ),
    *(f"/v2/_catalog?n={text}" for text in ("-1", "x", "1e3", "%00", "0x10", "\u0661", "1.5")),
    *(f"/v2/a/referrers/{text}" for text in ("latest", "sha256:", "%00")),
]


@pytest.mark.parametrize("target", BAD_TARGETS)
async def test_a_target_that_is_none_is_refused_in_json(wire: Wire, target: str) -> None:
    for method in sorted(TELLING):
        head = f"{method} {target} HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{}}"
        status, body = await exchange(wire, head.encode())
        assert 400 <= status < 500, (method, status)
        check_answer(status, body)


BAD_HEADS = [
    b"\r\n",
    b"\x00\x01\x02\x03\r\n\r\n",
    b"GET\r\n\r\n",
    b"G\x00T /v2/ HTTP/1.1\r\n\r\n",
    b"get /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/ HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /v2/ HTTP/1.1\nHost: x\n\n",
    b"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/a b/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nX: a\rb\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /v2/?" + b"q" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/" + b"a/" * 10_000 + b"tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(50_000)) + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    *(
        b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n{}"
        for framing in (
            b"Content-Length: -1",
            b"Content-Length: +2",
            b"Content-Length: 2, 3",
            b"Content-Length: 2\r\nContent-Length: 3",
            b"Content-Length: 0x2",
            b"Content-Length: 1e3",
            b"Content-Length: two",
            b"Content-Length: " + b"9" * 40,
            b"Content-Length: " + b"9" * 5_000,
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: x",
        )
    ),
    *(
        b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        for body in (
            b"zz\r\n",
            b"-1\r\n{}\r\n0\r\n\r\n",
            b"F" * 40 + b"\r\n{}",
            b"2\r\n{}0\r\n\r\n",
            b"2;" + b"x" * 100_000,
        )
    ),
]


@pytest.mark.parametrize("raw", BAD_HEADS, ids=lambda raw: repr(raw[:60]))
async def test_what_is_no_request_is_no_fault_of_ours(wire: Wire, raw: bytes) -> None:
    """It is refused, or answered where it has a meaning, or the connection is closed."""
    async with asyncio.timeout(20), wire.connect() as line:
        line.writer.write(raw)
        line.writer.write_eof()
        try:
            status, _, body = await line.read_answer()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        check_answer(status, body)


@pytest.mark.parametrize("length", [10**9, 2**63 - 1, 2**63, 10**30])
@pytest.mark.parametrize("target", ["manifests/x", "upload"])
async def test_a_length_that_nobody_can_send_is_survived(wire: Wire, tmp_path: Path, target: str, length: int) -> None:
    target = await wire.start("a") if target == "upload" else f"/v2/a/{target}"
    head = f"PUT {target}?digest={DIGEST} HTTP/1.1\r\n{HEAD}Content-Length: {length}\r\n\r\n"
    async with wire.connect() as line:
        await line.send(head.encode() + RAW)
    async with asyncio.timeout(20):
        while (await wire("GET", f"/v2/a/blobs/{DIGEST}")).status != 200 or count_locked(tmp_path):
            pass


def count_locked(tmp_path: Path) -> int:
    """Uploads that the server has open."""
    uploads = tmp_path / "registry/uploads"
    return sum(fd.resolve().is_relative_to(uploads) for fd in Path("/proc/self/fd").iterdir())


RANGES = [
    *(
        "bytes=0-",
        "bytes=-0",
        "bytes=5-2",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=--1",
        "bytes=0-1,",
        "items=0-1",
        "\xe4",
    ),
    *(
        "bytes=99999999999999999999-",
        f"bytes=0-{'9' * 100}",
        f"bytes=-{'9' * 19}",
        f"bytes={'0-0,' * 2000}0-0",
        "bytes=1-1,0-0",
    ),
]


@pytest.mark.parametrize("header", RANGES, ids=lambda header: header[:30])
async def test_a_range_of_any_form_gets_the_whole_a_part_or_416(wire: Wire, header: str) -> None:
    request = f"GET /v2/a/blobs/{DIGEST} HTTP/1.1\r\n{HEAD}Range: {header}\r\n\r\n"
    status, body = await exchange(wire, request.encode("latin-1"))
    assert status in {200, 206, 400, 416}
    check_answer(status, body)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "0",
        "-",
        "0-",
        "-1",
        "1-0",
        "0-6-7",
        "a-b",
        "9" * 30 + "-" + "9" * 31,
        "bytes */7",
        "0-6\x00",
        "\u0660-\u0666",
    ],
)
async def test_a_content_range_that_is_none_changes_nothing(wire: Wire, header: str) -> None:
    location = await wire.start("a")
    for method, target in (("PATCH", location), ("PUT", f"{location}?digest={DIGEST}")):
        head = f"{method} {target} HTTP/1.1\r\n{HEAD}Content-Length: 7\r\nContent-Range: {header}\r\n\r\n"
        status, body = await exchange(wire, head.encode() + RAW)
        assert status in {400, 416}
        check_answer(status, body)
    assert (await wire("GET", location)).headers["Range"] == "0-0"
    assert (await wire("PUT", f"{location}?digest={DIGEST}", RAW)).status == 201


def manifest_with(field: str, value: bytes) -> bytes:
    return image(blob(RAW))[:-1] + b',"%s":%s}' % (field.encode(), value)


DEEP = b"[" * 10_000 + b"]" * 10_000
DEEP_OBJECT = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
BAD_DOCUMENTS = [
    *(
        DEEP,
        DEEP_OBJECT,
        b"[" * 10_000,
        b"",
        b"\x00",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"{}" * 2,
        b"null",
        b"1e999",
        b'"',
    ),
    *(
        manifest_with(field, value)
        for field in ("annotations", "subject", "config", "layers")
        for value in (DEEP, DEEP_OBJECT)
    ),
    manifest_with("unknown", DEEP),
    manifest_with("annotations", b'{"a":"\\ud800"}'),
    manifest_with("annotations", b'{"\xff":"b"}'),
    manifest_with("annotations", b'{"a":1}'),
    manifest_with("artifactType", b'"\\udfff"'),
    manifest_with("schemaVersion", b"2.5"),
    manifest_with("schemaVersion", b"9" * 5_000),
    manifest_with("config", b'{"mediaType":"a/b","digest":"sha256:00","size":1}'),
    manifest_with("config", b'{"mediaType":"a/b","digest":"%s","size":-1}' % DIGEST.encode()),
    manifest_with("config", b'{"mediaType":"a/b","digest":"%s","size":%s}' % (DIGEST.encode(), b"9" * 400)),
    manifest_with("mediaType", b'"a/b\\r\\nX: y"'),
]


@pytest.mark.parametrize("raw", BAD_DOCUMENTS, ids=lambda raw: repr(raw[-40:]))
async def test_a_document_that_is_no_manifest_is_no_fault_of_ours(wire: Wire, raw: bytes) -> None:
    for name, media_type in (("a", OCI_MANIFEST), ("b", OCI_INDEX), ("c", "application/vnd.unknown+json"), ("d", "")):
        answer = await wire.put_manifest(name, "hostile", raw, media_type)
        check_answer(answer.status, answer.body)
        found = await wire("GET", f"/v2/{name}/manifests/hostile")
        if answer.status == 201:
            assert found.body == raw
            assert (await wire("GET", f"/v2/{name}/referrers/{DIGEST}")).status == 200
        else:
            assert (answer.status, found.status) == (400, 404)


@pytest.mark.parametrize("raw", [b'{"a":"' + b"x" * 5 * 2**20 + b'"}', b"[" * 5 * 2**20], ids=["long", "deep"])
async def test_a_document_of_5_mib_is_413(wire: Wire, raw: bytes) -> None:
    answer = await wire.put_manifest("a", "hostile", raw)
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])


@pytest.mark.parametrize(
    "media_type", ["a/b\x01", "a" * 8_000, "a/b; c=\xff", "/", ";", "\xe4/\xf6", "a/b, c/d", "text/html"]
)
async def test_a_content_type_of_any_form_comes_back_as_one_line_or_is_refused(wire: Wire, media_type: str) -> None:
    head = f"PUT /v2/a/manifests/hostile HTTP/1.1\r\n{HEAD}Content-Type: {media_type}\r\nContent-Length: 2\r\n\r\n{{}}"
    status, body = await exchange(wire, head.encode("latin-1"))
    check_answer(status, body)
    answer = await wire("GET", "/v2/a/manifests/hostile")
    assert answer.status == (200 if status == 201 else 404)


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_a_body_that_ends_early_keeps_what_came_and_no_manifest(wire: Wire, tmp_path: Path, framing: str) -> None:
    location = await wire.start("a")
    sent = b"7\r\ncontent\r\n" if "chunked" in framing else RAW
    for method, target in (("PATCH", location), ("PUT", "/v2/a/manifests/cut")):
        async with wire.connect() as line:
            await line.send(f"{method} {target} HTTP/1.1\r\n{HEAD}{framing}\r\n\r\n".encode() + sent)
            line.writer.write_eof()
            await line.reader.read()
    async with asyncio.timeout(20):
        while count_locked(tmp_path):
            await wire("GET", "/v2/")
    assert (await wire("GET", "/v2/a/manifests/cut")).status == 404
    assert (await wire("GET", location)).headers["Range"] == "0-6"
    assert (await wire("PUT", f"{location}?digest={DIGEST}")).status == 201
    assert list((tmp_path / "registry/uploads").iterdir()) == []


async def test_whoever_stalls_holds_up_nobody(wire: Wire, tmp_path: Path) -> None:
    """A byte of a head, of a manifest, of an upload each, and then nothing more."""
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        locations = [await wire.start("a") for _ in range(20)]
        lines: list[Line] = []
        for location in locations:
            for head in ("G", f"PUT /v2/a/manifests/x HTTP/1.1\r\n{HEAD}Content-Length: 9\r\n\r\n{{"):
                lines.append(await stack.enter_async_context(wire.connect()))
                await lines[-1].send(head.encode())
            lines.append(await stack.enter_async_context(wire.connect()))
            await lines[-1].send(f"PATCH {location} HTTP/1.1\r\n{HEAD}Content-Length: 9\r\n\r\nc".encode())
        while count_locked(tmp_path) < len(locations):
            await wire("GET", "/v2/")
        await wire.push_image("b", "latest", os.urandom(2**20))
        assert (await wire("GET", "/v2/b/tags/list")).json["tags"] == ["latest"]
        # Its writer is alive, for all that anybody knows.
        answer = await wire("GET", locations[0])
        assert (answer.status, answer.codes) == (400, ["BLOB_UPLOAD_INVALID"])
        await stack.aclose()
        while count_locked(tmp_path):
            await wire("GET", "/v2/")
        for location in locations:
            assert (await wire("GET", location)).headers["Range"] == "0-0"
            assert (await wire("PUT", f"{location}?digest={DIGEST}", RAW[1:])).status == 201
    assert list((tmp_path / "registry/uploads").iterdir()) == []


async def test_a_client_that_does_not_read_holds_up_nobody(wire: Wire) -> None:
    large = os.urandom(8 * 2**20)
    digest = await wire.push_blob("a", large)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for _ in range(20):
            line = await stack.enter_async_context(wire.connect())
            await line.send(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert (await wire("GET", f"/v2/a/blobs/{digest}")).body == large


async def test_uploads_that_ended_leave_no_file(wire: Wire, tmp_path: Path) -> None:
    for query, expected in (
        (f"?digest={DIGEST}", 201),
        (f"?digest={Digest.of(b'other')}", 400),
        (f"?mount={DIGEST}", 201),
    ):
        assert (await wire("POST", f"/v2/b/blobs/uploads/{query}", RAW)).status == expected
    assert (await wire("DELETE", await wire.start("b"))).status == 204
    assert (await wire("PUT", f"{await wire.start('b')}?digest={Digest.of(b'other')}", RAW)).status == 400
    assert list((tmp_path / "registry/uploads").iterdir()) == []


nasty = st.sampled_from(
    [
        "",
        "a",
        "A",
        "latest",
        "..",
        "%00",
        "%2f",
        "%0d%0a",
        "%ff",
        "*",
        "uploads",
        "sha256:",
        str(DIGEST),
        "0",
        "-1",
        "9" * 30,
    ]
) | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=12)
endpoints = st.sampled_from(
    [
        "",
        "a/tags/list",
        "a/manifests/{}",
        "a/blobs/{}",
        "a/blobs/uploads/",
        "a/blobs/uploads/{}",
        "a/referrers/{}",
        "{}/{}",
        "_catalog",
    ]
)
parameters = st.sampled_from(
    ["n", "last", "digest", "mount", "from", "tag", "artifactType", "digest-algorithm", "x", ""]
)
methods = st.sampled_from([*sorted(TELLING), "HEAD", "OPTIONS", "TRACE", "PROPFIND", "X", "a-b"])
bodies = st.sampled_from([b"", b"{}", RAW, image(blob(RAW)), b"\x00\xff"]) | st.binary(max_size=30)
header_names = st.sampled_from(
    ["Range", "Content-Range", "Content-Type", "If-None-Match", "If-Range", "Expect", "Accept"]
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    method = draw(methods)
    endpoint = draw(endpoints)
    path = endpoint.format(*(draw(nasty) for _ in range(endpoint.count("{}"))))
    query = "&".join(f"{name}={value}" for name, value in draw(st.lists(st.tuples(parameters, nasty), max_size=3)))
    lines = [f"{name}: {value}\r\n" for name, value in draw(st.lists(st.tuples(header_names, nasty), max_size=2))]
    body = draw(bodies)
    head = f"{method} /v2/{path}?{query} HTTP/1.1\r\n{HEAD}{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
    return method, head.encode() + body


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(requests=st.lists(requests(), min_size=1, max_size=3))
async def test_any_request_is_answered_and_never_with_a_fault(
    wire: Wire, requests: Sequence[tuple[str, bytes]]
) -> None:
    for method, raw in requests:
        status, body = await exchange_any(wire, method, raw)
        assert status
        check_answer(status, body, has_body=method in TELLING)


async def exchange_any(wire: Wire, method: str, raw: bytes) -> tuple[int, bytes]:
    async with asyncio.timeout(20), wire.connect() as line:
        await line.send(raw)
        status, headers = await line.read_head()
        while status == 100:
            status, headers = await line.read_head()
        body = b"" if method == "HEAD" else await line.reader.read()
        if method != "HEAD" and "content-length" in headers:
            assert len(body) == int(headers["content-length"])
        return status, body
