"""What is cached is found whole or not at all, and there is never more of it than is allowed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from layerkit.build.folder import CacheFolder


@pytest.fixture
def cached(tmp_path: Path) -> CacheFolder:
    return CacheFolder(folder=tmp_path / "cache" / "things-1")


def names(cached: CacheFolder) -> list[str]:
    return sorted(path.name for path in cached.folder.iterdir())


def test_what_is_kept_is_found_by_its_key(cached: CacheFolder) -> None:
    assert cached.find("a") is None
    cached.keep("a", b"one")
    cached.keep("b", b"two")
    cached.keep("a", b"three")
    assert (cached.find("a"), cached.find("b")) == (b"three", b"two")
    assert names(cached) == ["a", "b"]


def test_without_trust_nothing_is_found_and_all_is_kept_anew(cached: CacheFolder) -> None:
    cached.keep("a", b"one")
    doubting = replace(cached, is_trusted=False)
    assert doubting.find("a") is None
    doubting.keep("a", b"two")
    assert cached.find("a") == b"two"


def test_what_is_kept_is_for_the_user_alone(cached: CacheFolder) -> None:
    """A value of `--var` may stand in it."""
    cached.keep("a", b"one")
    assert (cached.folder / "a").stat().st_mode & 0o777 == 0o600


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cached = CacheFolder(folder=tmp_path / "file" / "things-1")
    cached.keep("a", b"one")
    assert cached.find("a") is None


@pytest.mark.parametrize("limits", [{"most_files": 3}, {"most_bytes": 30}], ids=["files", "bytes"])
def test_what_was_not_used_for_longest_goes_first(cached: CacheFolder, limits: dict[str, int]) -> None:
    for number in range(5):
        cached.keep(f"old{number}", bytes(10))
        os.utime(cached.folder / f"old{number}", (number, number))
    # To find it is to use it.
    assert cached.find("old0") is not None
    replace(cached, most_files=limits.get("most_files", 100), most_bytes=limits.get("most_bytes")).keep(
        "new", bytes(10)
    )
    assert {"new", "old0"} <= set(names(cached))
    assert "old1" not in names(cached)
    assert len(names(cached)) <= 3


def test_what_a_crash_left_behind_goes_with_the_oldest(cached: CacheFolder) -> None:
    cached.keep("a", b"one")
    (cached.folder / ".b.0123").write_bytes(b"half")
    os.utime(cached.folder / ".b.0123", (1, 1))
    replace(cached, most_files=1).keep("c", b"two")
    assert ".b.0123" not in names(cached)


def test_many_at_once_leave_whole_files_and_nothing_else(cached: CacheFolder) -> None:
    keys = [f"key{number % 3}" for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: cached.keep(key, key.encode() * 1000), keys))
        found = list(pool.map(cached.find, keys))
    assert found == [key.encode() * 1000 for key in keys]
    assert names(cached) == ["key0", "key1", "key2"]
