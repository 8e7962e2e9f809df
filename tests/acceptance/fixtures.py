"""The fixtures of the acceptance matrix: each is what one item of LAYERS is about, in a folder of its own.

All of them together make one image, so that each reader reads once. A fixture of several layers needs them in this
order; the layers of the fixtures stand one after the other.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from layerkit.layer.compress import Compression
from layerkit.layer.entry import MAX_ID, MAX_MTIME, Entry, EntryType, opaque, whiteout
from layerkit.layer.source import BytesSource, FileSource
from tests.acceptance.stacks import make_layers

CAP_NET_BIND_SERVICE: Final = bytes.fromhex("0100000200040000000000000000000000000000")
"""`cap_net_bind_service=ep`, revision 2: what an engine gives to setxattr as it is."""

_ODD_NAMES: Final = (
    " ",
    "line\nbreak",
    "back\\slash",
    "*",
    "-rf",
    "...",
    "..data",
    ".hidden",
    "a:b",
    "%41",
    "~",
    "'\"",
)

Layer = tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """`stored` says how its layers are compressed; `members` that each megabyte of them is a gzip member of its own."""

    name: str
    layers: tuple[Layer, ...]
    stored: Compression = Compression.GZIP
    members: bool = False


def file(path: str, content: bytes = b"", **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.FILE, mode=fields.pop("mode", 0o644), source=BytesSource(content), **fields)


def folder(path: str, mode: int = 0o755, **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.DIRECTORY, mode=mode, **fields)


def symlink(path: str, target: str, **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.SYMLINK, mode=0o777, link=target, **fields)


def hardlink(path: str, target: str, **fields: Any) -> Entry:
    return Entry(path=path, type=EntryType.HARDLINK, mode=fields.pop("mode", 0o644), link=target, **fields)


def _device(path: str, kind: EntryType, major: int, minor: int) -> Entry:
    return Entry(path=path, type=kind, mode=0o600, device=(major, minor))


def _bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _long(parent: int, name: int) -> str:
    """A path whose directory has `parent` bytes, `split/` included, and whose last name has `name`."""
    rest = parent - len("split/")
    return f"split/{'p' * (rest // 2 - 1)}/{'q' * (rest - rest // 2)}/{'n' * name}"


def _long_folder(size: int) -> str:
    """A directory whose name in the tar, the slash at its end included, has `size` bytes."""
    rest = size - 1 - len("folders/")
    return f"folders/{'d' * rest}" if rest <= 255 else f"folders/{'e' * 120}/{'d' * (rest - 121)}"


def sparse_fixture(scratch: Path) -> Fixture:
    """A file on disk, in the folder `scratch`, that is mostly a hole."""
    source = scratch / "sparse"
    with source.open("wb") as hole:
        hole.seek(3 * 2**20)
        hole.write(b"end")
    seen = FileSource.seen(str(source), source.stat())
    return of("sparse", [Entry(path="sparse/file", type=EntryType.FILE, mode=0o644, source=seen)])


def of(name: str, *layers: Iterable[Entry], **fields: Any) -> Fixture:
    return Fixture(name=name, layers=tuple(tuple(layer) for layer in layers), **fields)


def make_fixtures() -> tuple[Fixture, ...]:
    """All but the one that needs a file."""
    deep = "deep/" + "/".join(f"{depth:03}-{'x' * 16}" for depth in range(100))
    note = ("user.note", b"a=b\nc\x00\xff")
    capability = ("security.capability", CAP_NET_BIND_SERVICE)
    return (
        of("files", [file("files/a", b"a\n"), file("files/run", b"#!/bin/sh\n", mode=0o755, uid=7, gid=8)]),
        of("empty", [file("empty/file"), folder("empty/folder")]),
        of("records", [file(f"records/{size}", _bytes(size)) for size in (1, 511, 512, 513, 1024)]),
        of("blocks", [file(f"blocks/{size:+}", _bytes(2**20 + size)) for size in (-1, 0, 1)]),
        of(
            "large",
            [
                file("large/random", _bytes(5_000_000)),
                file("large/text", b"".join(b"%d\n" % i for i in range(500_000))),
            ],
        ),
        of("many", [file(f"many/{number // 100:02}/{number:05}", b"%d" % number) for number in range(2000)]),
        of("deep", [file(f"{deep}/file", b"deep")]),
        of("names", [file(f"names/{'n' * size}", b"%d" % size) for size in (93, 94, 95, 100, 101, 255)]),
        of(
            "split",
            [
                file(_long(parent, name), b"%d" % name)
                for parent, name in ((154, 99), (155, 99), (155, 100), (155, 101), (156, 99), (156, 100), (157, 40))
            ],
        ),
        of(
            "folders", [folder(_long_folder(size), 0o750) for size in (99, 100, 101, 102, 154, 155, 156, 157, 255, 256)]
        ),
        of(
            "links",
            [
                file("links/target/file", b"target"),
                symlink("links/relative", "target/file"),
                symlink("links/up", "../links/target"),
                symlink("links/absolute", "/links/target/file"),
                symlink("links/dangling", "nowhere/at/all"),
                symlink("links/dangling-absolute", "/nowhere"),
                symlink("links/verbatim", "target//./../target/"),
                symlink("links/owned", "target", uid=12, gid=13),
                *(symlink(f"links/{size}", "l" * size) for size in (99, 100, 101, 255)),
                symlink("links/4095", "/".join(["l" * 127] * 32)[:4095]),
                symlink("links/unicode", "été/日本"),
            ],
        ),
        of(
            "unicode",
            [
                file("unicode/été", b"composed"),
                file("unicode/e\u0301te\u0301", b"decomposed"),
                file("unicode/日本語/ファイル", b"jp"),
                folder("unicode/🗀" + "ü" * 60),
                file("unicode/" + "ж" * 127, b"254 bytes"),
            ],
        ),
        of(
            "odd",
            [
                file(f"odd/{number}/{name}", b"odd")
                for number, name in enumerate(
                    [
                        " ",
                        "line\nbreak",
                        "back\\slash",
                        "*",
                        "-rf",
                        "...",
                        "..data",
                        ".hidden",
                        "a:b",
                        "%41",
                        "~",
                        "'\"",
                    ]
                )
            ]
            + [file("odd/tab\there/\x7f\x01", b"control")],
        ),
        of(
            "ids",
            [file(f"ids/{number}", uid=number, gid=number) for number in (1, 65534, 2097151, 2097152, 2**31, MAX_ID)]
            + [folder("ids/folder", uid=2097152, gid=MAX_ID)],
        ),
        of(
            "modes",
            [file(f"modes/{mode:04o}", b"x", mode=mode) for mode in (0, 0o400, 0o666, 0o755, 0o2755, 0o4755, 0o7777)]
            + [folder(f"modes/folder-{mode:04o}", mode) for mode in (0, 0o700, 0o777, 0o1777, 0o2775, 0o7777)],
        ),
        of("sticky", [folder("sticky", 0o1777), file("sticky/file", b"in /tmp", uid=1000, gid=1000)]),
        of(
            "setuid",
            [file("setuid/su", b"\x7fELF", mode=0o4755, uid=0, gid=42), file("setuid/owned", mode=0o6755, uid=3)],
        ),
        of(
            "times",
            [file(f"times/{time}", mtime=time) for time in (0, 1, 1_700_000_000, 2**31 - 1, 2**31, 2**32, MAX_MTIME)]
            + [folder("times/folder", mtime=1_600_000_000), file("times/folder/file", mtime=1_500_000_000)]
            + [symlink("times/link", "folder", mtime=1_400_000_000)],
        ),
        of(
            "hardlinks",
            [
                file("hardlinks/b", b"shared"),
                hardlink("hardlinks/c", "hardlinks/b"),
                hardlink("hardlinks/chain", "hardlinks/c"),
                hardlink("hardlinks/a/first", "hardlinks/b"),
                file("hardlinks/other", b"shared"),
                file("hardlinks/" + "n" * 120, b"long", mode=0o600, uid=9),
                hardlink("hardlinks/" + "m" * 200, "hardlinks/" + "n" * 120, mode=0o600, uid=9),
                file("hardlinks/é", b"unicode", xattrs=(note,)),
                hardlink("hardlinks/zé", "hardlinks/é", xattrs=(note,)),
                file("hardlinks/empty"),
                hardlink("hardlinks/empty-too", "hardlinks/empty"),
            ],
        ),
        of(
            "capabilities",
            [
                file(
                    "capabilities/serve",
                    b"\x7fELF",
                    mode=0o755,
                    xattrs=(capability,),
                ),
                file(
                    "capabilities/owned",
                    b"\x7fELF",
                    mode=0o4755,
                    uid=5,
                    xattrs=(capability,),
                ),
            ],
        ),
        of(
            "xattrs",
            [
                file("xattrs/file", b"x", xattrs=(("user.b", b"2"), note)),
                folder("xattrs/folder", xattrs=(("user.folder", b"yes"),)),
                file("xattrs/large", b"x", xattrs=(("user.large", _bytes(2000)),)),
                file("xattrs/read-only", b"x", mode=0o444, uid=6, xattrs=(note,)),
            ],
        ),
        of("fifo", [Entry(path="fifo/pipe", type=EntryType.FIFO, mode=0o622, uid=4)]),
        of(
            "devices",
            [
                _device("devices/null", EntryType.CHARACTER_DEVICE, 1, 3),
                _device("devices/sda", EntryType.BLOCK_DEVICE, 8, 0),
                _device("devices/large", EntryType.BLOCK_DEVICE, 4095, 1048575),
            ],
        ),
        of("deleted-file", [file("deleted-file/a", b"a"), file("deleted-file/b", b"b")], [whiteout("deleted-file/a")]),
        of(
            "deleted-folder",
            [file("deleted-folder/a/b/c", b"c"), file("deleted-folder/stays", b"s")],
            [whiteout("deleted-folder/a")],
        ),
        of(
            "deleted-links",
            [
                file("deleted-links/one", b"shared"),
                hardlink("deleted-links/two", "deleted-links/one"),
                symlink("deleted-links/link", "one"),
                symlink("deleted-links/to-folder", "/deleted-links"),
            ],
            [whiteout("deleted-links/one"), whiteout("deleted-links/link"), whiteout("deleted-links/to-folder")],
        ),
        of(
            "made-again",
            [file("made-again/a/old", b"old"), file("made-again/file", b"old")],
            [whiteout("made-again/a"), whiteout("made-again/file")],
            [file("made-again/a/new", b"new"), file("made-again/file", b"new")],
        ),
        of(
            "opaque",
            [file("opaque/d/old", b"old"), file("opaque/d/e/older", b"old"), file("opaque/stays", b"s")],
            [folder("opaque/d", 0o750, uid=3), opaque("opaque/d"), file("opaque/d/e/new", b"new")],
        ),
        of("opaque-only", [file("opaque-only/d/old", b"old")], [opaque("opaque-only/d")]),
        of(
            "deleted-odd",
            [
                file("deleted-odd/" + "n" * 251, b"long"),
                file("deleted-odd/été", b"u"),
                folder("deleted-odd/" + "d" * 200),
            ],
            [
                whiteout("deleted-odd/" + "n" * 251),
                whiteout("deleted-odd/été"),
                whiteout("deleted-odd/" + "d" * 200),
            ],
        ),
        of(
            "replaced",
            [
                file("replaced/file", b"old", mode=0o600, uid=9, xattrs=(note,)),
                file("replaced/file-by-link", b"old"),
                symlink("replaced/link-by-file", "file"),
                symlink("replaced/link-by-folder", "file"),
                file("replaced/file-by-folder", b"old"),
                file("replaced/folder-by-file/inside", b"old"),
                file("replaced/folder-by-link/inside", b"old"),
                folder("replaced/attributes", 0o700, uid=1),
                file("replaced/attributes/stays", b"stays"),
                file("replaced/one-of-two", b"old"),
                hardlink("replaced/other-of-two", "replaced/one-of-two"),
            ],
            [
                file("replaced/file", b"new"),
                symlink("replaced/file-by-link", "file"),
                file("replaced/link-by-file", b"new"),
                folder("replaced/link-by-folder"),
                folder("replaced/file-by-folder", 0o711),
                file("replaced/folder-by-file", b"new"),
                symlink("replaced/folder-by-link", "file"),
                folder("replaced/attributes", 0o755, uid=2, xattrs=(note,)),
                file("replaced/one-of-two", b"new"),
            ],
        ),
        of(
            "parents",
            [folder("parents", 0o750, uid=5, gid=6), folder("parents/a", 0o1777, uid=7), file("parents/a/old", b"old")],
            [folder("parents", 0o750, uid=5, gid=6), folder("parents/a", 0o1777, uid=7), file("parents/a/new", b"new")],
        ),
        of(
            "usr-merge",
            [folder("usr-merge/usr/lib"), symlink("usr-merge/lib", "usr/lib"), file("usr-merge/usr/lib/old", b"old")],
            [file("usr-merge/usr/lib/new", b"new"), whiteout("usr-merge/usr/lib/old")],
        ),
        of(
            "twice",
            [file("twice/a", b"a")],
            [whiteout("twice/a")],
            [file("twice/a", b"a")],
        ),
        of("nothing", [], []),
        of("uncompressed", [file("uncompressed/a", _bytes(100_000))], stored=Compression.NONE),
        of(
            "members",
            [file(f"members/{number}", _bytes(700_000 + number)) for number in range(4)] + [file("members/z", b"z")],
            members=True,
        ),
        of("random", *make_layers("random", 300)),
        of("root", [folder(".", 0o751, mtime=1_300_000_000)]),
    )
