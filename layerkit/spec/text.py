"""Short forms: the texts of a spec that mean more than their letters.

Every parser takes a value of a document and raises InvalidValue with what to write instead.
"""

import posixpath
import re
from pathlib import Path
from typing import Final, NamedTuple

from layerkit.document.problem import InvalidValue
from layerkit.document.types import parse_integer, parse_text
from layerkit.oci.digest import shorten
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform, parse_platform
from layerkit.oci.reference import (
    Reference,
    RepositoryName,
    parse_reference,
    parse_repository_name,
    parse_tag_or_digest,
)
from layerkit.spec.model import Base, Compression, LayoutBase, RegistryBase, Scratch, StoreBase

_LATER_SCHEMES: Final = ("oci-archive", "docker-archive", "tar")
_FOREIGN_SCHEMES: Final = ("docker-daemon", "containers-storage", "dir")
_LATER_COMPRESSIONS: Final = ("zstd", "estargz")
_MAX_ID: Final = 2**32 - 2
_MAX_TIMESTAMP: Final = 253402300799
"""The end of the year 9999, the last that RFC 3339 can write."""


class Owner(NamedTuple):
    """`gid` is None where `owner:` names the user alone."""

    uid: int
    gid: int | None


class ShortCopy(NamedTuple):
    src: str
    dest: str


def not_yet(word: str) -> str:
    """The message for what a later version will understand."""
    return f"`{word}` is not supported yet by this version"


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


def parse_base(value: object) -> Base:
    """What may follow `from:`."""
    text = parse_text(value)
    if text == "scratch":
        return Scratch()
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _LATER_SCHEMES:
        raise InvalidValue(not_yet(f"{scheme}:"))
    if colon and scheme in _FOREIGN_SCHEMES:
        raise InvalidValue(f"`{scheme}:` is no base that is known", "known: scratch, a reference, oci:DIR, store:REF")
    try:
        if colon and scheme == "oci":
            return _parse_layout(rest)
        if colon and scheme == "store":
            return StoreBase(parse_reference(rest))
        return RegistryBase(parse_reference(text))
    except OCIError as error:
        raise InvalidValue(error.message) from None


def _parse_layout(text: str) -> LayoutBase:
    folder, at, digest = text.partition("@")
    if at:
        tag = digest
    else:
        # A colon may be part of a folder's name; a tag has no slash.
        head, colon, tail = text.rpartition(":")
        folder, tag = (head, tail) if colon and "/" not in tail else (text, "")
    if not folder:
        raise InvalidValue(f"'oci:{text}' names no folder", "write oci:DIR, oci:DIR:TAG or oci:DIR@DIGEST")
    if at or tag or text.endswith(":"):
        return LayoutBase(Path(folder), parse_tag_or_digest(tag))
    return LayoutBase(Path(folder))


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


def parse_timestamp(value: object) -> int:
    """Seconds since 1970; `epoch` is 0."""
    text = parse_text(value)
    if text == "epoch":
        return 0
    if text == "git":
        raise InvalidValue(not_yet("timestamp: git"))
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > _MAX_TIMESTAMP:
        raise InvalidValue(f"expected `epoch` or seconds since 1970, found {shorten(text)}")
    return int(text)


def parse_compression(value: object) -> Compression:
    text = parse_text(value)
    if text.partition(":")[0] in _LATER_COMPRESSIONS:
        raise InvalidValue(not_yet(text))
    try:
        return Compression(text)
    except ValueError:
        raise InvalidValue(f"expected gzip or none, found {shorten(text)}") from None


def parse_owner(value: object) -> Owner:
    text = parse_text(value)
    uid, colon, gid = text.partition(":")
    return Owner(_parse_id(uid, text), _parse_id(gid, text) if colon else None)


def parse_group(value: object) -> int:
    text = parse_text(value)
    return _parse_id(text, text)


def _parse_id(part: str, whole: str) -> int:
    if re.fullmatch(r"[0-9]{1,10}", part) and int(part) <= _MAX_ID:
        return int(part)
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", part):
        message = f"{shorten(part)} is a name, and names need `users:`, which is not supported yet by this version"
        raise InvalidValue(message, "write the number")
    raise InvalidValue(f"expected UID or UID:GID, found {shorten(whole)}", "write it like 1000:1000")


def parse_short_copy(text: str) -> ShortCopy:
    """`src:dest`. With more colons only the long form can tell what is meant."""
    if re.match(r"[A-Za-z][A-Za-z0-9+]*://", text):
        raise InvalidValue(f"{shorten(text)} is a URL, and `fetch` is not supported yet by this version")
    src, *dest = text.split(":")
    if not dest:
        raise InvalidValue(f"{shorten(text)} has no destination", f"write {text}:/DEST")
    if len(dest) > 1:
        raise InvalidValue(f"{shorten(text)} has more than one colon", "write {src: ..., dest: ...}")
    return ShortCopy(src, dest[0])


def parse_source(value: object) -> str:
    text = parse_text(value)
    if not text:
        raise InvalidValue("the source is empty", "`.` is the folder of this file")
    if text.startswith("/"):
        raise InvalidValue(
            f"source {shorten(text)} is absolute: sources stand in the folder of this file", f"write .{text}"
        )
    if ".." in text.split("/"):
        raise InvalidValue(f"source {shorten(text)} leaves the folder of this file", "move the file, or the spec")
    return text


def parse_destination(value: object) -> str:
    """An absolute path, normalised; a `/` at its end is kept, it means "into this directory"."""
    text = parse_text(value)
    if not text.startswith("/"):
        plain = text.removeprefix("./")
        raise InvalidValue(f"destination {shorten(text)} is not absolute", f"write /{plain}" if plain else "")
    if ".." in text.split("/"):
        raise InvalidValue(f"destination {shorten(text)} contains `..`", f"write {normalize(text)}")
    return normalize(text)


def normalize(text: str) -> str:
    """An absolute path without `.`, `..` and `//`."""
    path = "/" + posixpath.normpath(text).lstrip("/")
    is_folder = text.endswith(("/", "/."))
    return f"{path}/" if is_folder and path != "/" else path


def parse_link_path(value: object) -> str:
    """Where a symlink stands, as typed: it is a key, by which its line is found."""
    if parse_destination(value).endswith("/"):
        raise InvalidValue(f"{shorten(str(value))} names a directory, not a symlink", "remove the / at its end")
    return str(value)


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


def parse_user(value: object) -> str:
    text = parse_text(value)
    if not re.fullmatch(r"[^\s:]+(?::[^\s:]+)?", text):
        raise InvalidValue(f"expected USER or USER:GROUP, found {shorten(text)}", "write it like 65532:65532")
    return text


def parse_absolute_path(value: object) -> str:
    text = parse_text(value)
    if not text.startswith("/"):
        raise InvalidValue(f"path {shorten(text)} is not absolute", f"write /{text.removeprefix('./')}")
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
