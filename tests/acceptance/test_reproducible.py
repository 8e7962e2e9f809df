"""The same bytes from the whole spec language, in all conditions: golden digests of layers, and of what is in `specs/`.

What `history` and annotations say is for people, and is not golden; that they are the same in all conditions is.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any, Final

import pytest

from tests.images import digest_of, file, folder, make_tar, symlink
from tests.programs import PROJECT, LayerkitProcess, locate

DOWNLOAD: Final = make_tar(
    folder("tool-1"), file("tool-1/tool", b"#!/bin/sh\n", mode=0o755), file("tool-1/doc", b"doc")
)

ROOTFS: Final = make_tar(
    folder("."),
    folder("usr"),
    folder("usr/lib"),
    symlink("lib", "usr/lib"),
    folder("tmp", mode=0o1777),
    folder("etc"),
    file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nmail:x:8:8::/:/bin/false\n", mode=0o644, mtime=1_500_000_000),
    file("etc/group", b"root:x:0:\nmail:x:8:\n", mode=0o644),
    file("usr/lib/old", b"old" * 1000, mode=0o644, uid=3),
)

SPEC: Final = """\
defaults: {{platforms: [linux/amd64, linux/arm/v7], labels: {{b: "2", a: "1"}}, timestamp: 1500000000}}
images:
  base:
    from: tar:rootfs.tar
    layers:
      - name: shared
        copy: [{{content: "shared\\n", dest: /usr/share/shared}}]
  app:
    from: base
    users: {{app: {{uid: 10001, home: /srv, groups: [mail]}}}}
    layers:
      - name: files
        owner: app
        directory: [{{path: /srv/data, mode: "0750"}}]
        copy:
          - ./tree:/srv/tree/
          - {{src: "tree/**/*.txt", dest: /srv/texts/, owner: mail, mode: "0440"}}
          - {{src: tree/a/run.bin, dest: /lib/run, owner: "0:0", caps: cap_net_raw=ep}}
          - {{src: tree/b, dest: /srv/times/, mtime: source}}
          - {{content: "${{arch}}${{variant}}\\n", dest: /srv/platform}}
        symlink: {{/srv/current: tree, /srv/above: /usr}}
      - name: web
        fetch: [{{url: "{url}", sha256: {sha256}, dest: /opt/, extract: true, strip: 1}}]
      - name: less
        remove: [/usr/lib/old, /srv/tree/a/*.txt]
    config: {{user: app, env: {{B: 1, A: 2}}, entrypoint: [/lib/run], expose: [80]}}
    annotations: {{org.example.z: "1", org.example.a: "2"}}
  zstd:
    from: scratch
    compression: zstd:7
    layers: [{{copy: [{{from: app, src: /srv, dest: /srv/}}]}}]
  plain:
    from: scratch
    compression: none
    layers: [{{copy: [./tree:/]}}]
"""

# What changing these means: everybody's images get new layers. Only a new FORMAT_VERSION may do that, or a new codec.
GOLDEN: Final = {
    "base linux/amd64": ["0a961d4f08e81244 ee282ef5f017c163"],
    "base linux/arm/v7": ["0a961d4f08e81244 ee282ef5f017c163"],
    "app linux/amd64": [
        "e41c37e821c47257 345674430eb257ef",
        "1a5308982e3ab1fd 2c8cc2757e0d764a",
        "4cae6690cedd0a6d ca470af5caf82ea4",
        "347d6ebd04d7a6ba 4e138ece30139012",
    ],
    "app linux/arm/v7": [
        "8e6a7a7abbd75eac 011b3456e6617385",
        "1a5308982e3ab1fd 2c8cc2757e0d764a",
        "4cae6690cedd0a6d ca470af5caf82ea4",
        "347d6ebd04d7a6ba 4e138ece30139012",
    ],
    "zstd linux/amd64": ["fdd8e1f8786e276b 2127cd1d8bafc06e"],
    "zstd linux/arm/v7": ["51084b9b9ac902b4 db0f5d05881a6259"],
    "plain linux/amd64": ["b535f59bff50a03b b535f59bff50a03b"],
    "plain linux/arm/v7": ["b535f59bff50a03b b535f59bff50a03b"],
}


def make_context(root: Path, url: str, *, reverse: bool = False) -> Path:
    """The files of the spec; with `reverse` they are made, and so listed by the folder, in another order."""
    names = [f"tree/{d}/{n}{e}" for d in ("a", "b", "é", "b/deep/er") for n in range(12) for e in (".txt", ".bin")]
    root.mkdir()
    for name in reversed(names) if reverse else names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(3000) * 3)
    (root / "tree/a/run.bin").write_text("#!/bin/sh\n")
    (root / "tree/a/run.bin").chmod(0o755)
    (root / "tree/link").symlink_to("a/run.bin")
    for path in sorted((root / "tree/b").rglob("*")):
        os.utime(path, (1_400_000_000, 1_400_000_000))
    (root / "rootfs.tar").write_bytes(ROOTFS)
    (root / "layerkit.yaml").write_text(SPEC.format(url=url, sha256=digest_of(DOWNLOAD)))
    return root


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where a server has the download."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(DOWNLOAD)))
            self.end_headers()
            self.wfile.write(DOWNLOAD)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tool.tar"
        finally:
            server.shutdown()
            thread.join()


Built = dict[str, Any]
"""By image: its digest, and by platform its new layers: the beginnings of their diff_id and of their digest."""


def build(
    spec: Path,
    scratch: Path,
    *options: str,
    before: Sequence[str] = (),
    umask: int = 0o022,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Built:
    """Build with a store and a cache of its own; `before` is a program that runs the command."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "layerkit", "build", "-f", spec, "--format", "json", *options],
        env={
            **os.environ,
            "XDG_DATA_HOME": str(scratch / "data"),
            "XDG_CACHE_HOME": str(scratch / "cache"),
            **environment,
        },
        umask=umask,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        pytest.fail(done.stderr)
    return {
        image["name"]: {
            "digest": image["digest"],
            **{
                platform["platform"]: [
                    f"{layer['diffId'][7:23]} {layer['digest'][7:23]}" for layer in platform["layers"]
                ]
                for platform in image["platforms"]
            },
        }
        for image in json.loads(done.stdout)["images"]
    }


@pytest.fixture(scope="module")
def context(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_context(tmp_path_factory.mktemp("first") / "context", url)


@pytest.fixture(scope="module")
def reference(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(context / "layerkit.yaml", tmp_path_factory.mktemp("reference"))


def test_layers_are_the_golden_ones(reference: Built) -> None:
    assert golden(reference) == GOLDEN


@pytest.mark.parametrize(
    ("umask", "environment"),
    [
        (0o077, {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}),
        (0o000, {"PYTHONHASHSEED": "2", "TZ": "America/New_York", "LC_ALL": "C.UTF-8", "LANGUAGE": "de"}),
        (0o022, {"HOME": "/nonexistent", "PYTHONUTF8": "0", "LANG": "C", "TMPDIR": "/"}),
    ],
    ids=["C", "UTF-8", "no home"],
)
def test_conditions_change_nothing(
    context: Path, reference: Built, tmp_path: Path, umask: int, environment: dict[str, str]
) -> None:
    spec = context / "layerkit.yaml"
    assert build(spec, tmp_path, umask=umask, environment=environment) == reference


def test_the_order_of_the_folder_its_place_and_its_times_change_nothing(
    url: str, reference: Built, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "another place", url, reverse=True)
    for path in context.rglob("*"):
        # But for those that the spec asks for.
        if "tree/b" not in str(path):
            os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    assert build(context / "layerkit.yaml", tmp_path) == reference


def test_what_was_built_before_changes_nothing(context: Path, reference: Built, tmp_path: Path) -> None:
    """Neither do caches that have everything, nor those that are believed no more."""
    for _ in range(2):
        assert build(context / "layerkit.yaml", tmp_path) == reference
    shutil.rmtree(tmp_path / "cache")
    assert build(context / "layerkit.yaml", tmp_path) == reference


def test_one_cpu_gives_the_same(context: Path, reference: Built, tmp_path: Path) -> None:
    only = str(min(os.sched_getaffinity(0)))
    assert build(context / "layerkit.yaml", tmp_path, before=(locate("taskset"), "-c", only)) == reference


@pytest.mark.engine
def test_somebody_who_is_not_root_gives_the_same(context: Path, reference: Built, tmp_path: Path) -> None:
    """In a namespace of users there is no privilege: not to chown, to make devices, or to set capabilities."""
    assert build(context / "layerkit.yaml", tmp_path, before=(locate("unshare"), "--user")) == reference


def test_it_is_what_check_repro_says(context: Path, tmp_path: Path) -> None:
    layerkit = LayerkitProcess(tmp_path / "data", {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert "reproducible: " in layerkit("build", "-f", context / "layerkit.yaml", "--check-repro").stderr


SPECS_GOLDEN: Final = {
    "hello": {"hello linux/amd64": ["2f9e1f12479eedfc 25db61995c27ab3d", "44fa0cc26307ef5c e6ab895add848904"]},
    "base": {
        "service linux/amd64": [
            "e23a4bdbc9e59434 5c9be975051c7f2b",
            "ff75f173024736d4 6cb255323bfef2e4",
            "a895133a11fec0cf 3dfa0bff7d715453",
        ]
    },
    "several": {
        "content linux/amd64": ["afb255f58436437f a4acda4d7d249945"],
        "content linux/arm64": ["afb255f58436437f a4acda4d7d249945"],
        "site linux/amd64": ["539e6448713ed4c4 c2c9b053a93ebf17"],
        "site linux/arm64": ["95b16e45f99a23bf 183912dc3635ff6e"],
        "archive linux/amd64": ["e13028a5c0d66f9e 4edbdb0ee58911fc"],
        "archive linux/arm64": ["e13028a5c0d66f9e 4edbdb0ee58911fc"],
    },
    "static": {
        "agent linux/amd64": ["153014f6c9322420 1e1e3af80873b2be"],
        "agent linux/arm64": ["e7cd8064d4a7ca29 e9108768c1a3104b"],
        "agent linux/arm/v7": ["cc691ee02f11cc99 dad0d8c3014c13c8"],
    },
}
"""By spec: the new layers of each image and platform."""


def golden(built: Built) -> dict[str, list[str]]:
    """The layers of each image and platform."""
    return {
        f"{image} {platform}": layers
        for image, platforms in built.items()
        for platform, layers in platforms.items()
        if platform != "digest"
    }


SPECS_OPTIONS: Final = {
    "hello": ("--platform", "linux/amd64"),
    "base": ("--platform", "linux/amd64", "--var", "BASE=tar:rootfs.tar"),
}
"""Where a spec has the platform of this machine, or a base that others make."""


def make_spec(name: str, target: Path) -> Path:
    """A copy of a spec of this project, with files of ours in the place of programs that are of some version."""
    ignored = shutil.ignore_patterns("bin", "dist")
    context = Path(shutil.copytree(PROJECT / "specs" / name, target, ignore=ignored))
    programs = ["bin/busybox", *(f"dist/agent-linux-{machine}" for machine in ("amd64", "arm64", "armv7"))]
    for program in programs:
        (context / program).parent.mkdir(exist_ok=True)
        (context / program).write_text(f"#!/bin/sh\necho {program}\n")
    documentation = [file(f"usr/share/{folder}/{page}", b"to be removed") for folder in ("doc", "man") for page in "ab"]
    (context / "rootfs.tar").write_bytes(make_tar(*documentation, file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")))
    return context


MOVING: Final = frozenset({"debian-slim", "registry", "webapp"})
"""Specs of what mirrors have today: test_debian.py and clients/test_webapp.py see that the same lock gives the same."""


@pytest.mark.parametrize(
    "name", sorted({path.parent.name for path in (PROJECT / "specs").glob("*/layerkit.yaml")} - MOVING)
)
def test_specs_of_this_project_have_golden_layers(name: str, tmp_path: Path) -> None:
    context = make_spec(name, tmp_path / name)
    found = golden(build(context / "layerkit.yaml", tmp_path, *SPECS_OPTIONS.get(name, ())))
    assert found == SPECS_GOLDEN.get(name), "a spec whose layers are new: add them to SPECS_GOLDEN"
