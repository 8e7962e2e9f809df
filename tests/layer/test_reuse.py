"""A layer that is made with the help of an earlier one has the bytes of one that is made without."""

import io
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from layerkit.layer.arrange import arrange
from layerkit.layer.blocks import Content
from layerkit.layer.compress import Compression, find_codec
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.reuse import DamagedLayer, EarlierLayer
from layerkit.layer.source import BytesSource
from layerkit.layer.tar import BLOCK_SIZE, iter_blocks, iter_stretches
from layerkit.layer.write import WrittenLayer, write_layer

Open = Callable[[tuple[bytes, WrittenLayer]], EarlierLayer]


class Counted(BytesSource, frozen=True):
    """Says when it is read."""

    read: ClassVar[list[int]] = []

    def pieces(self, limit: int) -> Generator[bytes, None, None]:
        self.read.append(self.size)
        yield from super().pieces(limit)


def content_of(number: int, size: int) -> bytes:
    """Some that deflates, and some that does not."""
    generator = random.Random(number)
    return generator.randbytes(size) if number % 3 else bytes(generator.choices(b"abcdef", k=size))


def file(path: str, content: bytes) -> Entry:
    return Entry(path=path, type=EntryType.FILE, mode=0o644, source=Counted(content))


def write(
    entries: list[Entry],
    earlier: EarlierLayer | None = None,
    *,
    compression: Compression = Compression.GZIP,
    may_keep: bool = True,
) -> tuple[bytes, WrittenLayer]:
    sink = io.BytesIO()
    written = write_layer(
        entries, sink, compression=compression, threads=2, earlier=earlier, may_keep=lambda _: may_keep
    )
    return sink.getvalue(), written


@pytest.fixture
def open_earlier(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as files:

        def _open(made: tuple[bytes, WrittenLayer]) -> EarlierLayer:
            path = tmp_path / f"layer-{len(list(tmp_path.iterdir()))}"
            path.write_bytes(made[0])
            return EarlierLayer(files.enter_context(path.open("rb")), made[1].stretches)

        yield _open


@pytest.fixture
def tree() -> dict[str, bytes]:
    tree = {f"dir{number % 7}/file{number}": content_of(number, number * 37) for number in range(200)}
    return {**tree, "big": content_of(3, 3 * BLOCK_SIZE + 1000), "dir3/large": content_of(4, 2 * BLOCK_SIZE)}


def entries_of(tree: dict[str, bytes]) -> list[Entry]:
    return [file(path, content) for path, content in tree.items()]


CODECS = [Compression.NONE, Compression.GZIP, Compression.GZIP_FAST, Compression.ZSTD]


def encoding(monkeypatch: pytest.MonkeyPatch, compression: Compression) -> list[int]:
    """The sizes of blocks that are compressed from now on."""
    blocks = find_codec(compression).blocks
    assert blocks is not None
    sizes: list[int] = []
    encode = blocks.encode

    def count(content: Content) -> Content:
        sizes.append(len(content))
        return encode(content)

    counting = replace(find_codec(compression), blocks=replace(blocks, encode=count))
    monkeypatch.setattr("layerkit.layer.write.find_codec", lambda *_: counting)
    return sizes


@pytest.mark.parametrize("compression", CODECS)
def test_what_is_the_same_is_not_compressed_again(
    tree: dict[str, bytes], open_earlier: Open, monkeypatch: pytest.MonkeyPatch, compression: Compression
) -> None:
    earlier = open_earlier(write(entries_of(tree), compression=compression))
    tree["dir2/file2"] = b"edited"
    cold = write(entries_of(tree), compression=compression)
    sizes = encoding(monkeypatch, compression)
    warm = write(entries_of(tree), earlier, compression=compression)
    assert warm == cold
    assert 0 < sum(sizes) <= cold[1].uncompressed_size - 2 * BLOCK_SIZE
    assert write(entries_of(tree), open_earlier(warm), compression=compression) == warm


@pytest.mark.parametrize("compression", CODECS)
def test_small_files_that_are_the_same_are_not_read_again(
    tree: dict[str, bytes], open_earlier: Open, compression: Compression
) -> None:
    del tree["big"], tree["dir3/large"]
    made = write(entries_of(tree), compression=compression)
    Counted.read.clear()
    assert write(entries_of(tree), open_earlier(made), compression=compression) == made
    assert Counted.read == []
    # To read a large one takes less time than to inflate it.
    tree = {"large": content_of(4, 2 * BLOCK_SIZE)}
    made = write(entries_of(tree), compression=compression)
    Counted.read.clear()
    assert write(entries_of(tree), open_earlier(made), compression=compression) == made
    assert Counted.read == [2 * BLOCK_SIZE]


@pytest.mark.parametrize("compression", CODECS)
def test_a_large_file_that_changed_without_a_sign_of_it_is_seen(open_earlier: Open, compression: Compression) -> None:
    class Unseen(BytesSource, frozen=True):
        identity = "the same"

    def entries(content: bytes) -> list[Entry]:
        return [Entry(path="file", type=EntryType.FILE, mode=0o644, source=Unseen(content))]

    one, other = content_of(1, 2 * BLOCK_SIZE + 5), content_of(2, 2 * BLOCK_SIZE + 5)
    earlier = open_earlier(write(entries(one), compression=compression))
    assert write(entries(other), earlier, compression=compression) == write(entries(other), compression=compression)


def test_layers_of_estargz_have_no_stretches_that_could_be_used(tree: dict[str, bytes]) -> None:
    assert write(entries_of(tree), compression=Compression.ESTARGZ)[1].stretches == ()


def test_stretches_are_those_of_the_blocks(tree: dict[str, bytes]) -> None:
    arranged = arrange(entries_of(tree))
    stretches = list(iter_stretches(arranged))
    assert len(stretches) > 3
    assert [stretch.is_last for stretch in stretches] == [False] * (len(stretches) - 1) + [True]
    assert [entry for stretch in stretches for entry in stretch.entries] == list(arranged)
    blocks = [bytes(block) for stretch in stretches for block in stretch.blocks()]
    assert blocks == [bytes(block) for block in iter_blocks(arranged)]
    assert len({stretch.key for stretch in stretches}) == len(stretches)


def test_nothing_is_kept_of_files_that_may_change_unseen(tree: dict[str, bytes], open_earlier: Open) -> None:
    made = write(entries_of(tree), may_keep=False)
    assert {stretch.key for stretch in made[1].stretches} == {b""}
    Counted.read.clear()
    write(entries_of(tree), open_earlier(made))
    assert len(Counted.read) == len(tree)


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("damage", ["flipped", "short", "empty"])
def test_an_earlier_layer_that_was_damaged_is_told(
    tree: dict[str, bytes], open_earlier: Open, damage: str, compression: Compression
) -> None:
    first, written = write(entries_of(tree), compression=compression)
    stored = bytearray(first)
    if damage == "flipped":
        for place in range(100, len(stored), 1000):
            stored[place] ^= 1
    else:
        del stored[len(stored) // 2 if damage == "short" else 0 :]
    earlier = open_earlier((bytes(stored), written))
    with pytest.raises(DamagedLayer, match="made before is damaged"):
        write(entries_of(tree), earlier, compression=compression)


NAMES = [f"{folder}/{name}" for folder in "abc" for name in range(40)]
SIZES = [None, 0, 1, 100, 5000, BLOCK_SIZE - 512, BLOCK_SIZE, 2 * BLOCK_SIZE]
EDITS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(SIZES)), max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, min_size=1, max_size=4), st.sampled_from(CODECS))
def test_after_any_edits_the_bytes_are_those_of_a_cold_build(
    open_earlier: Open, rounds: list[list[tuple[str, int | None]]], compression: Compression
) -> None:
    tree = {name: content_of(number, 500 + number) for number, name in enumerate(NAMES)}
    earlier = None
    for edits in rounds:
        for number, (name, size) in enumerate(edits):
            if size is None:
                tree.pop(name, None)
            else:
                tree[name] = content_of(number, size)
        cold = write(entries_of(tree), compression=compression)
        warm = write(entries_of(tree), earlier, compression=compression)
        assert warm == cold
        earlier = open_earlier(warm)
