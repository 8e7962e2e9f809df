"""Manifests: exact bytes, what they say, and which documents are refused."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.descriptor import EMPTY, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import (
    ArtifactManifest,
    Document,
    ImageIndex,
    ImageManifest,
    Manifest,
    OtherDocument,
    detect_media_type,
    parse_document,
    required_digests,
)
from layerkit.oci.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LAYER_FOREIGN_GZIP,
    DOCKER_LAYER_GZIP,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_NONDISTRIBUTABLE,
    OCI_MANIFEST,
)

OTHER = "application/vnd.example.thing.v1+json"
TYPES = [OCI_MANIFEST, OCI_INDEX, OCI_ARTIFACT, DOCKER_MANIFEST, DOCKER_LIST, OTHER]
IMAGES = [OCI_MANIFEST, DOCKER_MANIFEST]
INDEXES = [OCI_INDEX, DOCKER_LIST]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def item(content: str = "{}", media_type: str = OCI_LAYER_GZIP, **fields: Any) -> dict[str, Any]:
    """A descriptor in JSON of some content."""
    raw = content.encode()
    return {"mediaType": media_type, "digest": Digest.of(raw), "size": len(raw), **fields}


def image(**fields: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": item("{}", OCI_CONFIG), "layers": [item("a"), item("b")], **fields}


def index(**fields: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": [item("x", OCI_MANIFEST), item("y", OCI_MANIFEST)], **fields}


def parse(document: object, media_type: str = OCI_MANIFEST) -> Document:
    return parse_document(json.dumps(document).encode(), media_type)


# A document whose fields are the right ones, the wrong ones or anything at all.
almost_documents = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from([2, 1, 0, "2", 2.0, None, 2**70]),
        "mediaType": st.sampled_from([*TYPES, "", None, 5, []]),
        "config": st.sampled_from([item(), None, {}, "x"]),
        "layers": st.sampled_from([[item()], [], None, [{}], {}]),
        "manifests": st.sampled_from([[item()], [], None, [None]]),
        "blobs": st.sampled_from([[item()], None, 1]),
        "fsLayers": st.sampled_from([[], None]),
        "subject": st.sampled_from([item(), None, {"digest": 5}]),
        "artifactType": st.sampled_from(["a/b", "", None, 5]),
        "annotations": st.sampled_from([{}, {"a": "b"}, None, {"a": None}]),
        "unknown": JSON,
    },
)


# Raw bytes


@given(st.binary(), st.sampled_from(TYPES), st.sampled_from(["sha256", "sha512"]))
def test_bytes_are_kept_and_named_as_they_came(raw: bytes, media_type: str, algorithm: str) -> None:
    """ "GET returns the exact bytes; no compression, no charset, no re-serialisation"."""
    manifest = Manifest.of(raw, media_type, algorithm)
    assert manifest.raw is raw
    assert manifest.digest == f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"
    assert manifest.descriptor == Descriptor(media_type=media_type, digest=manifest.digest, size=len(raw))


def test_a_manifest_written_with_spaces_and_unknown_fields_keeps_both() -> None:
    raw = json.dumps(image(unknown={"kept": True}), indent=3).encode() + b"\n"
    manifest = Manifest.of(raw, OCI_MANIFEST)
    assert isinstance(manifest.document, ImageManifest)
    assert manifest.raw == raw
    assert manifest.descriptor.size == len(raw)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(TYPES))
def test_any_bytes_are_a_document_or_manifest_invalid(raw: bytes, media_type: str) -> None:
    try:
        document = parse_document(raw, media_type)
    except ManifestInvalid:
        return
    assert document.media_type in {media_type, None, ""}


@given(almost_documents, st.sampled_from(TYPES))
def test_almost_a_document_is_a_document_or_manifest_invalid(fields: dict[str, Any], media_type: str) -> None:
    try:
        document = parse(fields, media_type)
    except ManifestInvalid:
        return
    assert fields.get("mediaType") in {media_type, None, ""}
    assert document.media_type == fields.get("mediaType")
    assert len(required_digests(document)) <= len(list(document.references()))
    if media_type in IMAGES:
        assert "manifests" not in fields
    if media_type in INDEXES:
        assert not {"config", "layers"} & set(fields)


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("field", ["unknown", "mediaType", "config", "layers", "annotations", "schemaVersion"])
def test_json_that_is_nested_ten_thousand_deep_is_manifest_invalid(media_type: str, field: str) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    raw = b'{"schemaVersion":2,"%s":%s}' % (field.encode(), deep)
    with pytest.raises(ManifestInvalid, match="nested too deep"):
        parse_document(raw, media_type)
    with pytest.raises(ManifestInvalid, match="nested too deep"):
        detect_media_type(raw)


@pytest.mark.parametrize("field", ["mediaType", "schemaVersion", "config"])
@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_json_that_is_nested_just_deep_enough_to_read_is_manifest_invalid_too(field: str, depth: int) -> None:
    raw = b'{"manifests":[],"%s":%s}' % (field.encode(), b"[" * depth + b"]" * depth)
    with pytest.raises(ManifestInvalid):
        parse_document(raw, OCI_INDEX)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schemaVersion":2,"mediaType":"' + b"x" * (5 * 2**20) + b'"}',
        b'{"schemaVersion":' + b"1" * (5 * 2**20) + b"}",
        b'{"schemaVersion":' + b"1" * 4000 + b"}",
        b'{"schemaVersion":2,"manifests":[' + b"{}," * (5 * 2**18) + b"{}]}",
        b"[" + b"1," * (5 * 2**19) + b"1]",
        b" " * (5 * 2**20),
    ],
)
def test_five_mebibytes_of_nonsense_are_manifest_invalid_and_not_repeated(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_document(raw, OCI_INDEX)
    assert len(caught.value.message) < 1000


def test_five_mebibytes_of_an_unknown_field_are_passed_over() -> None:
    """How large a manifest may be is for whoever receives it; what it says does not depend on it."""
    assert isinstance(parse(index(unknown="x" * (5 * 2**20)), OCI_INDEX), ImageIndex)


# What documents say


@pytest.mark.parametrize("media_type", IMAGES)
def test_an_image_refers_to_its_config_and_layers(media_type: str) -> None:
    document = parse(image(mediaType=media_type), media_type)
    assert isinstance(document, ImageManifest)
    assert [each.digest for each in document.references()] == [Digest.of(raw) for raw in (b"{}", b"a", b"b")]


@pytest.mark.parametrize("media_type", INDEXES)
def test_an_index_refers_to_its_children(media_type: str) -> None:
    document = parse(index(mediaType=media_type), media_type)
    assert isinstance(document, ImageIndex)
    assert [each.digest for each in document.references()] == [Digest.of(raw) for raw in (b"x", b"y")]


def test_the_children_of_an_index_may_be_blobs() -> None:
    """BuildKit's cache is an index of layers and of a config of its own type."""
    cache = [item("l"), item("c", "application/vnd.buildkit.cacheconfig.v0+json")]
    assert len(required_digests(parse(index(manifests=cache), OCI_INDEX))) == 2


def test_the_platform_of_a_child_is_read() -> None:
    child = item("x", OCI_MANIFEST, platform={"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"})
    document = parse(index(manifests=[child]), OCI_INDEX)
    assert isinstance(document, ImageIndex)
    platform = (document.manifests or ())[0].platform
    assert platform is not None
    assert (str(platform), platform.os_version) == ("windows/amd64", "10.0.17763.1")


def test_an_artifact_manifest_refers_to_its_blobs_and_needs_no_schema_version() -> None:
    document = parse({"mediaType": OCI_ARTIFACT, "artifactType": "a/b", "blobs": [item("a")]}, OCI_ARTIFACT)
    assert isinstance(document, ArtifactManifest)
    assert required_digests(document) == [Digest.of(b"a")]


def test_a_manifest_of_an_unknown_type_is_kept_and_related_by_its_subject() -> None:
    document = parse({"subject": item("s"), "layers": "whatever", "config": 5, "manifests": []}, OTHER)
    assert isinstance(document, OtherDocument)
    assert document.subject is not None
    assert required_digests(document) == []


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (image(layers=None), OCI_MANIFEST),
        (image(annotations=None, subject=None, artifactType=None, mediaType=None), OCI_MANIFEST),
        (index(manifests=None), OCI_INDEX),
        (index(manifests=[]), OCI_INDEX),
        ({"blobs": None}, OCI_ARTIFACT),
    ],
)
def test_null_stands_for_an_empty_list_and_for_nothing(document: dict[str, Any], media_type: str) -> None:
    """Go programs write null for an empty list or map."""
    parsed = parse(document, media_type)
    assert parsed.subject is None
    assert len(list(parsed.references())) <= 3


KNOWN = frozenset(
    {
        *("schemaversion", "mediatype", "artifacttype", "subject", "annotations"),
        *("config", "layers", "manifests", "blobs", "fslayers"),
    }
)


@given(st.dictionaries(st.text().filter(lambda key: key.lower() not in KNOWN), JSON, max_size=4))
def test_unknown_fields_are_ignored(unknown: dict[str, Any]) -> None:
    """ "Implementations MUST NOT generate an error when they encounter an unknown property" (considerations.md)."""
    assert parse(unknown | image()) == parse({"mediaType": None} | image())


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        (image(schemaVersion=1), OCI_MANIFEST, "schemaVersion"),
        (image(schemaVersion="2"), OCI_MANIFEST, r"\$\.schemaVersion"),
        ({key: value for key, value in image().items() if key != "schemaVersion"}, OCI_MANIFEST, "schemaVersion"),
        (image(config=None), OCI_MANIFEST, r"\$\.config"),
        (image(layers=[item(), item(size=-1)]), OCI_MANIFEST, r"\$\.layers\[1\]\.size"),
        (image(layers=[item(), item(digest="sha256:x")]), OCI_MANIFEST, r"\$\.layers\[1\]\.digest"),
        (image(layers=[item(digest=5)]), OCI_MANIFEST, r"\$\.layers\[0\]\.digest"),
        (image(subject={}), OCI_MANIFEST, r"\$\.subject"),
        (index(manifests={}), OCI_INDEX, r"\$\.manifests"),
        ([], OCI_INDEX, "Expected `object`"),
        (None, OCI_INDEX, "Expected `object`"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(document: object, media_type: str, message: str) -> None:
    """ "schemaVersion ... MUST be 2", "config ... REQUIRED" (manifest.md)."""
    with pytest.raises(ManifestInvalid, match=message):
        parse(document, media_type)


# Ambiguity


@pytest.mark.parametrize("stated", [*TYPES, "text/plain", 5, [], {}, True])
@pytest.mark.parametrize("media_type", TYPES)
def test_a_media_type_that_differs_from_the_content_type_is_refused(stated: object, media_type: str) -> None:
    """ "its value MUST match the Content-Type" (CVE-2021-41190, "ambiguous OCI manifest parsing")."""
    if stated == media_type:
        return
    with pytest.raises(ManifestInvalid, match="mediaType"):
        parse({"schemaVersion": 2, "mediaType": stated}, media_type)


@pytest.mark.parametrize("media_type", [*IMAGES, *INDEXES])
@pytest.mark.parametrize("manifests", [None, [], [item()]])
def test_a_document_that_is_an_image_and_an_index_is_refused(media_type: str, manifests: object) -> None:
    with pytest.raises(ManifestInvalid, match="index or image"):
        parse(image(manifests=manifests), media_type)


@pytest.mark.parametrize("media_type", INDEXES)
@pytest.mark.parametrize("field", ["config", "layers"])
@pytest.mark.parametrize("value", [None, [], {}])
def test_an_index_with_the_fields_of_an_image_is_refused(media_type: str, field: str, value: object) -> None:
    with pytest.raises(ManifestInvalid, match="index or image"):
        parse({"schemaVersion": 2, field: value}, media_type)


@pytest.mark.parametrize("media_type", IMAGES)
def test_an_image_with_the_fields_of_an_index_is_refused(media_type: str) -> None:
    with pytest.raises(ManifestInvalid, match="index or image"):
        parse(index(), media_type)


# Docker schema 1


@pytest.mark.parametrize("media_type", [DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED])
def test_schema_1_is_refused_with_advice(media_type: str) -> None:
    """ "No schema1 conversion; schema1 PUT -> 400 MANIFEST_INVALID"."""
    with pytest.raises(ManifestInvalid, match="push the image again"):
        parse({"schemaVersion": 1}, media_type)


@pytest.mark.parametrize("media_type", TYPES)
def test_schema_1_under_another_name_is_refused(media_type: str) -> None:
    with pytest.raises(ManifestInvalid, match="schema 1"):
        parse(image(fsLayers=[]), media_type)


# Types that were not stated


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST),
        (index(mediaType=OTHER), OTHER),
        (image(), OCI_MANIFEST),
        (image(mediaType=""), OCI_MANIFEST),
        (image(mediaType=None), OCI_MANIFEST),
        (image(config=item("{}", DOCKER_CONFIG)), DOCKER_MANIFEST),
        (index(), OCI_INDEX),
        (index(manifests=None), OCI_INDEX),
        (image(config=None), OCI_MANIFEST),
    ],
)
def test_without_a_content_type_the_media_type_or_else_the_fields_tell(document: object, expected: str) -> None:
    """ "absent Content-Type: take `mediaType` field, else guess"."""
    assert detect_media_type(json.dumps(document).encode()) == expected


@pytest.mark.parametrize(
    "document",
    [{}, {"schemaVersion": 2}, {"layers": []}, [], {"mediaType": 5}, {"mediaType": "x"}, {"mediaType": "a/b\r\nX: y"}],
)
def test_where_neither_tells_it_is_manifest_invalid(document: object) -> None:
    """ "mediaType ... MUST comply with RFC 6838" (descriptor.md): it becomes a header when the manifest is served."""
    with pytest.raises(ManifestInvalid):
        detect_media_type(json.dumps(document).encode())


@given(st.binary() | almost_documents.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_have_a_type_or_are_manifest_invalid(raw: bytes) -> None:
    try:
        media_type = detect_media_type(raw)
    except ManifestInvalid:
        return
    assert media_type.isascii()
    assert media_type.isprintable()


# What must be there first


def test_what_is_required_comes_once_and_in_byte_order_without_the_subject() -> None:
    """ "Subject may be missing -> accept (MUST)"."""
    document = parse(image(layers=[item("b"), item("a"), item("b")], subject=item("missing")))
    assert required_digests(document) == sorted(Digest.of(raw) for raw in (b"{}", b"a", b"b"))


@pytest.mark.parametrize(
    "media_type", [OCI_LAYER_NONDISTRIBUTABLE, f"{OCI_LAYER_NONDISTRIBUTABLE}+gzip", DOCKER_LAYER_FOREIGN_GZIP]
)
def test_a_non_distributable_layer_is_not_required(media_type: str) -> None:
    document = parse(image(layers=[item("a"), item("windows", media_type, urls=["https://example.com/base"])]))
    assert required_digests(document) == sorted([Digest.of(b"{}"), Digest.of(b"a")])


@pytest.mark.parametrize("media_type", [OCI_LAYER_GZIP, DOCKER_LAYER_GZIP])
def test_urls_do_not_make_a_layer_non_distributable(media_type: str) -> None:
    """ "told by the media type, never by `urls`"."""
    document = parse(image(layers=[item("a", media_type, urls=["https://example.com/a"])]))
    assert Digest.of(b"a") in required_digests(document)


# Referrers


@pytest.mark.parametrize(
    ("document", "media_type", "expected"),
    [
        (image(artifactType="a/b"), OCI_MANIFEST, "a/b"),
        (image(), OCI_MANIFEST, OCI_CONFIG),
        (image(artifactType=""), OCI_MANIFEST, OCI_CONFIG),
        (image(config=item("{}", "c/d")), OCI_MANIFEST, "c/d"),
        (image(config=item("{}", "c/d"), artifactType="a/b"), OCI_MANIFEST, "a/b"),
        (index(), OCI_INDEX, None),
        (index(artifactType=""), OCI_INDEX, None),
        (index(artifactType="a/b"), OCI_INDEX, "a/b"),
        ({"artifactType": "a/b"}, OCI_ARTIFACT, "a/b"),
        ({"artifactType": "a/b"}, OTHER, "a/b"),
        ({"config": item("{}", "c/d")}, OTHER, None),
    ],
)
def test_a_referrer_s_type_is_its_artifact_type_and_for_an_image_else_its_config_s(
    document: dict[str, Any], media_type: str, expected: str | None
) -> None:
    """ "If the artifactType is empty or missing in the image manifest, the value of artifactType MUST be set to the
    config descriptor mediaType value. If the artifactType is empty or missing in an index, the artifactType MUST be
    omitted" (distribution-spec, "Listing Referrers")."""
    assert parse(document, media_type).referrer_type() == expected


def test_a_pointer_has_the_type_and_the_annotations_of_its_manifest() -> None:
    raw = json.dumps(image(annotations={"a": "b"}, subject=item("s"))).encode()
    manifest = Manifest.of(raw, OCI_MANIFEST)
    assert manifest.pointer() == Descriptor(
        media_type=OCI_MANIFEST,
        digest=manifest.digest,
        size=len(raw),
        artifact_type=OCI_CONFIG,
        annotations={"a": "b"},
    )


# Our own


@pytest.mark.parametrize(
    "document",
    [
        ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=(EMPTY,), artifact_type="a/b"),
        ImageManifest(
            schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=(), annotations={"b": "", "a": ""}
        ),
        ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=()),
        ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=(EMPTY,), subject=EMPTY),
        ArtifactManifest(media_type=OCI_ARTIFACT, blobs=(EMPTY,)),
        OtherDocument(media_type=OTHER),
    ],
)
def test_a_document_of_our_own_is_read_back_as_it_was(document: Document) -> None:
    """ "Manifest: schemaVersion 2, mediaType present and equal to the Content-Type"."""
    manifest = Manifest.encode(document)
    assert manifest.document == document
    assert json.loads(manifest.raw)["mediaType"] == manifest.media_type == document.media_type
    assert Manifest.encode(manifest.document) == manifest


def test_an_empty_list_of_layers_is_written() -> None:
    """ "layers: array of objects ... MUST" be there, if only as `[]` (manifest.md)."""
    document = ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=EMPTY, layers=())
    assert b'"layers":[]' in Manifest.encode(document).raw


@pytest.mark.parametrize(
    "document",
    [
        ImageManifest(schema_version=2, config=EMPTY, layers=()),
        ImageManifest(schema_version=2, media_type="", config=EMPTY, layers=()),
        ImageManifest(media_type=OCI_MANIFEST, config=EMPTY, layers=()),
        ImageManifest(schema_version=2, media_type=OCI_INDEX, config=EMPTY, layers=()),
        ImageIndex(media_type=OCI_INDEX, manifests=()),
        ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=(), annotations={"a": "\ud800"}),
    ],
)
def test_a_document_that_could_not_be_read_again_is_not_written(document: Document) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest.encode(document)
