"""The record of the last builds: small, of builds that differ, and worth nothing to a build."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from layerkit.build.record import MOST_BUILDS, MOST_FILES, BuildRecord, Records, steps_of
from layerkit.oci.digest import Digest
from layerkit.spec.model import Spec


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "data" / "builds")


def record(number: int, **fields: object) -> BuildRecord:
    found = BuildRecord(
        built=number,
        spec="layerkit.yaml",
        image="web",
        platform="linux/amd64",
        base="scratch",
        base_digest=None,
        base_layers=(),
        config=Digest.of(b"config"),
        manifest=Digest.of(b"%d" % number),
        format=1,
        layers=(),
    )
    return msgspec.structs.replace(found, **fields)


def keep(records: Records, *builds: BuildRecord) -> None:
    for build in builds:
        records.add(Path("layerkit.yaml"), build)


def find(records: Records) -> list[int]:
    return [found.built for found in records.find(Path("layerkit.yaml"), "web", "linux/amd64")]


def test_the_newest_comes_first_and_only_some_are_kept(records: Records) -> None:
    assert find(records) == []
    keep(records, *(record(number) for number in range(MOST_BUILDS + 3)))
    assert find(records) == list(range(MOST_BUILDS + 2, 2, -1))


def test_a_build_that_made_the_same_is_not_another(records: Records) -> None:
    keep(records, record(1), record(2))
    (path,) = records.folder.iterdir()
    before = path.stat().st_ino
    keep(records, record(2, built=3))
    assert find(records) == [2, 1]
    assert path.stat().st_ino == before


def test_images_platforms_and_files_have_their_own(records: Records) -> None:
    keep(records, record(1), record(2, platform="linux/arm64"), record(3, image="shop"))
    assert find(records) == [1]
    assert len(list(records.folder.iterdir())) == 3
    assert records.find(Path("other.yaml"), "web", "linux/amd64") == ()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":99,"builds":[]}', b'{"version":1,"builds":[{}]}'])
def test_what_cannot_be_read_is_not_known(records: Records, content: bytes) -> None:
    keep(records, record(1))
    (path,) = records.folder.iterdir()
    path.write_bytes(content)
    assert find(records) == []
    keep(records, record(2))
    assert find(records) == [2]


def test_there_are_never_too_many(records: Records) -> None:
    records.folder.mkdir(parents=True)
    for number in range(MOST_FILES + 5):
        (records.folder / f"{number:032x}.json").write_bytes(b"")
    keep(records, record(1))
    assert len(list(records.folder.iterdir())) == MOST_FILES
    assert find(records) == [1]


def test_the_steps_of_a_layer_are_what_the_spec_says(load: Callable[..., Spec], context: Path) -> None:
    spec = load(
        """\
from: scratch
owner: "5:6"
users: {app: {uid: 10, home: /srv}}
layers:
  - name: app
    copy:
      - {src: src, dest: /srv/, exclude: ["*.map", x], mode: "0444", dir_mode: "0700", mtime: source}
      - {content: hello, dest: /hello}
    directory: [/var/data]
    symlink: {/a: b}
    remove: [/usr/share/doc]
"""
    )
    assert steps_of(spec, "app") == (
        "copy src to /srv/ exclude *.map, x mtime source owner 5:6 mode 0444 dir_mode 0700",
        "content to /hello owner 5:6",
        "directory /var/data owner 5:6",
        "symlink /a to b owner 5:6",
        "remove /usr/share/doc",
    )
    assert steps_of(spec, "users") == ("user app 10:10 group app home /srv shell /usr/sbin/nologin",)
