"""Pages of long lists against pages of short ones."""

import asyncio
import http.client
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import apsw

from layerkit.oci.digest import Digest
from registry.app import open_registry
from tests.bench.measuring import format_figure
from tests.bench.servers import run_ours

SHORT = 100
PAGE = 100
PAGES = 400
LONG = {"tags": 500_000, "catalog": 100_000, "referrers": 10_000}

_SUBJECT = Digest.of(b"subject")


@dataclass(frozen=True)
class Sizes:
    tags: int
    catalog: int
    referrers: int


def measure(folder: Path) -> list[str]:
    """The table, as lines of Markdown."""
    long, short = folder / "long", folder / "short"
    _fill(long, Sizes(**LONG))
    _fill(short, Sizes(SHORT, SHORT, SHORT))
    with run_ours(long) as big, run_ours(short) as small, _connected(big.base) as far, _connected(small.base) as near:
        lines = [
            f"## Registry: a page of {PAGE} out of a long list and out of one of {SHORT}",
            "",
            "| milliseconds, 99th percentile | long | short |",
            "|---|---|---|",
        ]
        for kind, size in LONG.items():
            times: dict[str, list[float]] = {"long": [], "short": []}
            for number in range(PAGES):
                times["long"].append(_ask(far, kind, random.Random(number).randrange(size), number))
                times["short"].append(_ask(near, kind, random.Random(number).randrange(SHORT), number))
            p99 = {name: statistics.quantiles(values, n=100)[98] * 1000 for name, values in times.items()}
            long_p99, short_p99 = p99["long"], p99["short"]
            ratio = f"{long_p99 / short_p99:.2f} x"
            lines.append(f"| {kind}, {size:,} | {format_figure(long_p99)} ({ratio}) | {format_figure(short_p99)} |")
        return lines


def _fill(root: Path, sizes: Sizes) -> None:
    """Rows by the hundred thousand, without a request for each."""
    asyncio.run(_begin(root))
    connection = apsw.Connection(str(root / "registry.db"))
    count = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {}) "
    manifest = "(repository_id, digest, media_type, size, subject, artifact_type, created_at, payload)"
    with connection:
        for statement in (
            count.format(sizes.catalog) + "INSERT INTO repositories (name) SELECT printf('name/%06d', i) FROM n",
            f"INSERT INTO manifests {manifest} SELECT id, 'sha256:' || id, 'a/b', 2, NULL, NULL, 0, '{{}}' "
            "FROM repositories",
            count.format(sizes.tags) + "INSERT INTO tags (repository_id, name, manifest_id, updated_at) "
            "SELECT 1, printf('tag-%06d', i), 1, 0 FROM n",
            count.format(sizes.referrers) + f"INSERT INTO manifests {manifest} "
            f"SELECT 1, printf('sha256:%064x', i), 'a/b', 2, '{_SUBJECT}', 'c/d', 0, '{{}}' FROM n",
        ):
            connection.execute(statement)
    connection.close()


async def _begin(root: Path) -> None:
    async with open_registry(root):
        pass


@contextmanager
def _connected(base: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(base).netloc)
    try:
        yield connection
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, kind: str, position: int, number: int) -> float:
    """Seconds for one page. Each has a parameter that no other has: it is not to be remembered."""
    path = {
        "tags": f"/v2/name/000000/tags/list?last=tag-{position:06d}",
        "catalog": f"/v2/_catalog?last=name/{position:06d}",
        "referrers": f"/v2/name/000000/referrers/{_SUBJECT}?last=sha256:{position:064x}",
    }[kind]
    began = time.perf_counter()
    connection.request("GET", f"{path}&n={PAGE}&number={number}")
    with connection.getresponse() as response:
        response.read()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status}")
    return time.perf_counter() - began
