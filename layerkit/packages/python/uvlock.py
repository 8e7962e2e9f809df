"""uv.lock: what `uv lock` chose for all platforms, of which a target has a part. Pure.

uv's own reader needs the project and an interpreter; this one the text alone. The graph is walked from the project,
along the dependencies whose markers hold for the target. Source: uv's documentation, "Structure and files" and
"Conflicting dependencies", and its lock files of version 1.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError
from layerkit.packages.python.choice import (
    Chosen,
    Offer,
    check_known,
    check_python,
    choose,
    file_of,
    is_no_wheel,
    parse_toml,
    place_of,
)
from layerkit.packages.python.target import Target

_VERSION: Final = 1
_PROJECT: Final = ("virtual", "editable", "directory")
_EXTRA: Final = re.compile(r"extra\s*(?P<operator>==|!=)\s*(?P<name>'[^']*'|\"[^\"]*\")")

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Dependency(msgspec.Struct, frozen=True, kw_only=True):
    name: _Text
    version: str = ""
    source: Mapping[str, Any] = msgspec.field(default_factory=dict)
    marker: str = ""
    extra: tuple[str, ...] = ()


class _Wheel(msgspec.Struct, frozen=True, kw_only=True):
    url: str | None = None
    path: str | None = None
    filename: str | None = None
    hash: str = ""
    size: int | None = None


class _Package(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    name: _Text
    version: str = ""
    source: Mapping[str, Any]
    dependencies: tuple[_Dependency, ...] = ()
    optional_dependencies: Mapping[str, tuple[_Dependency, ...]] = msgspec.field(default_factory=dict)
    dev_dependencies: Mapping[str, tuple[_Dependency, ...]] = msgspec.field(default_factory=dict)
    wheels: tuple[_Wheel, ...] = ()

    @property
    def folder(self) -> str | None:
        """That of a project, relative to the lock's; None for what is no project."""
        return next((str(self.source[kind]) for kind in _PROJECT if kind in self.source), None)


class _Form(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    version: int
    requires_python: str = ""
    package: tuple[_Package, ...] = ()


def choose_of_uvlock(
    text: str,
    *,
    what: str,
    folder: Path,
    target: Target,
    project: Path | None = None,
    extras: Sequence[str] = (),
    groups: Sequence[str] | None = None,
) -> tuple[Chosen, ...]:
    """The wheels that the lock has for a target, by name, with the `extras` and `groups` of the project.

    `what` names the lock, and paths in it are relative to `folder`. The project is the one in `project`, by default in
    `folder`; it is no wheel, and left out. Raises PackageError for what is no such lock, or names what is no wheel that
    runs there.
    """
    form = _parse(text, what)
    if form.requires_python:
        try:
            check_python(SpecifierSet(form.requires_python), what, target)
        except InvalidSpecifier as error:
            raise PackageError(f"{what}: requires-python: {error}") from error
    root = _find_root(form, what, folder, project or folder)
    check_known("extra", extras, root.optional_dependencies, what)
    check_known("group", groups or (), root.dev_dependencies, what)
    walk = _Walk(form, what, target, _active(root, extras, groups or ()))
    for dependency in _of_root(root, extras, groups or ()):
        walk.follow(dependency, root.name)
    found = []
    for package, parents in walk.found():
        if package is root:
            continue
        if not package.wheels and package.folder is not None:
            raise is_no_wheel(package.name, what, f"the folder {package.folder}")
        if "git" in package.source:
            raise is_no_wheel(package.name, what, f"a commit of {package.source['git']}")
        offers = list(_offers(package, folder))
        found.append(choose(package.name, package.version, offers, target, reason=", ".join(parents)))
    return tuple(sorted(found, key=lambda chosen: chosen.name))


def _parse(text: str, what: str) -> _Form:
    values = parse_toml(text, what)
    version = values.get("version")
    if version != _VERSION:
        raise PackageError(f"{what} is of version {version!r}, and {_VERSION} is what is known here")
    try:
        return msgspec.convert(values, _Form)
    except msgspec.ValidationError as error:
        raise PackageError(f"{what} is no lock of uv: {str(error).replace('$.', '')}") from error


def _find_root(form: _Form, what: str, folder: Path, project: Path) -> _Package:
    projects = [package for package in form.package if package.folder is not None]
    for package in projects:
        if (folder / (package.folder or "")).resolve() == project.resolve():
            return package
    names = ", ".join(f"{package.name} in {package.folder}" for package in projects) or "none"
    raise PackageError(f"{what} has no project in {project.name or '/'}: it has {names}; say which as `project`")


def _of_root(root: _Package, extras: Sequence[str], groups: Sequence[str]) -> Iterator[_Dependency]:
    yield from root.dependencies
    for extra in extras:
        yield from root.optional_dependencies[extra]
    for group in groups:
        yield from root.dev_dependencies[group]


def _active(root: _Package, extras: Sequence[str], groups: Sequence[str]) -> frozenset[str]:
    """What uv calls extras and groups where some of them exclude each other."""
    named = [("extra", name) for name in extras] + [("group", name) for name in groups]
    return frozenset(f"{kind}-{len(root.name)}-{root.name}-{name}" for kind, name in named)


class _Walk:
    """The packages that a target needs, as they are found."""

    def __init__(self, form: _Form, what: str, target: Target, active: frozenset[str]) -> None:
        self._what = what
        self._environment: Mapping[str, str | frozenset[str]] = {
            **target.environment,
            "extras": active,
            "dependency_groups": frozenset(),
        }
        self._by_name: dict[str, list[_Package]] = {}
        for package in form.package:
            self._by_name.setdefault(package.name, []).append(package)
        self._target = target
        self._found: dict[str, _Package] = {}
        self._parents: dict[str, set[str]] = {}
        self._markers: dict[str, bool] = {}

    def found(self) -> Iterator[tuple[_Package, list[str]]]:
        """Each package, with the names of those that want it."""
        for name, package in self._found.items():
            yield package, sorted(self._parents[name])

    def follow(self, dependency: _Dependency, parent: str) -> None:
        """Take a dependency, and what it needs in its turn. Raises PackageError."""
        pending = [(dependency, parent)]
        done: set[tuple[str, str]] = set()
        while pending:
            wanted, by = pending.pop()
            if wanted.marker and not self._holds(wanted.marker):
                continue
            package = self._resolve(wanted)
            if self._found.setdefault(package.name, package) is not package:
                raise PackageError(
                    f"{self._what} has two versions of {package.name} for {self._target}: "
                    f"{self._found[package.name].version} and {package.version}"
                )
            self._parents.setdefault(package.name, set()).add(by)
            for extra in ("", *wanted.extra):
                if (package.name, extra) in done:
                    continue
                done.add((package.name, extra))
                inner = package.optional_dependencies.get(extra, ()) if extra else package.dependencies
                pending += [(each, package.name) for each in inner]

    def _resolve(self, wanted: _Dependency) -> _Package:
        candidates = [
            package
            for package in self._by_name.get(wanted.name, ())
            if (not wanted.version or package.version == wanted.version)
            and (not wanted.source or json.dumps(package.source) == json.dumps(wanted.source))
        ]
        if len(candidates) != 1:
            raise PackageError(
                f"{self._what} has {len(candidates)} packages that could be {wanted.name} {wanted.version}".rstrip()
                + ": lock it again"
            )
        return candidates[0]

    def _holds(self, text: str) -> bool:
        if text not in self._markers:
            # There `extra` stands for a set: of extras that exclude each other several may be told at once.
            asked = _EXTRA.sub(
                lambda found: f"{found['name']} {'in' if found['operator'] == '==' else 'not in'} extras", text
            )
            try:
                self._markers[text] = Marker(asked).evaluate(self._environment, context="lock_file")
            except InvalidMarker as error:
                raise PackageError(f"{self._what} has a marker that is none: {shorten(text)}") from error
        return self._markers[text]


def _offers(package: _Package, folder: Path) -> Iterator[Offer]:
    registry = str(package.source.get("registry", ""))
    for wheel in package.wheels:
        url, path = wheel.url, wheel.path
        if "url" in package.source and url is None:
            url = str(package.source["url"])
        elif "path" in package.source and path is None:
            path = str(package.source["path"])
        elif registry and "://" not in registry and path is not None:
            path = f"{registry}/{path}"
        elif url is None and path is None and wheel.filename:
            url, path = (
                (f"{registry}/{wheel.filename}", None) if "://" in registry else (None, f"{registry}/{wheel.filename}")
            )
        file = wheel.filename or file_of(url, path)
        value = wheel.hash.removeprefix("sha256:")
        yield Offer(file=file, url=place_of(url, path, folder), sha256=value, size=wheel.size)
