"""The lock: what a spec file's remote things were when they were looked up last, so that they are the same next time.

A file beside the spec, in TOML, for people to read the differences of: sorted, one package a line. It has what things
are called and their digests, and no mirror or index, so that one lock serves behind any of them. Names and paths in it
are checked to be no more than that.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from layerkit.document.problem import DocumentError, Position, Problem
from layerkit.oci.codec import encode_json
from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform, parse_platform

VERSION: Final = 1

_HEAD: Final = """\
# Made by `layerkit lock`, to be kept beside the spec. `layerkit lock --upgrade` brings what is newer.
"""
_MOST_BYTES: Final = 64 * 2**20
_MEND: Final = "take it back from your version control, or remove the file and run `layerkit lock`"
_PART: Final = re.compile(r"[^.\[\]]+")
_PLACE: Final = re.compile(r"(?s)(.*) \(at line (\d+), column (\d+)\)\Z")

_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~:-]*\Z", max_length=255)]
_FileName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+!~-]*\Z", max_length=255)]
_Version: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~:!-]*\Z", max_length=255)]
_Path: TypeAlias = Annotated[
    str,
    msgspec.Meta(pattern=r"^(?:(?!\.{1,2}/)[A-Za-z0-9._+~:%-]+/)*(?!\.{1,2}\Z)[A-Za-z0-9._+~:%-]+\Z", max_length=1024),
]
_Snapshot: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9]{8}T[0-9]{6}Z)?\Z")]
_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class LayerKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer of an image of the file, for one platform."""

    image: _Text
    layer: _Text
    platform: Platform

    def __str__(self) -> str:
        return f"layer {self.layer!r} of {self.image} for {self.platform}"


class LockedURL(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was at a URL; `size` is in bytes."""

    sha256: Digest
    size: _Size


class LockedDeb(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Debian package. `path` is relative to a mirror; `reason` says who wanted it."""

    name: _Name
    version: _Version
    architecture: _Name
    path: _Path
    size: _Size
    sha256: Digest
    reason: str = ""


class LockedWheel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wheel of a Python package. `file` is its name in an index; `reason` says who wanted it."""

    name: _Name
    version: _Version
    file: _FileName
    size: _Size
    sha256: Digest
    reason: str = ""


class AptLock(msgspec.Struct, frozen=True, kw_only=True):
    """The packages of an `apt:`, by their names whatever the order they came in.

    `request` is the digest of all that chose them (`digest_request`): with another one they have to be chosen anew.
    `snapshot` is the time of a dated archive, like 20261101T000000Z, or empty.
    """

    request: Digest
    suites: tuple[str, ...] = ()
    snapshot: str = ""
    packages: tuple[LockedDeb, ...]

    def __post_init__(self) -> None:
        ordered = sorted(self.packages, key=lambda deb: (deb.name, deb.architecture, deb.version))
        msgspec.structs.force_setattr(self, "packages", tuple(ordered))


class PythonLock(msgspec.Struct, frozen=True, kw_only=True):
    """The wheels of a `python:`, by their names. `request` is as AptLock's."""

    request: Digest
    packages: tuple[LockedWheel, ...]

    def __post_init__(self) -> None:
        ordered = sorted(self.packages, key=lambda wheel: (wheel.name, wheel.version, wheel.file))
        msgspec.structs.force_setattr(self, "packages", tuple(ordered))


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """What a lock file says. `bases` are digests by the reference as the spec means it, with registry and tag; `urls`
    are by the URL for a platform."""

    bases: Mapping[str, Digest] = msgspec.field(default_factory=_nothing)
    urls: Mapping[str, LockedURL] = msgspec.field(default_factory=_nothing)
    apt: Mapping[LayerKey, AptLock] = msgspec.field(default_factory=_nothing)
    python: Mapping[LayerKey, PythonLock] = msgspec.field(default_factory=_nothing)


NO_LOCK: Final = Lock()


def digest_request(asked: object) -> Digest:
    """What a request is called: the digest of all that a choice of packages depends on, as a value that JSON has a
    form for (lists, maps, texts and numbers). Neither the mirrors nor what they have belongs to it."""
    return Digest.of(encode_json(asked))


def lock_path(spec: Path) -> Path:
    """The lock of a spec file: `layerkit.yaml` has `layerkit.lock` beside it."""
    return spec.with_suffix(".lock")


def load_lock(path: Path) -> Lock:
    """The lock in a file, empty where there is none. Raises DocumentError, which names the file and what is wrong."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return NO_LOCK
    except OSError as error:
        raise DocumentError([Problem(Position(str(path)), f"cannot be read: {error.strerror}")]) from error
    if len(content) > _MOST_BYTES:
        raise DocumentError([Problem(Position(str(path)), f"the file has more than {_MOST_BYTES} bytes, no lock has")])
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise DocumentError([Problem(Position(str(path)), "the file is no UTF-8", hint=_MEND)]) from None
    return parse_lock(text, str(path))


class _AptForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    image: _Text
    layer: _Text
    platform: _Text
    request: Digest
    suites: tuple[_Text, ...] = ()
    snapshot: _Snapshot = ""
    package: tuple[LockedDeb, ...]


class _PythonForm(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    image: _Text
    layer: _Text
    platform: _Text
    request: Digest
    package: tuple[LockedWheel, ...]


class _Form(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The shape of the file. A `package` is one line of it; what they belong to is said once."""

    version: int
    bases: dict[_Text, Digest] = msgspec.field(default_factory=dict)
    urls: dict[_Text, LockedURL] = msgspec.field(default_factory=dict)
    apt: tuple[_AptForm, ...] = ()
    python: tuple[_PythonForm, ...] = ()


def parse_lock(text: str, name: str) -> Lock:
    """The lock that a text says; `name` is that of its file.

    Raises DocumentError with the line of what is no TOML, and the path of what is no lock, like
    `apt[3].package[0].sha256`.
    """

    import tomllib  # noqa: PLC0415 - most specs have no lock

    def refuse(message: str, hint: str = _MEND, *, line: int = 0, column: int = 0) -> DocumentError:
        return DocumentError([Problem(Position(name, line, column), message, hint=hint)])

    try:
        # As a text file is read elsewhere, too: whoever keeps it may have turned its line ends.
        values = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.match(str(error))
        if place is None:
            raise refuse(f"no lock: {error}") from None
        raise refuse(f"no lock: {place[1]}", line=int(place[2]), column=int(place[3])) from None
    except RecursionError:
        raise refuse("no lock: nested too deep") from None
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise refuse(f"the lock is of form {version}, this layerkit knows up to {VERSION}", "use a newer layerkit")
    try:
        form = msgspec.convert(values, _Form, dec_hook=_construct)
    except msgspec.ValidationError as error:
        raise refuse(_tell(error, values)) from None
    if form.version < 1:
        raise refuse(f"version: {form.version} is none")
    apt: dict[LayerKey, AptLock] = {}
    for number, each in enumerate(form.apt):
        key = _key(each, f"apt[{number}]", refuse)
        if key in apt:
            raise refuse(f"apt[{number}]: {key} is there twice")
        _refuse_twins([(deb.name, deb.architecture) for deb in each.package], f"apt[{number}]", refuse)
        apt[key] = AptLock(request=each.request, suites=each.suites, snapshot=each.snapshot, packages=each.package)
    python: dict[LayerKey, PythonLock] = {}
    for number, asked in enumerate(form.python):
        key = _key(asked, f"python[{number}]", refuse)
        if key in python:
            raise refuse(f"python[{number}]: {key} is there twice")
        _refuse_twins([(wheel.name,) for wheel in asked.package], f"python[{number}]", refuse)
        python[key] = PythonLock(request=asked.request, packages=asked.package)
    return Lock(
        bases=MappingProxyType(form.bases),
        urls=MappingProxyType(form.urls),
        apt=MappingProxyType(apt),
        python=MappingProxyType(python),
    )


def _key(form: _AptForm | _PythonForm, where: str, refuse: Callable[[str], DocumentError]) -> LayerKey:
    try:
        platform = parse_platform(form.platform)
    except ValueError as error:
        raise refuse(f"{where}.platform: {error}") from None
    return LayerKey(image=form.image, layer=form.layer, platform=platform)


def _refuse_twins(names: Iterable[tuple[str, ...]], where: str, refuse: Callable[[str], DocumentError]) -> None:
    seen: set[tuple[str, ...]] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise refuse(f"{where}.package[{number}]: {':'.join(name)} is there twice")
        seen.add(name)


def _construct(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {type(value).__name__}")  # noqa: TRY004 - the decoder adds the path
    if kind is Digest:
        try:
            # Of a sha256 the digits alone are written.
            return Digest(value if ":" in value else f"sha256:{value}")
        except OCIError as error:
            raise ValueError(error.message) from None
    raise TypeError(kind)


def _tell(error: msgspec.ValidationError, values: Any) -> str:
    """What is wrong and where, with the value: a pattern that it does not match says nothing to people."""
    message, _, path = str(error).partition(" - at `$")
    where = path.removesuffix("`").removeprefix(".")
    if "matching regex" in message:
        for part in _PART.findall(where):
            values = values[int(part) if isinstance(values, list) else part]
        return f"{where}: {shorten(str(values))} is no {where.rpartition('.')[2]}"
    message = message[:1].lower() + message[1:]
    return f"{where}: {message}" if where else message


def format_lock(lock: Lock) -> str:
    """The text of a lock: the same for the same lock."""
    return "\n".join(_lines(lock))


def _lines(lock: Lock) -> Iterator[str]:
    yield _HEAD + f"version = {VERSION}"
    if lock.bases:
        yield "\n[bases]"
        for reference, digest in sorted(lock.bases.items()):
            yield f"{_quote(reference)} = {_quote(digest)}"
    if lock.urls:
        yield "\n[urls]"
        for url, locked in sorted(lock.urls.items()):
            yield f"{_quote(url)} = {_inline(sha256=locked.sha256.encoded, size=locked.size)}"
    for key, apt in sorted(lock.apt.items(), key=_order):
        yield from _head("apt", key, apt.request)
        yield f"suites = [{', '.join(map(_quote, apt.suites))}]"
        if apt.snapshot:
            yield f"snapshot = {_quote(apt.snapshot)}"
        yield from _packages(apt.packages)
    for key, python in sorted(lock.python.items(), key=_order):
        yield from _head("python", key, python.request)
        yield from _packages(python.packages)
    yield ""


def _order(item: tuple[LayerKey, object]) -> tuple[str, str, str]:
    key = item[0]
    return key.image, key.layer, str(key.platform)


def _head(kind: str, key: LayerKey, request: Digest) -> Iterator[str]:
    yield f"\n[[{kind}]]"
    yield f"image = {_quote(key.image)}"
    yield f"layer = {_quote(key.layer)}"
    yield f"platform = {_quote(str(key.platform))}"
    yield f"request = {_quote(request)}"


def _packages(packages: Iterable[LockedDeb | LockedWheel]) -> Iterator[str]:
    yield "package = ["
    for package in packages:
        fields = msgspec.structs.asdict(package)
        yield f"  {_inline(**{**fields, 'sha256': package.sha256.encoded})},"
    yield "]"


def _inline(**fields: str | int) -> str:
    """A table in one line, without what is empty."""
    written = [
        f"{name} = {_quote(value) if isinstance(value, str) else value}"
        for name, value in fields.items()
        if value != ""
    ]
    return f"{{ {', '.join(written)} }}"


def _quote(text: str) -> str:
    """A basic string (TOML 1.0): what would not be seen is written by its number."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _by_number(c)) for c in text) + '"'


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _by_number(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
