"""LAYERS, items 28-32, 37 and 39: gzip and zstd whose bytes depend on the blocks and the level alone."""

import gzip
import random
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.blocks import BlockFormat, Content
from layerkit.layer.compress import LEVELS, Compression, count_threads, find_codec
from layerkit.layer.errors import LayerError
from layerkit.layer.pipeline import hand_on, map_in_order
from layerkit.layer.tar import BLOCK_SIZE
from layerkit.oci.mediatype import compression_of

WORDS = [f"word{number} ".encode() for number in range(2000)]


def blocks_of(count: int, size: int = 300_000) -> list[bytes]:
    """Blocks that compress like text, each another one."""
    return [b"".join(random.Random(number).choices(WORDS, k=size // 8)) for number in range(count)]


def format_of(compression: Compression = Compression.GZIP, level: int | None = None) -> BlockFormat:
    blocks = find_codec(compression, level).blocks
    assert blocks is not None
    return blocks


def parts_of(
    blocks: Iterable[Content],
    threads: int = 2,
    *,
    compression: Compression = Compression.GZIP,
    level: int | None = None,
) -> list[Content]:
    form = format_of(compression, level)
    return list(form.join(map_in_order(form.pack, blocks, threads)))


def compressed(blocks: Iterable[Content], threads: int = 2) -> bytes:
    return b"".join(parts_of(blocks, threads))


_STORED_AS = {Compression.GZIP_FAST: "gzip", Compression.ESTARGZ: "gzip"}

BLOCKS = blocks_of(30)
WHOLE = b"".join(BLOCKS)


def zstd(blocks: Iterable[Content], threads: int = 2, level: int | None = None) -> bytes:
    return b"".join(parts_of(blocks, threads, compression=Compression.ZSTD, level=level))


def unzstd(content: Content) -> bytes:
    """By the library, which begins a frame where another one ends."""
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
    return reader.read()


class TestGzip:
    def test_the_header_is_10_bytes_of_constants(self) -> None:
        """Item 28: mtime 0, no FNAME/FCOMMENT, XFL fixed, OS = 255."""
        assert compressed(BLOCKS)[:10] == bytes.fromhex("1f8b 08 00 00000000 00 ff")

    def test_python_and_gnu_gzip_read_it(self) -> None:
        content = compressed(BLOCKS)
        assert gzip.decompress(content) == b"".join(BLOCKS)
        result = subprocess.run(["gzip", "-dc"], input=content, check=True, capture_output=True)
        assert (result.stdout, result.stderr) == (b"".join(BLOCKS), b"")

    def test_it_is_a_single_member(self) -> None:
        """Item 29: one gzip member by default; some non-Go readers stop at the first."""
        inflate = zlib.decompressobj(31)
        assert inflate.decompress(compressed(BLOCKS)) == b"".join(BLOCKS)
        assert inflate.eof
        assert inflate.unused_data == b""

    def test_it_ends_with_an_empty_final_block_the_checksum_and_the_size(self) -> None:
        content = b"".join(BLOCKS)
        assert compressed(BLOCKS)[-10:] == b"\x03\x00" + struct.pack("<LL", zlib.crc32(content), len(content))

    @given(st.lists(st.binary(min_size=1, max_size=3000), max_size=20), st.integers(1, 4))
    def test_what_is_compressed_is_read_back(self, blocks: list[bytes], threads: int) -> None:
        assert gzip.decompress(compressed(blocks, threads)) == b"".join(blocks)

    def test_each_block_is_compressed_on_its_own_and_ends_at_a_whole_byte(self) -> None:
        """Item 30: blocks are compressed independently, joined by full flush: one can be taken from another build."""
        _, *parts, _ = parts_of(BLOCKS)
        for part, block in zip(parts, BLOCKS, strict=True):
            assert part.endswith(b"\x00\x00\xff\xff")
            assert zlib.decompressobj(-15).decompress(part) == block
        *_, last = parts_of([BLOCKS[3], BLOCKS[7]])[1:-1]
        assert last == parts[7]

    def test_a_block_may_be_any_bytes_like_object(self) -> None:
        assert compressed(map(bytearray, BLOCKS)) == compressed(BLOCKS)


class TestStored:
    """PERFORMANCE, "How", 6: "Incompressible data: [...] emit stored deflate blocks"."""

    NOISE = random.Random(1).randbytes(2**20)

    @pytest.mark.parametrize("compression", [Compression.GZIP, Compression.GZIP_FAST])
    @pytest.mark.parametrize("size", [65536, 65537, 2**20])
    def test_noise_is_stored_in_blocks_of_65535_bytes(self, compression: Compression, size: int) -> None:
        """RFC 1951, section 3.2.4: "any bits of input up to the next byte boundary are ignored", LEN and NLEN."""
        noise = self.NOISE[:size]
        _, stored, _ = parts_of([noise], compression=compression)
        expected = b""
        for start in range(0, size, 65535):
            part = noise[start : start + 65535]
            expected += b"\0" + struct.pack("<H", len(part)) + struct.pack("<H", 65535 - len(part)) + part
        assert stored == expected

    @given(st.permutations(["noise", "text", "zeros", "noise"]), st.sampled_from([None, 1, 9]))
    def test_what_is_stored_is_read_back_beside_what_is_deflated(self, kinds: list[str], level: int | None) -> None:
        kinds_of = {"noise": self.NOISE, "text": BLOCKS[0], "zeros": bytes(2**20)}
        blocks = [kinds_of[kind] for kind in kinds]
        content = b"".join(parts_of(blocks, level=level))
        assert gzip.decompress(content) == b"".join(blocks)
        assert len(content) < 2**21 + 2**19

    def test_what_gets_smaller_by_three_per_cent_is_deflated(self) -> None:
        """A twentieth of each stretch is zeros: no more than what deflate makes of it is won, and that is taken."""
        noise = random.Random(2)
        block = b"".join(noise.randbytes(3891) + bytes(205) for _ in range(256))
        _, content, _ = parts_of([block])
        assert len(content) < 0.97 * len(block)

    def test_one_sample_that_gets_smaller_is_enough(self) -> None:
        """A block that is noise but for its last stretch of text."""
        block = self.NOISE[:-100_000] + BLOCKS[0][:100_000]
        _, content, _ = parts_of([block])
        assert len(content) < len(block) - 50_000

    def test_all_levels_and_any_bytes_like_object_store_the_same(self) -> None:
        parts = {
            bytes(parts_of([block], level=level)[1])
            for level in (1, 9)
            for block in (self.NOISE, bytearray(self.NOISE))
        }
        assert len(parts) == 1

    def test_a_short_block_is_not_sampled(self) -> None:
        """The end of a layer is mostly short, and deflate stores by itself what it cannot make smaller."""
        assert len(compressed([self.NOISE[:65535]])) < 65535 + 100


class TestFast:
    """LAYERS, item 38: "isal is for `gzip:fast` and for decompression"."""

    def fast(self, threads: int = 2) -> bytes:
        return b"".join(parts_of(BLOCKS, threads, compression=Compression.GZIP_FAST))

    def test_it_is_one_member_that_all_read(self) -> None:
        inflate = zlib.decompressobj(31)
        assert inflate.decompress(self.fast()) == WHOLE
        assert (inflate.eof, inflate.unused_data) == (True, b"")

    def test_the_number_of_threads_changes_no_byte(self) -> None:
        """Item 38: "always fixed blocks"."""
        assert self.fast(1) == self.fast(2) == self.fast(5)

    def test_it_is_another_compressor_than_that_of_gzip(self) -> None:
        assert self.fast() != compressed(BLOCKS)
        assert len(self.fast()) < 1.2 * len(compressed(BLOCKS))

    def test_each_block_is_compressed_on_its_own(self) -> None:
        """Item 30."""
        _, *parts, _ = parts_of(BLOCKS, compression=Compression.GZIP_FAST)
        assert [zlib.decompressobj(-15).decompress(part) for part in parts] == BLOCKS


class TestZstd:
    def test_each_block_is_a_frame_with_the_size_and_a_checksum_of_its_content(self) -> None:
        """Item 32: "zstd frames carry content checksum + content size; window ≤ 8 MiB". RFC 8878, section 3.1: "it is
        possible to concatenate frames"."""
        parts = parts_of(BLOCKS, compression=Compression.ZSTD)
        assert len(parts) == len(BLOCKS)
        for part, block in zip(parts, BLOCKS, strict=True):
            frame = zstandard.get_frame_parameters(part)
            assert (frame.content_size, frame.has_checksum) == (len(block), True)
            decoder = zstandard.ZstdDecompressor().decompressobj()
            assert decoder.decompress(part) == block
            assert (decoder.eof, decoder.unused_data) == (True, b"")

    def test_python_and_the_program_read_it(self) -> None:
        content = zstd(BLOCKS)
        assert unzstd(content) == WHOLE
        result = subprocess.run(["zstd", "-dc"], input=content, check=True, capture_output=True)
        assert result.stdout == WHOLE

    def test_a_damaged_frame_is_noticed(self) -> None:
        content = bytearray(zstd(BLOCKS))
        content[-1] ^= 1
        with pytest.raises(zstandard.ZstdError):
            unzstd(content)

    @given(st.lists(st.binary(min_size=1, max_size=3000), max_size=20), st.integers(1, 4))
    def test_what_is_compressed_is_read_back(self, blocks: list[bytes], threads: int) -> None:
        assert unzstd(zstd(blocks, threads)) == b"".join(blocks)

    @pytest.mark.parametrize("level", [1, 3, 6, 9, 13, 19])
    def test_what_was_compressed_before_changes_no_byte(self, level: int) -> None:
        """A compressor is used again, by whichever thread is free: in another order each time."""
        blocks = [block[:size] for size, block in zip([300_000, 20_000, 200_000, 3000] * 4, BLOCKS, strict=False)]
        expected = [zstandard.ZstdCompressor(level=level, write_checksum=True).compress(block) for block in blocks]
        assert parts_of(blocks, 1, compression=Compression.ZSTD, level=level) == expected
        assert parts_of(blocks[::-1], 1, compression=Compression.ZSTD, level=level) == expected[::-1]

    @pytest.mark.parametrize("level", [1, 3, 12])
    def test_the_number_of_threads_changes_no_byte(self, level: int) -> None:
        """Item 32: the threads of the library are not used, whose bytes differ from those that it makes without."""
        assert zstd(BLOCKS, 1, level) == zstd(BLOCKS, 2, level) == zstd(BLOCKS, 5, level)

    def test_windows_stay_within_what_every_decoder_takes_at_every_level(self) -> None:
        block = b"".join(blocks_of(20))[:BLOCK_SIZE]
        for level in (1, 12, 13, 19):
            assert zstandard.get_frame_parameters(zstd([block], 1, level)).window_size <= 2**23

    def test_deep_levels_get_fewer_threads_for_each_holds_much(self) -> None:
        most = [format_of(Compression.ZSTD, level).most_threads for level in (3, 9, 19)]
        assert most == sorted(most, reverse=True)
        assert most[0] > 16
        assert most[-1] == 1

    def test_a_level_is_another_trade(self) -> None:
        assert len({len(zstd(BLOCKS[:5], level=level)) for level in (1, 3, 9)}) == 3


class TestUnpacking:
    """What is stored may have been damaged: it is the block, or an error, whatever it says of itself."""

    FORMATS = (Compression.NONE, Compression.GZIP, Compression.GZIP_FAST, Compression.ZSTD)

    @pytest.mark.parametrize("compression", FORMATS)
    @given(st.binary(min_size=1, max_size=3000))
    def test_it_gives_the_block_that_was_packed(self, compression: Compression, content: bytes) -> None:
        form = format_of(compression)
        packed = form.pack(content)
        assert form.unpack(bytes(packed.stored), len(content), packed.checksum) == packed

    @pytest.mark.parametrize("compression", FORMATS)
    def test_what_is_damaged_cut_or_followed_by_more_is_refused(self, compression: Compression) -> None:
        form = format_of(compression)
        block = BLOCKS[0][:20_000]
        packed = form.pack(block)
        stored, checksum = bytes(packed.stored), packed.checksum
        for size in (0, 1, 10, len(stored) // 2):
            with pytest.raises(ValueError):  # noqa: PT011 - the decoder says what
                form.unpack(stored[:size], len(block), checksum)
        for place in range(20, len(stored) - 20, 97):
            flipped = bytearray(stored)
            flipped[place] ^= 0x10
            with pytest.raises(ValueError):  # noqa: PT011
                form.unpack(bytes(flipped), len(block), checksum)
        for wrong in (len(block) - 1, len(block) + 1):
            with pytest.raises(ValueError):  # noqa: PT011
                form.unpack(stored, wrong, checksum)
        with pytest.raises(ValueError, match="size or checksum"):
            form.unpack(stored, len(block), checksum ^ 1)

    def test_a_frame_that_says_that_it_is_huge_takes_no_memory(self) -> None:
        huge = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**60) + b"\x01\0\0"
        with pytest.raises(ValueError, match="no frame of this size"):
            format_of(Compression.ZSTD).unpack(huge, 1000, 0)


class TestThreads:
    @pytest.mark.parametrize("threads", [1, 2, 4, 20])
    def test_their_number_changes_no_byte(self, threads: int) -> None:
        """Item 30: never on the number of cores."""
        assert compressed(BLOCKS, threads) == compressed(BLOCKS, 3)

    def test_blocks_are_taken_a_few_ahead_only(self) -> None:
        """Memory stays the same whatever the size of the layer."""
        taken = 0

        def count() -> Iterator[bytes]:
            nonlocal taken
            for block in blocks_of(40, size=1000):
                taken += 1
                yield block

        for seen, _ in enumerate(map_in_order(format_of().pack, count(), 4), 1):
            assert taken <= seen + 8

    def test_an_error_of_the_source_comes_through_and_no_thread_stays(self) -> None:
        def fail() -> Iterator[bytes]:
            yield from BLOCKS[:3]
            raise OSError("the disk is gone")

        before = threading.active_count()
        with pytest.raises(OSError, match="the disk is gone"):
            compressed(fail())
        assert threading.active_count() == before

    def test_no_thread_stays_where_nobody_wants_the_rest(self) -> None:
        before = threading.active_count()
        packed = map_in_order(format_of().pack, iter(BLOCKS), 4)
        next(packed)
        next(packed)
        packed.close()
        assert threading.active_count() == before

    def test_an_error_of_the_work_comes_where_its_result_would_and_no_thread_stays(self) -> None:
        before = threading.active_count()
        results = map_in_order(lambda number: 60 // (number - 12), range(100), 3)
        assert [next(results) for _ in range(12)] == [60 // (number - 12) for number in range(12)]
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert threading.active_count() == before

    def test_results_come_in_the_order_of_their_items(self) -> None:
        """The first is not done before the last that may be begun meanwhile is."""
        ends = [threading.Event() for _ in range(4)]

        def wait(number: int) -> int:
            if number + 1 < len(ends):
                assert ends[number + 1].wait(10)
            ends[number].set()
            return number

        assert list(map_in_order(wait, range(4), 4)) == [0, 1, 2, 3]

    def test_who_is_free_makes_the_next_item_and_one_at_a_time_does(self) -> None:
        makers: set[str] = set()
        at_it = threading.Lock()

        def make() -> Iterator[int]:
            for number in range(50):
                assert at_it.acquire(blocking=False)
                makers.add(threading.current_thread().name)
                at_it.release()
                yield number

        assert list(map_in_order(str, make(), 2)) == [str(number) for number in range(50)]
        assert makers <= {"compress-0", "compress-1"}

    def test_nothing_of_the_source_runs_after_it_is_abandoned(self) -> None:
        taken = 0

        def count() -> Iterator[int]:
            nonlocal taken
            while True:
                taken += 1
                yield taken

        results = map_in_order(str, count(), 2)
        assert next(results) == "1"
        results.close()
        assert taken <= 1 + 8

    def test_there_is_at_least_one_and_at_most_one_for_each_block_in_flight(self) -> None:
        assert 1 <= count_threads() <= 8


class TestHandingOn:
    def test_all_is_done_in_order_and_in_one_other_thread(self) -> None:
        seen: list[tuple[int, str]] = []

        def see(number: int) -> None:
            seen.append((number, threading.current_thread().name))

        with hand_on(see, in_flight=4) as hand:
            for number in range(50):
                hand(number)
        assert [number for number, _ in seen] == list(range(50))
        assert {name for _, name in seen} == {"hand-on"}

    def test_only_a_few_wait(self) -> None:
        done: list[int] = []
        with hand_on(done.append, in_flight=2) as hand:
            for number in range(200):
                hand(number)
                assert number + 1 - len(done) <= 2

    @pytest.mark.parametrize("last", [3, 1000])
    def test_an_error_comes_with_the_next_one_or_at_the_end_and_no_thread_stays(self, last: int) -> None:
        before = threading.active_count()
        done: list[int] = []

        def divide(number: int) -> None:
            done.append(number)
            _ = 1 // (number - 3)

        def hand_all() -> None:
            with hand_on(divide, in_flight=4) as hand:
                for number in range(last + 1):
                    hand(number)

        with pytest.raises(ZeroDivisionError):
            hand_all()
        assert done == [0, 1, 2, 3]
        assert threading.active_count() == before

    def test_who_fails_does_not_wait_for_the_rest(self) -> None:
        before = threading.active_count()
        go = threading.Event()
        done: list[int] = []

        def wait(number: int) -> None:
            assert go.wait(10)
            done.append(number)

        def fail() -> None:
            with hand_on(wait, in_flight=4) as hand:
                try:
                    hand(1)
                    hand(2)
                    raise OSError("the source is gone")
                finally:
                    go.set()

        with pytest.raises(OSError, match="the source is gone"):
            fail()
        assert done == [1, 2][: len(done)]
        assert threading.active_count() == before


class TestCodecs:
    @pytest.mark.parametrize("compression", Compression)
    def test_every_compression_has_one_and_the_media_type_says_which(self, compression: Compression) -> None:
        assert compression_of(find_codec(compression).media_type) == _STORED_AS.get(compression, compression)

    def test_the_record_names_all_that_decides_the_bytes(self) -> None:
        """Item 39. Item 37: pin exactly: where this fails, the goldens of test_write.py are to be looked at, too."""
        assert find_codec(Compression.GZIP).record == "zlib-ng/2.3.3;level=2;block=1MiB/crc32;stored=97%"
        assert find_codec(Compression.GZIP, 6).record == "zlib-ng/2.3.3;level=6;block=1MiB/crc32;stored=97%"
        assert (
            find_codec(Compression.GZIP_FAST).record == "isa-l/2.32.1;level=2;block=1MiB/crc32;stored=97%;samples=isa-l"
        )
        assert find_codec(Compression.ZSTD).record == "zstd/1.5.7;level=3;block=1MiB/crc32"
        assert find_codec(Compression.ZSTD, 19).record == "zstd/1.5.7;level=19;block=1MiB/crc32"
        assert find_codec(Compression.ESTARGZ, 9).record == "zlib-ng/2.3.3;level=9;estargz=1;chunk=1MiB;stored=97%"
        assert find_codec(Compression.NONE).record == "none"

    def test_levels_of_gzip_are_of_zlib(self) -> None:
        sizes = [sum(map(len, parts_of(BLOCKS, level=level))) for level in (1, 2, 6)]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == 3
        assert gzip.decompress(b"".join(parts_of(BLOCKS, level=9))) == WHOLE

    @pytest.mark.parametrize("compression", Compression)
    @pytest.mark.parametrize("level", [-1, 0, 20, 100])
    def test_a_level_that_is_none_is_refused_with_those_that_there_are(
        self, compression: Compression, level: int
    ) -> None:
        known = LEVELS.get(compression)
        with pytest.raises(LayerError, match=f"1 to {max(known)}" if known else "none at all"):
            find_codec(compression, level)
