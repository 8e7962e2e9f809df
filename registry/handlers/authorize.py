"""The Gate as HTTP sees it: credentials in, challenges out, and calls made no larger than their caller's rights.

Every request for something that the caller may not have is refused before its body is read, and before anything is
looked up: the answer is the same whether there is such a repository or not.
"""

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from aiohttp import web

from layerkit.oci.errors import BlobUnknown, OCIError, Unauthorized
from layerkit.oci.reference import RepositoryName
from layerkit.oci.repository import Page, Registry, Repository
from layerkit.oci.request import ListRepositories, Request, StartUpload, scopes_of
from layerkit.oci.scope import Challenge, bearer_challenge
from registry.auth.errors import InsufficientScope, InvalidToken, TooManyAttempts
from registry.auth.gate import Caller, Gate
from registry.handlers.errors import error_response
from registry.handlers.proxies import Proxies

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path

_REASONS: Final = {InsufficientScope: "insufficient_scope", InvalidToken: "invalid_token"}
"""RFC 6750, section 3.1."""

_SCANNED: Final = 1000
"""Names of the catalog looked at in one go, for those that a caller may see."""

_MOST_SOURCES: Final = 16


_scopes_of = lru_cache(maxsize=1024)(scopes_of)
"""Clients make the same calls over and over; see `registry.handlers.dispatch`."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Admits callers to calls. `service` is the audience of its tokens."""

    gate: Gate
    service: str
    proxies: Proxies

    async def admit(self, http: web.BaseRequest, call: Request) -> Caller:
        """Whoever makes this call, and may. Raises Unauthorized, Denied, TooManyAttempts."""
        authorization = http.headers.get("Authorization", "")
        caller = self.gate.recall(authorization)
        if caller is None:
            caller = await self.gate.identify(authorization, self.proxies.client_address(http))
        self.gate.check(caller, _scopes_of(call))
        return caller

    def readmit(self, http: web.BaseRequest, call: Request) -> Caller | None:
        """Whoever makes this call, and may, where that is known already; None where `admit` is to be asked."""
        caller = self.gate.recall(http.headers.get("Authorization", ""))
        try:
            if caller is not None:
                self.gate.check(caller, _scopes_of(call))
        except OCIError:
            return None
        return caller

    def refuse(self, http: web.BaseRequest, call: Request, error: OCIError) -> web.Response:
        """The answer to who was not admitted. A 401 says where tokens are, in one header with one challenge: clients
        read no other."""
        response = error_response(error)
        if isinstance(error, Unauthorized):
            realm = f"{self.proxies.public_url(http)}{TOKEN_PATH}"
            challenge = bearer_challenge(
                realm=realm, service=self.service, scopes=scopes_of(call), error=_REASONS.get(type(error), "")
            )
            response.headers["WWW-Authenticate"] = str(challenge)
        return with_retry(response, error)

    def refuse_token(self, error: OCIError) -> web.Response:
        """The same for who asked for a token."""
        response = error_response(error)
        response.headers["Cache-Control"] = "no-store"
        if isinstance(error, Unauthorized):
            response.headers["WWW-Authenticate"] = str(Challenge("basic", {"realm": self.service}))
        return with_retry(response, error)

    async def narrow(self, caller: Caller, call: Request, registry: Registry) -> tuple[Request, Registry]:
        """The call and the registry as this caller has them."""
        if isinstance(call, ListRepositories) and not caller.rights.pulls_everything:
            return call, VisibleRegistry(registry, caller)
        if isinstance(call, StartUpload) and call.mount is not None:
            return await _narrow_mount(caller, call, registry), registry
        return call, registry


def with_retry(response: web.Response, error: OCIError) -> web.Response:
    """Says how long to wait, where the error does."""
    if isinstance(error, TooManyAttempts) and error.details:
        response.headers["Retry-After"] = str(error.details[0])
    return response


async def _narrow_mount(caller: Caller, call: StartUpload, registry: Registry) -> StartUpload:
    """A mount from where the caller may read, else a plain upload: distribution-spec has no other answer, and a 401
    would make clients give up."""
    assert call.mount is not None  # noqa: S101 - whoever calls has looked
    plain = msgspec.structs.replace(call, mount=None, source=None, algorithm=call.algorithm or call.mount.algorithm)
    if call.source is not None:
        return call if caller.may_pull(call.source) else plain
    if caller.readable is None:
        return call
    # Not from just anywhere: knowing a digest is no right to read.
    for name in caller.readable[:_MOST_SOURCES]:
        source = RepositoryName(name)
        try:
            await registry.repository(source).stat_blob(call.mount)
        except BlobUnknown:
            continue
        return msgspec.structs.replace(call, source=source)
    return plain


@dataclass(frozen=True, slots=True)
class VisibleRegistry:
    """A registry of which one caller's repositories are all that there is."""

    _registry: Registry
    _caller: Caller

    def repository(self, name: RepositoryName) -> Repository:
        return self._registry.repository(name)

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        if limit == 0:
            return Page(())
        found: list[RepositoryName] = []
        while True:
            page = await self._registry.list_repositories(limit=_SCANNED, last=last)
            found += [name for name in page.items if self._caller.may_see(name)]
            if limit is not None and len(found) > limit:
                return Page(tuple(found[:limit]), found[limit - 1])
            if page.last is None:
                return Page(tuple(found))
            last = page.last
            # Of a hundred thousand repositories others may have to wait for one page at most.
            await asyncio.sleep(0)
