"""Files of images as values, of trees that layers make."""

import io

import pytest

from layerkit.layer.entry import EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import index_layer
from layerkit.layer.tree import FileTree
from layerkit.oci.mediatype import OCI_LAYER
from layerkit.view.contents import digest_files, read_files
from layerkit.view.files import find_file, format_mode, iter_folder, resolve_path
from tests.images import Member, file, folder, make_tar, member, symlink


def tree_of(*layers: list[Member]) -> FileTree:
    return FileTree.of([index_layer(io.BytesIO(make_tar(*layer)), OCI_LAYER) for layer in layers])


TREE = tree_of(
    [
        folder("etc"),
        file("etc/passwd", b"root"),
        folder("usr"),
        folder("usr/bin"),
        file("usr/bin/env", b"12345"),
        member("usr/bin/alias", b"1", linkname="usr/bin/env"),
        symlink("bin", "usr/bin"),
        symlink("loop", "loop"),
        symlink("lost", "nowhere"),
        file("old", b"x"),
    ],
    [file(".wh.old"), file("a-b", b""), folder("a"), file("a/x", b"y")],
)


def test_a_folder_lists_what_is_in_it() -> None:
    assert [found.shown for found in iter_folder(TREE, "/")] == [
        "/a",
        "/a-b",
        "/bin",
        "/etc",
        "/loop",
        "/lost",
        "/usr",
    ]


def test_all_below_a_folder_follows_it() -> None:
    assert [found.path for found in iter_folder(TREE, "", recursive=True)] == [
        "a",
        "a/x",
        "a-b",
        "bin",
        "etc",
        "etc/passwd",
        "loop",
        "lost",
        "usr",
        "usr/bin",
        "usr/bin/alias",
        "usr/bin/env",
    ]


def test_a_tree_may_be_deep() -> None:
    """A path of 4096 bytes has more folders than Python lets a function call itself."""
    deep = tree_of([file("/".join("d" * 2000), b"")])
    assert len(list(iter_folder(deep, "", recursive=True))) == 2000


def test_a_hardlink_is_what_it_was_linked_to() -> None:
    found = find_file(TREE, "usr/bin/alias")
    assert found is not None
    assert (found.type, found.size, found.hardlink) == (EntryType.FILE, 5, "usr/bin/env")


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/", "/"), ("", "/"), ("/bin", "/usr/bin"), ("bin/env", "/usr/bin/env"), ("/lost", "/lost"), ("/a/", "/a")],
)
def test_symlinks_are_followed_inside_the_image(path: str, shown: str) -> None:
    assert resolve_path(TREE, path, image="web").shown == shown


def test_what_is_not_there_has_a_suggestion() -> None:
    with pytest.raises(LayerError, match="'/etc/paswd' is not in web: did you mean /etc/passwd"):
        resolve_path(TREE, "/etc/paswd", image="web")
    with pytest.raises(LayerError, match=r"'/old' is not in web$"):
        resolve_path(TREE, "/old", image="web")
    with pytest.raises(LayerError, match="loop"):
        resolve_path(TREE, "/loop", image="web")


@pytest.mark.parametrize(
    ("kind", "mode", "text"),
    [
        (EntryType.FILE, 0o644, "-rw-r--r--"),
        (EntryType.DIRECTORY, 0o1777, "drwxrwxrwt"),
        (EntryType.FILE, 0o4755, "-rwsr-xr-x"),
        (EntryType.FILE, 0o6600, "-rwS--S---"),
        (EntryType.DIRECTORY, 0o3770, "drwxrws--T"),
        (EntryType.SYMLINK, 0o777, "lrwxrwxrwx"),
        (EntryType.CHARACTER_DEVICE, 0o600, "crw-------"),
    ],
)
def test_a_mode_looks_as_ls_shows_it(kind: EntryType, mode: int, text: str) -> None:
    assert format_mode(kind, mode) == text


def test_contents_are_read_in_one_pass_in_any_order() -> None:
    big = bytes(range(256)) * 10_000
    raw = make_tar(file("one", b"1"), file("big", big), file("empty"), file("two", b"22"))
    entries = {entry.path: entry for entry in index_layer(io.BytesIO(raw), OCI_LAYER).entries}
    wanted = [entries["two"], entries["empty"], entries["big"]]
    contents = read_files(io.BytesIO(raw), OCI_LAYER, wanted)
    assert contents == {entries["two"].offset: b"22", entries["big"].offset: big, entries["empty"].offset: b""}
    digests = digest_files(io.BytesIO(raw), OCI_LAYER, wanted)
    assert len(set(digests.values())) == 3
    with pytest.raises(LayerError, match="ends early"):
        read_files(io.BytesIO(raw[:2000]), OCI_LAYER, [entries["big"]])
