"""Passwords, htpasswd files, waiting, tokens: each on its own, and what hostile callers make of them."""

import asyncio
import base64
import hmac
import os
import string
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from layerkit.document.problem import DocumentError
from layerkit.oci.errors import Unauthorized
from layerkit.oci.scope import repository_scope
from registry.app import open_index
from registry.auth.errors import InvalidToken, TooManyAttempts
from registry.auth.htpasswd import HtpasswdFile, parse_htpasswd
from registry.auth.password import decoy_like, hash_password, is_bcrypt, make_password, matches
from registry.auth.signin import SignIn
from registry.auth.throttle import Throttle
from registry.auth.token import Tokens, load_key
from registry.metadata import users
from tests.registry.guarded import Guarded, basic, bearer, challenge_of, htpasswd, run_guarded

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
KEY = ECKey.generate_key("P-256")
PULL = repository_scope("a", "pull")


@dataclass
class Clock:
    """Time that passes when it is told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class TestPasswords:
    def test_bcrypt_in_all_its_spellings(self) -> None:
        for prefix in ("$2a$", "$2b$", "$2y$"):
            stored = prefix + HASH[4:]
            assert is_bcrypt(stored)
            assert matches(stored, "right")
            assert not matches(stored, "wrong")

    def test_our_own_are_argon2id_with_a_salt_each(self) -> None:
        stored = hash_password("right")
        assert stored.startswith("$argon2id$")
        assert stored != hash_password("right")
        assert matches(stored, "right")
        assert not matches(stored, "wrong")

    def test_a_long_password_counts_as_far_as_bcrypt_looked(self) -> None:
        """bcrypt knows 72 bytes; `htpasswd -B` drops the rest without a word."""
        stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
        assert matches(stored, "x" * 80)
        assert not matches(stored, "x" * 71)

    @pytest.mark.parametrize(
        "stored",
        [
            "",
            "plain",
            "{SHA}x",
            "$apr1$a$b",
            "$2y$04$short",
            "$argon2id$x",
            pytest.param("$2y$31$" + HASH[7:], id="2^31"),
        ],
    )
    def test_what_is_no_hash_matches_nothing(self, stored: str) -> None:
        assert not matches(stored, "right")
        assert not matches(stored, stored)

    @pytest.mark.parametrize("password", ["", "\0", "right\0", "\U0001f511", "x" * 4096])
    def test_odd_passwords_are_only_wrong(self, password: str) -> None:
        assert not matches(HASH, password)
        assert not matches(decoy_like(HASH), password)

    def test_a_decoy_takes_as_long(self) -> None:
        assert decoy_like(HASH).startswith("$2b$04$")
        assert decoy_like("").startswith("$argon2id$")

    def test_made_passwords_differ_and_are_long(self) -> None:
        assert len({make_password() for _ in range(10)}) == 10
        assert len(make_password()) >= 32


class TestHtpasswd:
    def test_users_are_lines(self) -> None:
        text = f"# people\r\n\r\nann:{HASH}\r\n  bob:{HASH}  \n"
        assert parse_htpasswd(text, "users") == {"ann": HASH, "bob": HASH}

    def test_every_mistake_is_told_with_its_line_and_without_the_hash(self) -> None:
        lines = [
            "ann",
            ":x",
            "bob:$apr1$secret",
            f"cid:{HASH}",
            f"cid:{HASH}",
            f"anonymous:{HASH}",
            f"dan:$2y$31${HASH[7:]}",
        ]
        with pytest.raises(DocumentError) as caught:
            parse_htpasswd("\n".join(lines), "users")
        assert [(problem.position.line, problem.message) for problem in caught.value.problems] == [
            (1, "expected USER:HASH"),
            (2, "expected USER:HASH"),
            (3, "the password of 'bob' is no bcrypt hash of 4 to 16 rounds"),
            (5, "user 'cid' is here twice"),
            (6, "no user can be called 'anonymous'"),
            (7, "the password of 'dan' is no bcrypt hash of 4 to 16 rounds"),
        ]
        assert "secret" not in caught.value.render()
        assert "htpasswd -B" in caught.value.render()

    def test_it_is_read_again_when_it_changes(self, tmp_path: Path) -> None:
        path = tmp_path / "users"
        path.write_text(f"ann:{HASH}\n")
        file = HtpasswdFile(path)
        assert file.find_password("ann") == HASH
        assert file.find_password("bob") is None
        path.write_text(f"bob:{HASH}\n")
        os.utime(path, ns=(1, 1))
        assert file.find_password("ann") is None
        assert file.find_password("bob") == HASH
        replacement = tmp_path / "new"
        replacement.write_text(f"cid:{HASH}\n")
        replacement.rename(path)
        assert file.find_password("cid") == HASH

    def test_when_it_is_spoilt_the_users_stay(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "users"
        path.write_text(f"ann:{HASH}\n")
        file = HtpasswdFile(path)
        path.write_text("ann:plain\n")
        assert file.find_password("ann") == HASH
        assert f"{path}:1:1: the password of 'ann'" in caplog.text
        path.unlink()
        assert file.find_password("ann") == HASH
        assert caplog.text.count("stays as it was") == 2
        path.write_text(f"bob:{HASH}\n")
        assert file.find_password("ann") is None

    @pytest.mark.parametrize("content", [None, b"\xff\xfe"])
    def test_one_that_cannot_be_read_at_first_is_an_error(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "users").write_bytes(content)
        with pytest.raises(DocumentError, match="users"):
            HtpasswdFile(tmp_path / "users")


class TestThrottle:
    def test_waiting_doubles_up_to_a_minute_and_is_forgotten(self) -> None:
        clock = Clock()
        throttle = Throttle(clock)
        waits = []
        for _ in range(13):
            throttle.record_failure("192.0.2.1", "ann")
            waits.append(throttle.seconds_to_wait("192.0.2.1", "ann"))
        assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
        clock.now += 30
        assert throttle.seconds_to_wait("192.0.2.1", "ann") == 30
        clock.now += 30
        assert throttle.seconds_to_wait("192.0.2.1", "ann") == 0
        clock.now += 900
        throttle.record_failure("192.0.2.1", "ann")
        assert throttle.seconds_to_wait("192.0.2.1", "ann") == 0

    def test_others_do_not_wait(self) -> None:
        throttle = Throttle(Clock())
        for _ in range(10):
            throttle.record_failure("192.0.2.1", "ann")
        assert throttle.seconds_to_wait("192.0.2.1", "bob") == 0
        assert throttle.seconds_to_wait("192.0.2.2", "ann") == 0
        assert throttle.seconds_to_wait("unix", "ann") == 0

    def test_trying_many_names_is_guessing_too(self) -> None:
        throttle = Throttle(Clock())
        for number in range(50):
            throttle.record_failure("192.0.2.1", f"user{number}")
        assert throttle.seconds_to_wait("192.0.2.1", "ann") > 0

    def test_ones_own_password_is_no_licence_to_guess(self) -> None:
        throttle = Throttle(Clock())
        for number in range(49):
            throttle.record_failure("192.0.2.1", f"user{number}")
            throttle.record_success("192.0.2.1", "mallory")
        throttle.record_failure("192.0.2.1", "another")
        assert throttle.seconds_to_wait("192.0.2.1", "ann") > 0

    def test_a_network_of_ipv6_is_one_and_an_ipv4_address_in_it_another(self) -> None:
        throttle = Throttle(Clock())
        for number in range(5):
            throttle.record_failure(f"2001:db8::{number}", "ann")
            throttle.record_failure("::ffff:192.0.2.1", "bob")
        assert throttle.seconds_to_wait("2001:db8::ffff", "ann") > 0
        assert throttle.seconds_to_wait("2001:db8:0:1::1", "ann") == 0
        assert throttle.seconds_to_wait("::ffff:192.0.2.2", "bob") == 0

    def test_its_memory_is_bounded(self) -> None:
        throttle = Throttle(Clock())
        for number in range(20_000):
            throttle.record_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "ann")
        assert len(throttle._failures) <= 8192


@dataclass
class People:
    """A Directory."""

    passwords: dict[str, str] = field(default_factory=lambda: {"ann": HASH})

    async def find_password(self, name: str) -> str | None:
        return self.passwords.get(name)

    def any_password(self) -> str | None:
        return HASH


class TestSignIn:
    async def test_what_was_right_is_remembered_for_a_minute(self) -> None:
        clock, people = Clock(), People()
        sign_in = SignIn(people, clock=clock)
        await sign_in.verify("ann", "right", "")
        assert len(sign_in._verified) == 1
        for seconds, known in ((59, True), (1, False)):
            clock.now += seconds
            assert sign_in._is_verified(next(iter(sign_in._verified))) is known
        assert b"right" not in next(iter(sign_in._verified))

    async def test_a_new_password_counts_at_once(self) -> None:
        people = People()
        sign_in = SignIn(people, clock=Clock())
        await sign_in.verify("ann", "right", "")
        people.passwords["ann"] = bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()
        with pytest.raises(Unauthorized):
            await sign_in.verify("ann", "right", "")
        people.passwords.clear()
        with pytest.raises(Unauthorized):
            await sign_in.verify("ann", "new", "")

    async def test_too_many_at_once_are_turned_away(self) -> None:
        sign_in = SignIn(People(), clock=Clock())
        tries = (sign_in.verify("ann", "right", f"10.0.0.{n}") for n in range(300))
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(result) for result in results} <= {str, TooManyAttempts}
        assert sign_in._waiting == 0

    @pytest.mark.parametrize("name", ["", "nobody", "x" * 10_000, "\0", "ann "])
    async def test_who_is_unknown_is_wrong(self, name: str) -> None:
        with pytest.raises(Unauthorized, match="the user or the password is wrong"):
            await SignIn(People(), clock=Clock()).verify(name, "right", "")


def tokens(key: Any = KEY, *, service: str = "registry", clock: Clock | None = None) -> Tokens:
    return Tokens(
        key,
        service=service,
        lifetime=timedelta(minutes=15),
        refresh_lifetime=timedelta(days=90),
        clock=clock or Clock(),
    )


def claims(**changes: object) -> dict[str, object]:
    now = int(Clock().now)
    return {"sub": "ann", "aud": "registry", "exp": now + 60, "access": [], **changes}


class TestTokens:
    def test_one_is_read_as_it_was_given(self) -> None:
        token = tokens().issue("ann", [PULL])
        assert (token.lifetime, token.issued_at) == (900, 1_800_000_000)
        holder = tokens().read(token.text)
        assert (holder.user, holder.scopes, holder.expires) == ("ann", (PULL,), 1_800_000_900)

    def test_it_names_its_key_and_algorithm(self) -> None:
        header = jwt.decode(tokens().issue("ann", []).text, KEY, algorithms=["ES256"]).header
        assert (header["alg"], header["kid"]) == ("ES256", KEY.thumbprint())

    def test_it_ends(self) -> None:
        clock = Clock()
        reader = tokens(clock=clock)
        token = reader.issue("ann", [PULL])
        clock.now += 899
        reader.read(token.text)
        clock.now += 1
        with pytest.raises(InvalidToken, match="expired"):
            reader.read(token.text)

    def test_those_of_others_are_refused(self) -> None:
        for other in (tokens(ECKey.generate_key("P-256")), tokens(service="another")):
            with pytest.raises(InvalidToken):
                tokens().read(other.issue("ann", [PULL]).text)
        with pytest.raises(InvalidToken):
            tokens().read(tokens().issue_refresh("ann", HASH))
        with pytest.raises(InvalidToken):
            tokens().read_refresh(tokens().issue("ann", [PULL]).text)

    def test_no_other_algorithm_is_believed(self) -> None:
        """Least of all one that takes the public key for a secret."""
        unsigned = jwt.encode({"alg": "HS256"}, claims(), OctKey.generate_key(256), algorithms=["HS256"])
        signed = unsigned.rpartition(".")[0]
        code = hmac.new(KEY.as_pem(private=False), signed.encode(), "sha256").digest()
        rsa = RSAKey.generate_key(2048)
        none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJhdWQiOiJyZWdpc3RyeSIsImV4cCI6MTkwMDAwMDAwMH0."
        for text in (
            none,
            f"{signed}.{base64.urlsafe_b64encode(code).decode().rstrip('=')}",
            jwt.encode({"alg": "RS256"}, claims(), rsa, algorithms=["RS256"]),
        ):
            with pytest.raises(InvalidToken):
                tokens().read(text)

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": ["registry"]},
            {"aud": None},
            {"exp": "never"},
            {"exp": 1e400},
            {"exp": True},
            {"sub": 1},
            {"access": {}},
            {"access": [{"type": "repository"}]},
            {"access": [{"type": "repository", "name": "a", "actions": "pull"}]},
        ],
    )
    def test_claims_of_another_shape_are_refused(self, changes: dict[str, object]) -> None:
        text = jwt.encode({"alg": "ES256"}, claims(**changes), KEY, algorithms=["ES256"])
        with pytest.raises(InvalidToken):
            tokens().read(text)

    def test_any_changed_byte_is_noticed(self) -> None:
        text = tokens().issue("ann", [PULL]).text
        head, body, signature = text.split(".")
        for changed in (f"{head}.{body}.", f"{head}.{body[:-1]}.{signature}", f"{head}.{body}.{signature[::-1]}"):
            with pytest.raises(InvalidToken):
                tokens().read(changed)

    @given(st.one_of(st.text(max_size=300), st.lists(st.text(string.ascii_letters + "-_=", max_size=50)).map(".".join)))
    def test_whatever_is_no_token_is_refused_as_one(self, text: str) -> None:
        for candidate in (text, f"eyJhbGciOiJFUzI1NiJ9.{text}", f"eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYjY0Il19.{text}"):
            with pytest.raises(InvalidToken):
                tokens().read(candidate)

    def test_a_refresh_token_is_for_one_password(self) -> None:
        user, is_of = tokens().read_refresh(tokens().issue_refresh("ann", HASH))
        assert user == "ann"
        assert is_of(HASH)
        assert not is_of(HASH + "x")


class TestKey:
    def test_it_is_made_once_and_belongs_to_the_registry_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "token.key"
        key = load_key(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert load_key(path).thumbprint() == key.thumbprint()
        assert [entry.name for entry in tmp_path.iterdir()] == ["token.key"]
        text = tokens(key).issue("ann", [PULL]).text
        assert tokens(load_key(path)).read(text).user == "ann"

    def test_of_several_that_begin_at_once_all_have_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "token.key"
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: load_key(path).thumbprint(), range(8)))
        assert len(set(found)) == 1

    def test_one_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "token.key"
        load_key(path)
        path.chmod(0o640)
        with pytest.raises(DocumentError, match="can be read by others"):
            load_key(path)

    def test_what_is_no_key_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "token.key"
        for content in (b"", b"nonsense", KEY.as_pem(private=False), ECKey.generate_key("P-384").as_pem()):
            path.write_bytes(content)
            path.chmod(0o600)
            with pytest.raises(DocumentError, match="holds no private key"):
                load_key(path)
        with pytest.raises(DocumentError, match="no such file"):
            load_key(tmp_path / "nowhere" / "token.key")


class TestHostile:
    """Whatever stands in Authorization: 401, never a 5xx, and others are served."""

    @pytest.fixture
    async def wire(self, tmp_path: Path) -> AsyncIterator[Guarded]:
        async with run_guarded(tmp_path / "r") as wire:
            yield wire

    @pytest.mark.parametrize(
        "header",
        [
            *("Basic", "Basic ", "Basic !", "Basic YQ==", "Basic ////", "basic  YTpi", "Basic YTpi YTpi", "Basic gICA"),
            *("Bearer", "Bearer ", "Bearer .", "Bearer ..", "Bearer a.b.c", "Bearer " + "a" * 7000, "Bearer a b"),
            *("Bearer eyJhbGciOiJub25lIn0.e30.", "Digest x", "x", "YW5uOng=", ",", "Bearer \xe4", "Basic \xff\xfe"),
            "Basic " + "QQ==" * 1500,
        ],
    )
    async def test_one_that_cannot_be_read_is_401(self, wire: Guarded, header: str) -> None:
        for path in ("/v2/", "/v2/a/manifests/1", "/token"):
            async with wire.connect() as line:
                request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n"
                await line.send(request.encode("latin-1"))
                status, headers, body = await line.read_answer()
            assert status == 401, body
            assert b'"UNAUTHORIZED"' in body
            assert headers["www-authenticate"]
        assert (await wire("GET", "/v2/", headers=basic("ann"))).status == 200

    async def test_a_header_of_any_size_is_refused(self, wire: Guarded) -> None:
        async with wire.connect() as line:
            await line.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % (b"a" * 100_000))
            assert (await line.read_answer())[0] in {400, 401, 431}

    async def test_two_headers_are_the_first(self, wire: Guarded) -> None:
        async with wire.connect() as line:
            good = basic("ann")["Authorization"]
            await line.send(
                f"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: x\r\nAuthorization: {good}\r\n\r\n".encode()
            )
            assert (await line.read_answer())[0] in {400, 401}

    async def test_tokens_of_others_are_401_with_the_reason(self, wire: Guarded) -> None:
        key = load_key(wire.folder / "data" / "token.key")
        clock = Clock()
        for other in (
            tokens(key, clock=Clock(now=1e9)),
            tokens(key, service="other", clock=clock),
            tokens(clock=clock),
        ):
            answer = await wire("GET", "/v2/", headers=bearer(other.issue("ann", []).text))
            assert answer.status == 401
            assert challenge_of(answer).parameters["error"] == "invalid_token"

    @pytest.mark.parametrize("scope", ["", ":", "::", "a" * 5000, "repository:%00:pull", "repository:a:pull" * 100])
    async def test_scopes_of_any_form_are_passed_over(self, wire: Guarded, scope: str) -> None:
        answer = await wire.ask(scope, headers=basic("ann"))
        assert answer.status == 200
        assert (await wire("GET", "/v2/", headers=bearer(answer.json["token"]))).status == 200


async def test_users_of_the_file_and_of_the_table_come_in(tmp_path: Path) -> None:
    """A name in both is the file's."""
    async with run_guarded(tmp_path / "r") as wire:
        async with open_index(tmp_path / "r" / "data") as index:
            assert await index.write(lambda queries: users.add_user(queries, "ann", hash_password("own"), now=1))
            assert await index.write(lambda queries: users.add_user(queries, "own", hash_password("own"), now=1))
        assert (await wire("GET", "/v2/", headers=basic("own", "own"))).status == 200
        assert (await wire("GET", "/v2/", headers=basic("ann"))).status == 200
        assert (await wire("GET", "/v2/", headers=basic("ann", "own"))).status == 401
        (wire.folder / "users").write_text(htpasswd(bob="x"))
        assert (await wire("GET", "/v2/", headers=basic("ann", "own"))).status == 200
