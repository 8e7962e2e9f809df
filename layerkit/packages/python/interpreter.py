"""The interpreter and the C library of an image, found by what is in it: names of files and versions of packages. Pure.

Nothing of the image runs, and no layer is read: a link like `python3 -> python3.11`, dpkg's database and the file that
says which distribution it is are enough nearly always, and the spec may say the version for the rest.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from layerkit.layer.errors import LayerError
from layerkit.layer.tree import FileTree
from layerkit.packages.errors import PackageError
from layerkit.packages.python.target import Family, Libc, Target

_PYTHON: Final = re.compile(r"python(3\.[0-9]+)\Z")
_VERSION: Final = re.compile(r"(?:[0-9]+:)?(3\.[0-9]+)(\.[0-9]+)?")
_GLIBC: Final = re.compile(r"(?:[0-9]+:)?2\.([0-9]+)")
_GLIBC_FILE: Final = re.compile(r"libc-2\.([0-9]+)\.so\Z")
_MUSL: Final = re.compile(r"ld-musl-.+\.so\.1\Z")
_LIBRARIES: Final = ("lib", "usr/lib", "lib64", "usr/lib64")
_DISTRIBUTIONS: Final = {
    ("debian", "10"): 28,
    ("debian", "11"): 31,
    ("debian", "12"): 36,
    ("debian", "13"): 41,
    ("ubuntu", "20.04"): 31,
    ("ubuntu", "22.04"): 35,
    ("ubuntu", "24.04"): 39,
    ("amzn", "2"): 26,
    ("amzn", "2023"): 34,
}
"""The minor version of glibc, where no list of packages says it."""
_PLATFORMS: Final = {"platform:el8": 28, "platform:el9": 34, "platform:el10": 39}
_USUAL_PLACES: Final = ("/usr/bin/python3", "/usr/local/bin/python3", "/opt/python/bin/python3", "/opt/bin/python3")
_USUAL: Final = 28
"""What is in any distribution that is still maintained."""
_MUSL_MINOR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is in an image below a layer. `packages` are versions by the names of Debian packages, `environment` is that
    of its config, `os_release` has the fields of that file."""

    tree: FileTree
    packages: Mapping[str, str]
    environment: Mapping[str, str]
    os_release: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def find_target(around: Surroundings, machine: str, interpreter: str, version: str) -> tuple[Target, tuple[str, ...]]:
    """What wheels are to run on, and warnings. `interpreter` is an absolute path, `version` "" or what the spec says.

    Raises PackageError where the interpreter's version cannot be known.
    """
    found = version or _find_version(around, interpreter)
    if not found:
        other = next((path for path in _USUAL_PLACES if path != interpreter and _is_there(around.tree, path)), "")
        raise PackageError(
            f"the image has no {interpreter}, as far as layerkit can see: "
            + (f"it has {other}, which can be named as `interpreter`; or " if other else "")
            + "install one below or in the same layer (`apt: [python3]`), name another as `interpreter`, or say its "
            "`version`"
        )
    if found.count(".") == 1:
        found += _find_patch(around, found)
    libc, warnings = _find_libc(around)
    return Target(full_version=found, machine=machine, libc=libc), warnings


def _is_there(tree: FileTree, path: str) -> bool:
    try:
        return tree.lookup(tree.resolve_directory(path)) is not None
    except LayerError:
        return False


def _find_version(around: Surroundings, interpreter: str) -> str:
    """Like `3.11`, "" where nothing says it."""
    try:
        path = around.tree.resolve_directory(interpreter)
    except LayerError as error:
        raise PackageError(str(error)) from error
    for name in (path, interpreter):
        if found := _PYTHON.search(name.rpartition("/")[2]):
            return found[1]
    folder, _, name = interpreter.rpartition("/")
    if folder in {"/usr/bin", "/bin"}:
        for package in (f"{name}-minimal", name):
            if found := _VERSION.match(around.packages.get(package, "")):
                return found[1]
    if around.tree.lookup(path) is None:
        return ""
    prefix = folder.rpartition("/")[0].strip("/")
    names = {entry.path.rpartition("/")[2] for entry in around.tree.children(f"{prefix}/lib".strip("/"))}
    versions = {found[1] for name in names if (found := _PYTHON.match(name))}
    if len(versions) == 1:
        return versions.pop()
    return _official(around)


def _official(around: Surroundings) -> str:
    """What the official images say of the interpreter that they were built for."""
    found = _VERSION.match(around.environment.get("PYTHON_VERSION", ""))
    return found[1] if found else ""


def _find_patch(around: Surroundings, version: str) -> str:
    """The rest of the version, which few markers ask for."""
    said = [around.packages.get(f"python{version}{rest}", "") for rest in ("-minimal", "")]
    for text in (*said, around.environment.get("PYTHON_VERSION", "")):
        found = _VERSION.match(text)
        if found and found[1] == version and found[2]:
            return found[2]
    return ".0"


def _find_libc(around: Surroundings) -> tuple[Libc, tuple[str, ...]]:
    names = list(_library_names(around.tree))
    if any(_MUSL.match(name) for name in names):
        return Libc(Family.MUSL, 1, _MUSL_MINOR), ()
    if found := _GLIBC.match(around.packages.get("libc6", "")):
        return Libc(Family.GLIBC, 2, int(found[1])), ()
    if numbers := [int(found[1]) for name in names if (found := _GLIBC_FILE.match(name))]:
        return Libc(Family.GLIBC, 2, max(numbers)), ()
    minor = _of_distribution(around.os_release)
    if minor is not None:
        return Libc(Family.GLIBC, 2, minor), ()
    return Libc(Family.GLIBC, 2, _USUAL), (
        f"nothing in the image says which C library it has: wheels for glibc 2.{_USUAL} and older are taken",
    )


def _library_names(tree: FileTree) -> Iterator[str]:
    seen: set[str] = set()
    for folder in _LIBRARIES:
        try:
            path = tree.resolve_directory(folder)
        except LayerError:
            continue
        if path in seen:
            continue
        seen.add(path)
        for entry in tree.children(path):
            yield entry.path.rpartition("/")[2]
            if entry.path.endswith("-linux-gnu"):
                yield from (child.path.rpartition("/")[2] for child in tree.children(entry.path))


def _of_distribution(fields: Mapping[str, str]) -> int | None:
    version = fields.get("VERSION_ID", "")
    if (minor := _PLATFORMS.get(fields.get("PLATFORM_ID", ""))) is not None:
        return minor
    return _DISTRIBUTIONS.get((fields.get("ID", ""), version))
