"""Kept: what a file was loaded to, as bytes and back, so that the same file is not parsed and validated again.

A SpecFile is a function of the text, of where it stands and of what the command line says, all of which is its key,
and where it asks git of the commit's time, which is a part of its key too. What is found again is the same value in
every respect, positions and documents included. A file that a crash cut short fails its checksum, and one that was
written by another version has another key. Pure, but for where files are kept and for git.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec

from layerkit.document.problem import InvalidValue, Position, Source
from layerkit.document.tree import Document, Entry, Node, Scalar
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference
from layerkit.spec import model
from layerkit.spec.model import SpecFile

_STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {
    kind.__name__: kind
    for kind in (
        Platform,
        Reference,
        model.Apt,
        model.ArchiveBase,
        model.Attributes,
        model.Compression,
        model.Config,
        model.Content,
        model.Copy,
        model.Directory,
        model.Fetch,
        model.Healthcheck,
        model.ImageBase,
        model.ImageSpec,
        model.Layer,
        model.LayoutBase,
        model.Mirror,
        model.Python,
        model.RegistryBase,
        model.Remove,
        model.RootfsBase,
        model.Scratch,
        model.Spec,
        model.SpecFile,
        model.StoreBase,
        model.Symlink,
        model.User,
    )
}
_TEXTS: Final[dict[str, Callable[[str], object]]] = {
    kind.__name__: kind for kind in (Digest, Path, model.ArchiveFormat, model.CompressionKind)
}
"""What is made of a text, and becomes that text again by `str`."""

_ASKS_GIT: Final = b"timestamp: git"
"""In the place of a file whose key is not known before git was asked."""


class Files(Protocol):
    """Where bytes are kept by their keys. What was kept may be gone, and may be damaged."""

    def find(self, key: str) -> bytes | None: ...

    def keep(self, key: str, content: bytes) -> None: ...


def make_key(content: bytes, *circumstances: object) -> str:
    """The name of what `content` is loaded to under these circumstances, each of which its `repr` tells whole."""
    known = hashlib.sha256(repr(circumstances).encode(errors="surrogatepass"))
    known.update(hashlib.sha256(content).digest())
    return known.hexdigest()


def encode_file(file: SpecFile) -> bytes | None:
    """The file as bytes; None for one that is not to be kept, like that of a folder whose name is not UTF-8."""
    try:
        payload = msgspec.msgpack.encode((file.document.source.lines, _Packer(file.document.source).pack(file)))
    except (TypeError, ValueError, OverflowError):
        return None
    return hashlib.sha256(payload).digest() + payload


def decode_file(raw: bytes, name: str) -> SpecFile | None:
    """What was encoded of the file with this name in its errors; None where that is damaged."""
    digest, payload = raw[:32], raw[32:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    try:
        lines, packed = msgspec.msgpack.decode(payload)
        file = _Unpacker(Source(name, tuple(lines))).unpack(packed)
    except (msgspec.DecodeError, LookupError, OCIError, TypeError, ValueError):
        return None
    return file if isinstance(file, SpecFile) else None


class KeptFile(msgspec.Struct, frozen=True):
    """The place in `files` of what was loaded by `key`; `name` is that of the file in its errors. `commit_time` is what
    git says; it raises InvalidValue."""

    files: Files
    key: str
    name: str
    commit_time: Callable[[], int]

    def find(self) -> SpecFile | None:
        raw = self.files.find(self.key)
        if raw == _ASKS_GIT:
            try:
                raw = self.files.find(self._dated_key())
            except InvalidValue:
                # Whoever parses it says so, with the line where it asks.
                return None
        return decode_file(raw, self.name) if raw is not None else None

    def keep(self, file: SpecFile, *, asks_git: bool) -> None:
        encoded = encode_file(file)
        if encoded is None:
            return
        if asks_git:
            self.files.keep(self._dated_key(), encoded)
        self.files.keep(self.key, _ASKS_GIT if asks_git else encoded)

    def _dated_key(self) -> str:
        return make_key(b"", self.key, self.commit_time())


class _Packer:
    """Values to lists: what msgpack has stays as it is, all else is a list that begins with the name of its kind."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def pack(self, value: object) -> object:
        match value:
            case None | bool() | int():
                return value
            case str() if type(value) is str:
                return value
            case tuple():
                return ["tuple", *map(self.pack, value)]
            case Position():
                return ["Position", *self._place(value)]
            case Document() if value.source is self._source:
                return ["Document", self._node(value.root)]
            case MappingProxyType():
                return ["Mapping", {key: _only_text(text) for key, text in value.items()}]
            case msgspec.Struct() if type(value) is _STRUCTS.get(type(value).__name__):
                return [type(value).__name__, *(self.pack(getattr(value, f)) for f in value.__struct_fields__)]
            case Path():
                return ["Path", str(value)]
            case str() if type(value).__name__ in _TEXTS:
                return [type(value).__name__, str(value)]
            case _:
                raise TypeError(type(value).__name__)

    def _place(self, position: Position) -> tuple[int, int]:
        if position.file != self._source.file:
            raise TypeError("a position in another file")
        return position.line, position.column

    def _node(self, node: Node) -> list[object]:
        place = self._place(node.position)
        match node.content:
            case None:
                return [*place]
            case Scalar() as scalar:
                return [*place, str(scalar), scalar.plain]
            case list() as items:
                return [*place, [self._node(item) for item in items]]
            case dict() as entries:
                found = {key: [*self._place(entry.position), self._node(entry.node)] for key, entry in entries.items()}
                return [*place, found]


def _only_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return str(value)


class _Unpacker:
    def __init__(self, source: Source) -> None:
        self._source = source

    def unpack(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        kind, *parts = value
        if kind in _STRUCTS:
            known = _STRUCTS[kind]
            return known(**dict(zip(known.__struct_fields__, map(self.unpack, parts), strict=True)))
        match kind:
            case "tuple":
                return tuple(map(self.unpack, parts))
            case "Position":
                return self._source.at(*parts)
            case "Document":
                return Document(self._source, self._node(parts[0]))
            case "Mapping":
                return MappingProxyType(parts[0])
            case _:
                return _TEXTS[kind](*parts)

    def _node(self, packed: list[Any]) -> Node:
        line, column, *content = packed
        position = self._source.at(line, column)
        match content:
            case []:
                return Node(position, None)
            case [str() as text, plain]:
                return Node(position, Scalar(text, plain=plain))
            case [list() as items]:
                return Node(position, [self._node(item) for item in items])
            case [entries]:
                return Node(position, dict(self._entries(entries.items())))
            case _:
                raise ValueError(content)

    def _entries(self, entries: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Entry]]:
        for key, (line, column, node) in entries:
            yield key, Entry(self._source.at(line, column), self._node(node))
