"""Where a URL leads: hosts, origins, what to follow, which proxy is in between, and how to show it."""

import ipaddress
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from layerkit.oci.digest import shorten
from layerkit.oci.errors import OCIError

_PORTS: Final = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether `HOST[:PORT]` is this machine, by its name or address alone."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port. Raises ValueError where it is no URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, _port_of(parts)


def follow(url: str, target: str) -> str:
    """The absolute URL of a target that the answer from `url` named. Raises OCIError where that is no URL."""
    try:
        absolute = urljoin(url, target)
        origin_of(absolute)
    except ValueError as error:
        raise OCIError(f"{show(url)} refers to {shorten(target)}, which is no URL: {error}") from error
    return absolute


def show(url: str) -> str:
    """A URL as people may see it: what lets somebody in stands in its query, and before the host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def proxy_of(url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """What HTTPS_PROXY, HTTP_PROXY and NO_PROXY say; nobody else reaches this machine for us (as Go's clients do)."""
    parts = urlsplit(url)
    proxy = _either_case(environment, f"{parts.scheme}_proxy")
    if parts.scheme == "http" and "REQUEST_METHOD" in environment:
        # In a CGI script HTTP_PROXY is whatever the request's `Proxy` header says (CVE-2016-5385).
        proxy = environment.get("http_proxy", "")
    if not proxy or is_loopback(parts.netloc) or _is_exempt(parts, _either_case(environment, "no_proxy")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(parts: SplitResult, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host: `*`, `example.com` with all below it, `.example.com` with all below it alone,
    an address, a network like `10.0.0.0/8`; with a port where it is for that alone."""
    host = (parts.hostname or "").rstrip(".")
    return any(_names(entry.strip().lower(), host, _port_of(parts)) for entry in no_proxy.split(","))


def _names(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and not name.endswith(":"):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*")
    return bool(entry) and (host == entry or host.endswith(entry if entry.startswith(".") else f".{entry}"))


def _either_case(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _port_of(parts: SplitResult) -> int | None:
    return parts.port or _PORTS.get(parts.scheme)
