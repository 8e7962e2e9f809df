"""Alike: layers that are known by their content, whatever the files look like that it comes from.

A fresh checkout has the same content as the last one, and no file with the same inode and times. Its layers are read
and hashed, and not compressed and written, where one with as many bytes was made before: what it became is found by
its diff_id, which is taken of what was read. So nothing can be found here that has another content, whoever wrote the
records, and files that changed just now are no matter either.

To read in vain costs a fifth of making the layer. So it is not tried where files were edited: then some look as they
did, and some do not. Blocking.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.folder import CacheFolder
from layerkit.build.recipes import LayerRecord
from layerkit.layer.entry import Entry
from layerkit.layer.source import FileSource
from layerkit.layer.write import FORMAT_VERSION
from layerkit.oci.codec import decode_json, encode_json

_VERSION: Final = 1
_MOST_ALIKE: Final = 8
"""Layers of one size that are remembered: those that were made last."""
_SAMPLES: Final = 32


class Looks(msgspec.Struct, frozen=True):
    """How the files of a layer looked: all of them together (the recipe's key), and some of them each."""

    key: str = ""
    samples: tuple[str, ...] = ()

    def may_be(self, other: "Looks") -> bool:
        """Whether it is worth reading what looks like `other`, to see if it is the same content."""
        return self.key == other.key != "" or not set(self.samples) & set(other.samples)


class Likeness(msgspec.Struct, frozen=True):
    """A layer that was made, and how its files looked then."""

    layer: LayerRecord
    looks: Looks


class AlikeRecords(msgspec.Struct, frozen=True, kw_only=True):
    """The records in `folder`, by the codec's record and the size of the tar."""

    folder: Path
    is_trusted: bool = True

    def find(self, codec: str, size: int) -> tuple[Likeness, ...]:
        content = self._kept.find(_key(codec, size))
        try:
            return decode_json(content, tuple[Likeness, ...]) if content is not None else ()
        except ValueError:
            # One that a crash cut short is as good as none.
            return ()

    def remember(self, layer: LayerRecord, looks: Looks) -> None:
        """Of two builds that do it at once one may be forgotten, which is no harm."""
        others = [one for one in self.find(layer.codec, layer.uncompressed_size) if one.layer.diff_id != layer.diff_id]
        found = [Likeness(layer, looks), *others[: _MOST_ALIKE - 1]]
        self._kept.keep(_key(layer.codec, layer.uncompressed_size), encode_json(found))

    @property
    def _kept(self) -> CacheFolder:
        return CacheFolder(folder=self.folder / f"alike-{_VERSION}", is_trusted=self.is_trusted)


def _key(codec: str, size: int) -> str:
    return hashlib.sha256(f"{FORMAT_VERSION}\0{codec}\0{size}".encode()).hexdigest()


def sample(entries: Sequence[Entry]) -> tuple[str, ...]:
    """How some of the files look."""
    sources = [entry.source for entry in entries if isinstance(entry.source, FileSource)]
    step = len(sources) // _SAMPLES + 1
    return tuple(hashlib.sha256(repr(source.identity).encode()).hexdigest()[:8] for source in sources[::step])
