"""registries.conf: where registries really are, their mirrors, and which of them are trusted or blocked.

A rule is for a prefix of names (`HOST`, `HOST/path`, `*.example.com`); the longest that fits decides. What is for
other things than that, like short names, is none of our business.
Source: containers/image, docs/containers-registries.conf.5.md and containers-registries.conf.d.5.md.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from layerkit.oci.digest import shorten
from layerkit.oci.errors import Denied, OCIError
from layerkit.oci.reference import Reference, parse_reference

_SYSTEM: Final = Path("/etc/containers")


class Pulls(StrEnum):
    """What a mirror is asked for."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


class Endpoint(msgspec.Struct, frozen=True):
    """Where a repository really is, or a mirror of it."""

    reference: Reference
    insecure: bool = False
    pulls: Pulls = Pulls.ALL


class Route(msgspec.Struct, frozen=True):
    """Where a repository is written, and the mirrors that it is read from before, in their order."""

    location: Endpoint
    mirrors: tuple[Endpoint, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule has in the place of its prefix: `HOST` or `HOST/path`; the prefix itself where it is empty."""

    location: str
    insecure: bool = False
    pulls: Pulls = Pulls.ALL


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`origin` is the file that has it."""

    prefix: str
    place: Place
    mirrors: tuple[Place, ...] = ()
    blocked: bool = False
    origin: str = ""

    def match(self, name: str) -> int | None:
        """How much of `HOST/path` the prefix covers, or None."""
        if self.prefix.startswith("*."):
            rest = self.prefix[1:]
            begin = name.partition("/")[0].rfind(rest.partition("/")[0])
            length = begin + len(rest)
            fits = begin > 0 and name[begin:length] == rest
        else:
            length = len(self.prefix)
            fits = name.startswith(self.prefix)
        return length if fits and name[length : length + 1] in {"", "/"} else None


class Registries(msgspec.Struct, frozen=True):
    """All rules there are."""

    rules: Mapping[str, Rule] = msgspec.field(default_factory=dict)

    def route(self, reference: Reference) -> Route:
        """Where the repository of a reference is. Raises Denied where that is blocked."""
        name = reference.name
        fitting = [(len(prefix), rule) for prefix, rule in self.rules.items() if rule.match(name) is not None]
        if not fitting:
            return Route(Endpoint(Reference(domain=reference.domain, path=reference.path)))
        rule = max(fitting, key=lambda pair: pair[0])[1]
        if rule.blocked:
            raise Denied(f"{name} is blocked by {rule.origin}: its rule for {rule.prefix} says so")
        rest = name[rule.match(name) :]
        return Route(
            _endpoint(name, rule.place, rest, rule),
            tuple(_endpoint(name, mirror, rest, rule) for mirror in rule.mirrors),
        )


def load_registries(environment: Mapping[str, str], *, system: Path = _SYSTEM) -> Registries:
    """The rules of the user's file, else of the system's, and of what is added to it; later ones replace earlier ones.

    Raises OCIError for what cannot be understood, and for a file that was named and cannot be read.
    """
    rules: dict[str, Rule] = {}
    for path, is_named in _files(environment, system):
        try:
            text = path.read_bytes()
        except OSError as error:
            if is_named:
                raise OCIError(f"CONTAINERS_REGISTRIES_CONF={path} cannot be read: {error.strerror}") from error
            continue
        for rule in parse_registries(text, str(path)):
            # Last, wherever one for the same prefix was.
            rules.pop(rule.prefix, None)
            rules[rule.prefix] = rule
    return Registries(rules)


def parse_registries(raw: bytes, origin: str) -> list[Rule]:
    """The rules of one file. Raises OCIError that names the file, the rule and what is wrong with it."""
    try:
        document = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise OCIError(f"{origin}: {error}") from error
    tables = document.get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise OCIError(f"{origin}: `registry` is a list of tables: [[registry]]")
    return [_parse_rule(table, f"{origin}: [[registry]] {n}", origin) for n, table in enumerate(tables, 1)]


def _files(environment: Mapping[str, str], system: Path) -> Iterator[tuple[Path, bool]]:
    home = Path(environment.get("HOME") or "~").expanduser()
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers"
    folders: Sequence[Path] = (system, user)
    if named := environment.get("CONTAINERS_REGISTRIES_CONF", ""):
        yield Path(named), True
    elif (user / "registries.conf").exists():
        # It stands for all that the system says.
        yield user / "registries.conf", False
        folders = (user,)
    else:
        yield system / "registries.conf", False
    for folder in folders:
        yield from ((path, False) for path in sorted((folder / "registries.conf.d").glob("*.conf")))


def _parse_rule(table: Mapping[str, Any], place: str, origin: str) -> Rule:
    location = _location(table, place)
    prefix = _text(table, "prefix", place).rstrip("/") or location
    if not prefix:
        raise OCIError(f"{place}: it needs a `location`")
    if not location and not prefix.startswith("*."):
        raise OCIError(f"{place}: it needs a `location`; only a prefix like *.example.com may do without")
    by_digest = _flag(table, "mirror-by-digest-only", place)
    mirrors = table.get("mirror", [])
    if not isinstance(mirrors, list) or not all(isinstance(mirror, dict) for mirror in mirrors):
        raise OCIError(f"{place}: `mirror` is a list of tables: [[registry.mirror]]")
    return Rule(
        prefix=prefix,
        place=Place(location=location, insecure=_flag(table, "insecure", place)),
        mirrors=tuple(
            _parse_mirror(mirror, f"{place}: [[registry.mirror]] {n}", by_digest=by_digest)
            for n, mirror in enumerate(mirrors, 1)
        ),
        blocked=_flag(table, "blocked", place),
        origin=origin,
    )


def _parse_mirror(table: Mapping[str, Any], place: str, *, by_digest: bool) -> Place:
    location = _location(table, place)
    if not location:
        raise OCIError(f"{place}: it needs a `location`")
    text = _text(table, "pull-from-mirror", place)
    if text and by_digest:
        raise OCIError(f"{place}: `pull-from-mirror` is not for a registry with `mirror-by-digest-only`")
    try:
        pulls = Pulls(text) if text else Pulls.DIGEST_ONLY if by_digest else Pulls.ALL
    except ValueError:
        raise OCIError(f"{place}: `pull-from-mirror` is {shorten(text)}, expected {', '.join(Pulls)}") from None
    return Place(location=location, insecure=_flag(table, "insecure", place), pulls=pulls)


def _location(table: Mapping[str, Any], place: str) -> str:
    text = _text(table, "location", place).rstrip("/")
    if text:
        try:
            reference = parse_reference(f"{text}/repository")
        except OCIError as error:
            raise OCIError(f"{place}: `location`: {error.message}") from error
        if not f"{text}/".startswith((f"{reference.domain}/", "index.docker.io/")):
            raise OCIError(f"{place}: `location` is {shorten(text)}, expected HOST or HOST/path")
    return text


def _text(table: Mapping[str, Any], key: str, place: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise OCIError(f"{place}: `{key}` is a string")
    return value


def _flag(table: Mapping[str, Any], key: str, place: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise OCIError(f"{place}: `{key}` is true or false")
    return value


def _endpoint(name: str, place: Place, rest: str, rule: Rule) -> Endpoint:
    text = f"{place.location}{rest}" if place.location else name
    try:
        reference = parse_reference(text)
    except OCIError as error:
        raise OCIError(f"{rule.origin}: the rule for {rule.prefix} makes {shorten(text)} of {name}: {error}") from error
    return Endpoint(reference, place.insecure, place.pulls)
