"""LAYERS, items 4, 8, 15, 17, 18, 20, 24 and 25: what an entry may be."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.entry import MAX_ID, MAX_MTIME, Entry, EntryType, opaque, whiteout
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource

EMPTY = BytesSource(b"")


def file(path: str, **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.FILE, mode=fields.pop("mode", 0o644), source=EMPTY, **fields)


def symlink(path: str, link: str) -> Entry:
    return Entry(path=path, type=EntryType.SYMLINK, mode=0o777, link=link)


class TestPath:
    @pytest.mark.parametrize(
        "path", ["", "/", "/etc", "etc/", "a//b", ".", "./a", "a/.", "a/./b", "..", "../a", "a/..", "a/../b", "a\0b"]
    )
    def test_a_path_that_is_not_plain_and_relative_is_refused(self, path: str) -> None:
        """Item 6: names relative, no leading `./` or `/`."""
        with pytest.raises(LayerError, match="relative to the root"):
            file(path)

    @pytest.mark.parametrize("path", ["a", "a/b", "...", ".a", "a..", "a/..b/c...", "a\nb", " ", "\N{SNOWMAN}", "a\\b"])
    def test_any_other_name_is_kept_as_it_is(self, path: str) -> None:
        """Item 6: UTF-8, NFC untouched."""
        assert file(path).path == path

    def test_the_root_has_an_entry_only_as_a_directory(self) -> None:
        """Item 6: root entry `./` omitted unless the user sets root's attributes."""
        assert Entry(path=".", type=EntryType.DIRECTORY, mode=0o755).path == "."

    def test_a_name_that_is_not_utf_8_is_refused(self) -> None:
        with pytest.raises(LayerError, match="not UTF-8: rename it"):
            file(b"caf\xe9".decode(errors="surrogateescape"))

    def test_a_path_has_at_most_4096_bytes(self) -> None:
        """S5: path 4 KiB."""
        path = "/".join(["d" * 240] * 17)[:4096]
        assert file(path).path == path
        with pytest.raises(LayerError, match="4097 bytes"):
            file(path + "d")

    def test_a_name_has_at_most_255_bytes(self) -> None:
        """No Linux file system has longer ones: every consumer would fail."""
        assert file("a/" + "é" * 127).path
        with pytest.raises(LayerError, match="256 bytes"):
            file("a/" + "é" * 128)
        assert whiteout("a/" + "b" * 255).hides == "a/" + "b" * 255

    def test_the_message_names_the_path_but_never_the_whole_of_a_long_one(self) -> None:
        with pytest.raises(LayerError, match=r"^'/etc/shadow' cannot be in a layer: ") as caught:
            file("/etc/shadow")
        assert "etc" in str(caught.value)
        with pytest.raises(LayerError) as caught:
            file("/" + "x" * 100_000)
        assert len(str(caught.value)) < 400


class TestAttributes:
    @pytest.mark.parametrize("mode", [-1, 0o10000, 0o100644])
    def test_a_mode_is_its_low_12_bits_only(self, mode: int) -> None:
        """Item 8: mode = low 12 bits only (`07777`), type bits not in the mode field."""
        with pytest.raises(LayerError, match="leave the type's bits out"):
            file("a", mode=mode)

    @pytest.mark.parametrize("mode", [0, 0o1777, 0o4755, 0o7777])
    def test_setuid_setgid_and_sticky_stay_where_they_are_declared(self, mode: int) -> None:
        """Item 14."""
        assert file("a", mode=mode).mode == mode

    @pytest.mark.parametrize("field", ["uid", "gid"])
    def test_an_owner_is_within_0_and_2_to_the_32_minus_2(self, field: str) -> None:
        """Item 2: test 2^32-2. The kernel takes 2^32-1 for "no change"."""
        file("a", **{field: MAX_ID})
        for number in (-1, MAX_ID + 1):
            with pytest.raises(LayerError, match=f"{number}.*is not within 0 and 4294967294"):
                file("a", **{field: number})

    def test_an_mtime_is_whole_seconds_below_2_to_the_33(self) -> None:
        """Item 4: mtime whole seconds, 0 <= t < 2^33; files get mtime 0 by default."""
        assert file("a").mtime == 0
        assert file("a", mtime=2**33 - 1).mtime == MAX_MTIME
        for mtime in (-1, 2**33):
            with pytest.raises(LayerError, match="seconds since 1970"):
                file("a", mtime=mtime)

    def test_files_alone_have_a_source_and_its_size(self) -> None:
        source = FileSource(path="/a", size=7, mtime_ns=0, ctime_ns=0, device=0, inode=1)
        assert Entry(path="a", type=EntryType.FILE, mode=0, source=source).size == 7
        assert Entry(path="a", type=EntryType.FIFO, mode=0).size == 0
        with pytest.raises(LayerError, match="source"):
            Entry(path="a", type=EntryType.FILE, mode=0)
        with pytest.raises(LayerError, match="source"):
            Entry(path="a", type=EntryType.DIRECTORY, mode=0, source=EMPTY)

    def test_only_links_have_a_target(self) -> None:
        with pytest.raises(LayerError, match="has no link target"):
            file("a", link="b")

    def test_an_entry_is_a_value(self) -> None:
        assert file("a") == file("a")
        assert hash(file("a")) == hash(file("a"))


class TestSymlinks:
    def test_a_target_is_stored_verbatim(self) -> None:
        """Item 17: symlink target stored verbatim, <= 4095 bytes."""
        for target in ("..//./x/", "/abs", "nowhere", "\N{SNOWMAN}", "x" * 4095):
            assert symlink("a/b", target).link == target

    @pytest.mark.parametrize("target", ["", "a\0b", "x" * 4096, "\udce9"])
    def test_a_target_that_no_file_system_holds_is_refused(self, target: str) -> None:
        with pytest.raises(LayerError, match=r"^'a/b' cannot be in a layer: .*"):
            symlink("a/b", target)

    @pytest.mark.parametrize(
        ("path", "target"),
        [("a", ".."), ("a", "../x"), ("a/b", "../../x"), ("a/b", "c/../../.."), ("a/b", "../../a"), ("a", "/../x")],
    )
    def test_a_target_that_climbs_above_the_root_is_refused(self, path: str, target: str) -> None:
        """Item 17: podman refuses the layer. It joins absolute targets to the directory of the symlink, too."""
        with pytest.raises(LayerError, match="climbs above the root: use an absolute target"):
            symlink(path, target)

    @pytest.mark.parametrize(("path", "target"), [("a/b", "../x"), ("a/b/c", "../../x"), ("a", "b/../c"), ("a", "..x")])
    def test_a_target_that_climbs_within_the_root_is_not(self, path: str, target: str) -> None:
        assert symlink(path, target).link == target

    def test_its_mode_is_0777(self) -> None:
        """Item 17: mode 0777, size 0."""
        assert symlink("a", "b").size == 0
        with pytest.raises(LayerError, match="a symlink's mode is 0o777, not 0o755"):
            Entry(path="a", type=EntryType.SYMLINK, mode=0o755, link="b")


class TestHardlinks:
    @pytest.mark.parametrize("target", ["", "/b", "../b", "c/../b", "b/", ".", ".wh.b"])
    def test_a_target_is_a_plain_path_of_the_layer(self, target: str) -> None:
        """Item 15: linkname relative to root without `/` or `..`."""
        with pytest.raises(LayerError, match=r"^'a' cannot be in a layer: its hardlink's target"):
            Entry(path="a", type=EntryType.HARDLINK, mode=0o644, link=target)

    def test_nothing_is_a_hardlink_to_itself(self) -> None:
        with pytest.raises(LayerError, match="to itself"):
            Entry(path="a", type=EntryType.HARDLINK, mode=0o644, link="a")

    def test_its_size_is_0(self) -> None:
        """Item 15: type `1`, size 0."""
        assert Entry(path="a", type=EntryType.HARDLINK, mode=0o644, link="b").size == 0


class TestDevices:
    def test_a_socket_has_no_type(self) -> None:
        """Item 18: sockets: skip with a warning."""
        assert "socket" not in set(EntryType)

    @pytest.mark.parametrize("device", [(-1, 0), (0, -1), (4096, 0), (0, 2**20)])
    def test_a_device_number_fits(self, device: tuple[int, int]) -> None:
        """Item 18: check major/minor fit."""
        Entry(path="a", type=EntryType.CHARACTER_DEVICE, mode=0, device=(4095, 2**20 - 1))
        with pytest.raises(LayerError, match="device number"):
            Entry(path="a", type=EntryType.BLOCK_DEVICE, mode=0, device=device)

    def test_only_devices_have_a_number(self) -> None:
        with pytest.raises(LayerError, match="a fifo has no device number"):
            Entry(path="a", type=EntryType.FIFO, mode=0, device=(1, 3))


class TestXattrs:
    @pytest.mark.parametrize("name", ["", "user.a=b", "user.a\0b", "user." + "x" * 251])
    def test_a_name_that_pax_cannot_say_is_refused(self, name: str) -> None:
        """Item 20: names with `=` or NUL invalid."""
        with pytest.raises(LayerError, match="xattr name"):
            file("a", xattrs=((name, b"1"),))

    def test_an_empty_value_is_refused(self) -> None:
        """Item 20: empty values impossible in PAX (Go drops, umoci skips)."""
        with pytest.raises(LayerError, match=r"'user\.a' is empty, which tar cannot say: drop it"):
            file("a", xattrs=(("user.a", b""),))

    def test_a_name_is_there_once(self) -> None:
        with pytest.raises(LayerError, match="twice"):
            file("a", xattrs=(("user.a", b"1"), ("user.a", b"2")))

    def test_all_of_them_have_at_most_64_kib(self) -> None:
        """S5: xattrs 64 KiB; item 3: keep the PAX header < 1 MiB."""
        file("a", xattrs=(("user.a", bytes(65_530)),))
        with pytest.raises(LayerError, match="65537 bytes, more than 65536"):
            file("a", xattrs=(("user.a", bytes(65_531)),))


class TestWhiteouts:
    def test_a_deletion_is_an_empty_file_beside_what_it_deletes(self) -> None:
        """Item 24: delete = empty regular file `.wh.<name>`, mode 0, in the parent dir."""
        entry = whiteout("a/b")
        assert (entry.path, entry.type, entry.mode, entry.size, entry.hides) == ("a/.wh.b", "whiteout", 0, 0, "a/b")
        assert whiteout("b").path == ".wh.b"

    def test_an_opaque_whiteout_is_in_the_directory_that_it_empties(self) -> None:
        """Item 24: hide all = `.wh..wh..opq`."""
        assert (opaque("a").path, opaque("a").hides) == ("a/.wh..wh..opq", "")
        assert opaque(".").path == ".wh..wh..opq"

    @pytest.mark.parametrize("path", ["", "/a", "a/", "..", "a/..", ".", ".wh.a", ".wh..wh..opq"])
    def test_what_is_deleted_is_a_plain_path(self, path: str) -> None:
        """Item 25: `.wh.` with empty rest is invalid. `.wh...` would delete the parent."""
        with pytest.raises(LayerError):
            whiteout(path)

    @pytest.mark.parametrize("path", ["", "/a", "a/", ".."])
    def test_what_is_emptied_is_a_plain_path(self, path: str) -> None:
        with pytest.raises(LayerError):
            opaque(path)

    @pytest.mark.parametrize("path", [".wh.a", "a/.wh.b", "a/.wh..wh..opq", ".wh.a/b", ".wh.", "a/.wh..wh.plnk/b"])
    def test_a_users_file_never_passes_for_a_whiteout(self, path: str) -> None:
        """Item 25: refuse to copy user files whose basename starts with `.wh.`"""
        with pytest.raises(LayerError, match=r"names that begin with \.wh\. mean a deletion"):
            file(path)
        file("a.wh.b")

    @pytest.mark.parametrize("name", ["a", ".wh.", ".wh..", ".wh...", ".wh..wh.plnk", ".wh..wh.a"])
    def test_a_whiteout_has_the_name_of_one(self, name: str) -> None:
        with pytest.raises(LayerError):
            Entry(path=name, type=EntryType.WHITEOUT, mode=0)

    @pytest.mark.parametrize("fields", [{"mode": 0o644}, {"uid": 1}, {"mtime": 1}, {"xattrs": (("user.a", b"1"),)}])
    def test_a_whiteout_has_no_attributes(self, fields: dict[str, Any]) -> None:
        with pytest.raises(LayerError, match="a whiteout has no attributes"):
            Entry(**{"path": ".wh.a", "type": EntryType.WHITEOUT, "mode": 0, **fields})


@given(st.text(max_size=40), st.sampled_from(EntryType), st.integers(), st.text(max_size=40), st.integers())
def test_anything_else_raises_nothing_but_a_layer_error(
    path: str, kind: EntryType, mode: int, link: str, number: int
) -> None:
    with contextlib.suppress(LayerError):
        Entry(path=path, type=kind, mode=mode, link=link, uid=number, mtime=number, device=(number, number))
