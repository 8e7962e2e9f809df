"""What was dear to find is remembered whole, or not at all."""

from pathlib import Path

import msgspec

from layerkit.build.kept import Keeper
from layerkit.oci.digest import Digest


class Value(msgspec.Struct, frozen=True):
    digest: Digest
    rows: tuple[tuple[str, int], ...] = ()


VALUE = Value(Digest.of(b"a"), (("a", 1),))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("packages-*/*"))


def test_a_value_is_found_again(tmp_path: Path) -> None:
    keeper = Keeper(folder=tmp_path)
    assert keeper.find("a", Value) is None
    keeper.remember("a", VALUE)
    assert keeper.find("a", Value) == VALUE


def test_one_that_is_damaged_or_of_another_form_is_none(tmp_path: Path) -> None:
    keeper = Keeper(folder=tmp_path)
    keeper.remember("a", VALUE)
    keeper.remember("b", "text")
    assert keeper.find("b", Value) is None
    (path, _) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert keeper.find("a", Value) is None


def test_who_does_not_trust_it_remembers_anew(tmp_path: Path) -> None:
    keeper = Keeper(folder=tmp_path, is_trusted=False)
    keeper.remember("a", VALUE)
    assert keeper.find("a", Value) is None
    assert Keeper(folder=tmp_path).find("a", Value) == VALUE


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keeper = Keeper(folder=tmp_path / "file")
    keeper.remember("a", VALUE)
    assert keeper.find("a", Value) is None


def test_there_is_a_limit_to_all_of_them(tmp_path: Path) -> None:
    keeper = Keeper(folder=tmp_path)
    keeper.remember("a", VALUE)
    size = files(tmp_path)[0].stat().st_size
    small = Keeper(folder=tmp_path, most_bytes=size)
    small.remember("b", VALUE)
    assert len(files(tmp_path)) == 1
