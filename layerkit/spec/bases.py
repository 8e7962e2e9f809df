"""Bases: what may follow `from:`, of an image and of a copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.reference import Tag, parse_reference, parse_tag
from layerkit.spec.model import (
    ArchiveBase,
    ArchiveFormat,
    Base,
    LayoutBase,
    RegistryBase,
    RootfsBase,
    Scratch,
    StoreBase,
)

SCRATCH: Final = "scratch"
_KNOWN: Final = (
    "known: scratch, a reference, oci:DIR, oci-archive:FILE, docker-archive:FILE, tar:FILE, store:REF, "
    "another image of the file"
)
_FOREIGN_SCHEMES: Final = ("docker", "docker-daemon", "containers-storage", "dir", "docker-image", "file", "rootfs")


def parse_base(value: object) -> Base:
    """A base by its text alone: whether a reference is the name of an image of the file, the file tells."""
    text = parse_text(value)
    if text == SCRATCH:
        return Scratch()
    scheme, colon, rest = text.partition(":")
    try:
        if colon and scheme in _PARSERS:
            return _PARSERS[scheme](rest)
        if colon and (scheme in _FOREIGN_SCHEMES and (scheme != "docker" or rest.startswith("//"))):
            hint = f"write {rest.removeprefix('//')}" if scheme in {"docker", "docker-image"} else _KNOWN
            raise InvalidValue(f"`{scheme}:` is no base that is known", hint)
        return RegistryBase(parse_reference(text))
    except OCIError as error:
        raise InvalidValue(error.message) from None


def _parse_layout(text: str) -> LayoutBase:
    path, reference = _split_path(text, "oci", "DIR")
    return LayoutBase(path, reference)


def _parse_oci_archive(text: str) -> ArchiveBase:
    path, reference = _split_path(text, ArchiveFormat.OCI, "FILE")
    return ArchiveBase(path, ArchiveFormat.OCI, reference)


def _split_path(text: str, scheme: str, noun: str) -> tuple[Path, Tag | Digest | None]:
    """PATH, PATH:TAG or PATH@DIGEST."""
    path, at, reference = text.partition("@")
    if not at:
        # A colon may be part of a path; a tag has no slash.
        head, colon, tail = text.rpartition(":")
        path, reference, at = (head, tail, colon) if colon and "/" not in tail else (text, "", "")
    if not path:
        nothing = "folder" if noun == "DIR" else "file"
        raise InvalidValue(
            f"'{scheme}:{text}' names no {nothing}",
            f"write {scheme}:{noun}, {scheme}:{noun}:TAG or {scheme}:{noun}@DIGEST",
        )
    if not at:
        return Path(path), None
    return Path(path), Digest(reference) if at == "@" else parse_tag(reference)


def _parse_docker_archive(text: str) -> ArchiveBase:
    # A reference has colons and slashes of its own, so that the first colon is the one between.
    path, colon, reference = text.partition(":")
    if not path:
        raise InvalidValue(
            f"'docker-archive:{text}' names no file", "write docker-archive:FILE or docker-archive:FILE:REF"
        )
    if colon:
        parse_reference(reference)
    return ArchiveBase(Path(path), ArchiveFormat.DOCKER, reference if colon else None)


def _parse_rootfs(text: str) -> RootfsBase:
    if not text:
        raise InvalidValue("'tar:' names no file", "write tar:FILE, the tar of a root file system")
    return RootfsBase(Path(text))


def _parse_stored(text: str) -> StoreBase:
    return StoreBase(parse_reference(text))


_PARSERS: Final[dict[str, Callable[[str], Base]]] = {
    "oci": _parse_layout,
    "oci-archive": _parse_oci_archive,
    "docker-archive": _parse_docker_archive,
    "tar": _parse_rootfs,
    "store": _parse_stored,
}
