"""A fresh checkout: its layers are found by their content, and whatever differs is made anew."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from layerkit.build.alike import AlikeRecords, Looks, sample
from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.build.recipes import LayerRecord
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.source import BytesSource, FileSource
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER_GZIP
from layerkit.progress import Outcome
from layerkit.spec.model import ImageSpec, Spec
from tests.progress import Recorded

SPEC = "from: scratch\nlayers:\n  - name: tree\n    copy: [./tree:/srv/]\n"

Load = Callable[..., Spec]


def layer(number: int) -> LayerRecord:
    descriptor = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(bytes([number])), size=1)
    return LayerRecord(descriptor=descriptor, diff_id=Digest.of(bytes([0, number])), uncompressed_size=1, codec="c")


async def build(builder: Builder, spec: Spec) -> tuple[BuiltImage, list[Outcome], int]:
    """The image, what became of each layer, and how many bytes were read for them."""
    progress = Recorded()
    image = ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))
    (result,) = await replace(builder, progress=progress).build([image])
    outcomes = [outcome for found in progress.outcomes.values() for outcome in found]
    return result.images[0], outcomes, sum(progress.advanced.values())


def check_out(tree: Path) -> None:
    """The same files once more, each another one for the system."""
    fresh = tree.with_name("fresh")
    shutil.copytree(tree, fresh, symlinks=True)
    shutil.rmtree(tree)
    fresh.rename(tree)


@pytest.fixture
def tree(context: Path) -> Path:
    folder = context / "tree"
    folder.mkdir()
    (folder / "a").write_text("one")
    (folder / "b").write_text("two")
    return folder


@pytest.fixture
def patient(builder: Builder) -> Builder:
    """By its clock nothing was changed just now."""
    return replace(builder, clock=lambda: time.time_ns() + 10**10)


async def test_a_fresh_checkout_is_read_and_not_written(patient: Builder, load: Load, tree: Path) -> None:
    first, *_ = await build(patient, load(SPEC))
    stored = patient.store.path_of(first.image.layers[0].digest)
    before = stored.stat()
    check_out(tree)
    second, outcomes, read = await build(patient, load(SPEC))
    assert (second.manifest, outcomes) == (first.manifest, [Outcome.REUSED])
    assert read == second.layers[0].written.uncompressed_size
    assert (stored.stat().st_ino, stored.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # From now on it is known as it looks now.
    _, outcomes, read = await build(patient, load(SPEC))
    assert (outcomes, read) == ([Outcome.REUSED], 0)


async def test_what_was_written_a_moment_ago_is_read_and_not_made_again(
    builder: Builder, load: Load, tree: Path
) -> None:
    """A checkout and its build, as CI does it, leave no file that can be counted on by its times."""
    first, *_ = await build(builder, load(SPEC))
    second, outcomes, read = await build(builder, load(SPEC))
    assert (second.manifest, outcomes, read > 0) == (first.manifest, [Outcome.REUSED], True)


async def test_other_content_of_the_same_size_is_made_anew(patient: Builder, load: Load, tree: Path) -> None:
    first, *_ = await build(patient, load(SPEC))
    check_out(tree)
    (tree / "b").write_text("TWO")
    second, outcomes, _ = await build(patient, load(SPEC))
    assert outcomes == [Outcome.DONE]
    assert second.manifest != first.manifest
    # Both are known now.
    (tree / "b").write_text("two")
    check_out(tree)
    third, outcomes, _ = await build(patient, load(SPEC))
    assert (third.manifest, outcomes) == (first.manifest, [Outcome.REUSED])


async def test_another_compression_is_another_layer(patient: Builder, load: Load, tree: Path) -> None:
    await build(patient, load(SPEC))
    check_out(tree)
    _, outcomes, _ = await build(patient, load(f"compression: zstd\n{SPEC}"))
    assert outcomes == [Outcome.DONE]


@pytest.mark.parametrize("damage", ["gone", "short"])
async def test_a_layer_that_the_store_has_not_whole_is_made_anew(
    patient: Builder, load: Load, tree: Path, damage: str
) -> None:
    first, *_ = await build(patient, load(SPEC))
    path = patient.store.path_of(first.image.layers[0].digest)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    check_out(tree)
    second, outcomes, _ = await build(patient, load(SPEC))
    assert (second.manifest, outcomes) == (first.manifest, [Outcome.DONE])
    assert patient.store.size_of(first.image.layers[0].digest) == first.image.layers[0].size


async def test_without_the_cache_everything_is_made_anew(patient: Builder, load: Load, tree: Path) -> None:
    await build(patient, load(SPEC))
    check_out(tree)
    _, outcomes, _ = await build(replace(patient, is_cached=False), load(SPEC))
    assert outcomes == [Outcome.DONE]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.binary(max_size=2)), min_size=2, max_size=4))
async def test_whatever_is_checked_out_the_image_is_that_of_a_cold_build(
    patient: Builder, load: Load, tree: Path, tmp_path: Path, checkouts: list[dict[str, bytes]]
) -> None:
    for files in checkouts:
        shutil.rmtree(tree)
        tree.mkdir()
        for name, content in files.items():
            (tree / name).write_bytes(content)
        warm, *_ = await build(patient, load(SPEC))
        shutil.rmtree(tmp_path / "cold", ignore_errors=True)
        cold, *_ = await build(replace(patient, cache=tmp_path / "cold"), load(SPEC))
        assert warm.manifest == cold.manifest


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Looks(key="k", samples=("1", "2")), Looks(key="k", samples=("1", "2")), True),
        (Looks(key="k", samples=("1", "2")), Looks(key="l", samples=("3", "4")), True),
        (Looks(key="k", samples=("1", "2")), Looks(key="l", samples=("1", "3")), False),
        (Looks(key="", samples=("1",)), Looks(key="", samples=("1",)), False),
        (Looks(), Looks(), True),
    ],
    ids=["all the same", "all new", "edited", "cannot be told", "no files"],
)
def test_where_files_were_edited_nothing_is_read_in_vain(before: Looks, now: Looks, *, expected: bool) -> None:
    assert before.may_be(now) is expected


def test_a_sample_is_of_a_few_files_however_many_there_are() -> None:
    def entry(number: int) -> Entry:
        source = FileSource(path=f"/{number}", size=1, mtime_ns=1, ctime_ns=1, device=1, inode=number)
        return Entry(path=str(number), type=EntryType.FILE, mode=0o644, source=source)

    assert 16 <= len(sample([entry(number) for number in range(10_000)])) <= 32
    assert len(sample([entry(1)])) == 1
    assert sample([Entry(path="a", type=EntryType.FILE, mode=0o644, source=BytesSource(b"x"))]) == ()


def test_of_layers_of_one_size_the_last_ones_are_remembered(tmp_path: Path) -> None:
    records = AlikeRecords(folder=tmp_path)
    for number in [*range(10), 5]:
        records.remember(layer(number), Looks())
    assert [one.layer for one in records.find("c", 1)] == [layer(number) for number in (5, 9, 8, 7, 6, 4, 3, 2)]
    assert records.find("c", 2) == records.find("d", 1) == ()


@pytest.mark.parametrize("damage", [b"", b"[{", b'[{"layer": 1}]', b"\xff"])
def test_a_damaged_record_is_none(tmp_path: Path, damage: bytes) -> None:
    records = AlikeRecords(folder=tmp_path)
    records.remember(layer(1), Looks())
    (path,) = (tmp_path / "alike-1").iterdir()
    path.write_bytes(damage)
    assert records.find("c", 1) == ()
    records.remember(layer(2), Looks())
    assert len(records.find("c", 1)) == 1
