"""Configuration, and the values in it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import msgspec

from layerkit.document.problem import InvalidValue
from registry.policy.access import Access

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 5000


class LogFormat(StrEnum):
    LOGFMT = "logfmt"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 is any free one."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Who may come in. `htpasswd` are users beside those of the registry's own table. Tokens are for the audience
    `service`, are good for `token_seconds`, and for `refresh_seconds` where they stand for a password."""

    access: Access
    htpasswd: Path | None = None
    service: str = "registry"
    token_seconds: int = 15 * 60
    refresh_seconds: int = 90 * 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files. Only clients with a certificate of `client_ca` are let in, where there is one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where else the blobs of the data folder are served: clients in the `clients` networks, or all where there are
    none, are sent to `url` with a signature that holds for `seconds`."""

    url: str
    secret: str
    seconds: int = 20 * 60
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each worker: how many requests, and how many of them with a blob, it answers at once. None is no limit."""

    requests: int | None = None
    uploads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """`root` is the data folder. `drain_seconds` is what running requests have when the server ends. `metrics` is
    where Prometheus finds them, None for nowhere. `warnings` go out with every answer (RFC 7234, Warning: 299).
    A client's address is taken from X-Forwarded-For where the peer is one of the `trusted_proxies`. `public_url` is
    what clients call this registry, empty where their requests tell. Without `users` everybody may do everything.
    Uploads to which nothing is written for `upload_seconds` are removed."""

    root: Path
    listen: Address = Address()
    workers: int = 1
    drain_seconds: float = 30.0
    metrics: Address | None = None
    log_format: LogFormat = LogFormat.LOGFMT
    log_level: LogLevel = LogLevel.INFO
    warnings: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    public_url: str = ""
    users: Users | None = None
    tls: Tls | None = None
    redirect: Redirect | None = None
    limits: Limits = Limits()
    upload_seconds: int = 24 * 60 * 60

    def to_json(self) -> str:
        """For a worker process. It may hold a secret."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `:PORT` for all interfaces, `[::1]:PORT`. Raises InvalidValue."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536) or (":" in host and host[0] != "["):
        raise InvalidValue(f"{text!r} is no address", f"write HOST:PORT, like {DEFAULT_HOST}:{DEFAULT_PORT}")
    return Address(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - asked for by an empty host
