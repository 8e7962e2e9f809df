"""One registry's connections, against real servers on loopback ports."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from msgspec.structs import replace

from layerkit.oci.digest import Digest
from layerkit.oci.errors import (
    BlobUnknown,
    Denied,
    EndpointUnknown,
    ManifestInvalid,
    OCIError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unknown,
)
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.request import GetBlob, GetManifest
from layerkit.oci.scope import repository_scope
from layerkit.remote.auth import Credentials
from layerkit.remote.client import Client, Connection, open_client
from registry.app import run_server
from registry.config import Address, Configuration
from tests.programs import LayerkitProcess
from tests.remote.conftest import Certificate
from tests.remote.server import ONCE, Handler, Server, closed_address, run, run_proxy, run_raw

NAME = RepositoryName("acme/web")
DIGEST = Digest.of(b"content")
CALL = GetBlob(repository=NAME, digest=DIGEST)
PATH = f"/v2/acme/web/blobs/{DIGEST}"
OK = frozenset({200})
PUSH = frozenset({repository_scope("acme/web", "pull", "push")})
ALICE = Credentials("alice", "s3cret")


async def content(http: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"content")


def answering(status: int, body: bytes | str = b"", **headers: str) -> Handler:
    raw = body.encode() if isinstance(body, str) else body

    async def handler(http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=raw, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


@asynccontextmanager
async def client_of(
    server: Server | str, credentials: Credentials | None = None, *, insecure: bool = False
) -> AsyncIterator[Client]:
    host = server if isinstance(server, str) else server.address
    connection = Connection(host=host, credentials=credentials, insecure=insecure, patience=ONCE)
    async with open_client(connection) as client:
        yield client


async def fetch(client: Client, call: GetBlob | str = CALL) -> bytes:
    async with client.send("GET", call, expected=OK) as response:
        return await response.read()


class TestSchemes:
    async def test_http_is_used_on_loopback_where_https_is_not_spoken(self) -> None:
        async with run(content) as server, client_of(server) as client:
            assert await fetch(client) == b"content"
            assert await fetch(client) == b"content"
            assert server.seen == ["GET /v2/", f"GET {PATH}", f"GET {PATH}"], "the scheme is chosen once"

    async def test_calls_at_once_choose_the_scheme_once(self) -> None:
        async with run(content) as server, client_of(server) as client:
            assert await asyncio.gather(*(fetch(client) for _ in range(10))) == [b"content"] * 10
            assert server.seen.count("GET /v2/") == 1

    async def test_https_is_used_on_loopback_where_it_is_spoken(self, certificate: Certificate) -> None:
        async with run(content, certificate.server) as server:
            connection = Connection(host=server.address, tls=certificate.client)
            async with open_client(connection) as client:
                assert await fetch(client) == b"content"
            assert server.seen == ["GET /v2/", f"GET {PATH}"]

    async def test_https_is_the_only_scheme_of_another_host(
        self, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with run(content, certificate.server) as server, run_proxy({"registry.example:443": server.address}) as p:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{p.address}")
            async with open_client(Connection(host="registry.example", tls=certificate.client)) as client:
                assert await fetch(client) == b"content"
            assert p.seen == ["CONNECT registry.example:443"]
            assert server.seen == [f"GET {PATH}"]

    async def test_http_is_never_tried_at_another_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with run_proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
            async with client_of("registry.example") as client:
                with pytest.raises(Unavailable, match=r"registry\.example"):
                    await fetch(client)
            assert proxy.seen == ["CONNECT registry.example:443"]

    async def test_http_is_tried_at_another_host_where_it_was_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with run_proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
            async with client_of("registry.example:5000", insecure=True) as client:
                assert await fetch(client) == b"{}"
            assert proxy.seen == [
                "CONNECT registry.example:5000",
                "GET http://registry.example:5000/v2/",
                f"GET http://registry.example:5000{PATH}",
            ]

    @pytest.mark.parametrize("status", [302, 307])
    async def test_another_host_may_not_lead_us_to_http(
        self, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        async with (
            run(content) as plain,
            run(answering(status, Location=f"http://{plain.address}/x"), certificate.server) as server,
            run_proxy({"registry.example:443": server.address}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            async with open_client(Connection(host="registry.example", tls=certificate.client)) as client:
                with pytest.raises(OCIError, match=f"registry.example sends us to http://{plain.address}/x: refused"):
                    await fetch(client)
                with pytest.raises(OCIError, match="refused, because it is not https"):
                    await fetch(client, f"http://{plain.address}/upload")
            assert plain.seen == []

    async def test_no_proxy_is_asked_for_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with run_proxy({}) as proxy, run(content) as server:
            for name in ("HTTPS_PROXY", "HTTP_PROXY"):
                monkeypatch.setenv(name, f"http://{proxy.address}")
            async with client_of(server) as client:
                assert await fetch(client) == b"content"
            assert proxy.seen == []

    async def test_a_proxy_is_told_its_password_and_nobody_else_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with run_proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://bob:s3cret@{proxy.address}")
            async with client_of("registry.example") as client:
                with pytest.raises(Unavailable, match="the proxy answers with HTTP status 502") as caught:
                    await fetch(client)
            assert "s3cret" not in caught.value.message
            assert proxy.authorizations == ["Basic Ym9iOnMzY3JldA=="]

    async def test_a_host_of_no_proxy_is_not_asked_of_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with run_proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            monkeypatch.setenv("NO_PROXY", "other.invalid,registry.invalid")
            async with client_of("registry.invalid") as client:
                with pytest.raises(Unavailable, match=r"cannot reach registry registry\.invalid"):
                    await fetch(client)
            assert proxy.seen == []


class TestCertificates:
    async def test_one_that_nobody_knows_is_told_with_its_mend(self, certificate: Certificate) -> None:
        """And who speaks TLS is not asked without it: some answer 400 to that, and would seem to be there."""
        async with run(content, certificate.server) as server, client_of(server) as client:
            with pytest.raises(Unavailable) as caught:
                await fetch(client)
            assert caught.value.message.startswith(
                f"cannot reach registry {server.address}: its certificate is not trusted ("
            )
            assert "self-signed" in caught.value.message or "self signed" in caught.value.message
            assert "SSL_CERT_FILE" in caught.value.message
            assert server.seen == []

    def test_the_mend_mends_it(self, certificate: Certificate, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        async def pull() -> str:
            async with run(answering(404), certificate.server) as server:
                image = f"{server.address}/acme/web"
                done = await asyncio.to_thread(
                    layerkit, "pull", image, check=False, SSL_CERT_FILE=str(certificate.path), HOME=str(tmp_path)
                )
                assert server.seen == ["GET /v2/", "GET /v2/acme/web/manifests/latest"]
                return done.stderr

        assert "HTTP status 404" in asyncio.run(pull())


class TestRedirects:
    async def test_a_redirect_is_followed_without_authorization_to_another_port(self) -> None:
        async with run(content) as store:

            async def redirect(http: web.BaseRequest) -> web.StreamResponse:
                if "Authorization" not in http.headers:
                    return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
                return web.Response(status=307, headers={"Location": f"http://{store.address}/signed?x=1"})

            async with run(redirect) as server, client_of(server, ALICE) as client:
                assert await fetch(client) == b"content"
                assert server.authorizations[-1].startswith("Basic ")
            assert (store.seen, store.authorizations) == (["GET /signed?x=1"], [""])

    async def test_a_redirect_within_the_registry_keeps_authorization_and_range(self) -> None:
        async def redirect(http: web.BaseRequest) -> web.StreamResponse:
            if "Authorization" not in http.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
            if http.raw_path == PATH:
                return web.Response(status=302, headers={"Location": "../../../../elsewhere"})
            return web.Response(body=http.headers["Range"].encode())

        async with run(redirect) as server, client_of(server, ALICE) as client:
            async with client.send("GET", CALL, expected=OK, headers={"Range": "bytes=1-2"}) as response:
                assert await response.read() == b"bytes=1-2"
            assert server.calls()[-1] == "GET /elsewhere"
            assert server.authorizations[-1].startswith("Basic ")

    async def test_another_host_that_asks_who_we_are_is_not_told(self) -> None:
        """Its token service could be anybody's: our password would go there."""
        async with run(answering(200, '{"token":"t"}')) as thief:
            challenge = f'Bearer realm="http://{thief.address}/token"'
            async with (
                run(answering(401, WWW_Authenticate=challenge)) as store,
                run(answering(307, Location=f"http://{store.address}/x")) as server,
                client_of(server, ALICE) as client,
            ):
                with pytest.raises(Unauthorized):
                    await fetch(client)
                assert store.authorizations == [""]
            assert thief.seen == []

    async def test_a_location_on_another_host_is_sent_no_authorization(self) -> None:
        """S8: an upload may go straight to a store."""
        async with run(content) as store, run(answering(401, WWW_Authenticate="Basic")) as server:
            async with client_of(server, ALICE) as client:
                with pytest.raises(Unauthorized):
                    await fetch(client)
                assert server.authorizations[-1].startswith("Basic ")
                scopes = frozenset({repository_scope(NAME, "push")})
                async with client.send("PUT", f"http://{store.address}/up", scopes=scopes, expected=OK):
                    pass
            assert store.authorizations == [""]

    async def test_a_location_that_spells_the_port_out_is_the_same_host(
        self, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with (
            run(answering(401, WWW_Authenticate="Basic"), certificate.server) as server,
            run_proxy({"registry.example:443": server.address}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            connection = Connection(host="registry.example", credentials=ALICE, tls=certificate.client)
            async with open_client(connection) as client:
                for url in (PATH, f"https://registry.example:443{PATH}"):
                    with pytest.raises(Unauthorized):
                        await fetch(client, url)
            assert server.authorizations[-1].startswith("Basic ")

    async def test_redirects_in_a_circle_end(self) -> None:
        async with run(answering(307, Location=PATH)) as server, client_of(server) as client:
            with pytest.raises(OCIError, match=f"redirects GET http://{server.address}{PATH} more than 5 times"):
                await fetch(client)
            assert len(server.calls()) == 6

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_only_reading_is_redirected(self, method: str) -> None:
        async with run(answering(307, Location="/elsewhere")) as server, client_of(server) as client:
            with pytest.raises(Unknown, match="HTTP status 307"):
                async with client.send(method, CALL, expected=OK):
                    pass
            assert server.calls() == [f"{method} {PATH}"]

    @pytest.mark.parametrize(
        "location",
        ["http://[bad/", "http://127.0.0.1:99999999/", "http://127.0.0.1:x/", "ftp://127.0.0.1/", "file:///etc/passwd"],
    )
    async def test_a_location_that_leads_nowhere_is_an_error_that_names_it(self, location: str) -> None:
        async with run(answering(307, Location=location)) as server, client_of(server) as client:
            with pytest.raises(OCIError) as caught:
                await fetch(client)
            assert location in caught.value.message

    async def test_a_location_with_a_password_of_its_own_is_an_error(self) -> None:
        async def redirect(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"http://a:b@{http.headers['Host']}/x"})

        async with run(redirect) as server, client_of(server, Credentials(registry_token="fixed")) as client:
            with pytest.raises(OCIError, match="cannot be sent"):
                await fetch(client)

    async def test_a_signed_url_is_sent_as_it_is(self) -> None:
        """A signature may be of the very characters of a URL."""
        signed = "/a%2Fb%20c/d%3A?X-Credential=AK%2F2%2Fs3&Policy=a%27b%2A&Signature=x%2By%3D~&e=%40"
        async with run(content) as store:
            location = f"http://{store.address}{signed}"
            async with run(answering(307, Location=location)) as server, client_of(server) as client:
                assert await fetch(client) == b"content"
            assert store.seen == [f"GET {signed}"]

    async def test_a_location_that_nobody_encoded_is_encoded(self) -> None:
        async with run(content) as store:
            location = f"http://{store.address}/a b/ö"
            async with run(answering(307, Location=location)) as server, client_of(server) as client:
                assert await fetch(client) == b"content"
            assert store.seen == ["GET /a%20b/%C3%B6"]


class TestTokens:
    @asynccontextmanager
    async def registry(self, *tokens: str) -> AsyncIterator[tuple[Server, Server]]:
        """A registry that takes the last of the tokens, and the service that gives them one after the other."""
        left = list(tokens)

        async def give(http: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=json.dumps({"token": left.pop(0)}).encode())

        async with run(give) as service:

            async def guard(http: web.BaseRequest) -> web.StreamResponse:
                if http.headers.get("Authorization") == f"Bearer {tokens[-1]}":
                    return web.Response(body=b"content")
                challenge = f'Bearer realm="http://{service.address}/token",service="s"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})

            async with run(guard) as server:
                yield server, service

    async def test_one_is_fetched_and_used_again(self) -> None:
        async with self.registry("t1") as (server, service), client_of(server, ALICE) as client:
            assert await fetch(client) == b"content"
            assert await fetch(client) == b"content"
            assert server.authorizations == ["", "", "Bearer t1", "Bearer t1"]
            assert service.seen == ["POST /token"]

    async def test_calls_at_once_fetch_one_together(self) -> None:
        async with self.registry("t1") as (server, service), client_of(server, ALICE) as client:
            assert await asyncio.gather(*(fetch(client) for _ in range(8))) == [b"content"] * 8
            assert len(service.seen) == 1

    async def test_one_that_is_no_longer_taken_is_renewed(self) -> None:
        async with self.registry("t1", "t2") as (server, service), client_of(server, ALICE) as client:
            with pytest.raises(Unauthorized):
                await fetch(client)
            assert await fetch(client) == b"content"
            assert len(service.seen) == 2

    async def test_one_that_comes_in_pieces_is_read_whole(self) -> None:
        """As a long one does over a real network."""
        token = "x" * 6000

        async def give(http: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(http)
            await response.write(b'{"token":"')
            for start in range(0, len(token), 1500):
                # Let the client read what it has.
                for _ in range(20):
                    await asyncio.sleep(0)
                await response.write(token[start : start + 1500].encode())
            await response.write(b'"}')
            return response

        async with run(give) as service:

            async def guard(http: web.BaseRequest) -> web.StreamResponse:
                if http.headers.get("Authorization") == f"Bearer {token}":
                    return web.Response(body=b"content")
                challenge = f'Bearer realm="http://{service.address}/token"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})

            async with run(guard) as server, client_of(server) as client:
                assert await fetch(client) == b"content"

    async def test_a_service_that_redirects_is_not_followed_with_the_password(self) -> None:
        async with run(content) as thief:
            async with run(answering(307, Location=f"http://{thief.address}/")) as service:
                challenge = f'Bearer realm="http://{service.address}/token"'
                async with (
                    run(answering(401, WWW_Authenticate=challenge)) as server,
                    client_of(server, ALICE) as client,
                ):
                    with pytest.raises(OCIError, match="HTTP status 307"):
                        await fetch(client)
            assert thief.seen == []

    async def test_a_service_that_cannot_be_reached_is_named_with_the_registry(self) -> None:
        closed = closed_address()
        challenge = f'Bearer realm="http://{closed}/token"'
        async with run(answering(401, WWW_Authenticate=challenge)) as server, client_of(server) as client:
            with pytest.raises(Unavailable, match=f"cannot reach {closed} for registry {server.address}: connection"):
                await fetch(client)

    async def test_two_calls_at_once_both_log_in_with_a_password(self) -> None:
        async def guard(http: web.BaseRequest) -> web.StreamResponse:
            if "Authorization" in http.headers:
                return web.Response(body=b"content")
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})

        async with run(guard) as server, client_of(server, ALICE) as client:
            assert await asyncio.gather(*(fetch(client) for _ in range(4))) == [b"content"] * 4

    async def test_a_netrc_is_none_of_our_business(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "netrc").write_text("default login bob password other\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        async with self.registry("t1") as (server, _), client_of(server, ALICE) as client:
            assert await fetch(client) == b"content"
            assert server.authorizations == ["", "", "Bearer t1"]

    async def test_a_token_comes_by_http_only_where_all_the_rest_does(self, certificate: Certificate) -> None:
        """A registry that speaks https would have our password sent in the clear, even on this machine."""
        async with run(answering(200, '{"token":"t"}')) as thief:
            challenge = f'Bearer realm="http://{thief.address}/token"'
            async with run(answering(401, WWW_Authenticate=challenge), certificate.server) as server:
                connection = Connection(host=server.address, credentials=ALICE, tls=certificate.client, patience=ONCE)
                async with open_client(connection) as client:
                    with pytest.raises(Unauthorized, match="refused, because it is not https"):
                        await fetch(client)
                async with open_client(replace(connection, insecure=True)) as client:
                    with pytest.raises(Unauthorized, match="HTTP status 401"):
                        await fetch(client)
            assert len(thief.seen) == 1

    async def test_another_scope_is_asked_for_before_its_body_is_sent(self) -> None:
        async with self.registry("t1", "t2") as (server, service), client_of(server) as client:
            with pytest.raises(Unauthorized):
                await fetch(client)
            server.seen.clear()
            async with client.send("GET", f"http://{server.address}/up", scopes=PUSH, expected=OK):
                pass
            assert (server.seen, len(service.seen)) == (["GET /up"], 2)


class TestWhoWeAre:
    """Who has a keychain may be asked for its password: nobody is, before a registry asks who we are."""

    @asynccontextmanager
    async def client(self, handler: Handler, found: Credentials | None) -> AsyncIterator[tuple[Client, list[str]]]:
        asked = []

        async def find() -> Credentials | None:
            asked.append("who?")
            return found

        async with (
            run(handler) as server,
            open_client(Connection(host=server.address, credentials=find, patience=ONCE)) as client,
        ):
            yield client, asked

    async def test_a_registry_that_does_not_ask_is_not_told(self) -> None:
        async with self.client(content, ALICE) as (client, asked):
            assert await fetch(client) == b"content"
            assert asked == []

    @pytest.mark.parametrize(
        ("found", "header"),
        [(ALICE, "Basic YWxpY2U6czNjcmV0"), (Credentials(registry_token="fixed"), "Bearer fixed")],
    )
    async def test_one_that_asks_is_told_from_then_on(self, found: Credentials, header: str) -> None:
        async def guard(http: web.BaseRequest) -> web.StreamResponse:
            if http.headers.get("Authorization") == header:
                return web.Response(body=b"content")
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})

        async with self.client(guard, found) as (client, asked):
            assert await asyncio.gather(*(fetch(client) for _ in range(5))) == [b"content"] * 5
            assert asked == ["who?"]

    async def test_nobody_is_told_to_log_in(self) -> None:
        async with self.client(answering(401, WWW_Authenticate="Basic"), None) as (client, asked):
            for _ in range(2):
                with pytest.raises(Unauthorized, match=rf"log in first \(layerkit login {client.host}\)"):
                    await fetch(client)
            assert asked == ["who?"]

    async def test_who_is_known_and_not_let_in_is_not_told_to_log_in(self) -> None:
        async with self.client(answering(401, WWW_Authenticate="Basic"), ALICE) as (client, _):
            with pytest.raises(Unauthorized, match="HTTP status 401") as caught:
                await fetch(client)
            assert "log in first" not in caught.value.message


class TestWarnings:
    async def warned(self, *headers: str, count: int = 1) -> list[str]:
        async def handler(http: web.BaseRequest) -> web.StreamResponse:
            response = web.Response(body=b"content")
            for header in headers:
                response.headers.add("Warning", header)
            return response

        told: list[str] = []
        async with run(handler) as server:
            async with open_client(Connection(host=server.address, note=told.append)) as client:
                for _ in range(count):
                    await fetch(client)
            return [text.replace(server.address, "HOST") for text in told]

    async def test_each_is_told_once(self) -> None:
        """ "299 - " and a quoted text (distribution-spec, "Warnings")."""
        assert await self.warned('299 - "it moves on 1 May"', '299 - "read only"', count=3) == [
            "HOST warns: it moves on 1 May",
            "HOST warns: read only",
        ]

    @pytest.mark.parametrize(
        ("header", "told"),
        [
            ('299 - "say \\"no\\" \\\\"', 'HOST warns: say "no" \\'),
            ('299 registry.example "a", 299 - "b"', "HOST warns: a"),
        ],
    )
    async def test_a_text_is_taken_out_of_its_quotes(self, header: str, told: str) -> None:
        assert (await self.warned(header))[0] == told

    @pytest.mark.parametrize("header", ["299 - no quotes", '110 - "stale"', '299 "x"', "", '299 - "open', "garbage"])
    async def test_what_is_no_warning_is_passed_over(self, header: str) -> None:
        assert await self.warned(header) == []

    async def test_a_terminal_is_safe_from_them(self) -> None:
        assert await self.warned('299 - "a\x9b2Jb"') == ["HOST warns: a\ufffd2Jb"]

    async def test_there_is_an_end_to_them(self) -> None:
        assert len(await self.warned(*(f'299 - "number {n}"' for n in range(60)))) == 10
        [long] = await self.warned(f'299 - "{"x" * 4000}"')
        assert len(long) < 1100


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (404, "BLOB_UNKNOWN", BlobUnknown),
            (403, "DENIED", Denied),
            (429, "TOOMANYREQUESTS", TooManyRequests),
            (400, "MANIFEST_INVALID", ManifestInvalid),
            (503, "UNAVAILABLE", Unavailable),
        ],
    )
    async def test_the_error_of_the_registry_is_raised_with_its_words(
        self, status: int, code: str, kind: type[OCIError]
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": "in its words", "detail": {"a": 1}}]})
        async with run(answering(status, body)) as server, client_of(server) as client:
            with pytest.raises(kind, match="in its words") as caught:
                await fetch(client)
            assert caught.value.message.startswith(f"GET http://{server.address}{PATH}: ")
            assert caught.value.details == ({"a": 1},)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(401, Unauthorized), (403, Denied), (404, EndpointUnknown), (502, Unknown), (503, Unavailable)],
    )
    @pytest.mark.parametrize("body", ["", "<html><body>nginx</body></html>", "{}", '{"errors":[]}', "[" * 100_000])
    async def test_without_an_error_of_the_spec_the_status_decides(
        self, status: int, kind: type[OCIError], body: str
    ) -> None:
        async with run(answering(status, body)) as server, client_of(server) as client:
            with pytest.raises(kind, match=f"HTTP status {status}") as caught:
                await fetch(client)
            assert type(caught.value) is kind
            assert len(caught.value.message) < 300

    async def test_a_success_that_nobody_expects_is_an_error(self) -> None:
        async with run(answering(204)) as server, client_of(server) as client:
            with pytest.raises(Unknown, match="HTTP status 204"):
                await fetch(client)

    async def test_of_an_endless_error_only_the_beginning_is_read(self) -> None:
        ended = asyncio.Event()

        async def endless(http: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(status=500)
            try:
                await response.prepare(http)
                while True:
                    await response.write(b"x" * 65536)
            finally:
                ended.set()

        async with run(endless) as server, client_of(server) as client:
            with pytest.raises(Unknown, match="HTTP status 500"):
                await fetch(client)
            await ended.wait()

    async def test_an_error_that_comes_in_pieces_is_read_whole(self) -> None:
        async def slow(http: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(status=404)
            await response.prepare(http)
            for piece in (b'{"errors":[{"code":"BLOB_', b'UNKNOWN","message":"in ', b'pieces"}]}'):
                await response.write(piece)
                for _ in range(20):
                    await asyncio.sleep(0)
            return response

        async with run(slow) as server, client_of(server) as client:
            with pytest.raises(BlobUnknown, match="in pieces"):
                await fetch(client)


class TestSecrets:
    """What lets somebody in is in no error, wherever a registry puts it."""

    async def test_a_location_is_told_without_its_query(self) -> None:
        """An upload's state and the signature of a store are as good as a password."""
        async with run(answering(403)) as server, client_of(server, ALICE) as client:
            with pytest.raises(Denied) as caught:
                async with client.send("PUT", f"http://{server.address}/up?_state=s3cret", expected=OK):
                    pass
            assert f"PUT http://{server.address}/up: " in caught.value.message
            assert "s3cret" not in caught.value.message

    async def test_so_is_one_that_cannot_be_reached(self) -> None:
        location = f"http://{closed_address()}/signed?X-Signature=s3cret"
        async with run(answering(307, Location=location)) as server, client_of(server, ALICE) as client:
            with pytest.raises(Unavailable) as caught:
                await fetch(client)
            assert "s3cret" not in f"{caught.value.message}"

    async def test_credentials_are_in_no_repr(self) -> None:
        assert "s3cret" not in repr(Connection(host="registry.example", credentials=ALICE))


class TestBrokenConnections:
    async def test_a_refused_connection_names_the_registry(self) -> None:
        closed = closed_address()
        async with client_of(closed) as client:
            with pytest.raises(Unavailable, match=f"^cannot reach registry {closed}: connection refused$"):
                await fetch(client)

    async def test_an_unknown_name_is_told(self) -> None:
        async with client_of("no-such-host.invalid") as client:
            with pytest.raises(Unavailable, match=r"registry no-such-host\.invalid: the name is not known"):
                await fetch(client)

    async def test_a_store_that_refuses_connections_is_named(self) -> None:
        closed = closed_address()
        async with run(answering(307, Location=f"http://{closed}/x")) as server, client_of(server) as client:
            with pytest.raises(Unavailable, match=f"cannot reach {closed} for registry {server.address}"):
                await fetch(client)

    async def test_plain_http_where_tls_is_expected_is_told_with_its_mend(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with run(content) as server, run_proxy({"registry.example:443": server.address}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
            async with client_of("registry.example") as client:
                with pytest.raises(Unavailable, match=r"registry\.example") as caught:
                    await fetch(client)
            assert "not permitted" not in caught.value.message
            assert "does not speak TLS" in caught.value.message
            assert "--insecure" in caught.value.message

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ],
        ids=["nothing", "short", "cut-chunk", "no-chunk", "negative", "words", "header", "ssh"],
    )
    async def test_an_answer_that_is_none_or_ends_early_names_the_registry(self, answer: bytes) -> None:
        async with run_raw(answer) as address, client_of(address) as client:
            with pytest.raises(Unavailable, match=f"{address} broke off GET http://{address}{PATH}: "):
                await fetch(client)

    async def test_what_the_body_raises_is_raised(self) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"half"
            raise ManifestInvalid("the source is damaged")

        async with run(content) as server, client_of(server) as client:
            with pytest.raises(ManifestInvalid, match="the source is damaged"):
                async with client.send("PUT", CALL, expected=OK, body=broken):
                    pass

    async def test_every_connection_is_given_back_whatever_happens(self) -> None:
        challenge = 'Bearer realm="ftp://nowhere/"'
        handler = answering(401, "x" * 100_000, WWW_Authenticate=challenge)
        async with run(handler) as server, client_of(server) as client:
            for _ in range(3):
                with pytest.raises(Unauthorized):
                    await fetch(client)
            connector = client._session.connector
            assert connector is not None
            assert not connector._acquired


class TestAgainstOurRegistry:
    async def test_a_registry_is_spoken_to(self, tmp_path: Path) -> None:
        configuration = Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1)
        async with run_server(configuration) as address, client_of(address) as client:
            with pytest.raises(OCIError, match=address) as caught:
                async with client.send("GET", GetManifest(repository=NAME, reference=Tag("latest")), expected=OK):
                    pass
            assert caught.value.status == 404
