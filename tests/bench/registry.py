"""The registry against distribution (Debian's docker-registry), bare aiohttp and nginx, on loopback."""

import os
import re
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_MANIFEST
from tests.bench import crowds, lists
from tests.bench.content import SMALL, download, fill, push_file
from tests.bench.measuring import Contender, alternate, run, table, timed
from tests.bench.servers import WORKERS, run_bare, run_distribution, run_nginx, run_ours

LARGE = 500_000_000
SECONDS = 4


def measure() -> list[str]:
    """The tables, as lines of Markdown."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        return [*_measure_requests(folder), "", *crowds.measure(folder), "", *lists.measure(folder)]


def _measure_requests(folder: Path) -> list[str]:
    with ExitStack() as stack:
        large = folder / "large"
        large.write_bytes(os.urandom(LARGE))
        ours = stack.enter_context(run_ours(folder / "ours")).base
        theirs = stack.enter_context(run_distribution(folder / "distribution")).base
        bare = stack.enter_context(run_bare()).base
        nginx = stack.enter_context(run_nginx(folder / "nginx", large)).base
        small, blob = fill(ours, large), Digest.of(b"s" * SMALL)
        fill(theirs, large)
        digest = Digest("sha256:" + run("sha256sum", str(large)).split()[0])

        def rates(path: str, ask: Callable[[str], float] = _wrk) -> dict[str, float]:
            return alternate(
                [
                    Contender("layerkit", lambda: ask(f"{ours}{path}")),
                    Contender("distribution 2.8", lambda: ask(f"{theirs}{path}")),
                    Contender("bare aiohttp", lambda: ask(f"{bare}{path}")),
                ]
            )

        rows = {
            "manifest GET": rates(f"/v2/bench/manifests/{small}"),
            "manifest GET by tag": rates("/v2/bench/manifests/1"),
            "manifest HEAD by tag": rates("/v2/bench/manifests/1", _ask_heads),
            f"blob GET, {SMALL // 1000} kB": rates(f"/v2/bench/blobs/{blob}"),
        }
        lines = table(
            f"Registry: small requests, {WORKERS} workers, logs and metrics on", "requests/s", rows, best="high"
        )
        puts = alternate(
            [
                Contender("layerkit", lambda: timed(lambda: push_file(ours, large, digest))),
                Contender("distribution 2.8", lambda: timed(lambda: push_file(theirs, large, digest))),
            ]
        )
        gets = alternate(
            [
                Contender("layerkit", lambda: timed(lambda: download(f"{ours}/v2/bench/blobs/{digest}"))),
                Contender("distribution 2.8", lambda: timed(lambda: download(f"{theirs}/v2/bench/blobs/{digest}"))),
                Contender("nginx", lambda: timed(lambda: download(f"{nginx}/large"))),
            ]
        )
        rows = {"PUT": puts, "GET": gets}
        return [*lines, "", *table(f"Registry: one blob of {LARGE // 1_000_000} MB", "seconds", rows, best="low")]


def _wrk(url: str) -> float:
    out = run("wrk", "-t1", "-c32", f"-d{SECONDS}", "-H", f"Accept: {OCI_MANIFEST}", url)
    if "Non-2xx" in out:
        sys.exit(f"{url}: not all answers were 200\n{out}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    return float(found[1]) if found else 0.0


def _ask_heads(url: str) -> float:
    """HEAD requests a second: wrk would wait for a body."""
    parts = urlsplit(url)
    request = f"HEAD {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {OCI_MANIFEST}\r\n\r\n".encode()
    answered = 0
    with selectors.EpollSelector() as selector, ExitStack() as stack:
        for _ in range(32):
            connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
            selector.register(connection, selectors.EVENT_READ)
            connection.send(request)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for key, _ in selector.select(1):
                connection = cast("socket.socket", key.fileobj)
                head = connection.recv(65536)
                # An answer to HEAD is so short that it comes as one.
                if not (head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")):
                    sys.exit(f"HEAD {url}: {head!r}")
                answered += 1
                connection.send(request)
    return answered / SECONDS
