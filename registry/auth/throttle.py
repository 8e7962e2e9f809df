"""Guessing passwords made slow: whoever failed too often has to wait, each time twice as long.

What was refused by waiting counts as nothing: it says no more of the password than silence.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_FREE: Final = 5
"""Mistakes of one address with one name before it has to wait."""

_FREE_NAMES: Final = 50
"""Mistakes of one address with all names together: behind one address there may be many people."""

_LONGEST_SECONDS: Final = 60.0
_FORGOTTEN_SECONDS: Final = 15 * 60.0
_REMEMBERED: Final = 8192


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last: float = 0.0


class Throttle:
    """Failures by address and name, and by address. `clock` gives seconds, from any point in time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str | None], _Failures] = OrderedDict()

    def seconds_to_wait(self, address: str, name: str) -> float:
        """0 where a password may be tried."""
        if not self._failures:
            return 0.0
        network = _network_of(address)
        return max(self._wait((network, name), _FREE), self._wait((network, None), _FREE_NAMES))

    def record_failure(self, address: str, name: str) -> None:
        network = _network_of(address)
        for key in ((network, name), (network, None)):
            failures = self._recall(key) or _Failures()
            failures.count += 1
            failures.last = self._clock()
            self._failures[key] = failures
            self._failures.move_to_end(key)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def record_success(self, address: str, name: str) -> None:
        """The name's mistakes are forgotten. The address's are not: one's own password is no licence to guess."""
        self._failures.pop((_network_of(address), name), None)

    def _wait(self, key: tuple[str, str | None], free: int) -> float:
        failures = self._recall(key)
        if failures is None or failures.count < free:
            return 0.0
        delay = min(2.0 ** min(failures.count - free, 10), _LONGEST_SECONDS)
        return max(0.0, failures.last + delay - self._clock())

    def _recall(self, key: tuple[str, str | None]) -> _Failures | None:
        failures = self._failures.get(key)
        if failures is not None and self._clock() - failures.last > _FORGOTTEN_SECONDS:
            del self._failures[key]
            return None
        return failures


def _network_of(address: str) -> str:
    """Who has one address of IPv6 has 2**64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
