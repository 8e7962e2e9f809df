"""The whole API against a model that fits on a page: whatever is asked, in whatever order, both give one answer."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from layerkit.oci.digest import Digest
from layerkit.oci.link import parse_next
from registry.app import run_server
from registry.config import Address, Configuration, LogLevel
from tests.wire import Answer, Wire

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPES: Final = ("application/spdx+json", "application/x-signature")
CONTENTS: Final = {
    "empty": b"",
    "config": b"{}",
    "layer": b"layer",
    "70 KB": b"\x00" * 70_000,
    "1.5 MB": bytes(range(256)) * 6_000,
}
"""Few, so that repositories share them; of sizes on both sides of what is sent at once, and hashed at once."""

pytestmark = pytest.mark.timeout(600)
"""A failure is made small before it is told, which takes minutes."""

names = st.sampled_from(["a", "a-b", "a/b"])
tags = st.sampled_from(["latest", "V2", "v10", "_"])
contents = st.sampled_from(sorted(CONTENTS))
algorithms = st.sampled_from(["sha256", "sha256", "sha512"])
limits = st.sampled_from([None, 0, 1, 2, 3])


@dataclass(frozen=True)
class Document:
    """A manifest, and what of it the registry must know."""

    raw: bytes
    media_type: str
    needs: tuple[str, ...]
    subject: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return Digest.of(self.raw)

    @property
    def descriptor(self) -> dict[str, object]:
        return describe(self.raw, self.media_type)

    @property
    def referrer(self) -> dict[str, object]:
        more = {"artifactType": self.artifact_type, "annotations": self.annotations}
        return {**self.descriptor, **{name: value for name, value in more.items() if value}}


@dataclass
class Contents:
    """One repository. `brought` has the upload that brought each blob last: its end may be asked for again."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    brought: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Document] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    is_known: bool = False

    def add_blob(self, raw: bytes, digest: str, upload: str | None = None) -> None:
        self.blobs[digest] = raw
        self.is_known = True
        if upload is not None:
            self.brought[digest] = upload

    def missing(self, document: Document) -> list[str]:
        return sorted({d for d in document.needs if d not in self.blobs and d not in self.manifests})

    def needing(self, digest: str) -> list[str]:
        return [manifest.digest for manifest in self.manifests.values() if digest in manifest.needs]


@dataclass(frozen=True)
class Sent:
    """An upload that was begun, and may have ended since."""

    name: str
    location: str


def describe(raw: bytes, media_type: str, algorithm: str = "sha256") -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(raw, algorithm)), "size": len(raw)}


def image_of(
    layers: Sequence[str], subject: Document | None, artifact_type: str | None, annotations: dict[str, str]
) -> Document:
    raws = [CONTENTS[content] for content in layers]
    config_type = "application/vnd.oci.image.config.v1+json"
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(b"{}", config_type),
        "layers": [describe(raw, "application/octet-stream") for raw in raws],
        "annotations": annotations,
    }
    if artifact_type:
        document["artifactType"] = artifact_type
    if subject:
        document["subject"] = subject.descriptor
    needs = tuple(str(Digest.of(raw)) for raw in (b"{}", *raws))
    return Document(
        msgspec.json.encode(document),
        MANIFEST,
        needs,
        subject.digest if subject else None,
        artifact_type or config_type,
        annotations,
    )


def page_of(items: Sequence[str], last: str, limit: int | None) -> list[str]:
    return sorted(item for item in items if item > last)[:limit]


class RegistryMachine(RuleBasedStateMachine):
    documents: Bundle[Document] = Bundle("documents")
    uploads: Bundle[Sent] = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(prefix="registry-", dir=memory if memory.is_dir() else None))
        self.repositories = {name: Contents() for name in ("a", "a-b", "a/b")}
        self.steps = 0
        self.runner = asyncio.Runner()
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.stack = AsyncExitStack()
        configuration = Configuration(root=self.root, listen=Address(port=0), drain_seconds=1, log_level=LogLevel.ERROR)
        address = await self.stack.enter_async_context(run_server(configuration))
        session = await self.stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        self.wire = Wire(address, session)

    def teardown(self) -> None:
        try:
            try:
                self.check_everything()
            finally:
                self.runner.run(self.stack.aclose())
            self.check_folder()
        finally:
            self.runner.close()
            shutil.rmtree(self.root)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.runner.run(self.wire(method, path, body, headers=named))

    # Blobs and uploads

    @rule(target=uploads, name=names, algorithm=st.sampled_from([None, "sha256", "sha512"]))
    def start_upload(self, name: str, algorithm: str | None) -> Sent:
        query = f"?digest-algorithm={algorithm}" if algorithm else ""
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/{query}")
        assert (answer.status, answer.headers["Range"]) == (202, "0-0")
        return self.begun(name, answer)

    @rule(upload=uploads, content=contents, placed=st.sampled_from([None, None, 0, 1, -1]), short=st.booleans())
    def append(self, upload: Sent, content: str, placed: int | None, short: bool) -> None:
        """`placed` is how far from the right offset the chunk says it belongs, `short` a lie about its length."""
        raw = CONTENTS[content]
        mine = self.repositories[upload.name].uploads
        offset = len(mine.get(upload.location, b""))
        headers = {}
        if placed is not None and raw and offset + placed >= 0:
            first = offset + placed
            headers["Content_Range"] = f"{first}-{first + len(raw) - 1 + short}"
        answer = self.ask("PATCH", upload.location, raw, **headers)
        if upload.location not in mine:
            assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
            return
        if headers and placed:
            assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])
        elif headers and short:
            assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])
        else:
            assert answer.status == 202
            mine[upload.location] += raw
        assert answer.location == upload.location
        assert answer.headers["Range"] == f"0-{max(0, len(mine[upload.location]) - 1)}"

    @rule(upload=uploads)
    def ask_for_upload(self, upload: Sent) -> None:
        self.check_upload(upload.name, upload.location)

    @rule(upload=uploads)
    def cancel_upload(self, upload: Sent) -> None:
        known = self.repositories[upload.name].uploads.pop(upload.location, None) is not None
        assert self.ask("DELETE", upload.location).status == (204 if known else 404)

    @rule(upload=uploads, content=contents, algorithm=algorithms, wrong=st.sampled_from([None, None, None, b"other"]))
    def commit_upload(self, upload: Sent, content: str, algorithm: str, wrong: bytes | None) -> None:
        contents, last = self.repositories[upload.name], CONTENTS[content]
        raw = contents.uploads.pop(upload.location, None)
        if raw is None:
            # Its end may be asked for again, by whoever lost the answer.
            digest = next((d for d, sent in contents.brought.items() if sent == upload.location), None)
            answer = self.ask("PUT", f"{upload.location}?digest={digest or Digest.of(last)}")
            assert answer.status == (201 if digest else 404)
            return
        digest = Digest.of(wrong if wrong is not None else raw + last, algorithm)
        answer = self.ask("PUT", f"{upload.location}?digest={digest}", last)
        if wrong is not None:
            assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
            return
        self.check_created(answer, f"/v2/{upload.name}/blobs/{digest}", digest)
        contents.add_blob(raw + last, digest, upload.location)

    @rule(name=names, content=contents, algorithm=algorithms, right=st.booleans())
    def push_at_once(self, name: str, content: str, algorithm: str, right: bool) -> None:
        raw = CONTENTS[content]
        digest = Digest.of(raw if right else b"other", algorithm)
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", raw)
        if right:
            self.check_created(answer, f"/v2/{name}/blobs/{digest}", digest)
            self.repositories[name].add_blob(raw, digest)
            # The upload had an id all the same, which nobody was told.
            self.repositories[name].brought.pop(digest, None)
        elif raw:
            assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
        else:
            assert answer.status == 202
            self.begun(name, answer)

    @rule(name=names, content=contents, source=st.none() | names | st.just("nowhere"), algorithm=algorithms)
    def mount(self, name: str, content: str, source: str | None, algorithm: str) -> None:
        raw = CONTENTS[content]
        digest = Digest.of(raw, algorithm)
        given = f"&from={quote(source, safe='')}" if source else ""
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/?mount={digest}{given}")
        sources = [source] if source else list(self.repositories)
        if any(digest in self.repositories[other].blobs for other in sources if other in self.repositories):
            self.check_created(answer, f"/v2/{name}/blobs/{digest}", digest)
            self.repositories[name].add_blob(raw, digest)
        else:
            assert answer.status == 202
            self.begun(name, answer)

    @rule(name=names, content=contents, first=st.integers(0, 80_000), count=st.integers(1, 80_000))
    def read_part(self, name: str, content: str, first: int, count: int) -> None:
        raw = CONTENTS[content]
        digest = Digest.of(raw)
        answer = self.ask("GET", f"/v2/{name}/blobs/{digest}", Range=f"bytes={first}-{first + count - 1}")
        if digest not in self.repositories[name].blobs:
            assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
        elif first >= len(raw):
            assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(raw)}")
        else:
            assert (answer.status, answer.body) == (206, raw[first : first + count])

    @rule(name=names, content=contents, algorithm=algorithms)
    def delete_blob(self, name: str, content: str, algorithm: str) -> None:
        contents, digest = self.repositories[name], Digest.of(CONTENTS[content], algorithm)
        answer = self.ask("DELETE", f"/v2/{name}/blobs/{digest}")
        if needing := contents.needing(digest):
            assert (answer.status, answer.codes) == (405, ["DENIED"])
            assert answer.json["errors"][0]["detail"]["manifest"] in needing
        elif digest not in contents.blobs:
            assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
        else:
            assert answer.status == 202
            del contents.blobs[digest]
            contents.brought.pop(digest, None)

    @rule(name=names, document=documents)
    def delete_needed_blob(self, name: str, document: Document) -> None:
        for content, raw in CONTENTS.items():
            if Digest.of(raw) in document.needs:
                self.delete_blob(name, content, "sha256")

    # Manifests and tags

    @initialize(target=documents)
    def begin_with_an_image(self) -> Document:
        return image_of(("layer",), None, None, {})

    @rule(
        target=documents,
        layers=st.lists(contents, max_size=2).map(tuple),
        subject=st.none() | documents,
        artifact_type=st.sampled_from([None, *ARTIFACT_TYPES]),
        annotations=st.sampled_from([{}, {"b": "2", "a": "\N{SNOWMAN}"}]),
    )
    def write_image(
        self,
        layers: tuple[str, ...],
        subject: Document | None,
        artifact_type: str | None,
        annotations: dict[str, str],
    ) -> Document:
        return image_of(layers, subject, artifact_type, annotations)

    @rule(target=documents, children=st.lists(documents, max_size=2), cache=contents, subject=st.none() | documents)
    def write_index(self, children: list[Document], cache: str, subject: Document | None) -> Document:
        """Its children are manifests, and a blob, as in BuildKit's cache."""
        parts = [child.descriptor for child in children] + [describe(CONTENTS[cache], "application/octet-stream")]
        document: dict[str, object] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}
        if subject:
            document["subject"] = subject.descriptor
        needs = tuple(str(part["digest"]) for part in parts)
        return Document(msgspec.json.encode(document), INDEX, needs, subject.digest if subject else None)

    @rule(
        target=documents, name=names, layer=contents, subject=documents, kind=st.sampled_from(ARTIFACT_TYPES), tag=tags
    )
    def push_referrer(self, name: str, layer: str, subject: Document, kind: str, tag: str) -> Document:
        document = image_of((layer,), subject, kind, {})
        self.put_with_everything(name, document, tag, [])
        return document

    @rule(name=names, document=documents, tag=tags, more=st.lists(tags, max_size=2))
    def put_with_everything(self, name: str, document: Document, tag: str, more: list[str]) -> None:
        """First the blobs that it needs, so that it is accepted unless a child is missing."""
        for content, raw in CONTENTS.items():
            digest = Digest.of(raw)
            if digest in document.needs and digest not in self.repositories[name].blobs:
                self.push_at_once(name, content, "sha256", right=True)
        self.put(name, document, tag, more)

    @rule(name=names, document=documents, tag=st.none() | tags, more=st.lists(tags, max_size=2))
    def put(self, name: str, document: Document, tag: str | None, more: list[str]) -> None:
        """By the tag or, where there is none, by its digest; either way with more tags beside it."""
        contents = self.repositories[name]
        query = f"?{'&'.join(f'tag={other}' for other in more)}" if more else ""
        path = f"/v2/{name}/manifests/{tag or document.digest}{query}"
        answer = self.ask("PUT", path, document.raw, Content_Type=document.media_type)
        if missing := contents.missing(document):
            assert (answer.status, set(answer.codes)) == (400, {"MANIFEST_BLOB_UNKNOWN"})
            assert [entry["detail"]["digest"] for entry in answer.json["errors"]] == missing
            return
        self.check_created(answer, f"/v2/{name}/manifests/{document.digest}", document.digest)
        assert answer.headers.get("OCI-Subject") == document.subject
        assert answer.headers.getall("OCI-Tag", []) == list(dict.fromkeys(more))
        contents.is_known = True
        contents.manifests[document.digest] = document
        contents.tags.update(dict.fromkeys([*more, tag] if tag else more, document.digest))

    @rule(name=names, document=documents, other=documents)
    def put_under_the_digest_of_another(self, name: str, document: Document, other: Document) -> None:
        if document.raw != other.raw:
            path = f"/v2/{name}/manifests/{other.digest}"
            answer = self.ask("PUT", path, document.raw, Content_Type=document.media_type)
            assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    @rule(name=names, document=documents)
    def delete_manifest(self, name: str, document: Document) -> None:
        contents = self.repositories[name]
        answer = self.ask("DELETE", f"/v2/{name}/manifests/{document.digest}")
        if contents.manifests.pop(document.digest, None) is None:
            assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])
        else:
            assert answer.status == 202
            contents.tags = {tag: digest for tag, digest in contents.tags.items() if digest != document.digest}

    @rule(name=names, tag=tags)
    def delete_tag(self, name: str, tag: str) -> None:
        known = self.repositories[name].tags.pop(tag, None) is not None
        assert self.ask("DELETE", f"/v2/{name}/manifests/{tag}").status == (202 if known else 404)

    # Lists

    @rule(name=names, limit=limits)
    def list_tags(self, name: str, limit: int | None) -> None:
        contents = self.repositories[name]
        if contents.is_known:
            self.check_pages(f"/v2/{name}/tags/list", "tags", list(contents.tags), limit)
        else:
            answer = self.ask("GET", f"/v2/{name}/tags/list")
            assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])

    @rule(name=names, limit=limits, last=tags)
    def list_tags_after(self, name: str, limit: int | None, last: str) -> None:
        contents = self.repositories[name]
        if contents.is_known:
            query = f"?last={last}" + ("" if limit is None else f"&n={limit}")
            found = self.ask("GET", f"/v2/{name}/tags/list{query}").json["tags"]
            assert found == page_of(list(contents.tags), last, limit)

    @rule(limit=limits)
    def list_repositories(self, limit: int | None) -> None:
        known = [name for name, contents in self.repositories.items() if contents.manifests]
        self.check_pages("/v2/_catalog", "repositories", known, limit)

    @rule(name=names, subject=documents, limit=limits, kinds=st.lists(st.sampled_from(ARTIFACT_TYPES), max_size=2))
    def list_referrers(self, name: str, subject: Document, limit: int | None, kinds: list[str]) -> None:
        self.check_referrers(name, subject.digest, limit, kinds)

    # The life of the server

    @rule()
    def restart(self) -> None:
        """Everything acknowledged is still there, unfinished uploads included."""
        self.runner.run(self.stack.aclose())
        self.runner.run(self._start())

    @invariant()
    def what_is_tagged_is_there(self) -> None:
        """One tag after the other, whether there is one of that name or not."""
        self.steps += 1
        name = list(self.repositories)[self.steps % 3]
        tag = ("latest", "V2", "v10", "_")[self.steps // 3 % 4]
        self.check_tag(name, tag)

    def check_everything(self) -> None:
        for name, contents in self.repositories.items():
            for raw in CONTENTS.values():
                self.check_unknown_blob(name, Digest.of(raw))
                self.check_unknown_blob(name, Digest.of(raw, "sha512"))
            for digest, raw in contents.blobs.items():
                answer = self.ask("GET", f"/v2/{name}/blobs/{digest}")
                assert (answer.status, answer.body) == (200, raw)
                head = self.ask("HEAD", f"/v2/{name}/blobs/{digest}")
                assert (head.status, head.headers["Content-Length"]) == (200, str(len(raw)))
            for document in contents.manifests.values():
                self.check_manifest(name, document.digest, document)
            for tag in ("latest", "V2", "v10", "_"):
                self.check_tag(name, tag)
            for location in contents.uploads:
                self.check_upload(name, location)
            self.list_tags(name, None)
            for subject in {document.subject for document in contents.manifests.values() if document.subject}:
                self.check_referrers(name, subject, None)
                self.check_referrers(name, subject, 1)
        self.list_repositories(None)

    def check_folder(self) -> None:
        """Every file is what its name says, every acknowledged blob has one, and no upload is left over."""
        stored = set()
        for path in (self.root / "blobs").glob("*/*/*"):
            digest = Digest(f"{path.parent.parent.name}:{path.name}")
            assert Digest.of(path.read_bytes(), digest.algorithm) == digest
            stored.add(str(digest))
        assert {digest for contents in self.repositories.values() for digest in contents.blobs} <= stored
        sizes = [len(raw) for contents in self.repositories.values() for raw in contents.uploads.values()]
        assert sorted(path.stat().st_size for path in (self.root / "uploads").iterdir()) == sorted(sizes)

    def begun(self, name: str, answer: Answer) -> Sent:
        self.repositories[name].uploads[answer.location] = b""
        return Sent(name, answer.location)

    def check_created(self, answer: Answer, location: str, digest: str) -> None:
        assert (answer.status, answer.location) == (201, location), answer.body
        assert answer.headers["Docker-Content-Digest"] == digest

    def check_upload(self, name: str, location: str) -> None:
        raw = self.repositories[name].uploads.get(location)
        answer = self.ask("GET", location)
        if raw is None:
            assert (answer.status, set(answer.codes)) == (404, {"BLOB_UPLOAD_UNKNOWN"})
        else:
            assert (answer.status, answer.headers["Range"]) == (204, f"0-{max(0, len(raw) - 1)}")

    def check_unknown_blob(self, name: str, digest: str) -> None:
        if digest not in self.repositories[name].blobs:
            assert self.ask("GET", f"/v2/{name}/blobs/{digest}").codes == ["BLOB_UNKNOWN"]

    def check_manifest(self, name: str, reference: str, document: Document) -> None:
        answer = self.ask("GET", f"/v2/{name}/manifests/{reference}")
        assert (answer.status, answer.body) == (200, document.raw)
        head = self.ask("HEAD", f"/v2/{name}/manifests/{reference}")
        for headers in (answer.headers, head.headers):
            assert headers["Content-Type"] == document.media_type
            assert headers["Docker-Content-Digest"] == document.digest
            assert headers["Content-Length"] == str(len(document.raw))

    def check_tag(self, name: str, tag: str) -> None:
        contents = self.repositories[name]
        if tag in contents.tags:
            self.check_manifest(name, tag, contents.manifests[contents.tags[tag]])
        else:
            answer = self.ask("GET", f"/v2/{name}/manifests/{tag}")
            assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])

    def check_referrers(self, name: str, subject: str, limit: int | None, kinds: Sequence[str] = ()) -> None:
        expected = [
            document.referrer
            for digest, document in sorted(self.repositories[name].manifests.items())
            if document.subject == subject and (not kinds or document.artifact_type in kinds)
        ]
        query = [f"artifactType={quote(kind)}" for kind in kinds] + ([] if limit is None else [f"n={limit}"])
        found = self.read_pages(f"/v2/{name}/referrers/{subject}?{'&'.join(query)}", "manifests")
        assert found == ([] if limit == 0 else expected)

    def check_pages(self, path: str, key: str, items: list[str], limit: int | None) -> None:
        found = self.read_pages(path if limit is None else f"{path}?n={limit}", key)
        assert found == ([] if limit == 0 else sorted(items))

    def read_pages(self, path: str | None, key: str) -> list[object]:
        found = []
        while path is not None:
            answer = self.ask("GET", path)
            assert answer.status == 200
            found += answer.json[key]
            path = parse_next(answer.headers.get("Link", ""))
        return found


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
