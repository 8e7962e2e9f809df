"""The registry against distribution (Debian's docker-registry), bare aiohttp and nginx, on loopback."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from tests.bench.measuring import Contender, alternate, run, table, timed

SMALL = 10_000
LARGE = 500_000_000
SECONDS = 4
WORKERS = 2

_BARE = """
import asyncio, socket, sys
from aiohttp import web

async def answer(request):
    return web.Response(body=b"x" * 500, content_type="application/json")

async def main():
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True, backlog=1024)
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""

_DISTRIBUTION = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
"""

_NGINX = """
daemon off; user root; worker_processes {workers}; pid {root}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  server {{ listen 127.0.0.1:{port}; root {root}/www; default_type application/octet-stream; }}
}}
"""


def measure() -> list[str]:
    """The tables, as lines of Markdown."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        large = folder / "large"
        large.write_bytes(os.urandom(LARGE))
        ours = stack.enter_context(_ours(folder / "ours"))
        theirs = stack.enter_context(_distribution(folder / "distribution"))
        bare = stack.enter_context(_bare())
        nginx = stack.enter_context(_nginx(folder / "nginx", large))
        small, blob = _fill(ours, large), Digest.of(b"s" * SMALL)
        _fill(theirs, large)
        digest = Digest("sha256:" + run("sha256sum", str(large)).split()[0])
        rows = {
            "manifest GET": _rates(ours, theirs, bare, f"/v2/bench/manifests/{small}"),
            "manifest GET by tag": _rates(ours, theirs, bare, "/v2/bench/manifests/1"),
            f"blob GET, {SMALL // 1000} kB": _rates(ours, theirs, bare, f"/v2/bench/blobs/{blob}"),
        }
        lines = table(
            f"Registry: small requests, {WORKERS} workers, logs and metrics on", "requests/s", rows, best="high"
        )
        puts = alternate(
            [
                Contender("layerkit", lambda: timed(lambda: _push_file(ours, large, digest))),
                Contender("distribution 2.8", lambda: timed(lambda: _push_file(theirs, large, digest))),
            ]
        )
        gets = alternate(
            [
                Contender("layerkit", lambda: timed(lambda: _download(f"{ours}/v2/bench/blobs/{digest}"))),
                Contender("distribution 2.8", lambda: timed(lambda: _download(f"{theirs}/v2/bench/blobs/{digest}"))),
                Contender("nginx", lambda: timed(lambda: _download(f"{nginx}/large"))),
            ]
        )
        rows = {"PUT": puts, "GET": gets}
        lines += ["", *table(f"Registry: one blob of {LARGE // 1_000_000} MB", "seconds", rows, best="low")]
        return lines


def _rates(ours: str, theirs: str, bare: str, path: str) -> dict[str, float]:
    return alternate(
        [
            Contender("layerkit", lambda: _wrk(f"{ours}{path}")),
            Contender("distribution 2.8", lambda: _wrk(f"{theirs}{path}")),
            Contender("bare aiohttp", lambda: _wrk(f"{bare}{path}")),
        ]
    )


def _wrk(url: str) -> float:
    out = run("wrk", "-t1", "-c32", f"-d{SECONDS}", "-H", f"Accept: {OCI_MANIFEST}", url)
    if "Non-2xx" in out:
        sys.exit(f"{url}: not all answers were 200\n{out}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    return float(found[1]) if found else 0.0


def _fill(base: str, large: Path) -> Digest:
    """An image with a small layer, the answer its digest; and the large blob."""
    config = ImageConfig.build({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    contents = {OCI_CONFIG: config.raw, OCI_LAYER_GZIP: b"s" * SMALL}
    descriptors = [Descriptor(media_type=k, digest=Digest.of(c), size=len(c)) for k, c in contents.items()]
    for content in contents.values():
        _put(f"{_start(base)}digest={Digest.of(content)}", content)
    manifest = Manifest.encode(
        ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=descriptors[0], layers=(descriptors[1],))
    )
    _put(f"{base}/v2/bench/manifests/1", manifest.raw, OCI_MANIFEST)
    _push_file(base, large, Digest("sha256:" + run("sha256sum", str(large)).split()[0]))
    return manifest.digest


def _start(base: str) -> str:
    """The URL of a new upload, ready for its digest."""
    request = urllib.request.Request(f"{base}/v2/bench/blobs/uploads/", method="POST", data=b"")
    with urllib.request.urlopen(request) as response:
        location = str(response.headers["Location"])
    location = location if location.startswith("http") else base + location
    return f"{location}{'&' if '?' in location else '?'}"


def _put(url: str, content: bytes, media_type: str = "application/octet-stream") -> None:
    request = urllib.request.Request(url, method="PUT", data=content, headers={"Content-Type": media_type})
    urllib.request.urlopen(request).close()


def _push_file(base: str, path: Path, digest: Digest) -> None:
    run("curl", "-sf", "-o", "/dev/null", "-H", "Expect:", "-T", str(path), f"{_start(base)}digest={digest}")


def _download(url: str) -> None:
    run("curl", "-sf", "-o", "/dev/null", url)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def _serving(port: int, *commands: list[str]) -> Iterator[str]:
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
    ]
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def _ours(root: Path) -> Iterator[str]:
    port, metrics = _free_port(), _free_port()
    configuration = root.with_suffix(".yaml")
    configuration.write_text(
        f"root: {root}\nlisten: 127.0.0.1:{port}\nworkers: {WORKERS}\nmetrics: 127.0.0.1:{metrics}\n"
    )
    command = [sys.executable, "-m", "layerkit", "registry", "serve", "--config", str(configuration)]
    with _serving(port, command) as base:
        time.sleep(2)
        yield base


@contextmanager
def _distribution(root: Path) -> Iterator[str]:
    port = _free_port()
    configuration = root.with_suffix(".yaml")
    configuration.write_text(_DISTRIBUTION.format(root=root, port=port))
    with _serving(port, ["docker-registry", "serve", str(configuration)]) as base:
        yield base


@contextmanager
def _bare() -> Iterator[str]:
    port = _free_port()
    with _serving(port, *([sys.executable, "-c", _BARE, str(port)] for _ in range(WORKERS))) as base:
        time.sleep(1)
        yield base


@contextmanager
def _nginx(root: Path, large: Path) -> Iterator[str]:
    port = _free_port()
    (root / "www").mkdir(parents=True)
    (root / "www/large").symlink_to(large)
    configuration = root / "nginx.conf"
    configuration.write_text(_NGINX.format(root=root, port=port, workers=WORKERS))
    with _serving(port, ["nginx", "-e", "stderr", "-c", str(configuration)]) as base:
        yield base
