"""The cache stays below its size; what builds count on stays, and killed ones count on nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerkit.build.bounds import trim, using
from layerkit.build.cached import Amount

NOW = 1_800_000_000.0
DAY = 86_400.0


def put(folder: Path, name: str, *, size: int = 10, age: float = 0, read: float | None = None) -> Path:
    """A file that was written `age` seconds ago, and read `read` seconds ago."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - (age if read is None else read), NOW - age))
    return path


def left(folder: Path) -> set[str]:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return files - {".in-use", ".trimmed"}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    """A record is touched when it is used, and a download is read."""
    put(tmp_path, "layers-1/old", age=500)
    put(tmp_path, "layers-1/new", age=100)
    put(tmp_path, "headers-1/middle", age=300)
    put(tmp_path, "fetch/sha256-old", age=400)
    put(tmp_path, "fetch/sha256-read", age=900, read=200)
    assert trim(tmp_path, 30, NOW) == Amount(files=2, size=20)
    assert left(tmp_path) == {"layers-1/new", "headers-1/middle", "fetch/sha256-read"}


def test_what_fits_stays(tmp_path: Path) -> None:
    put(tmp_path, "layers-1/a")
    put(tmp_path, "other/b", size=1000)
    assert trim(tmp_path, 10, NOW) == Amount()
    assert left(tmp_path) == {"layers-1/a", "other/b"}


def test_what_killed_processes_left_half_written_goes_after_a_day(tmp_path: Path) -> None:
    put(tmp_path, "fetch/.partial-old", age=DAY + 1)
    put(tmp_path, "layers-1/.key.0123", age=DAY + 1)
    put(tmp_path, "fetch/.partial-new", age=DAY - 1)
    put(tmp_path, "other/.x", age=DAY + 1)
    assert trim(tmp_path, 10**9, NOW) == Amount()
    assert left(tmp_path) == {"fetch/.partial-new", "other/.x"}


def test_it_is_done_once_a_day_and_after_downloads(tmp_path: Path) -> None:
    """To look at all of the cache would take as long as a build of nothing new."""
    put(tmp_path, "fetch/sha256-a")
    os.utime(tmp_path / "fetch", (NOW, NOW))
    assert trim(tmp_path, 0, NOW + 1).files == 1
    put(tmp_path, "layers-1/b")
    os.utime(tmp_path / "fetch", (NOW, NOW))
    assert trim(tmp_path, 0, NOW + 2).files == 0
    put(tmp_path, "fetch/sha256-c")
    os.utime(tmp_path / "fetch", (NOW + 3, NOW + 3))
    assert trim(tmp_path, 0, NOW + 4).files == 2
    put(tmp_path, "layers-1/d")
    os.utime(tmp_path / "fetch", (NOW, NOW))
    assert trim(tmp_path, 0, NOW + 3 + DAY).files == 0
    assert trim(tmp_path, 0, NOW + 5 + DAY).files == 1


def test_a_clock_that_was_wrong_is_no_reason_to_wait(tmp_path: Path) -> None:
    put(tmp_path, "layers-1/a")
    trim(tmp_path, 10**9, NOW + 1000 * DAY)
    assert trim(tmp_path, 0, NOW).files == 1


def test_nothing_goes_while_somebody_builds(tmp_path: Path) -> None:
    put(tmp_path, "fetch/sha256-a")
    with using(tmp_path), using(tmp_path):
        assert trim(tmp_path, 0, NOW) == Amount()
    assert trim(tmp_path, 0, NOW).files == 1


def test_a_build_that_was_killed_counts_on_nothing(tmp_path: Path) -> None:
    put(tmp_path, "fetch/sha256-a")
    script = (
        "import sys; from pathlib import Path; from layerkit.build.bounds import using\n"
        "with using(Path(sys.argv[1])): print('in it', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in it\n"
        assert trim(tmp_path, 0, NOW) == Amount()
        process.kill()
        process.wait()
    assert trim(tmp_path, 0, NOW).files == 1


@pytest.mark.parametrize("name", ["file", "file/cache"])
def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with using(tmp_path / name):
        assert trim(tmp_path / name, 0, NOW) == Amount()
    assert trim(tmp_path / name, 0, NOW) == Amount()
