"""The rules of SPEC.md, one by one, on specs that are right; `test_errors` has those that are wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import Tag, parse_reference
from layerkit.spec.model import (
    Attributes,
    Base,
    Compression,
    CompressionKind,
    Content,
    Copy,
    Healthcheck,
    LayoutBase,
    RegistryBase,
    Scratch,
    Spec,
    StoreBase,
)
from layerkit.spec.shape import SpecShape

Load = Callable[..., Spec]

SHOP = """\
name: web
vars: {TAG: dev}
from: registry.example.org/debian:trixie-slim
tags:
  - registry.example.org/acme/web:${TAG}
platforms: [linux/amd64, linux/arm64/v8]
labels: {org.opencontainers.image.source: https://example.org/shop}
annotations: {a: 1.10}
timestamp: 1700000000
compression: none
layers:
  - name: app
    owner: 10001:10002
    copy:
      - ./src:/srv/app/
      - {src: ./static, dest: /srv//app/./static/, exclude: ["**/*.map"], mode: "0444"}
      - {content: "release=${TAG}\\n", dest: /srv/app/RELEASE}
    symlink: {/srv/app/current: .}
  - copy: [a:/b]
config:
  user: 65532
  workdir: /srv/app
  env: {PATH: "/opt/venv/bin:/usr/bin:/bin", PYTHONUNBUFFERED: 1, NORWAY: no, AT: 22:30, BIG: 1_000, EMPTY: ""}
  entrypoint: [gunicorn, app.wsgi]
  cmd: [--bind, "0.0.0.0:8000"]
  expose: [8000, "8000/tcp", 53/UDP]
  volumes: [/data]
  labels: {b: c}
  stop_signal: SIGINT
  shell: [/bin/sh, -c]
  healthcheck: {test: [CMD, python3, -m, app.health], interval: 30s, timeout: 1.5s, start_period: 500ms, retries: 3}
"""


def test_the_config_has_dockerfile_words_and_its_values_come_out_as_typed(load: Load) -> None:
    """Rule 1: "Dockerfile words in lower case for image config"; rule 3: "Env and label values come out as typed"."""
    config = load(SHOP).config
    assert config.env == {
        "PATH": "/opt/venv/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "NORWAY": "no",
        "AT": "22:30",
        "BIG": "1_000",
        "EMPTY": "",
    }
    assert next(iter(config.env)) == "PATH"
    assert (config.user, config.workdir) == ("65532", "/srv/app")
    assert (config.entrypoint, config.cmd) == (("gunicorn", "app.wsgi"), ("--bind", "0.0.0.0:8000"))
    assert config.expose == ("8000/tcp", "53/udp")
    assert config.volumes == ("/data",)
    assert (config.stop_signal, config.shell) == ("SIGINT", ("/bin/sh", "-c"))
    assert config.healthcheck == Healthcheck(
        test=("CMD", "python3", "-m", "app.health"),
        interval=30_000_000_000,
        timeout=1_500_000_000,
        start_period=500_000_000,
        retries=3,
    )


def test_labels_of_the_spec_and_of_its_config_are_one_thing(load: Load) -> None:
    """Rule 1: "One spelling for one thing"."""
    assert load(SHOP).config.labels == {"org.opencontainers.image.source": "https://example.org/shop", "b": "c"}


def test_the_build_has_the_words_of_build_push_action(load: Load, folder: Path) -> None:
    """Rule 1: "build-push-action words for the build (`platforms tags labels annotations`)"."""
    spec = load(SHOP)
    assert spec.name == "web"
    assert spec.context == folder
    assert spec.base == RegistryBase(parse_reference("registry.example.org/debian:trixie-slim"))
    assert spec.tags == (parse_reference("registry.example.org/acme/web:dev"),)
    assert spec.platform == parse_platform("linux/amd64")
    assert spec.annotations == {"a": "1.10"}
    assert (spec.timestamp, spec.compression) == (1700000000, Compression(CompressionKind.NONE))


def test_copies_have_a_short_and_a_long_form(load: Load) -> None:
    """Rule 2: "Short form for the common case, long form for the rest (`- src:/dest` or a map)"."""
    spec = load(SHOP)
    layer = spec.layers[0]
    owned = Attributes(user=10001, group=10002)
    assert layer.copies == (
        Copy(src="./src", dest="/srv/app/", attributes=owned, position=spec.locate("layers", 0, "copy", 0)),
        Copy(
            src="./static",
            dest="/srv/app/static/",
            exclude=("**/*.map",),
            attributes=Attributes(user=10001, group=10002, mode=0o444),
            position=spec.locate("layers", 0, "copy", 1, "src"),
        ),
        Content(
            content="release=dev\n",
            dest="/srv/app/RELEASE",
            attributes=owned,
            position=spec.locate("layers", 0, "copy", 2, "content"),
        ),
    )
    assert str(layer.copies[0].position) == "layerkit.yaml:15:9"
    assert str(layer.copies[1].position) == "layerkit.yaml:16:15"
    assert [(link.path, link.target, str(link.position)) for link in layer.symlinks] == [
        ("/srv/app/current", ".", "layerkit.yaml:18:15")
    ]


def test_the_least_spec_has_defaults(load: Load) -> None:
    """SPEC, "Copy": "Default modes 0644, 0755 ..., folders 0755, owner 0:0"; `timestamp`: "epoch (default)"."""
    spec = load("from: scratch\nlayers: [{copy: [a:/b]}]")
    assert spec.base == Scratch()
    assert (spec.tags, spec.users, spec.timestamp, spec.compression) == ((), (), 0, Compression(CompressionKind.GZIP))
    assert spec.layers[0].copies[0].attributes == Attributes(user=0, group=None, mode=None, dir_mode=0o755)
    assert (spec.config.env, spec.config.cmd, spec.config.user) == ({}, None, None)


def test_an_empty_list_is_not_the_same_as_none(load: Load) -> None:
    """SPEC, "Config": "`entrypoint` without `cmd` clears the base's `cmd`": what is cleared is not what is unset."""
    config = load("{from: scratch, config: {cmd: []}}").config
    assert config.cmd == ()
    assert config.entrypoint is None


@pytest.mark.parametrize("mode", ['"0755"', "0755", "0o755", "'0o755'"])
def test_modes_are_octal(load: Load, mode: str) -> None:
    """Rule 3: "Modes: `"0755"` or `0o755`; bare `755` is an error"."""
    spec = load(f"from: scratch\nlayers: [{{copy: [{{src: a, dest: /b, mode: {mode}}}]}}]")
    assert spec.layers[0].copies[0].attributes.mode == 0o755


@pytest.mark.parametrize(
    ("outer", "layer", "copy", "owner"),
    [
        ("", "", "", (0, None)),
        ("owner: 7", "", "", (7, None)),
        ("owner: 7:8", "", "", (7, 8)),
        ("owner: 7:8", "owner: 9", "", (9, None)),
        ("owner: 7:8", "", "owner: 9:10", (9, 10)),
        ("owner: 7", "group: 8", "", (7, 8)),
        ("group: 8", "owner: 7", "", (7, 8)),
        ("group: 8", "owner: 7:9", "", (7, 9)),
        ("group: 8", "owner: 7:9", "group: 10", (7, 10)),
        ("group: 8", "", "", (0, 8)),
        ("owner: app", "", "", ("app", None)),
        ("owner: app:www-data", "", "owner: '0:staff'", (0, "staff")),
        ("group: www-data", "owner: app", "", ("app", "www-data")),
    ],
)
def test_owner_and_group_are_inherited(
    load: Load, outer: str, layer: str, copy: str, owner: tuple[int | str, int | str | None]
) -> None:
    """Rule 7: "owner, group and mode are attributes of a copy, inherited spec -> layer -> copy"."""
    spec = load(
        f"from: scratch\n{outer}\nlayers: [{{symlink: {{/l: t}}, {layer + ', ' if layer else ''}"
        f"copy: [{{src: a, dest: /b, {copy}}}]}}]"
    )
    attributes = spec.layers[0].copies[0].attributes
    assert (attributes.user, attributes.group) == owner
    if not copy:
        assert spec.layers[0].symlinks[0].attributes == attributes


def test_modes_are_inherited(load: Load) -> None:
    """Rule 7, and SPEC, "Copy": "`mode` is for files, `dir_mode` for folders"."""
    spec = load(
        'from: scratch\nmode: "0600"\ndir_mode: "0700"\n'
        'layers: [{mode: "0640", copy: [a:/a, {src: b, dest: /b, dir_mode: "0750"}]}, {copy: [a:/a]}]'
    )
    modes = [(copy.attributes.mode, copy.attributes.dir_mode) for layer in spec.layers for copy in layer.copies]
    assert modes == [(0o640, 0o700), (0o640, 0o750), (0o600, 0o700)]


@pytest.mark.parametrize(
    ("text", "normal"),
    [("/", "/"), ("/srv/", "/srv/"), ("//srv//app", "/srv/app"), ("/srv/./app/.", "/srv/app/"), ("/a.b", "/a.b")],
)
def test_destinations_are_normalised_and_keep_the_slash_at_their_end(load: Load, text: str, normal: str) -> None:
    """Rule 5: "destinations absolute; a trailing `/` means "into this directory""."""
    assert load(f"from: scratch\nlayers: [{{copy: ['.:{text}']}}]").layers[0].copies[0].dest == normal


def test_a_name_with_colons_is_copied_by_the_long_form(load: Load) -> None:
    spec = load('from: scratch\nlayers: [{copy: [{src: "a:b", dest: "/c:d"}]}]')
    copy = spec.layers[0].copies[0]
    assert isinstance(copy, Copy)
    assert (copy.src, copy.dest) == ("a:b", "/c:d")


DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("scratch", Scratch()),
        ("debian", RegistryBase(parse_reference("docker.io/library/debian"))),
        (f"debian@{DIGEST}", RegistryBase(parse_reference(f"debian@{DIGEST}"))),
        ("localhost:5000/a:b", RegistryBase(parse_reference("localhost:5000/a:b"))),
        ("store:acme/web:1", StoreBase(parse_reference("acme/web:1"))),
        ("oci:base", LayoutBase(Path("base"))),
        ("oci:./base:v1", LayoutBase(Path("base"), Tag("v1"))),
        (f"oci:/srv/base@{DIGEST}", LayoutBase(Path("/srv/base"), DIGEST)),
        ("oci:a:b/c", LayoutBase(Path("a:b/c"))),
    ],
)
def test_a_base_is_nothing_or_in_a_registry_a_layout_or_the_store(
    load: Load, folder: Path, text: str, base: Base
) -> None:
    """SPEC, "`from:`": "An image of this file, else a registry; the local store only as `store:REF`"."""
    found = load(f'from: "{text}"').base
    if isinstance(base, LayoutBase):
        base = LayoutBase(folder / base.path, base.reference)
    assert found == base


def test_layers_are_named_and_ordered_in_the_file(load: Load) -> None:
    """Rule 7: "Layers are named and ordered in the file"."""
    assert [layer.name for layer in load(SHOP).layers] == ["app", "layer-2"]


def test_a_tag_without_a_tag_part_means_latest(load: Load) -> None:
    """SPEC, "What is built": "no tag part means `latest`"."""
    assert [str(tag) for tag in load("{from: scratch, tags: [localhost/a]}").tags] == ["localhost/a:latest"]


def test_nothing_that_is_loaded_can_change(load: Load) -> None:
    spec = load(SHOP)
    for holder, name in ((spec, "name"), (spec.config, "env"), (spec.layers[0], "name")):
        with pytest.raises(AttributeError):
            setattr(holder, name, None)
    with pytest.raises(TypeError):
        spec.config.env["A"] = "b"  # type: ignore[index]


def test_the_builder_can_point_at_the_line_of_a_value(load: Load) -> None:
    """ "A source that matches nothing is an error" (rule 5), which only the builder can tell."""
    spec = load(SHOP)
    error = spec.problem(spec.layers[0].copies[0].position, "no file matches ./src", "is it in .dockerignore?")
    assert error.render().splitlines() == [
        "layerkit.yaml:15:9: no file matches ./src",
        "          - ./src:/srv/app/",
        "            ^",
        "  hint: is it in .dockerignore?",
    ]


def test_the_json_schema_comes_from_the_model_that_validates() -> None:
    """Rule 10: "The JSON Schema is generated from the model that validates"."""
    schema = SpecShape.model_json_schema()
    assert schema["required"] == ["from"]
    assert schema["additionalProperties"] is False
    assert {"name", "vars", "layers", "config", "timestamp", "owner"} <= schema["properties"].keys()
