"""Headers: the indexes of layers, remembered by the layers' digests, so that each is read through once in its life.

A file that a crash cut short fails its checksum, and is made anew. Blocking.
"""

from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.folder import CacheFolder
from layerkit.layer.index import LayerIndex, diff_id_differs
from layerkit.layer.indexfile import VERSION, decode_index, encode_index
from layerkit.oci.digest import Digest

MOST_BYTES: Final = 256 * 2**20
"""Of all files together; an index of a thousand files has about 20 kB."""


class HeaderCache(msgspec.Struct, frozen=True, kw_only=True):
    """The cache in `folder`, of at most `most_bytes`: those not used for longest go first. Without `is_trusted` nothing
    is found in it, and all is remembered anew."""

    folder: Path
    most_bytes: int = MOST_BYTES
    is_trusted: bool = True

    def find(self, layer: Digest, diff_id: Digest | None = None) -> LayerIndex | None:
        """The index of the layer with this digest of its stored bytes, None where it is not known.

        Raises LayerError where the layer has another than this diff_id (LAYERS, S6).
        """
        content = self._kept.find(_key(layer))
        index = decode_index(content) if content is not None else None
        if index is None:
            return None
        if diff_id is not None and index.diff_id.algorithm == diff_id.algorithm and index.diff_id != diff_id:
            raise diff_id_differs(index.diff_id, diff_id)
        if diff_id is not None and index.diff_id.algorithm != diff_id.algorithm:
            # Whoever asks by another algorithm has not been answered yet.
            return None
        return index

    def remember(self, layer: Digest, index: LayerIndex) -> None:
        self._kept.keep(_key(layer), encode_index(index))

    @property
    def _kept(self) -> CacheFolder:
        folder = self.folder / f"headers-{VERSION}"
        return CacheFolder(folder=folder, most_bytes=self.most_bytes, is_trusted=self.is_trusted)


def _key(layer: Digest) -> str:
    return f"{layer.algorithm}-{layer.encoded}"
