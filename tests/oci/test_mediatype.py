"""Media types, and what they say of content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci import mediatype
from layerkit.oci.mediatype import (
    compression_of,
    is_layer,
    is_nondistributable,
    strip_parameters,
    to_oci,
)

DOCKER = "application/vnd.docker."
OCI_LAYER = "application/vnd.oci.image.layer."

EVERY_TYPE = sorted(value for name, value in vars(mediatype).items() if name.isupper() and isinstance(value, str))


@pytest.mark.parametrize(
    ("layer_type", "compression"),
    [
        (f"{OCI_LAYER}v1.tar", "none"),
        (f"{OCI_LAYER}v1.tar+gzip", "gzip"),
        (f"{OCI_LAYER}v1.tar+zstd", "zstd"),
        (f"{OCI_LAYER}nondistributable.v1.tar", "none"),
        (f"{OCI_LAYER}nondistributable.v1.tar+gzip", "gzip"),
        (f"{OCI_LAYER}nondistributable.v1.tar+zstd", "zstd"),
        (f"{DOCKER}image.rootfs.diff.tar", "none"),
        (f"{DOCKER}image.rootfs.diff.tar.gzip", "gzip"),
        (f"{DOCKER}image.rootfs.diff.tar.zstd", "zstd"),
        (f"{DOCKER}image.rootfs.foreign.diff.tar.gzip", "gzip"),
        ("application/octet-stream", "none"),
    ],
)
def test_the_suffix_says_how_a_layer_is_compressed(layer_type: str, compression: str) -> None:
    assert compression_of(layer_type) == compression
    assert compression_of(to_oci(layer_type)) == compression


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (f"{OCI_LAYER}nondistributable.v1.tar", True),
        (f"{OCI_LAYER}nondistributable.v1.tar+gzip", True),
        (f"{OCI_LAYER}nondistributable.v1.tar+zstd", True),
        (f"{DOCKER}image.rootfs.foreign.diff.tar", True),
        (f"{DOCKER}image.rootfs.foreign.diff.tar.gzip", True),
        (f"{DOCKER}image.rootfs.diff.tar.gzip", False),
        (f"{OCI_LAYER}v1.tar+gzip", False),
        ("", False),
    ],
)
def test_the_type_alone_says_that_content_need_not_be_in_the_registry(media_type: str, expected: bool) -> None:
    """Non-distributable layers "SHOULD NOT be pushed to a registry" (layer.md); Docker called them foreign."""
    assert is_nondistributable(media_type) is expected
    assert is_nondistributable(to_oci(media_type)) is expected


@pytest.mark.parametrize("media_type", EVERY_TYPE)
def test_a_layer_is_told_by_its_type(media_type: str) -> None:
    assert is_layer(media_type) is ("layer" in media_type or "rootfs" in media_type)


@pytest.mark.parametrize("media_type", EVERY_TYPE)
def test_translation_to_oci_ends_at_once_and_loses_no_schema_2_type(media_type: str) -> None:
    translated = to_oci(media_type)
    assert to_oci(translated) == translated
    assert translated.startswith(DOCKER) is (media_type in mediatype.SCHEMA1)
    assert is_layer(translated) is is_layer(media_type)


@given(st.text())
def test_a_type_that_is_not_docker_s_is_left_alone(media_type: str) -> None:
    assert to_oci(media_type) == media_type


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("Application/JSON ;charset=utf-8;x=y", "application/json"),
        (" application/vnd.oci.image.index.v1+json ", "application/vnd.oci.image.index.v1+json"),
        ("", ""),
        (";", ""),
    ],
)
def test_parameters_are_no_part_of_a_media_type(content_type: str, expected: str) -> None:
    assert strip_parameters(content_type) == expected
