"""The configuration as frozen values: defaults, a YAML file, the environment, the command line, each above the last.

    root: /var/lib/registry        # docs/configuration.md has every key
    listen: 0.0.0.0:5000
    workers: 2

Of the environment a variable `LAYERKIT_REGISTRY_<KEY>` counts, like LAYERKIT_REGISTRY_LOG_FORMAT for `log: {format: }`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
from pydantic import Field, PlainValidator

from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError, InvalidValue, Position, Problem
from layerkit.document.types import Duration, Integer, ListOf, Section, Text, parse_text
from layerkit.document.validate import validate

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 5000
MOST_WORKERS: Final = 64
_PREFIX: Final = "LAYERKIT_REGISTRY_"


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
class Configuration:
    """`root` is the data folder. `drain_seconds` is what running requests have when the server ends. `metrics` is
    where Prometheus finds them, None for nowhere. `warnings` go out with every answer (RFC 7234, Warning: 299).
    A client's address is taken from X-Forwarded-For where the peer is one of the `trusted_proxies`."""

    root: Path
    listen: Address = Address()
    workers: int = 1
    drain_seconds: float = 30.0
    metrics: Address | None = None
    log_format: LogFormat = LogFormat.LOGFMT
    log_level: LogLevel = LogLevel.INFO
    warnings: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()

    def to_json(self) -> str:
        """For a worker process, and for people who check what a file means."""
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


def _parse_network(value: object) -> str:
    text = parse_text(value)
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise InvalidValue(f"{text!r} is no network", "write one like 10.0.0.0/8 or 192.0.2.7") from error


def _parse_warning(value: object) -> str:
    text = parse_text(value)
    if len(text) > 4000 or not text.isprintable() or not text.isascii():
        raise InvalidValue("a warning is one line of at most 4000 ASCII characters")
    return text


def _word_of(kind: type[StrEnum]) -> PlainValidator:
    names = [str(member) for member in kind]

    def parse(value: object) -> StrEnum:
        text = parse_text(value)
        if text not in names:
            raise InvalidValue(f"expected one of {', '.join(names)}, found {text!r}")
        return kind(text)

    return PlainValidator(parse, json_schema_input_type=str)


_Address = Annotated[
    Address, PlainValidator(lambda value: parse_address(parse_text(value)), json_schema_input_type=str)
]


class _Log(Section):
    format: Annotated[LogFormat, _word_of(LogFormat)] = LogFormat.LOGFMT
    level: Annotated[LogLevel, _word_of(LogLevel)] = LogLevel.INFO


class ConfigurationFile(Section):
    """The shape of the file; its JSON Schema is `layerkit registry config schema`."""

    root: Text | None = None
    listen: _Address | None = None
    workers: Annotated[Integer, Field(ge=1, le=MOST_WORKERS)] = 1
    drain: Duration = timedelta(seconds=30)
    metrics: _Address | None = None
    log: _Log = _Log()
    warnings: ListOf[Annotated[str, PlainValidator(_parse_warning, json_schema_input_type=str)]] = ()
    trusted_proxies: ListOf[Annotated[str, PlainValidator(_parse_network, json_schema_input_type=str)]] = ()


def load_configuration(
    path: Path | None,
    *,
    environment: Mapping[str, str],
    default_root: Path,
    root: Path | None = None,
    listen: Address | None = None,
    workers: int | None = None,
) -> Configuration:
    """The configuration of the file at `path`, if any, with the environment and then the arguments above it.

    A relative `root` in the file is relative to the file's folder. Raises DocumentError.
    """
    found = ConfigurationFile() if path is None else validate(parse_document(_read(path), str(path)), ConfigurationFile)
    above = _from_environment(environment)
    base = path.parent if path is not None and "root" not in above.model_fields_set else Path()
    merged = _merge(found, above)
    configuration = Configuration(
        root=(base / merged.root if merged.root else default_root).absolute(),
        listen=merged.listen or Address(),
        workers=merged.workers,
        drain_seconds=merged.drain.total_seconds(),
        metrics=merged.metrics,
        log_format=merged.log.format,
        log_level=merged.log.level,
        warnings=merged.warnings,
        trusted_proxies=merged.trusted_proxies,
    )
    return replace(
        configuration,
        root=root.absolute() if root else configuration.root,
        listen=listen or configuration.listen,
        workers=workers or configuration.workers,
    )


def _from_environment(environment: Mapping[str, str]) -> ConfigurationFile:
    """The variables as a file with the same keys, so that they are checked, and told, in the same way."""
    lines, log = [], []
    for name, value in sorted(environment.items()):
        key = name.removeprefix(_PREFIX).lower()
        if not name.startswith(_PREFIX) or not value:
            continue
        if key.startswith("log_"):
            log.append(f"  {key.removeprefix('log_')}: {_quote(value)}")
        elif key in {"warnings", "trusted_proxies"}:
            lines.append(f"{key}: [{', '.join(_quote(part.strip()) for part in value.split(','))}]")
        else:
            lines.append(f"{key}: {_quote(value)}")
    text = "\n".join([*lines, *(["log:", *log] if log else [])])
    place = f"the environment, {_PREFIX}*"
    return validate(parse_document(text, place), ConfigurationFile) if text else ConfigurationFile()


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _merge(file: ConfigurationFile, above: ConfigurationFile) -> ConfigurationFile:
    changes: dict[str, Any] = {name: getattr(above, name) for name in above.model_fields_set - {"log"}}
    if "log" in above.model_fields_set:
        named = above.log.model_fields_set
        changes["log"] = file.log.model_copy(update={name: getattr(above.log, name) for name in named})
    return file.model_copy(update=changes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError([Problem(Position(str(path)), f"cannot be read: {error.strerror}")]) from error
