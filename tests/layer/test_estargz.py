"""LAYERS, item 33: eStargz, verified with a reader of our own. The spec is stargz-snapshotter's docs/estargz.md."""

import io
import json
import random
import stat
import tarfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.blocks import Content
from layerkit.layer.compress import Compression
from layerkit.layer.entry import Entry, EntryType, whiteout
from layerkit.layer.errors import LayerError
from layerkit.layer.estargz import CHUNK_SIZE, LANDMARK, TOC
from layerkit.layer.index import index_layer
from layerkit.layer.source import BytesSource, FileSource
from layerkit.layer.tar import iter_blocks
from layerkit.layer.write import WrittenLayer, write_layer
from layerkit.oci.digest import Digest
from tests.estargz import Estargz, digest_of, iter_members, open_estargz
from tests.layer.fixture import FIXTURE

NOISE: Final = random.Random(5).randbytes(CHUNK_SIZE)


def file(path: str, content: bytes) -> Entry:
    return Entry(path=path, type=EntryType.FILE, mode=0o644, source=BytesSource(content))


CHUNKED: Final = [
    file("a/exactly-one", NOISE),
    file("a/one-and-a-byte", NOISE + b"x"),
    file("a/two", NOISE * 2),
    file("a/two-and-a-half", bytes(2 * CHUNK_SIZE) + b"end" * 1000),
    file("a/zero", b""),
    file("b", b"b"),
]


def written(entries: list[Entry], *, threads: int = 2, level: int | None = None) -> tuple[WrittenLayer, bytes]:
    sink = io.BytesIO()
    layer = write_layer(entries, sink, compression=Compression.ESTARGZ, threads=threads, level=level)
    return layer, sink.getvalue()


def opened(entries: list[Entry]) -> Estargz:
    layer, raw = written(entries)
    return open_estargz(raw, layer.descriptor.annotations["containerd.io/snapshot/stargz/toc.digest"])


def unpacked(raw: bytes) -> bytes:
    return b"".join(content for _, content in iter_members(raw))


def contents_of(entries: list[Entry]) -> dict[str, bytes]:
    return {entry.path: entry.source.content for entry in entries if isinstance(entry.source, BytesSource)}


class TestContents:
    @pytest.mark.parametrize("entries", [FIXTURE, CHUNKED], ids=["fixture", "chunked"])
    def test_each_file_is_had_by_the_table_alone(self, entries: list[Entry]) -> None:
        """ "TOC contains metadata [...] of all files and chunks in the blob"; each is verified by its own digest."""
        layer = opened(entries)
        for path, content in contents_of(entries).items():
            assert layer.read(path) == content

    @given(st.lists(st.sampled_from([0, 1, 511, 512, 513, 70_000, CHUNK_SIZE - 1, CHUNK_SIZE + 512]), max_size=6))
    def test_so_is_each_file_of_any_sizes(self, sizes: list[int]) -> None:
        entries = [file(f"{number}", NOISE[:1] * size) for number, size in enumerate(sizes)]
        layer = opened(entries)
        assert {path: layer.read(path) for path in contents_of(entries)} == contents_of(entries)

    def test_a_file_of_several_chunks_says_so(self) -> None:
        """ "TOCEntry of the first chunk of that file MUST be typed as `reg`. [...] 2nd MUST be typed as `chunk`. [...]
        The last `chunk` in a `reg` file or `reg` file that isn't chunked MUST set this property to zero"."""
        layer = opened(CHUNKED)
        found = {
            name: [
                (chunk["type"], chunk.get("chunkOffset", 0), chunk.get("chunkSize", 0))
                for chunk in layer.chunks.get(name, [])
            ]
            for name in contents_of(CHUNKED)
        }
        size = CHUNK_SIZE
        assert found == {
            "a/exactly-one": [("reg", 0, 0)],
            "a/one-and-a-byte": [("reg", 0, size), ("chunk", size, 0)],
            "a/two": [("reg", 0, size), ("chunk", size, 0)],
            "a/two-and-a-half": [("reg", 0, size), ("chunk", size, size), ("chunk", 2 * size, 0)],
            "a/zero": [],
            "b": [("reg", 0, 0)],
        }

    @pytest.mark.parametrize("entries", [[], FIXTURE, CHUNKED], ids=["empty", "fixture", "chunked"])
    def test_members_begin_where_they_must_and_nowhere_else(self, entries: list[Entry]) -> None:
        """ "The top of the blob; the top of the payload of each non-empty regular file tar entry except TOC; the top of
        TOC tar header; the top of footer", and within the payload of large files."""
        layer = opened(entries)
        assert {offset for offset, _ in iter_members(layer.raw)} == layer.members


class TestTable:
    def test_it_says_of_each_entry_what_the_tar_says(self) -> None:
        """ "This property MUST contain an array of TOCEntry of all tar entries and chunks in the blob, except
        `stargz.index.json`", each with "the complete path stored in the tar file"."""
        layer = opened(FIXTURE)
        types = {
            tarfile.REGTYPE: "reg",
            tarfile.DIRTYPE: "dir",
            tarfile.SYMTYPE: "symlink",
            tarfile.LNKTYPE: "hardlink",
            tarfile.CHRTYPE: "char",
            tarfile.FIFOTYPE: "fifo",
        }
        expected: dict[str, dict[str, Any]] = {}
        with tarfile.open(fileobj=io.BytesIO(unpacked(layer.raw))) as tar:
            for member in tar:
                name = member.name + ("/" if member.isdir() else "")
                expected[name] = {
                    "type": types[member.type],
                    "mode": member.mode,
                    "owner": (member.uid, member.gid),
                    "size": member.size if member.isreg() else 0,
                    "link": member.linkname,
                    "device": (member.devmajor, member.devminor) if member.ischr() else (None, None),
                    "xattrs": {
                        key.removeprefix("SCHILY.xattr."): value.encode(errors="surrogateescape")
                        for key, value in member.pax_headers.items()
                        if key.startswith("SCHILY.xattr.")
                    },
                }
        assert expected.pop(TOC)["type"] == "reg"
        found = {
            name: {
                "type": entry["type"],
                "mode": entry["mode"],
                "owner": (entry["uid"], entry["gid"]),
                "size": entry.get("size", 0),
                "link": entry.get("linkName", ""),
                "device": (entry.get("devMajor"), entry.get("devMinor")),
                "xattrs": layer.xattrs(name),
            }
            for name, entry in layer.entries.items()
        }
        assert found == expected
        assert list(layer.entries) == list(expected)

    def test_a_time_is_there_unless_it_is_0(self) -> None:
        """ "Empty means zero or unknown. Otherwise, the value is in UTC RFC3339 format"."""
        layer = opened(FIXTURE)
        times = {name: entry["modtime"] for name, entry in layer.entries.items() if "modtime" in entry}
        assert times == {"srv/été/日本.txt": "2023-11-14T22:13:20Z"}

    def test_a_whiteout_is_an_empty_file(self) -> None:
        layer = opened(FIXTURE)
        for name in ("etc/.wh.motd", "opt/.wh..wh..opq"):
            assert (layer.entries[name]["type"], layer.read(name)) == ("reg", b"")

    def test_the_landmark_says_that_nothing_is_to_be_fetched_before_it_is_asked_for(self) -> None:
        """ "MUST be a regular file entry with 4 bits contents 0xf [...]. It MUST be recorded to TOC"."""
        layer = opened([])
        assert list(layer.entries) == [LANDMARK] == [".no.prefetch.landmark"]
        assert layer.read(LANDMARK) == b"\x0f"

    def test_the_table_is_the_last_file_of_the_tar(self) -> None:
        """ "TOC MUST be a JSON file contained as the last tar entry and MUST be named `stargz.index.json`"."""
        with tarfile.open(fileobj=io.BytesIO(unpacked(written(FIXTURE)[1]))) as tar:
            *_, last = tar
            assert last.name == "stargz.index.json"
            table = tar.extractfile(last)
            assert table is not None
            assert json.load(table)["version"] == 1

    def test_its_attributes_are_those_of_a_file_that_nobody_changes(self) -> None:
        with tarfile.open(fileobj=io.BytesIO(unpacked(written([])[1]))) as tar:
            assert {(stat.S_IMODE(member.mode), member.uid, member.mtime) for member in tar} == {(0o444, 0, 0)}


class TestLayer:
    def test_the_descriptor_is_that_of_a_layer_by_gzip_with_two_annotations(self) -> None:
        """CONVENTIONS 3.9: "mediaType stays tar+gzip; layer annotations"."""
        layer, raw = written(FIXTURE)
        tar = unpacked(raw)
        assert layer.descriptor.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
        assert (layer.descriptor.digest, layer.descriptor.size) == (digest_of(raw), len(raw))
        assert (layer.diff_id, layer.uncompressed_size) == (digest_of(tar), len(tar))
        assert set(layer.descriptor.annotations) == {
            "containerd.io/snapshot/stargz/toc.digest",
            "io.containers.estargz.uncompressed-size",
        }
        assert layer.descriptor.annotations["io.containers.estargz.uncompressed-size"] == str(len(tar))

    def test_no_other_layer_has_annotations(self) -> None:
        assert write_layer(FIXTURE, io.BytesIO()).descriptor.annotations == {}

    def test_the_tar_is_that_of_the_entries_the_landmark_and_the_table(self) -> None:
        tar = unpacked(written(CHUNKED)[1])
        index = index_layer(io.BytesIO(tar), "application/vnd.oci.image.layer.v1.tar", Digest.of(tar))
        table = next(entry for entry in index.entries if entry.path == TOC)
        content = tar[table.offset : table.offset + table.size]
        parents = [Entry(path="a", type=EntryType.DIRECTORY, mode=0o755)]
        added = [
            Entry(path=path, type=EntryType.FILE, mode=0o444, source=BytesSource(content))
            for path, content in ((LANDMARK, b"\x0f"), (TOC, content))
        ]
        assert tar == b"".join(iter_blocks([added[0], *parents, *CHUNKED, added[1]]))

    def test_the_golden_layer_has_the_digests_that_it_always_had(self) -> None:
        """Item 37: keep golden hashes in the tests. See test_write.py for what changing them means."""
        layer, _ = written(FIXTURE)
        assert layer.codec == "zlib-ng/2.3.3;level=2;estargz=1;chunk=1MiB;stored=97%"
        assert layer.diff_id == "sha256:980cd42f3e718b32399e70095ede12bedc4804e47d90867d240ce2fa5ee28f2f"
        assert layer.descriptor.digest == "sha256:fa408e27641c8f02c8466324b43ade097d80595b083cfc07bea304001d885c0d"

    @pytest.mark.parametrize("threads", [1, 3, 8])
    @pytest.mark.parametrize("entries", [FIXTURE, CHUNKED], ids=["fixture", "chunked"])
    def test_any_number_of_threads_gives_the_same_bytes(self, entries: list[Entry], threads: int) -> None:
        assert written(entries, threads=threads) == written(entries)

    def test_so_do_many_small_files_in_any_order(self) -> None:
        entries = [file(f"{number % 7}/{number}", b"%d" % number * (number % 50)) for number in range(3000)]
        shuffled = random.Random(1).sample(entries, len(entries))
        layer, raw = written(shuffled, threads=1)
        assert (layer, raw) == written(entries, threads=4)
        found = open_estargz(raw, layer.descriptor.annotations["containerd.io/snapshot/stargz/toc.digest"])
        assert {path: found.read(path) for path in contents_of(entries)} == contents_of(entries)

    def test_a_level_is_recorded_and_is_another_trade(self) -> None:
        one, best = written(FIXTURE, level=1)[0], written(FIXTURE, level=9)[0]
        assert (one.codec.split(";")[1], best.codec.split(";")[1]) == ("level=1", "level=9")
        assert one.descriptor.size > best.descriptor.size

    def test_what_does_not_get_smaller_is_stored(self) -> None:
        _, raw = written([file("noise", NOISE)])
        assert NOISE[:65535] in raw

    def test_sources_may_give_their_content_in_any_pieces(self) -> None:
        class Crumbs(BytesSource, frozen=True):
            def pieces(self, limit: int) -> Generator[bytes, None, None]:
                yield from super().pieces(min(limit, 1000))

        content = NOISE + b"more than a chunk"
        crumbs = Entry(path="x", type=EntryType.FILE, mode=0o644, source=Crumbs(content))
        assert written([crumbs]) == written([file("x", content)])


class TestNames:
    @pytest.mark.parametrize("name", ["stargz.index.json", ".no.prefetch.landmark", ".prefetch.landmark"])
    def test_a_name_of_the_format_is_refused_at_the_root_alone(self, name: str) -> None:
        with pytest.raises(LayerError, match=rf"^/{name} cannot be in a layer of eStargz.*exclude it"):
            written([file(name, b"{}")])
        assert opened([file(f"srv/{name}", b"{}")]).read(f"srv/{name}") == b"{}"

    def test_a_deletion_of_what_each_such_layer_has_is_left_out(self) -> None:
        """Of a base that is eStargz too: the layer has a file of that name itself."""
        layer = opened([whiteout("stargz.index.json"), whiteout("other")])
        assert list(layer.entries) == [".wh.other", LANDMARK]


class TestFailures:
    def test_a_file_that_changed_since_it_was_planned_ends_the_layer(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(bytes(3_000_000))
        source = FileSource.seen(str(path), path.stat())
        path.write_bytes(bytes(3_000_001))
        before = threading.active_count()
        with pytest.raises(LayerError, match="log' changed during the build"):
            written([Entry(path="var/log", type=EntryType.FILE, mode=0o644, source=source)])
        assert threading.active_count() == before

    def test_a_sink_that_is_full_ends_the_layer_and_no_thread_stays(self) -> None:
        class Full:
            def write(self, content: Content, /) -> None:
                raise OSError("no space left")

        before = threading.active_count()
        with pytest.raises(OSError, match="no space left"):
            write_layer(FIXTURE, Full(), compression=Compression.ESTARGZ)
        assert threading.active_count() == before
