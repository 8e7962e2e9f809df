"""The same spec gives the same digest, whatever the conditions in which it is built."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """\
name: example
from: scratch
layers:
  - name: first
    copy:
      - ./tree:/srv/tree/
      - {src: "tree/**/*.txt", dest: /srv/texts/, owner: "7:8"}
      - {content: "release\\n", dest: /srv/RELEASE, mode: "0400"}
  - name: second
    copy: ["./tree/b:/opt/b"]
    symlink: {/srv/current: tree}
labels: {b: "2", a: "1"}
config:
  env: {PATH: /bin, A: 1}
  entrypoint: [/bin/true]
"""

# What changing this means: everybody's images get new digests. Only a new FORMAT_VERSION may do that, or a new codec.
GOLDEN = "sha256:1a00b0761e7cd20053b1073c4306a87489df2833b025d9b691c23adac13beab2"


def make_context(folder: Path, *, reverse: bool = False) -> Path:
    """The files of the spec; with `reverse` they are made, and so listed by the folder, in another order."""
    names = [f"tree/{d}/{n}{e}" for d in ("a", "b", "é", "b/deep/er") for n in range(12) for e in (".txt", ".bin")]
    names = list(reversed(names)) if reverse else names
    folder.mkdir()
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(3000) * 3)
    (folder / "tree/a/run.bin").write_text("#!/bin/sh\n")
    (folder / "tree/a/run.bin").chmod(0o755)
    (folder / "tree/link").symlink_to("a/run.bin")
    (folder / "layerkit.yaml").write_text(SPEC)
    return folder


def build(context: Path, data: Path, *, umask: int = 0o022, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "layerkit", "build", "-q", "-t", "localhost/example:1"],
        cwd=context,
        env={**os.environ, "XDG_DATA_HOME": str(data), "XDG_CACHE_HOME": f"{data}/cache", **environment},
        umask=umask,
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reference")
    return build(make_context(folder / "context"), folder / "data")


def test_the_digest_is_the_golden_one(reference: str) -> None:
    assert reference == GOLDEN


@pytest.mark.parametrize(
    ("umask", "environment"),
    [
        (0o077, {}),
        (0o022, {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"}),
        (0o022, {"LC_ALL": "C.UTF-8", "LANGUAGE": "de"}),
        (0o022, {"TZ": "Pacific/Kiritimati"}),
        (0o002, {"TZ": "America/New_York", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
        (0o022, {"HOME": "/nonexistent", "PYTHONHASHSEED": "2"}),
    ],
    ids=["umask", "locale C", "locale UTF-8", "time zone", "all at once", "no home"],
)
def test_conditions_change_nothing(reference: str, tmp_path: Path, umask: int, environment: dict[str, str]) -> None:
    assert build(make_context(tmp_path / "context"), tmp_path / "data", umask=umask, **environment) == reference


def test_the_folder_its_order_and_its_times_change_nothing(reference: str, tmp_path: Path) -> None:
    context = make_context(tmp_path / "another folder, with spaces", reverse=True)
    for path in context.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    assert build(context, tmp_path / "data") == reference


def test_modes_of_others_and_owners_change_nothing(reference: str, tmp_path: Path) -> None:
    """Of a source's attributes only the execute bit counts."""
    context = make_context(tmp_path / "context")
    for path in context.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o700 if path.name == "run.bin" else 0o600)
        elif path.is_dir():
            path.chmod(0o700)
    assert build(context, tmp_path / "data") == reference


def test_a_copy_of_the_folder_and_a_second_build_give_the_same(reference: str, tmp_path: Path) -> None:
    context = make_context(tmp_path / "context")
    copy = Path(shutil.copytree(context, tmp_path / "copy", symlinks=True))
    assert build(context, tmp_path / "data") == build(copy, tmp_path / "data") == reference


def test_one_cpu_gives_the_same_as_several(reference: str, tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert build(make_context(tmp_path / "context"), tmp_path / "data") == reference
    finally:
        os.sched_setaffinity(0, before)


def test_source_date_epoch_changes_the_time_and_no_layer(reference: str, tmp_path: Path) -> None:
    """SOURCE_DATE_EPOCH sets `created` alone: a time that moves with each commit must not re-upload every layer."""
    context = make_context(tmp_path / "context")
    digest = build(context, tmp_path / "data", SOURCE_DATE_EPOCH="1700000000")
    assert digest != reference
    again = build(context, tmp_path / "data", SOURCE_DATE_EPOCH="1700000000", TZ="Asia/Tokyo")
    assert again == digest
    blobs = {path.name for path in (tmp_path / "data/layerkit/store/blobs/sha256").iterdir()}
    build(context, tmp_path / "data")
    more = {path.name for path in (tmp_path / "data/layerkit/store/blobs/sha256").iterdir()}
    # One config and one manifest.
    assert len(more - blobs) == 2
