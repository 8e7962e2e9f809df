"""LAYERS, items 12, 13, 24-27 and S1-S6: what is in existing layers, and in the file system that they make.

The layers are made by Python's tarfile, by GNU tar and by write_layer; none of them shares code with the reader.
"""

import base64
import gzip
import io
import os
import random
import struct
import subprocess
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from layerkit.layer.arrange import arrange
from layerkit.layer.compress import Compression
from layerkit.layer.decompress import decompress
from layerkit.layer.entry import MAX_ID, ROOT, Entry, EntryType, opaque, whiteout
from layerkit.layer.errors import LayerError
from layerkit.layer.estargz import RESERVED
from layerkit.layer.index import IndexedEntry, LayerIndex, index_layer, index_tar, is_kept, read_file
from layerkit.layer.limits import Limits
from layerkit.layer.source import BytesSource
from layerkit.layer.tree import FileTree, Origin
from layerkit.layer.write import write_layer
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import DOCKER_LAYER, DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from tests.tars import header, record, with_pax

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def directory(name: str, **fields: Any) -> tarfile.TarInfo:
    return member(name, tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str) -> tarfile.TarInfo:
    return member(name, tarfile.SYMTYPE, linkname=target, mode=0o777)


def hardlink(name: str, target: str) -> tarfile.TarInfo:
    return member(name, tarfile.LNKTYPE, linkname=target)


def tar(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for item in members:
            info, content = item if isinstance(item, tuple) else (item, b"")
            if content:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def index(content: bytes, media_type: str = OCI_LAYER, **options: Any) -> LayerIndex:
    return index_layer(io.BytesIO(content), media_type, **options)


def only(content: bytes, **options: Any) -> IndexedEntry:
    (entry,) = index(content, **options).entries
    return entry


class TestHeaders:
    @pytest.mark.parametrize("form", FORMATS)
    def test_all_kinds_of_entries_are_read_in_each_format(self, form: int) -> None:
        layer = index(
            tar(
                directory("./", mode=0o700),
                directory("./etc/", uid=3, gid=4, mtime=1_700_000_000),
                (member("etc/passwd", mode=0o644), b"root:x:0:0\n"),
                symlink("bin", "usr/bin/../bin"),
                hardlink("/etc/passwd-", "./etc/passwd"),
                member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
                member("dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0),
                member("run/pipe", tarfile.FIFOTYPE),
                (member("etc/x", tarfile.CONTTYPE), b"x"),
                form=form,
            )
        )
        by_path = {entry.path: entry for entry in layer.entries}
        assert list(by_path) == [
            ROOT,
            "etc",
            "etc/passwd",
            "bin",
            "etc/passwd-",
            "dev/null",
            "dev/sda",
            "run/pipe",
            "etc/x",
        ]
        assert (by_path[ROOT].type, by_path[ROOT].mode) == (EntryType.DIRECTORY, 0o700)
        etc = by_path["etc"]
        assert (etc.type, etc.uid, etc.gid, etc.mtime, etc.mode) == (EntryType.DIRECTORY, 3, 4, 1_700_000_000, 0o755)
        assert (by_path["etc/passwd"].size, by_path["etc/passwd"].type) == (11, EntryType.FILE)
        assert (by_path["bin"].type, by_path["bin"].link) == (EntryType.SYMLINK, "usr/bin/../bin")
        assert (by_path["etc/passwd-"].type, by_path["etc/passwd-"].link) == (EntryType.HARDLINK, "etc/passwd")
        assert (by_path["dev/null"].type, by_path["dev/null"].device) == (EntryType.CHARACTER_DEVICE, (1, 3))
        assert (by_path["dev/sda"].type, by_path["dev/sda"].device) == (EntryType.BLOCK_DEVICE, (8, 0))
        assert by_path["run/pipe"].type is EntryType.FIFO
        assert (by_path["etc/x"].type, by_path["etc/x"].size) == (EntryType.FILE, 1)

    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_long_names_and_links_and_big_numbers_are_read_in_both_dialects(self, form: int) -> None:
        name, target = "/".join(["é" * 40] * 20), "t" * 300
        layer = index(
            tar(
                symlink(name, target),
                (member(name + "f", uid=MAX_ID, gid=2**21, mode=0o4755, mtime=2**33 - 1), b"content"),
                hardlink(name + "h", name + "f"),
                member("after"),
                form=form,
            )
        )
        link, file, hard, after = layer.entries
        assert (link.path, link.link) == (name, target)
        assert (file.path, file.uid, file.gid, file.mtime) == (name + "f", MAX_ID, 2**21, 2**33 - 1)
        assert (file.size, file.mode) == (7, 0o4755)
        assert (hard.path, hard.link) == (name + "h", name + "f")
        assert (after.path, after.uid, after.link) == ("after", 0, "")

    def test_the_prefix_of_ustar_is_read_but_not_what_gnu_has_in_its_place(self) -> None:
        name = "d" * 120 + "/" + "n" * 90
        assert only(tar(member(name), form=tarfile.USTAR_FORMAT)).path == name
        assert only(header(prefix=b"00000000000", magic=b"ustar  \0")).path == "a"
        assert only(header(prefix=b"123", magic=bytes(8))).path == "a"

    def test_pax_times_are_cut_to_whole_seconds_and_may_be_before_1970(self) -> None:
        assert only(tar(member("a", mtime=12.75))).mtime == 12
        assert only(with_pax(record("mtime", "-3.5"))).mtime == -3
        assert only(header(mtime=b"\xff" * 12)).mtime == -1

    def test_xattrs_are_raw_bytes_and_sorted(self) -> None:
        """Item 20: `SCHILY.xattr.<name>` PAX records with raw bytes."""
        content = with_pax(
            record("SCHILY.xattr.user.note", b"a=b\n\xff")
            + record("SCHILY.xattr.security.capability", CAPABILITY)
            + record("SCHILY.xattr.user.gone", "")
            + record("LIBARCHIVE.xattr.user.note", base64.b64encode(b"other"))
        )
        assert only(content).xattrs == (("security.capability", CAPABILITY), ("user.note", b"a=b\n\xff"))

    def test_an_empty_pax_record_leaves_the_header_as_it_is(self) -> None:
        content = with_pax(record("path", "") + record("uid", "") + record("mtime", ""), header(uid=b"0000005\0"))
        assert (only(content).path, only(content).uid) == ("a", 5)

    def test_pax_records_hold_for_one_entry(self) -> None:
        content = with_pax(record("path", "long") + record("uid", "7"), header(), header(b"b"))
        assert [(entry.path, entry.uid) for entry in index(content).entries] == [("long", 7), ("b", 0)]

    def test_the_size_in_a_pax_record_is_that_of_the_content(self) -> None:
        content = with_pax(record("size", "600"), header(), bytes(1024), header(b"b"))
        assert [(entry.path, entry.size) for entry in index(content).entries] == [("a", 600), ("b", 0)]

    def test_global_records_are_passed_over_as_docker_does(self) -> None:
        """Item 1: git archive writes one; Go hands it out as an entry of its own, and no consumer looks inside."""
        content = with_pax(record("comment", "f00") + record("path", "x"), flag=b"g")
        assert only(content).path == "a"

    def test_a_v7_file_whose_name_ends_in_a_slash_is_a_directory(self) -> None:
        assert only(header(b"a/", b"\0", magic=bytes(8))).type is EntryType.DIRECTORY
        assert only(header(b"a", b"\0", magic=bytes(8))).type is EntryType.FILE

    def test_the_size_of_what_has_no_content_means_nothing(self) -> None:
        """Go reads no content for links and directories, whatever size they claim."""
        content = (
            header(b"d/", b"5", b"00000001000\0") + header(b"l", b"1", b"00000001000\0", link=b"d/f") + header(b"b")
        )
        assert [(entry.path, entry.size) for entry in index(content).entries] == [("d", 0), ("l", 0), ("b", 0)]

    def test_mode_is_permission_bits_alone(self) -> None:
        assert only(header(mode=b"0104755\0")).mode == 0o4755

    def test_numbers_may_have_spaces_or_nothing_around_them(self) -> None:
        entry = only(header(mode=b"   755 \0", uid=b"00000012", gid=bytes(8), mtime=b"     1750 \0 "))
        assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o755, 0o12, 0, 0o1750)

    def test_a_checksum_of_signed_bytes_is_taken(self) -> None:
        block = bytearray(header("é".encode()))
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)
        assert only(bytes(block)).path == "é"

    def test_names_that_are_not_utf_8_are_kept(self) -> None:
        assert os.fsencode(only(header(b"caf\xe9")).path) == b"caf\xe9"

    @pytest.mark.parametrize(
        ("name", "path"),
        [("./a", "a"), ("/a", "a"), ("//a/./b/", "a/b"), ("././a", "a"), (".a", ".a"), ("a/.b", "a/.b")],
    )
    def test_names_are_made_relative(self, name: str, path: str) -> None:
        assert only(header(name.encode(), b"5")).path == path

    def test_gnu_tar_writes_what_is_read(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        (root / "dir/sub").mkdir(parents=True)
        (root / "dir/file").write_bytes(b"x" * 1000)
        (root / ("n" * 200)).write_text("long")
        (root / "link").symlink_to("dir/file")
        (root / "dir/sub/hard").hardlink_to(root / "dir/file")
        os.mkfifo(root / "pipe")
        for form in ("gnu", "posix", "ustar", "oldgnu", "v7"):
            excluded = ["--exclude=nn*", "--exclude=pipe"] if form in {"ustar", "v7"} else []
            command = ["tar", "-C", str(root), f"--format={form}", "--sort=name", "--mtime=@1000", *excluded, "-c", "."]
            content = subprocess.run(command, check=True, capture_output=True).stdout
            by_path = {entry.path: entry for entry in index(content).entries}
            expected = {ROOT, "dir", "dir/file", "dir/sub", "dir/sub/hard", "link"}
            assert set(by_path) == (expected if excluded else expected | {"n" * 200, "pipe"})
            assert by_path["link"].link == "dir/file"
            assert by_path["dir/sub/hard"].link == "dir/file"
            assert {entry.mtime for entry in by_path.values()} == {1000}
            assert read_file(io.BytesIO(content), OCI_LAYER, by_path["dir/file"]) == b"x" * 1000

    def test_old_sparse_files_are_refused_and_new_ones_noted(self, tmp_path: Path) -> None:
        """Item 1 and the table: type `S` is an error for docker, containerd and podman; PAX ones are files."""
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(2**20)
            file.seek(2**19)
            file.write(b"x")
        command = ["tar", "-C", str(tmp_path), "--sparse", "-c", "sparse"]
        old = subprocess.run([*command, "--format=gnu"], check=True, capture_output=True).stdout
        with pytest.raises(LayerError, match=r"'sparse' in the layer is of the type 'S'.*sparse file of old GNU tar"):
            index(old)
        for version in ("0.0", "0.1", "1.0"):
            options = ["--format=posix", f"--sparse-version={version}"]
            content = subprocess.run([*command, *options], check=True, capture_output=True).stdout
            entry = only(content)
            assert (entry.path, entry.size, entry.sparse) == ("sparse", 2**20, True)
            with pytest.raises(LayerError, match="sparse"):
                read_file(io.BytesIO(content), OCI_LAYER, entry)


class TestEnds:
    def test_an_empty_layer_has_no_entries(self) -> None:
        assert index(tar()).entries == ()
        assert index(b"").entries == ()

    def test_a_missing_trailer_is_accepted(self) -> None:
        """Item 9: the reader must accept a missing trailer."""
        assert only(header()).path == "a"
        assert only(header() + bytes(512)).path == "a"
        assert only(header(size=b"00000000003\0") + b"abc").size == 3

    def test_what_follows_the_trailer_is_part_of_the_diff_id_and_nothing_else(self) -> None:
        content = tar(member("a")) + header(b"hidden") + b"x" * 100_000
        layer = index(content, diff_id=Digest.of(content))
        assert [entry.path for entry in layer.entries] == ["a"]
        assert layer.uncompressed_size == len(content)

    @pytest.mark.parametrize("size", [1, 511, 513, 1023, 1024 + 300, 1536 + 700])
    def test_a_layer_that_ends_early_is_refused(self, size: int) -> None:
        content = with_pax(record("path", "b"), header(size=b"00000001750\0"), b"x" * 1000)
        with pytest.raises(LayerError, match="ends early"):
            index(content[:size])

    def test_a_lone_record_of_zeros_is_refused_as_go_does(self) -> None:
        with pytest.raises(LayerError, match="zeros"):
            index(header() + bytes(512) + header(b"b"))


class TestStorage:
    CONTENT = tar((member("a"), random.Random(1).randbytes(300_000)), (member("b"), b"b" * 3_000_000), member("c"))

    @pytest.mark.parametrize(
        ("media_type", "store"),
        [
            (OCI_LAYER, bytes),
            (DOCKER_LAYER, bytes),
            (OCI_LAYER_GZIP, gzip.compress),
            (DOCKER_LAYER_GZIP, gzip.compress),
            (OCI_LAYER_ZSTD, zstandard.compress),
        ],
    )
    def test_a_layer_is_read_as_its_media_type_says(self, media_type: str, store: Callable[[bytes], bytes]) -> None:
        stored = store(self.CONTENT)
        layer = index(stored, media_type, diff_id=Digest.of(self.CONTENT))
        assert [(entry.path, entry.size) for entry in layer.entries] == [("a", 300_000), ("b", 3_000_000), ("c", 0)]
        assert layer.uncompressed_size == len(self.CONTENT)
        for entry in layer.entries:
            assert self.CONTENT[entry.offset : entry.offset + entry.size] == read_file(
                io.BytesIO(stored), media_type, entry
            )

    @pytest.mark.parametrize("size", [1, 100, 512, 70_000, 400_000])
    @pytest.mark.parametrize(
        ("media_type", "store"), [(OCI_LAYER_GZIP, gzip.compress), (OCI_LAYER_ZSTD, zstandard.compress)]
    )
    def test_members_and_frames_follow_each_other(
        self, media_type: str, store: Callable[[bytes], bytes], size: int
    ) -> None:
        """Item 29: several members are legal (eStargz)."""
        content = self.CONTENT if size > 512 else self.CONTENT[-20_000:]
        stored = b"".join(store(content[start : start + size]) for start in range(0, len(content), size))
        assert b"".join(decompress(io.BytesIO(stored), media_type)) == content

    def test_empty_members_skippable_frames_and_zeros_at_the_end_are_passed_over(self) -> None:
        stored = gzip.compress(b"") + gzip.compress(self.CONTENT) + gzip.compress(b"") + bytes(1000)
        assert b"".join(decompress(io.BytesIO(stored), OCI_LAYER_GZIP)) == self.CONTENT
        skippable = struct.pack("<LL", 0x184D2A50, 5000) + bytes(5000)
        stored = skippable + zstandard.compress(self.CONTENT) + skippable
        assert b"".join(decompress(io.BytesIO(stored), OCI_LAYER_ZSTD)) == self.CONTENT

    def test_of_many_frames_empty_and_skippable_ones_are_passed_over_and_one_that_is_cut_short_is_refused(self) -> None:
        """RFC 8878, section 3.1: frames are independent; section 3.1.2: skippable frames may stand anywhere."""
        between = zstandard.compress(b"") + struct.pack("<LL", 0x184D2A5F, 7) + b"skipped" + zstandard.compress(b"")
        frames = [
            zstandard.compress(self.CONTENT[start : start + 2**20]) for start in range(0, 3 * 2**20 + 2**19, 2**20)
        ]
        stored = between.join(frames)
        assert b"".join(decompress(io.BytesIO(stored), OCI_LAYER_ZSTD)) == self.CONTENT
        ends = {len(between.join(frames[:count])) for count in range(1, len(frames))}
        for size in {end + step for end in ends for step in (-1, 1, len(between) + 5)} | {len(stored) - 1}:
            with pytest.raises(LayerError, match="ends early"):
                list(decompress(io.BytesIO(stored[:size]), OCI_LAYER_ZSTD))
        for size in ends:
            # Where one frame ends and none follows nothing is amiss but the tar.
            with pytest.raises(LayerError, match="ends early"):
                index(stored[:size], OCI_LAYER_ZSTD)

    @pytest.mark.parametrize(
        ("media_type", "store"), [(OCI_LAYER_GZIP, gzip.compress), (OCI_LAYER_ZSTD, zstandard.compress)]
    )
    def test_what_is_not_so_stored_or_is_cut_is_refused(self, media_type: str, store: Callable[[bytes], bytes]) -> None:
        stored = store(self.CONTENT)
        for broken in (self.CONTENT, stored + b"garbage"):
            with pytest.raises(LayerError, match=r"is not the (gzip|zstd) that its media type"):
                index(broken, media_type)
        with pytest.raises(LayerError):
            index(stored[:1000] + bytes(1000) + stored[2000:], media_type, diff_id=Digest.of(self.CONTENT))
        for size in (0, 1, 5, len(stored) // 2, len(stored) - 1):
            with pytest.raises(LayerError, match="ends early"):
                index(stored[:size], media_type)
        with pytest.raises(LayerError, match="no tar, or it is damaged"):
            index(stored, OCI_LAYER)

    def test_a_layer_of_another_diff_id_is_refused(self) -> None:
        """S6: verify the diff_id of base layers when indexing."""
        other = Digest.of(b"")
        with pytest.raises(LayerError, match=f"its diff_id is {Digest.of(self.CONTENT)}, not {other}"):
            index(self.CONTENT, diff_id=other)
        content = Digest.of(self.CONTENT, "sha512")
        assert index(self.CONTENT, diff_id=content).diff_id == content

    def test_a_layer_is_never_held_in_memory(self) -> None:
        stored = gzip.compress(tar((member("a"), bytes(50_000_000))), 1)
        tracemalloc.start()
        index(stored, OCI_LAYER_GZIP)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000


class TestReadFile:
    def test_only_files_of_a_limited_size_are_read(self) -> None:
        content = tar((member("a"), b"abc"), hardlink("b", "a"), directory("d"))
        file, link, folder = index(content).entries
        assert read_file(io.BytesIO(content), OCI_LAYER, file, max_size=3) == b"abc"
        with pytest.raises(LayerError, match="'a' has 3 bytes, more than 2"):
            read_file(io.BytesIO(content), OCI_LAYER, file, max_size=2)
        for entry in (link, folder):
            with pytest.raises(LayerError, match="only files have content"):
                read_file(io.BytesIO(content), OCI_LAYER, entry)

    def test_a_layer_that_has_become_shorter_is_noticed(self) -> None:
        content = tar((member("a"), b"abc"))
        file = only(content)
        for size in (0, 100, 514):
            with pytest.raises(LayerError, match="ends early"):
                read_file(io.BytesIO(content[:size]), OCI_LAYER, file)


class TestHostile:
    @pytest.mark.parametrize("name", [b"..", b"../a", b"a/../b", b"/../a", b"a/..", b"", b"./../etc"])
    def test_names_that_lead_out_are_refused(self, name: bytes) -> None:
        with pytest.raises(LayerError, match="leads out of its root, or nowhere"):
            index(header(name))
        with pytest.raises(LayerError, match="leads out of its root, or nowhere"):
            index(header(b"a", b"1", link=name))  # S3: hardlink targets are checked like paths

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (with_pax(record("path", "a\0b")), "leads out of its root, or nowhere"),
            (with_pax(record("linkpath", "a\0b"), header(flag=b"2", link=b"a")), "nothing can be there"),
            (header(b"a", b"2"), "nothing can be there"),
            (header(b"./", b"0"), "the root of the layer is a file"),
            (header(flag=b"V"), "type 'V'"),
            (header(flag=b"M"), "type 'M'"),
            (header(flag=b"\xff"), "type 'ÿ'"),
            (header(size=b"\xff" * 12), "-1 bytes"),
            (header(size=b"\x80" + b"\xff" * 11), "not a number"),
            (header(size=b"\x80\0\0\0\x7f" + b"\xff" * 7), "ends early"),
            (header(size=b"-0000000001\0"), "not a number"),
            (header(uid=b"\xff" * 8), "owner -1:0"),
            (header(uid=b"0o17\0"), "not a number"),
            (header(mode=b"rwx"), "not a number"),
            (header(flag=b"x", size=b"\xff" * 12), "-1 bytes"),
            (header(flag=b"L", size=b"00000001000\0") + b"name", "in the midst of an extended header"),
            (with_pax(record("path", "b"), b"\0"), "in the midst of a header"),
            (with_pax(record("path", "b"), bytes(1024)), "in the midst of a header"),
            (with_pax(b"30 path=b\n"), "length is wrong"),
            (with_pax(b"5 path=b\n"), "length is wrong"),
            (with_pax(b"0 path=b\n"), "length is wrong"),
            (with_pax(b"3 \n"), "has no key"),
            (with_pax(b"4 a\n"), "has no key"),
            (with_pax(b"5 =a\n"), "has no key"),
            (with_pax(b"path=b\n"), "length is no number"),
            (with_pax(b"-9 path=b\n"), "length is no number"),
            (with_pax(b"999999999999999999999 path=b\n"), "length is no number"),
            (with_pax(record("size", "-1")), "PAX record size is no number"),
            (with_pax(record("size", "9" * 5000)), "PAX record size is no number"),
            (with_pax(record("size", "9" * 18)), "ends early"),
            (with_pax(record("uid", "0x1")), "PAX record uid is no number"),
            (with_pax(record("mtime", "now")), "PAX record mtime is no time"),
            (with_pax(record("SCHILY.xattr.", "a")), "xattr without a name"),
            (with_pax(record("GNU.sparse.map", "1") + record("GNU.sparse.size", "x")), "is no number"),
            (b"\x1f\x8b" + bytes(510), "no tar, or it is damaged"),
            (header(b".wh."), "whiteout of nothing"),
            (header(b"a/.wh.."), "whiteout of nothing"),
            (header(b"a/.wh..."), "whiteout of nothing"),
        ],
    )
    def test_what_no_consumer_takes_is_refused(self, content: bytes, message: str) -> None:
        with pytest.raises(LayerError, match=message) as caught:
            index(content)
        assert len(str(caught.value)) < 600

    @pytest.mark.parametrize(
        ("content", "limits", "name"),
        [
            (tar(member("a")), Limits(uncompressed_size=10_239), "uncompressed_size"),
            (tar((member("a"), bytes(10**6))), Limits(ratio=10, ratio_after=10_000), "ratio"),
            (tar(member("a"), member("b")), Limits(entries=1), "entries"),
            (with_pax(record("path", "b" * 100)), Limits(extended_header=100), "extended_header"),
            (header(b"x", b"x", b"77777777777\0"), Limits(), "extended_header"),
            (header(b"x", b"K", b"77777777777\0"), Limits(), "extended_header"),
            (with_pax(record("path", "b" * 101)), Limits(path=100), "path"),
            (with_pax(record("linkpath", "b" * 4097), header(flag=b"2")), Limits(), "path"),
            (with_pax(record("linkpath", "b" * 4097), header(flag=b"1")), Limits(), "path"),
            (with_pax(record("SCHILY.xattr.user.a", "b" * 2**16)), Limits(), "xattrs"),
            (tar(member("abc"), member("def")), Limits(names=5), "names"),
        ],
    )
    def test_what_costs_too_much_is_refused_by_the_name_of_the_limit(
        self, content: bytes, limits: Limits, name: str
    ) -> None:
        """S5: bomb limits."""
        with pytest.raises(LayerError, match=rf"above the limit `{name}` of {getattr(limits, name)}"):
            index(gzip.compress(content), OCI_LAYER_GZIP, limits=limits)

    @pytest.mark.parametrize(
        ("media_type", "store"), [(OCI_LAYER_GZIP, gzip.compress), (OCI_LAYER_ZSTD, zstandard.compress)]
    )
    def test_a_bomb_is_stopped_by_the_ratio_long_before_it_has_gone_off(
        self, media_type: str, store: Callable[[bytes], bytes]
    ) -> None:
        bomb = header(size=b"\x80" + (2**50).to_bytes(11)) + bytes(2**26)
        with pytest.raises(LayerError, match="limit `ratio` of 100"):
            index(store(bomb), media_type, limits=Limits(ratio=100, ratio_after=2**20))

    def test_the_densest_zstd_takes_little_memory(self) -> None:
        """Four bytes stand for 128 KiB of zeros: 64 KiB of them would be 2 GiB at once."""
        block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
        frame = b"\x28\xb5\x2f\xfd\x00\x58" + block * 20_000
        pieces = decompress(io.BytesIO(frame), OCI_LAYER_ZSTD, Limits(ratio=2**20))
        assert [len(next(pieces)) <= 2**25 for _ in range(10)] == [True] * 10

    def test_many_opaque_whiteouts_in_deep_directories_take_no_square_of_the_time(self) -> None:
        depth, count = 400, 20_000
        deep = "/".join(["d"] * depth)
        files = [IndexedEntry(path=f"{deep}/{number}", type=EntryType.FILE, mode=0) for number in range(count)]
        paths = ["/".join(["d"] * (depth - up)) + "/.wh..wh..opq" for up in range(depth)]
        opaques = [IndexedEntry(path=path, type=EntryType.WHITEOUT, mode=0) for path in paths]
        layer = LayerIndex(entries=(*files, *opaques), diff_id=Digest.of(b""), uncompressed_size=0)
        started = time.process_time()
        tree = FileTree.of([layer, layer])
        assert time.process_time() - started < 20  # The square would take minutes; the real time is 0.2 s.
        assert len(tree.children(deep)) == count

    @given(st.binary(max_size=2000))
    def test_garbage_is_refused_or_read_but_nothing_else(self, content: bytes) -> None:
        for media_type in (OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD):
            index_whatever(content, media_type)

    @given(st.data())
    def test_damaged_layers_are_refused_or_read_but_nothing_else(self, data: st.DataObject) -> None:
        content = bytearray(
            tar(
                directory("d"),
                (member("d/" + "n" * 120, uid=2**30), b"content"),
                symlink("l", "t" * 120),
                form=data.draw(st.sampled_from(FORMATS[1:])),
            ).rstrip(b"\0")
        )
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(content) - 1))
            content[position] = data.draw(st.integers(0, 255))
        for start in range(0, len(content) - 511, 512):
            if data.draw(st.booleans()):  # So that not all damage is found by the checksum.
                content[start + 148 : start + 156] = b" " * 8
                content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
        index_whatever(bytes(content), OCI_LAYER)
        stored = bytearray(gzip.compress(content))
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
        index_whatever(bytes(stored), OCI_LAYER_GZIP)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("0012345LKxgSV7\0\x80"),
                st.sampled_from(
                    [b"a", b"a/b", b"a/b/c/", b"./", b"/b", b".wh.a", b"a/.wh..wh..opq", b".wh..wh.plnk/1"]
                ),
                st.sampled_from([b"", b"a", b"b", b"/", b"..", b"../b", b"b/a", b"a/b/../.."]),
                st.binary(max_size=40),
            ),
            max_size=12,
        )
    )
    def test_any_run_of_headers_is_refused_or_makes_a_tree(
        self, parts: Sequence[tuple[str, bytes, bytes, bytes]]
    ) -> None:
        content = b"".join(
            header(name, flag.encode("latin-1"), b"%011o\0" % len(text), link=link) + text + bytes(-len(text) % 512)
            for flag, name, link, text in parts
        )
        index_whatever(content, OCI_LAYER)


def index_whatever(content: bytes, media_type: str) -> None:
    try:
        layer = index(content, media_type)
        tree = FileTree.of([layer, layer])
        for entry in layer.entries:
            tree.lookup(entry.path)
            tree.children(tree.resolve_directory(entry.path))
    except LayerError:
        pass


WRITTEN = [
    Entry(path=ROOT, type=EntryType.DIRECTORY, mode=0o711, uid=1),
    Entry(path="tmp", type=EntryType.DIRECTORY, mode=0o1777),
    Entry(path="usr/bin/tool", type=EntryType.FILE, mode=0o4755, source=BytesSource(b"#!/bin/sh\n")),
    Entry(path="usr/bin/alias", type=EntryType.HARDLINK, mode=0o4755, link="usr/bin/tool"),
    Entry(path="usr/bin/python", type=EntryType.SYMLINK, mode=0o777, link="../lib/" + "p" * 200),
    Entry(
        path="usr/bin/serve",
        type=EntryType.FILE,
        mode=0o755,
        xattrs=(("user.note", b"a=b\n"), ("security.capability", CAPABILITY)),
        source=BytesSource(b"\x7fELF" + bytes(3_000_000)),
    ),
    Entry(path="srv/" + "d" * 120, type=EntryType.DIRECTORY, mode=0o700, uid=2097152, gid=MAX_ID),
    Entry(path="srv/été/日本.txt", type=EntryType.FILE, mode=0o644, mtime=1_700_000_000, source=BytesSource(b"hi\n")),
    Entry(path="p" * 150 + "/" + "n" * 99, type=EntryType.FILE, mode=0o600, source=BytesSource(b"")),
    Entry(path="dev/null", type=EntryType.CHARACTER_DEVICE, mode=0o666, device=(1, 3)),
    Entry(path="run/pipe", type=EntryType.FIFO, mode=0o600, uid=5),
    whiteout("etc/motd"),
    opaque("opt"),
]


@pytest.mark.parametrize("compression", Compression)
def test_what_was_written_is_indexed_as_it_was_declared(compression: Compression) -> None:
    sink = io.BytesIO()
    written = write_layer(WRITTEN, sink, compression=compression)
    sink.seek(0)
    layer = index_layer(sink, written.descriptor.media_type, written.diff_id)
    assert (layer.diff_id, layer.uncompressed_size) == (written.diff_id, written.uncompressed_size)
    declared = arrange(WRITTEN)
    own = RESERVED if compression is Compression.ESTARGZ else ()
    entries = [entry for entry in layer.entries if entry.path not in own]
    assert [entry.path for entry in entries] == [entry.path for entry in declared]
    for found, entry in zip(entries, declared, strict=True):
        expected = IndexedEntry(
            path=entry.path,
            type=entry.type,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            link=entry.link,
            mtime=entry.mtime,
            xattrs=tuple(sorted(entry.xattrs)),
            device=entry.device,
        )
        assert replace(found, offset=0) == expected
        assert found.hides == entry.hides
        if isinstance(entry.source, BytesSource):
            sink.seek(0)
            assert read_file(sink, written.descriptor.media_type, found) == entry.source.content


def layer(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> LayerIndex:
    return index(tar(*members))


def tree(*layers: LayerIndex) -> FileTree:
    return FileTree.of(layers)


def paths(tree: FileTree, directory: str = ROOT) -> list[str]:
    """All that is below a directory, each directory before what is in it."""
    found = []
    for entry in tree.children(directory):
        found.append(entry.path)
        found += paths(tree, entry.path)
    return found


class TestUnion:
    def test_no_layers_make_an_empty_root(self) -> None:
        root = tree().lookup("/")
        assert root is not None
        assert (root.path, root.type, root.mode, root.uid) == (ROOT, EntryType.DIRECTORY, 0o755, 0)
        assert tree().children(".") == []
        assert tree().lookup("a") is None

    def test_the_last_layer_that_has_a_path_wins(self) -> None:
        union = tree(layer(member("a", uid=1), member("b")), layer(member("a", uid=2)))
        assert [(entry.path, entry.uid) for entry in union.children("/")] == [("a", 2), ("b", 0)]

    def test_the_last_of_one_layer_wins(self) -> None:
        entry = tree(layer(member("a", uid=1), member("a", uid=2))).lookup("a")
        assert entry is not None
        assert entry.uid == 2

    def test_a_directory_over_a_directory_is_merged_with_the_later_attributes(self) -> None:
        """Item 12: /tmp must stay 1777."""
        union = tree(
            layer(directory("tmp", mode=0o755), member("tmp/a")),
            layer(directory("tmp", mode=0o1777), member("tmp/b")),
            layer(member("tmp/c")),
        )
        tmp = union.lookup("tmp")
        assert tmp is not None
        assert tmp.mode == 0o1777
        assert paths(union) == ["tmp", "tmp/a", "tmp/b", "tmp/c"]

    @pytest.mark.parametrize("above", [member("d"), symlink("d", "e"), member("d", tarfile.FIFOTYPE)])
    def test_what_is_no_directory_hides_all_that_was_below(self, above: tarfile.TarInfo) -> None:
        union = tree(layer(directory("d"), member("d/a")), layer(above))
        assert paths(union) == ["d"]
        assert union.lookup("d/a") is None
        assert paths(tree(layer(directory("d"), member("d/a")), layer(above), layer(directory("d")))) == ["d"]

    def test_a_directory_replaces_a_symlink(self) -> None:
        """Item 13: why a directory entry over `lib -> usr/lib` breaks an image."""
        base = layer(directory("usr/lib"), member("usr/lib/x"), symlink("lib", "usr/lib"))
        union = tree(base, layer(directory("lib"), member("lib/y")))
        assert paths(union) == ["lib", "lib/y", "usr", "usr/lib", "usr/lib/x"]
        assert union.resolve("lib/x") == "lib/x"

    def test_missing_parents_are_0755_and_of_root(self) -> None:
        union = tree(layer(member("a/b/c", uid=3)))
        for path in ("a", "a/b"):
            entry = union.lookup(path)
            assert entry is not None
            assert (entry.path, entry.type, entry.mode, entry.uid) == (path, EntryType.DIRECTORY, 0o755, 0)

    def test_the_root_has_the_attributes_that_a_layer_gives_it(self) -> None:
        root = tree(layer(directory("./", mode=0o711)), layer(member("a"))).lookup(".")
        assert root is not None
        assert root.mode == 0o711

    def test_an_entry_below_a_symlink_is_where_that_leads(self) -> None:
        base = layer(directory("usr/lib", mode=0o750), symlink("lib", "usr/lib"))
        union = tree(base, layer(member("lib/x"), directory("lib/sub"), member("lib/sub/y")))
        assert paths(union) == ["lib", "usr", "usr/lib", "usr/lib/sub", "usr/lib/sub/y", "usr/lib/x"]

    def test_an_entry_below_a_file_is_refused(self) -> None:
        with pytest.raises(LayerError, match="'a/b/c' in a layer is below 'a', which is a file"):
            tree(layer(member("a")), layer(member("a/b/c")))
        with pytest.raises(LayerError, match="'a/b' in a layer is below 'a', which is a fifo"):
            tree(layer(member("a", tarfile.FIFOTYPE)), layer(member("a/b")))

    def test_paths_are_taken_with_and_without_a_slash(self) -> None:
        union = tree(layer(directory("a"), member("a/b")))
        assert union.lookup("/a/b") == union.lookup("a/b") == union.lookup("./a//b/") is not None
        assert union.children("/a/") == union.children("a") != []
        assert union.lookup("a/b/c") is None
        assert union.lookup("a/..") is None
        assert union.children("a/b") == union.children("nowhere") == []


class TestWhiteouts:
    BASE = layer(directory("d"), member("d/a"), member("d/b"), directory("d/e"), member("d/e/f"), member("g"))

    def test_a_whiteout_deletes_a_file_of_the_layers_below(self) -> None:
        """Item 24 and image-spec, layer.md: the whiteout itself is hidden, too."""
        assert paths(tree(self.BASE, layer(member("d/.wh.a"), member(".wh.g")))) == ["d", "d/b", "d/e", "d/e/f"]

    def test_a_whiteout_deletes_a_directory_with_all_in_it(self) -> None:
        union = tree(self.BASE, layer(member(".wh.d")))
        assert paths(union) == ["g"]
        assert paths(tree(self.BASE, layer(member(".wh.d")), layer(directory("d")))) == ["d", "g"]

    def test_a_directory_may_be_deleted_and_made_again(self) -> None:
        assert paths(tree(self.BASE, layer(member(".wh.d"), directory("d"), member("d/n")))) == ["d", "d/n", "g"]

    @pytest.mark.parametrize("first", [True, False])
    def test_an_opaque_whiteout_hides_the_layers_below_but_not_its_own(self, first: bool) -> None:
        """image-spec: it "is applied first ... regardless of the ordering in which [it] was encountered"."""
        marks = [member("d/.wh..wh..opq")]
        entries = [member("d/n"), member("d/e/m")]
        ordered = [*marks, *entries] if first else [*entries, *marks]
        assert paths(tree(self.BASE, layer(directory("d"), *ordered))) == ["d", "d/e", "d/e/m", "d/n", "g"]

    def test_an_opaque_root_hides_everything(self) -> None:
        assert paths(tree(self.BASE, layer(member(".wh..wh..opq"), member("n")))) == ["n"]

    def test_a_directory_hidden_twice_is_hidden_twice(self) -> None:
        mark = layer(member("d/.wh..wh..opq"))
        assert paths(tree(self.BASE, mark, layer(member("d/n")), mark)) == ["d", "g"]

    def test_a_whiteout_of_what_is_not_there_does_nothing(self) -> None:
        union = tree(
            self.BASE, layer(member(".wh.nothing"), member("g/.wh.x"), member("x/.wh.y"), member("z/.wh..wh..opq"))
        )
        assert paths(union) == paths(tree(self.BASE))

    def test_a_whiteout_follows_symlinks_among_its_parents(self) -> None:
        assert paths(
            tree(self.BASE, layer(symlink("l", "d")), layer(member("l/.wh.a"), member("l/e/.wh..wh..opq")))
        ) == [
            "d",
            "d/b",
            "d/e",
            "g",
            "l",
        ]

    def test_a_whiteout_in_the_layer_of_its_target_deletes_what_came_before_it(self) -> None:
        """As docker and containerd do, which apply entries as they come (item 26: we never write such a layer)."""
        assert paths(tree(layer(member("a"), member("b"), member(".wh.a")))) == ["b"]
        assert paths(tree(layer(member(".wh.a"), member("a")))) == ["a"]

    def test_the_bookkeeping_of_aufs_is_passed_over(self) -> None:
        """Item 25: skip AUFS `.wh..wh.plnk` etc."""
        union = tree(
            layer(directory(".wh..wh.plnk"), member(".wh..wh.plnk/12.34"), member(".wh..wh.aufs"), member("a"))
        )
        assert paths(union) == ["a"]

    def test_what_led_through_a_deleted_directory_leads_through_its_successor(self) -> None:
        base = layer(directory("a"), member("a/x"), directory("b"))
        union = tree(base, layer(member("a/y"), member(".wh.a"), symlink("a", "b"), member("a/z")))
        assert paths(union) == ["a", "b", "b/z"]
        union = tree(base, layer(member("a/y"), symlink("a", "b"), member("a/z")))
        assert paths(union) == ["a", "b", "b/z"]


class TestResolve:
    @pytest.fixture
    def union(self) -> FileTree:
        return tree(
            layer(
                directory("usr/lib/arch"),
                directory("run"),
                symlink("lib", "usr/lib"),
                symlink("var/run", "/run"),
                symlink("usr/lib64", "../lib/./arch/"),
                symlink("top", "../../.."),
                symlink("dangling", "/new/place"),
                symlink("chain", "lib64"),
                symlink("lib64", "usr/lib64"),
                symlink("self", "self"),
                symlink("ping", "pong/x"),
                symlink("pong", "ping/y"),
                member("file"),
                symlink("up", "usr/lib/.."),
            )
        )

    @pytest.mark.parametrize(
        ("path", "parents", "whole"),
        [
            ("lib/x", "usr/lib/x", "usr/lib/x"),
            ("/lib/x/", "usr/lib/x", "usr/lib/x"),
            ("lib", "lib", "usr/lib"),
            ("var/run/a/b", "run/a/b", "run/a/b"),
            ("usr/lib64/x", "usr/lib/arch/x", "usr/lib/arch/x"),
            ("chain/x", "usr/lib/arch/x", "usr/lib/arch/x"),
            ("top/x", "x", "x"),
            ("top", "top", ROOT),
            ("dangling/x", "new/place/x", "new/place/x"),
            ("dangling", "dangling", "new/place"),
            ("up/x", "usr/x", "usr/x"),
            ("lib/../x", "usr/x", "usr/x"),
            ("../../x", "x", "x"),
            ("lib/..", "usr", "usr"),
            ("nowhere/lib/x", "nowhere/lib/x", "nowhere/lib/x"),
            ("file/x", "file/x", "file/x"),
            ("/", ROOT, ROOT),
            ("", ROOT, ROOT),
            ("self", "self", None),
            ("self/x", None, None),
            ("ping/x", None, None),
            ("a/../pong/x", None, None),
        ],
    )
    def test_symlinks_are_followed_inside_the_root(
        self, union: FileTree, path: str, parents: str | None, whole: str | None
    ) -> None:
        """Item 13: rewrite the entry to the resolved path (`/lib -> usr/lib`, `/var/run -> /run`)."""
        for resolve, expected in ((union.resolve, parents), (union.resolve_directory, whole)):
            if expected is not None:
                assert resolve(path) == expected
                continue
            with pytest.raises(LayerError, match=r"symlinks: they make a loop") as caught:
                resolve(path)
            assert repr(path) in str(caught.value)

    def test_a_layer_below_a_loop_is_refused(self) -> None:
        with pytest.raises(LayerError, match="'a/x' leads through more than 40 symlinks"):
            tree(layer(symlink("a", "b"), symlink("b", "a"), member("a/x")))

    def test_forty_symlinks_are_no_loop(self) -> None:
        """What Linux follows before ELOOP."""
        links = [symlink(f"l{number}", f"l{number + 1}") for number in range(41)]
        union = tree(layer(*links, directory("l41")))
        assert union.resolve_directory("l1") == "l41"
        with pytest.raises(LayerError, match="'l0'"):
            union.resolve_directory("l0")


class TestHardlinks:
    def test_a_hardlink_has_the_attributes_and_content_of_its_target(self) -> None:
        content = tar((member("a", uid=5, mode=0o640), b"text"), hardlink("b", "a"), hardlink("c", "b"))
        base = index(content)
        union = tree(layer(), base)
        link = union.lookup("c")
        assert link is not None
        assert (link.type, link.link) == (EntryType.HARDLINK, "b")
        for path in ("a", "b", "c"):
            assert union.origin(path) == Origin(layer=1, entry=base.entries[0])
        assert union.origin("d") is None

    def test_it_keeps_them_when_the_target_is_replaced_or_deleted(self) -> None:
        """A hardlink is to a file, not to a name."""
        base = layer((member("a"), b"old"), hardlink("b", "a"), (member("c"), b"old"), hardlink("d/e", "c"))
        union = tree(base, layer((member("a"), b"newer"), member(".wh.c")))
        assert union.origin("b") == Origin(layer=0, entry=base.entries[0])
        assert union.origin("d/e") == Origin(layer=0, entry=base.entries[2])
        new = union.origin("a")
        assert new is not None
        assert (new.layer, new.entry.size) == (1, 5)

    def test_it_may_lead_to_a_lower_layer_and_through_symlinks(self) -> None:
        base = layer(directory("usr/lib"), (member("usr/lib/x"), b"x"), symlink("lib", "usr/lib"), symlink("s", "lib"))
        union = tree(base, layer(hardlink("y", "lib/x"), hardlink("t", "s")))
        assert union.origin("y") == Origin(layer=0, entry=base.entries[1])
        assert union.resolve("t/x") == "usr/lib/x"

    def test_one_to_nowhere_stands_for_itself(self) -> None:
        union = tree(layer(hardlink("a", "gone"), directory("d"), hardlink("e", "d"), hardlink("f", "f")))
        for path in ("a", "e", "f"):
            origin = union.origin(path)
            assert origin is not None
            assert origin.entry.type is EntryType.HARDLINK


@pytest.mark.parametrize(
    ("path", "is_kept_there"),
    [
        ("etc/passwd", True),
        ("var/lib/dpkg/status", True),
        ("var/lib/dpkg/info/libc6:amd64.list", True),
        ("var/lib/dpkg/info/libc6:amd64.md5sums", False),
        ("var/lib/dpkg/info/libc6:amd64.postinst", False),
        ("var/lib/dpkg/status.d/libc6.md5sums", True),
        ("usr/share/ca-certificates/mozilla/a.crt", True),
        ("usr/share/doc/a", False),
    ],
)
def test_an_index_holds_what_a_build_asks_of_its_base(path: str, is_kept_there: bool) -> None:
    assert is_kept(path) is is_kept_there


def test_there_is_a_limit_to_what_an_index_holds() -> None:
    size = 4 * 2**20
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(9):
            tar.addfile(member(f"var/lib/dpkg/status.d/{number}", size=size), io.BytesIO(bytes(size)))
        tar.addfile(member("etc/passwd", size=size + 1), io.BytesIO(bytes(size + 1)))
    assert len(index_tar(iter([out.getvalue()])).contents) == 8
