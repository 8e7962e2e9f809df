"""Choices: which wheel of which version of each distribution a lock has for a target. Pure.

Source distributions are never built here: what they become depends on the machine that builds them.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion

from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import OCIError
from layerkit.packages.errors import PackageError
from layerkit.packages.python.target import Target

_MOST_TAGS: Final = 12
"""Of a message: numpy has sixty wheels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A wheel. `url` is where it is; `size` in bytes is None where nobody says; `reason` names who asked for it.

    `sha256` is None for a file of this machine of which a lock does not say it.
    """

    name: str
    version: str
    file: str
    url: str
    sha256: Digest | None
    size: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A wheel that a lock names, of any platform."""

    file: str
    url: str
    sha256: str
    size: int | None = None


def choose(name: str, version: str, offers: Sequence[Offer], target: Target, *, reason: str = "") -> Chosen:
    """The best of these wheels. Raises PackageError where none runs there, with the tags that there are."""
    ranked: list[tuple[int, tuple[int, str], Offer]] = []
    tags: set[Tag] = set()
    for offer in offers:
        try:
            of, _, build, found = parse_wheel_filename(offer.file)
        except (InvalidWheelFilename, InvalidVersion) as error:
            raise PackageError(f"{name} {version} is said to have a wheel that is none: {error}") from error
        if of != canonicalize_name(name):
            raise PackageError(f"{name} {version} is said to have {shorten(offer.file)}, which is another's wheel")
        tags |= found
        if runs := found & target.ranks.keys():
            # Of two builds of the same the later one.
            number, rest = build or (0, "")
            ranked.append((min(target.ranks[tag] for tag in runs), (-number, rest), offer))
    if not ranked:
        raise PackageError(_none_runs(name, version, tags, target))
    best = min(ranked, key=lambda item: (item[0], item[1], item[2].file))[2]
    try:
        sha256 = None if not best.sha256 and best.url.startswith("file:") else Digest(f"sha256:{best.sha256}")
    except OCIError as error:
        raise PackageError(f"{best.file} has no SHA-256 in the lock: lock it again") from error
    return Chosen(
        name=canonicalize_name(name),
        version=version,
        file=best.file,
        url=best.url,
        sha256=sha256,
        size=best.size,
        reason=reason,
    )


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """Raises PackageError for what is no TOML; `what` names the file."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PackageError(f"{what} cannot be read: {error}") from error


def check_python(asked: SpecifierSet | None, what: str, target: Target) -> None:
    """Raises PackageError where `what` is not for the interpreter."""
    if asked is not None and not asked.contains(target.full_version, prereleases=True):
        raise PackageError(f"{what} is for Python {asked}, and the image has {target.full_version}")


def check_known(kind: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises PackageError for a name that `what` does not have."""
    known = sorted(known)
    for name in names:
        if name not in known:
            raise PackageError(
                f"{what} has no {kind} {shorten(name)}: " + (f"it has {', '.join(known)}" if known else "it has none")
            )


def place_of(url: str | None, path: str | None, folder: Path) -> str:
    """The URL of what a lock in `folder` names by one of the two."""
    return url if url is not None else (folder / (path or "")).absolute().as_uri()


def file_of(url: str | None, path: str | None) -> str:
    """The name of a file, by its URL or path."""
    return unquote(urlsplit(url).path).rpartition("/")[2] if url is not None else PurePosixPath(path or "").name


def is_no_wheel(name: str, what: str, found: str) -> PackageError:
    """The error of a package that `what` has as something else, to raise."""
    return PackageError(
        f"{what} has {name} as {found}, and only wheels are installed here: build one (`uv build --wheel`), and name "
        "its folder as `find-links`"
    )


def _none_runs(name: str, version: str, tags: Iterable[Tag], target: Target) -> str:
    names = sorted(str(tag) for tag in tags)
    what = f"no wheel of {name} {version} runs on {target}"
    if not names:
        return (
            f"{what}: it has none at all, and source distributions are not built here; build one "
            "(`uv build --wheel`, or cibuildwheel for what has native code) and name its folder as `find-links`"
        )
    more = f", and {len(names) - _MOST_TAGS} more" if len(names) > _MOST_TAGS else ""
    return f"{what}: it has {', '.join(names[:_MOST_TAGS])}{more}; take another version of one of them"
