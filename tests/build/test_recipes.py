"""A layer whose sources nobody has touched is not read and made again; whatever is doubtful is."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.build.planned import outline_of
from layerkit.build.recipes import MOST_RECORDS, LayerRecord, LayerRecords, is_racy
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.source import BytesSource, FileSource, PartSource
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER_GZIP
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.progress import Outcome
from layerkit.spec.model import ImageSpec, Spec
from tests.progress import Recorded

SPEC = "from: scratch\nlayers:\n  - name: tree\n    copy: [./tree:/srv/]\n"
DIGEST = Digest.of(b"x")
RECORD = LayerRecord(
    descriptor=Descriptor(media_type=OCI_LAYER_GZIP, digest=DIGEST, size=1),
    diff_id=DIGEST,
    uncompressed_size=1,
    codec="c",
)

Load = Callable[..., Spec]


def later() -> int:
    """A clock by which nothing here was changed just now."""
    return time.time_ns() + 10**10


async def build(builder: Builder, spec: Spec) -> tuple[BuiltImage, list[Outcome], int]:
    """The image, what became of each layer, and how many bytes were read for them."""
    progress = Recorded()
    image = ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))
    (result,) = await replace(builder, progress=progress).build([image])
    outcomes = [outcome for found in progress.outcomes.values() for outcome in found]
    return result.images[0], outcomes, sum(progress.advanced.values())


def files(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What would show that somebody wrote to a file of the folder, or wrote it anew."""
    found = {str(path): path.stat() for path in folder.rglob("*") if path.is_file() and path.parent.name != "leases"}
    return {path: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for path, status in found.items()}


@pytest.fixture
def tree(context: Path) -> Path:
    folder = context / "tree"
    folder.mkdir()
    (folder / "a").write_text("one")
    (folder / "b").write_text("two")
    return folder


@pytest.fixture
def patient(builder: Builder) -> Builder:
    return replace(builder, clock=later)


async def test_nothing_is_read_that_has_not_changed(patient: Builder, load: Load, tree: Path) -> None:
    first, outcomes, read = await build(patient, load(SPEC))
    assert (outcomes, read > 0) == ([Outcome.DONE], True)
    second, outcomes, read = await build(patient, load(SPEC))
    assert (outcomes, read) == ([Outcome.REUSED], 0)
    assert second.manifest == first.manifest


async def test_a_change_that_hides_behind_size_and_mtime_is_seen(patient: Builder, load: Load, tree: Path) -> None:
    first, *_ = await build(patient, load(SPEC))
    before = (tree / "a").stat()
    (tree / "a").write_text("ONE")
    os.utime(tree / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    second, outcomes, _ = await build(patient, load(SPEC))
    assert outcomes == [Outcome.DONE]
    assert second.manifest != first.manifest


async def test_what_changed_just_now_is_not_counted_on(builder: Builder, load: Load, tree: Path) -> None:
    """It could change once more without a sign of it (git, racy-git.txt), so it is read again."""
    await build(builder, load(SPEC))
    _, _, read = await build(builder, load(SPEC))
    assert read > 0


async def test_content_of_the_spec_and_its_attributes_count(patient: Builder, load: Load) -> None:
    text = 'from: scratch\nlayers:\n  - copy: [{{content: "{}", dest: /a, mode: "{}"}}]\n'
    await build(patient, load(text.format("x", "0644")))
    for content, mode, expected in (
        ("x", "0644", Outcome.REUSED),
        ("y", "0644", Outcome.DONE),
        ("x", "0600", Outcome.DONE),
    ):
        _, outcomes, _ = await build(patient, load(text.format(content, mode)))
        assert outcomes == [expected]


async def test_another_compression_is_another_layer(patient: Builder, load: Load, tree: Path) -> None:
    await build(patient, load(SPEC))
    for compression in ("gzip:1", "gzip:fast", "zstd", "zstd:5", "estargz", "none"):
        _, outcomes, _ = await build(patient, load(f"compression: {compression}\n{SPEC}"))
        assert outcomes == [Outcome.DONE]


async def test_a_layer_that_the_store_lost_is_made_anew(patient: Builder, load: Load, tree: Path) -> None:
    first, *_ = await build(patient, load(SPEC))
    layer = first.image.layers[0].digest
    patient.store.path_of(layer).unlink()
    second, outcomes, _ = await build(patient, load(SPEC))
    assert outcomes == [Outcome.DONE]
    assert second.manifest == first.manifest
    assert patient.store.is_here(layer)


async def test_a_layer_that_was_cut_short_in_the_store_is_made_anew(patient: Builder, load: Load, tree: Path) -> None:
    first, *_ = await build(patient, load(SPEC))
    layer = first.image.layers[0]
    os.truncate(patient.store.path_of(layer.digest), layer.size - 1)
    _, outcomes, _ = await build(patient, load(SPEC))
    assert outcomes == [Outcome.DONE]
    assert patient.store.size_of(layer.digest) == layer.size


async def test_where_nothing_has_changed_nothing_is_written_to_the_store(
    patient: Builder, load: Load, tree: Path
) -> None:
    repository = patient.store.repository(RepositoryName("web"))
    image, *_ = await build(patient, load(SPEC))
    await repository.put_manifest(image.manifest, [Tag("1")])
    before = files(patient.store.root)
    image, *_ = await build(patient, load(SPEC))
    await repository.put_manifest(image.manifest, [Tag("1")])
    assert files(patient.store.root) == before


@pytest.mark.parametrize("name", ["config", "manifest"])
async def test_a_damaged_config_or_manifest_is_made_whole(patient: Builder, load: Load, tree: Path, name: str) -> None:
    first, *_ = await build(patient, load(SPEC))
    raw = getattr(first.image, name).raw
    path = patient.store.path_of(Digest.of(raw))
    path.write_bytes(bytes(len(raw)))
    await build(patient, load(SPEC))
    assert path.read_bytes() == raw


@pytest.mark.parametrize(("ctime_ns", "expected"), [(5 * 10**9, True), (5 * 10**9 + 1, False)])
def test_a_ctime_that_a_file_system_made_up_is_not_counted_on(ctime_ns: int, *, expected: bool) -> None:
    source = FileSource(path="/a", size=1, mtime_ns=1, ctime_ns=ctime_ns, device=1, inode=1)
    entry = Entry(path="a", type=EntryType.FILE, mode=0o644, source=source)
    assert is_racy([entry], 10**12) is expected


@pytest.mark.parametrize("damage", [b"", b"{", b'{"descriptor": 1}', b"\xff" * 100])
async def test_a_damaged_record_is_none(patient: Builder, load: Load, tree: Path, damage: bytes) -> None:
    await build(patient, load(SPEC))
    for path in [*(patient.cache / "layers-2").iterdir(), *(patient.cache / "alike-1").iterdir()]:
        path.write_bytes(damage)
    _, outcomes, _ = await build(patient, load(SPEC))
    assert outcomes == [Outcome.DONE]
    _, outcomes, _ = await build(patient, load(SPEC))
    assert outcomes == [Outcome.REUSED]


async def test_without_the_cache_everything_is_made_anew(patient: Builder, load: Load, tree: Path) -> None:
    first, *_ = await build(patient, load(SPEC))
    second, outcomes, _ = await build(replace(patient, is_cached=False), load(SPEC))
    assert outcomes == [Outcome.DONE]
    assert second.manifest == first.manifest


async def test_a_cache_that_cannot_be_written_is_none(patient: Builder, load: Load, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    builder = replace(patient, cache=tmp_path / "file")
    for _ in range(2):
        _, outcomes, _ = await build(builder, load(SPEC))
        assert outcomes == [Outcome.DONE]


def test_content_that_cannot_be_told_without_reading_has_no_key() -> None:
    class Elsewhere:
        identity: str | None = None

        def read(self, offset: int, size: int) -> bytes:
            return bytes(size)

    def entry(source: BytesSource | PartSource) -> Entry:
        return Entry(path="a", type=EntryType.FILE, mode=0o644, source=source)

    assert outline_of([entry(BytesSource(b"x"))]).key is not None
    elsewhere = Elsewhere()
    assert outline_of([entry(PartSource(elsewhere, 0, 1))]).key is None
    elsewhere.identity = "sha256:0"
    keys = {outline_of([entry(PartSource(elsewhere, offset, 1))]).key for offset in (0, 0, 1)}
    assert len(keys) == 2
    assert None not in keys


def test_the_oldest_records_go_first(tmp_path: Path) -> None:
    records = LayerRecords(folder=tmp_path)
    (tmp_path / "layers-2").mkdir()
    for number in range(MOST_RECORDS):
        (tmp_path / "layers-2" / f"old{number}").touch()
        os.utime(tmp_path / "layers-2" / f"old{number}", (number, number))
    records.remember("new", RECORD)
    names = {path.name for path in (tmp_path / "layers-2").iterdir()}
    assert len(names) <= MOST_RECORDS
    assert {"new", f"old{MOST_RECORDS - 1}"} <= names
    assert "old0" not in names
    assert records.find("new") == RECORD


NAMES = st.sampled_from(["a", "b", "c/d", "c/e"])
EDITS = st.lists(
    st.tuples(st.sampled_from(["write", "same size", "delete", "chmod", "touch"]), NAMES, st.binary(max_size=8)),
    max_size=4,
)


def edit(tree: Path, what: str, name: str, content: bytes) -> None:
    path = tree / name
    path.parent.mkdir(exist_ok=True)
    if what == "write" or not path.exists():
        path.write_bytes(content)
    elif what == "same size":
        before = path.stat()
        path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif what == "delete":
        path.unlink()
    elif what == "chmod":
        path.chmod(path.stat().st_mode ^ 0o111)
    else:
        path.touch()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, min_size=1, max_size=4))
async def test_after_any_edits_the_image_is_that_of_a_cold_build(
    patient: Builder, load: Load, tree: Path, tmp_path: Path, rounds: list[list[tuple[str, str, bytes]]]
) -> None:
    for edits in rounds:
        for what, name, content in edits:
            edit(tree, what, name, content)
        # Once by what was remembered in time, once by what is read again.
        hasty, *_ = await build(replace(patient, clock=time.time_ns), load(SPEC))
        warm, *_ = await build(patient, load(SPEC))
        assert warm.manifest == hasty.manifest
        shutil.rmtree(tmp_path / "cold", ignore_errors=True)
        cold, *_ = await build(replace(patient, cache=tmp_path / "cold"), load(SPEC))
        assert warm.manifest == cold.manifest


@pytest.mark.parametrize("damage", [None, "flipped", "gone"])
async def test_a_layer_that_was_edited_is_that_of_a_cold_build_whatever_became_of_the_one_before(
    patient: Builder, load: Load, tree: Path, tmp_path: Path, damage: str | None
) -> None:
    for number in range(300):
        (tree / f"file{number}").write_bytes(bytes([number % 251]) * number * 40)
    first, *_ = await build(patient, load(SPEC))
    blob = patient.store.path_of(first.image.layers[0].digest)
    if damage == "gone":
        blob.unlink()
    elif damage == "flipped":
        blob.write_bytes(bytes(byte ^ 1 for byte in blob.read_bytes()))
    (tree / "file7").write_text("edited")
    warm, outcomes, read = await build(patient, load(SPEC))
    assert (outcomes, read > 0) == ([Outcome.DONE], True)
    cold, *_ = await build(replace(patient, cache=tmp_path / "cold"), load(SPEC))
    assert warm.manifest == cold.manifest
