"""An image as a value: every method makes a new one, and config, layers and history stay in step."""

import json
from typing import Any

import pytest

from layerkit.image.image import Image
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import ImageManifest, parse_document
from layerkit.oci.mediatype import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_LAYER_GZIP, OCI_MANIFEST
from layerkit.oci.platform import parse_platform

EMPTY = Image.empty(parse_platform("linux/amd64"))


def layer(name: str, media_type: str = OCI_LAYER_GZIP, **fields: Any) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(name.encode()), size=len(name), **fields)


def base(*layers: Descriptor, **config: Any) -> Image:
    """An image of docker's, as a base."""
    rootfs = {"type": "layers", "diff_ids": [Digest.of(item.digest.encode()) for item in layers]}
    document = {"os": "linux", "architecture": "amd64", "rootfs": rootfs, **config}
    manifest = ImageManifest(
        schema_version=2, media_type=DOCKER_MANIFEST, config=layer("config", DOCKER_CONFIG), layers=layers
    )
    return Image.of(manifest, ImageConfig.build(document))


def test_every_change_makes_a_new_image() -> None:
    before = EMPTY.config.raw, EMPTY.manifest.raw
    changed = EMPTY.with_layer(layer("a"), Digest.of(b"x"), created_by="me").created_at(5)
    changed.with_execution({"User": "1"}).with_annotations({"a": "b"})
    assert (EMPTY.config.raw, EMPTY.manifest.raw) == before
    assert "User" not in str(changed.config.raw)
    assert dict(changed.annotations) == {}


def test_the_same_steps_give_the_same_bytes() -> None:
    def make() -> bytes:
        image = EMPTY.with_layer(layer("a"), Digest.of(b"x"), created_by="me").with_annotations({"b": "1", "a": "2"})
        return image.created_at(5).manifest.raw

    assert make() == make()


def test_a_manifest_is_what_a_reader_expects() -> None:
    """LAYERS, item 42: "`schemaVersion 2`, `mediaType` present and equal to the Content-Type"."""
    manifest = EMPTY.with_layer(layer("a"), Digest.of(b"x"), created_by="me").manifest
    document = parse_document(manifest.raw, OCI_MANIFEST)
    assert isinstance(document, ImageManifest)
    assert document.layers == (layer("a"),)
    assert json.loads(manifest.raw)["schemaVersion"] == 2


def test_layers_diff_ids_and_history_grow_together() -> None:
    image = EMPTY
    for number in range(5):
        image = image.with_layer(layer(str(number)), Digest.of(bytes(number)), created_by=f"step {number}")
    assert [item.digest for item in image.layers] == [layer(str(number)).digest for number in range(5)]
    assert list(image.config.diff_ids) == [Digest.of(bytes(number)) for number in range(5)]
    assert [step.created_by for step in image.config.history] == [f"step {number}" for number in range(5)]


def test_the_types_of_docker_become_those_of_oci_and_digests_stay() -> None:
    """LAYERS, item 36."""
    image = base(layer("a", DOCKER_LAYER_GZIP), layer("b", OCI_LAYER_GZIP))
    assert image.layers == (layer("a"), layer("b"))


def test_of_a_descriptor_annotations_and_urls_stay_and_a_copy_of_the_content_does_not() -> None:
    given = layer("a", annotations={"a": "b"}, urls=("https://example.org",), data="YQ==", platform=EMPTY.platform)
    assert base(given).layers == (layer("a", annotations={"a": "b"}, urls=("https://example.org",)),)


def test_another_number_of_diff_ids_is_refused() -> None:
    with pytest.raises(ManifestInvalid, match="the manifest has 1 layers, its config 0 diff_ids"):
        base(layer("a"), rootfs={"type": "layers", "diff_ids": []})


def test_history_tells_of_each_layer() -> None:
    """LAYERS, item 41: "count of non-empty = layers (containers/image needs it for conversion)"."""
    image = base(layer("a"), layer("b"), history=[{"created_by": "x"}, {"created_by": "y", "empty_layer": True}])
    told = image.with_layer(layer("c"), Digest.of(b"c"), created_by="z").config.history
    assert [step.created_by for step in told] == ["x", "y", "a layer of the base image", "z"]


@pytest.mark.parametrize("history", [None, []])
def test_an_image_without_layers_needs_no_history(history: object) -> None:
    image = base(history=history).created_at(0)
    assert image.config.history == ()
    assert image.config.document["history"] == history


def test_created_is_set_where_it_is_missing_and_nowhere_else() -> None:
    image = base(layer("a"), history=[{"created": "2020-01-01T00:00:00Z", "created_by": "x", "unknown": [1]}])
    image = image.with_layer(layer("b"), Digest.of(b"b"), created_by="y").created_at(86400)
    assert image.config.created == "1970-01-02T00:00:00Z"
    assert image.config.document["history"] == [
        {"created": "2020-01-01T00:00:00Z", "created_by": "x", "unknown": [1]},
        {"created": "1970-01-02T00:00:00Z", "created_by": "y"},
    ]


def test_a_field_of_none_is_removed_and_unknown_ones_stay() -> None:
    """LAYERS, item 40: "unknown base keys preserved"."""
    image = base(config={"Cmd": ["x"], "OnBuild": ["RUN y"], "User": "1"}, author="me")
    changed = image.with_execution({"Cmd": None, "User": "2"})
    assert changed.config.document["config"] == {"OnBuild": ["RUN y"], "User": "2"}
    assert changed.config.document["author"] == "me"


def test_later_annotations_win() -> None:
    image = EMPTY.with_annotations({"a": "1", "b": "1"}).with_annotations({"b": "2"})
    assert json.loads(image.manifest.raw)["annotations"] == {"a": "1", "b": "2"}
