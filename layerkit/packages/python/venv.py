"""Installing: wheels in, the entries of a virtual environment out. No interpreter runs.

The shape is that of `python -m venv`: `pyvenv.cfg` beside `bin`, where links lead to the interpreter of the image, and
programs that begin with such a link, so that they find what is installed beside them. There is no byte code, and
`INSTALLER` says who made it; RECORD has all that a wheel became. Sources: PyPA, "Binary distribution format",
"Recording installed projects"; PEP 405. Blocking, as far as scripts are read.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, Source
from layerkit.oci.digest import Digest
from layerkit.packages.errors import PackageError
from layerkit.packages.python.bytecode import Module, cached_name
from layerkit.packages.python.record import Hash, Row, encode_record
from layerkit.packages.python.scripts import make_launcher, set_interpreter
from layerkit.packages.python.target import Target
from layerkit.packages.python.wheel import Member, Wheel

INSTALLER: Final = b"layerkit\n"
VERSION: Final = 1
"""Of what is made of wheels: who changes that counts it up."""

_ENVIRONMENT: Final = "python: the environment"
_MADE_ANEW: Final = frozenset({"RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"})
"""In `.dist-info`: what installers write. A wheel has no say in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Venv:
    """Where wheels go: `into` and `interpreter` are absolute paths in the image, without a `/` at their end."""

    into: str
    interpreter: str
    target: Target
    uid: int = 0
    gid: int = 0

    @property
    def python(self) -> str:
        """The interpreter as programs of the environment begin with it."""
        return f"{self.into}/bin/python"

    @property
    def site_packages(self) -> str:
        """Below `into`."""
        return f"lib/{self.target.python}/site-packages"


class Placed(NamedTuple):
    """`origin` says in a few words where the entry is from."""

    entry: Entry
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The environment, without the folders in which it stands. `warnings` are what a person may want to know."""

    placed: tuple[Placed, ...]
    warnings: tuple[str, ...]


Compile = Callable[[Sequence[Module]], Sequence[bytes]]
"""Byte code for modules, nothing for what is none."""


def install(wheels: Iterable[Wheel], venv: Venv, *, compile_modules: Compile | None = None) -> Installed:
    """The wheels in the order of their names, with byte code where that can be made.

    Raises PackageError for what cannot be installed, naming the wheel.
    """
    return _Installer(venv, compile_modules).install(sorted(wheels, key=lambda wheel: wheel.name))


class _File(NamedTuple):
    """A file below `into`; `hash` is None for a RECORD, which cannot say its own."""

    source: Source
    is_executable: bool
    hash: Hash | None
    origin: str


class _Installer:
    def __init__(self, venv: Venv, compile_modules: Compile | None) -> None:
        self._venv = venv
        self._compile_modules = compile_modules
        self._files: dict[str, _File] = {}
        self._owners: dict[str, Wheel] = {}
        self._shared: dict[tuple[str, str], list[str]] = {}
        """Paths that two wheels have with different content, by the two."""
        self._links = dict(_links(venv))
        self._taken = {"pyvenv.cfg", *self._links}

    def install(self, wheels: Sequence[Wheel]) -> Installed:
        venv = self._venv
        if venv.interpreter.startswith((f"{venv.into}/bin/", f"{venv.into}/lib64/")):
            raise PackageError(
                f"{venv.interpreter} stands where the environment has links to it: choose an `into` of its own, like "
                "/opt/venv"
            )
        _check_once(wheels)
        _check_tags(wheels, self._venv.target)
        paths = {wheel.name: self._place(wheel) for wheel in wheels}
        if self._compile_modules is not None:
            for wheel in wheels:
                paths[wheel.name] += self._compile(wheel, self._compile_modules)
        for wheel in wheels:
            self._record(wheel, paths[wheel.name])
        try:
            placed = tuple(self._entries())
        except LayerError as error:
            raise PackageError(str(error)) from error
        return Installed(placed=placed, warnings=tuple(self._warn()))

    def _warn(self) -> Iterator[str]:
        for (one, other), paths in self._shared.items():
            others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            are = "are" if others else "is"
            yield f"{self._venv.into}/{min(paths)}{others} {are} in both {one} and {other}: the latter has its way"

    def _place(self, wheel: Wheel) -> list[str]:
        """Put the files of a wheel where they belong; where that is."""
        paths = []
        for member in wheel.members:
            if member.path.removeprefix(f"{wheel.dist_info}/") in _MADE_ANEW and member.path.startswith(
                f"{wheel.dist_info}/"
            ):
                continue
            path = self._destination(wheel, member)
            file = _File(member.source, member.is_executable, member.hash, f"python: {wheel}")
            if member.scheme == "scripts":
                file = self._adapt(wheel, member, file)
            self._put(path, file, wheel)
            paths.append(path)
        for point in wheel.programs:
            path = f"bin/{point.name}"
            program = _naming(wheel, make_launcher, point, self._venv.python)
            self._put(path, _made(program, f"python: {wheel}", is_executable=True), wheel)
            paths.append(path)
        path = f"{self._venv.site_packages}/{wheel.dist_info}/INSTALLER"
        self._put(path, _made(INSTALLER, f"python: {wheel}"), wheel)
        paths.append(path)
        return paths

    def _compile(self, wheel: Wheel, compile_modules: Compile) -> list[str]:
        """Put the byte code of a wheel's modules beside them; where that is."""
        venv = self._venv
        places = {self._destination(wheel, member): member for member in wheel.members}
        modules = [
            path
            for path in places
            if path.startswith(f"{venv.site_packages}/") and path.endswith(".py") and self._owners[path] is wheel
        ]
        made = compile_modules([Module(f"{venv.into}/{path}", wheel.read_member(places[path])) for path in modules])
        found = []
        for path, code in zip(modules, made, strict=True):
            place = cached_name(path, venv.target.version)
            # What a wheel brings itself is made by somebody who had a reason.
            if code and place not in self._files:
                self._put(place, _made(code, f"python: {wheel}"), wheel)
                found.append(place)
        return found

    def _destination(self, wheel: Wheel, member: Member) -> str:
        match member.scheme:
            case "scripts":
                return f"bin/{member.path}"
            case "headers":
                return f"include/site/{self._venv.target.python}/{wheel.distribution.partition('-')[0]}/{member.path}"
            case "data":
                # Where the link of that name leads.
                return re.sub(r"\Alib64/", "lib/", member.path)
            case _:
                return f"{self._venv.site_packages}/{member.path}"

    def _adapt(self, wheel: Wheel, member: Member, file: _File) -> _File:
        """A script of a wheel: it can be run, and with the interpreter of the image where it asks for one."""
        if not wheel.begins_with(member, b"#!python"):
            return file._replace(is_executable=True)
        script = _naming(wheel, set_interpreter, wheel.read_member(member), self._venv.python)
        return _made(script, file.origin, is_executable=True)

    def _put(self, path: str, file: _File, wheel: Wheel) -> None:
        if path in self._taken or path.startswith(tuple(f"{link}/" for link in self._links)):
            raise PackageError(f"{wheel.file} would replace {self._venv.into}/{path}, which makes the environment")
        before = self._owners.get(path)
        if before is wheel:
            if self._files[path].hash == file.hash:
                return
            # The program that its entry points declare, where it brings a script of that name too.
            if not path.startswith("bin/"):
                raise PackageError(f"{wheel.file} has two files for {self._venv.into}/{path}")
        elif before is not None and self._files[path].hash != file.hash:
            self._shared.setdefault((before.file, wheel.file), []).append(path)
        self._files[path] = file
        self._owners[path] = wheel

    def _record(self, wheel: Wheel, paths: Iterable[str]) -> None:
        """RECORD, of what is there now: a file that another wheel replaced is recorded by both."""
        place = f"{self._venv.site_packages}/{wheel.dist_info}/RECORD"
        rows = {self._row(path) for path in paths}
        rows.add(Row(self._relative(place)))
        content = encode_record(rows)
        self._put(place, _File(BytesSource(content), is_executable=False, hash=None, origin=f"python: {wheel}"), wheel)

    def _row(self, path: str) -> Row:
        file = self._files[path]
        return Row(self._relative(path), file.hash, file.source.size)

    def _relative(self, path: str) -> str:
        inside = f"{self._venv.site_packages}/"
        return path.removeprefix(inside) if path.startswith(inside) else f"../../../{path}"

    def _entries(self) -> Iterator[Placed]:
        venv = self._venv
        usual = ("", "bin", "lib", f"lib/{venv.target.python}", venv.site_packages)
        folders = dict.fromkeys(usual, _ENVIRONMENT)
        for path, file in self._files.items():
            parent = path.rpartition("/")[0]
            while parent not in folders:
                folders[parent] = file.origin
                parent = parent.rpartition("/")[0]
        for path in sorted(folders):
            if path in self._files:
                other = folders[path].removeprefix("python: ")
                raise PackageError(
                    f"{venv.into}/{path} is a file of {self._owners[path].file}, and a folder of {other}"
                )
            yield Placed(self._entry(path, EntryType.DIRECTORY, 0o755), _ENVIRONMENT)
        yield Placed(self._entry("pyvenv.cfg", EntryType.FILE, 0o644, source=BytesSource(_config(venv))), _ENVIRONMENT)
        for path, target in self._links.items():
            yield Placed(self._entry(path, EntryType.SYMLINK, 0o777, link=target), _ENVIRONMENT)
        for path, file in sorted(self._files.items()):
            mode = 0o755 if file.is_executable else 0o644
            yield Placed(self._entry(path, EntryType.FILE, mode, source=file.source), file.origin)

    def _entry(self, path: str, kind: EntryType, mode: int, *, link: str = "", source: Source | None = None) -> Entry:
        whole = f"{self._venv.into}/{path}".strip("/")
        venv = self._venv
        return Entry(path=whole, type=kind, mode=mode, uid=venv.uid, gid=venv.gid, link=link, source=source)


def _links(venv: Venv) -> Iterator[tuple[str, str]]:
    yield "bin/python", venv.interpreter
    yield "bin/python3", "python"
    yield f"bin/{venv.target.python}", "python"
    # Distributions that part libraries by their word look for `platlib` there.
    yield "lib64", "lib"


def _config(venv: Venv) -> bytes:
    return (
        f"home = {venv.interpreter.rpartition('/')[0] or '/'}\n"
        "include-system-site-packages = false\n"
        f"version = {venv.target.full_version}\n"
    ).encode()


def _made(content: bytes, origin: str, *, is_executable: bool = False) -> _File:
    digest = bytes.fromhex(Digest.of(content).encoded)
    return _File(BytesSource(content), is_executable, Hash.of(digest), origin)


def _naming(wheel: Wheel, make: "Callable[..., bytes]", *arguments: object) -> bytes:
    try:
        return make(*arguments)
    except PackageError as error:
        raise PackageError(f"{wheel.file}: {error}") from error


def _check_once(wheels: Sequence[Wheel]) -> None:
    seen: dict[str, Wheel] = {}
    for wheel in wheels:
        before = seen.setdefault(wheel.name, wheel)
        if before is not wheel:
            raise PackageError(f"{wheel.name} is there twice, as {before.file} and {wheel.file}: choose one of the two")


def _check_tags(wheels: Sequence[Wheel], target: Target) -> None:
    for wheel in wheels:
        if not wheel.tags & target.ranks.keys():
            tags = ", ".join(sorted(map(str, wheel.tags)))
            raise PackageError(f"{wheel.file} is for {tags}, and not for {target}")
