"""Packing: a planned layer becomes a blob of the store, in a thread and in one pass over its bytes."""

import asyncio
from dataclasses import dataclass
from threading import Event
from typing import BinaryIO

from layerkit.build.plan import PlannedLayer
from layerkit.content.layout import Layout
from layerkit.layer.compress import Compression, Content
from layerkit.layer.entry import Entry
from layerkit.layer.errors import LayerError
from layerkit.layer.tar import tar_size
from layerkit.layer.write import WrittenLayer, write_layer
from layerkit.progress import SILENT, Activity, Progress, Step, running
from layerkit.spec.model import Spec


@dataclass(frozen=True, slots=True)
class _Sink:
    """A file that takes no more once the layer is `abandoned`."""

    file: BinaryIO
    abandoned: Event

    def write(self, content: Content) -> None:
        if self.abandoned.is_set():
            raise LayerError("the build was interrupted")
        self.file.write(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packer:
    """`threads` compress a layer, by default as many as there are CPUs."""

    store: Layout
    progress: Progress = SILENT
    threads: int | None = None

    async def pack(self, spec: Spec, planned: PlannedLayer) -> WrittenLayer:
        """The layer in the store, compressed as its spec says. Raises LayerError for content that changed meanwhile."""
        step = Step(
            activity=Activity.PACK,
            name=planned.name,
            group=f"{spec.name} {spec.platform}",
            total=tar_size(planned.entries),
        )
        abandoned = Event()
        with running(self.progress, step) as run:

            def write(file: BinaryIO) -> WrittenLayer:
                return write_layer(
                    planned.entries,
                    _Sink(file, abandoned),
                    compression=Compression(spec.compression.kind),
                    level=spec.compression.level,
                    threads=self.threads,
                    advance=run.advance,
                )

            try:
                written = await asyncio.to_thread(self.store.write_blob, write, lambda layer: layer.descriptor.digest)
            finally:
                # Of a build that is cancelled: a program cannot end before its threads do.
                abandoned.set()
            run.descriptor, run.detail = written.descriptor, planned.summary
        return written

    def pack_rootfs(self, entries: tuple[Entry, ...]) -> WrittenLayer:
        """A layer of its own, by the codec that is usual. Blocking."""
        return self.store.write_blob(
            lambda file: write_layer(entries, file, threads=self.threads), lambda layer: layer.descriptor.digest
        )
