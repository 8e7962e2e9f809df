"""Which keys may stand where in a configuration file. Its JSON Schema is `layerkit registry config schema`."""

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_duration, parse_text
from layerkit.document.types import Duration, Integer, ListOf, MapOf, Section, Text
from registry.config.values import Address, LogFormat, LogLevel, parse_address
from registry.policy.access import ALL_ACTIONS, ANONYMOUS, SIGNED_IN, Action

MOST_WORKERS: Final = 64
_PATTERN: Final = re.compile(r"[a-z0-9*][a-z0-9._*-]*(?:/[a-z0-9*][a-z0-9._*-]*)*")
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_SERVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/ -]{0,127}")

T = TypeVar("T")


def parse_user_name(text: str) -> str:
    """Raises InvalidValue."""
    if text == ANONYMOUS:
        raise InvalidValue(f"no user can be called {text!r}", "rules use this word for who does not sign in")
    if not _USER.fullmatch(text):
        raise InvalidValue(
            f"{text[:64]!r} is no name of a user",
            "use up to 128 letters, digits and . _ @ + -, a letter or digit first",
        )
    return text


def _text(parse: Callable[[str], T]) -> PlainValidator:
    return PlainValidator(lambda value: parse(parse_text(value)), json_schema_input_type=str)


def _parse_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise InvalidValue(f"{text!r} is no network", "write one like 10.0.0.0/8 or 192.0.2.7") from error


def _parse_warning(text: str) -> str:
    if len(text) > 4000 or not text.isprintable() or not text.isascii():
        raise InvalidValue("a warning is one line of at most 4000 ASCII characters")
    return text


def _parse_url(text: str) -> str:
    hint = "write it like https://registry.example"
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment or parts.username or re.search(r"[^!-~]|[\"\\?#]", text):
        raise InvalidValue(f"{text[:160]!r} is no URL of a server", hint)
    return text.rstrip("/")


def _parse_pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise InvalidValue(
            f"{text[:160]!r} is no pattern of repositories", "write it like app, team/* or team/**, in lower case"
        )
    return text


def _parse_rule_user(text: str) -> str:
    return text if text in {ANONYMOUS, SIGNED_IN} else parse_user_name(text)


def _parse_action(text: str) -> frozenset[Action]:
    names = [str(action) for action in Action]
    if text == "*":
        return ALL_ACTIONS
    if text not in names:
        raise InvalidValue(f"expected one of {', '.join(names)}, or * for all, found {text[:64]!r}")
    return frozenset({Action(text)})


def _parse_service(text: str) -> str:
    if not _SERVICE.fullmatch(text):
        raise InvalidValue(f"{text[:64]!r} is no name of a service", "write it like registry.example")
    return text


def _parse_seconds(least: timedelta, most: timedelta) -> PlainValidator:
    def parse(value: object) -> timedelta:
        found = parse_duration(value)
        if not least <= found <= most:
            raise InvalidValue(f"expected {_tell(least)} to {_tell(most)}, found {parse_text(value)}")
        return found

    return PlainValidator(parse, json_schema_input_type=str)


def _tell(duration: timedelta) -> str:
    minutes = int(duration.total_seconds()) // 60
    return f"{minutes // 1440}d" if minutes % 1440 == 0 else f"{minutes}m"


def _word_of(kind: type[StrEnum]) -> PlainValidator:
    names = [str(member) for member in kind]

    def parse(text: str) -> StrEnum:
        if text not in names:
            raise InvalidValue(f"expected one of {', '.join(names)}, found {text!r}")
        return kind(text)

    return _text(parse)


class Anonymous(StrEnum):
    """What those who do not sign in may do with every repository."""

    NONE = "none"
    PULL = "pull"


_Address = Annotated[Address, _text(parse_address)]
_Path = Annotated[Path, _text(Path)]
_URL = Annotated[str, _text(_parse_url)]
_Network = Annotated[str, _text(_parse_network)]


class LogSection(Section):
    format: Annotated[LogFormat, _word_of(LogFormat)] = LogFormat.LOGFMT
    level: Annotated[LogLevel, _word_of(LogLevel)] = LogLevel.INFO


class RuleSection(Section):
    repository: Annotated[str, _text(_parse_pattern)]
    users: ListOf[Annotated[str, _text(_parse_rule_user)]] = ()
    groups: ListOf[Text] = ()
    actions: ListOf[Annotated[frozenset[Action], _text(_parse_action)]]


class TokenSection(Section):
    # Clients keep a token for the whole of an upload's requests; containerd takes any for good for a minute.
    lifetime: Annotated[timedelta, _parse_seconds(timedelta(minutes=5), timedelta(days=1))] = timedelta(minutes=15)
    refresh: Annotated[timedelta, _parse_seconds(timedelta(minutes=5), timedelta(days=3650))] = timedelta(days=90)
    service: Annotated[str, _text(_parse_service)] = "registry"


class AuthSection(Section):
    htpasswd: _Path | None = None
    anonymous: Annotated[Anonymous, _word_of(Anonymous)] = Anonymous.NONE
    access: ListOf[RuleSection] | None = None
    groups: MapOf[Text, ListOf[Annotated[str, _text(parse_user_name)]]] = Field(default_factory=dict)
    token: TokenSection = Field(default_factory=TokenSection)


class TlsSection(Section):
    certificate: _Path | None = None
    key: _Path | None = None
    client_ca: _Path | None = None


class RedirectSection(Section):
    url: _URL | None = None
    secret: Text | None = None
    expires: Annotated[timedelta, _parse_seconds(timedelta(minutes=1), timedelta(days=7))] = timedelta(minutes=20)
    clients: ListOf[_Network] = Field(default=(), alias="from")


class LimitsSection(Section):
    requests: Annotated[Integer, Field(ge=1)] | None = None
    uploads: Annotated[Integer, Field(ge=1)] | None = None


class UploadsSection(Section):
    expire: Annotated[timedelta, _parse_seconds(timedelta(minutes=10), timedelta(days=365))] = timedelta(days=1)


class ConfigurationFile(Section):
    root: _Path | None = None
    listen: _Address | None = None
    workers: Annotated[Integer, Field(ge=1, le=MOST_WORKERS)] = 1
    drain: Duration = timedelta(seconds=30)
    metrics: _Address | None = None
    log: LogSection = Field(default_factory=LogSection)
    warnings: ListOf[Annotated[str, _text(_parse_warning)]] = ()
    trusted_proxies: ListOf[_Network] = ()
    public_url: _URL | None = None
    auth: AuthSection | None = None
    tls: TlsSection | None = None
    redirect: RedirectSection | None = None
    limits: LimitsSection = Field(default_factory=LimitsSection)
    uploads: UploadsSection = Field(default_factory=UploadsSection)


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key with this annotation holds, None for any other value."""
    choices = getattr(annotation, "__args__", None) or (annotation,)
    return next((kind for kind in choices if isinstance(kind, type) and issubclass(kind, Section)), None)
