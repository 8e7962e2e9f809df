"""The rules of SPEC.md, one by one, on specs that are right; `test_errors` has those that are wrong."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import Tag, parse_reference
from layerkit.spec.model import (
    ArchiveBase,
    ArchiveFormat,
    Attributes,
    Base,
    Compression,
    CompressionKind,
    Content,
    Copy,
    Fetch,
    Healthcheck,
    LayoutBase,
    Mirror,
    RegistryBase,
    RootfsBase,
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
        ("oci-archive:base.tar", ArchiveBase(Path("base.tar"), ArchiveFormat.OCI)),
        ("oci-archive:../a/base.tar:v1", ArchiveBase(Path("../a/base.tar"), ArchiveFormat.OCI, "v1")),
        (f"oci-archive:/srv/base.tar@{DIGEST}", ArchiveBase(Path("/srv/base.tar"), ArchiveFormat.OCI, DIGEST)),
        ("docker-archive:base.tar", ArchiveBase(Path("base.tar"), ArchiveFormat.DOCKER)),
        (
            "docker-archive:base.tar:localhost:5000/a/b:1",
            ArchiveBase(Path("base.tar"), ArchiveFormat.DOCKER, "localhost:5000/a/b:1"),
        ),
        ("tar:rootfs.tar.zst", RootfsBase(Path("rootfs.tar.zst"))),
        ("tar:/srv/rootfs.tar", RootfsBase(Path("/srv/rootfs.tar"))),
        ("docker:5000/a", RegistryBase(parse_reference("docker:5000/a"))),
    ],
)
def test_a_base_is_nothing_or_in_a_registry_a_layout_an_archive_or_the_store(
    load: Load, folder: Path, text: str, base: Base
) -> None:
    """SPEC, "`from:`": "An image of this file, else a registry; the local store only as `store:REF`"."""
    found = load(f'from: "{text}"').base
    if isinstance(base, LayoutBase | ArchiveBase | RootfsBase):
        base = msgspec.structs.replace(base, path=folder / base.path)
    assert found == base


def test_layers_hold_more_than_copies(load: Load) -> None:
    """SPEC, the example: `fetch`, `symlink` and `remove` beside `copy`; and directories."""
    spec = load(
        """\
from: scratch
owner: app
mode: "0600"
dir_mode: "0700"
layers:
  - name: all
    fetch:
      - {url: "https://example.org/a%20b.bin?x=1", dest: /srv/}
      - {url: "http://example.org:8080/b.tgz", dest: //opt/./b/, extract: true, strip: 2, owner: 0}
      - {url: "https://example.org/c", dest: /c, sha256: SHA}
    directory: [/data/, {path: /logs, mode: "1777", group: adm}, {path: /, dir_mode: "0711"}]
    remove: [/usr//share/doc/, "/var/cache/*.bin"]
""".replace("SHA}", f"sha256:{DIGEST.encoded}}}")
    )
    (layer,) = spec.layers
    mine = Attributes(user="app", mode=0o600, dir_mode=0o700)
    assert layer.fetches == (
        Fetch(
            url="https://example.org/a%20b.bin?x=1",
            dest="/srv/a b.bin",
            attributes=mine,
            position=spec.locate("layers", 0, "fetch", 0, "url"),
        ),
        Fetch(
            url="http://example.org:8080/b.tgz",
            dest="/opt/b/",
            extract=True,
            strip=2,
            attributes=msgspec.structs.replace(mine, user=0),
            position=spec.locate("layers", 0, "fetch", 1, "url"),
        ),
        Fetch(
            url="https://example.org/c",
            dest="/c",
            sha256=DIGEST,
            attributes=mine,
            position=spec.locate("layers", 0, "fetch", 2, "url"),
        ),
    )
    assert [(item.path, item.attributes.dir_mode, item.attributes.group) for item in layer.directories] == [
        ("/data", 0o700, None),
        ("/logs", 0o1777, "adm"),
        ("/", 0o711, None),
    ]
    assert str(layer.directories[1].position) == "layerkit.yaml:11:32"
    assert [(item.path, str(item.position)) for item in layer.removals] == [
        ("/usr/share/doc", "layerkit.yaml:12:14"),
        ("/var/cache/*.bin", "layerkit.yaml:12:32"),
    ]


def test_packages_have_a_short_and_a_long_form(load: Load, folder: Path) -> None:
    spec = load("""
        from: scratch
        layers:
          - apt: [python3, python3, libpq5=15]
          - apt:
              packages: [nginx]
              suite: bookworm
              components: [main, contrib]
              keyring: keys/a.asc
              mirror:
                - http://deb.example.org/debian/
                - {url: "https://deb.example.org/s", suite: bookworm-security, components: [main], keyring: /k.gpg}
              exclude: ["/usr/share/man/"]
          - apt: {packages: [curl], mirror: "http://deb.example.org"}
    """)
    short, long, one = (layer.apt for layer in spec.layers)
    assert short is not None
    assert long is not None
    assert one is not None
    assert (short.packages, short.suite, short.mirrors, short.components) == (("python3", "libpq5=15"), "", (), ())
    assert (long.suite, long.components, long.exclude) == ("bookworm", ("main", "contrib"), ("/usr/share/man/",))
    assert long.keyring == folder / "keys/a.asc"
    assert long.mirrors == (
        Mirror(
            url="http://deb.example.org/debian",
            suite="bookworm",
            components=("main", "contrib"),
            keyring=folder / "keys/a.asc",
        ),
        Mirror(
            url="https://deb.example.org/s",
            suite="bookworm-security",
            components=("main",),
            keyring=Path("/k.gpg"),
        ),
    )
    assert [mirror.url for mirror in one.mirrors] == ["http://deb.example.org"]


def test_wheels_have_a_short_and_a_long_form(load: Load) -> None:
    spec = load("""
        from: scratch
        layers:
          - python: ./requirements.txt
          - python: app/uv.lock
          - owner: "10:20"
            mode: "0400"
            python:
              lock: pylock.prod.toml
              into: /srv//venv/
              interpreter: /usr/local/bin/python3
              version: 3.13
              extras: [Post_Gres, post-gres]
              groups: []
              project: true
              compile: unchecked-hash
          - python: {requirements: pyproject.toml, extras: [a], project: app, compile: false}
          - python: {project: true, extras: [a]}
          - python: {project: app/web}
    """)
    short, locked, long, other, own, inner = (layer.python for layer in spec.layers)
    assert short is not None
    assert locked is not None
    assert long is not None
    assert other is not None
    assert own is not None
    assert inner is not None
    assert (own.requirements, own.project, inner.requirements) == ("pyproject.toml", ".", "app/web/pyproject.toml")
    assert (short.requirements, short.lock, short.file) == ("requirements.txt", "", "requirements.txt")
    assert (short.into, short.interpreter, short.version) == ("/opt/venv", "/usr/bin/python3", "")
    assert (short.extras, short.groups, short.project, short.compile) == ((), None, "", False)
    assert (locked.requirements, locked.lock) == ("", "app/uv.lock")
    assert (long.lock, long.into, long.interpreter) == ("pylock.prod.toml", "/srv/venv", "/usr/local/bin/python3")
    assert (long.version, long.extras, long.groups, long.project) == ("3.13", ("post-gres",), (), ".")
    assert long.compile
    assert (long.attributes.user, long.attributes.group, long.attributes.mode) == (10, 20, None)
    assert (other.requirements, other.extras, other.project, other.compile) == ("pyproject.toml", ("a",), "app", False)


def test_a_copy_may_have_capabilities_and_keep_its_times(load: Load) -> None:
    """LAYERS, items 4 and 22: "with `mtime: source` the source's own", "from a declarative `caps: ...`"."""
    copies = (
        load(
            "from: scratch\nlayers:\n"
            "  - copy: [a:/b, {src: c, dest: /d, caps: 'cap_net_raw=p  cap_chown=p', mtime: source}]"
        )
        .layers[0]
        .copies
    )
    assert [(copy.capabilities, copy.keep_mtime) for copy in copies if isinstance(copy, Copy)] == [
        ("", False),
        ("cap_net_raw=p cap_chown=p", True),
    ]


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("app: 10001", ("app", 10001, 10001, "app", "/", "/usr/sbin/nologin", ())),
        ("app: {uid: 5}", ("app", 5, 5, "app", "/", "/usr/sbin/nologin", ())),
        ("app: {uid: 5, gid: 6}", ("app", 5, 6, "app", "/", "/usr/sbin/nologin", ())),
        (
            "App.x-_1: {uid: 0, gid: 0, group: root, home: /srv/a b, shell: /bin/sh, groups: [audio, video, audio]}",
            ("App.x-_1", 0, 0, "root", "/srv/a b", "/bin/sh", ("audio", "video")),
        ),
    ],
)
def test_users_have_numbers_and_defaults(load: Load, text: str, user: tuple[object, ...]) -> None:
    """SPEC, the example: `app: {uid: 10001, gid: 10001, home: /srv/app}`."""
    (found,) = load(f"from: scratch\nusers:\n  {text}").users
    assert (found.name, found.uid, found.gid, found.group, found.home, found.shell, found.groups) == user
    assert str(found.position) == "layerkit.yaml:3:3"


def test_users_of_one_number_share_its_group(load: Load) -> None:
    users = load("from: scratch\nusers: {a: {uid: 1, gid: 9, group: staff}, b: {uid: 2, gid: 9}}").users
    assert [user.group for user in users] == ["staff", "staff"]


@pytest.mark.parametrize(
    ("user", "written"),
    [
        ("app", "10001:10002"),
        ("app:app", "10001:10002"),
        ("app:audio", "10001:audio"),
        ("app:0", "10001:0"),
        ("0:app", "0:10002"),
        ("nobody", "nobody"),
        ("nobody:app", "nobody:10002"),
        ("65532", "65532"),
        ("65532:65532", "65532:65532"),
    ],
)
def test_names_of_users_become_numbers_in_the_config(load: Load, user: str, written: str) -> None:
    """SPEC, "Config": "`user` names from `users:` become uid:gid"."""
    spec = load(f"from: scratch\nusers: {{app: {{uid: 10001, gid: 10002}}}}\nconfig: {{user: '{user}'}}")
    assert spec.config.user == written


@pytest.mark.parametrize(
    ("text", "compression"),
    [
        ("gzip", Compression(CompressionKind.GZIP)),
        ("gzip:1", Compression(CompressionKind.GZIP, 1)),
        ("gzip:9", Compression(CompressionKind.GZIP, 9)),
        ("gzip:fast", Compression(CompressionKind.GZIP_FAST)),
        ("zstd", Compression(CompressionKind.ZSTD)),
        ("zstd:1", Compression(CompressionKind.ZSTD, 1)),
        ("zstd:19", Compression(CompressionKind.ZSTD, 19)),
        ("estargz", Compression(CompressionKind.ESTARGZ)),
        ("estargz:9", Compression(CompressionKind.ESTARGZ, 9)),
        ("none", Compression(CompressionKind.NONE)),
    ],
)
def test_compression_has_a_kind_and_perhaps_a_level(load: Load, text: str, compression: Compression) -> None:
    """SPEC, the example: "gzip | zstd | estargz | none, with an optional level"."""
    found = load(f"from: scratch\ncompression: {text}").compression
    assert (found, str(found)) == (compression, text)


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
