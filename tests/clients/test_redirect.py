"""Blobs from nginx beside the registry: the links are such as its secure_link module checks.

The location below is the one in docs/configuration.md.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from layerkit.oci.digest import Digest
from registry.app import run_server
from registry.config import Address, Configuration, LogLevel, Redirect
from registry.storage.secure_link import SecureLinks
from tests.clients.multi import make_index
from tests.clients.nginx import run_nginx
from tests.programs import run_program
from tests.wire import Answer, Wire

SECRET = "only nginx and the registry know"
RAW = bytes(range(256)) * 1000
DIGEST = Digest.of(RAW)

SERVER = """
location /blobs/ {{
    secure_link $arg_md5,$arg_expires;
    secure_link_md5 "$secure_link_expires$uri {secret}";
    if ($secure_link != "1") {{ return 403; }}
    alias {root}/blobs/;
    default_type application/octet-stream;
    sendfile on;
}}
"""

Run = Callable[..., str]

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Place:
    """The data folder, and where nginx serves its blobs."""

    root: Path
    url: str


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Place]:
    root = tmp_path / "registry"
    with run_nginx(tmp_path / "nginx", SERVER.format(secret=SECRET, root=root)) as address:
        yield Place(root, f"http://{address}/blobs")


@pytest.fixture
async def wire(nginx: Place) -> AsyncIterator[Wire]:
    async with AsyncExitStack() as stack:
        redirect = Redirect(url=nginx.url, secret=SECRET, seconds=600)
        configuration = Configuration(
            root=nginx.root, listen=Address(port=0), redirect=redirect, log_level=LogLevel.ERROR
        )
        address = await stack.enter_async_context(run_server(configuration))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        wire = Wire(address, session)
        await wire.push_blob("a", RAW)
        yield wire


async def follow(wire: Wire, location: str, headers: dict[str, str] | None = None) -> Answer:
    async with wire.session.get(URL(location, encoded=True), headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())


async def test_a_get_is_sent_there_and_a_head_is_not(wire: Wire, nginx: Place) -> None:
    """29: "307 redirect to presigned URL for GET (HEAD answered locally is safest)"."""
    answer = await wire("GET", f"/v2/a/blobs/{DIGEST}")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (307, DIGEST)
    assert answer.location.startswith(f"{nginx.url}/sha256/{DIGEST.encoded[:2]}/{DIGEST.encoded}?")
    assert (await follow(wire, answer.location)).body == RAW
    head = await wire("HEAD", f"/v2/a/blobs/{DIGEST}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(RAW)))


async def test_ranges_work_there(wire: Wire) -> None:
    """29: "signature must be for GET with Range"."""
    location = (await wire("GET", f"/v2/a/blobs/{DIGEST}", headers={"Range": "bytes=10-19"})).location
    answer = await follow(wire, location, {"Range": "bytes=10-19"})
    assert (answer.status, answer.body) == (206, RAW[10:20])
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(RAW)}"


async def test_no_other_link_is_good(wire: Wire) -> None:
    """29: "re-resolves on 403"."""
    location = (await wire("GET", f"/v2/a/blobs/{DIGEST}")).location
    path, _, query = location.partition("?")
    other = Digest.of(b"other")
    wrong = {
        path,
        location.replace("expires=", "expires=9"),
        location.replace("md5=", "md5=x"),
        f"{path.rpartition('/')[0]}/{other.encoded}?{query}",
    }
    for url in wrong:
        assert (await follow(wire, url)).status == 403


async def test_a_link_ends(wire: Wire, nginx: Place) -> None:
    """29: "expiry 20 min"."""
    for seconds, status in ((-2, 403), (60, 200)):
        url = SecureLinks(nginx.url, SECRET, seconds).url_of(DIGEST)
        assert (await follow(wire, url)).status == status
    assert Redirect(url=nginx.url, secret=SECRET).seconds == 20 * 60


async def test_what_the_repository_has_not_is_404_here(wire: Wire) -> None:
    assert (await wire("GET", f"/v2/b/blobs/{DIGEST}")).status == 404
    answer = await wire("GET", f"/v2/a/blobs/{DIGEST}", headers={"If-None-Match": f'"{DIGEST}"'})
    assert answer.status == 304


async def test_only_those_in_the_networks_are_sent(nginx: Place) -> None:
    """29: "Offer `redirect: never|always|by CIDR` since many clients can't reach MinIO"."""
    redirect = Redirect(url=nginx.url, secret=SECRET, clients=("192.0.2.0/24", "2001:db8::/32"))
    configuration = Configuration(
        root=nginx.root, listen=Address(port=0), redirect=redirect, trusted_proxies=("127.0.0.1/32",)
    )
    async with run_server(configuration) as address, aiohttp.ClientSession() as session:
        wire = Wire(address, session)
        await wire.push_blob("a", RAW)
        for client, status in (("192.0.2.7", 307), ("2001:db8::1", 307), ("198.51.100.1", 200), ("", 200)):
            headers = {"X-Forwarded-For": client} if client else None
            assert (await wire("GET", f"/v2/a/blobs/{DIGEST}", headers=headers)).status == status


async def test_clients_follow(wire: Wire, skopeo: Run, podman: Run, tmp_path: Path) -> None:
    source, digest = await make_index(tmp_path / "layout")
    name = f"{wire.address}/multi:all"

    def work() -> None:
        skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", source, f"docker://{name}")
        back = f"oci:{tmp_path}/back:all"
        skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}", back)
        assert Digest.of(skopeo("inspect", "--raw", back).encode()) == digest
        podman("pull", "--tls-verify=false", name)
        target = tmp_path / "blob"
        target.write_bytes(RAW[:1000])
        run_program("curl", "-sSfL", "-C", "-", "-o", target, f"http://{wire.address}/v2/a/blobs/{DIGEST}")
        assert target.read_bytes() == RAW

    await asyncio.to_thread(work)
