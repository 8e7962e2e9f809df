"""Writing: entries in, a stored layer and its descriptor out, in one pass over the bytes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final, Protocol

from layerkit.layer.arrange import arrange
from layerkit.layer.compress import Compression, Content, PackedBlock, count_threads, find_codec, join_blocks
from layerkit.layer.entry import Entry
from layerkit.layer.estargz import EstargzLayer
from layerkit.layer.reuse import EarlierLayer, StoredStretch, StretchPacker
from layerkit.layer.tar import iter_blocks, tar_size
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, new_hash

FORMAT_VERSION: Final = 1
"""Of the tar and of its blocks: what changes a digest changes the version."""


class Sink(Protocol):
    """Where the bytes of a layer go: a buffered file, an upload. A write takes all that it is given."""

    def write(self, content: Content, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
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
    estargz: EstargzLayer | None = None
    packer: StretchPacker | None = None
    with ExitStack() as stack:
        if compression is Compression.ESTARGZ:
            tar = _Meter(advance=advance)
            estargz = EstargzLayer.of(entries, level=level, threads=threads, observe=tar.take)
            stored = _Meter(stack.enter_context(closing(estargz.parts())))
        elif codec.pack is not None:
            packer = StretchPacker(arrange(entries), codec.pack, threads, earlier, may_keep)
            tar = _Meter(advance=advance)
            blocks = stack.enter_context(closing(packer.blocks()))
            stored = _Meter(join_blocks(tar.take_block(block) for block in blocks))
        else:
            arranged = arrange(entries)
            tar = stored = _Meter(stack.enter_context(closing(iter_blocks(arranged))), advance)
            if codec.compress is not None:
                parts = codec.compress(tar, threads=threads, size=tar_size(arranged))
                stored = _Meter(stack.enter_context(closing(parts)))
        for part in stored:
            sink.write(part)
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
    with closing(iter_blocks(arrange(entries))) as blocks:
        digester = new_hash()
        for block in blocks:
            proceed()
            digester.update(block)
    return Digest.from_hash(digester)


class _Meter:
    """Passes content on, and takes its digest and size on the way."""

    def __init__(self, content: Iterable[Content] = (), advance: Callable[[int], None] = _nothing) -> None:
        self._content = content
        self._advance = advance
        self._digester = new_hash()
        self.size = 0

    def __iter__(self) -> Iterator[Content]:
        for part in self._content:
            self.take(part)
            yield part

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
