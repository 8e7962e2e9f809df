"""LAYERS, items 1-9, 15, 17-20, 24 and 30: the bytes of headers and the bounds of blocks.

Two readers that share no code with the writer, or with each other, say what was written: Python's tarfile and GNU tar.
"""

import binascii
import io
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from layerkit.layer.arrange import arrange
from layerkit.layer.entry import MAX_ID, MAX_MTIME, Entry, EntryType, opaque, whiteout
from layerkit.layer.source import BytesSource, FileSource
from layerkit.layer.tar import BLOCK_SIZE, encode_header, iter_blocks

GIB = 2**30


def file(path: str, content: bytes = b"", **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.FILE, mode=fields.pop("mode", 0o644), source=BytesSource(content), **fields)


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path, type=EntryType.DIRECTORY, mode=mode)


def symlink(path: str, link: str) -> Entry:
    return Entry(path=path, type=EntryType.SYMLINK, mode=0o777, link=link)


def big(path: str, size: int) -> Entry:
    """A file of which only the header is ever written."""
    source = FileSource(path="/nowhere", size=size, mtime_ns=0, ctime_ns=0, device=0, inode=0)
    return Entry(path=path, type=EntryType.FILE, mode=0o644, source=source)


def tar(*entries: Entry) -> bytes:
    return b"".join(iter_blocks(arrange(entries)))


@dataclass
class Header:
    """The fields of a ustar header as raw bytes, cut at the offsets that POSIX gives."""

    raw: bytes

    def __getattr__(self, name: str) -> bytes:
        start, end = {
            "name": (0, 100),
            "mode": (100, 108),
            "uid": (108, 116),
            "gid": (116, 124),
            "size": (124, 136),
            "mtime": (136, 148),
            "checksum": (148, 156),
            "flag": (156, 157),
            "link": (157, 257),
            "magic": (257, 265),
            "owner_names": (265, 329),
            "device": (329, 345),
            "prefix": (345, 500),
            "rest": (500, 512),
        }[name]
        return self.raw[start:end]


def split(headers: bytes) -> tuple[dict[str, bytes], Header | None, Header]:
    """The PAX records of an encoded header, their header, and the ustar header."""
    first = Header(headers[:512])
    if first.flag != b"x":
        assert len(headers) == 512
        return {}, None, first
    content = headers[512 : 512 + int(first.size[:11], 8)]
    records = {}
    while content:
        length = int(content.split(b" ")[0])
        record, content = content[:length], content[length:]
        assert record.endswith(b"\n")
        key, _, value = record[:-1].partition(b" ")[2].partition(b"=")
        records[key.decode()] = value
    return records, first, Header(headers[-512:])


def read_back(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return archive.getmembers()


def list_by_gnu_tar(content: bytes, path: Path, *options: str) -> list[str]:
    path.write_bytes(content)
    return run_gnu_tar(path, *options)


def run_gnu_tar(path: Path, *options: str) -> list[str]:
    command = ["tar", "--numeric-owner", "--quoting-style=literal", "--full-time", *options, "-tvf", str(path)]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    result = subprocess.run(command, check=True, capture_output=True, env=environment)
    assert result.stderr == b""
    return result.stdout.decode().splitlines()


FLAGS = {
    EntryType.FILE: b"0",
    EntryType.HARDLINK: b"1",
    EntryType.SYMLINK: b"2",
    EntryType.CHARACTER_DEVICE: b"3",
    EntryType.BLOCK_DEVICE: b"4",
    EntryType.DIRECTORY: b"5",
    EntryType.FIFO: b"6",
    EntryType.WHITEOUT: b"0",
}


class TestHeader:
    def test_its_fields_stand_where_ustar_has_them(self) -> None:
        """Items 5 and 8: uname/gname empty; magic `ustar\\0` version `00`; checksum as 6 octal digits + NUL + space."""
        header = Header(encode_header(file("usr/bin/env", b"12345678", mode=0o4755, uid=8, gid=9, mtime=64)))
        assert header.name == b"usr/bin/env".ljust(100, b"\0")
        assert (header.mode, header.uid, header.gid) == (b"0004755\0", b"0000010\0", b"0000011\0")
        assert (header.size, header.mtime) == (b"00000000010\0", b"00000000100\0")
        assert (header.flag, header.link, header.magic) == (b"0", bytes(100), b"ustar\x0000")
        assert (header.owner_names, header.device) == (bytes(64), b"0000000\x000000000\0")
        assert (header.prefix, header.rest) == (bytes(155), bytes(12))
        blank = header.raw[:148] + b" " * 8 + header.raw[156:]
        assert header.checksum == b"%06o\0 " % sum(blank)

    @given(
        st.lists(st.text("ab-", min_size=1, max_size=60), min_size=1, max_size=6).map("/".join),
        st.sampled_from(EntryType),
        st.integers(0, 0o7777),
        st.integers(0, 2**21 - 1),
        st.integers(0, MAX_MTIME),
        st.integers(0, 2**33 - 1),
    )
    def test_it_is_the_one_that_is_put_together_field_by_field(
        self, path: str, kind: EntryType, mode: int, owner: int, mtime: int, size: int
    ) -> None:
        """POSIX, ustar: the checksum is the sum of all bytes of the header, with blanks in its own place."""
        links = {EntryType.SYMLINK: "a/" * (owner % 50) + "b", EntryType.HARDLINK: "h" * (1 + owner % 100)}
        devices = {EntryType.CHARACTER_DEVICE: (1, 3), EntryType.BLOCK_DEVICE: (4095, 2**20 - 1)}
        entry = {EntryType.WHITEOUT: whiteout(path), EntryType.SYMLINK: symlink(path, links[EntryType.SYMLINK])}.get(
            kind
        ) or Entry(
            path=path,
            type=kind,
            mode=mode,
            uid=owner,
            gid=2**21 - 1 - owner,
            mtime=mtime,
            link=links.get(kind, ""),
            device=devices.get(kind, (0, 0)),
            source=big(path, size).source if kind is EntryType.FILE else None,
        )
        name, prefix = entry.path + "/" * (kind is EntryType.DIRECTORY), ""
        if len(name) > 100:
            slashes = [place for place, letter in enumerate(name[:-1][:156]) if letter == "/"]
            assume(slashes and len(name) - slashes[-1] - 1 <= 100)
            prefix, name = name[: slashes[-1]], name[slashes[-1] + 1 :]
        expected = bytearray(512)
        for start, value in {
            0: name.encode(),
            100: b"%07o" % entry.mode,
            108: b"%07o" % entry.uid,
            116: b"%07o" % entry.gid,
            124: b"%011o" % entry.size,
            136: b"%011o" % entry.mtime,
            148: b" " * 8,
            156: FLAGS[kind],
            157: entry.link.encode(),
            257: b"ustar\x0000",
            329: b"%07o" % entry.device[0],
            337: b"%07o" % entry.device[1],
            345: prefix.encode(),
        }.items():
            expected[start : start + len(value)] = value
        expected[148:156] = b"%06o\0 " % sum(expected)
        assert encode_header(entry) == bytes(expected)

    def test_an_id_of_7_octal_digits_needs_no_pax_and_a_longer_one_leaves_0_in_the_field(self) -> None:
        """Item 2: write PAX `uid`/`gid` records and put 0 in the octal field. Test 2097151, 2097152, 2^32-2."""
        for number, records, field in (
            (2097151, {}, b"7777777\0"),
            (2097152, {"uid": b"2097152"}, b"0000000\0"),
            (MAX_ID, {"uid": b"4294967294"}, b"0000000\0"),
        ):
            found, _, header = split(encode_header(file("a", uid=number)))
            assert (found, header.uid) == (records, field)
            found, _, header = split(encode_header(file("a", gid=number)))
            assert (found, header.gid) == ({key.replace("u", "g"): value for key, value in records.items()}, field)

    def test_a_size_of_11_octal_digits_needs_no_pax(self) -> None:
        """Item 2: size >= 8 GiB."""
        records, _, header = split(encode_header(big("a", 8 * GIB - 1)))
        assert (records, header.size) == ({}, b"77777777777\0")
        records, _, header = split(encode_header(big("a", 8 * GIB)))
        assert (records, header.size) == ({"size": b"8589934592"}, b"00000000000\0")

    @pytest.mark.parametrize(
        ("path", "keys"),
        [
            ("n" * 100, set()),
            ("n" * 101, {"path"}),
            ("p" * 155 + "/" + "n" * 100, set()),
            ("p" * 156 + "/" + "n" * 99, {"path"}),
            ("p/" + "n" * 101, {"path"}),
            ("p" * 20 + "/" + "q" * 100 + "/" + "n" * 10, set()),
            ("é", {"path"}),
        ],
        ids=lambda value: str(len(value)),
    )
    def test_a_path_needs_pax_only_where_ustar_cannot_hold_it(self, path: str, keys: set[str]) -> None:
        """Item 2: path > 100 bytes and not splittable at `/` into 155+100, non-ASCII path."""
        assert split(encode_header(file(path)))[0].keys() == keys

    def test_a_link_needs_pax_above_100_bytes(self) -> None:
        """Item 2: linkname > 100."""
        assert split(encode_header(symlink("a", "l" * 100)))[0] == {}
        assert split(encode_header(symlink("a", "l" * 101)))[0] == {"linkpath": b"l" * 101}
        assert split(encode_header(symlink("a", "é")))[0] == {"linkpath": "é".encode()}

    def test_a_pax_header_is_made_of_constants_and_the_name(self) -> None:
        """Item 3: the `x` entry's own name must be deterministic."""
        _, pax, _ = split(encode_header(file("a/" + "n" * 101, mode=0o600, uid=5, gid=6, mtime=7)))
        assert pax is not None
        assert pax.name == b"PaxHeaders.0/" + b"n" * 87
        assert (pax.mode, pax.uid, pax.gid, pax.mtime) == (b"0000644\0", b"0000000\0", b"0000000\0", b"00000000000\0")

    def test_pax_records_are_sorted_and_none_is_of_a_time(self) -> None:
        """Item 3: sort keys; no atime/ctime/mtime records, no `LIBARCHIVE.creationtime`, no `comment`."""
        xattrs = (("user.b", b"2"), ("user.a", b"1"))
        records, _, _ = split(encode_header(file("é", uid=MAX_ID, gid=MAX_ID, mtime=MAX_MTIME, xattrs=xattrs)))
        assert list(records) == ["SCHILY.xattr.user.a", "SCHILY.xattr.user.b", "gid", "path", "uid"]

    @given(st.binary(min_size=1, max_size=1100))
    def test_the_length_of_a_record_counts_its_own_digits(self, value: bytes) -> None:
        """Item 3: PAX record length is self-including decimal. (`split` reads by these lengths.)"""
        records, _, _ = split(encode_header(file("a", xattrs=(("user.a", value),))))
        assert records == {"SCHILY.xattr.user.a": value}

    def test_the_length_of_a_record_is_right_where_a_digit_is_added(self) -> None:
        for size in (*range(60, 120), *range(960, 1000), *range(9950, 10010)):
            assert split(encode_header(file("a", xattrs=(("user.a", bytes(size)),))))[0].popitem()[1] == bytes(size)

    def test_the_largest_pax_header_is_below_1_mib(self) -> None:
        """Item 3: keep PAX header < 1 MiB (Go limit)."""
        path = "/".join(["é" * 120] * 17)
        xattrs = tuple((f"user.{number}", b"x") for number in range(6000))
        assert len(encode_header(file(path, uid=MAX_ID, xattrs=xattrs))) < 2**20

    def test_every_mode_and_every_mtime_is_kept(self) -> None:
        """Items 4 and 8."""
        for mode in (0, 0o7777, 0o1777, 0o4755):
            (member,) = read_back(tar(file("a", mode=mode, mtime=MAX_MTIME)))
            assert (member.mode, member.mtime) == (mode, MAX_MTIME)

    def test_the_name_of_the_root_is_a_dot_and_a_slash(self) -> None:
        """Item 6."""
        assert Header(encode_header(directory("."))).name.rstrip(b"\0") == b"./"

    def test_a_whiteout_is_an_empty_regular_file_of_mode_0(self) -> None:
        """Item 24."""
        for entry in (whiteout("a"), opaque(".")):
            header = Header(encode_header(entry))
            assert (header.flag, header.mode, header.size) == (b"0", b"0000000\0", b"00000000000\0")

    def test_a_link_has_no_content_and_a_device_has_its_numbers(self) -> None:
        """Items 5, 15, 17 and 18."""
        header = Header(encode_header(symlink("a", "b//../c/")))
        assert (header.flag, header.size, header.link.rstrip(b"\0")) == (b"2", b"00000000000\0", b"b//../c/")
        header = Header(encode_header(Entry(path="a", type=EntryType.HARDLINK, mode=0o644, link="b/c")))
        assert (header.flag, header.size, header.link.rstrip(b"\0")) == (b"1", b"00000000000\0", b"b/c")
        header = Header(encode_header(Entry(path="a", type=EntryType.BLOCK_DEVICE, mode=0o600, device=(8, 1))))
        assert (header.flag, header.device) == (b"4", b"0000010\x000000001\0")


class TestArchive:
    def test_it_ends_with_two_zero_records_and_nothing_more(self) -> None:
        """Item 9: two zero blocks at end and no further padding to 10 KiB."""
        assert tar() == bytes(1024)
        assert len(tar(file("a", b"x"))) == 512 + 512 + 1024
        assert len(tar(file("a", bytes(512)), file("b"))) == 512 + 512 + 512 + 1024

    def test_it_is_of_one_dialect(self) -> None:
        """Item 1: never GNU `L`/`K` for names, `g` global headers, `S` sparse, `V`, `M`."""
        content = tar(file("n" * 200), symlink("é", "l" * 300), directory("d" * 255), file("x", uid=MAX_ID))
        flags = [content[offset + 156 : offset + 157] for offset in iter_records(content)]
        assert sorted(flags) == [b"0", b"0", b"2", b"5", b"x", b"x", b"x", b"x"]

    def test_a_sparse_file_is_plain_data(self, tmp_path: Path) -> None:
        """Item 19: holes -> zeros."""
        path = tmp_path / "sparse"
        with path.open("wb") as sparse:
            sparse.seek(100_000)
            sparse.write(b"end")
        entry = Entry(path="a", type=EntryType.FILE, mode=0o644, source=FileSource.seen(str(path), path.stat()))
        content = tar(entry)
        assert content[156:157] == b"0"
        assert content[512 : 512 + 100_003] == bytes(100_000) + b"end"


def iter_records(content: bytes) -> Iterator[int]:
    offset = 0
    while content[offset : offset + 512] != bytes(512):
        yield offset
        size = int(content[offset + 124 : offset + 135], 8)
        offset += 512 + (size + 511) // 512 * 512


LONG_NAMES = [
    "n" * 100,
    "n" * 101,
    "n" * 255,
    "p" * 155 + "/" + "n" * 100,
    "p" * 155 + "/" + "n" * 101,
    "p" * 156 + "/" + "n" * 99,
    "a/" + "b" * 98 + "/" + "c" * 56,
    "/".join(["d" * 200] * 20),
    "é",
    "日本/語" * 30,
    "ünï/" + "n" * 200,
    "line\nbreak",
    " blank ",
    "back\\slash",
    "~",
]


class TestReaders:
    @pytest.mark.parametrize("path", LONG_NAMES, ids=range(len(LONG_NAMES)))
    def test_both_read_every_name_of_a_file_a_directory_and_a_target(self, path: str, tmp_path: Path) -> None:
        content = tar(
            file("0/" + path), directory("1/" + path), symlink("2", path), file(path, b"content", uid=2097152)
        )
        members = {member.name: member for member in read_back(content)}
        assert members["0/" + path].isreg()
        assert members["1/" + path].isdir()
        assert members["2"].linkname == path
        assert (members[path].size, members[path].uid) == (7, 2097152)
        lines = "\n".join([*list_by_gnu_tar(content, tmp_path / "tar"), ""])
        assert f" 0/{path}\n" in lines
        assert f" 1/{path}/\n" in lines
        assert f" 2 -> {path}\n" in lines
        assert f" {path}\n" in lines

    @pytest.mark.parametrize("size", [*range(94, 106), *range(150, 162), *range(250, 262)])
    def test_a_long_directory_keeps_the_slash_at_its_end(self, size: int, tmp_path: Path) -> None:
        """Item 7: trailing `/` must survive the 100/155 split -> use PAX `path` if the split would be at the end."""
        paths = ["d" * size if size <= 255 else "e" * 5 + "/" + "d" * (size - 6)]
        paths += [parent + "/" + "d" * (size - len(parent) - 1) for parent in ("p" * 20, "p" * 54, "p" * 90)]
        for path in paths:
            records, _, header = split(encode_header(directory(path)))
            name, prefix = header.name.rstrip(b"\0"), header.prefix.rstrip(b"\0")
            assert records == {"path": path.encode() + b"/"} or b"/".join(filter(None, [prefix, name])) == (
                path.encode() + b"/"
            )
            assert name
            (member,) = [member for member in read_back(tar(directory(path))) if member.name == path]
            assert member.isdir()
            assert list_by_gnu_tar(tar(directory(path)), tmp_path / "tar")[-1].endswith(f" {path}/")

    def test_gnu_tar_lists_every_type_as_it_was_meant(self, tmp_path: Path) -> None:
        content = tar(
            directory(".", 0o700),
            directory("tmp", 0o1777),
            file("bin/su", b"12345", mode=0o4755, uid=2097151, gid=MAX_ID, mtime=86_400),
            Entry(
                path="bin/su2",
                type=EntryType.HARDLINK,
                mode=0o4755,
                uid=2097151,
                gid=MAX_ID,
                mtime=86_400,
                link="bin/su",
            ),
            symlink("lib", "/usr/lib"),
            Entry(path="dev/null", type=EntryType.CHARACTER_DEVICE, mode=0o666, device=(1, 3)),
            Entry(path="dev/sda1", type=EntryType.BLOCK_DEVICE, mode=0o660, gid=6, device=(4095, 1048575)),
            Entry(path="run/pipe", type=EntryType.FIFO, mode=0o600),
            whiteout("etc/passwd"),
            opaque("opt"),
        )
        lines = [" ".join(line.split()) for line in list_by_gnu_tar(content, tmp_path / "tar")]
        assert lines == [
            "drwx------ 0/0 0 1970-01-01 00:00:00 ./",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 bin/",
            "-rwsr-xr-x 2097151/4294967294 5 1970-01-02 00:00:00 bin/su",
            "hrwsr-xr-x 2097151/4294967294 0 1970-01-02 00:00:00 bin/su2 link to bin/su",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 dev/",
            "crw-rw-rw- 0/0 1,3 1970-01-01 00:00:00 dev/null",
            "brw-rw---- 0/6 4095,1048575 1970-01-01 00:00:00 dev/sda1",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 etc/",
            "---------- 0/0 0 1970-01-01 00:00:00 etc/.wh.passwd",
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 lib -> /usr/lib",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 opt/",
            "---------- 0/0 0 1970-01-01 00:00:00 opt/.wh..wh..opq",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 run/",
            "prw------- 0/0 0 1970-01-01 00:00:00 run/pipe",
            "drwxrwxrwt 0/0 0 1970-01-01 00:00:00 tmp/",
        ]

    @pytest.mark.parametrize("size", [8 * GIB - 1, 8 * GIB, 5 * 1024 * GIB])
    def test_both_read_a_size_above_8_gib(self, size: int, tmp_path: Path) -> None:
        path = tmp_path / "tar"
        with path.open("wb") as sparse:
            headers = encode_header(big("a", size))
            sparse.write(headers)
            sparse.truncate(len(headers) + (size + 511) // 512 * 512 + 1024)
        with tarfile.open(path, "r:") as archive:
            assert [(member.name, member.size) for member in archive] == [("a", size)]
        (line,) = run_gnu_tar(path)
        assert line.split()[2] == str(size)

    def test_both_read_the_raw_bytes_of_xattrs(self, tmp_path: Path) -> None:
        """Item 20: `SCHILY.xattr.<name>` PAX records with raw bytes; no `LIBARCHIVE.xattr`."""
        capability = bytes.fromhex("0100000200040000000000000000000000000000")
        content = tar(file("a", xattrs=(("user.text", b"a=b\nc\0"), ("security.capability", capability))))
        (member,) = read_back(content)
        assert member.pax_headers == {
            "SCHILY.xattr.user.text": "a=b\nc\0",
            "SCHILY.xattr.security.capability": capability.decode(),
        }
        lines = list_by_gnu_tar(content, tmp_path / "tar", "--xattrs", "--xattrs-include=*", "-v")
        assert [line.split() for line in lines[1:]] == [["x:", "20", "security.capability"], ["x:", "6", "user.text"]]

    @given(
        st.lists(
            st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
                lambda name: name not in {".", ".."} and not name.startswith(".wh.")
            ),
            min_size=1,
            max_size=6,
        ).map("/".join),
        st.binary(max_size=2000),
        st.integers(0, 0o7777),
        st.integers(0, MAX_ID),
        st.integers(0, MAX_MTIME),
    )
    def test_what_is_written_is_read_back(self, path: str, content: bytes, mode: int, owner: int, mtime: int) -> None:
        raw = tar(file(path, content, mode=mode, uid=owner, gid=MAX_ID - owner, mtime=mtime))
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            *parents, member = archive.getmembers()
            extracted = archive.extractfile(member)
            assert extracted is not None
            assert extracted.read() == content
        assert all(parent.isdir() and parent.mode == 0o755 for parent in parents)
        assert (member.name, member.mode, member.uid, member.gid) == (path, mode, owner, MAX_ID - owner)
        assert (member.mtime, member.uname, member.gname) == (mtime, "", "")


def begins_block(entry: Entry) -> bool:
    """Item 30, said in other words than the writer's."""
    return entry.size >= 2**20 or binascii.crc32(entry.path.encode()) % 64 == 0


def sized(sizes: list[int]) -> list[Entry]:
    return [file(f"{number:04}", bytes([number % 251]) * size) for number, size in enumerate(sizes)]


MANY = sized([(number * number * 37) % 60_000 if number % 90 else 2_500_000 for number in range(400)])
MANY_BLOCKS = list(iter_blocks(MANY))


class TestBlocks:
    def test_they_end_at_1_mib_before_big_files_and_before_one_path_in_64(self) -> None:
        """Item 30: a block ends at 1 MiB, before each file >= 1 MiB, and before each entry whose path's SHA-256 is 0
        mod 64."""
        expected, size = [], 0
        for entry in MANY:
            if begins_block(entry) and size:
                expected.append(size)
                size = 0
            size += 512 + (entry.size + 511) // 512 * 512
            expected += [2**20] * (size // 2**20)
            size %= 2**20
        size += 1024
        assert [len(block) for block in MANY_BLOCKS] == [*expected, size]
        assert sum(map(begins_block, MANY)) > 8

    @pytest.mark.parametrize("size", [BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1])
    def test_a_file_of_1_mib_begins_a_block(self, size: int) -> None:
        first, second = file("a"), file("b", bytes(size))
        blocks = [len(block) for block in iter_blocks([first, second])]
        assert blocks[0] == (512 if size >= BLOCK_SIZE else BLOCK_SIZE)

    def test_the_rest_of_a_big_file_goes_on_with_what_follows(self) -> None:
        blocks = [len(block) for block in iter_blocks([file("a", bytes(3 * BLOCK_SIZE)), file("b", b"x")])]
        assert blocks == [BLOCK_SIZE] * 3 + [512 + 1024 + 1024]

    def test_no_block_is_empty(self) -> None:
        """Where the last one is full there is no other."""
        assert [len(block) for block in iter_blocks([file("a", bytes(BLOCK_SIZE - 1536))])] == [BLOCK_SIZE]
        assert [len(block) for block in iter_blocks([file("a", bytes(BLOCK_SIZE - 512))])] == [BLOCK_SIZE, 1024]
        assert [len(block) for block in iter_blocks([])] == [1024]

    @pytest.mark.parametrize("read_size", [4096, 65_537, 5 * 2**20])
    def test_they_do_not_depend_on_the_sizes_of_reads(self, read_size: int) -> None:
        """Item 30: boundaries depend on the content alone."""
        assert list(iter_blocks(MANY, read_size=read_size)) == MANY_BLOCKS

    @given(st.integers(0, len(MANY) - 1))
    def test_all_outside_of_the_stretch_of_an_edit_are_the_same(self, index: int) -> None:
        """Item 30: they re-align after an edit, so that unchanged blocks are reused."""
        bounds = [0, *(position for position, entry in enumerate(MANY) if begins_block(entry) and position), len(MANY)]
        start = max((bound for bound in bounds if bound < index), default=0)
        end = min(bound for bound in bounds if bound > index)
        stretch = sum(512 + (entry.size + 511) // 512 * 512 for entry in MANY[start:end])
        old, new = MANY_BLOCKS, list(iter_blocks(MANY[:index] + MANY[index + 1 :]))
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        again = 0
        while again < min(len(old), len(new)) - same and old[-1 - again] == new[-1 - again]:
            again += 1
        assert sum(len(block) for block in old[same : len(old) - again]) <= stretch + 1024 * (end == len(MANY))
        assert sum(len(block) for block in new[same : len(new) - again]) <= stretch + 1024 * (end == len(MANY))
