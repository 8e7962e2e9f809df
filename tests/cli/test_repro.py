"""`layerkit build --check-repro`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from layerkit.cli.repro import find_differences
from tests.images import HandmadeLayout, file, make_tar
from tests.programs import LayerkitProcess


def image(**changes: Any) -> dict[str, Any]:
    """What `--format json` says of an image with one layer."""
    layer = {"name": "app", "diffId": "sha256:d", "digest": "sha256:l", "codec": "one"}
    layer |= {key: value for key, value in changes.items() if key in layer}
    platform = {"platform": "linux/amd64", "digest": changes.get("manifest", "sha256:m"), "layers": [layer]}
    return {"name": "web", "digest": changes.get("index", "sha256:i"), "platforms": [platform]}


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        (image(), None),
        (
            image(index="x", manifest="y", diffId="z", digest="w"),
            "web for linux/amd64: layer app has other content: diff_id sha256:d and z",
        ),
        (
            image(index="x", manifest="y", digest="z", codec="two"),
            "web for linux/amd64: layer app: same content, different compressor (one, two): digest sha256:l and z",
        ),
        (
            image(index="x", manifest="y"),
            "web for linux/amd64: the same layers, but its config or manifest differs: sha256:m and y",
        ),
        (image(index="x"), "web: the same images, but its index is sha256:i and x"),
    ],
)
def test_what_differs_is_named(second: dict[str, Any], difference: str | None) -> None:
    """LAYERS, item 39: "compares diff_ids first and reports digest differences as "same content, different
    compressor""."""
    assert list(find_differences([image()], [second])) == ([difference] if difference else [])


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A spec with all that could depend on the machine: a store's base, a root file system, several platforms."""
    folder = tmp_path / "context"
    (folder / "tree/sub").mkdir(parents=True)
    for number in range(30):
        (folder / f"tree/{number}.txt").write_text(f"{number}" * 5000)
        (folder / f"tree/sub/é{number}").symlink_to("../0.txt")
    (folder / "rootfs.tar").write_bytes(make_tar(file("etc/passwd", b"app:x:5:5::/:/bin/sh\n")))
    (folder / "layerkit.yaml").write_text(
        "defaults: {platforms: [linux/amd64, linux/arm64]}\n"
        "images:\n"
        "  web: {from: 'store:localhost/base:1', compression: zstd, layers: [{copy: [./tree:/srv]}]}\n"
        "  app: {from: 'tar:rootfs.tar', users: {me: {uid: 9}}, layers: [{owner: app, copy: [./tree:/srv]}]}\n"
    )
    return folder


def test_a_build_is_the_same_in_other_conditions(layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/layerkit.yaml").write_text(
        "from: scratch\nplatforms: [linux/amd64, linux/arm64]\ntags: [localhost/base:1]\n"
        "layers: [{copy: [{content: x, dest: /x}]}]\n"
    )
    layerkit("build", cwd=tmp_path / "base")
    done = layerkit("build", "--check-repro", cwd=context)
    assert "reproducible: the same bytes with another umask, time zone, locale" in done.stderr
    assert len(done.stdout.splitlines()) == 2


@contextmanager
def changing_server() -> Iterator[str]:
    """A server whose file is another one each time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = os.urandom(100)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file"
        finally:
            server.shutdown()
            thread.join()


def test_what_cannot_be_built_twice_is_told_and_gets_no_name(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    with changing_server() as url:
        (tmp_path / "layerkit.yaml").write_text(
            f"name: x\nfrom: scratch\nlayers: [{{name: web, fetch: [{{url: '{url}', dest: /x}}]}}]\n"
        )
        done = layerkit("build", "--check-repro", cwd=tmp_path, check=False)
    assert (done.code, done.stdout) == (1, "")
    assert "not reproducible:" in done.stderr
    assert "layer web has other content: diff_id sha256:" in done.stderr
    index = layerkit.data / "layerkit/store/index.json"
    assert not index.exists() or json.loads(index.read_text())["manifests"] == []


def test_a_layout_may_be_the_base(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    base = HandmadeLayout(tmp_path / "base")
    base.name(base.image(make_tar(file("x"))))
    (tmp_path / "layerkit.yaml").write_text("name: x\nfrom: oci:base\nlayers: [{copy: [./layerkit.yaml:/y]}]\n")
    done = layerkit("build", "--platform", "linux/amd64", "--check-repro", cwd=tmp_path)
    assert "reproducible" in done.stderr
