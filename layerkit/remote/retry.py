"""Trying again: which failures pass, how long to wait for that, and when to give up.

The waits grow and are random ("full jitter"), so that many clients of one registry do not come back all at once; where
the registry says when to come back (`Retry-After`) it decides. Nothing here knows of HTTP requests.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from layerkit.oci.errors import OCIError

PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses of a server that may answer otherwise when it is asked again."""

_MOST_DIGITS: Final = 9


class Transient(Exception):
    """A failure that may have passed at the next attempt, but for which `error` would be raised.

    `reason` is what happened, in a few words; `after` are the seconds that the registry wants us to wait.
    """

    def __init__(self, error: OCIError, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason
        self.after = after


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long one operation goes on: `attempts` that fail one after the other, and `budget` seconds of waiting in
    all. The n-th wait is a random part of `first * 2**n` seconds, and never more than of `most`. `stall` is how long
    the other side of a connection may neither send nor take anything."""

    attempts: int = 6
    first: float = 0.5
    most: float = 20.0
    budget: float = 120.0
    stall: float = 120.0


def _chance() -> float:
    import random  # noqa: PLC0415 - few requests fail

    return random.random()  # noqa: S311 - nothing secret


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The clocks and the chance that there are; tests have others. `clock` only ever grows, `today` is since 1970."""

    clock: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = _chance


PATIENT: Final = Patience()
HASTY: Final = Patience(attempts=2, first=0.2, budget=5.0, stall=30.0)
"""For what there is a better place to ask, if it fails."""
REAL: Final = Timing()


class Attempts:
    """Those of one operation. `note` hears the reason of each wait before it begins."""

    def __init__(self, patience: Patience, timing: Timing, note: Callable[[str], None]) -> None:
        self._patience = patience
        self._timing = timing
        self._note = note
        self._in_a_row = 0
        self._waited = 0.0
        self.failed = False

    async def wait(self, trouble: Transient) -> None:
        """Return when it is time for the next attempt. Raises the trouble's error where there is none."""
        self.failed = True
        self._in_a_row += 1
        delay = trouble.after
        if delay is None:
            delay = self._timing.chance() * min(self._patience.most, self._patience.first * 2**self._in_a_row)
        error = trouble.error
        if self._in_a_row < self._patience.attempts and self._waited + delay > self._patience.budget and trouble.after:
            told = f"{error.message} (it wants us to come back in {trouble.after:.0f} s)"
            raise type(error)(told, details=error.details) from trouble.__cause__
        if self._in_a_row >= self._patience.attempts or self._waited + delay > self._patience.budget:
            raise error from trouble.__cause__
        self._waited += delay
        self._note(trouble.reason)
        await self._timing.sleep(delay)

    def progressed(self) -> None:
        """The last attempt came to something: the next failure is the first in a row again."""
        self._in_a_row = 0


def parse_retry_after(header: str | None, now: float) -> float | None:
    """Seconds to wait, of a number or of a date (RFC 9110, section 10.2.3); None where it is neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else float("inf")
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - hardly ever

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
