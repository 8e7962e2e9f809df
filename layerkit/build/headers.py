"""Headers: the indexes of layers, remembered by the layers' digests, so that each is read through once in its life.

A folder of the user's cache: a file for each layer, written beside and renamed, so that builds side by side see a whole
one or none. Nothing needs to be synced: a file that a crash cut short fails its checksum, and is made anew. Where the
folder cannot be written nothing is remembered, and nothing fails. Blocking.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerkit.build.cached import keep_file
from layerkit.layer.index import LayerIndex, diff_id_differs
from layerkit.layer.indexfile import VERSION, decode_index, encode_index
from layerkit.oci.digest import Digest

MOST_BYTES: Final = 256 * 2**20
"""Of all files together; an index of a thousand files has about 20 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCache:
    """The cache in `folder`, of at most `most_bytes`: those not used for longest go first. Without `is_trusted` nothing
    is found in it, and all is remembered anew."""

    folder: Path
    most_bytes: int = MOST_BYTES
    is_trusted: bool = True

    def find(self, layer: Digest, diff_id: Digest | None = None) -> LayerIndex | None:
        """The index of the layer with this digest of its stored bytes, None where it is not known.

        Raises LayerError where the layer has another than this diff_id (LAYERS, S6).
        """
        if not self.is_trusted:
            return None
        path = self._path(layer)
        try:
            index = decode_index(path.read_bytes())
        except OSError:
            return None
        if index is None:
            return None
        if diff_id is not None and index.diff_id.algorithm == diff_id.algorithm and index.diff_id != diff_id:
            raise diff_id_differs(index.diff_id, diff_id)
        if diff_id is not None and index.diff_id.algorithm != diff_id.algorithm:
            # Whoever asks by another algorithm has not been answered yet.
            return None
        with suppress(OSError):
            os.utime(path)
        return index

    def remember(self, layer: Digest, index: LayerIndex) -> None:
        if keep_file(self._path(layer), encode_index(index)):
            with suppress(OSError):
                self._forget_oldest()

    def _path(self, layer: Digest) -> Path:
        return self.folder / f"headers-{VERSION}" / f"{layer.algorithm}-{layer.encoded}"

    def _forget_oldest(self) -> None:
        files = sorted(self._files(), reverse=True)
        total = 0
        for _, size, path in files:
            total += size
            if total > self.most_bytes:
                Path(path).unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[int, int, str]]:
        with os.scandir(self.folder / f"headers-{VERSION}") as entries:
            for entry in entries:
                # Another build may have forgotten it in the meantime.
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield status.st_mtime_ns, status.st_size, entry.path
