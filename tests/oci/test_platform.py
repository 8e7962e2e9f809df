"""Platforms: one spelling for one thing, and what runs on what.

The tables hold the facts of containerd's platforms package (its documentation, "Normalization" and "ARM Support", and
its `Only`), save that a base image is never taken for another architecture: amd64 does not fall back to 386.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.platform import Platform, parse_platform

parts = st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True)
platforms = st.builds(
    Platform,
    os=st.sampled_from(["linux", "Linux", "windows", "macOS", "darwin"]) | st.text(),
    architecture=st.sampled_from(["amd64", "x86_64", "arm", "armhf", "arm64", "aarch64", "386", "ARM"]) | st.text(),
    variant=st.sampled_from(["", "v1", "v2", "v3", "v5", "5", "v7", "7", "v8", "8", "v9", "V8"]) | st.text(),
    os_version=st.sampled_from(["", "10.0.17763.1"]),
    os_features=st.sampled_from([(), ("win32k",)]),
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/aarch64", "linux/arm64"),
        ("linux/Aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armhf/v6", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/5", "linux/arm/v5"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/8", "linux/arm/v8"),
        ("linux/i386", "linux/386"),
        ("linux/i386/v1", "linux/386"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/V2", "linux/amd64/v2"),
        ("Linux/AMD64", "linux/amd64"),
        ("macOS/arm64", "darwin/arm64"),
        ("linux/s390x", "linux/s390x"),
        ("linux/riscv64/5", "linux/riscv64/5"),
        ("unknown/unknown", "unknown/unknown"),
        # What uname and dpkg say, beyond containerd's table.
        ("linux/i686", "linux/386"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/armv6l", "linux/arm/v6"),
        ("linux/powerpc64le", "linux/ppc64le"),
    ],
)
def test_every_spelling_of_a_platform_becomes_one(text: str, normal: str) -> None:
    platform = parse_platform(text)
    assert str(platform) == normal
    assert parse_platform(normal) == platform


@given(platforms)
def test_what_is_normal_stays_as_it_is(platform: Platform) -> None:
    normal = platform.normalized()
    assert normal.normalized() == normal
    assert platform.is_same_as(normal)
    assert (normal.os_version, normal.os_features) == (platform.os_version, platform.os_features)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", ["linux/amd64"]),
        ("linux/amd64/v1", ["linux/amd64"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
        ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v8", ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v5", ["linux/arm/v5"]),
        ("linux/arm/v4", ["linux/arm/v4"]),
        ("linux/arm64", ["linux/arm64"]),
        ("linux/arm64/v9", ["linux/arm64/v9", "linux/arm64"]),
        ("linux/arm64/v8.2", ["linux/arm64/v8.2"]),
        ("linux/386", ["linux/386"]),
        ("linux/ppc64le/power9", ["linux/ppc64le/power9"]),
        ("linux/amd64/v99999999999999999999", ["linux/amd64/v99999999999999999999"]),
    ],
)
def test_the_exact_variant_comes_first_and_then_the_lower_ones(text: str, expected: list[str]) -> None:
    """Base platform match: "exact variant, then lower"; "for arm/v7, will also match arm/v6 and arm/v5"."""
    assert [str(platform) for platform in parse_platform(text).candidates()] == expected


@given(platforms)
def test_candidates_are_distinct_normal_and_of_one_architecture(platform: Platform) -> None:
    candidates = platform.candidates()
    assert candidates[0] == platform.normalized()
    assert len(set(candidates)) == len(candidates) <= 10
    assert all(candidate.normalized() == candidate for candidate in candidates)
    assert len({(candidate.os, candidate.architecture, candidate.os_version) for candidate in candidates}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "linux",
        "amd64",
        "linux/",
        "/amd64",
        "/linux/arm",
        "linux/arm/",
        "linux //arm",
        "linux /arm",
        "linux/&arm",
        "linux/*",
        "linux/arm/foo/bar",
        "linux/amd64\n",
        "linux/\u00e4md64",
        "linux/amd64/v\u00b2",
        "windows(10.0.17763)/amd64",
    ],
)
def test_what_is_no_platform_is_refused_with_the_shape_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected os/architecture\[/variant\], like linux/amd64"):
        parse_platform(text)


@given(st.text() | st.lists(st.text(), min_size=2, max_size=3).map("/".join))
def test_any_text_is_a_platform_or_a_value_error(text: str) -> None:
    try:
        platform = parse_platform(text)
    except ValueError:
        return
    assert parse_platform(str(platform)) == platform


@given(parts.filter(lambda part: "." not in part), parts)
def test_unknown_systems_and_architectures_are_taken_as_they_are(system: str, architecture: str) -> None:
    platform = parse_platform(f"{system}/{architecture}")
    assert platform.is_same_as(Platform(os=system, architecture=architecture))


@given(st.builds(Platform, os=st.text(), architecture=st.text(), os_version=st.text(), variant=st.text()))
def test_a_platform_survives_json_under_the_spec_s_names(platform: Platform) -> None:
    """ "os.version" and "os.features" are single keys with a dot (image-index.md)."""
    raw = encode_json(msgspec.structs.replace(platform, os_features=("win32k",)))
    assert b'"os.features":["win32k"]' in raw
    assert decode_json(encode_json(platform), Platform) == platform
