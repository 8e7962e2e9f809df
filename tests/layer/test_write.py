"""LAYERS, items 27, 37 and 39, and the whole: entries in, a stored layer out."""

import hashlib
import io
import random
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.arrange import arrange
from layerkit.layer.blocks import Content
from layerkit.layer.compress import Compression
from layerkit.layer.entry import MAX_ID, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource
from layerkit.layer.tar import BLOCK_SIZE, iter_blocks, tar_size
from layerkit.layer.write import FORMAT_VERSION, WrittenLayer, read_diff_id, write_layer
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from tests.layer.fixture import FIXTURE


def written(entries: list[Entry], *, threads: int | None = None) -> tuple[WrittenLayer, bytes]:
    sink = io.BytesIO()
    return write_layer(entries, sink, threads=threads), sink.getvalue()


class Counter:
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, content: Content, /) -> None:
        self.size += len(content)


class TestDigests:
    def test_the_golden_layer_has_the_digests_that_it_always_had(self) -> None:
        """Item 37: keep golden hashes in the tests.

        A diff_id that changes re-uploads every layer that anybody has built, and is a new FORMAT_VERSION. A digest
        that changes alone is another compressor: it re-uploads them just the same, and changes the codec's record.
        Neither may come as the side effect of something else.
        """
        layer, _ = written(FIXTURE)
        assert FORMAT_VERSION == 1
        assert layer.codec == "zlib-ng/2.3.3;level=2;block=1MiB/crc32;stored=97%"
        assert layer.diff_id == "sha256:813abe88cc75966ecf3484ff6ef7791d4cb1b9c9f599585f723a4874c0acb98f"
        assert layer.descriptor.digest == "sha256:ced7c3c9812b50fb0c4ed7d8c54859966ca9244728a8819ed89231116c777f6a"

    @pytest.mark.parametrize(
        ("level", "digest"),
        [
            (None, "sha256:d3fb82a5dc8c4a559679f8ee3bb321510f747b202f3824b287c47c019bc371a1"),
            (1, "sha256:63ef747f28a5b721a898e49fd29d9fe100f600b8b5fc4a2e90f30b11cd938c6a"),
            (19, "sha256:99f1a50a5cd9966133361ad345dab2b803f85da0763a7c2c7c6769b2be1a4046"),
        ],
    )
    def test_the_golden_layer_has_the_digests_of_zstd_too(self, level: int | None, digest: str) -> None:
        """Item 37, as above: the diff_id is that of the same tar."""
        layer = write_layer(FIXTURE, io.BytesIO(), compression=Compression.ZSTD, level=level)
        assert layer.diff_id == written(FIXTURE)[0].diff_id
        assert layer.descriptor.media_type == OCI_LAYER_ZSTD
        assert layer.descriptor.digest == digest

    @pytest.mark.parametrize(
        ("level", "digest"),
        [
            (1, "sha256:2f25399fe714f213149976b3f4ea7a01caf067a424fc8576f2ec068d3cace4b4"),
            (6, "sha256:23ccfe19035c9dbb97de23e50870d022b2055b5b4e5242e4f26bb6fe97212af8"),
            (9, "sha256:20414488c56edc854497124f8282941cc610b6c1c3bb093168274613751fe0be"),
        ],
    )
    def test_the_golden_layer_has_the_digests_of_each_level(self, level: int, digest: str) -> None:
        """Item 37, as above."""
        assert write_layer(FIXTURE, io.BytesIO(), level=level).descriptor.digest == digest

    def test_what_is_stored_has_the_digest_that_it_always_had(self) -> None:
        """Item 37, as above, for what does not get smaller."""
        noise = BytesSource(random.Random(0).randbytes(3 * BLOCK_SIZE))
        layer, _ = written([Entry(path="noise", type=EntryType.FILE, mode=0o644, source=noise)])
        assert layer.descriptor.digest == "sha256:eabd2d7e8aed00b653ca84fc8567a909bdf966ee656260c8b5a97d983e1af01c"

    def test_diff_id_is_of_the_tar_and_the_descriptor_is_of_what_is_stored(self) -> None:
        """Item 27."""
        layer, content = written(FIXTURE)
        tar = zlib.decompress(content, 31)
        assert layer.diff_id == Digest.of(tar)
        assert layer.uncompressed_size == len(tar)
        assert layer.descriptor.digest == Digest.of(content)
        assert (layer.descriptor.size, layer.descriptor.media_type) == (len(content), OCI_LAYER_GZIP)

    def test_they_coincide_where_nothing_is_compressed(self) -> None:
        """Item 27: for an uncompressed layer they coincide."""
        sink = io.BytesIO()
        layer = write_layer(FIXTURE, sink, compression=Compression.NONE)
        assert layer.diff_id == layer.descriptor.digest == Digest.of(sink.getvalue())
        assert layer.uncompressed_size == layer.descriptor.size == len(sink.getvalue())
        assert (layer.descriptor.media_type, layer.codec) == (OCI_LAYER, "none")
        assert layer.diff_id == written(FIXTURE)[0].diff_id

    @given(st.integers(0, 2**32))
    def test_any_order_of_the_entries_gives_the_same_bytes(self, seed: int) -> None:
        """Item 10."""
        entries = FIXTURE[:-3] + FIXTURE[-2:]
        assert written(random.Random(seed).sample(entries, len(entries))) == written(entries)

    @pytest.mark.parametrize("threads", [1, 2, 4, None])
    def test_any_number_of_threads_gives_the_same_bytes(self, threads: int | None) -> None:
        """Item 30."""
        assert written(FIXTURE, threads=threads) == written(FIXTURE)

    @pytest.mark.parametrize("threads", [1, 2, 4])
    @pytest.mark.parametrize("level", [None, 9])
    def test_any_number_of_threads_gives_the_same_bytes_of_zstd(self, threads: int, level: int | None) -> None:
        """Item 32."""
        layers = [
            write_layer(FIXTURE, io.BytesIO(), compression=Compression.ZSTD, level=level, threads=count)
            for count in (threads, 3)
        ]
        assert layers[0] == layers[1]

    def test_content_on_disk_and_in_memory_gives_the_same_bytes(self, tmp_path: Path) -> None:
        entries = []
        for number, entry in enumerate(FIXTURE):
            source = entry.source
            if isinstance(source, BytesSource):
                path = tmp_path / str(number)
                path.write_bytes(source.content)
                on_disk = FileSource.seen(str(path), path.stat())
                entries.append(
                    Entry(
                        path=entry.path,
                        type=entry.type,
                        mode=entry.mode,
                        mtime=entry.mtime,
                        xattrs=entry.xattrs,
                        source=on_disk,
                    )
                )
            else:
                entries.append(entry)
        assert written(entries) == written(FIXTURE)

    def test_an_empty_layer_is_two_zero_records(self) -> None:
        layer, _ = written([])
        assert layer.diff_id == f"sha256:{hashlib.sha256(bytes(1024)).hexdigest()}"


class TestMeasure:
    """`tar_size` foretells the bytes that `write_layer` counts."""

    def test_the_size_of_the_fixture(self) -> None:
        assert tar_size(arrange(FIXTURE)) == written(FIXTURE)[0].uncompressed_size

    @given(
        st.text(st.sampled_from("aé/"), min_size=95, max_size=260).map(
            lambda text: text.strip("/").replace("//", "/b")
        ),
        st.sampled_from([0, 2**21 - 1, 2**21, MAX_ID]),
        st.sampled_from([0, 1, 511, 512, 513]),
        st.booleans(),
    )
    def test_the_size_of_any_entry(self, path: str, uid: int, size: int, is_folder: bool) -> None:
        kind = EntryType.DIRECTORY if is_folder else EntryType.FILE
        source = None if is_folder else BytesSource(bytes(size))
        try:
            entries = arrange([Entry(path=path, type=kind, mode=0o755, uid=uid, source=source)])
        except LayerError:
            return
        assert tar_size(entries) == sum(map(len, iter_blocks(entries)))


class TestFailures:
    def test_entries_that_cannot_share_a_layer_are_refused_before_anything_is_written(self) -> None:
        sink = Counter()
        with pytest.raises(LayerError, match="twice"):
            write_layer([FIXTURE[0], FIXTURE[0]], sink)
        assert sink.size == 0

    @pytest.mark.parametrize("compression", Compression)
    def test_a_file_that_changed_since_it_was_planned_ends_the_layer(
        self, tmp_path: Path, compression: Compression
    ) -> None:
        """S7: else tar header/size mismatch."""
        path = tmp_path / "log"
        path.write_bytes(bytes(3_000_000))
        source = FileSource.seen(str(path), path.stat())
        path.write_bytes(bytes(3_000_001))
        entry = Entry(path="var/log", type=EntryType.FILE, mode=0o644, source=source)
        before = threading.active_count()
        with pytest.raises(LayerError, match=r"log' changed during the build: it had 3000000 bytes and has 3000001"):
            write_layer([*FIXTURE[:-1], entry], Counter(), compression=compression)
        assert threading.active_count() == before

    def test_a_sink_that_is_full_ends_the_layer_and_no_thread_stays(self) -> None:
        class Full:
            def write(self, content: Content, /) -> None:
                raise OSError("no space left")

        before = threading.active_count()
        with pytest.raises(OSError, match="no space left"):
            write_layer(FIXTURE, Full())
        assert threading.active_count() == before


class TestMemory:
    @pytest.mark.parametrize("compression", Compression)
    def test_it_does_not_grow_with_the_size_of_a_file(self, tmp_path: Path, compression: Compression) -> None:
        """PERFORMANCE, "Targets": peak memory <= 150 MB, whatever the layer's size; one 5 GB file included."""
        path = tmp_path / "sparse"
        with path.open("wb") as sparse:
            sparse.truncate(200 * 2**20)
        source = FileSource.seen(str(path), path.stat())
        entry = Entry(path="sparse", type=EntryType.FILE, mode=0o644, source=source)
        sink = Counter()
        tracemalloc.start()
        try:
            layer = write_layer([entry], sink, compression=compression, threads=4)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert layer.uncompressed_size >= 512 + 200 * 2**20 + 1024
        assert sink.size == layer.descriptor.size
        # Of zstd the library's own memory does not show here.
        assert peak < 24 * 2**20


def test_the_bytes_of_the_tar_are_told_as_they_are_made() -> None:
    told: list[int] = []
    entries = [
        Entry(path=name, type=EntryType.FILE, mode=0o644, source=BytesSource(content))
        for name, content in (("a", bytes(3 * BLOCK_SIZE)), ("b", b"x"))
    ]
    layer = write_layer(entries, io.BytesIO(), advance=told.append)
    assert sum(told) == layer.uncompressed_size == tar_size(entries)
    assert max(told) <= BLOCK_SIZE


class TestReading:
    def test_the_diff_id_is_that_of_the_layer(self) -> None:
        calls: list[None] = []
        layer, _ = written(FIXTURE)
        assert read_diff_id(FIXTURE, lambda: calls.append(None)) == layer.diff_id
        assert len(calls) == len(list(iter_blocks(arrange(FIXTURE))))

    def test_nobody_reads_on_and_no_thread_stays_where_nobody_waits(self) -> None:
        def proceed() -> None:
            raise LayerError("interrupted")

        before = threading.active_count()
        with pytest.raises(LayerError, match="interrupted"):
            read_diff_id(FIXTURE, proceed)
        assert threading.active_count() == before

    def test_a_file_that_changed_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"a")
        source = FileSource.seen(str(path), path.stat())
        path.write_bytes(b"ab")
        with pytest.raises(LayerError, match="changed during the build"):
            read_diff_id([Entry(path="log", type=EntryType.FILE, mode=0o644, source=source)], lambda: None)
