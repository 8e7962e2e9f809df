"""LAYERS, items 10-12, 15, 24 and 26: the order of a layer, and who may share it."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.arrange import arrange
from layerkit.layer.entry import Entry, EntryType, opaque, whiteout
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource


def file(path: str, content: bytes = b"", **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.FILE, mode=0o644, source=BytesSource(content), **fields)


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path, type=EntryType.DIRECTORY, mode=mode)


def hardlink(path: str, target: str, **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.HARDLINK, mode=0o644, link=target, **fields)


def paths(entries: Sequence[Entry]) -> list[str]:
    return [entry.path for entry in entries]


class TestOrder:
    def test_a_directory_comes_first_and_all_that_is_in_it_follows(self) -> None:
        """Item 10: byte-sorted by path, parents before children."""
        entries = [file(path) for path in ("a/b/c", "a-b", "a.c", "a/b-c", "B", "a/b/a", "é", "z", "a0")]
        assert paths(arrange(entries)) == ["B", "a", "a/b", "a/b/a", "a/b/c", "a/b-c", "a-b", "a.c", "a0", "z", "é"]

    def test_whiteouts_come_before_their_siblings(self) -> None:
        """Item 10: whiteouts before siblings."""
        entries = [
            file("d/ first"),
            file("d/.aa"),
            opaque("d"),
            file("e/ first"),
            whiteout("e/z"),
            file("a"),
            whiteout("b"),
            file("\x01"),
        ]
        expected = [".wh.b", "\x01", "a", "d", "d/.wh..wh..opq", "d/ first", "d/.aa"]
        assert paths(arrange(entries)) == [*expected, "e", "e/.wh.z", "e/ first"]

    def test_the_root_comes_before_everything(self) -> None:
        assert paths(arrange([whiteout("b"), file("\x01"), directory(".", 0o700)])) == [".", ".wh.b", "\x01"]

    def test_nothing_makes_nothing(self) -> None:
        assert arrange([]) == ()


class TestParents:
    def test_missing_parents_are_added_0755_and_owned_by_root(self) -> None:
        """Item 12: emit every parent directory explicitly, else docker and containerd disagree."""
        first, second, leaf = arrange([file("a/b/c", uid=7, mtime=9)])
        assert (first, second) == (directory("a"), directory("a/b"))
        assert leaf.uid == 7

    def test_a_whiteout_has_parents_too(self) -> None:
        assert paths(arrange([whiteout("a/b")])) == ["a", "a/.wh.b"]

    def test_a_parent_that_is_there_keeps_its_attributes(self) -> None:
        """Item 12: `/tmp` must stay 1777."""
        assert arrange([file("tmp/a"), directory("tmp", 0o1777)])[0].mode == 0o1777

    @pytest.mark.parametrize(
        "parent",
        [file("a/b"), Entry(path="a/b", type=EntryType.SYMLINK, mode=0o777, link="c")],
        ids=lambda entry: entry.type,
    )
    def test_nothing_is_below_what_is_no_directory(self, parent: Entry) -> None:
        with pytest.raises(LayerError, match=f"'a/b/c/d' is below 'a/b', which is a {parent.type}"):
            arrange([file("a/b/c/d"), parent])


class TestSharing:
    def test_a_path_is_there_once(self) -> None:
        """Item 11; image-spec, layer.md: duplicate entries MUST NOT be."""
        with pytest.raises(LayerError, match="'a/b' is twice in one layer"):
            arrange([file("a/b"), directory("a/b")])
        with pytest.raises(LayerError, match="'a' is twice"):
            arrange([file("a")] * 2)

    @pytest.mark.parametrize("entry", [file("a/b"), directory("a/b"), file("a/b/c/d")], ids=lambda entry: entry.path)
    def test_a_whiteout_and_an_entry_of_one_name_never_share_a_layer(self, entry: Entry) -> None:
        """Item 26; a parent that is only implied counts."""
        with pytest.raises(LayerError, match="'a/b' is both deleted and made in one layer"):
            arrange([whiteout("a/b"), entry])

    @pytest.mark.parametrize(("emptied", "deleted"), [("a", "a/b"), ("a", "a/b/c"), (".", "a"), (".", "a/b")])
    def test_what_an_opaque_whiteout_hides_is_not_deleted_once_more(self, emptied: str, deleted: str) -> None:
        """Engines on an overlay would list the whiteout as a file that cannot be opened."""
        with pytest.raises(LayerError, match="leave the deletion out"):
            arrange([opaque(emptied), whiteout(deleted)])
        assert arrange([opaque("b"), whiteout(deleted)])
        assert arrange([opaque("b"), opaque("b/c"), whiteout("bc")])

    def test_an_opaque_whiteout_shares_its_layer_with_the_directory_that_it_empties(self) -> None:
        assert paths(arrange([file("a/b"), opaque("a"), directory("a")])) == ["a", "a/.wh..wh..opq", "a/b"]


class TestHardlinks:
    def test_a_target_comes_before_its_link(self) -> None:
        """Item 15: target earlier in the same layer."""
        target, link = arrange([hardlink("b", "a"), file("a", b"content")])
        assert (target, link) == (file("a", b"content"), hardlink("b", "a"))

    def test_the_first_of_the_names_becomes_the_file(self) -> None:
        """Item 10: hardlink target before link."""
        entries = [hardlink("d/a", "z"), file("z", b"content"), hardlink("x", "z"), hardlink("-", "z")]
        assert arrange(entries) == (
            file("-", b"content"),
            directory("d"),
            hardlink("d/a", "-"),
            hardlink("x", "-"),
            hardlink("z", "-"),
        )

    def test_a_chain_of_links_leads_to_the_file(self) -> None:
        entries = [hardlink("c", "b"), hardlink("b", "a"), file("a", b"content")]
        assert arrange(entries) == (file("a", b"content"), hardlink("b", "a"), hardlink("c", "a"))

    def test_a_target_in_another_layer_is_refused(self) -> None:
        """Item 15: across layers -> copy content."""
        with pytest.raises(LayerError, match="'b' is a hardlink to 'a', which is not in the same layer: copy the file"):
            arrange([hardlink("b", "a")])

    def test_a_circle_of_links_is_refused(self) -> None:
        with pytest.raises(LayerError, match="which is a hardlink"):
            arrange([hardlink("b", "a"), hardlink("a", "b")])

    def test_only_files_have_hardlinks(self) -> None:
        with pytest.raises(LayerError, match="which is a directory"):
            arrange([hardlink("b", "a"), directory("a")])

    @pytest.mark.parametrize("fields", [{"uid": 1}, {"gid": 1}, {"mtime": 1}, {"xattrs": (("user.a", b"1"),)}])
    def test_a_link_has_the_attributes_of_its_target(self, fields: dict[str, Any]) -> None:
        """Item 15: same mode/uid/xattrs as the target."""
        with pytest.raises(LayerError, match="not of the same mode"):
            arrange([hardlink("b", "a", **fields), file("a")])
        assert len(arrange([hardlink("b", "a", **fields), file("a", **fields)])) == 2

    def test_the_order_of_xattrs_is_none_of_an_attributes_business(self) -> None:
        one, other = ("user.a", b"1"), ("user.b", b"2")
        assert len(arrange([hardlink("b", "a", xattrs=(one, other)), file("a", xattrs=(other, one))])) == 2


@st.composite
def layers(draw: st.DrawFn) -> list[Entry]:
    """Entries that may share a layer: files and directories, links between the files, and whiteouts."""
    names = st.sampled_from(["a", "b", "B", "a-", "a.", "a0", "\x01", "é", " "])
    found = draw(st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), unique=True, max_size=20))
    parents = {path[:end] for path in found for end, char in enumerate(path) if char == "/"}
    files = [path for path in found if path not in parents]
    entries = [directory(path, draw(st.sampled_from([0o700, 0o1777]))) for path in found if path in parents]
    for index, path in enumerate(files):
        target = draw(st.sampled_from(files[: index + 1]))
        entries.append(file(path, path.encode()) if target == path else hardlink(path, target))
    return [*entries, *(whiteout(f"{parent}/gone") for parent in sorted(parents))]


@given(layers(), st.integers(0, 2**32))
def test_the_order_does_not_depend_on_that_of_the_input(entries: list[Entry], seed: int) -> None:
    """Item 10: independent of readdir order and locale."""
    shuffled = random.Random(seed).sample(entries, len(entries))
    assert arrange(shuffled) == arrange(entries)


@given(layers())
def test_what_is_in_order_stays_as_it_is(entries: list[Entry]) -> None:
    assert arrange(arrange(entries)) == arrange(entries)


@given(layers())
def test_whoever_reads_from_the_start_never_meets_what_he_does_not_know(entries: list[Entry]) -> None:
    """Item 10: parents before children, whiteouts before siblings, hardlink target before link."""
    seen: dict[str, Entry] = {}
    for entry in arrange(entries):
        parent = entry.path.rpartition("/")[0]
        assert not parent or seen[parent].type is EntryType.DIRECTORY
        if entry.type is EntryType.HARDLINK:
            assert seen[entry.link].type is EntryType.FILE
        if entry.type is EntryType.WHITEOUT:
            assert all(path.rpartition("/")[0] != parent or path == parent for path in seen)
        seen[entry.path] = entry
    assert {entry.path for entry in entries} <= seen.keys()


@given(layers())
def test_every_name_of_a_file_keeps_its_content(entries: list[Entry]) -> None:
    def contents(of: Sequence[Entry]) -> dict[str, object]:
        known = {entry.path: entry for entry in of}

        def follow(entry: Entry) -> object:
            return follow(known[entry.link]) if entry.type is EntryType.HARDLINK else entry.source

        return {path: follow(entry) for path, entry in known.items() if path in {entry.path for entry in entries}}

    assert contents(arrange(entries)) == contents(entries)


def test_arranging_changes_no_entry_of_the_callers() -> None:
    link, target = hardlink("a", "b"), file("b")
    arrange([link, target])
    assert link == link.changed(link="b")
