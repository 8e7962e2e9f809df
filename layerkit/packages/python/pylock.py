"""pylock.toml: the lock that Python's tools share (PEP 751; PyPA, "pylock.toml Specification"). Pure.

What the library refuses is told in its words, which name the place: `packages[3].wheels[0].hashes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.markers import UndefinedEnvironmentName
from packaging.pylock import Package, Pylock, PylockUnsupportedVersionError, PylockValidationError

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


def choose_of_pylock(
    text: str,
    *,
    what: str,
    folder: Path,
    target: Target,
    extras: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    project: Path | None = None,
    is_project_left_out: bool = True,
) -> tuple[Chosen, ...]:
    """The wheels that the lock has for a target, by name. `groups` None are those that the lock takes by default.

    `what` names the lock, and paths in it are relative to `folder`. What is in the folder of the `project`, by default
    the same, is left out, or refused. Raises PackageError for what is no such lock, or names what is no wheel that runs
    there.
    """
    try:
        lock = Pylock.from_dict(parse_toml(text, what))
    except (PylockValidationError, PylockUnsupportedVersionError) as error:
        raise PackageError(f"{what} is no lock: {error}") from error
    check_known("extra", extras, lock.extras or (), what)
    check_known("group", groups or (), lock.dependency_groups or (), what)
    check_python(lock.requires_python, what, target)
    wanted = (lock.default_groups or ()) if groups is None else groups
    environment: Mapping[str, str | frozenset[str]] = {
        **target.environment,
        "extras": frozenset(extras),
        "dependency_groups": frozenset(wanted),
    }
    if lock.environments and not any(marker.evaluate(target.environment) for marker in lock.environments):
        raise PackageError(f"{what} is for {' or '.join(map(str, lock.environments))}, and not for {target}")
    selected: dict[str, Package] = {}
    for number, package in enumerate(lock.packages):
        try:
            is_wanted = package.marker is None or package.marker.evaluate(environment, context="lock_file")
        except UndefinedEnvironmentName as error:
            raise PackageError(f"{what}: packages[{number}].marker: {error}") from error
        if not is_wanted:
            continue
        check_python(package.requires_python, f"{what}: {package.name}", target)
        if selected.setdefault(package.name, package) is not package:
            raise PackageError(f"{what} has {package.name} twice for {target}: packages[{number}] is the second")
    parents = _parents(selected)
    found = []
    for name, package in selected.items():
        offers = list(_offers(package, what, folder, project or folder))
        if package.directory is not None and not offers:
            if not is_project_left_out:
                raise PackageError(
                    f"{what} names the project itself: say `project: true` to have it built and installed"
                )
            continue
        version = str(package.version) if package.version is not None else offers[0].file.split("-")[1]
        found.append(choose(name, version, offers, target, reason=", ".join(parents.get(name, ()))))
    return tuple(sorted(found, key=lambda chosen: chosen.name))


def _offers(package: Package, what: str, folder: Path, project: Path) -> Iterator[Offer]:
    """The wheels of a package, none for the project itself. Raises PackageError for what is no wheel."""
    if package.directory is not None:
        if (folder / package.directory.path).resolve() != project.resolve():
            raise is_no_wheel(package.name, what, f"the folder {package.directory.path}")
    elif package.vcs is not None:
        raise is_no_wheel(package.name, what, f"a commit of {package.vcs.url or package.vcs.path}")
    elif package.archive is not None:
        archive = package.archive
        file = file_of(archive.url, archive.path)
        if not file.endswith(".whl"):
            raise is_no_wheel(package.name, what, f"the archive {file}")
        yield Offer(
            file=file,
            url=place_of(archive.url, archive.path, folder),
            sha256=archive.hashes.get("sha256", ""),
            size=archive.size,
        )
    for wheel in package.wheels or ():
        yield Offer(
            file=wheel.filename,
            url=place_of(wheel.url, wheel.path, folder),
            sha256=wheel.hashes.get("sha256", ""),
            size=wheel.size,
        )


def _parents(packages: Mapping[str, Package]) -> Mapping[str, list[str]]:
    """Who asked for a package, where the lock says so."""
    found: dict[str, list[str]] = {}
    for name, package in sorted(packages.items()):
        for dependency in package.dependencies or ():
            found.setdefault(str(dependency.get("name", "")), []).append(name)
    return found
