"""Recipes: which layer was made of what, so that one whose sources nobody has touched is not read and made again.

The key of a layer is of its entries, and of what tells the content of each: its own digest, that of the archive or the
layer which it is taken out of, or the device, inode, size and times of its file as they were when it was planned: the
rule of git's index (git, Documentation/technical/racy-git.txt). A file that changed less than two seconds before it
was read could change once more without a sign of it, so a layer that has one is not remembered. When in doubt a recipe
is not found, and the layer is made. A record says nothing of a blob that the store no longer has. Blocking.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.folder import CacheFolder
from layerkit.layer.entry import Entry
from layerkit.layer.source import FileSource
from layerkit.layer.write import FORMAT_VERSION, WrittenLayer
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest

MOST_RECORDS: Final = 10_000
"""Of 500 bytes each; those not used for longest go first."""

_VERSION: Final = 2
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


class LayerRecords(msgspec.Struct, frozen=True, kw_only=True):
    """The records in `folder`, by recipes. Without `is_trusted` none is found."""

    folder: Path
    is_trusted: bool = True

    def find(self, key: str) -> LayerRecord | None:
        content = self._kept.find(key)
        try:
            return decode_json(content, LayerRecord) if content is not None else None
        except ValueError:
            # One that a crash cut short is as good as none.
            return None

    def remember(self, key: str, record: LayerRecord) -> None:
        self._kept.keep(key, encode_json(record))

    @property
    def _kept(self) -> CacheFolder:
        folder = self.folder / f"layers-{_VERSION}"
        return CacheFolder(folder=folder, most_files=MOST_RECORDS, is_trusted=self.is_trusted)


def recipe_of(entries: str, codec: str) -> str:
    """What tells a layer from all others: `entries` is the key of its entries, `codec` its record."""
    return hashlib.sha256(f"{FORMAT_VERSION}\0{codec}\0{entries}".encode()).hexdigest()


def is_racy(entries: Iterable[Entry], began_ns: int) -> bool:
    """Whether a file may change after it was read at `began_ns` (of the system's clock) and still look the same.

    A ctime in whole seconds is of a file system that keeps none, or only as the image that it was mounted from says:
    squashfs, ISO 9660, FAT. Another image mounted there may have another file with all the same numbers.
    """
    newest = began_ns - _RACY_NS
    for entry in entries:
        source = entry.source
        if isinstance(source, FileSource):
            changed = source.ctime_ns
            if changed > newest or source.mtime_ns > newest or not changed % _SECOND_NS:
                return True
    return False
