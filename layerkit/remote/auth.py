"""How to answer a registry's challenges: a conversation without I/O.

`Authenticator.converse` is a generator: it yields a Call, is sent the Reply, and returns the last Reply. Whoever
drives it makes the HTTP requests. Sources: distribution, docs/content/spec/auth/token.md and oauth.md.
"""

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from layerkit.oci.codec import decode_json
from layerkit.oci.errors import Denied, OCIError, Unauthorized
from layerkit.oci.scope import Challenge, Scope, parse_challenges

CLIENT_ID: Final = "layerkit"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and password, or an identity token, which is a refresh token that stands for both, or a bearer token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request to make. For the one that the conversation is about `url` is empty: only headers are added."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `body` may be empty where nobody needs it."""

    status: int
    challenges: str = ""
    body: bytes = b""


Conversation = Generator[Call, Reply, Reply]


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class Authenticator:
    """Remembers what one registry wants, and the tokens it gave, by scope."""

    def __init__(self, registry: str, credentials: Credentials | None, *, allow_http: bool) -> None:
        self._registry = registry
        self._credentials = credentials
        self._allow_http = allow_http
        self._basic = False
        self._tokens: dict[frozenset[Scope], str] = {}

    def converse(self, scopes: frozenset[Scope]) -> Conversation:
        """Make one call, with a token for these scopes when the registry asks for one.

        Raises Unauthorized where the credentials do not satisfy it.
        """
        reply = yield Call(headers=self._known_headers(scopes))
        if reply.status != 401:
            return reply
        self._tokens = {granted: token for granted, token in self._tokens.items() if not _covers(granted, scopes)}
        for challenge in parse_challenges(reply.challenges):
            if challenge.scheme == "bearer":
                token = yield from self._fetch_token(challenge, scopes)
                self._tokens[scopes] = token
                return (yield Call(headers={"Authorization": f"Bearer {token}"}))
            if challenge.scheme == "basic" and self._credentials is not None and not self._basic:
                self._basic = True
                return (yield Call(headers=self._known_headers(scopes)))
        return reply

    def _known_headers(self, scopes: frozenset[Scope]) -> dict[str, str]:
        if self._credentials is not None and self._credentials.registry_token:
            return {"Authorization": f"Bearer {self._credentials.registry_token}"}
        if self._basic and self._credentials is not None:
            return {"Authorization": _basic(self._credentials)}
        token = next((token for granted, token in self._tokens.items() if _covers(granted, scopes)), None)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _fetch_token(self, challenge: Challenge, scopes: frozenset[Scope]) -> Generator[Call, Reply, str]:
        realm = challenge.parameters.get("realm", "")
        scheme = urlsplit(realm).scheme
        if scheme != "https" and not (scheme == "http" and self._allow_http):
            raise Unauthorized(f"{self._registry} sends us for a token to {realm!r}: refused, because it is not https")
        wanted = {str(scope) for scope in scopes} | set(challenge.parameters.get("scope", "").split())
        service = challenge.parameters.get("service", "")
        reply = yield self._token_call(realm, service, sorted(wanted))
        if reply.status in {401, 403}:
            who = self._credentials.username if self._credentials else ""
            raise Unauthorized(
                f"{self._registry} does not accept the credentials of {who or 'the identity token'}: log in again"
                if self._credentials
                else f"{self._registry} wants credentials: log in first (docker login {self._registry})"
            )
        if reply.status != 200:
            raise OCIError(f"{self._registry}: the token service {realm} answered with HTTP status {reply.status}")
        try:
            answer = decode_json(reply.body, _Token)
        except ValueError as error:
            raise OCIError(f"{self._registry}: the token service {realm} answered with no token: {error}") from error
        token = answer.token or answer.access_token
        if not token:
            raise Denied(f"{self._registry}: the token service {realm} gave an empty token")
        return token

    def _token_call(self, realm: str, service: str, scopes: list[str]) -> Call:
        credentials = self._credentials
        if credentials is not None and credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": CLIENT_ID,
                "scope": " ".join(scopes),
                "refresh_token": credentials.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return Call("POST", realm, headers, urlencode(form).encode())
        pairs = [("service", service)] if service else []
        pairs += [("scope", scope) for scope in scopes]
        if credentials is not None:
            pairs.append(("account", credentials.username))
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(pairs)}" if pairs else realm
        return Call("GET", url, {"Authorization": _basic(credentials)} if credentials else {})


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _covers(granted: frozenset[Scope], wanted: frozenset[Scope]) -> bool:
    return all(any(scope.covers(other) for scope in granted) for other in wanted)
