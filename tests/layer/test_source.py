"""LAYERS, S7: a file that changes between plan and read is an error, never a wrong layer."""

import hashlib
import os
import zlib
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource, MemberSource


@pytest.fixture
def planned(tmp_path: Path) -> FileSource:
    path = tmp_path / "planned"
    path.write_bytes(bytes(range(256)))
    return FileSource.seen(str(path), path.lstat())


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def truncate(path: Path) -> None:
    os.truncate(path, 100)


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(256))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def become_symlink(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("moved")))


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = [append, truncate, touch, replace, become_symlink, become_fifo, become_directory, Path.unlink]


@pytest.mark.parametrize("limit", [1, 7, 255, 256, 257])
def test_a_file_is_read_whole_in_pieces_of_a_limited_size(planned: FileSource, limit: int) -> None:
    pieces = list(planned.pieces(limit))
    assert b"".join(pieces) == bytes(range(256))
    assert max(map(len, pieces)) <= limit
    assert list(BytesSource(bytes(range(256))).pieces(limit)) == pieces


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_it_was_planned_is_refused(
    planned: FileSource, change: Callable[[Path], None]
) -> None:
    """S7: re-stat (size/mtime changed -> fail, else tar header/size mismatch). The message names the file."""
    change(Path(planned.path))
    with pytest.raises(LayerError, match="build again") as caught:
        list(planned.pieces(1024))
    assert planned.path in str(caught.value)


@pytest.mark.parametrize("change", [append, truncate, touch])
def test_a_file_that_changes_while_it_is_read_is_refused(planned: FileSource, change: Callable[[Path], None]) -> None:
    pieces = planned.pieces(60)
    next(pieces)
    change(Path(planned.path))
    with pytest.raises(LayerError, match="changed during the build"):
        list(pieces)


def test_a_file_that_was_empty_when_it_was_planned_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    source = FileSource.seen(str(path), path.lstat())
    assert list(source.pieces(10)) == []
    append(path)
    with pytest.raises(LayerError, match="it had 0 bytes and has 4"):
        list(source.pieces(10))


def test_no_file_stays_open_where_reading_stops_early(planned: FileSource) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    pieces = planned.pieces(1)
    assert isinstance(pieces, Generator)
    next(pieces)
    pieces.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Whole:
    """Content at hand."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.identity: str | None = None

    def read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]


def member(content: bytes, *, is_deflated: bool = True, others: dict[str, object] | None = None) -> MemberSource:
    deflate = zlib.compressobj(wbits=-15)
    stored = deflate.compress(content) + deflate.flush() if is_deflated else content
    fields: dict[str, object] = {
        "archive": Whole(b"head" + stored + b"tail"),
        "name": "a.whl: a.py",
        "offset": 4,
        "stored": len(stored),
        "size": len(content),
        "is_deflated": is_deflated,
        "algorithm": "sha256",
        "digest": hashlib.sha256(content).digest(),
        **(others or {}),
    }
    return MemberSource(**fields)  # type: ignore[arg-type]


@given(content=st.binary(max_size=5000), limit=st.integers(1, 6000), is_deflated=st.booleans())
def test_a_member_of_an_archive_is_given_in_pieces(content: bytes, limit: int, *, is_deflated: bool) -> None:
    pieces = list(member(content * 3, is_deflated=is_deflated).pieces(limit))
    assert b"".join(pieces) == content * 3
    assert all(0 < len(piece) <= limit for piece in pieces)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 99}, "has more than the 99 bytes"),
        ({"size": 101}, "has 1 bytes less than the 101"),
        ({"digest": bytes(32)}, "is not what it is said to be: its sha256 is"),
        ({"stored": 1}, "bytes less than the 100"),
        ({"offset": 0}, "a.whl: a.py is damaged"),
        ({"offset": 10**9}, "bytes less than the 100"),
    ],
)
def test_a_member_that_is_not_what_it_is_said_to_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        list(member(bytes(100), others=change).pieces(2**20))


def test_a_bomb_ends_where_its_size_is_exceeded() -> None:
    source = member(bytes(2**26), others={"size": 10})
    with pytest.raises(LayerError, match="more than the 10 bytes"):
        next(source.pieces(2**16))


def test_a_member_is_told_by_its_content() -> None:
    assert member(b"a").identity == member(b"a", is_deflated=False).identity == BytesSource(b"a").identity
    assert member(b"a").identity != member(b"b").identity
