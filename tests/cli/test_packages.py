"""Debian packages by the command line: from a mirror over HTTP, by a lock without one, and what is told of scripts."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.debs import Archive, keyring
from tests.programs import LayerkitHere, LayerkitProcess

SPEC = """\
name: service
from: scratch
layers:
  - name: os
    apt:
      packages: [{package}]
      suite: bookworm
      keyring: keys/archive.gpg
      mirror: {mirror}
"""


class Mirror(ThreadingHTTPServer):
    """An archive as a web server has it."""

    archive: Archive

    class Handler(BaseHTTPRequestHandler):
        server: "Mirror"

        def do_GET(self) -> None:
            content = self.server.archive.files.get(f"{self.server.archive.url}{self.path}")
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror(("127.0.0.1", 0), Mirror.Handler)
    server.archive = archive = Archive(url=f"http://127.0.0.1:{server.server_address[1]}")
    archive.add("lib", {"usr/lib/lib.so.1": b"lib"})
    archive.add("service", {"usr/bin/service": b"#!"}, depends="lib")
    archive.add("odd", {"usr/bin/odd": b"#!"}, postinst="#!/bin/sh\nset -e\nmake-it-work --now\n")
    archive.publish()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def context(tmp_path: Path, mirror: Mirror) -> Path:
    folder = tmp_path / "context"
    (folder / "keys").mkdir(parents=True)
    (folder / "keys/archive.gpg").write_bytes(keyring("archive"))
    write(folder, mirror, "service")
    return folder


@pytest.fixture
def layerkit(tmp_path: Path) -> LayerkitProcess:
    return LayerkitHere(tmp_path / "data")


def write(context: Path, mirror: Mirror, package: str) -> None:
    (context / "layerkit.yaml").write_text(SPEC.format(package=package, mirror=mirror.archive.url))


def test_a_build_says_what_it_brings_and_a_plan_where_each_path_is_from(
    layerkit: LayerkitProcess, context: Path
) -> None:
    done = layerkit("build", cwd=context)
    assert "fetched  bookworm InRelease" in done.stderr
    assert "fetched  service_1_amd64.deb" in done.stderr
    planned = layerkit("plan", cwd=context).stdout
    (line,) = [line for line in planned.splitlines() if " /usr/lib/lib.so.1 " in line]
    assert line.endswith("<- apt: lib 1")
    history = layerkit("history", "service", cwd=context).stdout
    assert "layerkit: os: apt service" in history


def test_what_is_not_understood_is_a_warning_and_strictly_an_error(
    layerkit: LayerkitProcess, context: Path, mirror: Mirror
) -> None:
    write(context, mirror, "odd")
    script = "its script has a statement that is not understood and not done: make-it-work --now"
    told = f"layerkit.yaml:6:7: package odd: {script}"
    assert f"warning: {told}" in layerkit("build", cwd=context).stderr
    assert f"warning: {told}" in layerkit("plan", cwd=context).stderr
    (image,) = json.loads(layerkit("plan", "--format", "json", cwd=context).stdout)["images"]
    assert image["warnings"][0].startswith(told)
    for command in ("build", "plan"):
        refused = layerkit(command, "--strict", cwd=context, check=False)
        assert (refused.code != 0, told in refused.stderr, refused.stdout) == (True, True, "")


def test_from_the_lock_and_a_warm_cache_no_mirror_is_needed(
    layerkit: LayerkitProcess, context: Path, mirror: Mirror
) -> None:
    """ "a build from the lock and a warm cache needs no network" """
    layerkit("lock", cwd=context)
    first = layerkit("build", "--locked", cwd=context).stdout
    mirror.archive.files.clear()
    assert layerkit("build", "--locked", cwd=context).stdout == first
    (context / "layerkit.lock").unlink()
    refused = layerkit("build", cwd=context, check=False)
    assert "bookworm/InRelease answers with HTTP status 404" in refused.stderr


def test_errors_name_the_package_and_where_the_spec_asks_for_it(
    layerkit: LayerkitProcess, context: Path, mirror: Mirror
) -> None:
    write(context, mirror, "servise")
    refused = layerkit("build", cwd=context, check=False)
    assert "layerkit.yaml:6:7: no package servise in the lists for" in refused.stderr
    assert "did you mean service?" in refused.stderr
    assert "Traceback" not in refused.stderr
