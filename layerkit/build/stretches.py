"""Stretches: which layer was the last of its place in a spec, and where in it is what the next one may use again.

The record is of the cache and the bytes are the layer's own in the store: one that is gone or damaged is only missed.
Blocking.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.folder import CacheFolder
from layerkit.layer.reuse import StoredStretch
from layerkit.layer.write import FORMAT_VERSION, WrittenLayer
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.spec.model import Spec

MOST_BYTES: Final = 64 * 2**20
"""Of all records together; one of 60,000 files has 100 kB."""
_VERSION: Final = 2


class LastLayer(msgspec.Struct, frozen=True, array_like=True):
    """A layer, whose stored bytes have a digest and a size, and all of its stretches in order."""

    media_type: str
    digest: str
    size: int
    stretches: tuple[StoredStretch, ...]

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=Digest(self.digest), size=self.size)


class StretchRecords(msgspec.Struct, frozen=True, kw_only=True):
    """The records in `folder`. Without `is_trusted` none is found."""

    folder: Path
    is_trusted: bool = True

    def find(self, place: str) -> LastLayer | None:
        content = self._kept.find(place)
        try:
            return msgspec.msgpack.decode(content, type=LastLayer) if content is not None else None
        except ValueError:
            # One that a crash cut short is as good as none.
            return None

    def remember(self, place: str, written: WrittenLayer) -> None:
        if any(stretch.key for stretch in written.stretches):
            layer = written.descriptor
            last = LastLayer(layer.media_type, str(layer.digest), layer.size, written.stretches)
            self._kept.keep(place, msgspec.msgpack.encode(last))

    @property
    def _kept(self) -> CacheFolder:
        folder = self.folder / f"stretches-{_VERSION}"
        return CacheFolder(folder=folder, most_bytes=MOST_BYTES, is_trusted=self.is_trusted)


def place_of(spec: Spec, layer: str, codec: str) -> str:
    """What a layer of this name has in common with the one that took its place after an edit."""
    place = (FORMAT_VERSION, codec, spec.context, spec.name, spec.platform, layer)
    return sha256(repr(place).encode(errors="surrogatepass")).hexdigest()
