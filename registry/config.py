"""The configuration as frozen values: defaults, a YAML file, the command line, in the order of rising weight.

root: /var/lib/layerkit-registry
listen: 0.0.0.0:5000
drain: 30s
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import PlainValidator

from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError, InvalidValue, Position, Problem
from layerkit.document.types import Duration, Section, parse_text
from layerkit.document.validate import validate

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 5000


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 is any free one."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """`root` is the data folder; `drain_seconds` is what running requests have at the end."""

    root: Path
    listen: Address = Address()
    drain_seconds: float = 30.0


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `:PORT` for all interfaces, `[::1]:PORT`. Raises InvalidValue."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536) or (":" in host and host[0] != "["):
        raise InvalidValue(
            f"{text!r} is no address to listen on", f"write HOST:PORT, like {DEFAULT_HOST}:{DEFAULT_PORT}"
        )
    return Address(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - asked for by an empty host


class _File(Section):
    root: Annotated[str, PlainValidator(parse_text)] | None = None
    listen: Annotated[Address, PlainValidator(lambda value: parse_address(parse_text(value)))] | None = None
    drain: Duration | None = None


def load_configuration(
    path: Path | None, *, default_root: Path, root: Path | None = None, listen: Address | None = None
) -> Configuration:
    """The configuration of the file at `path`, if any, with `root` and `listen` above it.

    A relative `root` in the file is relative to the file's folder. Raises DocumentError.
    """
    configuration = Configuration(root=default_root)
    if path is not None:
        found = validate(parse_document(_read(path), str(path)), _File)
        configuration = Configuration(
            root=default_root if found.root is None else path.parent / found.root,
            listen=found.listen or configuration.listen,
            drain_seconds=(found.drain or timedelta(seconds=configuration.drain_seconds)).total_seconds(),
        )
    return replace(configuration, root=(root or configuration.root).absolute(), listen=listen or configuration.listen)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError([Problem(Position(str(path)), f"cannot be read: {error.strerror}")]) from error
