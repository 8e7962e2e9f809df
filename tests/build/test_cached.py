"""The cache is measured and freed by kind; what others may be at work on, and what is not ours, stays."""

from pathlib import Path

from layerkit.build.cached import RECORDS, Amount, Kind, free, measure


def fill(folder: Path) -> None:
    records = ("specs-1/s", "layers-1/a", "layers-0/old", "plans-1/a", "alike-1/h", "headers-1/b", "documents/g")
    for name in (*records, "rootfs-1/c", "packages-1/p", "stretches-1/s", "fetch/d", "fetch/.partial-e", "other/f"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"123")


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_there_is_by_kind(tmp_path: Path) -> None:
    fill(tmp_path)
    one = Amount(files=1, size=3)
    assert measure(tmp_path) == {
        Kind.SPECS: one,
        Kind.LAYERS: Amount(files=2, size=6),
        Kind.PLANS: one,
        Kind.ALIKE: one,
        Kind.STRETCHES: one,
        Kind.HEADERS: one,
        Kind.DOCUMENTS: one,
        Kind.ROOTFS: one,
        Kind.PACKAGES: one,
        Kind.DOWNLOADS: one,
    }


def test_downloads_that_a_build_may_need_go_only_if_asked_for(tmp_path: Path) -> None:
    fill(tmp_path)
    assert free(tmp_path, RECORDS) == Amount(files=10, size=30)
    assert left(tmp_path) == {"fetch/d", "fetch/.partial-e", "other/f"}
    assert free(tmp_path, Kind) == Amount(files=1, size=3)
    assert left(tmp_path) == {"fetch/.partial-e", "other/f"}


def test_nothing_outside_the_cache_is_freed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_text("precious")
    cache = tmp_path / "cache"
    (cache / "headers-1").mkdir(parents=True)
    (cache / "layers-1").symlink_to(elsewhere)
    (cache / "headers-1" / "b").symlink_to(elsewhere / "a")
    assert free(cache, Kind) == Amount()
    assert left(elsewhere) == {"a"}


def test_no_cache_is_an_empty_one(tmp_path: Path) -> None:
    assert set(measure(tmp_path / "none").values()) == {Amount()}
    assert free(tmp_path / "none", Kind) == Amount()
