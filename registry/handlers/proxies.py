"""Who asks, and how this server looks from there: as trusted proxies tell it, and nobody else.

Sources: RFC 7239 (Forwarded), and the X-Forwarded-* headers by which proxies told it before.
"""

import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

logger = logging.getLogger(__name__)

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_PAIR: Final = re.compile(r"\s*([A-Za-z]+)=(?:\"([^\"]*)\"|([^\s;,\"]*))\s*(?:;|\Z)")
_DEFAULT_PORTS: Final[Mapping[str, str]] = {"http": "80", "https": "443"}


class Proxies:
    """`trusted` are networks. `public_url` is what clients call this server, where that is known for certain."""

    def __init__(self, trusted: Sequence[str] = (), *, public_url: str = "") -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]
        self._public_url = public_url.rstrip("/")
        self._has_warned = False

    def client_address(self, http: web.BaseRequest) -> str:
        """The peer's, or what a trusted proxy says of its own."""
        peer = http.remote or ""
        if not self._trusted or not self._is_trusted(peer):
            return peer
        forwarded = ",".join(http.headers.getall("X-Forwarded-For", ()))
        for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
            if not self._is_trusted(hop):
                return hop[:64]
        return peer

    def public_url(self, http: web.BaseRequest) -> str:
        """`https://registry.example`, with a port and a prefix where there are some, and no slash at the end."""
        if self._public_url:
            return self._public_url
        scheme, host, port, prefix = http.scheme, http.headers.get("Host", ""), "", ""
        if self._is_trusted(http.remote or ""):
            forwarded = _parse_forwarded(_first(http, "Forwarded"))
            scheme = forwarded.get("proto") or _first(http, "X-Forwarded-Proto") or scheme
            host = forwarded.get("host") or _first(http, "X-Forwarded-Host") or host
            port = _first(http, "X-Forwarded-Port")
            prefix = _first(http, "X-Forwarded-Prefix").rstrip("/")
        elif not self._has_warned and ("X-Forwarded-Proto" in http.headers or "Forwarded" in http.headers):
            self._has_warned = True
            logger.warning(
                "a proxy at %s says what clients call this registry, and is not believed: if it is yours, configure "
                "`trusted_proxies: [%s]`, or `public_url`",
                *(http.remote, http.remote),
            )
        scheme = scheme.lower() if scheme.lower() in _DEFAULT_PORTS else http.scheme
        # What cannot stand in a URL is not repeated: it would end up in a header.
        if not _HOST.fullmatch(host):
            host = _own_address(http)
        if _PORT.fullmatch(port) and port != _DEFAULT_PORTS[scheme] and not re.search(r":[0-9]+\Z", host):
            host = f"{host}:{port}"
        return f"{scheme}://{host}{prefix if _PREFIX.fullmatch(prefix) else ''}"

    def _is_trusted(self, address: str) -> bool:
        return is_within(address, self._trusted)


def is_within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether a client's address is in one of the networks; False for what is no address."""
    if not networks:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _first(http: web.BaseRequest, name: str) -> str:
    """Of a header that each proxy on the way adds to: what the one next to the client said."""
    return http.headers.get(name, "").partition(",")[0].strip()


def _parse_forwarded(element: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(element)}


def _own_address(http: web.BaseRequest) -> str:
    """Where the client has reached us; HTTP/1.0 needs no Host."""
    name = http.transport.get_extra_info("sockname") if http.transport is not None else None
    if not isinstance(name, tuple):
        return "localhost"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
