"""Short forms: the texts of a spec that mean more than their letters.

Every parser takes a value of a document and raises InvalidValue with what to write instead.
"""

import re
from typing import Final, Literal, NamedTuple

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_integer, parse_text
from layerkit.oci.digest import shorten
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform, parse_platform
from layerkit.oci.reference import Reference, RepositoryName, parse_reference, parse_repository_name
from layerkit.spec.model import Compression, CompressionKind

_LEVELS: Final = {
    CompressionKind.GZIP: range(1, 10),
    CompressionKind.ZSTD: range(1, 20),
    CompressionKind.ESTARGZ: range(1, 10),
}
"""Those of zstd above ask for windows that not every reader has (LAYERS, item 32)."""

_MAX_TIMESTAMP: Final = 253402300799
"""The end of the year 9999, the last that RFC 3339 can write."""


class ShortCopy(NamedTuple):
    src: str
    dest: str


def parse_name(value: object) -> RepositoryName:
    text = parse_text(value)
    if "/" in text:
        raise InvalidValue(
            f"name {shorten(text)} has a /: it names the image within this file", "write the whole one under `tags:`"
        )
    try:
        return parse_repository_name(text)
    except OCIError:
        raise InvalidValue(
            f"name {shorten(text)} does not fit a repository: a-z and 0-9, parted by single . _ or -",
            f"write `name: {suggest_name(text)}`",
        ) from None


def suggest_name(text: str) -> str:
    """A name that is valid, as near to `text` as can be."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "image"


def parse_tag_reference(value: object) -> Reference:
    """A reference to push to: without a tag it means `latest`."""
    text = parse_text(value)
    try:
        reference = parse_reference(text)
    except OCIError as error:
        raise InvalidValue(error.message) from None
    if reference.digest:
        raise InvalidValue(f"tag {shorten(text)} has a digest, which only the build can tell", "remove the @ part")
    return reference.with_default_tag()


def parse_platform_text(value: object) -> Platform:
    text = parse_text(value)
    try:
        return parse_platform(text)
    except ValueError as error:
        raise InvalidValue(str(error)) from None


def parse_timestamp(value: object) -> int | Literal["git"]:
    """Seconds since 1970, `epoch` is 0; or `git`, which only the folder can tell."""
    text = parse_text(value)
    if text == "epoch":
        return 0
    if text == "git":
        return "git"
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > _MAX_TIMESTAMP:
        raise InvalidValue(f"expected `epoch`, `git` or seconds since 1970, found {shorten(text)}")
    return int(text)


def parse_compression(value: object) -> Compression:
    """`gzip`, `gzip:LEVEL`, `gzip:fast`, `zstd`, `zstd:LEVEL`, `estargz`, `estargz:LEVEL` or `none`."""
    text = parse_text(value)
    kind, colon, level = text.partition(":")
    if text in set(CompressionKind):
        return Compression(CompressionKind(text))
    if not colon or kind not in _LEVELS:
        raise InvalidValue(
            f"expected gzip, gzip:fast, gzip:LEVEL, zstd, zstd:LEVEL, estargz or none, found {shorten(text)}"
        )
    levels = _LEVELS[CompressionKind(kind)]
    if not re.fullmatch(r"[1-9][0-9]?", level) or int(level) not in levels:
        raise InvalidValue(
            f"expected a level from {levels[0]} to {levels[-1]}, found {shorten(level)}",
            "write it like gzip:6, or gzip:fast" if kind == "gzip" else f"write it like {kind}:3",
        )
    return Compression(CompressionKind(kind), int(level))


def parse_short_copy(text: str) -> ShortCopy:
    """`src:dest`. With more colons only the long form can tell what is meant."""
    if re.match(r"[A-Za-z][A-Za-z0-9+]*://", text):
        raise InvalidValue(f"{shorten(text)} is a URL", "write it under `fetch:`, as {url: ..., dest: ...}")
    src, *dest = text.split(":")
    if not dest:
        raise InvalidValue(f"{shorten(text)} has no destination", f"write {text}:/DEST")
    if len(dest) > 1:
        raise InvalidValue(f"{shorten(text)} has more than one colon", "write {src: ..., dest: ...}")
    return ShortCopy(src, dest[0])


def parse_filled(value: object) -> str:
    """A text that is not empty."""
    text = parse_text(value)
    if not text.strip():
        raise InvalidValue("expected a text that is not empty")
    return text


def parse_layer_name(value: object) -> str:
    text = parse_text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", text):
        raise InvalidValue(f"layer name {shorten(text)}: expected letters, digits, `.`, `_` and `-`")
    return text


def parse_env_name(value: object) -> str:
    text = parse_text(value)
    if not text or "=" in text:
        raise InvalidValue(f"{shorten(text)} cannot be the name of a variable", "write `NAME: value`")
    return text


def parse_port(value: object) -> str:
    """`8000`, `53/udp`: normalised to `8000/tcp`."""
    text = parse_text(value)
    port, _, protocol = text.partition("/")
    if re.fullmatch(r"[0-9.:]*:[0-9]+", port):
        raise InvalidValue(
            f"{shorten(text)} publishes a port, and an image cannot", f"write {text[text.rindex(':') + 1 :]}"
        )
    protocol = protocol.lower() if "/" in text else "tcp"
    is_number = re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535
    if not is_number or protocol not in {"tcp", "udp", "sctp"}:
        raise InvalidValue(f"expected PORT or PORT/udp, found {shorten(text)}", "write one port, like 8000 or 53/udp")
    return f"{int(port)}/{protocol}"


def parse_signal(value: object) -> str:
    text = parse_text(value)
    if re.fullmatch(r"SIG[A-Z0-9]+(?:[+-][0-9]+)?|[1-9][0-9]?", text):
        return text
    hint = f"write SIG{text.upper().removeprefix('SIG')}" if text.isascii() and text.isalnum() else "write SIGTERM"
    raise InvalidValue(f"expected a signal, found {shorten(text)}", hint)


def parse_count(value: object) -> int:
    """A whole number, 0 or more."""
    number = parse_integer(value)
    if number < 0:
        raise InvalidValue(f"expected 0 or more, found {number}")
    return number
