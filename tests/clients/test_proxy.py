"""A registry with users behind nginx, which has the certificate: as docs/configuration.md has it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import trustme

from layerkit.oci.scope import parse_challenges
from tests.clients.multi import make_index
from tests.clients.nginx import run_nginx
from tests.programs import LayerkitProcess, run_program, run_registry
from tests.registry.guarded import PASSWORDS, htpasswd

Run = Callable[..., str]

pytestmark = pytest.mark.engine

SERVER = """
ssl_certificate {folder}/cert.pem;
ssl_certificate_key {folder}/key.pem;
client_max_body_size 0;
location / {{
    proxy_pass http://{registry};
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
}}
"""
ANN = f"ann:{PASSWORDS['ann']}"


@dataclass(frozen=True)
class Place:
    """Where clients find it, and the folder with the authority's certificate."""

    address: str
    certificates: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("proxy")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "certs").mkdir()
    authority.cert_pem.write_to_path(folder / "certs/ca.crt")
    (folder / "users").write_text(htpasswd(**PASSWORDS))
    (folder / "registry.yaml").write_text("auth: {htpasswd: users}\ntrusted_proxies: [127.0.0.0/8]\n")
    with run_registry(folder / "registry", "--config", str(folder / "registry.yaml")) as registry:
        server = SERVER.format(folder=folder, registry=registry.address)
        with run_nginx(folder / "nginx", server, "ssl") as address:
            yield Place(address, folder / "certs")


async def test_clients_are_sent_for_tokens_to_where_they_asked(place: Place) -> None:
    """45, 11: "http realm refused for https registries"."""
    async with aiohttp.ClientSession() as session:
        for host in (place.address, "registry.example"):
            headers = {"Host": host}
            async with session.get(f"https://{place.address}/v2/", ssl=False, headers=headers) as response:
                [challenge] = parse_challenges(response.headers["WWW-Authenticate"])
            assert challenge.parameters["realm"] == f"https://{host}/token"


async def test_they_push_and_pull(place: Place, skopeo: Run, podman: Run, tmp_path: Path) -> None:
    source, _ = await make_index(tmp_path / "layout")
    name = f"docker://{place.address}/app:1"
    certificates = ("--dest-cert-dir", str(place.certificates), "--src-cert-dir", str(place.certificates))

    def work() -> None:
        skopeo("copy", "--all", *certificates, "--dest-creds", ANN, source, name)
        skopeo("copy", "--all", *certificates, "--src-creds", ANN, name, f"oci:{tmp_path}/back:1")
        podman("pull", "--cert-dir", str(place.certificates), "--creds", ANN, name)

    await asyncio.to_thread(work)


def test_a_large_layer_passes_through(place: Place, layerkit: LayerkitProcess, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 80_000)
    (tmp_path / "layerkit.yaml").write_text("name: large\nfrom: scratch\nlayers: [{copy: [large:/large]}]\n")
    auth = tmp_path / "auth.json"
    options = ("--cert-dir", str(place.certificates), f"--authfile={auth}")
    run_program("podman", "login", *options, "-u", "ann", "-p", PASSWORDS["ann"], place.address)
    name = f"{place.address}/large:1"
    ca = ("--ca", place.certificates / "ca.crt", "--authfile", auth)
    layerkit("build", "-f", tmp_path / "layerkit.yaml", "-t", name, "--push", *ca)
    layerkit("pull", name, *ca)


def test_docker_too(place: Place, docker: Run) -> None:
    docker("login", "-u", "bob", "-p", PASSWORDS["bob"], place.address)
    docker("logout", place.address)
