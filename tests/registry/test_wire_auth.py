"""Users, tokens and challenges, by the numbers of the design's list of what real clients depend upon."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER_GZIP, OCI_MANIFEST
from tests.registry.guarded import Guarded, basic, bearer, challenge_of, run_guarded
from tests.wire import blob, image

RAW = b"content"
DIGEST = Digest.of(RAW)

RULES = """
access:
  - {repository: "public/**", users: [anonymous], actions: [pull]}
  - {repository: "**", users: [ann], actions: ["*"]}
  - {repository: "bobs/**", users: [bob], actions: [pull, push]}
"""


@pytest.fixture
async def private(tmp_path: Path) -> AsyncIterator[Guarded]:
    """Signed-in users may do everything, nobody else anything."""
    async with run_guarded(tmp_path / "private") as wire:
        yield wire


@pytest.fixture
async def ruled(tmp_path: Path) -> AsyncIterator[Guarded]:
    """With RULES."""
    async with run_guarded(tmp_path / "ruled", RULES) as wire:
        yield wire


async def push_image_as(wire: Guarded, user: str, name: str, tag: str = "1") -> None:
    for raw in (b"{}", b"layer"):
        await wire.push_as(user, name, raw)
    headers = {**basic(user), "Content-Type": OCI_MANIFEST}
    answer = await wire("PUT", f"/v2/{name}/manifests/{tag}", image(blob(b"layer", OCI_LAYER_GZIP)), headers=headers)
    assert answer.status == 201, answer.body


async def test_the_ping_is_401_for_who_has_not_come_in(private: Guarded) -> None:
    """1, 2: "401 when auth is on"; "Challenge must be on the **ping 401**"."""
    for path in ("/v2/", "/v2"):
        answer = await private("GET", path)
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        challenge = challenge_of(answer)
        assert challenge.scheme == "bearer"
        assert set(challenge.parameters) == {"realm", "service"}
        assert (await private("HEAD", path)).headers.getall("WWW-Authenticate") == [str(challenge)]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/a/b/manifests/1", "repository:a/b:pull"),
        ("HEAD", "/v2/a/b/manifests/1", "repository:a/b:pull"),
        ("GET", f"/v2/a/b/blobs/{DIGEST}", "repository:a/b:pull"),
        ("GET", "/v2/a/b/tags/list", "repository:a/b:pull"),
        ("GET", f"/v2/a/b/referrers/{DIGEST}", "repository:a/b:pull"),
        ("POST", "/v2/a/b/blobs/uploads/", "repository:a/b:pull,push"),
        ("PATCH", "/v2/a/b/blobs/uploads/some", "repository:a/b:push"),
        ("PUT", f"/v2/a/b/blobs/uploads/some?digest={DIGEST}", "repository:a/b:push"),
        ("GET", "/v2/a/b/blobs/uploads/some", "repository:a/b:push"),
        ("DELETE", "/v2/a/b/blobs/uploads/some", "repository:a/b:push"),
        ("PUT", "/v2/a/b/manifests/1", "repository:a/b:push"),
        ("DELETE", "/v2/a/b/manifests/1", "repository:a/b:delete"),
        ("DELETE", f"/v2/a/b/blobs/{DIGEST}", "repository:a/b:delete"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ],
)
async def test_every_later_401_says_what_it_takes(private: Guarded, method: str, path: str, scope: str) -> None:
    """2: "*and* on each later 401 with the concrete scope"."""
    challenge = challenge_of(await private(method, path))
    assert challenge.parameters["scope"] == scope
    assert "error" not in challenge.parameters


async def test_the_challenge_has_exactly_the_form_that_clients_read(ruled: Guarded) -> None:
    """3: "Exact form `Bearer realm="...",service="...",scope="repository:name:pull,push"` - quoted, one header; plus
    `error="insufficient_scope"|"invalid_token"`"."""
    realm = f"http://{ruled.address}/token"
    start = "/v2/a/b/blobs/uploads/"
    expected = f'Bearer realm="{realm}",service="registry",scope="repository:a/b:pull,push"'
    assert (await ruled("POST", start)).headers.getall("WWW-Authenticate") == [expected]
    narrow = await ruled.token("repository:a/b:pull", user="ann")
    refused = await ruled("POST", start, headers=narrow)
    assert refused.headers.getall("WWW-Authenticate") == [f'{expected},error="insufficient_scope"']
    forged = await ruled("POST", start, headers=bearer("a.b.c"))
    assert forged.headers.getall("WWW-Authenticate") == [f'{expected},error="invalid_token"']


async def test_a_token_that_is_not_enough_is_401_and_a_password_that_is_not_enough_403(ruled: Guarded) -> None:
    """4: "Authenticated but not permitted -> **401 insufficient_scope**"; "With Basic: 403 DENIED"."""
    token = await ruled.token("repository:ann/x:pull,push", user="bob")
    for method, path in (("GET", "/v2/ann/x/tags/list"), ("POST", "/v2/ann/x/blobs/uploads/")):
        answer = await ruled(method, path, headers=token)
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert challenge_of(answer).parameters["error"] == "insufficient_scope"
        answer = await ruled(method, path, headers=basic("bob"))
        assert (answer.status, answer.codes) == (403, ["DENIED"])
        assert "WWW-Authenticate" not in answer.headers


async def test_permission_is_checked_when_an_upload_begins(ruled: Guarded) -> None:
    """4: "check permission at POST, before the body"."""
    answer = await ruled("POST", "/v2/ann/x/blobs/uploads/", b"", headers=basic("bob"))
    assert answer.status == 403
    assert list((ruled.folder / "data/uploads").iterdir()) == []


@pytest.mark.parametrize("credentials", [{}, basic("bob"), bearer("x"), basic("bob", "wrong")])
async def test_whoever_waits_hears_a_refusal_before_sending(ruled: Guarded, credentials: dict[str, str]) -> None:
    """41: "`Expect: 100-continue`: send only after auth/permission checks"."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in credentials.items())
    for method, path in (
        ("POST", f"/v2/ann/x/blobs/uploads/?digest={DIGEST}"),
        ("PATCH", "/v2/ann/x/blobs/uploads/some"),
        ("PUT", "/v2/ann/x/manifests/1"),
    ):
        async with ruled.connect() as line:
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n{lines}\r\n"
            await line.send(head.encode())
            status, headers, body = await line.read_answer()
            assert status in {401, 403}
            assert b'"errors"' in body
            assert (status == 401) == ("www-authenticate" in headers)


async def test_a_refusal_reaches_who_sends_all_the_same(ruled: Guarded) -> None:
    """41: "On early error drain or close the connection, else clients show "broken pipe" instead of our JSON"."""
    path = f"/v2/ann/x/blobs/uploads/?digest={DIGEST}"
    answer = await ruled("POST", path, bytes(20_000_000), headers=basic("bob"))
    assert (answer.status, answer.codes) == (403, ["DENIED"])


class TestAnonymousPull:
    """5: "Anonymous pull + authenticated push works for docker only with Bearer"."""

    async def test_the_ping_is_401_all_the_same(self, ruled: Guarded) -> None:
        assert challenge_of(await ruled("GET", "/v2/")).scheme == "bearer"

    async def test_an_anonymous_token_comes_in_and_pulls(self, ruled: Guarded) -> None:
        await push_image_as(ruled, "ann", "public/app")
        token = await ruled.token("repository:public/app:pull,push")
        assert (await ruled("GET", "/v2/", headers=token)).status == 200
        assert (await ruled("GET", "/v2/public/app/manifests/1", headers=token)).status == 200
        answer = await ruled("POST", "/v2/public/app/blobs/uploads/", headers=token)
        assert challenge_of(answer).parameters["error"] == "insufficient_scope"

    async def test_who_sends_nothing_at_all_pulls_too(self, ruled: Guarded) -> None:
        await push_image_as(ruled, "ann", "public/app")
        assert (await ruled("GET", "/v2/public/app/manifests/1")).status == 200
        assert (await ruled("GET", "/v2/private/app/manifests/1")).status == 401

    async def test_empty_basic_credentials_are_none(self, ruled: Guarded) -> None:
        """5: "sends `Authorization: Basic Og==` (empty): treat as anonymous"."""
        await push_image_as(ruled, "ann", "public/app")
        headers = {"Authorization": "Basic Og=="}
        assert (await ruled("GET", "/v2/public/app/manifests/1", headers=headers)).status == 200
        assert (await ruled("GET", "/v2/", headers=headers)).status == 401
        answer = await ruled.ask("repository:public/app:pull", headers=headers)
        assert answer.status == 200
        assert (await ruled("GET", "/v2/", headers=bearer(answer.json["token"]))).status == 200

    async def test_where_the_anonymous_may_nothing_they_get_no_token(self, private: Guarded) -> None:
        answer = await private.ask("repository:a:pull")
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])

    async def test_everything_may_be_public(self, tmp_path: Path) -> None:
        async with run_guarded(tmp_path / "public", "anonymous: pull") as wire:
            await push_image_as(wire, "bob", "any/where")
            assert (await wire("GET", "/v2/any/where/manifests/1")).status == 200
            assert (await wire("POST", "/v2/any/where/blobs/uploads/")).status == 401


class TestTokenByGet:
    async def test_it_has_all_that_clients_read(self, private: Guarded) -> None:
        """6: "Reply both `token` and `access_token`, `expires_in` >=60, `issued_at` RFC 3339 UTC"."""
        answer = await private.ask("repository:a:pull", headers=basic("ann"), account="ann", client_id="docker")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json["token"] == answer.json["access_token"]
        assert answer.json["expires_in"] >= 60
        issued = datetime.strptime(answer.json["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - issued) < timedelta(minutes=1)
        assert "refresh_token" not in answer.json

    @pytest.mark.parametrize(
        "scopes", [("repository:a:pull", "repository:b:pull"), ("repository:a:pull repository:b:pull",)]
    )
    async def test_scopes_are_repeated_or_joined(self, private: Guarded, scopes: tuple[str, ...]) -> None:
        """6: "repeated **or** space-joined `scope`"."""
        token = await private.token(*scopes, user="ann")
        for name in "ab":
            assert (await private("GET", f"/v2/{name}/tags/list", headers=token)).status == 404
        assert (await private("GET", "/v2/c/tags/list", headers=token)).status == 401

    async def test_a_refresh_token_is_given_to_who_asks_for_one(self, private: Guarded) -> None:
        """6: "`offline_token=true`"."""
        answer = await private.ask(headers=basic("ann"), offline_token="true")
        assert answer.json["refresh_token"]

    async def test_what_is_not_permitted_is_left_out(self, ruled: Guarded) -> None:
        """8: "Grant the **intersection**, never fail, for scopes"; "Unknown scope types ignored"."""
        asked = (
            *("repository:bobs/x:pull,push,delete", "repository:ann/x:pull", "registry:catalog:*"),
            *("repository(plugin):x:pull", "nonsense", "a:b:c:d:e", "repository:NO:pull"),
        )
        headers = await ruled.token(*asked, user="bob")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(headers["Authorization"].split(".")[1] + "=="))
        assert claims["sub"] == "bob"
        assert claims["access"] == [
            {"type": "repository", "name": "bobs/x", "actions": ["pull", "push"]},
            {"type": "registry", "name": "catalog", "actions": ["*"]},
        ]

    async def test_a_star_is_all_that_is_permitted(self, ruled: Guarded) -> None:
        """8: skopeo asks for `*` to delete."""
        token = await ruled.token("repository:x:*", user="ann")
        assert (await ruled("DELETE", "/v2/x/manifests/1", headers=token)).status == 404
        token = await ruled.token("repository:bobs/x:*", user="bob")
        assert (await ruled("DELETE", "/v2/bobs/x/manifests/1", headers=token)).status == 401
        assert (await ruled("GET", "/v2/bobs/x/tags/list", headers=token)).status == 404

    @pytest.mark.parametrize("headers", [basic("ann", "wrong"), basic("nobody", "x"), basic("ann", ""), bearer("x")])
    async def test_wrong_credentials_are_401_even_where_all_is_public(
        self, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        """8: "Bad credentials -> 401 even if everything is public"."""
        async with run_guarded(tmp_path / "public", "anonymous: pull") as wire:
            answer = await wire.ask("repository:a:pull", headers=headers)
            assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
            assert challenge_of(answer).scheme == "basic"
            assert (await wire("GET", "/v2/a/tags/list", headers=headers)).status == 401

    async def test_so_many_scopes_that_no_header_could_hold_them(self, private: Guarded) -> None:
        """A docker push that mounts from everywhere: the token still fits into a header."""
        name = "x" * 200
        token = await private.token(*(f"repository:{name}{n}:pull" for n in range(25)), user="ann")
        assert (await private("GET", f"/v2/{name}0/tags/list", headers=token)).status == 404


class TestTokenByPost:
    async def test_a_password_is_exchanged(self, private: Guarded) -> None:
        """7: "`grant_type=password`", "content-type may have `; charset=utf-8`"."""
        for user, text in (("ann", "secret of ann"), ("bob", "b\u00f6b:with:colons")):
            answer = await private.post(
                grant_type="password", username=user, password=text, service="registry", client_id="containerd-client",
                scope="repository:a:pull,push repository:b:pull",
            )  # fmt: skip
            assert answer.status == 200, answer.body
            assert answer.json["access_token"] == answer.json["token"]
            assert "refresh_token" not in answer.json
            headers = bearer(answer.json["access_token"])
            assert (await private("POST", "/v2/a/blobs/uploads/", headers=headers)).status == 202
            assert (await private("POST", "/v2/b/blobs/uploads/", headers=headers)).status == 401

    async def test_a_refresh_token_is_exchanged(self, private: Guarded) -> None:
        """7: "`grant_type=...|refresh_token`", "`access_type=offline`"."""
        first = await private.post(
            grant_type="password", username="ann", password="secret of ann", access_type="offline"
        )
        refresh = first.json["refresh_token"]
        answer = await private.post(grant_type="refresh_token", refresh_token=refresh, scope="repository:a:pull")
        assert answer.status == 200
        assert (await private("GET", "/v2/a/tags/list", headers=bearer(answer.json["access_token"]))).status == 404
        # It stands for a password, and is no token itself; nor is a token one.
        assert (await private("GET", "/v2/", headers=bearer(refresh))).status == 401
        again = await private.post(grant_type="refresh_token", refresh_token=answer.json["access_token"])
        assert again.status == 401

    async def test_a_new_password_ends_refresh_tokens(self, private: Guarded) -> None:
        refresh = (await private.ask(headers=basic("bob"), offline_token="true")).json["refresh_token"]
        path = private.folder / "users"
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "bob" not in line))
        answer = await private.post(grant_type="refresh_token", refresh_token=refresh)
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert (await private("GET", "/v2/", headers=basic("bob"))).status == 401

    @pytest.mark.parametrize(
        ("form", "status"),
        [
            ({"grant_type": "password", "username": "ann", "password": "wrong"}, 401),
            ({"grant_type": "password"}, 401),
            ({"grant_type": "refresh_token", "refresh_token": "x"}, 401),
            ({"grant_type": "refresh_token"}, 401),
            ({"grant_type": "authorization_code", "code": "x"}, 400),
            ({}, 400),
            ({"grant_type": "password", "username": "ann", "password": "x" * 5000}, 401),
            ({"grant_type": "password", "username": "a" * 100_000}, 400),
            ({f"field{n}": "" for n in range(300)}, 400),
        ],
    )
    async def test_what_is_no_credential_is_refused(self, ruled: Guarded, form: dict[str, str], status: int) -> None:
        answer = await ruled.post(**form)
        assert answer.status == status
        assert answer.json["errors"][0]["message"]

    async def test_other_forms_and_methods_are_refused(self, ruled: Guarded) -> None:
        headers = {"Content-Type": "application/json"}
        assert (await ruled("POST", "/token", b"{}", headers=headers)).status == 400
        answer = await ruled("PUT", "/token")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


async def test_docker_login_is_a_token_without_a_scope(private: Guarded) -> None:
    """9: "Docker login = token with no scope + `GET /v2/` with it -> must be 200"."""
    assert (await private("GET", "/v2/", headers=await private.token(user="ann"))).status == 200


async def test_basic_is_taken_directly(private: Guarded) -> None:
    """10: "also accept Basic directly on /v2/*"; a scheme is written as one likes (RFC 9110, section 11.1)."""
    for user in ("ann", "bob"):
        assert (await private("GET", "/v2/", headers=basic(user))).status == 200
        await push_image_as(private, user, f"of/{user}")
    headers = {"Authorization": basic("ann")["Authorization"].replace("Basic", "basic")}
    assert (await private("GET", "/v2/of/bob/manifests/1", headers=headers)).status == 200
    token = await private.token("repository:of/bob:pull", user="ann")
    headers = {"Authorization": token["Authorization"].replace("Bearer", "BEARER")}
    assert (await private("GET", "/v2/of/bob/manifests/1", headers=headers)).status == 200


async def test_one_token_lasts_for_the_requests_of_an_upload(private: Guarded) -> None:
    """10: "OR re-sends POST's Authorization on the PUT Location: token must remain valid for the whole upload (min
    lifetime >= 5 min)"."""
    answer = await private.ask("repository:a:pull,push", headers=basic("ann"))
    assert answer.json["expires_in"] >= 300
    token = bearer(answer.json["token"])
    location = (await private("POST", "/v2/a/blobs/uploads/", headers=token)).location
    assert (await private("PATCH", location, RAW, headers=token)).status == 202
    assert (await private("PUT", f"{location}?digest={DIGEST}", headers=token)).status == 201


class TestRealm:
    async def test_it_is_on_the_host_that_the_client_asked(self, private: Guarded) -> None:
        """11: "private/loopback **IP literal** on a different host is refused by crane": it is the client's own."""
        for host in ("registry.example", "registry.example:5000", "[::1]:5000"):
            answer = await private("GET", "/v2/", headers={"Host": host})
            assert challenge_of(answer).parameters["realm"] == f"http://{host}/token"

    @pytest.mark.parametrize("host", ['x",error="y', "a/b", "a@b", "x y", "\xe4", ""])
    async def test_a_host_that_is_none_is_not_repeated(self, private: Guarded, host: str) -> None:
        async with private.connect() as line:
            await line.send(f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
            status, headers, _ = await line.read_answer()
        if status == 401:
            assert f'realm="http://{private.address}/token"' in headers["www-authenticate"]
        else:
            assert status == 400

    async def test_without_a_host_it_is_the_address_that_was_reached(self, private: Guarded) -> None:
        async with private.connect() as line:
            await line.send(b"GET /v2/ HTTP/1.0\r\n\r\n")
            _, headers, _ = await line.read_answer()
        assert f'realm="http://{private.address}/token"' in headers["www-authenticate"]

    async def test_the_public_url_is_above_all(self, tmp_path: Path) -> None:
        """45; the "`public_url` override" against a wrong realm behind a proxy."""
        top = "public_url: https://registry.example/sub/\ntrusted_proxies: [127.0.0.0/8]"
        async with run_guarded(tmp_path / "r", top=top) as wire:
            answer = await wire("GET", "/v2/", headers={"Host": "x", "X-Forwarded-Proto": "http"})
            assert challenge_of(answer).parameters["realm"] == "https://registry.example/sub/token"

    @pytest.mark.parametrize(
        ("headers", "realm"),
        [
            ({"X-Forwarded-Proto": "https"}, "https://asked/token"),
            ({"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "a.example, b"}, "https://a.example/token"),
            ({"X-Forwarded-Host": "a.example", "X-Forwarded-Port": "8443"}, "http://a.example:8443/token"),
            (
                {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example", "X-Forwarded-Port": "443"},
                "https://a.example/token",
            ),
            ({"X-Forwarded-Host": "a.example:1", "X-Forwarded-Port": "2"}, "http://a.example:1/token"),
            ({"X-Forwarded-Prefix": "/images/"}, "http://asked/images/token"),
            ({"Forwarded": 'for=192.0.2.1;proto=https;host="a.example:8443", for=x'}, "https://a.example:8443/token"),
            ({"X-Forwarded-Proto": "javascript"}, "http://asked/token"),
            ({"X-Forwarded-Prefix": '/a"b'}, "http://asked/token"),
            ({"X-Forwarded-Prefix": "//evil"}, "http://asked/token"),
        ],
    )
    async def test_a_trusted_proxy_says_what_the_client_asked(
        self, tmp_path: Path, headers: dict[str, str], realm: str
    ) -> None:
        """45: "X-Forwarded-Proto/-Host (first of list)/-Port/-Prefix, `Forwarded`: ... only from trusted peers"."""
        async with run_guarded(tmp_path / "r", top="trusted_proxies: [127.0.0.0/8]") as wire:
            answer = await wire("GET", "/v2/", headers={"Host": "asked", **headers})
            assert challenge_of(answer).parameters["realm"] == realm

    async def test_nobody_else_does(self, private: Guarded) -> None:
        """45: "only from trusted peers"."""
        headers = {"Host": "asked", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil", "Forwarded": "host=evil"}
        answer = await private("GET", "/v2/", headers=headers)
        assert challenge_of(answer).parameters["realm"] == "http://asked/token"


class TestMount:
    async def test_without_the_right_to_read_there_it_is_an_upload(self, ruled: Guarded) -> None:
        """32: "No read right on `from` -> 202"; "never 404/401"."""
        digest = await ruled.push_as("ann", "ann/x")
        start = f"/v2/bobs/x/blobs/uploads/?mount={digest}"
        token = await ruled.token("repository:bobs/x:pull,push", "repository:ann/x:pull", user="bob")
        for headers in (token, basic("bob")):
            for query in ("&from=ann/x", "&from=none/there", ""):
                answer = await ruled("POST", f"{start}{query}", headers=headers)
                assert answer.status == 202, query
                assert answer.headers["Location"].startswith("/v2/bobs/x/blobs/uploads/")
        assert (await ruled("GET", f"/v2/bobs/x/blobs/{digest}", headers=basic("bob"))).status == 404

    async def test_with_the_right_it_is_there(self, ruled: Guarded) -> None:
        digest = await ruled.push_as("ann", "public/x")
        token = await ruled.token("repository:bobs/x:pull,push", "repository:public/x:pull", user="bob")
        start = f"/v2/bobs/x/blobs/uploads/?mount={digest}"
        assert (await ruled("POST", f"{start}&from=public/x", headers=token)).status == 201
        assert (await ruled("GET", f"/v2/bobs/x/blobs/{digest}", headers=token)).body == RAW

    async def test_from_anywhere_is_from_where_one_may_read(self, ruled: Guarded) -> None:
        """ "anonymous mount ...: mount when the blob is known and readable, else 202"."""
        digest = await ruled.push_as("ann", "public/x")
        start = f"/v2/bobs/x/blobs/uploads/?mount={digest}"
        wide = await ruled.token("repository:bobs/x:pull,push", "repository:public/x:pull", user="bob")
        narrow = await ruled.token("repository:bobs/x:pull,push", user="bob")
        assert (await ruled("POST", start, headers=narrow)).status == 202
        assert (await ruled("POST", start, headers=basic("bob"))).status == 202
        assert (await ruled("POST", start, headers=wide)).status == 201
        answer = await ruled("POST", f"/v2/ann/y/blobs/uploads/?mount={digest}", headers=basic("ann"))
        assert answer.status == 201

    async def test_the_algorithm_that_was_meant_stays(self, ruled: Guarded) -> None:
        digest = Digest.of(RAW, "sha512")
        answer = await ruled("POST", f"/v2/bobs/x/blobs/uploads/?mount={digest}&from=ann/x", headers=basic("bob"))
        assert "/sha512-" in answer.location


class TestCatalog:
    async def test_it_is_what_one_may_pull(self, ruled: Guarded) -> None:
        names = ["ann/a", "bobs/a", "bobs/b", "public/a", "x"]
        for name in names:
            await push_image_as(ruled, "ann", name)
        token = await ruled.token("registry:catalog:*", user="bob")
        for headers in (basic("bob"), token):
            answer = await ruled("GET", "/v2/_catalog", headers=headers)
            assert answer.json == {"repositories": ["bobs/a", "bobs/b", "public/a"]}
        assert (await ruled("GET", "/v2/_catalog", headers=basic("ann"))).json == {"repositories": names}
        assert (await ruled("GET", "/v2/_catalog")).json == {"repositories": ["public/a"]}
        assert (await ruled("GET", "/v2/_catalog?n=0", headers=basic("bob"))).json == {"repositories": []}

    async def test_its_pages_are_full(self, ruled: Guarded) -> None:
        for name in ("a", "bobs/a", "bobs/b", "c", "public/a", "z"):
            await push_image_as(ruled, "ann", name)
        found, path = [], "/v2/_catalog?n=1"
        while path:
            answer = await ruled("GET", path, headers=basic("bob"))
            found.append(answer.json["repositories"])
            path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
        assert found == [["bobs/a"], ["bobs/b"], ["public/a"]]

    async def test_a_token_must_be_for_it(self, ruled: Guarded) -> None:
        answer = await ruled("GET", "/v2/_catalog", headers=await ruled.token("repository:bobs/x:pull", user="bob"))
        assert challenge_of(answer).parameters == {
            "realm": f"http://{ruled.address}/token",
            "service": "registry",
            "scope": "registry:catalog:*",
            "error": "insufficient_scope",
        }


@pytest.mark.parametrize("headers", [{}, basic("bob"), bearer("x")])
async def test_a_refusal_does_not_tell_whether_a_repository_exists(ruled: Guarded, headers: dict[str, str]) -> None:
    await push_image_as(ruled, "ann", "ann/there")
    digest = Digest.of(b"layer")
    for method, path in (
        *(("GET", "manifests/1"), ("HEAD", f"blobs/{digest}"), ("GET", "tags/list"), ("POST", "blobs/uploads/")),
        *(("DELETE", "manifests/1"), ("GET", f"referrers/{digest}"), ("GET", "blobs/uploads/x")),
    ):
        there = await ruled(method, f"/v2/ann/there/{path}", headers=headers)
        nowhere = await ruled(method, f"/v2/ann/where/{path}", headers=headers)
        assert there.status == nowhere.status
        assert there.status in {401, 403}
        assert there.body.replace(b"there", b"where") == nowhere.body
        assert there.headers.get("WWW-Authenticate", "").replace("there", "where") == nowhere.headers.get(
            "WWW-Authenticate", ""
        )


async def test_what_one_was_given_another_is_not(ruled: Guarded) -> None:
    """Answers are remembered: who may have them is asked each time."""
    await push_image_as(ruled, "ann", "ann/x")
    await push_image_as(ruled, "ann", "public/x")
    pull = await ruled.token("repository:ann/x:pull", user="ann")
    other = await ruled.token("repository:public/x:pull", user="ann")
    layer = Digest.of(b"layer")
    for path in ("manifests/1", f"blobs/{layer}", "tags/list", f"referrers/{layer}"):
        for _ in range(3):
            assert (await ruled("GET", f"/v2/ann/x/{path}", headers=pull)).status == 200
            assert (await ruled("GET", f"/v2/ann/x/{path}", headers=basic("ann"))).status == 200
            assert (await ruled("GET", f"/v2/ann/x/{path}", headers=basic("bob"))).status == 403
            for headers in ({}, other, bearer("x"), basic("ann", "wrong") if path == "tags/list" else {}):
                assert (await ruled("GET", f"/v2/ann/x/{path}", headers=headers)).status == 401
            assert (await ruled("GET", f"/v2/public/x/{path}")).status == 200
    assert (await ruled("GET", "/v2/_catalog", headers=basic("ann"))).json == {"repositories": ["ann/x", "public/x"]}
    assert (await ruled("GET", "/v2/_catalog", headers=basic("bob"))).json == {"repositories": ["public/x"]}


async def test_the_namespace_of_a_mirror_is_taken_everywhere(ruled: Guarded) -> None:
    """47: "`ns=<host>` query"; "also accept path prefix `/v2/docker.io/library/...`"."""
    name = "docker.io/library/x"
    await push_image_as(ruled, "ann", name)
    headers = basic("ann")
    layer = Digest.of(b"layer")
    for method, path, status in (
        ("GET", "/v2/", 200),
        ("HEAD", f"/v2/{name}/manifests/1", 200),
        ("GET", f"/v2/{name}/manifests/1", 200),
        ("GET", f"/v2/{name}/blobs/{layer}", 200),
        ("GET", f"/v2/{name}/tags/list", 200),
        ("GET", f"/v2/{name}/referrers/{layer}", 200),
        ("GET", "/v2/_catalog", 200),
        ("POST", f"/v2/{name}/blobs/uploads/", 202),
    ):
        assert (await ruled(method, f"{path}?ns=docker.io", headers=headers)).status == status, path
    location = (await ruled("POST", f"/v2/{name}/blobs/uploads/?ns=docker.io", headers=headers)).location
    path = f"{location}?ns=docker.io&digest={DIGEST}"
    assert (await ruled("PUT", path, RAW, headers=headers)).status == 201


async def test_without_users_there_is_no_token_and_no_challenge(wire: Guarded) -> None:
    assert (await wire("GET", "/v2/")).status == 200
    assert (await wire("GET", "/token")).status == 404
    assert (await wire("GET", "/v2/", headers=basic("ann"))).status == 200


async def test_guessing_is_slowed(private: Guarded) -> None:
    """43, 11 of the registries' pains: 429 with Retry-After, for the right password as well, and others come in."""
    for number in range(5):
        assert (await private.ask(headers=basic("ann", f"guess {number}"))).status == 401
    for answer in (
        await private.ask(headers=basic("ann")),
        await private("GET", "/v2/", headers=basic("ann")),
        await private.post(grant_type="password", username="ann", password="secret of ann"),
    ):
        assert (answer.status, answer.codes) == (429, ["TOOMANYREQUESTS"])
        assert int(answer.headers["Retry-After"]) >= 1
    assert (await private("GET", "/v2/", headers=basic("bob"))).status == 200


async def test_guesses_at_once_are_counted_too(private: Guarded) -> None:
    answers = await asyncio.gather(*(private.ask(headers=basic("ann", f"guess {n}")) for n in range(40)))
    assert sum(answer.status == 401 for answer in answers) < 10
    assert all(answer.status in {401, 429} for answer in answers)


async def test_the_log_says_who(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with run_guarded(tmp_path / "private") as wire:
        await wire("GET", "/v2/a/tags/list", headers=basic("ann"))
        await wire("GET", "/v2/a/tags/list", headers=basic("ann", "wrong"))
    first, second = [line for line in capsys.readouterr().err.splitlines() if "path=/v2/a/tags/list" in line]
    assert " user=ann " in first
    assert " user=" not in second
    assert " status=401 " in second
    assert " error=UNAUTHORIZED" in second
