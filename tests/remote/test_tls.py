"""What we trust and what we show, with real certificates and real TLS connections."""

import asyncio
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from layerkit.oci.errors import OCIError, Unavailable
from layerkit.oci.request import Ping
from layerkit.remote.client import Connection, open_client
from layerkit.remote.tls import Certificates, certificate_folders, find_certificates, make_context
from tests.programs import LayerkitProcess
from tests.remote.server import Server, run


@dataclass(frozen=True)
class Authority:
    """Who signs, in the file `path`; `server` is a context with a certificate for this machine, kept in `leaf`.
    `certificate` and `key` are those of a user, and `asking` is the context of a server that wants to see them."""

    path: Path
    leaf: Path
    certificate: Path
    key: Path
    server: ssl.SSLContext
    asking: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    ca = trustme.CA()
    issued, user = ca.issue_cert("127.0.0.1", "localhost"), ca.issue_cert("alice@example.org")
    ca.cert_pem.write_to_path(folder / "ca.crt")
    issued.cert_chain_pems[0].write_to_path(folder / "leaf.crt")
    user.cert_chain_pems[0].write_to_path(folder / "alice.cert")
    user.private_key_pem.write_to_path(folder / "alice.key")
    server, asking = (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for _ in range(2))
    for context in (server, asking):
        issued.configure_cert(context)
    ca.configure_trust(asking)
    asking.verify_mode = ssl.CERT_REQUIRED
    return Authority(
        folder / "ca.crt", folder / "leaf.crt", folder / "alice.cert", folder / "alice.key", server, asking
    )


async def nothing(http: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=404)


async def reach(server: Server, certificates: Certificates, *, verify: bool = True) -> None:
    connection = Connection(host=server.address, tls=make_context(certificates, verify=verify))
    async with open_client(connection) as client, client.send("GET", Ping(), expected=frozenset({200})):
        pass


class TestTrust:
    async def test_who_signs_is_trusted_from_a_file(self, authority: Authority) -> None:
        async with run(nothing, authority.server) as server:
            await reach(server, Certificates(authorities=(authority.path,)))

    async def test_the_certificate_of_the_registry_itself_may_stand_for_its_signer(self, authority: Authority) -> None:
        async with run(nothing, authority.server) as server:
            await reach(server, Certificates(authorities=(authority.leaf,)))

    async def test_what_another_signed_is_not_trusted(self, authority: Authority, tmp_path: Path) -> None:
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.crt")
        async with run(nothing, authority.server) as server:
            with pytest.raises(Unavailable, match="its certificate is not trusted"):
                await reach(server, Certificates(authorities=(tmp_path / "other.crt",)))
            assert server.seen == []

    async def test_without_verification_any_certificate_is_taken(self, authority: Authority) -> None:
        async with run(nothing, authority.server) as server:
            await reach(server, Certificates(), verify=False)

    async def test_a_certificate_for_another_name_is_told(self, tmp_path: Path) -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.crt")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("registry.example").configure_cert(context)
        async with run(nothing, context) as server:
            with pytest.raises(Unavailable, match=r"not valid for '127\.0\.0\.1'"):
                await reach(server, Certificates(authorities=(tmp_path / "ca.crt",)))

    async def test_a_registry_that_asks_who_we_are_is_shown_our_certificate(self, authority: Authority) -> None:
        ours = Certificates(authorities=(authority.path,), pairs=((authority.certificate, authority.key),))
        async with run(nothing, authority.asking) as server:
            await reach(server, ours)
            with pytest.raises(Unavailable, match=server.address):
                await reach(server, Certificates(authorities=(authority.path,)))


class TestFolders:
    def test_the_users_own_folder_comes_first(self) -> None:
        system = [Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d")]
        assert certificate_folders({"HOME": "/home/alice"}) == [
            Path("/home/alice/.config/containers/certs.d"),
            *system,
        ]
        assert certificate_folders({"HOME": "/home/alice", "XDG_CONFIG_HOME": "/x"}) == [
            Path("/x/containers/certs.d"),
            *system,
        ]

    def test_the_first_folder_that_knows_the_host_has_its_certificates(self, tmp_path: Path) -> None:
        folders = [tmp_path / "own", tmp_path / "system"]
        for path in ("own/other:1/a.crt", "system/host:5000/b.crt", "system/host:5000/c.crt", "system/host/d.crt"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        for name in ("alice.cert", "alice.key", "README", "bob.pem"):
            (tmp_path / "system/host:5000" / name).touch()
        found = find_certificates("host:5000", folders)
        here = tmp_path / "system/host:5000"
        assert found.authorities == (here / "b.crt", here / "c.crt")
        assert found.pairs == ((here / "alice.cert", here / "alice.key"),)
        (tmp_path / "own/host:5000").mkdir()
        assert not find_certificates("host:5000", folders)
        assert not find_certificates("absent", folders)

    @pytest.mark.parametrize(
        ("name", "missing"), [("alice.cert", "alice.key"), ("alice.key", "alice.cert"), ("a.b.key", "a.b.cert")]
    )
    def test_a_certificate_and_its_key_are_two_files(self, tmp_path: Path, name: str, missing: str) -> None:
        (tmp_path / "host").mkdir()
        (tmp_path / "host" / name).touch()
        with pytest.raises(OCIError, match=f"{name} stands alone: {missing} must be beside it"):
            find_certificates("host", [tmp_path])


class TestFiles:
    def test_a_file_that_is_absent_is_named(self, tmp_path: Path) -> None:
        absent = tmp_path / "absent.crt"
        with pytest.raises(OCIError, match=f"{absent} cannot be read: no such file"):
            make_context(Certificates(authorities=(absent,)))
        with pytest.raises(OCIError, match=f"{absent} with {absent} cannot be read: no such file"):
            make_context(Certificates(pairs=((absent, absent),)))

    @pytest.mark.parametrize("content", [b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
    def test_a_file_that_is_no_certificate_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "wrong.crt"
        path.write_bytes(content)
        with pytest.raises(OCIError, match=f"{path}: not PEM certificates"):
            make_context(Certificates(authorities=(path,)))
        with pytest.raises(OCIError, match=f"{path} with {path}: not a PEM certificate and its key"):
            make_context(Certificates(pairs=((path, path),)))

    def test_a_key_of_another_certificate_is_told(self, authority: Authority, tmp_path: Path) -> None:
        trustme.CA().issue_cert("bob@example.org").private_key_pem.write_to_path(tmp_path / "bob.key")
        with pytest.raises(OCIError, match=r"bob\.key: not a PEM certificate and its key"):
            make_context(Certificates(pairs=((authority.certificate, tmp_path / "bob.key"),)))

    def test_a_key_with_a_password_is_refused_rather_than_asked_for(self, authority: Authority, tmp_path: Path) -> None:
        key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
        locked = tmp_path / "locked.key"
        locked.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"pw"),
            )
        )
        with pytest.raises(OCIError, match="has a password"):
            make_context(Certificates(pairs=((authority.certificate, locked),)))


class TestTheCommandLine:
    """`layerkit pull` from a registry that has nothing: it is reached when the answer is that of a 404."""

    async def pull(self, layerkit: LayerkitProcess, server: Server, *options: str | Path, home: Path) -> str:
        done = await asyncio.to_thread(
            layerkit, "pull", *options, f"{server.address}/acme/web", check=False, HOME=str(home), XDG_CONFIG_HOME=""
        )
        return done.stderr

    async def test_an_authority_is_named_by_an_option(
        self, authority: Authority, layerkit: LayerkitProcess, tmp_path: Path
    ) -> None:
        async with run(nothing, authority.server) as server:
            assert "HTTP status 404" in await self.pull(layerkit, server, "--ca", authority.path, home=tmp_path)

    async def test_insecure_takes_any_certificate(
        self, authority: Authority, layerkit: LayerkitProcess, tmp_path: Path
    ) -> None:
        async with run(nothing, authority.server) as server:
            assert "HTTP status 404" in await self.pull(layerkit, server, "--insecure", home=tmp_path)

    async def test_our_certificate_is_named_by_options(
        self, authority: Authority, layerkit: LayerkitProcess, tmp_path: Path
    ) -> None:
        options = ("--ca", authority.path, "--cert", authority.certificate, "--key", authority.key)
        async with run(nothing, authority.asking) as server:
            assert "HTTP status 404" in await self.pull(layerkit, server, *options, home=tmp_path)
        assert "--cert and --key go together" in layerkit("pull", "x", "--cert", authority.path, check=False).stderr

    async def test_all_of_them_are_found_in_the_users_folder(
        self, authority: Authority, layerkit: LayerkitProcess, tmp_path: Path
    ) -> None:
        async with run(nothing, authority.asking) as server:
            folder = tmp_path / ".config/containers/certs.d" / server.address
            folder.mkdir(parents=True)
            for path in (authority.path, authority.certificate, authority.key):
                shutil.copy(path, folder)
            assert "HTTP status 404" in await self.pull(layerkit, server, home=tmp_path)
