"""LAYERS, item 43: "Base platform match: exact variant, then lower, error otherwise listing what exists"."""

import pytest

from layerkit.image.select import choose_platform
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestUnknown
from layerkit.oci.manifest import ImageIndex
from layerkit.oci.mediatype import OCI_INDEX, OCI_MANIFEST
from layerkit.oci.platform import Platform, parse_platform


def index(*platforms: str | None) -> ImageIndex:
    """The platforms as they are written: not normalised."""
    children = []
    for number, text in enumerate(platforms):
        os, architecture, variant = [*(text or "//").split("/"), ""][:3]
        children.append(
            Descriptor(
                media_type=OCI_MANIFEST,
                digest=Digest.of(bytes([number])),
                size=1,
                platform=Platform(os=os, architecture=architecture, variant=variant) if text else None,
            )
        )
    return ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=tuple(children))


@pytest.mark.parametrize(
    ("wanted", "platforms", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["windows/amd64", "linux/amd64"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], 2),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/arm", ["linux/arm/v6", "linux/arm"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm64/v9", ["linux/arm64"], 0),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/x86_64", ["linux/amd64"], 0),
        # Of two that are the same the first is taken, always.
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", [None, "unknown/unknown", "linux/amd64"], 2),
    ],
)
def test_the_exact_variant_then_the_next_lower(wanted: str, platforms: list[str | None], chosen: int) -> None:
    found = choose_platform(index(*platforms), parse_platform(wanted), name="x")
    assert found.digest == Digest.of(bytes([chosen]))


@pytest.mark.parametrize(
    ("wanted", "platforms", "offered"),
    [
        ("linux/arm/v5", ["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6, linux/arm/v7"),
        ("linux/amd64", ["linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/arm", ["linux/arm64", "linux/arm64", "unknown/unknown"], "linux/arm64"),
        ("linux/amd64", [], "none"),
        ("linux/amd64", [None, "unknown/unknown"], "none"),
    ],
)
def test_else_all_that_there_are_are_listed(wanted: str, platforms: list[str | None], offered: str) -> None:
    with pytest.raises(ManifestUnknown) as caught:
        choose_platform(index(*platforms), parse_platform(wanted), name="base:1")
    assert caught.value.message == f"base:1 has no image for {parse_platform(wanted)}: it has {offered}"
