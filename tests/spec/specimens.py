"""Specs to look at: ones that are right, with every key of the language in one of them, and any tree of values."""

import tempfile
from pathlib import Path
from typing import Final

from hypothesis import strategies as st

from layerkit.document.types import Section
from layerkit.oci.platform import parse_platform
from layerkit.spec.load import load_file
from layerkit.spec.model import SpecFile
from layerkit.spec.shape import FileShape, PartShape, SpecShape, UserShape
from layerkit.spec.shape_apt import AptShape, MirrorShape
from layerkit.spec.shape_config import ConfigShape, HealthcheckShape
from layerkit.spec.shape_layer import CopyShape, DirectoryShape, FetchShape, LayerShape
from layerkit.spec.shape_python import PythonShape

REPOSITORY: Final = Path(__file__).parents[2]
AMD64: Final = parse_platform("linux/amd64")

SINGLE: Final = """\
name: shop
vars: {TAG: dev, NONE: }
from: registry.example.org/debian:trixie-slim
tags: ["registry.example.org/acme/web:${TAG}"]
platforms: [linux/amd64, linux/arm64/v8]
users:
  app: {uid: 10001, gid: 10001, group: app, home: /srv/app, shell: /bin/sh, groups: [audio]}
  other: 10002
owner: 10001:10002
mode: 0o644
dir_mode: 0755
layers:
  - name: all
    group: app
    copy:
      - ./src:/srv/app/
      - {src: b, dest: /usr/bin/b, caps: cap_net_raw=ep, mtime: source, exclude: ["*.o"], dir_mode: "0700"}
      - {content: 5, dest: /five, owner: 0, group: 0}
      - {from: "oci:base", src: /etc/ssl, dest: /etc/ssl}
    fetch:
      - {url: "https://example.org/a.tar.gz", dest: /opt/a/, extract: true, strip: 1, sha256: "%s"}
    directory: [/data, {path: /data/private, owner: app:app, mode: "0700"}]
    symlink: {/srv/app/current: .}
    remove: [/usr/share/doc, "/var/cache/*.bin"]
config:
  user: app
  workdir: /srv/app
  env: {PORT: 8000, DEBUG: false, RATIO: 1.5}
  entrypoint: [python3, -m, app]
  cmd: [--port, 8000]
  expose: [8000, 53/udp]
  volumes: [/data]
  labels: {a: b}
  stop_signal: 15
  shell: [/bin/sh, -c]
  healthcheck:
    {test: [CMD, "true"], interval: 30s, timeout: 5s, start_period: 1m, start_interval: 1s, retries: 3}
labels: {c: d}
annotations: {e: f}
timestamp: 1700000000
compression: zstd:19
""" % ("0" * 64)

SEVERAL: Final = """\
vars: {TAG: dev}
defaults:
  platforms: [linux/amd64, linux/arm64]
  labels: {org.opencontainers.image.source: https://example.org/shop}
  compression: gzip
  timestamp: epoch
images:
  web:
    from: registry.example.org/debian:trixie-slim
    tags: ["registry.example.org/acme/web:${TAG}"]
    layers:
      - apt: [python3, libpq5=15.13-0+deb12u1]
      - apt: {packages: [ca-certificates], snapshot: 20261101T000000Z, suite: trixie}
      - apt:
          packages: [nginx]
          components: [main, contrib]
          keyring: keys/debian.asc
          mirror:
            - http://deb.example.org/debian
            - {url: "https://deb.example.org/security", suite: trixie-security, components: [main], keyring: /k.gpg}
          exclude: ["/usr/share/man/", "!/usr/share/man/man1"]
      - python: {requirements: requirements.txt}
      - python:
          lock: app/uv.lock
          into: /srv/venv
          interpreter: /usr/local/bin/python3.13
          version: 3.13
          extras: [Post_Gres]
          groups: [prod]
          project: true
          compile: unchecked-hash
  agent:
    from: scratch
    layers:
      - copy: [{src: "dist/agent-${os}-${arch}${variant}", dest: /agent, mode: "0755"}]
      - copy: [{from: web, src: /etc/ssl/certs/ca-certificates.crt, dest: /etc/ssl/certs/}]
    config: {entrypoint: [/agent], user: 65532}
"""

RIGHT: Final = ["from: scratch", SINGLE, SEVERAL]

SHAPES: Final[list[type[Section]]] = [
    FileShape,
    PartShape,
    SpecShape,
    UserShape,
    LayerShape,
    AptShape,
    MirrorShape,
    PythonShape,
    CopyShape,
    FetchShape,
    DirectoryShape,
    ConfigShape,
    HealthcheckShape,
]
KEYS: Final = sorted({field.alias or name for shape in SHAPES for name, field in shape.model_fields.items()})

_KEYS = st.sampled_from([*KEYS, "/a", "A", "a", "python", "image", "[key]"])
_TEXTS = [
    "scratch",
    "a:/b",
    "/a",
    "0755",
    "30s",
    "${arch}",
    "1",
    "~",
    "a",
    "true",
    "https://a/b",
    "cap_chown=p",
    "epoch",
]
_VALUES = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(_TEXTS),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(_KEYS, children, max_size=4),
    max_leaves=20,
)
TREES: Final = st.dictionaries(_KEYS, _VALUES) | st.dictionaries(_KEYS, _VALUES).map(
    lambda tree: {key: value for key, value in tree.items() if key != "images"} | {"from": "scratch"}
)


def load_text(text: str | bytes) -> SpecFile:
    """The text as a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_file(path, default_platform=AMD64)
