"""Paths: where things come from and where they go."""

import posixpath
from typing import Final

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import shorten

_MAX_PATH: Final = 4096
"""Bytes, of a path and of a link's target: PATH_MAX of Linux, with the NUL at its end."""
_MAX_NAME: Final = 255
_WHITEOUT: Final = ".wh."


def parse_source(value: object) -> str:
    """A path or a glob of the context."""
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


def parse_image_source(value: object) -> str:
    """A path or a glob of another image: absolute, normalised."""
    text = parse_text(value)
    if not text.startswith("/"):
        plain = text.removeprefix("./")
        raise InvalidValue(
            f"source {shorten(text)} is not absolute: in an image there is no folder to begin from", f"write /{plain}"
        )
    if ".." in text.split("/"):
        raise InvalidValue(f"source {shorten(text)} contains `..`", f"write {normalize(text)}")
    return normalize(text).rstrip("/") or "/"


def parse_destination(value: object) -> str:
    """An absolute path, normalised; a `/` at its end is kept, it means "into this directory"."""
    text = parse_text(value)
    if not text.startswith("/"):
        plain = text.removeprefix("./")
        raise InvalidValue(f"destination {shorten(text)} is not absolute", f"write /{plain}" if plain else "")
    if ".." in text.split("/"):
        raise InvalidValue(f"destination {shorten(text)} contains `..`", f"write {normalize(text)}")
    path = normalize(text)
    _check_names(path)
    return path


def parse_directory_path(value: object) -> str:
    """As a destination, without the `/` at its end."""
    return parse_destination(value).rstrip("/") or "/"


def parse_removal(value: object) -> str:
    """A path or a glob of what layers below have."""
    text = parse_text(value)
    if not text.startswith("/"):
        raise InvalidValue(f"path {shorten(text)} is not absolute", f"write /{text.removeprefix('./')}")
    if ".." in text.split("/"):
        raise InvalidValue(f"path {shorten(text)} contains `..`", f"write {normalize(text)}")
    path = normalize(text).rstrip("/")
    if not path:
        raise InvalidValue("the root itself cannot be removed", "write /* for all that is in it")
    return path


def normalize(text: str) -> str:
    """An absolute path without `.`, `..` and `//`."""
    path = "/" + posixpath.normpath(text).lstrip("/")
    is_folder = text.endswith(("/", "/."))
    return f"{path}/" if is_folder and path != "/" else path


def _check_names(path: str) -> None:
    if len(path.encode()) >= _MAX_PATH:
        raise InvalidValue(f"path {shorten(path)} has {len(path.encode())} bytes, {_MAX_PATH - 1} are allowed")
    for name in path.split("/"):
        if len(name.encode()) > _MAX_NAME:
            raise InvalidValue(f"name {shorten(name)} has {len(name.encode())} bytes, {_MAX_NAME} are allowed")
        if name.startswith(_WHITEOUT):
            # Whoever unpacks the layer would delete a file instead (image-spec, layer.md, "Whiteouts").
            raise InvalidValue(
                f"{shorten(name)} would be read as a mark that deletes a file",
                "use `remove:` to delete, else rename it",
            )


def parse_link_path(value: object) -> str:
    """Where a symlink stands, as typed: it is a key, by which its line is found."""
    if parse_destination(value).endswith("/"):
        raise InvalidValue(f"{shorten(str(value))} names a directory, not a symlink", "remove the / at its end")
    return str(value)


def parse_link_target(value: object) -> str:
    """Any text that a symlink can hold."""
    text = parse_text(value)
    if not text.strip():
        raise InvalidValue("expected a text that is not empty")
    if len(text.encode()) >= _MAX_PATH:
        raise InvalidValue(f"target {shorten(text)} has {len(text.encode())} bytes, {_MAX_PATH - 1} are allowed")
    return text


def climbs_out(path: str, target: str) -> bool:
    """Whether a relative `target` of the symlink at `path` goes above the root, which podman refuses."""
    depth = path.strip("/").count("/")
    if target.startswith("/"):
        return False
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in {"", "."} else 1
        if depth < 0:
            return True
    return False


def parse_absolute_path(value: object) -> str:
    text = parse_text(value)
    if not text.startswith("/"):
        raise InvalidValue(f"path {shorten(text)} is not absolute", f"write /{text.removeprefix('./')}")
    return text
