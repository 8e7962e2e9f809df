"""An OCI image layout on disk: the local store of images, and the output `oci:DIR`.

    oci-layout                   {"imageLayoutVersion":"1.0.0"}
    index.json                   the manifests that have a name, or that nothing else in the layout refers to
    blobs/<algorithm>/<digits>   configs, layers and manifests alike

A layout holds images of any number of names. `repository("registry.example/acme/web")` sees those whose
`io.containerd.image.name` begins so, `repository("")` sees all by their `org.opencontainers.image.ref.name` alone, as
skopeo and podman do. `index.json` is replaced as a whole, under a lock of the folder. Source: image-spec,
image-layout.md.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec

from layerkit.content.listed import IMAGE_NAME, REF_NAME, ListedRepository, names_of
from layerkit.files import (
    BATCH,
    EarlyFile,
    FileBlob,
    HashingFile,
    Progress,
    locked_folder,
    make_folder,
    readable_errors,
    replace_file,
    sync_folder,
)
from layerkit.oci.byterange import ByteRange
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import ALGORITHMS, Digest, new_hash
from layerkit.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    NameUnknown,
    SizeInvalid,
)
from layerkit.oci.manifest import MAX_SIZE, ImageIndex, Manifest, detect_media_type, required_digests
from layerkit.oci.mediatype import OCI_INDEX, OCTET_STREAM
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Content, Page, page_of

T = TypeVar("T")

_MARKER: Final = b'{"imageLayoutVersion":"1.0.0"}'


class _Marker(msgspec.Struct):
    version: str = msgspec.field(name="imageLayoutVersion")


class Layout:
    """The Registry of one layout. `create` begins it where the folder is missing or empty.

    `hold`, `size_of` and `bring` are for a layout that knows more than its files (`content/store.py`).
    """

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self.root = root
        self._entries: tuple[tuple[int, ...], tuple[Descriptor, ...]] = ((), ())
        if create and not (root / "oci-layout").exists():
            self._begin()
        try:
            marker = decode_json((root / "oci-layout").read_bytes(), _Marker)
        except (OSError, ValueError):
            raise NameUnknown(f"{root} is not an OCI image layout (it has no readable file oci-layout)") from None
        if not marker.version.startswith("1."):
            raise NameUnknown(f"{root} is an OCI image layout of version {marker.version}, expected 1.0.0")

    @property
    def place(self) -> str:
        return str(self.root)

    def repository(self, name: RepositoryName) -> "LayoutRepository":
        return LayoutRepository(name, self)

    async def list_repositories(self, *, limit: int | None = None, last: str = "") -> Page[RepositoryName]:
        return page_of(names_of(self.entries()), limit=limit, last=last)

    def hold(self, digests: Iterable[Digest]) -> None:
        """Content that whoever calls is about to write, or to find here, and counts on from now on."""

    def size_of(self, digest: Digest) -> int | None:
        """Bytes of this content, None where the layout has none of it."""
        with readable_errors(str(self.root)):
            try:
                return self.path_of(digest).stat().st_size
            except FileNotFoundError:
                return None

    async def bring(self, digest: Digest) -> None:
        """See that the content is in its file, if the layout has it at all."""

    def entries(self) -> tuple[Descriptor, ...]:
        """What `index.json` lists."""
        path = self.root / "index.json"
        with readable_errors(str(self.root)):
            try:
                with path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    # A change gives it another file: who reads many manifests need not parse the list for each.
                    version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
                    if self._entries[0] != version:
                        self._entries = version, decode_json(file.read(), ImageIndex).manifests or ()
                    return self._entries[1]
            except FileNotFoundError:
                return ()
            except ValueError as error:
                raise ManifestInvalid(f"{path} is no image index: {error}") from error

    @contextmanager
    def changed_entries(self) -> Iterator[list[Descriptor]]:
        """The entries, to be changed in place; they are written when the block ends well. One writer at a time."""
        with readable_errors(str(self.root)), self.locked():
            entries = list(self.entries())
            before = list(entries)
            yield entries
            if entries != before:
                self.replace_entries(entries)

    def replace_entries(self, entries: Iterable[Descriptor]) -> None:
        """List these instead of all others. For callers that hold the lock."""
        index = ImageIndex(schema_version=2, media_type=OCI_INDEX, manifests=tuple(entries))
        with readable_errors(str(self.root)):
            replace_file(self.root / "index.json", encode_json(index))

    def path_of(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.encoded

    def has_content(self, digest: Digest, content: bytes) -> bool:
        """Whether the blob of this digest is here and has this content. Blocking.

        For what is small and often made anew, like configs: to compare it costs less than to make it durable again.
        """
        self.hold([digest])
        with readable_errors(str(self.root)):
            try:
                with self.path_of(digest).open("rb") as file:
                    return os.fstat(file.fileno()).st_size == len(content) and file.read() == content
            except FileNotFoundError:
                return False

    def write_blob(self, write: Callable[[BinaryIO], T], digest_of: Callable[[T], Digest]) -> T:
        """Let `write` fill a file, which becomes the blob whose digest `digest_of` finds in its result. Blocking.

        For content that is hashed while it is made: nobody reads it a second time.
        """
        temporary = self.root / "blobs" / f".upload-{os.urandom(12).hex()}"
        with readable_errors(str(self.root)):
            try:
                with BufferedWriter(EarlyFile(temporary), BATCH) as file:
                    # As long as it is written nobody takes it for a leftover.
                    fcntl.flock(file, fcntl.LOCK_EX)
                    result = write(file)
                    file.flush()
                    os.fsync(file.fileno())
                    digest = digest_of(result)
                    self.hold([digest])
                    target = self.path_of(digest)
                    make_folder(target.parent)
                    temporary.rename(target)
                sync_folder(target.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return result

    def blob_unknown(self, digest: Digest) -> BlobUnknown:
        return BlobUnknown(f"blob {digest} is not in {self.root}")

    def remove(self, digest: Digest) -> None:
        """Let the content be gone, whoever refers to it."""
        with readable_errors(str(self.root)):
            self.path_of(digest).unlink(missing_ok=True)

    def read_manifest(self, digest: Digest) -> Manifest | None:
        """The manifest with this digest, listed in `index.json` or not."""
        path = self.path_of(digest)
        with readable_errors(str(self.root)):
            try:
                if path.stat().st_size > MAX_SIZE:
                    return None
                raw = path.read_bytes()
            except FileNotFoundError:
                return None
        found = Digest.of(raw, digest.algorithm)
        if found != digest:
            raise DigestInvalid(f"{path} is damaged: its content has {found}")
        listed = next((entry.media_type for entry in self.entries() if entry.digest == digest), "")
        try:
            return Manifest(media_type=listed or detect_media_type(raw), raw=raw, digest=digest)
        except ManifestInvalid:
            return None

    def locked(self) -> AbstractContextManager[None]:
        """The lock of the folder. Not to be taken again by who has it: he would wait for himself."""
        return locked_folder(self.root)

    def _begin(self) -> None:
        with readable_errors(str(self.root)):
            self.root.mkdir(parents=True, exist_ok=True)
            with self.locked():
                found = {entry.name for entry in self.root.iterdir()}
                if "oci-layout" in found:
                    return
                # The first is what is left where a process was killed while it began.
                foreign = sorted(found - {".oci-layout.new", "blobs", "index.json"})
                if foreign:
                    raise NameUnknown(
                        f"{self.root} is no OCI image layout: it holds {foreign[0]!r} (choose another folder)"
                    )
                make_folder(self.root / "blobs")
                for algorithm in ALGORITHMS:
                    make_folder(self.root / "blobs" / algorithm)
                replace_file(self.root / "oci-layout", _MARKER)


class LayoutRepository(ListedRepository):
    def __init__(self, name: RepositoryName, layout: Layout) -> None:
        self.name = name
        self.layout = layout

    @property
    def listing(self) -> Layout:
        return self.layout

    async def stat_blob(self, digest: Digest) -> Descriptor:
        self.layout.hold([digest])
        size = self.layout.size_of(digest)
        if size is None:
            raise self.layout.blob_unknown(digest)
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=size)

    @asynccontextmanager
    async def open_blob(self, digest: Digest, part: ByteRange | None = None) -> AsyncIterator[FileBlob]:
        self.layout.hold([digest])
        await self.layout.bring(digest)
        with readable_errors(str(self.layout.root)):
            try:
                file = self.layout.path_of(digest).open("rb", buffering=0)
            except FileNotFoundError:
                raise self.layout.blob_unknown(digest) from None
        with file:
            size = os.fstat(file.fileno()).st_size
            start, stop = part.resolve(size) if part else (0, size)
            yield FileBlob(Descriptor(media_type=OCTET_STREAM, digest=digest, size=size), start, stop, file)

    async def put_blob(self, descriptor: Descriptor, content: Content) -> None:
        async with self.open_upload(await self.start_upload(algorithm=descriptor.digest.algorithm)) as upload:
            try:
                async for chunk in content(0):
                    if upload.offset + len(chunk) > descriptor.size:
                        raise SizeInvalid(f"blob {descriptor.digest} is longer than its {descriptor.size} bytes")
                    await upload.append(chunk)
                if upload.offset < descriptor.size:
                    raise SizeInvalid(
                        f"blob {descriptor.digest} ended after {upload.offset} of its {descriptor.size} bytes"
                    )
                await upload.commit(descriptor.digest)
            except BaseException:
                # Nobody knows the id, so nobody could go on with it.
                await upload.cancel()
                raise

    async def mount_blob(self, digest: Digest, source: RepositoryName | None) -> bool:  # noqa: ARG002 - all share one folder
        self.layout.hold([digest])
        return self.layout.size_of(digest) is not None

    async def start_upload(self, *, algorithm: str = "sha256") -> str:
        upload = f"{new_hash(algorithm).name}-{os.urandom(12).hex()}"
        with readable_errors(str(self.layout.root)):
            os.close(os.open(self._upload_path(upload), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        return upload

    @asynccontextmanager
    async def open_upload(self, upload: str) -> AsyncIterator["LayoutUpload"]:
        path = self._upload_path(upload)
        gone = BlobUploadUnknown(f"no upload {upload} in {self.layout.root}: it ended or never began")
        with readable_errors(str(self.layout.root)):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise gone from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise BlobUploadInvalid(f"upload {upload} is being written by another process: wait for its end") from None
        if not path.exists():
            # It ended between the two calls: what is open now may be a blob.
            os.close(fd)
            raise gone
        progress = Progress(new_hash(upload.partition("-")[0]))
        file = HashingFile(fd, progress, place=str(self.layout.root))
        try:
            yield LayoutUpload(upload, path, file, self)
        finally:
            await file.close()

    async def put_manifest(self, manifest: Manifest, tags: Sequence[Tag] = ()) -> None:
        required = required_digests(manifest.document)
        self.layout.hold([manifest.digest, *required])
        missing = [digest for digest in required if self.layout.size_of(digest) is None]
        if missing:
            raise ManifestBlobUnknown(
                f"the manifest refers to content that {self.layout.root} does not have: {', '.join(missing)}",
                details=[{"digest": digest} for digest in missing],
            )
        if not await asyncio.to_thread(self.layout.has_content, manifest.digest, manifest.raw):
            await self.put_blob(manifest.descriptor, _content_of(manifest.raw))
        await asyncio.to_thread(self._list_manifest, manifest, tags, set(required))

    async def delete_blob(self, digest: Digest) -> None:
        for manifest in self.reachable():
            if digest in required_digests(manifest.document):
                raise Denied(f"blob {digest} is needed by manifest {manifest.digest}: delete that first")
        await self.stat_blob(digest)
        self.layout.remove(digest)

    async def delete_manifest(self, digest: Digest) -> None:
        await self.stat_manifest(digest)
        with self.layout.changed_entries() as entries:
            entries[:] = [entry for entry in entries if entry.digest != digest or not self.owns(entry)]
            is_needed = any(entry.digest == digest for entry in entries) or any(
                digest in required_digests(manifest.document) for manifest in self.reachable()
            )
        # An index, perhaps of another name, may have it as a child.
        if not is_needed:
            self.layout.remove(digest)

    async def delete_tag(self, tag: Tag) -> None:
        digest = self.tags().get(tag)
        if digest is None:
            raise self.manifest_unknown(tag)
        manifest = await self.get_manifest(digest)
        with self.layout.changed_entries() as entries:
            entries[:] = [entry for entry in entries if self.tag_of(entry) != tag]
            # The manifest stays, so it must stay listed.
            if not any(entry.digest == digest for entry in entries):
                entries.append(manifest.descriptor)

    def _list_manifest(self, manifest: Manifest, tags: Sequence[Tag], children: set[Digest]) -> None:
        with self.layout.changed_entries() as entries:
            # A child of an index is found through it: listed beside it, it would look like a second image.
            entries[:] = [
                entry
                for entry in entries
                if self.tag_of(entry) not in tags and not (entry.digest in children and not entry.annotations)
            ]
            if tags:
                entries[:] = [e for e in entries if e.digest != manifest.digest or e.annotations]
                entries += [self._named(manifest, tag) for tag in tags]
            elif not any(entry.digest == manifest.digest for entry in entries):
                entries.append(manifest.descriptor)

    def _named(self, manifest: Manifest, tag: Tag) -> Descriptor:
        annotations = {REF_NAME: str(tag)}
        if self.name:
            annotations[IMAGE_NAME] = f"{self.name}:{tag}"
        return msgspec.structs.replace(manifest.descriptor, annotations=annotations)

    def _upload_path(self, upload: str) -> Path:
        algorithm, _, number = upload.partition("-")
        if algorithm not in ALGORITHMS or not number.isalnum():
            raise BlobUploadUnknown(f"no upload {upload[:80]!r} in {self.layout.root}")
        return self.layout.root / "blobs" / f".upload-{upload}"


class LayoutUpload(msgspec.Struct):
    id: str
    _path: Path
    _file: HashingFile
    _repository: LayoutRepository

    @property
    def offset(self) -> int:
        return self._file.offset

    async def append(self, chunk: bytes) -> None:
        await self._file.append(chunk)

    async def commit(self, digest: Digest) -> Descriptor:
        self._repository.layout.hold([digest])
        found = await self._file.publish(self._path, self._repository.layout.path_of(digest), digest)
        if found != digest:
            await self.cancel()
            raise DigestInvalid(f"the {self._file.written} bytes have the digest {found}, not {digest}")
        return Descriptor(media_type=OCTET_STREAM, digest=digest, size=self._file.written)

    async def cancel(self) -> None:
        try:
            # A thread that is renaming the file must not find it gone.
            await self._file.discard()
        finally:
            self._path.unlink(missing_ok=True)


def _content_of(raw: bytes) -> Callable[[int], AsyncIterator[bytes]]:
    async def read(offset: int) -> AsyncIterator[bytes]:
        yield raw[offset:]

    return read
