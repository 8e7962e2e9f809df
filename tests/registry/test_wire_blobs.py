"""Blobs as they are pulled, by the numbers of the design's list of what real clients depend upon."""

import asyncio
import os
import re
from pathlib import Path

import aiohttp
import pytest

from layerkit.oci.digest import Digest
from tests.wire import Wire

RAW = bytes(range(256)) * 8
LARGE = bytes(range(256)) * 1024
ABSENT = Digest.of(b"absent")


@pytest.fixture
async def digest(wire: Wire) -> Digest:
    return await wire.push_blob("a/b", RAW)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_comes_with_its_length_digest_and_etag(wire: Wire, digest: Digest, method: str) -> None:
    """26: "Content-Length, Docker-Content-Digest, `Accept-Ranges: bytes`, `application/octet-stream`, ETag"."""
    answer = await wire(method, f"/v2/a/b/blobs/{digest}")
    assert (answer.status, answer.body) == (200, RAW if method == "GET" else b"")
    assert answer.headers["Content-Length"] == str(len(RAW))
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["ETag"] == f'"{digest}"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["a/b", "nobody/knows"])
async def test_an_unknown_blob_is_404(wire: Wire, digest: Digest, method: str, name: str) -> None:
    """26: "404 BLOB_UNKNOWN", also for who says that it has it."""
    answer = await wire(method, f"/v2/{name}/blobs/{ABSENT}", headers={"If-None-Match": f'"{ABSENT}"'})
    assert answer.status == 404
    assert answer.body == b"" if method == "HEAD" else answer.codes == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', '"x", "{}"', "*"])
async def test_whoever_has_a_blob_is_told_so(wire: Wire, digest: Digest, method: str, form: str) -> None:
    """26: ETag; a blob never changes."""
    answer = await wire(method, f"/v2/a/b/blobs/{digest}", headers={"If-None-Match": form.format(digest)})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == f'"{digest}"'
    assert "immutable" in answer.headers["Cache-Control"]


async def test_a_blob_of_another_repository_is_unknown(wire: Wire, digest: Digest) -> None:
    """26: "404 BLOB_UNKNOWN": one copy on disk, and yet each repository serves its own."""
    assert (await wire("GET", f"/v2/a/c/blobs/{digest}")).status == 404


async def test_no_encoding_is_applied_to_what_is_a_digest_s(wire: Wire, digest: Digest) -> None:
    """13: "Clients send `Accept-Encoding: zstd, gzip` even for blobs: ignore it"."""
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Accept-Encoding": "zstd, gzip"})
    assert answer.body == RAW
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 2048),
        ("bytes=-5000", 0, 2048),
        ("Bytes=0-9", 0, 10),
        ("bytes=0-9,5000-6000", 0, 10),
    ],
)
async def test_a_part_is_206_and_says_which(wire: Wire, digest: Digest, asked: str, start: int, stop: int) -> None:
    """27: "206 + `Content-Range: bytes a-b/total`; end beyond size clipped"; 30: resuming is asking so."""
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.body) == (206, RAW[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(RAW)}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("asked", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=3000-,4000-"])
async def test_a_part_that_is_not_there_is_416(wire: Wire, digest: Digest, asked: str) -> None:
    """27: "start >= size or `500-0` -> 416 (with `bytes */total`)"."""
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])
    assert answer.headers["Content-Range"] == f"bytes */{len(RAW)}"


@pytest.mark.parametrize("asked", ["items=0-1", "bytes=a-b", "bytes", "bytes=0-1-2", "bytes=-"])
async def test_a_range_that_is_none_is_passed_over(wire: Wire, digest: Digest, asked: str) -> None:
    """27: "Malformed unit -> ignore, 200"."""
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.body) == (200, RAW)


async def test_a_range_of_an_empty_blob_is_416(wire: Wire) -> None:
    """27: "start >= size -> 416"."""
    empty = await wire.push_blob("a/b", b"")
    assert (await wire("GET", f"/v2/a/b/blobs/{empty}", headers={"Range": "bytes=0-"})).status == 416


async def test_a_range_of_a_blob_that_is_not_there_is_404(wire: Wire, digest: Digest) -> None:
    """27, 26: what does not exist has no range that could be wrong."""
    for asked in ("bytes=0-", "bytes=0-1,3-4", "bytes=5-0"):
        assert (await wire("GET", f"/v2/a/b/blobs/{ABSENT}", headers={"Range": asked})).status == 404


async def test_head_has_no_ranges(wire: Wire, digest: Digest) -> None:
    """27, 12: Range means something with GET alone (RFC 9110, section 14.2)."""
    answer = await wire("HEAD", f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=0-1"})
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(RAW)))


async def test_a_range_of_another_blob_s_etag_is_the_whole(wire: Wire, digest: Digest) -> None:
    """27: If-Range with the digest gives the part, with anything else all of it."""
    for tag, status in ((f'"{digest}"', 206), (f'"{ABSENT}"', 200), ("Mon, 01 Jan 2024 00:00:00 GMT", 200)):
        answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=0-1", "If-Range": tag})
        assert answer.status == status


@pytest.mark.parametrize("raw", [RAW, LARGE], ids=["small", "large"])
async def test_several_ranges_are_as_many_parts_in_the_order_asked(wire: Wire, raw: bytes) -> None:
    """28: "`206 multipart/byteranges`... boundary from `[A-Za-z0-9:-]` only. Never 206 with only the first range".

    containers/image takes the n-th part for its n-th range, so neighbours are not joined.
    """
    digest = await wire.push_blob("a/b", raw)
    asked = [(1000, 1500), (0, 10), (10, 20), (len(raw) - 7, len(raw)), (2000, len(raw) - 7)]
    header = ",".join(f"{start}-{stop - 1}" for start, stop in asked)
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": f"bytes={header}"})
    assert answer.status == 206
    assert "Content-Range" not in answer.headers
    assert answer.headers["Content-Length"] == str(len(answer.body))
    match = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9:-]{1,70})", answer.headers["Content-Type"])
    assert match is not None
    first, *parts, last = answer.body.split(f"\r\n--{match[1]}".encode())
    assert (first, last) == (b"", b"--\r\n")
    expected = [
        b"\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%b"
        % (start, stop - 1, len(raw), raw[start:stop])
        for start, stop in asked
    ]
    assert parts == expected


@pytest.mark.parametrize("asked", ["bytes=0-10,5-20", "bytes=0-,0-", "bytes=-10,0-0,2040-2041"])
async def test_ranges_that_overlap_are_answered_with_the_whole(wire: Wire, digest: Digest, asked: str) -> None:
    """28: "or 200 whole": a small request must not make a large answer."""
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.body) == (200, RAW)


async def test_more_ranges_than_a_header_holds_are_400(wire: Wire, digest: Digest) -> None:
    """28: "Limit number... or 400 (both fall back)": containers/image asks again for fewer."""
    asked = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 3000, 2))
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.codes) == (400, ["UNSUPPORTED"])


async def test_an_interrupted_pull_is_resumed(wire: Wire) -> None:
    """30: "clients re-GET with `Range: bytes=N-` after cut connection; answer must be 206"."""
    raw = LARGE * 40
    digest = await wire.push_blob("a/b", raw)
    async with wire.connect() as line:
        await line.send(b"GET /v2/a/b/blobs/%b HTTP/1.1\r\nHost: x\r\n\r\n" % digest.encode())
        await line.read_head()
        begun = await line.reader.readexactly(100_000)
    rest = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": f"bytes={len(begun)}-"})
    assert rest.status == 206
    assert begun + rest.body == raw


async def test_a_malformed_digest_is_400(wire: Wire) -> None:
    """26, 42: a digest that is none has its own code."""
    for text in ("sha256:baddigest", "latest", "md5:d41d8cd98f00b204e9800998ecf8427e", f"{ABSENT}0", ABSENT.upper()):
        answer = await wire("GET", f"/v2/a/b/blobs/{text}")
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


async def test_a_deleted_blob_is_gone_at_once(wire: Wire, digest: Digest) -> None:
    """23: "DELETE: 202; then GET is 404 at once"; again it is 404."""
    assert (await wire("DELETE", f"/v2/a/b/blobs/{digest}")).status == 202
    for method in ("HEAD", "GET", "DELETE"):
        assert (await wire(method, f"/v2/a/b/blobs/{digest}")).status == 404


async def test_a_blob_that_a_manifest_needs_is_not_deleted(wire: Wire) -> None:
    """405, which the conformance suite accepts in place of 202 (distribution-spec, "Deleting Blobs")."""
    manifest = Digest.of(await wire.push_image("a/b", "latest", layer=RAW))
    answer = await wire("DELETE", f"/v2/a/b/blobs/{Digest.of(RAW)}")
    assert (answer.status, answer.codes) == (405, ["DENIED"])
    assert answer.headers["Allow"] == "GET, HEAD"
    assert answer.json["errors"][0]["detail"] == {"manifest": manifest}
    assert manifest in answer.json["errors"][0]["message"]
    await wire("DELETE", f"/v2/a/b/manifests/{manifest}")
    assert (await wire("DELETE", f"/v2/a/b/blobs/{Digest.of(RAW)}")).status == 202


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-1,1000-300000"])
async def test_a_file_that_is_too_short_cuts_the_answer_off(wire: Wire, tmp_path: Path, asked: str) -> None:
    """30: what was promised and cannot be kept ends early, so that the client neither waits nor takes an error's JSON
    for content."""
    raw = LARGE * 2
    digest = await wire.push_blob("a/b", raw)
    os.truncate(tmp_path / "registry/blobs/sha256" / digest.encoded[:2] / digest.encoded, 200_000)
    with pytest.raises(aiohttp.ClientPayloadError):
        await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    answer = await wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=199999-200001"})
    assert (answer.status, answer.codes) == (500, ["UNKNOWN"])


async def test_many_parts_are_pulled_at_once(wire: Wire) -> None:
    """48: "several parallel connections per client; CD also parallel ranges inside a layer"."""
    digest = await wire.push_blob("a/b", LARGE)
    parts = range(0, len(LARGE), 10_000)
    answers = await asyncio.gather(
        *(wire("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": f"bytes={part}-{part + 9_999}"}) for part in parts)
    )
    assert b"".join(answer.body for answer in answers) == LARGE
