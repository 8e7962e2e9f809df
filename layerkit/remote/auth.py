"""How to answer a registry's challenges: a conversation without I/O.

`Authenticator.converse` is a generator: it yields a Call, is sent the Reply, and returns the last Reply. Whoever
drives it makes the HTTP requests. Sources: distribution, docs/content/spec/auth/token.md and oauth.md.
"""

import base64
import math
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from layerkit.oci.codec import decode_json
from layerkit.oci.errors import Denied, OCIError, Unauthorized
from layerkit.oci.scope import Challenge, Scope, parse_challenges

CLIENT_ID: Final = "layerkit"

# RFC 6750, section 2.1, and what else some services make their tokens of: any visible character.
_SENDABLE: Final = re.compile(r"[!-~]+\Z")

_NO_POST: Final = frozenset({400, 401, 404, 405})
"""What services that know no POST answer to it, each of them another status (containerd found out which)."""

_LIFETIME: Final = 60.0
"""Seconds that a token lasts where the service does not say (distribution, token.md, `expires_in`)."""

_LONGEST: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and password, or an identity token, which is a refresh token that stands for both, or a bearer token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def has_password(self) -> bool:
        """Whether they can be sent as Basic: the tokens are something else."""
        return bool(self.username and not self.identity_token) or bool(self.password)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request to make. For the one that the conversation is about `url` is empty: only headers are added."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `body` may be empty where nobody needs it."""

    status: int
    challenges: str = ""
    body: bytes = field(default=b"", repr=False)


Conversation = Generator[Call, Reply, Reply]


class _Answer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    # Whatever it is: a service that is wrong about this gives a token all the same.
    expires_in: Any = None


class _Refusal(msgspec.Struct):
    error: Any = None


@dataclass(frozen=True, slots=True)
class _Token:
    """`until` when, by our clock, it is better not used any more."""

    text: str = field(repr=False)
    until: float


class Authenticator:
    """Remembers what one registry wants, and the tokens it gave, by scope."""

    def __init__(
        self,
        registry: str,
        credentials: Credentials | None,
        *,
        allow_http: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._credentials = credentials
        self.allow_http = allow_http
        self._clock = clock
        self._basic = False
        self._posts = True
        self._service: Challenge | None = None
        self._tokens: dict[frozenset[Scope], _Token] = {}

    @property
    def has_credentials(self) -> bool:
        return self._credentials is not None

    @property
    def has_answered(self) -> bool:
        """Whether a challenge was answered."""
        return self._basic or self._service is not None

    def introduce(self, credentials: Credentials | None) -> None:
        """Who we are, where that is only known after the beginning."""
        self._credentials = credentials

    def is_ready(self, scopes: frozenset[Scope]) -> bool:
        """Whether a conversation begins with the call that it is about, and not with one for a token."""
        return self._service is None or bool(self._headers(scopes))

    def converse(self, scopes: frozenset[Scope]) -> Conversation:
        """Make one call, with a token for these scopes when the registry asks for one.

        Where the registry refuses what it was given, the last Reply says so. Raises Unauthorized where the token
        service does.
        """
        if self._service is not None and not self._headers(scopes):
            # It asked before, and will ask again: a body need not be sent in vain.
            yield from self._obtain_token(self._service, scopes)
        headers = self._headers(scopes)
        reply = yield Call(headers=headers)
        self._forget_refused(headers, reply)
        if reply.status == 401 and self._headers(scopes) not in ({}, headers):
            # Another conversation has found out meanwhile.
            headers = self._headers(scopes)
            reply = yield Call(headers=headers)
            self._forget_refused(headers, reply)
        if reply.status != 401 or (self._credentials is not None and self._credentials.registry_token):
            return reply
        for challenge in parse_challenges(reply.challenges):
            if challenge.scheme == "bearer":
                headers = yield from self._obtain_token(challenge, scopes)
                reply = yield Call(headers=headers)
                self._forget_refused(headers, reply)
                return reply
            if challenge.scheme == "basic" and not self._basic and self._credentials and self._credentials.has_password:
                self._basic = True
                return (yield Call(headers=self._headers(scopes)))
        return reply

    def _headers(self, scopes: frozenset[Scope]) -> dict[str, str]:
        """What is known to be wanted."""
        if self._credentials is not None and self._credentials.registry_token:
            return {"Authorization": f"Bearer {self._credentials.registry_token}"}
        if self._basic and self._credentials is not None:
            return {"Authorization": _basic(self._credentials)}
        now = self._clock()
        good = (token for granted, token in self._tokens.items() if now < token.until and _covers(granted, scopes))
        return next(({"Authorization": f"Bearer {token.text}"} for token in good), {})

    def _forget_refused(self, headers: Mapping[str, str], reply: Reply) -> None:
        refused = headers.get("Authorization", "").removeprefix("Bearer ")
        if reply.status == 401:
            self._tokens = {granted: token for granted, token in self._tokens.items() if token.text != refused}

    def _obtain_token(self, challenge: Challenge, scopes: frozenset[Scope]) -> Generator[Call, Reply, dict[str, str]]:
        """The headers with a new token, which is remembered with whoever gave it."""
        asked = self._clock()
        answer = yield from self._fetch_token(challenge, scopes)
        lifetime = answer.expires_in
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not math.isfinite(lifetime):
            lifetime = _LIFETIME
        lifetime = min(lifetime, _LONGEST) if lifetime > 0 else _LIFETIME
        token = _Token(answer.token or answer.access_token or "", asked + lifetime - min(lifetime / 4, 30.0))
        self._tokens = {granted: other for granted, other in self._tokens.items() if asked < other.until}
        self._tokens[scopes] = token
        known = {name: challenge.parameters[name] for name in ("realm", "service") if name in challenge.parameters}
        self._service = Challenge(challenge.scheme, known)
        return {"Authorization": f"Bearer {token.text}"}

    def _fetch_token(self, challenge: Challenge, scopes: frozenset[Scope]) -> Generator[Call, Reply, _Answer]:
        realm = challenge.parameters.get("realm", "")
        scheme = _scheme_of(realm)
        if scheme != "https" and not (scheme == "http" and self.allow_http):
            raise Unauthorized(f"{self._registry} sends us for a token to {realm!r}: refused, because it is not https")
        wanted = {str(scope) for scope in scopes} | set(challenge.parameters.get("scope", "").split())
        service = challenge.parameters.get("service", "")
        reply = Reply(404)
        for call in self._token_calls(realm, service, sorted(wanted)):
            reply = yield call
            if call.method == "GET" or reply.status not in _NO_POST or _is_refusal(reply):
                break
            self._posts = False
        has_identity = self._credentials is not None and bool(self._credentials.identity_token)
        if reply.status in {401, 403} or (reply.status == 400 and has_identity) or _is_refusal(reply):
            who = self._credentials.username if self._credentials else ""
            raise Unauthorized(
                f"{self._registry} does not accept the credentials of {who or 'the identity token'}: log in again"
                if self._credentials
                else f"{self._registry} wants credentials: log in first (layerkit login {self._registry})"
            )
        if reply.status != 200:
            raise service_failed(self._registry, realm, reply.status)
        try:
            answer = decode_json(reply.body, _Answer)
        except ValueError as error:
            raise OCIError(f"{self._registry}: the token service {realm} answered with no token: {error}") from error
        token = answer.token or answer.access_token or ""
        if not token:
            raise Denied(f"{self._registry}: the token service {realm} gave an empty token")
        if not _SENDABLE.match(token):
            raise OCIError(f"{self._registry}: the token service {realm} gave a token that cannot be sent in a header")
        return answer

    def _token_calls(self, realm: str, service: str, scopes: list[str]) -> Iterator[Call]:
        """The ways to ask for a token, each for when the one before it is not known there: OAuth2's POST, the GET."""
        credentials = self._credentials
        if credentials is not None and (credentials.identity_token or (credentials.has_password and self._posts)):
            form = {"service": service, "client_id": CLIENT_ID, "scope": " ".join(scopes)}
            if credentials.identity_token:
                form |= {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
            else:
                form |= {
                    "grant_type": "password",
                    "username": credentials.username,
                    "password": credentials.password,
                }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            yield Call("POST", realm, headers, urlencode(form).encode())
        pairs = [("service", service)] if service else []
        pairs += [("scope", scope) for scope in scopes]
        if credentials is None or not (credentials.has_password or credentials.identity_token):
            yield Call("GET", _with_query(realm, pairs))
        elif credentials.has_password:
            pairs.append(("account", credentials.username))
            yield Call("GET", _with_query(realm, pairs), {"Authorization": _basic(credentials)})


def service_failed(registry: str, realm: str, status: int) -> OCIError:
    """The token service's answer is neither a token nor a refusal."""
    return OCIError(f"{registry}: the token service {realm} answered with HTTP status {status}")


def _is_refusal(reply: Reply) -> bool:
    """Whether a POST was understood and refused: `invalid_grant` is of OAuth2 (RFC 6749, section 5.2)."""
    if reply.status not in {400, 401}:
        return False
    try:
        return bool(decode_json(reply.body, _Refusal).error == "invalid_grant")
    except ValueError:
        return False


def _scheme_of(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


def _with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}" if pairs else url


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _covers(granted: frozenset[Scope], wanted: frozenset[Scope]) -> bool:
    return all(any(scope.covers(other) for scope in granted) for other in wanted)
