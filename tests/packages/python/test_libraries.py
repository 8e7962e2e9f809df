"""Shared libraries that wheels take from the system."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry
from layerkit.layer.tree import FileTree
from layerkit.packages.python.libraries import find_missing, find_needed
from layerkit.packages.python.wheel import open_wheel
from tests.wheels import make_library, make_wheel


def tree_of(*paths: str, links: Sequence[tuple[str, str]] = ()) -> FileTree:
    tree = FileTree()
    tree.add([IndexedEntry(path=path, type=EntryType.FILE, mode=0o644) for path in paths])
    tree.add([IndexedEntry(path=path, type=EntryType.SYMLINK, mode=0o777, link=target) for path, target in links])
    return tree


def test_a_wheel_needs_what_its_files_need_and_none_of_them_is(tmp_path: Path) -> None:
    files = {
        "hello/native.so": make_library("libc.so.6", "libbundled-1.so.5", "libby_name.so"),
        "hello.libs/libbundled-1.so.5": make_library("libstdc++.so.6", soname="libbundled-1.so.5"),
        "hello.libs/other-hash.so": make_library(soname="libby_name.so"),
        "hello-1.0.data/scripts/tool": make_library("libz.so.1"),
        "hello/text.so": b"no library",
        "hello/empty.so": b"",
    }
    path = make_wheel(tmp_path, files=files, executable=frozenset({"hello-1.0.data/scripts/tool"}))
    assert find_needed(open_wheel(path)) == ("libc.so.6", "libstdc++.so.6", "libz.so.1")


def test_a_wheel_of_no_native_code_needs_nothing(tmp_path: Path) -> None:
    assert find_needed(open_wheel(make_wheel(tmp_path))) == ()


def test_what_is_nowhere_in_the_image_is_told() -> None:
    tree = tree_of("usr/lib/x86_64-linux-gnu/libc.so.6", "opt/python/lib/libown.so.1", links=[("lib", "usr/lib")])
    needed = {
        "libc.so.6": ["a.whl"],
        "libown.so.1": ["a.whl"],
        "libbrought.so": ["a.whl"],
        "libstdc++.so.6": ["b.whl", "a.whl"],
        "libz.so.1": ["a.whl"],
        "odd.so": ["a.whl"],
    }
    assert find_missing(needed, tree, {"libbrought.so"}, "/opt/python/bin/python3") == [
        "libstdc++.so.6 is not in the image, and a.whl (and 1 more) needs it: "
        "install what has it (of Debian most likely libstdc++6)",
        "libz.so.1 is not in the image, and a.whl needs it: install what has it (of Debian zlib1g)",
        "odd.so is not in the image, and a.whl needs it: install what has it",
    ]


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libgomp.so.1", "libgomp1"),
        ("libX11.so.6", "libx11-6"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libpq.so.5", "libpq5"),
        ("libSM.so.6", "libsm6"),
    ],
)
def test_the_package_of_a_library_is_guessed_by_the_rule_of_debian(library: str, package: str) -> None:
    """Policy, 8.1: the name of the library, then the version of its SONAME, with a hyphen after a digit."""
    (told,) = find_missing({library: ["a.whl"]}, tree_of(), (), "/usr/bin/python3")
    assert told.endswith(f"(of Debian most likely {package})")


def test_links_in_a_circle_are_no_folder() -> None:
    tree = tree_of(links=[("lib", "lib")])
    assert len(find_missing({"liba.so.1": ["a.whl"]}, tree, (), "/usr/bin/python3")) == 1
