"""Many clients at once: memory while they push, and whether it matters that they push to one repository."""

import asyncio
import os
import subprocess
import urllib.request
from pathlib import Path

import aiohttp

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER_GZIP, OCI_MANIFEST
from tests.bench.content import push_file, start_upload
from tests.bench.measuring import Contender, alternate, format_figure, run, timed
from tests.bench.servers import Running, run_ours
from tests.wire import blob, image

PUSHES = 32
SIZE = 100_000_000
MANIFESTS = 100


def measure(folder: Path) -> list[str]:
    """The table, as lines of Markdown."""
    with run_ours(folder / "crowds") as ours:
        memory = _measure_memory(ours, folder)
        times = _measure_manifests(ours)
    one, many = times["one"], times["many"]
    both = f"{format_figure(many)} s ({many / one:.2f} x)"
    return [
        "## Registry: many clients at once",
        "",
        "| | |",
        "|---|---|",
        f"| {PUSHES} pushes of {SIZE // 1_000_000} MB: most memory of a worker above idle | {memory / 1e6:.0f} MB |",
        f"| {MANIFESTS} manifests at once, to one repository | {format_figure(one)} s |",
        f"| {MANIFESTS} manifests at once, to {MANIFESTS} repositories | {both} |",
    ]


def _measure_memory(ours: Running, folder: Path) -> int:
    """Bytes by which the worker that grew most grew."""
    content = folder / "pushed"
    content.write_bytes(os.urandom(SIZE))
    digest = Digest("sha256:" + run("sha256sum", str(content)).split()[0])
    push_file(ours.base, content, digest)
    idle = [_resident(process, "VmRSS") for process in ours.processes]
    for process in ours.processes:
        # From here on the peak is that of now.
        Path(f"/proc/{process}/clear_refs").write_text("5")
    urls = [f"{start_upload(ours.base)}digest={digest}" for _ in range(PUSHES)]
    pushing = [
        subprocess.Popen(["curl", "-sf", "-o", "/dev/null", "-H", "Expect:", "-T", str(content), url]) for url in urls
    ]
    if any(push.wait() for push in pushing):
        raise SystemExit("not all pushes ended well")
    return max(_resident(process, "VmHWM") - before for process, before in zip(ours.processes, idle, strict=True))


def _resident(process: int, name: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"process {process} has no {name}")


def _measure_manifests(ours: Running) -> dict[str, float]:
    raw = b"layer"
    for name in ("one", *(f"many/{number}" for number in range(MANIFESTS))):
        for content in (b"{}", raw):
            url = f"{ours.base}/v2/{name}/blobs/uploads/?digest={Digest.of(content)}"
            urllib.request.urlopen(urllib.request.Request(url, method="POST", data=content)).close()
    rounds = iter(range(10**9))

    async def push(pattern: str) -> None:
        salt = next(rounds)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MANIFESTS)) as session:

            async def push_one(number: int) -> None:
                manifest = image(blob(raw, OCI_LAYER_GZIP), annotations={"number": f"{salt}-{number}"})
                url = f"{ours.base}/v2/{pattern.format(number)}/manifests/{Digest.of(manifest)}"
                async with session.put(url, data=manifest, headers={"Content-Type": OCI_MANIFEST}) as response:
                    response.raise_for_status()

            async with asyncio.TaskGroup() as tasks:
                for number in range(MANIFESTS):
                    tasks.create_task(push_one(number))

    return alternate(
        [
            Contender("one", lambda: timed(lambda: asyncio.run(push("one")))),
            Contender("many", lambda: timed(lambda: asyncio.run(push("many/{}")))),
        ],
        rounds=9,
    )
