"""How to answer a registry's challenges: a conversation without I/O.

`Authenticator.converse` is a generator: it yields a Call, is sent the Reply, and returns the last Reply. Whoever
drives it makes the HTTP requests. Sources: distribution, docs/content/spec/auth/token.md and oauth.md.
"""

import base64
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from layerkit.oci.codec import decode_json
from layerkit.oci.errors import Denied, OCIError, Unauthorized
from layerkit.oci.scope import Challenge, Scope, parse_challenges

CLIENT_ID: Final = "layerkit"

# RFC 6750, section 2.1, and what else some services make their tokens of: any visible character.
_SENDABLE: Final = re.compile(r"[!-~]+\Z")


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
    token: str | None = None
    access_token: str | None = None


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

        Where the registry refuses what it was given, the last Reply says so. Raises Unauthorized where the token
        service does.
        """
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
                self._tokens[scopes] = yield from self._fetch_token(challenge, scopes)
                headers = {"Authorization": f"Bearer {self._tokens[scopes]}"}
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
        token = next((token for granted, token in self._tokens.items() if _covers(granted, scopes)), None)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _forget_refused(self, headers: Mapping[str, str], reply: Reply) -> None:
        refused = headers.get("Authorization", "").removeprefix("Bearer ")
        if reply.status == 401:
            self._tokens = {granted: token for granted, token in self._tokens.items() if token != refused}

    def _fetch_token(self, challenge: Challenge, scopes: frozenset[Scope]) -> Generator[Call, Reply, str]:
        realm = challenge.parameters.get("realm", "")
        scheme = _scheme_of(realm)
        if scheme != "https" and not (scheme == "http" and self._allow_http):
            raise Unauthorized(f"{self._registry} sends us for a token to {realm!r}: refused, because it is not https")
        wanted = {str(scope) for scope in scopes} | set(challenge.parameters.get("scope", "").split())
        service = challenge.parameters.get("service", "")
        reply = yield self._token_call(realm, service, sorted(wanted))
        # An identity token that has expired is a 400 (RFC 6749, section 5.2, invalid_grant).
        has_identity = self._credentials is not None and bool(self._credentials.identity_token)
        if reply.status in {401, 403} or (reply.status == 400 and has_identity):
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
        token = answer.token or answer.access_token or ""
        if not token:
            raise Denied(f"{self._registry}: the token service {realm} gave an empty token")
        if not _SENDABLE.match(token):
            raise OCIError(f"{self._registry}: the token service {realm} gave a token that cannot be sent in a header")
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
        if credentials is None or not credentials.has_password:
            return Call("GET", _with_query(realm, pairs))
        pairs.append(("account", credentials.username))
        return Call("GET", _with_query(realm, pairs), {"Authorization": _basic(credentials)})


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
