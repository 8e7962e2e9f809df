"""Manifests, by the numbers of the design's list of what real clients depend upon."""

import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.manifest import MAX_SIZE
from layerkit.oci.mediatype import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from layerkit.oci.request import MAX_TAGS
from tests.wire import Wire, blob, image, in_chunks, index

ABSENT = Digest.of(b"absent")


@pytest.fixture
async def raw(wire: Wire) -> bytes:
    return await wire.push_image("a/b", "latest")


async def test_head_has_type_length_and_digest(wire: Wire, raw: bytes) -> None:
    """12: "`Content-Type` (exact stored media type), `Content-Length` (real size), `Docker-Content-Digest`"."""
    for reference in ("latest", Digest.of(raw)):
        answer = await wire("HEAD", f"/v2/a/b/manifests/{reference}")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Content-Length"] == str(len(raw))
        assert answer.headers["Docker-Content-Digest"] == Digest.of(raw)
        assert "Transfer-Encoding" not in answer.headers


async def test_get_has_the_very_bytes(wire: Wire) -> None:
    """13: "the exact bytes; no compression, no charset, no re-serialisation"."""
    await wire.push_blob("a/b", b"{}")
    raw = image().replace(b",", b" ,\n\t") + b"\n\n"
    await wire.put_manifest("a/b", "spaced", raw)
    answer = await wire("GET", "/v2/a/b/manifests/spaced", headers={"Accept-Encoding": "zstd, gzip"})
    assert (answer.status, answer.body) == (200, raw)
    assert answer.headers["Content-Type"] == OCI_MANIFEST
    assert answer.headers["Content-Length"] == str(len(raw))
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    "accept", [None, "*/*", DOCKER_LIST, "text/html;q=0.9, application/xml", f"{DOCKER_MANIFEST}, {OCI_INDEX};q=0.1"]
)
async def test_the_stored_type_is_the_answer_to_any_accept(wire: Wire, raw: bytes, accept: str | None) -> None:
    """14: "Always return the stored type: never 404 because Accept doesn't list it"."""
    for method in ("GET", "HEAD"):
        answer = await wire(method, "/v2/a/b/manifests/latest", headers={"Accept": accept} if accept else None)
        assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_MANIFEST)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', "{}"])
async def test_whoever_has_a_manifest_is_told_so(wire: Wire, raw: bytes, method: str, form: str) -> None:
    """15: "`If-None-Match` with quoted or unquoted digest -> 304; `ETag`; by digest max-age, by tag no-cache"."""
    digest = Digest.of(raw)
    for reference, caching in (("latest", "no-cache"), (digest, "max-age=31536000, immutable")):
        path = f"/v2/a/b/manifests/{reference}"
        answer = await wire(method, path, headers={"If-None-Match": form.format(digest)})
        assert (answer.status, answer.body) == (304, b"")
        assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == (f'"{digest}"', caching)
        assert (await wire(method, path, headers={"If-None-Match": form.format(ABSENT)})).status == 200


async def test_put_is_201_with_location_and_digest(wire: Wire, raw: bytes) -> None:
    """16: "PUT -> 201, `Location` (by digest), `Docker-Content-Digest`, `OCI-Subject` if subject"."""
    answer = await wire.put_manifest("a/b", "v1", raw)
    assert (answer.status, answer.body) == (201, b"")
    assert answer.location == f"/v2/a/b/manifests/{Digest.of(raw)}"
    assert answer.headers["Docker-Content-Digest"] == Digest.of(raw)
    assert "OCI-Subject" not in answer.headers
    assert (await wire("GET", answer.location)).body == raw
    subject = blob(raw, OCI_MANIFEST)
    answer = await wire.put_manifest("a/b", "signature", image(subject=subject))
    assert answer.headers["OCI-Subject"] == subject.digest


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_manifest_is_put_with_its_tags(wire: Wire, raw: bytes, algorithm: str) -> None:
    """16: "`OCI-Tag` for 1.2": "at least 10 tags ... an `OCI-Tag` response header for each accepted tag"."""
    digest = Digest.of(raw, algorithm)
    tags = [f"{'v' * 127}{n}" for n in range(10)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = await wire.put_manifest("a/b", f"{digest}?{query}", raw)
    assert (answer.status, answer.headers.getall("OCI-Tag")) == (201, tags)
    for tag in tags:
        found = await wire("HEAD", f"/v2/a/b/manifests/{tag}")
        assert (found.status, found.headers["Docker-Content-Digest"]) == (200, digest)


async def test_more_tags_than_the_limit_are_414(wire: Wire, raw: bytes) -> None:
    """16: "414 above the limit"; then nothing is done."""
    for count, status in ((MAX_TAGS, 201), (MAX_TAGS + 1, 414)):
        query = "&".join(f"tag=n{count}-{n}" for n in range(count))
        answer = await wire.put_manifest("a/b", f"{Digest.of(raw)}?{query}", raw)
        assert answer.status == status
        assert (await wire("HEAD", f"/v2/a/b/manifests/n{count}-0")).status == (200 if status == 201 else 404)


async def test_a_bad_tag_beside_a_digest_is_400(wire: Wire, raw: bytes) -> None:
    """16, 18: TAG_INVALID, and not even the good ones are set."""
    answer = await wire.put_manifest("a/b", f"{Digest.of(raw)}?tag=good&tag=.bad", raw)
    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
    assert (await wire("HEAD", "/v2/a/b/manifests/good")).status == 404


@pytest.mark.parametrize(
    ("stated", "media_type"),
    [
        (f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (OCI_MANIFEST.upper(), OCI_MANIFEST),
        (None, OCI_MANIFEST),
        ("application/json", OCI_MANIFEST),
        ("application/octet-stream", OCI_MANIFEST),
        ("application/x-www-form-urlencoded", OCI_MANIFEST),
        ("nonsense", OCI_MANIFEST),
    ],
)
async def test_the_type_is_what_header_or_document_say(
    wire: Wire, raw: bytes, stated: str | None, media_type: str
) -> None:
    """17: "strip parameters; absent Content-Type: take `mediaType` field"."""
    answer = await wire("PUT", "/v2/a/b/manifests/typed", raw, headers={"Content-Type": stated} if stated else None)
    assert answer.status == 201
    assert (await wire("HEAD", "/v2/a/b/manifests/typed")).headers["Content-Type"] == media_type


async def test_a_type_that_nobody_states_is_guessed(wire: Wire, raw: bytes) -> None:
    """17: "else guess"."""
    child = blob(raw, OCI_MANIFEST)
    for document, media_type in ((image(), OCI_MANIFEST), (index(child), OCI_INDEX)):
        untyped = document.replace(b'"mediaType":"%b",' % media_type.encode(), b"", 1)
        # The field is sorted before schemaVersion in both; a child's own stays.
        await wire("PUT", "/v2/a/b/manifests/guessed", untyped)
        assert (await wire("HEAD", "/v2/a/b/manifests/guessed")).headers["Content-Type"] == media_type


async def test_types_that_disagree_are_refused(wire: Wire, raw: bytes) -> None:
    """17: "if both disagree -> 400 MANIFEST_INVALID"."""
    answer = await wire.put_manifest("a/b", "odd", raw, DOCKER_MANIFEST)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


async def test_a_manifest_of_any_type_is_taken(wire: Wire) -> None:
    """17, 13: what we don't know is kept as it is."""
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.example.thing+json","blobs":[]}'
    assert (await wire.put_manifest("a/b", "thing", raw, "application/vnd.example.thing+json")).status == 201
    answer = await wire("GET", "/v2/a/b/manifests/thing")
    assert (answer.body, answer.headers["Content-Type"]) == (raw, "application/vnd.example.thing+json")


@pytest.mark.parametrize(
    ("media_type", "document"),
    [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion":1,"fsLayers":[]}'),
        ("application/vnd.docker.distribution.manifest.v1+json", b'{"schemaVersion":1,"fsLayers":[]}'),
        (OCI_MANIFEST, b'{"schemaVersion":1,"fsLayers":[]}'),
        (OCI_MANIFEST, b"blablabla"),
        (OCI_MANIFEST, b""),
        (OCI_MANIFEST, b"\xff\xfe"),
        (OCI_MANIFEST, b"[" * 100_000),
        (OCI_INDEX, b'{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":1,"mediaType":"a/b"}]}'),
        (OCI_MANIFEST, image() + b"garbage"),
        (OCI_MANIFEST, image() + image()),
    ],
)
async def test_what_is_no_manifest_is_400(wire: Wire, media_type: str, document: bytes) -> None:
    """18: "must be 400 + MANIFEST_INVALID"; 14: schema 1; 20: "trailing garbage after JSON: refuse on write"."""
    await wire.push_blob("a/b", b"{}")
    answer = await wire.put_manifest("a/b", "latest", document, media_type)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


async def test_a_bad_tag_is_400_where_it_is_written(wire: Wire, raw: bytes) -> None:
    """18: "TAG_INVALID: CI then retries with another format"."""
    for tag in (".INVALID_MANIFEST_NAME", "-x", "x" * 129, "a%20b"):
        answer = await wire.put_manifest("a/b", tag, raw)
        assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])


async def test_every_missing_digest_has_an_entry(wire: Wire) -> None:
    """18: "Missing blob/child -> MANIFEST_BLOB_UNKNOWN, one error entry per missing digest"."""
    missing = sorted([blob(b"one", OCI_LAYER_GZIP), blob(b"two", OCI_LAYER_GZIP)], key=lambda each: each.digest)
    await wire.push_blob("a/b", b"{}")
    for raw, media_type in ((image(*missing), OCI_MANIFEST), (index(*missing), OCI_INDEX)):
        answer = await wire.put_manifest("a/b", "latest", raw, media_type)
        assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 2)
        assert [entry["detail"]["digest"] for entry in answer.json["errors"]] == [each.digest for each in missing]
    assert (await wire("GET", "/v2/a/b/manifests/latest")).status == 404


async def test_a_missing_subject_is_accepted(wire: Wire) -> None:
    """18: "Subject may be missing -> accept (MUST)"."""
    await wire.push_blob("a/b", b"{}")
    assert (await wire.put_manifest("a/b", "x", image(subject=blob(b"absent", OCI_MANIFEST)))).status == 201


async def test_children_may_be_blobs(wire: Wire, raw: bytes) -> None:
    """19: "Index children may be blobs (BK registry cache)"."""
    cache = blob(b"cache", "application/vnd.buildkit.cacheconfig.v0")
    await wire.push_blob("a/b", b"cache")
    answer = await wire.put_manifest("a/b", "cache", index(blob(raw, OCI_MANIFEST), cache), OCI_INDEX)
    assert answer.status == 201
    # And then they are needed as well.
    assert (await wire("DELETE", f"/v2/a/b/blobs/{cache.digest}")).status == 405


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_indexes_nest(wire: Wire, raw: bytes, algorithm: str) -> None:
    """19: a child may be an index; 21: by whichever digest it was pushed."""
    inner = index(blob(raw, OCI_MANIFEST), annotations={"a": algorithm})
    digest = Digest.of(inner, algorithm)
    assert (await wire.put_manifest("a/b", digest, inner, OCI_INDEX)).status == 201
    outer = index(blob(inner, OCI_INDEX, algorithm))
    assert (await wire.put_manifest("a/b", "nested", outer, OCI_INDEX)).status == 201
    assert (await wire("GET", f"/v2/a/b/manifests/{digest}")).body == inner


async def test_layers_of_others_and_no_layers_are_fine(wire: Wire) -> None:
    """19: "non-distributable layers (told by the media type, never by `urls`) need not exist; empty-layers OK"."""
    await wire.push_blob("a/b", b"{}")
    foreign = blob(b"elsewhere", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    assert (await wire.put_manifest("a/b", "foreign", image(foreign))).status == 201
    assert (await wire.put_manifest("a/b", "none", image())).status == 201
    with_urls = image({"mediaType": OCI_LAYER_GZIP, "digest": ABSENT, "size": 6, "urls": ["https://x"]})  # type: ignore[arg-type]
    assert (await wire.put_manifest("a/b", "urls", with_urls)).codes == ["MANIFEST_BLOB_UNKNOWN"]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_manifest_of_4_mib_is_taken_and_a_larger_one_413(wire: Wire, is_chunked: bool) -> None:
    """20: "Accept >=4 MiB manifest, 413 above"."""
    await wire.push_blob("a/b", b"{}")
    empty = image(annotations={"x": ""})
    for size, status in ((MAX_SIZE, 201), (MAX_SIZE + 1, 413)):
        raw = image(annotations={"x": "A" * (size - len(empty))})
        assert len(raw) == size
        body = in_chunks(raw[:1000], raw[1000:]) if is_chunked else raw
        answer = await wire("PUT", "/v2/a/b/manifests/large", body, headers={"Content-Type": OCI_MANIFEST})
        assert answer.status == status
        if status == 201:
            assert (await wire("GET", "/v2/a/b/manifests/large")).body == raw
        else:
            assert answer.codes == ["SIZE_INVALID"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_manifest_s_digest_is_verified(wire: Wire, raw: bytes, algorithm: str) -> None:
    """21: "verify digest (also sha512); mismatch 400 DIGEST_INVALID"."""
    assert (await wire.put_manifest("a/b", Digest.of(raw, algorithm), raw)).status == 201
    answer = await wire.put_manifest("a/b", Digest.of(raw + b" ", algorithm), raw)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


async def test_a_digest_that_is_none_is_400(wire: Wire, raw: bytes) -> None:
    """21: "`sha256:baddigest` PUT -> 400; GET -> 400 or 404"."""
    for method in ("PUT", "GET", "DELETE"):
        answer = await wire(method, "/v2/a/b/manifests/sha256:baddigeststring", raw if method == "PUT" else None)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("name", ["a/b", "nobody/knows"])
@pytest.mark.parametrize("reference", ["absent", ABSENT, f"{ABSENT.replace(':', '-')}.sig", ".INVALID_MANIFEST_NAME"])
async def test_an_unknown_manifest_is_404(wire: Wire, raw: bytes, name: str, reference: str) -> None:
    """22: "404 `MANIFEST_UNKNOWN`"; a tag that can not be is not there (the conformance suite asks for it)."""
    for method in ("GET", "DELETE"):
        answer = await wire(method, f"/v2/{name}/manifests/{reference}")
        assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])
    assert (await wire("HEAD", f"/v2/{name}/manifests/{reference}")).status == 404


async def test_deleting_a_tag_leaves_the_manifest(wire: Wire, raw: bytes) -> None:
    """23: "202; by tag removes only tag; then GET is 404 at once"."""
    answer = await wire("DELETE", "/v2/a/b/manifests/latest")
    assert (answer.status, answer.body) == (202, b"")
    assert (await wire("HEAD", "/v2/a/b/manifests/latest")).status == 404
    assert (await wire("HEAD", f"/v2/a/b/manifests/{Digest.of(raw)}")).status == 200
    assert (await wire("DELETE", "/v2/a/b/manifests/latest")).status == 404


async def test_deleting_a_manifest_takes_its_tags_along(wire: Wire, raw: bytes) -> None:
    """23: "GET is 404 at once (CF "atomic")", for every tag, in the lists, and in the catalog."""
    await wire.put_manifest("a/b", "other", raw)
    assert (await wire("DELETE", f"/v2/a/b/manifests/{Digest.of(raw)}")).status == 202
    for reference in ("latest", "other", Digest.of(raw)):
        assert (await wire("HEAD", f"/v2/a/b/manifests/{reference}")).status == 404
    assert (await wire("GET", "/v2/a/b/tags/list")).json == {"name": "a/b", "tags": []}
    assert (await wire("GET", "/v2/_catalog")).json == {"repositories": []}


async def test_a_child_of_an_index_may_be_deleted(wire: Wire, raw: bytes) -> None:
    """23: nothing forbids it: the index stays, as one that was pushed without that platform."""
    await wire.put_manifest("a/b", "index", index(blob(raw, OCI_MANIFEST)), OCI_INDEX)
    assert (await wire("DELETE", f"/v2/a/b/manifests/{Digest.of(raw)}")).status == 202
    assert (await wire("GET", "/v2/a/b/manifests/index")).status == 200


async def test_a_tag_moves(wire: Wire, raw: bytes) -> None:
    """16: the last PUT counts, and the old manifest stays."""
    other = image(annotations={"n": "2"})
    await wire.put_manifest("a/b", "latest", other)
    assert (await wire("GET", "/v2/a/b/manifests/latest")).body == other
    assert (await wire("GET", f"/v2/a/b/manifests/{Digest.of(raw)}")).body == raw
