"""Tokens: what somebody may do, signed, so that no worker has to ask another one.

Source: distribution, docs/content/spec/auth/jwt.md. A refresh token stands for a user and password: it is for another
audience, and holds a fingerprint of the password's hash, so that a new password ends it.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from layerkit.document.problem import DocumentError, Position, Problem
from layerkit.files import sync_folder
from layerkit.oci.scope import Scope
from registry.auth.errors import InvalidToken

ALGORITHM: Final = "ES256"
_ALGORITHMS: Final = [ALGORITHM]
"""The only one that is accepted: what a token says of itself is not asked."""

_CURVE: Final = "P-256"
_NO_KEY: Final = f"holds no private key of the curve {_CURVE}", "remove it: a new one is made"

_LONGEST: Final = 8192
_MOST_SCOPE_BYTES: Final = 4096
"""Of a token's scopes as JSON: HTTP servers, ours included, take headers of 8 KiB."""


class _Access(msgspec.Struct, frozen=True):
    type: str
    name: str
    actions: list[str]


class _Claims(msgspec.Struct, frozen=True):
    aud: str
    sub: str
    exp: int
    access: list[_Access] = []
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token to hand out: `lifetime` in seconds, `issued_at` in seconds since 1970."""

    text: str
    lifetime: int
    issued_at: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a token was given to, what it allows, and until when, in seconds since 1970."""

    user: str
    scopes: tuple[Scope, ...]
    expires: int


class Tokens:
    """Signs and verifies tokens of one service with one key."""

    def __init__(
        self, key: ECKey, *, service: str, lifetime: timedelta, refresh_lifetime: timedelta, clock: Callable[[], float]
    ) -> None:
        self._key = key
        self._header = {"alg": ALGORITHM, "kid": key.thumbprint()}
        self._service = service
        self._lifetime = int(lifetime.total_seconds())
        self._refresh_lifetime = int(refresh_lifetime.total_seconds())
        self._clock = clock
        self._fingerprint_key = hashlib.sha256(b"fingerprint\0" + key.as_der(private=True)).digest()

    def issue(self, user: str, scopes: Sequence[Scope]) -> Token:
        """A token for `user` to do what is in `scopes`; of very many as many as fit."""
        now = int(self._clock())
        text = self._sign(user, self._service, now, self._lifetime, access=_to_access(scopes))
        return Token(text, self._lifetime, now)

    def read(self, text: str) -> Holder:
        """Raises InvalidToken."""
        claims = self._verify(text, self._service)
        scopes = tuple(Scope(entry.type, entry.name, frozenset(entry.actions)) for entry in claims.access)
        return Holder(claims.sub, scopes, claims.exp)

    def issue_refresh(self, user: str, stored: str) -> str:
        """A refresh token for `user`, whose password has the hash `stored`."""
        now = int(self._clock())
        return self._sign(
            user, self._refresh_audience, now, self._refresh_lifetime, fingerprint=self._fingerprint(stored)
        )

    def read_refresh(self, text: str) -> tuple[str, Callable[[str], bool]]:
        """The user, and whether a password's hash is the one that it was given for. Raises InvalidToken."""
        claims = self._verify(text, self._refresh_audience)
        return claims.sub, lambda stored: hmac.compare_digest(self._fingerprint(stored), claims.fingerprint)

    @property
    def _refresh_audience(self) -> str:
        return f"{self._service} refresh"

    def _sign(self, user: str, audience: str, now: int, lifetime: int, **claims: object) -> str:
        common = {"iss": self._service, "sub": user, "aud": audience, "iat": now, "nbf": now, "exp": now + lifetime}
        unique = {"jti": secrets.token_hex(8)}
        return jwt.encode(self._header, {**common, **unique, **claims}, self._key, algorithms=_ALGORITHMS)

    def _verify(self, text: str, audience: str) -> _Claims:
        if len(text) > _LONGEST:
            raise InvalidToken
        try:
            claims = msgspec.convert(jwt.decode(text, self._key, algorithms=_ALGORITHMS).claims, _Claims)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidToken from error
        if claims.aud != audience:
            raise InvalidToken("the token is for another service")
        if claims.exp <= self._clock():
            raise InvalidToken("the token has expired")
        return claims

    def _fingerprint(self, stored: str) -> str:
        return hmac.new(self._fingerprint_key, stored.encode(), "sha256").hexdigest()[:32]


def load_key(path: Path) -> ECKey:
    """The key in the file `path`, which is made where it does not exist: it belongs to the registry alone.

    Raises DocumentError where it cannot be used.
    """
    try:
        if not path.exists():
            _create_key(path)
        if path.stat().st_mode & 0o077:
            raise _key_problem(path, "can be read by others", f"chmod 600 {path}, or remove it: a new one is made")
        key = ECKey.import_key(path.read_bytes())
    except OSError as error:
        raise _key_problem(path, f"cannot be used: {(error.strerror or str(error)).lower()}") from error
    except (JoseError, ValueError, TypeError) as error:
        raise _key_problem(path, *_NO_KEY) from error
    if not key.is_private or key.curve_name != _CURVE:
        raise _key_problem(path, *_NO_KEY)
    return key


def _create_key(path: Path) -> None:
    """Several workers may do this at once: the first one's key counts."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(ECKey.generate_key(_CURVE).as_pem(private=True))
            file.flush()
            os.fsync(fd)
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def _key_problem(path: Path, message: str, hint: str = "") -> DocumentError:
    return DocumentError([Problem(Position(str(path)), message, hint=hint)])


def _to_access(scopes: Sequence[Scope]) -> list[dict[str, Any]]:
    access: list[dict[str, Any]] = []
    size = 0
    for scope in scopes:
        entry = {"type": scope.type, "name": scope.name, "actions": sorted(scope.actions)}
        size += len(msgspec.json.encode(entry)) + 1
        if size > _MOST_SCOPE_BYTES:
            break
        access.append(entry)
    return access
