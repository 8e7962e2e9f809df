"""A wheel: what it says of itself, and where in it each file is.

A ZIP archive of files, of which `<name>-<version>.dist-info/RECORD` has the hashes of all. What could lead two readers
to two opinions of it is refused: names given twice, places that overlap, headers that contradict. Nothing is inflated
here but what is needed to know the rest; a file is verified as it is read. Sources: PyPA, "Binary distribution
format"; PKWARE, APPNOTE.TXT. Blocking.
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path
from typing import Final

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from layerkit.layer.errors import LayerError
from layerkit.layer.index import plain_name
from layerkit.layer.limits import DEFAULT_LIMITS, Limits, exceeds
from layerkit.layer.source import Contents, MemberSource
from layerkit.layer.spool import Spool
from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError
from layerkit.packages.python.record import Hash, parse_record
from layerkit.packages.python.scripts import EntryPoint, parse_entry_points

LARGEST_TEXT: Final = 64 * 2**20
"""Bytes of a file that is read at once: RECORD, METADATA, a script."""

_HEAD: Final = 4096
_UNHASHED: Final = frozenset({"RECORD", "RECORD.jws", "RECORD.p7s"})
_ENCRYPTED: Final = 0x1
_UNIX: Final = 3
_LOCAL: Final = struct.Struct("<4s2xHHHHIIIHH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_HAS_DESCRIPTOR: Final = 0x8
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
_DATA: Final = re.compile(r"(?P<name>[^/]+)\.data/(?P<scheme>[^/]+)/(?P<path>.+)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of a wheel. `path` is relative to the folder of its scheme; `hash` is that of RECORD.

    `scheme` is `purelib`, `platlib`, `scripts`, `headers` or `data`.
    """

    path: str
    scheme: str
    is_executable: bool
    hash: Hash
    source: MemberSource


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """`file` is the name of the wheel, `distribution` the first part of its folders `.dist-info` and `.data`."""

    file: str
    name: str
    version: Version
    tags: frozenset[Tag]
    distribution: str
    is_pure: bool
    members: tuple[Member, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def dist_info(self) -> str:
        return f"{self.distribution}.dist-info"

    def read(self, name: str) -> bytes:
        """The content of a file in `.dist-info`, nothing for what is not there. Raises PackageError."""
        return self.read_member(self._by_path[path]) if (path := f"{self.dist_info}/{name}") in self._by_path else b""

    def read_member(self, member: Member, *, most: int = LARGEST_TEXT) -> bytes:
        """Raises PackageError for what has more than `most` bytes, is damaged or not what RECORD says."""
        if member.source.size > most:
            raise PackageError(f"{member.source.name} has {member.source.size} bytes, {most} are allowed")
        try:
            return b"".join(member.source.pieces(2**20))
        except LayerError as error:
            raise PackageError(str(error)) from error

    def begins_with(self, member: Member, beginning: bytes) -> bool:
        """Raises PackageError for what is damaged there."""
        head = b""
        try:
            for piece in member.source.pieces(_HEAD):
                head += piece
                if len(head) >= len(beginning):
                    break
        except LayerError as error:
            raise PackageError(str(error)) from error
        return head.startswith(beginning)

    @cached_property
    def programs(self) -> tuple[EntryPoint, ...]:
        """Raises PackageError."""
        try:
            return parse_entry_points(self.read("entry_points.txt").decode())
        except UnicodeDecodeError as error:
            raise PackageError(f"{self.file}: its entry_points.txt is not UTF-8") from error
        except PackageError as error:
            raise PackageError(f"{self.file}: {error}") from error

    @cached_property
    def _by_path(self) -> Mapping[str, Member]:
        return {member.path: member for member in self.members if member.scheme in {"purelib", "platlib"}}


class _Kept:
    """A file that is opened for each read: an environment may be of more wheels than files may be open."""

    identity: str | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, offset: int, size: int) -> bytes:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(file, size, offset)
            finally:
                os.close(file)
        except OSError as error:
            raise LayerError(f"{self._path} cannot be read any more: {error.strerror}: build again") from error


def open_wheel(path: Path, *, file: str = "", limits: Limits = DEFAULT_LIMITS, is_passing: bool = False) -> Wheel:
    """The wheel at `path`, whose name is `file` where it is kept under another. One that `is_passing` can be read when
    it is no longer there. Raises PackageError, naming it."""
    file = file or path.name
    try:
        return _Opener(path, file, limits, is_passing=is_passing).open()
    except _DAMAGED as error:
        raise PackageError(f"{file} is damaged, or no wheel: {error}: fetch it again") from error
    except LayerError as error:
        raise PackageError(f"{file}: {error}") from error
    except PackageError as error:
        raise PackageError(f"{file} cannot be used: {error}") from error
    except OSError as error:
        raise PackageError(f"{file} cannot be read: {error.strerror}") from error


class _Opener:
    def __init__(self, path: Path, file: str, limits: Limits, *, is_passing: bool) -> None:
        self._path = path
        self._is_passing = is_passing
        self._file = file
        self._limits = limits

    def open(self) -> Wheel:
        try:
            name, version, _, tags = parse_wheel_filename(self._file)
        except (InvalidWheelFilename, InvalidVersion) as error:
            raise PackageError(f"its name is not that of a wheel: {error}") from error
        with self._path.open("rb") as file:
            spool = Spool.of(file)
            end = os.fstat(file.fileno()).st_size
            with zipfile.ZipFile(file) as archive:
                places = self._places(archive, spool, end)
                distribution = self._distribution(places, name, version)
                dist_info = f"{distribution}.dist-info"
                rows = parse_record(self._text(archive, places, f"{dist_info}/RECORD"))
                is_pure = self._read_wheel_file(self._text(archive, places, f"{dist_info}/WHEEL"))
                self._check_metadata(self._text(archive, places, f"{dist_info}/METADATA"), name, version)
        contents: Contents = spool if self._is_passing else _Kept(self._path)
        site = "purelib" if is_pure else "platlib"
        members = []
        for path, (info, offset) in places.items():
            folder, _, last = path.rpartition("/")
            if folder == dist_info and last in _UNHASHED:
                continue
            row = rows.get(path)
            if row is None or row.hash is None:
                raise PackageError(f"its RECORD has no hash for {shorten(path)}: whoever made it can add one")
            if row.size is not None and row.size != info.file_size:
                raise PackageError(f"{shorten(path)} has {info.file_size} bytes, and by its RECORD {row.size}")
            scheme, inner = self._scheme(path, distribution, site)
            source = MemberSource(
                archive=contents,
                name=f"{self._file}: {path}",
                offset=offset,
                stored=info.compress_size,
                size=info.file_size,
                is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
                algorithm=row.hash.algorithm,
                digest=row.hash.digest,
            )
            mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
            members.append(
                Member(path=inner, scheme=scheme, is_executable=bool(mode & 0o111), hash=row.hash, source=source)
            )
        return Wheel(
            file=self._file,
            name=name,
            version=version,
            tags=tags,
            distribution=distribution,
            is_pure=is_pure,
            members=tuple(sorted(members, key=lambda member: (member.scheme, member.path))),
        )

    def _places(self, archive: zipfile.ZipFile, spool: Spool, end: int) -> dict[str, tuple[zipfile.ZipInfo, int]]:
        """The files by their paths, with the offset of their content."""
        members = archive.infolist()
        limits = self._limits
        if len(members) > limits.entries:
            raise exceeds(limits, "entries", f"the wheel has {len(members)} entries")
        total = sum(info.file_size for info in members)
        if total > limits.uncompressed_size:
            raise exceeds(limits, "uncompressed_size", f"the wheel has {total} bytes uncompressed")
        places: dict[str, tuple[zipfile.ZipInfo, int]] = {}
        folders: set[str] = set()
        spans: list[tuple[int, int, str]] = []
        for info in members:
            # The module cuts names at a NUL, and takes backslashes for slashes elsewhere.
            if "\\" in info.filename or "\0" in info.orig_filename:
                raise PackageError(
                    f"it has a file {shorten(info.orig_filename)}, whose name leads somewhere on Windows"
                )
            path = plain_name(info.filename.encode(errors="surrogateescape"), limits)
            if path != info.filename.rstrip("/"):
                raise PackageError(f"it has a file {shorten(info.filename)}, whose name is not plain")
            begin = info.header_offset
            offset = self._content_offset(info, spool)
            spans.append((begin, offset + info.compress_size, path))
            if info.is_dir():
                folders.add(path)
                if info.file_size:
                    raise PackageError(f"its folder {shorten(path)} has content")
                continue
            mode = info.external_attr >> 16
            if info.create_system == _UNIX and stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
                raise PackageError(f"{shorten(path)} in it is no regular file, and a wheel has no other")
            if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
                raise PackageError(f"{shorten(path)} in it is encrypted, or compressed in a way that few can read")
            if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
                raise PackageError(f"{shorten(path)} in it is stored as it is, and has two sizes")
            if info.file_size > limits.ratio_after and info.file_size > limits.ratio * max(info.compress_size, 1):
                raise exceeds(
                    limits, "ratio", f"the {info.compress_size} bytes of {shorten(path)} are {info.file_size} unpacked"
                )
            if path in places:
                raise PackageError(f"it has {shorten(path)} twice")
            places[path] = info, offset
        _check_spans(spans, end)
        _check_folders(places, folders)
        return places

    def _content_offset(self, info: zipfile.ZipInfo, spool: Spool) -> int:
        """Where the content begins: behind a header of its own, which other readers may believe."""
        header = spool.read(info.header_offset, _LOCAL.size)
        fields: list[int]
        magic, *fields = _LOCAL.unpack(header)
        flags, method, _, _, _, stored, size, name_size, extra_size = fields
        if magic != _LOCAL_MAGIC:
            raise PackageError(f"there is no {shorten(info.filename)} where its table of contents says")
        name = spool.read(info.header_offset + _LOCAL.size, name_size)
        if name != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
            raise PackageError(f"it calls one file {shorten(info.filename)} and {shorten(name.decode('latin1'))}")
        is_told = not flags & _HAS_DESCRIPTOR and 0xFFFFFFFF not in {stored, size}
        if method != info.compress_type or (is_told and (stored, size) != (info.compress_size, info.file_size)):
            raise PackageError(f"its two headers of {shorten(info.filename)} contradict each other")
        return info.header_offset + _LOCAL.size + name_size + extra_size

    def _distribution(self, places: Mapping[str, object], name: str, version: Version) -> str:
        found = {path.partition("/")[0] for path in places if path.partition("/")[0].endswith(".dist-info")}
        if len(found) != 1:
            raise PackageError(f"it has {len(found)} folders .dist-info, and a wheel has one")
        distribution = found.pop().removesuffix(".dist-info")
        of, _, number = distribution.rpartition("-")
        if canonicalize_name(of) != name or not is_version(number, version):
            raise PackageError(f"its folder {shorten(distribution)}.dist-info is of another name or version")
        return distribution

    def _text(self, archive: zipfile.ZipFile, places: Mapping[str, tuple[zipfile.ZipInfo, int]], path: str) -> str:
        if path not in places:
            raise PackageError(f"it has no {path}")
        info, _ = places[path]
        if info.file_size > LARGEST_TEXT:
            raise PackageError(f"its {path} has {info.file_size} bytes, {LARGEST_TEXT} are allowed")
        with archive.open(info) as content:
            raw = content.read(info.file_size + 1)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise PackageError(f"its {path} is not UTF-8") from error

    def _read_wheel_file(self, text: str) -> bool:
        """Whether its files go to `purelib`."""
        fields = HeaderParser().parsestr(text)
        version = str(fields.get("Wheel-Version", "")).strip()
        if version.partition(".")[0] != "1":
            raise PackageError(f"its format is of version {shorten(version)}, and 1.x is what is known here")
        return str(fields.get("Root-Is-Purelib", "")).strip().lower() == "true"

    def _check_metadata(self, text: str, name: str, version: Version) -> None:
        fields = HeaderParser().parsestr(text)
        said = str(fields.get("Name", "")).strip(), str(fields.get("Version", "")).strip()
        if canonicalize_name(said[0]) != name or not is_version(said[1], version):
            raise PackageError(f"by its METADATA it is {shorten(said[0])} {shorten(said[1])}")

    def _scheme(self, path: str, distribution: str, site: str) -> tuple[str, str]:
        first = path.partition("/")[0]
        if not first.endswith(".data"):
            return site, path
        found = _DATA.match(path)
        if found is None or found["name"] != distribution:
            if first != f"{distribution}.data":
                return site, path
            raise PackageError(f"its {shorten(path)} stands where no file can be")
        if found["scheme"] not in {"purelib", "platlib", "scripts", "headers", "data"}:
            raise PackageError(f"its {shorten(path)} is to go to {shorten(found['scheme'])}, which is unknown")
        return found["scheme"], found["path"]


def is_version(text: str, version: Version) -> bool:
    """Whether a text spells this version, in whichever way."""
    try:
        return Version(text.replace("_", "-")) == version
    except InvalidVersion:
        return False


def _check_spans(spans: list[tuple[int, int, str]], end: int) -> None:
    """Raises PackageError for files that share bytes: so a small archive is made large."""
    before, last = 0, ""
    for begin, stop, path in sorted(spans):
        if begin < before:
            raise PackageError(f"its {shorten(path)} lies within {shorten(last)}")
        before, last = stop, path
    if before > end:
        raise PackageError(f"it ends early, in {shorten(last)}")


def _check_folders(places: Mapping[str, object], folders: set[str]) -> None:
    """Raises PackageError for a path that is both a file and a folder."""
    for path in (*places, *folders):
        parent = path.rpartition("/")[0]
        while parent:
            if parent in places:
                raise PackageError(f"its {shorten(parent)} is a file, and the folder of {shorten(path)}")
            parent = parent.rpartition("/")[0]
    if both := folders & places.keys():
        raise PackageError(f"its {shorten(min(both))} is a file and a folder")
