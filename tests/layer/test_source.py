"""LAYERS, S7: a file that changes between plan and read is an error, never a wrong layer."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource, FileSource


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
    next(pieces)
    pieces.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
