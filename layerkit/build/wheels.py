"""Wheels: what `python:` asks for, chosen for the interpreter that an image has and brought to this machine.

A lock of Python's own tools is read here; requirements are uv's to resolve. What is asked for has a digest, so that a
lock of ours tells whether it still answers it; where wheels are found is asked again each time, and never locked.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

import msgspec

from layerkit.build.environments import ArrivedWheels, Environments
from layerkit.build.fetch import Answer, Fetcher, OpenURL
from layerkit.build.filesystem import Filesystem
from layerkit.build.kept import Keeper
from layerkit.build.python_tools import PythonTools
from layerkit.build.together import run_together
from layerkit.layer.errors import LayerError
from layerkit.layer.limits import Limits
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid, OCIError
from layerkit.packages.debian.database import read_installed
from layerkit.packages.errors import PackageError
from layerkit.packages.lock import AptLock, LockedWheel, PythonLock, digest_request
from layerkit.packages.osrelease import read_os_release
from layerkit.packages.python.bytecode import find_interpreter
from layerkit.packages.python.choice import Chosen
from layerkit.packages.python.indexes import NO_INDEXES, Indexes, indexes_of, without_login
from layerkit.packages.python.interpreter import Surroundings, find_target
from layerkit.packages.python.pylock import choose_of_pylock
from layerkit.packages.python.requirements import Requirements, fill_in, load_requirements
from layerkit.packages.python.target import Target, machine_of
from layerkit.packages.python.uv import Uv, find_uv
from layerkit.packages.python.uvlock import choose_of_uvlock
from layerkit.packages.python.wheel import Wheel, open_wheel
from layerkit.spec.model import Python, Spec

_AT_ONCE: Final = 8
_PIECE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Wheels for one target. `texts` are the files that name them, by their paths in the context."""

    python: Python
    target: Target
    requirements: Requirements | None
    texts: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> Digest:
        """What all of it is called. Neither indexes nor what they have belongs to it."""
        python, target = self.python, self.target
        return digest_request(
            {
                "files": [[name, text] for name, text in sorted(self.texts.items())],
                "extras": sorted(python.extras),
                "groups": None if python.groups is None else sorted(python.groups),
                "project": python.project,
                "python": target.full_version,
                "machine": target.machine,
                "libc": str(target.libc),
            }
        )


@dataclass(slots=True, kw_only=True)
class Wheels:
    """Those of one build."""

    fetcher: Fetcher
    tools: PythonTools
    environments: Environments
    told: dict[Path, Indexes]
    """What this machine's pip and uv have been told, by the folders of projects for which that was asked; and what
    requirements say themselves, by their files."""
    _urls: dict[Digest, str] = field(default_factory=dict)
    """Where wheels are, of those that were chosen in this build."""
    _projects: dict[Path, Wheel] = field(default_factory=dict)

    def ask(
        self, python: Python, spec: Spec, base: Filesystem, below: Sequence[AptLock], environment: Mapping[str, str]
    ) -> Request:
        """What a layer asks for. `below` are the packages of this layer and those below it, `environment` is that of
        the base. Blocking. Raises DocumentError."""
        try:
            packages = {package.name: package.version for package in read_installed(base, architecture="")}
            packages.update({deb.name: deb.version for lock in below for deb in lock.packages})
            around = Surroundings(
                tree=base.tree, packages=packages, environment=environment, os_release=read_os_release(base.read)
            )
            target, warnings = find_target(around, machine_of(spec.platform), python.interpreter, python.version)
            requirements = None
            texts = {}
            if python.requirements:
                requirements = load_requirements(spec.context / python.requirements, spec.context)
                texts = dict(requirements.files)
                urls = [fill_in(url, self.tools.environment) for url in requirements.indexes]
                self.told[requirements.path] = indexes_of(urls)
            elif python.lock:
                texts = dict(load_requirements(spec.context / python.lock, spec.context).files)
        except (PackageError, LayerError) as error:
            raise spec.problem(python.position, str(error)) from error
        return Request(python=python, target=target, requirements=requirements, texts=texts, warnings=warnings)

    async def resolve(self, request: Request, spec: Spec, preferred: Mapping[str, str]) -> PythonLock:
        """Which wheels answer a request by what indexes have now. What is not said of them is told by the wheels
        themselves, which are brought then. `preferred` are versions by name that are kept where they may be.

        Raises DocumentError and OCIError.
        """
        python = request.python
        try:
            chosen = await asyncio.to_thread(self._choose, request, spec, preferred)
            self._note(chosen)
            if request.requirements is not None or any(each.size is None or each.sha256 is None for each in chosen):
                locked = await run_together([self._see(each) for each in chosen], at_once=_AT_ONCE)
            else:
                locked = [_locked(each, each.sha256, each.size or 0) for each in chosen if each.sha256 is not None]
            if request.requirements is not None:
                for wheel in locked:
                    request.requirements.check(wheel.name, wheel.file, wheel.sha256)
                locked = await asyncio.to_thread(self._tell_reasons, locked, request)
        except PackageError as error:
            raise spec.problem(python.position, str(error)) from error
        return PythonLock(request=request.digest, packages=tuple(locked))

    def _choose(
        self, request: Request, spec: Spec, preferred: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[Chosen, ...]:
        """What uv or a lock answers. Blocking. Raises PackageError."""
        python, target = request.python, request.target
        path = spec.context / python.file
        self._indexes(path.parent)
        if python.requirements:
            answer = self._uv(path.parent).compile(
                path, target, extras=python.extras, groups=python.groups or (), preferred=preferred
            )
            # `-e .` there is the project, which is installed where the spec says so.
            return choose_of_pylock(
                answer.text,
                what=python.requirements,
                folder=answer.folder,
                target=target,
                project=path.parent,
                is_project_left_out=bool(python.project),
            )
        text = request.texts[next(iter(request.texts))]
        if path.name == "uv.lock":
            return choose_of_uvlock(
                text,
                what=python.lock,
                folder=path.parent,
                target=target,
                project=_project_folder(python, spec),
                extras=python.extras,
                groups=python.groups,
            )
        return choose_of_pylock(
            text, what=python.lock, folder=path.parent, target=target, extras=python.extras, groups=python.groups
        )

    def _uv(self, folder: Path) -> Uv:
        indexes = self._indexes(folder)
        return Uv(
            program=find_uv(),
            environment={**self.tools.environment, **indexes.environment},
            options=indexes.options,
        )

    def _indexes(self, folder: Path) -> Indexes:
        if folder not in self.told:
            self.told[folder] = self.tools.indexes(folder)
        return self.told[folder]

    def _note(self, chosen: Iterable[Chosen]) -> None:
        self._urls.update({each.sha256: without_login(each.url) for each in chosen if each.sha256 is not None})

    async def _see(self, chosen: Chosen) -> LockedWheel:
        """A wheel that is chosen, brought, so that its size is known."""
        url = without_login(chosen.url)
        path, digest = await self._fetch(url, chosen.sha256, chosen.file)
        self._urls[digest] = url
        return _locked(chosen, digest, (await asyncio.to_thread(path.stat)).st_size)

    def _tell_reasons(self, locked: Sequence[LockedWheel], request: Request) -> list[LockedWheel]:
        """Who asked for each of them, by what the wheels say that they need."""
        arrived = self._arrive(request, PythonLock(request=request.digest, packages=tuple(locked)))
        wanted = arrived.needs()
        asked_by = request.python.requirements
        return [
            LockedWheel(
                name=wheel.name,
                version=wheel.version,
                file=wheel.file,
                size=wheel.size,
                sha256=wheel.sha256,
                reason=", ".join(wanted.get(wheel.name, ())) or asked_by,
            )
            for wheel in locked
        ]

    async def bring(self, request: Request, lock: PythonLock, spec: Spec) -> ArrivedWheels:
        """The wheels of a lock, on this machine. Raises DocumentError and OCIError."""
        try:
            missing = [wheel for wheel in lock.packages if not self.fetcher.has(wheel.sha256, wheel.size)]
            if unknown := [wheel for wheel in missing if wheel.sha256 not in self._urls]:
                await asyncio.to_thread(self._find, unknown, request, spec)
            await run_together(
                [self._fetch(self._urls[wheel.sha256], wheel.sha256, wheel.file) for wheel in missing],
                at_once=_AT_ONCE,
            )
            python = request.python
            project = compiler = None
            if python.project:
                project = await asyncio.to_thread(self._build, _project_folder(python, spec), spec)
            if python.compile:
                compiler = find_interpreter(request.target.version, self.tools.environment)
        except PackageError as error:
            raise spec.problem(request.python.position, str(error)) from error
        return replace(self._arrive(request, lock), project=project, compiler=compiler or "")

    def _build(self, folder: Path, spec: Spec) -> Wheel:
        """The project in `folder` as a wheel, built once. Blocking. Raises PackageError."""
        if folder not in self._projects:
            if not folder.resolve().is_relative_to(spec.context.resolve()):
                raise PackageError(f"the project {folder.name} is outside of the folder of the spec")
            with tempfile.TemporaryDirectory(prefix="layerkit-") as made:
                path = self._uv(folder).build(folder, Path(made))
                wheel = open_wheel(path, limits=self.environments.limits, is_passing=True)
            if not wheel.is_pure or any(tag.abi != "none" or tag.platform != "any" for tag in wheel.tags):
                raise PackageError(
                    f"{wheel.file} has native code of this machine: build it for each platform (cibuildwheel), and "
                    "name the folder of the wheels as `find-links`"
                )
            self._projects[folder] = wheel
        return self._projects[folder]

    def _arrive(self, request: Request, lock: PythonLock) -> ArrivedWheels:
        return ArrivedWheels(
            python=request.python,
            target=request.target,
            lock=lock,
            paths={wheel.file: self.fetcher.path(wheel.sha256) for wheel in lock.packages},
            environments=self.environments,
            notes=request.warnings,
        )

    def _find(self, wheels: Sequence[LockedWheel], request: Request, spec: Spec) -> None:
        """See where wheels of a lock are today. Blocking. Raises PackageError."""
        path = spec.context / request.python.file
        if request.python.lock:
            self._note(self._choose(request, spec))
        else:
            answer = self._uv(path.parent).find(
                [(wheel.name, wheel.version) for wheel in wheels], request.target, path.parent
            )
            self._note(
                choose_of_pylock(answer.text, what="the answer of uv", folder=answer.folder, target=request.target)
            )
        for wheel in wheels:
            if wheel.sha256 not in self._urls:
                raise PackageError(
                    f"{wheel.file} is not to be found as the lock has it ({wheel.sha256}): where another took its "
                    "place, `layerkit lock --upgrade` takes that"
                )

    async def _fetch(self, url: str, sha256: Digest | None, name: str) -> tuple[Path, Digest]:
        try:
            return await self.fetcher.fetch(url, sha256, name)
        except DigestInvalid as error:
            raise PackageError(
                f"{name} is not what its index or the lock says: {error.message}; do not use it, or see who has "
                "changed it"
            ) from error
        except OCIError as error:
            raise PackageError(f"{name} cannot be brought: {error.message}") from error


def open_wheels(fetcher: Fetcher, tools: PythonTools | None, limits: Limits) -> Wheels:
    """Those that come through `fetcher`, which opens them with the logins of `tools`. Without tools nothing but the
    public index is known."""
    told: dict[Path, Indexes] = {}
    if tools is None:
        tools = _plain_tools(fetcher.open_url)
    keeper = Keeper(folder=fetcher.folder, is_trusted=fetcher.is_trusted)
    environments = Environments(keeper=keeper, limits=limits)
    fetcher = msgspec.structs.replace(fetcher, open_url=_opening(tools, told))
    return Wheels(fetcher=fetcher, tools=tools, environments=environments, told=told)


def _plain_tools(open_url: OpenURL) -> PythonTools:
    return PythonTools(
        indexes=lambda _: NO_INDEXES,
        environment={},
        open_url=lambda url, offset, version, _: open_url(url, offset, version),
    )


def _project_folder(python: Python, spec: Spec) -> Path:
    """`true` stands for that of the file which names the wheels."""
    beside = (spec.context / python.file).parent
    return beside if python.project in {"", "."} else spec.context / python.project


def _locked(chosen: Chosen, sha256: Digest, size: int) -> LockedWheel:
    return LockedWheel(
        name=chosen.name,
        version=chosen.version,
        file=chosen.file,
        size=size,
        sha256=sha256,
        reason=chosen.reason,
    )


@dataclass(frozen=True, slots=True)
class _FileAnswer:
    """A file of this machine, as a server would give it."""

    start: int
    size: int | None
    version: str
    chunks: AsyncIterator[bytes]


def _opening(tools: PythonTools, told: Mapping[Path, Indexes]) -> OpenURL:
    """How wheels are opened: with the logins that are `told`, by the folders for which that was asked."""

    @asynccontextmanager
    async def open_any(url: str, offset: int, version: str) -> AsyncIterator[Answer]:
        if url.startswith("file:"):
            path = Path(unquote(urlsplit(url).path))
            try:
                file = await asyncio.to_thread(path.open, "rb")
            except OSError as error:
                raise OCIError(f"{path} cannot be read: {error.strerror}") from error
            with file:
                yield _FileAnswer(0, os.fstat(file.fileno()).st_size, "", _read(file))
            return
        login = next((login for indexes in told.values() if (login := indexes.authorization(url))), "")
        async with tools.open_url(url, offset, version, login) as answer:
            yield answer

    return open_any


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece
