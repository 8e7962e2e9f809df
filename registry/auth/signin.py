"""Signing in with a name and a password, without letting anybody guess many of them."""

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from layerkit.oci.errors import Unauthorized
from registry.auth.errors import TooManyAttempts
from registry.auth.password import decoy_like, matches
from registry.auth.throttle import Throttle

_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED: Final = 1024
_AT_ONCE: Final = 2
"""Comparisons in threads: each takes a core for a twentieth of a second or more, and 19 MiB with Argon2."""

_MOST_WAITING: Final = 200
_LONGEST_NAME: Final = 256
_LONGEST_PASSWORD: Final = 4096


class Directory(Protocol):
    """Who the users are."""

    async def find_password(self, name: str) -> str | None:
        """The hash of the password of `name`."""

    def any_password(self) -> str | None:
        """The hash of somebody's password, as an example of how they are kept."""


class SignIn:
    """Compares passwords. What was right is remembered for a minute, by a hash with a key that only this process has.

    `clock` gives seconds, from any point in time.
    """

    def __init__(self, directory: Directory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._throttle = Throttle(clock)
        self._decoy = decoy_like(directory.any_password() or "")
        self._secret = os.urandom(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def verify(self, name: str, password: str, address: str) -> str:
        """The hash that the password has. Raises Unauthorized, TooManyAttempts."""
        self._check_attempts(name, address)
        stored = await self._directory.find_password(name) if name and len(name) <= _LONGEST_NAME else None
        mark = self._mark(stored or "", name, password)
        if stored is not None and self._is_verified(mark):
            return stored
        if self._waiting >= _MOST_WAITING:
            raise TooManyAttempts("too many are signing in: try again", details=[1])
        # Who tries whether a request can be answered without waiting gives up here, before a thread has begun.
        await asyncio.sleep(0)
        self._waiting += 1
        try:
            async with self._slots:
                # While this one waited others may have tried the same password, or too many others.
                if stored is not None and self._is_verified(mark):
                    return stored
                self._check_attempts(name, address)
                is_right = len(password) <= _LONGEST_PASSWORD and await asyncio.to_thread(
                    matches, stored or self._decoy, password
                )
        finally:
            self._waiting -= 1
        if stored is None or not is_right:
            self._throttle.record_failure(address, name[:_LONGEST_NAME])
            raise Unauthorized("the user or the password is wrong")
        self._throttle.record_success(address, name)
        self._remember(mark)
        return stored

    def _check_attempts(self, name: str, address: str) -> None:
        seconds = self._throttle.seconds_to_wait(address, name[:_LONGEST_NAME])
        if seconds > 0:
            raise TooManyAttempts(details=[int(seconds) + 1])

    def _mark(self, stored: str, name: str, password: str) -> bytes:
        # With the stored hash: a new password, or a user who is gone, is no longer what was verified.
        text = f"{stored}\0{name}\0{password}".encode(errors="surrogatepass")
        return hashlib.blake2b(text, key=self._secret, digest_size=32).digest()

    def _is_verified(self, mark: bytes) -> bool:
        return self._verified.get(mark, 0.0) > self._clock()

    def _remember(self, mark: bytes) -> None:
        self._verified[mark] = self._clock() + _REMEMBERED_SECONDS
        self._verified.move_to_end(mark)
        while len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
