"""The Gate: every request goes through it, and comes out with a Caller, or does not come out.

It knows nothing of HTTP but what stands in an Authorization header.
"""

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from layerkit.oci.errors import Denied, Unauthorized
from layerkit.oci.scope import Scope, repository_scope
from registry.auth.errors import InsufficientScope, InvalidToken
from registry.policy.access import ANONYMOUS, Access, Action, Rights

if TYPE_CHECKING:
    # Their libraries take a fifth of a second to import: only a registry with users does.
    from registry.auth.signin import Directory, SignIn
    from registry.auth.token import Token, Tokens

_REMEMBERED_TOKENS: Final = 2048


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `granted` is what a token allows, None where there is no token and the rules decide."""

    name: str
    rights: Rights
    granted: tuple[Scope, ...] | None = None

    def may(self, scope: Scope) -> bool:
        if self.granted is None:
            return self.rights.permit(scope)
        return any(granted.covers(scope) for granted in self.granted)

    def may_pull(self, repository: str) -> bool:
        return self.may(repository_scope(repository, "pull"))

    def may_see(self, repository: str) -> bool:
        """Whether the repository stands in this caller's catalog, which is the user's, whatever else a token allows."""
        return Action.PULL in self.rights.actions_in(repository)

    @property
    def readable(self) -> tuple[str, ...] | None:
        """The repositories that this caller may certainly read from, None for all of them."""
        if self.granted is not None:
            found = (scope for scope in self.granted if scope.covers(repository_scope(scope.name, "pull")))
            return tuple(scope.name for scope in found)
        return None if self.rights.pulls_everything else ()


class Gate:
    """Tells who somebody is, whether that is enough, and gives tokens. `clock` is in seconds since 1970."""

    def __init__(
        self,
        access: Access,
        directory: "Directory",
        sign_in: "SignIn",
        tokens: "Tokens",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._access = access
        self._directory = directory
        self._sign_in = sign_in
        self._tokens = tokens
        self._clock = clock
        self._nobody = Caller(ANONYMOUS, access.rights_of(ANONYMOUS))
        # By the whole header: finding it costs a hundredth of verifying a signature.
        self._known: OrderedDict[str, tuple[int, Caller]] = OrderedDict()
        # Of those alone whose password was right, so there are not more of them than users.
        self._users: dict[str, Caller] = {}

    def recall(self, authorization: str) -> Caller | None:
        """Whoever came with this header before, if that still holds: `identify` without the wait."""
        if not authorization:
            return self._nobody
        known = self._known.get(authorization)
        return known[1] if known is not None and known[0] > self._clock() else None

    async def identify(self, authorization: str, address: str) -> Caller:
        """Raises Unauthorized, InvalidToken, TooManyAttempts."""
        known = self.recall(authorization)
        if known is not None:
            return known
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            name = await self.sign_in(authorization, address)
            return self._nobody if name == ANONYMOUS else self._user(name)
        holder = self._tokens.read(given.strip())
        caller = Caller(holder.user, self._access.rights_of(holder.user), holder.scopes)
        self._known[authorization] = holder.expires, caller
        while len(self._known) > _REMEMBERED_TOKENS:
            self._known.popitem(last=False)
        return caller

    def _user(self, name: str) -> Caller:
        caller = self._users.get(name)
        if caller is None:
            caller = self._users[name] = Caller(name, self._access.rights_of(name))
        return caller

    def check(self, caller: Caller, scopes: Sequence[Scope]) -> None:
        """Whether `caller` may have all of `scopes`; with none of them, whether it has come in at all.

        Raises Unauthorized where signing in could help, InsufficientScope where another token could, Denied where
        nothing will. None of them says whether a repository exists.
        """
        if caller is self._nobody and not scopes:
            # Also where the anonymous may pull: docker learns of tokens nowhere else.
            raise Unauthorized
        missing = next((scope for scope in scopes if not caller.may(scope)), None)
        if missing is None:
            return
        if caller.granted is not None:
            raise InsufficientScope
        if caller.name == ANONYMOUS:
            raise Unauthorized
        raise Denied(
            f"user {caller.name} may not {' and '.join(sorted(missing.actions))} {missing.type} {missing.name}"
        )

    async def sign_in(self, authorization: str, address: str) -> str:
        """The user of Basic credentials; the anonymous for none, or for empty ones. Raises Unauthorized,
        TooManyAttempts."""
        if not authorization:
            return ANONYMOUS
        name, password = _parse_basic(authorization)
        if not name and not password:
            # What containers/image sends when it has nothing to send.
            return ANONYMOUS
        await self._sign_in.verify(name, password, address)
        return name

    async def sign_in_with(self, name: str, password: str, address: str) -> str:
        """The user of a name and a password. Raises Unauthorized, TooManyAttempts."""
        await self._sign_in.verify(name, password, address)
        return name

    async def resume(self, refresh_token: str) -> str:
        """The user of a refresh token. Raises InvalidToken, also where the user is gone or has a new password."""
        user, is_of = self._tokens.read_refresh(refresh_token)
        stored = await self._directory.find_password(user)
        if stored is None or not is_of(stored):
            raise InvalidToken("the refresh token is no longer valid: log in again")
        return user

    def issue(self, user: str, scopes: Sequence[Scope]) -> "Token":
        """A token for what `user` may have of `scopes`. Raises Unauthorized for the anonymous without any rights."""
        rights = self._access.rights_of(user)
        if not rights.has_any:
            raise Unauthorized
        return self._tokens.issue(user, rights.grant(scopes))

    async def issue_refresh(self, user: str) -> str | None:
        """None for who has no password."""
        stored = None if user == ANONYMOUS else await self._directory.find_password(user)
        return None if stored is None else self._tokens.issue_refresh(user, stored)


def _parse_basic(authorization: str) -> tuple[str, str]:
    """Name and password (RFC 7617). Raises Unauthorized."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Unauthorized("the Authorization header is neither Basic nor Bearer")
    try:
        name, colon, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise Unauthorized("the Authorization header's Basic credentials cannot be read")
    return name, password
