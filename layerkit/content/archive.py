"""Images in a tar: `oci-archive` and `docker-archive` files, whoever wrote them, read where they lie.

    oci-layout, index.json, blobs/...            a layout as a tar: skopeo, podman, ctr, buildx
    manifest.json, <config>.json, <layer>.tar    `docker save`: names of files instead of digests, and no manifest
    all of these                                 `docker save` since 25, and ours: one file for all readers

Nothing is unpacked: the headers are read once, and a blob is a part of the file. Where an archive has both lists
`index.json` is read, because it alone has the digests under which registries know the images, and `manifest.json` must
not name other ones. Of an image that `manifest.json` alone lists the manifest is made here: the config as it is, the
layers as they are stored. A file that is compressed as a whole is unpacked into a temporary one first.

Sources: image-spec, image-layout.md; moby, "Docker Image Specification v1.2.0", "Combined Image JSON + Filesystem
Changeset Format".
"""

import asyncio
import io
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from layerkit.content.listed import IMAGE_NAME, REF_NAME, ListedRepository, names_of, reachable_manifests
from layerkit.files import FileBlob, readable_errors
from layerkit.layer.decompress import decompress
from layerkit.layer.errors import LayerError
from layerkit.layer.limits import Limits
from layerkit.layer.read import FILES, Tape, decode, iter_headers
from layerkit.oci.byterange import ByteRange
from layerkit.oci.codec import decode_json
from layerkit.oci.config import MAX_SIZE as MAX_CONFIG
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import ALGORITHMS, Digest, new_hash, shorten
from layerkit.oci.errors import BlobUnknown, DigestInvalid, ManifestInvalid, NameUnknown, OCIError
from layerkit.oci.manifest import MAX_SIZE, ImageIndex, ImageManifest, Manifest, detect_media_type
from layerkit.oci.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    OCTET_STREAM,
)
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, parse_reference
from layerkit.oci.repository import Page, page_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_LIMITS: Final = Limits(entries=200_000, names=64 * 2**20)
_READ: Final = 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_OTHER_CODECS: Final = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_MOST_LINKS: Final = 1
"""`docker save` stores a layer that another image has too as a symlink to that one's, and never one to another link."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in the tar, or a link to one. `is_ambiguous` is of a name that is there twice."""

    offset: int
    size: int
    link: str = ""
    is_sparse: bool = False
    is_ambiguous: bool = False


class _SavedImage(msgspec.Struct, rename="pascal"):
    """An entry of `manifest.json`."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


@asynccontextmanager
async def open_archive(path: Path) -> AsyncIterator["Archive"]:
    """The images in an archive. Raises NameUnknown for what is none, ManifestInvalid for one that is broken."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(_open, path, stack)


def _open(path: Path, stack: ExitStack) -> "Archive":
    # Not blocking: of a FIFO nobody may ever come to write.
    try:
        opened = open(path, "rb", opener=_open_without_blocking)  # noqa: SIM115 - Path.open has no opener
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise NameUnknown(f"{path} cannot be read: {reason}") from error
    file: BinaryIO = stack.enter_context(opened)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise NameUnknown(f"{path} is no archive: it is no regular file")
    with readable_errors(str(path)):
        try:
            file = _unpack(path, file, stack)
            members = _index(path, file)
        except LayerError as error:
            raise ManifestInvalid(f"{path} is no archive of images, or a damaged one: {error}") from error
    return Archive(path, file, members)


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _unpack(path: Path, file: BinaryIO, stack: ExitStack) -> BinaryIO:
    """The tar itself; of a file that is compressed a temporary one, without a name."""
    start = file.read(6)
    file.seek(0)
    for magic, codec in _OTHER_CODECS.items():
        if start.startswith(magic):
            raise NameUnknown(
                f"{path} is compressed with {codec}: unpack it first (gzip and zstd are read as they are)"
            )
    if not start.startswith((_GZIP, _ZSTD)):
        return file
    with readable_errors(tempfile.gettempdir()):
        unpacked: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        unpacked.writelines(decompress(file, "+gzip" if start.startswith(_GZIP) else "+zstd"))
        unpacked.flush()
    return unpacked


def _index(path: Path, file: BinaryIO) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    names = 0
    for header in iter_headers(_FileTape(file), _LIMITS):
        name = decode(header.name)
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/") or ".." in parts:
            raise ManifestInvalid(f"{path} has a member {shorten(name)}, which leads out of it: it is refused")
        name = "/".join(parts)
        names += len(name) + len(header.link)
        if names > _LIMITS.names:
            raise ManifestInvalid(f"{path} has more than {_LIMITS.names} bytes of names: it is refused")
        is_again = name in members
        if header.flag in FILES:
            members[name] = _Member(header.offset, header.stored_size, is_sparse=header.sparse, is_ambiguous=is_again)
        elif header.flag in b"12":
            target = decode(header.link)
            # A hardlink's target is from the root of the archive, a symlink's from where it stands.
            folder = "" if header.flag == ord("1") else name.rpartition("/")[0]
            members[name] = _Member(0, 0, link=_join(folder, target), is_ambiguous=is_again)
    return members


def _join(folder: str, target: str) -> str:
    """Where a link leads to within the archive; what leads out of it names nothing that there is."""
    parts = folder.split("/") if folder else []
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1] if parts else ["..", ".."]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts) if not target.startswith("/") else target


class _FileTape(Tape):
    """Skips by not reading."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(())
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int) -> bytes:
        content = os.pread(self._file.fileno(), size, self.position)
        self.position += len(content)
        return content

    def skip(self, size: int) -> int:
        step = max(0, min(size, self._size - self.position))
        self.position += step
        return step


class _Part(io.RawIOBase, BinaryIO):
    """A part of a file, as a file. Several read at once: none of them moves the file's own position."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)[: max(0, self._size - self._position)]
        count = os.preadv(self._file.fileno(), [view], self._offset + self._position)
        self._position += count
        return count


class Archive:
    """The Registry of one archive, for reading. Made by `open_archive`."""

    def __init__(self, path: Path, file: BinaryIO, members: Mapping[str, _Member]) -> None:
        self.path = path
        self._file = file
        self._members = members
        # What `manifest.json` alone has: where its blobs are, and the manifests made of it.
        self._blobs: dict[Digest, _Member] = {}
        self._manifests: dict[Digest, Manifest] = {}
        if "index.json" in members:
            self._entries = self._read_index()
            if "manifest.json" in members:
                self._compare()
        elif "manifest.json" in members:
            self._entries = tuple(self._read_saved())
        elif "repositories" in members:
            raise NameUnknown(f"{path} was saved by docker before 1.10: load it into a docker, and save it again")
        else:
            raise NameUnknown(f"{path} is no archive of images: it has neither index.json nor manifest.json")

    @property
    def place(self) -> str:
        return str(self.path)

    def repository(self, name: RepositoryName) -> "ArchiveRepository":
        return ArchiveRepository(name, self)

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        return page_of(names_of(self._entries), limit=limit, last=last)

    def entries(self) -> tuple[Descriptor, ...]:
        return self._entries

    def hold(self, digests: Iterable[Digest]) -> None:
        """An archive is what it is."""

    def read_manifest(self, digest: Digest) -> Manifest | None:
        if digest in self._manifests:
            return self._manifests[digest]
        member = self.find_blob(digest)
        if member is None or member.size > MAX_SIZE:
            return None
        raw = self._read(member)
        found = Digest.of(raw, digest.algorithm)
        if found != digest:
            raise DigestInvalid(f"{self.path} is damaged: its {digest} has the content of {found}")
        listed = next((entry.media_type for entry in self._entries if entry.digest == digest), "")
        try:
            return Manifest(media_type=listed or detect_media_type(raw), raw=raw, digest=digest)
        except ManifestInvalid:
            return None

    def find_blob(self, digest: Digest) -> _Member | None:
        if digest in self._blobs:
            return self._blobs[digest]
        name = f"blobs/{digest.algorithm}/{digest.encoded}"
        return self._find(name) if name in self._members else None

    def open_part(self, member: _Member) -> BinaryIO:
        return _Part(self._file, member.offset, member.size)

    def _read_index(self) -> tuple[Descriptor, ...]:
        raw = self._read_document("index.json")
        try:
            return decode_json(raw, ImageIndex).manifests or ()
        except ValueError as error:
            raise ManifestInvalid(f"{self.path}: index.json is no image index: {error}") from error

    def _compare(self) -> None:
        """The two lists of one archive must be of the same images (LAYERS, S10): else who trusts what he sees here
        runs what docker loads."""
        configs = set()
        for manifest in reachable_manifests(self, (entry.digest for entry in self._entries)):
            if isinstance(manifest.document, ImageManifest):
                configs.add(manifest.document.config.digest)
        for image in self._read_list():
            if Digest.of(self._read_config(image.config)) not in configs:
                raise ManifestInvalid(
                    f"{self.path} lists other images in manifest.json than in index.json: "
                    f"the config {shorten(image.config)} is in no manifest of the latter; have the archive made anew"
                )

    def _read_list(self) -> tuple[_SavedImage, ...]:
        raw = self._read_document("manifest.json")
        try:
            return decode_json(raw, tuple[_SavedImage, ...])
        except ValueError as error:
            raise ManifestInvalid(f"{self.path}: manifest.json is no list of saved images: {error}") from error

    def _read_saved(self) -> Iterable[Descriptor]:
        layers: dict[str, Descriptor] = {}
        for image in self._read_list():
            manifest = self._make_manifest(image, layers)
            self._manifests[manifest.digest] = manifest
            references = [self._parse_name(name) for name in image.repo_tags or ()]
            for reference in references:
                tag = str(reference.tag or DEFAULT_TAG)
                names = {REF_NAME: tag, IMAGE_NAME: f"{reference.name}:{tag}"}
                yield msgspec.structs.replace(manifest.descriptor, annotations=names)
            if not references:
                yield manifest.descriptor

    def _make_manifest(self, image: _SavedImage, known: dict[str, Descriptor]) -> Manifest:
        raw = self._read_config(image.config)
        try:
            config = ImageConfig.parse(raw)
        except ManifestInvalid as error:
            raise ManifestInvalid(f"{self.path}: {shorten(image.config)}: {error.message}") from error
        names = image.layers or ()
        if len(names) != len(config.diff_ids):
            raise ManifestInvalid(
                f"{self.path}: manifest.json gives {shorten(image.config)} {len(names)} layers, "
                f"its config has {len(config.diff_ids)} diff_ids"
            )
        self._blobs[config.digest] = self._find(image.config)
        layers = []
        for name, diff_id in zip(names, config.diff_ids, strict=True):
            if name not in known:
                known[name] = self._describe_layer(name, diff_id)
            layers.append(known[name])
        descriptor = Descriptor(media_type=DOCKER_CONFIG, digest=config.digest, size=len(raw))
        return Manifest.encode(
            ImageManifest(schema_version=2, media_type=DOCKER_MANIFEST, config=descriptor, layers=tuple(layers))
        )

    def _describe_layer(self, name: str, diff_id: Digest) -> Descriptor:
        member = self._find(name)
        start = self.open_part(member).read(4)
        if start.startswith((_GZIP, _ZSTD)):
            media_type = DOCKER_LAYER_GZIP if start.startswith(_GZIP) else DOCKER_LAYER_ZSTD
            digest = self._digest(member)
        else:
            # The config says what its digest is, and who reads it finds out whether that is so.
            media_type, digest = DOCKER_LAYER, diff_id
        self._blobs[digest] = member
        return Descriptor(media_type=media_type, digest=digest, size=member.size)

    def _digest(self, member: _Member) -> Digest:
        digester = new_hash("sha256")
        part = self.open_part(member)
        while content := part.read(_READ):
            digester.update(content)
        return Digest.from_hash(digester)

    def _parse_name(self, name: str) -> Reference:
        try:
            return parse_reference(name)
        except OCIError as error:
            raise ManifestInvalid(
                f"{self.path}: manifest.json has the name {shorten(name)}: {error.message}"
            ) from error

    def _read_config(self, name: str) -> bytes:
        return self._read_document(name, MAX_CONFIG)

    def _read_document(self, name: str, most: int = MAX_SIZE) -> bytes:
        member = self._find(name)
        if member.size > most:
            raise ManifestInvalid(f"{self.path}: {shorten(name)} has {member.size} bytes, {most} are allowed")
        return self._read(member)

    def _read(self, member: _Member) -> bytes:
        with readable_errors(str(self.path)):
            return self.open_part(member).read(member.size)

    def _find(self, name: str) -> _Member:
        """The file of that name, which may be a link to it."""
        found = name = name.removeprefix("./")
        link = ""
        for _ in range(_MOST_LINKS + 1):
            member = self._members.get(found)
            if member is None:
                break
            # Of a blob it is the digest that says which one it is.
            if member.is_ambiguous and not _is_blob(found):
                raise ManifestInvalid(
                    f"{self.path} has {shorten(found)} twice: one reader takes the first, another one the second; "
                    "have the archive made anew"
                )
            if member.is_sparse:
                raise ManifestInvalid(f"{self.path} has {shorten(found)} as a sparse file: have the archive made anew")
            if not member.link:
                return member
            found, link = member.link, f", to which {shorten(name)} is a link"
        raise ManifestInvalid(f"{self.path} has no file {shorten(found)}{link}: it is not complete")


def _is_blob(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return folder == "blobs" and rest.partition("/")[0] in ALGORITHMS


@dataclass(frozen=True, slots=True)
class ArchiveRepository(ListedRepository):
    """The images of one name, for reading."""

    name: RepositoryName
    archive: Archive

    @property
    def listing(self) -> Archive:
        return self.archive

    async def stat_blob(self, digest: Digest) -> Descriptor:
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=self._find(digest).size)

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[FileBlob]:
        member = self._find(digest)
        start, stop = part.resolve(member.size) if part else (0, member.size)
        descriptor = Descriptor(media_type=OCTET_STREAM, digest=digest, size=member.size)
        yield FileBlob(descriptor, start, stop, self.archive.open_part(member))

    def _find(self, digest: Digest) -> _Member:
        member = self.archive.find_blob(digest)
        if member is None:
            raise BlobUnknown(f"blob {digest} is not in {self.archive.path}")
        return member
