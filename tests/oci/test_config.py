"""Image configs: what is read, what is kept, and the one form of our own."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.config import Execution, ImageConfig
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid

LAYER = Digest.of(b"layer")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
KNOWN = {"architecture", "os", "os.version", "os.features", "variant", "created", "rootfs", "history", "config"}

# As `docker build` writes it, for an image of one layer.
DOCKER: dict[str, Any] = {
    "architecture": "arm",
    "config": {
        "Hostname": "",
        "AttachStdin": False,
        "ExposedPorts": {"80/tcp": {}},
        "Env": ["PATH=/usr/bin"],
        "Cmd": ["/bin/sh", "-c", "true"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000},
        "Image": "",
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": None,
        "ArgsEscaped": True,
    },
    "container": "3b0b",
    "created": "2024-01-02T03:04:05.678901234Z",
    "docker_version": "20.10.7",
    "history": [
        {"created": "2024-01-02T03:04:05Z", "created_by": "ADD file:x in /"},
        {"created": "2024-01-02T03:04:05Z", "created_by": "CMD", "empty_layer": True, "comment": "buildkit"},
    ],
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [LAYER]},
    "variant": "v7",
}


def parse(document: object) -> ImageConfig:
    return ImageConfig.parse(json.dumps(document).encode())


def minimal(**fields: Any) -> dict[str, Any]:
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, **fields}


def test_a_config_of_docker_is_read() -> None:
    config = parse(DOCKER)
    assert str(config.platform) == "linux/arm/v7"
    assert config.created == "2024-01-02T03:04:05.678901234Z"
    assert config.diff_ids == (LAYER,)
    assert [step.empty_layer for step in config.history] == [False, True]
    assert config.execution.cmd == ("/bin/sh", "-c", "true")
    assert config.execution.entrypoint is None
    assert config.execution.exposed_ports == {"80/tcp": {}}
    assert config.execution.env == ("PATH=/usr/bin",)
    assert config.execution.healthcheck == {"Test": ["CMD", "true"], "Interval": 30000000000}


def test_the_raw_bytes_decide_the_digest() -> None:
    raw = json.dumps(DOCKER, indent=2).encode()
    config = ImageConfig.parse(raw)
    assert config.raw is raw
    assert config.digest == Digest.of(raw)


@given(st.dictionaries(st.text().filter(lambda key: key not in KNOWN), JSON, max_size=5))
def test_unknown_keys_are_preserved(unknown: dict[str, Any]) -> None:
    """ "unknown base keys preserved"; "Any extra fields ... SHOULD be ignored" by readers (config.md)."""
    document = unknown | DOCKER
    assert dict(parse(document).document) == document
    assert dict(ImageConfig.build(document).document) == document


@pytest.mark.parametrize(
    "fields",
    [
        {"config": None},
        {"history": None},
        {"created": None},
        {"os.features": None},
        {"rootfs": {"type": "layers"}},
        {"rootfs": {"type": "layers", "diff_ids": None}},
        {"config": dict.fromkeys(["ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "Labels", "Shell"])},
        {"config": dict.fromkeys(["Healthcheck", "OnBuild"])},
    ],
)
def test_null_stands_where_docker_writes_null(fields: dict[str, Any]) -> None:
    config = parse(minimal(**fields))
    assert (config.diff_ids, config.history, config.execution) == ((), (), Execution())


def test_the_version_and_the_features_of_windows_are_read() -> None:
    config = parse(minimal(os="windows", **{"os.version": "10.0.17763.1", "os.features": ["win32k"]}))
    assert (config.platform.os_version, config.platform.os_features) == ("10.0.17763.1", ("win32k",))


def test_the_document_is_read_only() -> None:
    config = parse(DOCKER)
    with pytest.raises(TypeError):
        config.document["os"] = "plan9"  # type: ignore[index]


@given(st.dictionaries(st.text().filter(lambda key: key not in KNOWN), JSON, max_size=5), st.randoms())
def test_building_is_stable_whatever_the_order_of_the_keys(unknown: dict[str, Any], random: Any) -> None:
    """ "Canonical serialisation: UTF-8, sorted keys, no spaces, no trailing newline"."""
    document = unknown | DOCKER
    keys = list(document)
    random.shuffle(keys)
    config = ImageConfig.build(document)
    assert ImageConfig.build({key: document[key] for key in keys}) == config
    assert ImageConfig.build(config.document).raw == config.raw
    assert ImageConfig.parse(config.raw) == config


def test_the_canonical_form_is_these_bytes() -> None:
    config = ImageConfig.build(minimal(created="1970-01-01T00:00:00Z", author="\u00e4"))
    assert (
        config.raw
        == (
            '{"architecture":"amd64","author":"\u00e4","created":"1970-01-01T00:00:00Z","os":"linux",'
            '"rootfs":{"diff_ids":[],"type":"layers"}}'
        ).encode()
    )


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, "architecture"),
        ({"architecture": "amd64"}, "`os`"),
        (minimal(os=None), r"\$\.os"),
        (minimal(rootfs={"diff_ids": ["sha256:x"]}), r"\$\.rootfs\.diff_ids\[0\]"),
        (minimal(rootfs={"diff_ids": [None]}), r"\$\.rootfs\.diff_ids\[0\]"),
        (minimal(config={"Env": "A=b"}), r"\$\.config\.Env"),
        (minimal(config={"Labels": {"a": 1}}), r"\$\.config\.Labels"),
        (minimal(history=[{"empty_layer": "yes"}]), r"\$\.history\[0\]\.empty_layer"),
        ([], "Expected `object`"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(document: Any, path: str) -> None:
    """ "architecture ... REQUIRED", "os ... REQUIRED" (config.md)."""
    with pytest.raises(ManifestInvalid, match=path):
        parse(document)


@pytest.mark.parametrize("value", [object(), "\ud800", {1: "number", "a": "text"}])
def test_what_json_has_no_form_for_is_not_built(value: object) -> None:
    with pytest.raises(ManifestInvalid):
        ImageConfig.build(minimal(extra=value))


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_config_or_manifest_invalid(raw: bytes) -> None:
    try:
        config = ImageConfig.parse(raw)
    except ManifestInvalid:
        return
    assert config.raw == raw


def test_json_that_is_nested_ten_thousand_deep_is_manifest_invalid() -> None:
    raw = json.dumps(minimal(extra=0)).encode().replace(b'"extra": 0', b'"extra":' + b"[" * 10_000 + b"]" * 10_000)
    with pytest.raises(ManifestInvalid, match="nested too deep"):
        ImageConfig.parse(raw)
