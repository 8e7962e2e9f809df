"""Writing: entries in, a stored layer and its descriptor out, in one pass over the bytes."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Final, Protocol

import msgspec

from layerkit.layer.arrange import arrange
from layerkit.layer.blocks import Content, PackedBlock
from layerkit.layer.compress import Compression, count_threads, find_codec
from layerkit.layer.entry import Entry
from layerkit.layer.estargz import EstargzLayer
from layerkit.layer.pipeline import hand_on, map_in_order
from layerkit.layer.reuse import EarlierLayer, StoredStretch, StretchPacker
from layerkit.layer.tar import iter_blocks
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.mediatype import OCI_LAYER

FORMAT_VERSION: Final = 1
"""Of the tar: what changes a diff_id changes the version. How it is stored is in the codec's record."""


class Sink(Protocol):
    """Where the bytes of a layer go: a buffered file, an upload. A write takes all that it is given."""

    def write(self, content: Content, /) -> object: ...


class WrittenLayer(msgspec.Struct, frozen=True, kw_only=True):
    """`descriptor` is of the bytes as stored, `diff_id` and `uncompressed_size` are of the tar.

    `codec` is for the record of the build: with it and FORMAT_VERSION the same the digests are the same. By `stretches`
    the next one of almost the same entries may use again what is in this one.
    """

    descriptor: Descriptor
    diff_id: Digest
    uncompressed_size: int
    codec: str
    stretches: tuple[StoredStretch, ...] = ()


def _nothing(count: int) -> None:
    """Counts the bytes that nobody counts."""


def _never(entries: Sequence[Entry]) -> bool:  # noqa: ARG001 - whoever asks more gives another one
    return False


def write_layer(
    entries: Iterable[Entry],
    sink: Sink,
    *,
    compression: Compression = Compression.GZIP,
    level: int | None = None,
    threads: int | None = None,
    advance: Callable[[int], None] = _nothing,
    earlier: EarlierLayer | None = None,
    may_keep: Callable[[Sequence[Entry]], bool] = _never,
) -> WrittenLayer:
    """Write the layer that `entries`, in any order, make.

    `level` is of the compression, None the usual one. `threads` compress at once, by default as many as there are
    CPUs; their number changes no byte. `advance` hears of the bytes of the tar, a block at a time, in whichever thread
    makes them. `earlier` is a layer by the same codec to take from what is the same: it changes no byte either.
    `may_keep` says which entries a later one may count on. Raises LayerError for entries that cannot share a layer
    (before anything is written), for a file that changed and, DamagedLayer, for an earlier layer that did: what is in
    the sink then is no layer.
    """
    codec = find_codec(compression, level)
    threads = count_threads() if threads is None else threads
    tar, stored = _Meter(advance), _Meter()
    estargz: EstargzLayer | None = None
    packer: StretchPacker | None = None
    with ExitStack() as stack:
        if codec.blocks is None:
            estargz = EstargzLayer.of(entries, level=level, threads=threads, observe=tar.take)
            parts: Iterable[Content] = stack.enter_context(closing(estargz.parts()))
        else:
            packer = StretchPacker(arrange(entries), codec.blocks, threads, earlier, may_keep)
            blocks = stack.enter_context(closing(packer.blocks()))
            parts = codec.blocks.join(tar.take_block(block) for block in blocks)
        if codec.media_type == OCI_LAYER:
            # What is stored is the tar, and so are digest and size (LAYERS, item 27).
            stored = tar

        def store(part: Content) -> None:
            if stored is not tar:
                stored.take(part)
            sink.write(part)

        # Beside the digest of the tar, which is taken here: one thread for both would keep all others waiting.
        hand = stack.enter_context(hand_on(store, in_flight=1))
        for part in parts:
            hand(part)
    descriptor = Descriptor(
        media_type=codec.media_type,
        digest=stored.digest,
        size=stored.size,
        annotations={} if estargz is None else estargz.annotations,
    )
    return WrittenLayer(
        descriptor=descriptor,
        diff_id=tar.digest,
        uncompressed_size=tar.size,
        codec=codec.record,
        stretches=packer.stretches if packer is not None else (),
    )


def read_diff_id(entries: Iterable[Entry], proceed: Callable[[], None]) -> Digest:
    """The diff_id of the layer that `entries` make, by reading them and writing nothing.

    `proceed` is called for each block, and raises where nobody waits any more. Raises what `write_layer` raises.
    """
    digester = new_hash()
    with (
        closing(iter_blocks(arrange(entries))) as made,
        # One thread reads while this one hashes.
        closing(map_in_order(lambda block: block, made, 1)) as blocks,
    ):
        for block in blocks:
            proceed()
            digester.update(block)
    return Digest.from_hash(digester)


class _Meter:
    """Takes the digest and the size of what passes."""

    def __init__(self, advance: Callable[[int], None] = _nothing) -> None:
        self._advance = advance
        self._digester = new_hash()
        self.size = 0

    def take_block(self, block: PackedBlock) -> PackedBlock:
        self.take(block.content)
        return block

    def take(self, part: Content) -> None:
        self._digester.update(part)
        self.size += len(part)
        self._advance(len(part))

    @property
    def digest(self) -> Digest:
        return Digest.from_hash(self._digester)
