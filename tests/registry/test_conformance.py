"""What the conformance program of the distribution spec asks of a registry, restated: 1.1 and the coming 1.2.

Source: opencontainers/distribution-spec, `conformance/` on main (run.go, api.go, testdata.go), and the suite that it
replaced (01_pull to 04_management), which is what certified 1.1. Where they accept a skip we do not.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_NONDISTRIBUTABLE,
    OCI_MANIFEST,
    OCTET_STREAM,
)
from tests.wire import Answer, Wire, blob, image, in_chunks, index

REPO: Final = "conformance/repo1"
OTHER_REPO: Final = "conformance/repo2"
CHUNK: Final = 1024
BLOB: Final = bytes(n * 7 % 251 for n in range(512))
LONG: Final = bytes(n * 11 % 241 for n in range(CHUNK * 3 - 5))
EXAMPLE: Final = "application/vnd.example.oci.conformance.v1"
OTHER_EXAMPLE: Final = "application/vnd.example.oci.conformance.v2"
ACCEPT: Final = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
STREAM: Final = {"Content-Type": OCTET_STREAM}

algorithms = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


async def assert_created(wire: Wire, answer: Answer, raw: bytes, digest: str) -> None:
    """201, the digest, and a Location at which the content is."""
    assert answer.status == 201, answer.body
    assert answer.headers["Docker-Content-Digest"] == digest
    found = await wire("GET", answer.location, headers=ACCEPT)
    assert (found.status, found.body) == (200, raw)


async def assert_pulled(wire: Wire, path: str, raw: bytes, digest: str, media_type: str | None = None) -> None:
    for method, body in (("HEAD", b""), ("GET", raw)):
        answer = await wire(method, path, headers=ACCEPT)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["Content-Length"] == str(len(raw))
        assert answer.headers["Docker-Content-Digest"] == digest
        assert media_type is None or answer.headers["Content-Type"] == media_type


async def assert_deleted(wire: Wire, path: str) -> None:
    """202, and gone at once ("atomic")."""
    assert (await wire("DELETE", path)).status == 202
    assert (await wire("HEAD", path, headers=ACCEPT)).status == 404


async def post_only(wire: Wire, raw: bytes, digest: Digest) -> Answer:
    return await wire("POST", f"/v2/{REPO}/blobs/uploads/?digest={digest}", raw, headers=STREAM)


async def post_put(wire: Wire, raw: bytes, digest: Digest) -> Answer:
    return await wire("PUT", f"{await wire.start(REPO)}?digest={digest}", raw, headers=STREAM)


async def stream(wire: Wire, raw: bytes, digest: Digest) -> Answer:
    answer = await wire("PATCH", await wire.start(REPO), in_chunks(raw[:100], raw[100:]), headers=STREAM)
    assert answer.status == 202
    return await wire("PUT", f"{answer.location}?digest={digest}", b"", headers=STREAM)


def chunked(*, put_last: bool = False, out_of_order: bool = False) -> "Push":
    async def send(wire: Wire, location: str, start: int, raw: bytes, digest: Digest) -> Answer:
        stop = min(start + CHUNK, len(raw))
        is_put = put_last and stop == len(raw)
        headers = {**STREAM, "Content-Range": f"{start}-{stop - 1}"}
        url = f"{location}?digest={digest}" if is_put else location
        return await wire("PUT" if is_put else "PATCH", url, raw[start:stop], headers=headers)

    async def push(wire: Wire, raw: bytes, digest: Digest) -> Answer:
        location = await wire.start(REPO)
        for start in range(0, len(raw), CHUNK):
            if out_of_order:
                wrong = start + CHUNK if start + CHUNK < len(raw) else 0
                answer = await send(wire, location, wrong, raw, digest)
                assert answer.status == 416
                answer = await wire("GET", f"{answer.location}?digest={digest}")
                assert answer.status == 204
                assert answer.headers["Range"] == f"0-{max(0, start - 1)}"
                location = answer.location
            answer = await send(wire, location, start, raw, digest)
            if answer.status != 202:
                return answer
            location = answer.location
        return await wire("PUT", f"{location}?digest={digest}", b"", headers=STREAM)

    return push


async def mount(wire: Wire, raw: bytes, digest: Digest) -> Answer:
    await wire.push_blob(OTHER_REPO, raw, digest.algorithm)
    return await wire("POST", f"/v2/{REPO}/blobs/uploads/?from={OTHER_REPO.replace('/', '%2F')}&mount={digest}")


async def mount_anonymously(wire: Wire, raw: bytes, digest: Digest) -> Answer:
    await wire.push_blob(OTHER_REPO, raw, digest.algorithm)
    return await wire("POST", f"/v2/{REPO}/blobs/uploads/?mount={digest}")


async def mount_in_vain(wire: Wire, raw: bytes, digest: Digest) -> Answer:
    answer = await wire("POST", f"/v2/{REPO}/blobs/uploads/?mount={digest}&from={OTHER_REPO}")
    assert answer.status == 202
    return await wire("PUT", f"{answer.location}?digest={digest}", raw, headers=STREAM)


Push = Callable[[Wire, bytes, Digest], Awaitable[Answer]]
PUSHES: Final[dict[str, tuple[Push, bytes]]] = {
    "post only": (post_only, BLOB),
    "post+put": (post_put, BLOB),
    "chunked single": (chunked(), BLOB),
    "stream": (stream, BLOB),
    "mount": (mount, BLOB),
    "mount anonymous": (mount_anonymously, BLOB),
    "mount missing": (mount_in_vain, BLOB),
    "chunked multi": (chunked(), LONG),
    "chunked multi and put chunk": (chunked(put_last=True), LONG),
    "chunked out-of-order": (chunked(out_of_order=True), LONG),
    "chunked out-of-order and put chunk": (chunked(put_last=True, out_of_order=True), LONG),
    "empty": (post_put, b""),
    "empty, post only": (post_only, b""),
    "emptyJSON": (post_put, b"{}"),
}
BAD_PUSHES: Final[dict[str, Push]] = {
    "post only": post_only,
    "post+put": post_put,
    "chunked": chunked(),
    "chunked and put chunk": chunked(put_last=True),
    "stream": stream,
}


class TestBlobs:
    @algorithms
    @pytest.mark.parametrize("push", PUSHES)
    async def test_a_blob_is_pushed_pulled_and_deleted(self, wire: Wire, algorithm: str, push: str) -> None:
        """Push 201 with a Location to pull from, HEAD and GET 200, DELETE 202, then 404."""
        send, raw = PUSHES[push]
        digest = Digest.of(raw, algorithm)
        await assert_created(wire, await send(wire, raw, digest), raw, digest)
        await assert_pulled(wire, f"/v2/{REPO}/blobs/{digest}", raw, digest)
        await assert_deleted(wire, f"/v2/{REPO}/blobs/{digest}")

    @algorithms
    @pytest.mark.parametrize("push", BAD_PUSHES)
    async def test_content_of_another_digest_is_refused(self, wire: Wire, algorithm: str, push: str) -> None:
        """400."""
        answer = await BAD_PUSHES[push](wire, LONG + b"oh no", Digest.of(LONG, algorithm))
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    @algorithms
    async def test_a_blob_that_was_never_pushed_is_not_found(self, wire: Wire, algorithm: str) -> None:
        """404, for HEAD, GET and DELETE."""
        for method in ("HEAD", "GET", "DELETE"):
            assert (await wire(method, f"/v2/{REPO}/blobs/{Digest.of(BLOB, algorithm)}")).status == 404

    async def test_an_upload_is_cancelled(self, wire: Wire) -> None:
        """204 (1.2, "post cancel")."""
        assert (await wire("DELETE", await wire.start(REPO), b"")).status == 204

    @algorithms
    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [
            ("bytes=500-1499", 500, 1500),
            ("bytes=500-", 500, 2048),
            ("bytes=-500", 1548, 2048),
            ("bytes=2000-5000", 2000, 2048),
            ("bytes=500-0", 0, 0),
            ("bytes=5000-10000", 0, 0),
        ],
    )
    async def test_a_range_is_pulled(self, wire: Wire, algorithm: str, asked: str, start: int, stop: int) -> None:
        """206 with Content-Range and Content-Length, 416 where there is no such part; 200 would be a skip."""
        raw = bytes(range(256)) * 8
        digest = await wire.push_blob(REPO, raw, algorithm)
        answer = await wire("GET", f"/v2/{REPO}/blobs/{digest}", headers={"Range": asked})
        if start == stop:
            assert answer.status == 416
            return
        assert (answer.status, answer.body) == (206, raw[start:stop])
        assert answer.headers["Content-Length"] == str(stop - start)
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/2048"


@dataclass
class Content:
    """What one data test pushes: blobs, then manifests in their order, then tags."""

    algorithm: str = "sha256"
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, bytes] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tags_beside_digest: bool = False

    def blob(self, raw: bytes, media_type: str, *, data: bool = False) -> Descriptor:
        found = blob(raw, media_type, self.algorithm)
        self.blobs[found.digest] = raw
        return Descriptor(**{**_fields(found), "data": _base64(raw)}) if data else found

    def image(
        self,
        name: str,
        *,
        tag: str = "",
        layers: int = 2,
        layer_type: str = OCI_LAYER_GZIP,
        config: tuple[bytes, str] | None = None,
        data: bool = False,
        **fields: Any,
    ) -> Descriptor:
        config_raw, config_type = config or (b'{"author":"%b"}' % name.encode(), OCI_CONFIG)
        raw = image(
            *[self.blob(f"{name} {n}".encode(), layer_type, data=data) for n in range(layers)],
            config=self.blob(config_raw, config_type, data=data),
            **fields,
        )
        return self._add(raw, OCI_MANIFEST, tag, fields, fields.get("artifactType", config_type))

    def index(self, *children: Descriptor, tag: str = "", **fields: Any) -> Descriptor:
        return self._add(index(*children, **fields), OCI_INDEX, tag, fields, fields.get("artifactType"))

    def artifact(self, name: str, kind: str, *, tag: str = "", **fields: Any) -> Descriptor:
        return self.image(
            name, tag=tag, layers=1, layer_type=kind, config=(b"{}", OCI_EMPTY), artifactType=kind, **fields
        )

    def _add(self, raw: bytes, media_type: str, tag: str, fields: dict[str, Any], kind: str | None) -> Descriptor:
        found = blob(raw, media_type, self.algorithm)
        self.manifests[found.digest] = raw
        if tag:
            self.tags[tag] = found.digest
        if "subject" in fields:
            entry = {"mediaType": media_type, "digest": found.digest, "size": found.size, "artifactType": kind}
            entry["annotations"] = fields.get("annotations")
            shown = {key: value for key, value in entry.items() if value is not None}
            self.referrers.setdefault(fields["subject"].digest, []).append(shown)
        return found


def _fields(descriptor: Descriptor) -> dict[str, Any]:
    return {"media_type": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def platforms(content: Content, name: str, **fields: Any) -> list[Descriptor]:
    return [content.image(f"{name} {platform}", **fields) for platform in ("amd64", "arm64")]


def build_image() -> Content:
    content = Content()
    content.image("image", tag="image")
    return content


def build_uncompressed() -> Content:
    content = Content()
    content.image("plain", tag="image-uncompressed", layer_type=OCI_LAYER)
    return content


def build_large_manifest() -> Content:
    content = Content()
    content.image(
        "large", tag="large-manifest", annotations={f"large-annotation-{n}": "A" * 10_000 for n in range(390)}
    )
    return content


def build_index() -> Content:
    content = Content()
    content.index(*platforms(content, "index"), tag="index")
    return content


def build_nested_index() -> Content:
    content = Content()
    inner = [content.index(*platforms(content, f"inner {n}")) for n in range(2)]
    content.index(*inner, tag="index-of-index")
    return content


def build_empty_index() -> Content:
    content = Content()
    content.index(tag="index")
    return content


def build_artifact() -> Content:
    content = Content()
    content.artifact("artifact", EXAMPLE, tag="artifact")
    return content


def build_artifact_index() -> Content:
    content = Content()
    children = [content.artifact(name, EXAMPLE) for name in ("amd64", "arm64")]
    content.index(*children, tag="artifact-index", artifactType=EXAMPLE)
    return content


def build_artifact_without_layers() -> Content:
    content = Content()
    empty = content.blob(b"{}", OCI_EMPTY)
    content._add(image(empty, config=empty, artifactType=EXAMPLE), OCI_MANIFEST, "no-layers", {}, EXAMPLE)
    return content


def build_artifacts_with_subject() -> Content:
    content = Content()
    subject = content.image("subject", tag="image")
    content.image("by config", subject=subject)
    content.artifact("one", EXAMPLE, tag="tagged-artifact1", subject=subject, annotations={"a": "b", "unique": "1"})
    content.artifact("two", OTHER_EXAMPLE, tag="tagged-artifact2", subject=subject, annotations={"a": "b"})
    return content


def build_index_with_subject() -> Content:
    content = Content()
    subject = content.index(*platforms(content, "subject"), tag="index")
    children = [content.artifact(name, EXAMPLE, subject=subject) for name in ("amd64", "arm64")]
    content.index(*children, tag="tagged-artifact", subject=subject, artifactType=EXAMPLE, annotations={"a": "b"})
    content.index(*children, subject=subject)
    return content


def build_missing_subject() -> Content:
    content = Content()
    missing = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"missing content"), size=123)
    content.artifact("artifact", EXAMPLE, tag="tagged-artifact", subject=missing, annotations={"a": "b"})
    return content


def build_data_field() -> Content:
    content = Content()
    content.image("data", tag="data-field", data=True)
    return content


def build_nondistributable() -> Content:
    content = Content()
    foreign = {"size": 123456, "urls": ["https://store.example.com/blobs/x"]}
    layers = [
        {"mediaType": f"{OCI_LAYER_NONDISTRIBUTABLE}{ending}", "digest": Digest.of(ending.encode() * 9), **foreign}
        for ending in ("", "+gzip")
    ]
    raw = image(*layers, content.blob(b"layer", OCI_LAYER_GZIP), config=content.blob(b"{ }", OCI_CONFIG))  # type: ignore[arg-type]
    content._add(raw, OCI_MANIFEST, "non-distributable-image", {}, None)
    return content


def build_custom_fields() -> Content:
    content = Content()
    extra = {"org.opencontainers.conformance": "hello", "newUnspecifiedField": [1, {"a": None}]}
    content.index(*platforms(content, "custom", **extra), tag="custom-fields", **extra)
    return content


def build_no_layers() -> Content:
    content = Content()
    content.image("none", tag="no-layers", layers=0)
    return content


def build_sha512() -> Content:
    content = Content("sha512")
    content.index(*platforms(content, "sha512"))
    return content


def build_tag_param(algorithm: str) -> Content:
    content = Content(algorithm, tags_beside_digest=True)
    content.index(*platforms(content, f"tag param {algorithm}"), tag=f"tag-param-{algorithm}")
    content.tags |= {f"tag-param-{algorithm}-{n}": digest for n, digest in enumerate(content.manifests)}
    return content


DATA: Final[dict[str, Callable[[], Content]]] = {
    "image": build_image,
    "image-uncompressed": build_uncompressed,
    "large-manifest": build_large_manifest,
    "index": build_index,
    "nested-index": build_nested_index,
    "empty-index": build_empty_index,
    "artifact": build_artifact,
    "artifact-index": build_artifact_index,
    "artifact-without-layers": build_artifact_without_layers,
    "artifacts-with-subject": build_artifacts_with_subject,
    "index-with-subject": build_index_with_subject,
    "missing-subject": build_missing_subject,
    "data-field": build_data_field,
    "non-distributable-layers": build_nondistributable,
    "custom-fields": build_custom_fields,
    "no-layers": build_no_layers,
    "sha512": build_sha512,
    "tag-param-sha256": lambda: build_tag_param("sha256"),
    "tag-param-sha512": lambda: build_tag_param("sha512"),
}


def _told(raw: bytes) -> tuple[str, str | None]:
    """The media type and the subject's digest of a manifest, as the program finds them."""
    document = json.loads(raw)
    return document["mediaType"], document.get("subject", {}).get("digest")


class TestData:
    async def _push(self, wire: Wire, content: Content) -> None:
        for digest, raw in content.blobs.items():
            await assert_created(wire, await post_put(wire, raw, digest), raw, digest)
        for digest, raw in content.manifests.items():
            tags = [tag for tag, tagged in content.tags.items() if content.tags_beside_digest and tagged == digest]
            query = "&".join(f"tag={tag}" for tag in tags)
            await self._put(wire, f"{digest}?{query}" if tags else digest, raw, digest, tags)
        for tag, digest in content.tags.items():
            if not content.tags_beside_digest:
                await self._put(wire, tag, content.manifests[digest], digest, [])

    async def _put(self, wire: Wire, reference: str, raw: bytes, digest: Digest, tags: list[str]) -> None:
        media_type, subject = _told(raw)
        # The program does not tell the length of a manifest.
        headers = {"Content-Type": media_type}
        answer = await wire("PUT", f"/v2/{REPO}/manifests/{reference}", in_chunks(raw), headers=headers)
        await assert_created(wire, answer, raw, digest)
        assert answer.headers.get("OCI-Subject") == subject
        assert answer.headers.getall("OCI-Tag", []) == tags

    async def _list(self, wire: Wire, content: Content) -> None:
        tags = (await wire("GET", f"/v2/{REPO}/tags/list")).json["tags"]
        assert tags == sorted(content.tags)
        if tags:
            half = len(tags) // 2
            query = f"?last={tags[half - 1]}" if half else ""
            assert (await wire("GET", f"/v2/{REPO}/tags/list{query}")).json["tags"] == tags[half:]

    async def _pull(self, wire: Wire, content: Content) -> None:
        references: dict[str, Digest] = {**content.tags, **{digest: digest for digest in content.manifests}}
        for reference, digest in references.items():
            raw = content.manifests[digest]
            await assert_pulled(wire, f"/v2/{REPO}/manifests/{reference}", raw, digest, _told(raw)[0])
        for digest, raw in content.blobs.items():
            await assert_pulled(wire, f"/v2/{REPO}/blobs/{digest}", raw, digest)

    async def _list_referrers(self, wire: Wire, content: Content) -> None:
        for subject, expected in content.referrers.items():
            path = f"/v2/{REPO}/referrers/{subject}"
            for kind in {None, *(entry.get("artifactType") for entry in expected)}:
                answer = await wire("GET", f"{path}?artifactType={kind.replace('+', '%2B')}" if kind else path)
                assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
                assert (answer.json["mediaType"], answer.json["schemaVersion"]) == (OCI_INDEX, 2)
                assert answer.headers.get("OCI-Filters-Applied") == ("artifactType" if kind else None)
                wanted = [entry for entry in expected if kind in {None, entry.get("artifactType")}]
                assert answer.json["manifests"] == sorted(wanted, key=lambda entry: str(entry["digest"]))

    async def _delete(self, wire: Wire, content: Content) -> None:
        """Tags first, then manifests in the reverse order of their push, then blobs."""
        for tag in content.tags:
            await assert_deleted(wire, f"/v2/{REPO}/manifests/{tag}")
        for digest in reversed(content.manifests):
            await assert_deleted(wire, f"/v2/{REPO}/manifests/{digest}")
        for digest in content.blobs:
            await assert_deleted(wire, f"/v2/{REPO}/blobs/{digest}")

    @pytest.mark.parametrize("name", DATA)
    async def test_it_is_pushed_listed_pulled_and_deleted(self, wire: Wire, name: str) -> None:
        """Twice: the program is run again on a registry that has seen it already."""
        content = DATA[name]()
        for _ in range(2):
            await self._push(wire, content)
            await self._list(wire, content)
            await self._pull(wire, content)
            await self._list_referrers(wire, content)
            await self._delete(wire, content)

    async def test_all_of_it_may_be_there_at_once(self, wire: Wire) -> None:
        """Blobs that several share go with the last one that needs them."""
        contents = [build() for build in DATA.values()]
        for content in contents:
            await self._push(wire, content)
        for content in contents:
            await self._list_referrers(wire, content)
            for digest in reversed(content.manifests):
                await assert_deleted(wire, f"/v2/{REPO}/manifests/{digest}")
        for digest in {digest: None for content in contents for digest in content.blobs}:
            await assert_deleted(wire, f"/v2/{REPO}/blobs/{digest}")


class TestErrors:
    async def test_an_empty_repository_has_no_tags_and_an_empty_list_of_referrers(self, wire: Wire) -> None:
        """tags/list 200 or 404, referrers 200."""
        assert (await wire("GET", f"/v2/{REPO}/tags/list")).status == 404
        answer = await wire("GET", f"/v2/{REPO}/referrers/{Digest.of(b'nothing')}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)

    async def test_a_missing_manifest_is_404(self, wire: Wire) -> None:
        """ "missing-manifest", by digest and by tag; the older suite's tag is one that cannot be."""
        for reference in (Digest.of(b"random"), "missing-mfrggzdfmztwq2lk", ".INVALID_MANIFEST_NAME"):
            for method in ("GET", "HEAD"):
                assert (await wire(method, f"/v2/{REPO}/manifests/{reference}")).status == 404

    async def test_a_manifest_of_another_digest_is_400(self, wire: Wire) -> None:
        """ "bad-digest-image": blanks at its end; "invalid-digest-format": `sha256:baddigeststring`."""
        raw = image(config=blob(await _config(wire), OCI_CONFIG))
        for reference in (Digest.of(raw), Digest.of(raw, "sha512"), "sha256:baddigeststring"):
            headers = {"Content-Type": OCI_MANIFEST}
            answer = await wire("PUT", f"/v2/{REPO}/manifests/{reference}", in_chunks(raw + b"  "), headers=headers)
            assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
            assert (await wire("GET", f"/v2/{REPO}/manifests/{reference}")).status in {400, 404}
        assert (await wire("DELETE", f"/v2/{REPO}/manifests/{Digest.of(raw)}")).status == 404


async def _config(wire: Wire) -> bytes:
    await wire.push_blob(REPO, b"{}")
    return b"{}"


class TestOlderSuite:
    """What the suite of 1.1 asked for beyond the new program."""

    async def test_a_chunk_sent_again_is_416_and_its_upload_goes_on(self, wire: Wire) -> None:
        """02_push: "Retry previous blob chunk should return 416", "Get on stale blob upload should return 204"."""
        stale = await wire.start(REPO)
        half = len(BLOB) // 2 + 1
        first, second = {"Content-Range": f"0-{half - 1}"}, {"Content-Range": f"{half}-{len(BLOB) - 1}"}
        assert (await wire("PATCH", stale, BLOB[half:], headers=second)).status == 416
        answer = await wire("PATCH", stale, BLOB[:half], headers=first)
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{half - 1}")
        assert (await wire("PATCH", stale, BLOB[:half], headers=first)).status == 416
        answer = await wire("GET", stale)
        assert (answer.status, answer.headers["Range"]) == (204, f"0-{half - 1}")
        answer = await wire("PATCH", answer.location, BLOB[half:], headers=second)
        assert answer.status == 202
        assert (await wire("PUT", f"{answer.location}?digest={Digest.of(BLOB)}", b"")).status == 201

    async def test_a_mount_names_the_blob_in_its_repository(self, wire: Wire) -> None:
        """02_push, "Cross-Repository Blob Mount": a Location without percent-encoding, 202 without such a blob."""
        digest = await wire.push_blob(OTHER_REPO, BLOB)
        assert (await mount(wire, BLOB, digest)).location == f"/v2/{REPO}/blobs/{digest}"
        unknown = Digest.of(b"hello world")
        answer = await wire("POST", f"/v2/{REPO}/blobs/uploads/?mount={unknown}")
        assert answer.status == 202
        assert answer.location.startswith(f"/v2/{REPO}/blobs/uploads/")

    async def test_a_page_of_tags_has_as_many_as_were_asked_for(self, wire: Wire) -> None:
        """03_discovery: `n` and `last`."""
        raw = image(config=blob(await _config(wire), OCI_CONFIG))
        for n in range(4):
            await wire.put_manifest(REPO, f"test{n}", raw)
        tags = (await wire("GET", f"/v2/{REPO}/tags/list?n=2")).json["tags"]
        assert tags == ["test0", "test1"]
        assert (await wire("GET", f"/v2/{REPO}/tags/list?n=2&last=test1")).json["tags"] == ["test2", "test3"]

    async def test_deleting_by_tag_then_by_digest_leaves_a_shorter_list(self, wire: Wire) -> None:
        """04_management: 202, 202, 404, and tags/list is still 200."""
        raw = image(config=blob(await _config(wire), OCI_CONFIG))
        await wire.put_manifest(REPO, "tagtest0", raw)
        assert (await wire("DELETE", f"/v2/{REPO}/manifests/tagtest0")).status == 202
        assert (await wire("DELETE", f"/v2/{REPO}/manifests/{Digest.of(raw)}")).status == 202
        assert (await wire("GET", f"/v2/{REPO}/manifests/{Digest.of(raw)}")).status == 404
        assert (await wire("GET", f"/v2/{REPO}/tags/list")).json["tags"] == []
        await assert_deleted(wire, f"/v2/{REPO}/blobs/{Digest.of(b'{}')}")

    async def test_blobs_before_their_manifests_are_405(self, wire: Wire) -> None:
        """Teardown with OCI_DELETE_MANIFEST_BEFORE_BLOBS=0: 2xx, 404 or 405, and never another refusal."""
        content = build_image()
        await TestData()._push(wire, content)
        for digest in content.blobs:
            assert (await wire("DELETE", f"/v2/{REPO}/blobs/{digest}")).status == 405
        for digest in content.manifests:
            await assert_deleted(wire, f"/v2/{REPO}/manifests/{digest}")
