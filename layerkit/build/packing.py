"""Packing: a planned layer becomes a blob of the store, in a thread and in one pass over its bytes."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from layerkit.build.ahead import DEAF, Listener
from layerkit.build.alike import AlikeRecords, Looks, sample
from layerkit.build.planned import PlannedLayer
from layerkit.build.recipes import LayerRecord, LayerRecords, is_racy, recipe_of
from layerkit.build.stretches import StretchRecords, place_of
from layerkit.content.layout import Layout
from layerkit.layer.blocks import Content
from layerkit.layer.compress import Codec, Compression, find_codec
from layerkit.layer.entry import Entry
from layerkit.layer.errors import LayerError
from layerkit.layer.reuse import DamagedLayer, EarlierLayer
from layerkit.layer.write import WrittenLayer, read_diff_id, write_layer
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.progress import SILENT, Activity, Outcome, Progress, Step, running
from layerkit.spec.model import Spec

if TYPE_CHECKING:
    from layerkit.build.shared import SharedLayers


class _Sink(msgspec.Struct, frozen=True):
    """A file that takes no more once the layer is `abandoned`."""

    file: BinaryIO
    abandoned: Event

    def write(self, content: Content) -> None:
        _proceed(self.abandoned)
        self.file.write(content)


def _proceed(abandoned: Event) -> None:
    if abandoned.is_set():
        raise LayerError("the build was interrupted")


class Packer(msgspec.Struct, frozen=True, kw_only=True):
    """`records` say what was made before, `alike` of which content, `stretches` what of it can be used again, and `has`
    whether the store has it still, and counts on it from then on. `shared` is what other machines have made.

    `threads` compress a layer, by default as many as there are CPUs. `clock` are nanoseconds since 1970: what changed
    just before its now is not counted on.
    """

    store: Layout
    records: LayerRecords
    alike: AlikeRecords
    stretches: StretchRecords
    has: Callable[[Digest], bool]
    shared: "SharedLayers | None" = None
    progress: Progress = SILENT
    threads: int | None = None
    clock: Callable[[], int] = time.time_ns

    async def recall(self, spec: Spec, planned: PlannedLayer) -> WrittenLayer | None:
        """The layer that was made of the same before, where the store or a shared cache has it; None where it has to
        be made.

        Nothing of its content is read, and what it copies from elsewhere need not be at hand.
        """
        key = await asyncio.to_thread(_recipe_of, spec, planned)
        known = self.records.find(key) if key is not None else None
        if known is None or not await self._is_at_hand(known):
            return None
        with running(self.progress, _step(spec, planned)) as run:
            run.outcome, run.descriptor, run.detail = Outcome.REUSED, known.descriptor, planned.summary
        return known.written

    async def pack(self, spec: Spec, planned: PlannedLayer, listener: Listener = DEAF) -> WrittenLayer:
        """The layer in the store, made of its content and compressed as its spec says, or found by its content.

        Raises LayerError for content that changed meanwhile.
        """
        compression, level = Compression(spec.compression.kind), spec.compression.level
        abandoned = Event()
        with running(self.progress, _step(spec, planned)) as run:
            key = await asyncio.to_thread(_recipe_of, spec, planned)
            began = self.clock()

            def write(file: BinaryIO, earlier: EarlierLayer | None) -> WrittenLayer:
                return write_layer(
                    planned.entries,
                    _Sink(file, abandoned),
                    compression=compression,
                    level=level,
                    threads=self.threads,
                    advance=run.advance,
                    earlier=earlier,
                    may_keep=lambda entries: not is_racy(entries, began),
                )

            try:
                looks = Looks(key=key or "", samples=sample(planned.entries))
                codec = find_codec(compression, level)
                alike = await asyncio.to_thread(self._find_alike, planned, codec, looks, lambda: _proceed(abandoned))
                written = await self._choose(alike)
                if written is not None:
                    run.outcome = Outcome.REUSED
                    run.advance(written.uncompressed_size)
                else:
                    listener.changes()
                    place = place_of(spec, planned.name, codec.record)
                    written = await asyncio.to_thread(self._write, write, place)
            finally:
                # Of a build that is cancelled: a program cannot end before its threads do.
                abandoned.set()
            run.descriptor, run.detail = written.descriptor, planned.summary
            self._remember(LayerRecord.of(written), key if _is_sure(written, planned, began) else None, looks)
        listener.has(written.descriptor)
        return written

    def _find_alike(
        self, planned: PlannedLayer, codec: Codec, looks: Looks, proceed: Callable[[], None]
    ) -> list[LayerRecord]:
        """The layers of the same content that the store or a shared cache should have, if it is likely that there are
        any: those of the store first. Blocking."""
        size = planned.outline.tar_size
        known = [
            one.layer
            for one in self.alike.find(codec.record, size)
            if one.looks.may_be(looks) and self._is_whole(one.layer.descriptor)
        ]
        if self.shared is not None:
            known += self.shared.find(codec, size)
        diff_id = read_diff_id(planned.entries, proceed) if known else None
        return [layer for layer in known if layer.diff_id == diff_id]

    async def _choose(self, layers: Sequence[LayerRecord]) -> WrittenLayer | None:
        for layer in layers:
            if await self._is_at_hand(layer):
                return layer.written
        return None

    async def _is_at_hand(self, layer: LayerRecord) -> bool:
        return self._is_whole(layer.descriptor) or (self.shared is not None and await self.shared.has(layer))

    def _remember(self, layer: LayerRecord, key: str | None, looks: Looks) -> None:
        if self.shared is not None and self.shared.has_taken(layer):
            # Only others say that it is what it is: no later build is to rely on that.
            return
        if key is not None:
            self.records.remember(key, layer)
        self.alike.remember(layer, looks)

    def _write(self, write: Callable[[BinaryIO, EarlierLayer | None], WrittenLayer], place: str) -> WrittenLayer:
        """Make the layer, with the help of the one that was in its place before, if the store has it. Blocking."""
        with self._open_earlier(place) as earlier:
            try:
                written = self._write_blob(write, earlier)
            except DamagedLayer:
                written = self._write_blob(write, None)
        self.stretches.remember(place, written)
        return written

    def _write_blob(
        self, write: Callable[[BinaryIO, EarlierLayer | None], WrittenLayer], earlier: EarlierLayer | None
    ) -> WrittenLayer:
        return self.store.write_blob(lambda file: write(file, earlier), lambda layer: layer.descriptor.digest)

    @contextmanager
    def _open_earlier(self, place: str) -> Iterator[EarlierLayer | None]:
        last = self.stretches.find(place)
        if last is None or not self._is_whole(last.descriptor):
            yield None
            return
        try:
            file = self.store.path_of(last.descriptor.digest).open("rb")
        except OSError:
            # It is freed by others at this moment.
            yield None
            return
        with file:
            yield EarlierLayer(file, last.stretches)

    def _is_whole(self, layer: Descriptor) -> bool:
        return self.has(layer.digest) and self.store.size_of(layer.digest) == layer.size

    def pack_rootfs(self, entries: tuple[Entry, ...]) -> WrittenLayer:
        """A layer of its own, by the codec that is usual. Blocking."""
        return self.store.write_blob(
            lambda file: write_layer(entries, file, threads=self.threads), lambda layer: layer.descriptor.digest
        )


def _is_sure(written: WrittenLayer, planned: PlannedLayer, began: int) -> bool:
    """Whether files of the layer that change are sure to look different. Of stretches it was asked on the way."""
    if written.stretches:
        return all(stretch.key for stretch in written.stretches)
    return not is_racy(planned.entries, began)


def _recipe_of(spec: Spec, planned: PlannedLayer) -> str | None:
    key = planned.outline.key
    codec = find_codec(Compression(spec.compression.kind), spec.compression.level)
    return recipe_of(key, codec.record) if key is not None else None


def _step(spec: Spec, planned: PlannedLayer) -> Step:
    return Step(
        activity=Activity.PACK,
        name=planned.name,
        group=spec.label,
        total=planned.outline.tar_size,
    )
