"""Recipes: which layer was made of what, so that one whose sources nobody has touched is not read and made again.

The key of a layer is of its entries, and of what tells the content of each: its own digest, that of the archive or the
layer which it is taken out of, or the device, inode, size and times of its file as they were when it was planned: the
rule of git's index (git, Documentation/technical/racy-git.txt). A file that changed less than two seconds before it
was read could change once more without a sign of it, so a layer that has one is not remembered. When in doubt a recipe
is not found, and the layer is made. A record is a small file, written beside and renamed; it says nothing of a blob
that the store no longer has. Blocking.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.cached import keep_file
from layerkit.layer.entry import Entry
from layerkit.layer.source import FileSource
from layerkit.layer.write import FORMAT_VERSION, WrittenLayer
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest

MOST_RECORDS: Final = 10_000
"""Of 500 bytes each; those not used for longest go first."""

_VERSION: Final = 1
_SECOND_NS: Final = 1_000_000_000
_RACY_NS: Final = 2 * _SECOND_NS


class LayerRecord(msgspec.Struct, frozen=True, rename="camel"):
    """What a layer became, and what is to be said of how it was made."""

    descriptor: Descriptor
    diff_id: Digest
    uncompressed_size: int
    codec: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, written: WrittenLayer, warnings: Iterable[str] = ()) -> "LayerRecord":
        return cls(written.descriptor, written.diff_id, written.uncompressed_size, written.codec, tuple(warnings))

    @property
    def written(self) -> WrittenLayer:
        return WrittenLayer(
            descriptor=self.descriptor,
            diff_id=self.diff_id,
            uncompressed_size=self.uncompressed_size,
            codec=self.codec,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecords:
    """The records in `folder`, by keys. Where it cannot be written nothing is remembered, and nothing fails."""

    folder: Path
    is_trusted: bool = True

    def find(self, key: str) -> LayerRecord | None:
        if not self.is_trusted:
            return None
        path = self._path(key)
        try:
            record = decode_json(path.read_bytes(), LayerRecord)
        except (OSError, ValueError):
            # One that a crash cut short is as good as none.
            return None
        with suppress(OSError):
            os.utime(path)
        return record

    def remember(self, key: str, record: LayerRecord) -> None:
        if keep_file(self._path(key), encode_json(record)):
            with suppress(OSError):
                self._forget_oldest()

    def _path(self, key: str) -> Path:
        return self.folder / f"layers-{_VERSION}" / key

    def _forget_oldest(self) -> None:
        paths = list(self._path("").iterdir())
        if len(paths) <= MOST_RECORDS:
            return
        ages: list[tuple[int, Path]] = []
        for path in paths:
            # Another build may have forgotten it in the meantime.
            with suppress(FileNotFoundError):
                ages.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(ages)[: len(ages) - MOST_RECORDS * 9 // 10]:
            path.unlink(missing_ok=True)


def key_of(entries: Iterable[Entry], codec: str) -> str | None:
    """What tells a layer from all others, None for one whose content cannot be told without reading it.

    `codec` is its record: program, version and level.
    """
    digester = hashlib.sha256(f"{FORMAT_VERSION}\0{codec}\0".encode())
    for entry in entries:
        identity = None
        if entry.source is not None and (identity := entry.source.identity) is None:
            return None
        fields = (entry.path, entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.link, entry.device)
        # The repr of tuples of texts and numbers is the same for the same, and another one for another.
        digester.update(repr((*fields, sorted(entry.xattrs), identity)).encode(errors="surrogatepass"))
    return digester.hexdigest()


def is_racy(entries: Iterable[Entry], began_ns: int) -> bool:
    """Whether a file may change after it was read at `began_ns` (of the system's clock) and still look the same.

    A ctime in whole seconds is of a file system that keeps none, or only as the image that it was mounted from says:
    squashfs, ISO 9660, FAT. Another image mounted there may have another file with all the same numbers.
    """
    return any(max(times) > began_ns - _RACY_NS or not times[1] % _SECOND_NS for times in _times(entries))


def _times(entries: Iterable[Entry]) -> Iterator[tuple[int, int]]:
    for entry in entries:
        if isinstance(entry.source, FileSource):
            yield entry.source.mtime_ns, entry.source.ctime_ns
