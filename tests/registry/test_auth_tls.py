"""TLS: the certificate that is configured, another one without a restart, and certificates of clients."""

import io
import os
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import trustme

from layerkit.document.problem import DocumentError
from layerkit.oci.digest import Digest
from registry.app import run_server, warn_of_plain_passwords
from registry.config import Address, Configuration, Tls, Users
from registry.policy.access import Access
from registry.tls import make_context, reload_certificate
from tests.programs import LayerkitProcess, run_registry
from tests.registry.guarded import basic, challenge_of, run_guarded
from tests.wire import Answer


@dataclass(frozen=True)
class Files:
    """A certificate for localhost in files, and the authority behind it."""

    folder: Path
    authority: trustme.CA

    @property
    def tls(self) -> Tls:
        return Tls(certificate=self.folder / "cert.pem", key=self.folder / "key.pem")

    def issue(self) -> bytes:
        """Put a new certificate into the files: it, in DER."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        self.folder.joinpath("cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def fetch_certificate(self, address: str) -> bytes:
        """What a server shows, verified."""
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            with self.client_context().wrap_socket(plain, server_hostname="localhost") as secure:
                return secure.getpeercert(binary_form=True) or b""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    found = Files(tmp_path, authority)
    found.issue()
    return found


async def test_blobs_of_every_size_come_through(files: Files) -> None:
    """Where sendfile cannot be used."""
    configuration = Configuration(root=files.folder / "data", listen=Address(port=0), tls=files.tls)
    connector = aiohttp.TCPConnector(ssl=files.client_context())
    async with run_server(configuration) as address, aiohttp.ClientSession(connector=connector) as session:
        base = f"https://localhost:{address.rsplit(':', 1)[1]}/v2/a/blobs"
        for raw in (b"", b"small", os.urandom(3_000_000)):
            digest = Digest.of(raw)
            async with session.post(f"{base}/uploads/?digest={digest}", data=io.BytesIO(raw)) as response:
                assert response.status == 201
            async with session.get(f"{base}/{digest}") as response:
                assert await response.read() == raw
        async with session.get(f"{base}/{digest}", headers={"Range": "bytes=1000000-2999998"}) as response:
            assert (response.status, await response.read()) == (206, raw[1000000:2999999])


async def test_the_realm_is_https_too(files: Files) -> None:
    top = f"tls: {{certificate: {files.tls.certificate}, key: {files.tls.key}}}"
    async with run_guarded(files.folder / "r", top=top) as wire:
        url = f"https://{wire.address}/v2/"
        async with wire.session.get(url, ssl=files.client_context(), headers={"Host": "localhost:443"}) as response:
            answer = Answer(response.status, response.headers, await response.read())
        assert challenge_of(answer).parameters["realm"] == "https://localhost:443/token"
        async with wire.session.get(url, ssl=files.client_context(), headers=basic("ann")) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await wire("GET", "/v2/")


async def test_a_certificate_of_clients_may_be_asked_for(files: Files) -> None:
    files.authority.cert_pem.write_to_path(files.folder / "ca.pem")
    tls = Tls(certificate=files.tls.certificate, key=files.tls.key, client_ca=files.folder / "ca.pem")
    configuration = Configuration(root=files.folder / "data", listen=Address(port=0), tls=tls)
    known = files.client_context()
    files.authority.issue_cert("ann@example.org").configure_cert(known)
    stranger = files.client_context()
    trustme.CA().issue_cert("eve@example.org").configure_cert(stranger)
    async with run_server(configuration) as address, aiohttp.ClientSession() as session:
        async with session.get(f"https://{address}/v2/", ssl=known) as response:
            assert response.status == 200
        for context in (files.client_context(), stranger):
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await session.get(f"https://{address}/v2/", ssl=context)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_at_sighup_it_is_read_again(files: Files, workers: str) -> None:
    config = files.folder / "registry.yaml"
    config.write_text("tls: {certificate: cert.pem, key: key.pem}\n")
    first = ssl.PEM_cert_to_DER_cert(_first_pem(files.tls.certificate))
    with run_registry(files.folder / "registry", "--config", str(config), "--workers", workers) as registry:
        assert files.fetch_certificate(registry.address) == first
        second = files.issue()
        registry.process.send_signal(signal.SIGHUP)
        # Several workers hear of it one after the other.
        found = {files.fetch_certificate(registry.address) for _ in range(20)}
        while first in found:
            found = {files.fetch_certificate(registry.address) for _ in range(20)}
        assert found == {second}
        assert registry.stop() == 0


def _first_pem(path: Path) -> str:
    return path.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"


class TestFiles:
    def test_each_that_cannot_be_used_is_named(self, files: Files) -> None:
        other = trustme.CA().issue_cert("localhost")
        other.private_key_pem.write_to_path(files.folder / "other.pem")
        (files.folder / "empty").touch()
        cert, key, nothing = files.tls.certificate, files.tls.key, files.folder / "nothing"
        for tls, name in (
            (Tls(certificate=nothing, key=key), nothing),
            (Tls(certificate=cert, key=nothing), nothing),
            (Tls(certificate=cert, key=files.folder / "other.pem"), cert),
            (Tls(certificate=files.folder / "empty", key=key), files.folder / "empty"),
            (Tls(certificate=cert, key=key, client_ca=nothing), nothing),
            (Tls(certificate=cert, key=key, client_ca=files.folder / "empty"), files.folder / "empty"),
        ):
            with pytest.raises(DocumentError, match=f"{name}: cannot be used: "):
                make_context(tls)

    def test_what_is_spoilt_later_changes_nothing(self, files: Files, caplog: pytest.LogCaptureFixture) -> None:
        context = make_context(files.tls)
        files.tls.key.write_text("spoilt")
        reload_certificate(context, files.tls)
        assert "the certificate stays as it was" in caplog.text

    def test_a_start_without_one_is_one_clear_line(self, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        config = tmp_path / "registry.yaml"
        config.write_text("tls: {certificate: none.pem, key: none.pem}\n")
        done = layerkit("registry", "serve", "--config", config, "--root", tmp_path / "data", check=False)
        assert (done.code, done.stderr) == (2, f"{tmp_path}/none.pem: cannot be used: no such file or directory\n")


@pytest.mark.parametrize(
    ("changes", "is_warned"),
    [
        ({"listen": Address("0.0.0.0", 5000)}, True),
        ({"listen": Address("registry.example", 5000)}, True),
        ({"listen": Address("127.0.0.1", 5000)}, False),
        ({"listen": Address("0.0.0.0", 5000), "public_url": "https://x"}, False),
        ({"listen": Address("0.0.0.0", 5000), "trusted_proxies": ("10.0.0.0/8",)}, False),
        ({"listen": Address("0.0.0.0", 5000), "tls": Tls(certificate=Path("c"), key=Path("k"))}, False),
        ({"listen": Address("0.0.0.0", 5000), "users": None}, False),
    ],
)
def test_passwords_without_encryption_are_warned_of(
    changes: dict[str, object], *, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"root": Path("r"), "users": Users(access=Access()), **changes}
    warn_of_plain_passwords(Configuration(**fields))  # type: ignore[arg-type]
    assert ("without encryption" in caplog.text) is is_warned
