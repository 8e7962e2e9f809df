"""Environments: wheels that are on this machine become the entries of a layer. Blocking.

A wheel is verified and opened when it is needed, once for all platforms that have it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from layerkit.build.kept import Keeper
from layerkit.layer.limits import DEFAULT_LIMITS, Limits
from layerkit.layer.tree import FileTree
from layerkit.oci.digest import Digest
from layerkit.packages.errors import PackageError
from layerkit.packages.lock import LockedWheel, PythonLock
from layerkit.packages.python.bytecode import Module, compile_modules
from layerkit.packages.python.libraries import find_missing, find_needed
from layerkit.packages.python.target import Target
from layerkit.packages.python.venv import VERSION, Placed, Venv, install
from layerkit.packages.python.wheel import Wheel, is_version, open_wheel
from layerkit.spec.model import Python


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledWheels:
    """`warnings` are what a person may want to know, `doubts` what may leave a wheel without what it needs."""

    placed: tuple[Placed, ...]
    warnings: tuple[str, ...]
    doubts: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Environments:
    """The wheels of one build that are open, by their digests. Used by several threads at once."""

    keeper: Keeper
    limits: Limits = DEFAULT_LIMITS
    _open: dict[Digest, Wheel] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def open(self, wheel: LockedWheel, path: Path) -> Wheel:
        """Raises PackageError for one that was damaged since it was brought, or cannot be used."""
        with self._lock:
            if wheel.sha256 not in self._open:
                _verify(wheel, path)
                opened = open_wheel(path, file=wheel.file, limits=self.limits)
                if opened.name != canonicalize_name(wheel.name) or not is_version(wheel.version, opened.version):
                    raise PackageError(f"{wheel.file} is locked as {wheel.name} {wheel.version}: lock it again")
                self._open[wheel.sha256] = opened
            return self._open[wheel.sha256]

    def needed(self, locked: LockedWheel, wheel: Wheel) -> tuple[str, ...]:
        """The shared libraries that a wheel takes from the system, which is remembered. Raises PackageError."""
        key = f"libraries-{locked.sha256.encoded}"
        known = self.keeper.find(key, tuple[str, ...])
        if known is None:
            known = find_needed(wheel)
            self.keeper.remember(key, known)
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedWheels:
    """The wheels of one `python:`, as `lock` has them, at `paths` by their files' names, and that of the `project`.

    `compiler` is the interpreter that makes byte code, "" for none.
    """

    python: Python
    target: Target
    lock: PythonLock
    paths: Mapping[str, Path]
    environments: Environments
    compiler: str = ""
    project: Wheel | None = None
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What tells the environment that they make from all others, but for what the spec says of it."""
        wheels = [(wheel.name, wheel.version, wheel.file, wheel.sha256) for wheel in self.lock.packages]
        project = [] if self.project is None else [(each.scheme, each.path, each.hash) for each in self.project.members]
        return repr((VERSION, str(self.target), wheels, project, self.compiler, self.notes))

    def open(self) -> list[Wheel]:
        """Raises PackageError."""
        return [self.environments.open(wheel, self.paths[wheel.file]) for wheel in self.lock.packages]

    def needs(self) -> Mapping[str, list[str]]:
        """Which wheels name a distribution among what they need, by its name. Raises PackageError."""
        found: dict[str, list[str]] = {}
        for wheel in self.open():
            for name in _needed(wheel, self.target):
                found.setdefault(name, []).append(wheel.name)
        return found

    def install(self, below: FileTree, uid: int, gid: int) -> InstalledWheels:
        """The environment on top of `below`, with this owner. Raises PackageError."""
        python = self.python
        wheels = self.open()
        if self.project is not None:
            wheels.append(self.project)
        venv = Venv(into=python.into, interpreter=python.interpreter, target=self.target, uid=uid, gid=gid)
        installed = install(wheels, venv, compile_modules=self._compile if self.compiler else None)
        return InstalledWheels(
            placed=installed.placed,
            warnings=(*self.notes, *installed.warnings),
            doubts=tuple(self._doubt(wheels[: len(self.lock.packages)], below)),
        )

    def _compile(self, modules: Sequence[Module]) -> Sequence[bytes]:
        return compile_modules(modules, self.compiler)

    def _doubt(self, wheels: Sequence[Wheel], below: FileTree) -> Iterator[str]:
        """What the environment needs of the image and may not have."""
        interpreter = self.python.interpreter
        if below.lookup(below.resolve_directory(interpreter)) is None:
            yield f"the image has no {interpreter}: no program of {self.python.into} can begin"
        needed: dict[str, list[str]] = {}
        own: set[str] = set()
        for locked, wheel in zip(self.lock.packages, wheels, strict=True):
            own.update(member.path.rpartition("/")[2] for member in wheel.members if ".so" in member.path)
            for library in self.environments.needed(locked, wheel):
                needed.setdefault(library, []).append(str(wheel))
        yield from find_missing(needed, below, own, interpreter)


def _verify(wheel: LockedWheel, path: Path) -> None:
    """A disk may have spoilt it since it was brought."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(f"{wheel.file} is not in the cache any more ({error.strerror}): build again") from error
    if found != wheel.sha256.encoded:
        path.unlink(missing_ok=True)
        raise PackageError(f"{wheel.file} was damaged in the cache: build again, and it is fetched anew")


def _needed(wheel: Wheel, target: Target) -> list[str]:
    """The names of what a wheel needs on a target; with any of its extras, since nobody says which are in use."""
    from email.parser import HeaderParser  # noqa: PLC0415 - for what is resolved here alone

    fields = HeaderParser().parsestr(wheel.read("METADATA").decode(errors="replace"))
    extras = ["", *(str(extra) for extra in fields.get_all("Provides-Extra", []))]
    names: set[str] = set()
    for text in fields.get_all("Requires-Dist", []):
        try:
            requirement = Requirement(str(text))
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**target.environment, "extra": extra}) for extra in extras):
            names.add(canonicalize_name(requirement.name))
    return sorted(names)
