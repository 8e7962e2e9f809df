"""Python: the words of a layer's `python:`."""

import re
from pathlib import PurePosixPath
from typing import Final

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import shorten
from layerkit.spec.paths import normalize, parse_absolute_path, parse_directory_path

_VERSION: Final = re.compile(r"3\.[0-9]{1,3}(\.[0-9]{1,3})?(rc[0-9]|[ab][0-9])?")
_PYLOCK: Final = re.compile(r"pylock(\.[^.]+)?\.toml")
_OTHER_LOCKS: Final = {
    "poetry.lock": "run `poetry export`, and name its requirements.txt as `requirements`",
    "pdm.lock": "run `pdm export -f pylock -o pylock.toml`, and name that",
    "Pipfile.lock": "run `pipenv requirements --hash`, and name what it prints as `requirements`",
    "requirements.txt": "name it as `requirements`",
}
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def parse_file(value: object) -> str:
    """A path of the context: a file."""
    text = parse_text(value)
    if not text.strip():
        raise InvalidValue("the name of the file is empty", "write it like requirements.txt")
    if text.startswith("/"):
        raise InvalidValue(f"{shorten(text)} is absolute: it has to stand in the folder of this file", f"write .{text}")
    if ".." in text.split("/"):
        raise InvalidValue(f"{shorten(text)} leaves the folder of this file", "move the file, or the spec")
    return str(PurePosixPath(text))


def is_lock(path: str) -> bool:
    """Whether a file of this name is a lock that is known."""
    name = path.rpartition("/")[2]
    return name == "uv.lock" or _PYLOCK.fullmatch(name) is not None


def parse_lock(value: object) -> str:
    path = parse_file(value)
    if not is_lock(path):
        name = path.rpartition("/")[2]
        raise InvalidValue(
            f"{shorten(name)} is no lock that is known: expected uv.lock or pylock.toml",
            _OTHER_LOCKS.get(name, "`uv lock` makes the one, `uv export --format pylock.toml` the other"),
        )
    return path


def parse_into(value: object) -> str:
    """The folder of the environment."""
    path = parse_directory_path(value)
    if path == "/":
        raise InvalidValue("an environment is a folder of its own, not the root", "write /opt/venv")
    return path


def parse_interpreter(value: object) -> str:
    path = normalize(parse_absolute_path(value))
    if path.endswith("/"):
        raise InvalidValue(f"{shorten(path)} names a folder, not a program", "write it like /usr/bin/python3")
    return path


def parse_version(value: object) -> str:
    text = parse_text(value)
    if not _VERSION.fullmatch(text):
        raise InvalidValue(f"expected a version of Python, found {shorten(text)}", "write it like 3.13, or 3.13.2")
    return text


def parse_extra(value: object) -> str:
    """The name of an extra or of a group, as locks have it."""
    text = parse_text(value)
    if not _NAME.fullmatch(text):
        raise InvalidValue(
            f"{shorten(text)} is no name of an extra or a group", "letters, digits, and `-` between them"
        )
    return re.sub(r"[-_.]+", "-", text).lower()


def parse_project(value: object) -> str:
    """The folder of the project, "" for none."""
    text = parse_text(value)
    if text in {"true", "True", "TRUE"}:
        return "."
    if text in {"false", "False", "FALSE"}:
        return ""
    return parse_file(value)
