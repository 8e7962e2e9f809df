"""A plan of which nothing has changed is known without making it, and is the one that would have been made."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from layerkit.build.filesystem import Filesystem, OpenTar
from layerkit.build.inputs import Inputs
from layerkit.build.pick import Donor
from layerkit.build.plan import Planner, plan_build
from layerkit.build.planned import BuildPlan, Outline
from layerkit.build.replan import Replanner
from layerkit.document.problem import DocumentError
from layerkit.layer.errors import LayerError
from layerkit.layer.source import FileSource
from layerkit.spec.model import Scratch, Spec

Load = Callable[..., Spec]

SPEC = """\
from: scratch
layers:
  - name: tree
    copy:
      - {src: tree, dest: /srv/, exclude: ['*.log', 'no*/'], mtime: source}
      - {src: 'tree/**/*.txt', dest: /texts/}
  - name: own
    copy: [./tree/a:/own/a]
"""

FETCH = f"from: scratch\nlayers: [{{fetch: [{{url: 'http://h/x', dest: /x, sha256: '{'0' * 64}'}}]}}]\n"
APT = "from: scratch\nlayers: [{apt: [tool]}]\n"
PYTHON = "from: scratch\nlayers: [{python: {requirements: reqs.txt}}]\n"


@pytest.fixture
def tree(context: Path) -> Path:
    folder = context / "tree"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "sub/b.txt", "sub/c.log"):
        (folder / name).write_text(name)
    (folder / "link").symlink_to("a")
    return folder


@pytest.fixture
def replanner(tmp_path: Path) -> Replanner:
    return Replanner(folder=tmp_path / "cache")


def words(plan: BuildPlan) -> tuple[list[tuple[str, str, Outline]], tuple[str, ...]]:
    return [(layer.name, layer.created_by, layer.outline) for layer in plan.layers], plan.warnings


def words_or_error(make: Callable[[], BuildPlan]) -> object:
    try:
        return words(make())
    except DocumentError as error:
        return str(error)


def test_a_plan_of_the_same_has_its_entries_made_when_somebody_asks(
    replanner: Replanner, load: Load, tree: Path
) -> None:
    spec = load(SPEC)
    first = replanner.plan(spec, Inputs())
    second = replanner.plan(spec, Inputs())
    assert words(second) == words(first)
    third = replanner.plan(spec, Inputs())
    assert [layer.entries for layer in second.layers] == [layer.entries for layer in first.layers]
    assert second.layers[0].provenance == first.layers[0].provenance
    # Nobody has asked the third for any.
    (tree / "a").write_text("other")
    assert words(third) == words(first)
    for layer in third.layers:
        with pytest.raises(LayerError, match=r"files of .* changed during the build: build again"):
            _ = layer.entries


def test_what_is_built_on_a_remembered_layer_finds_its_files(replanner: Replanner, load: Load, tree: Path) -> None:
    spec = load(SPEC)
    first, inputs = Inputs(), Inputs()
    replanner.plan(spec, first)
    replanner.plan(spec, inputs)
    assert inputs.base.digest == first.base.digest
    assert inputs.base.tree.lookup("srv/sub/b.txt") is not None
    source = inputs.base.source("srv/a")
    assert b"".join(source.pieces(100)) == b"a"


@pytest.mark.parametrize(("name", "target"), [(b"a\xff", b"a"), (b"link2", b"a\xff")])
@pytest.mark.parametrize("is_known", [False, True])
def test_a_name_that_no_image_can_have_is_told_the_first_time_and_later(
    replanner: Replanner, load: Load, tree: Path, name: bytes, target: bytes, is_known: bool
) -> None:
    if is_known:
        replanner.plan(load(SPEC), Inputs())
    (tree / os.fsdecode(name)).symlink_to(os.fsdecode(target))
    with pytest.raises(DocumentError, match="not UTF-8: rename it"):
        replanner.plan(load(SPEC), Inputs())


def test_several_states_are_remembered(replanner: Replanner, load: Load, tree: Path) -> None:
    one, other = load(SPEC), load(SPEC.replace("/own/a", "/own/b"))
    for spec in (one, other):
        replanner.plan(spec, Inputs())
    plans = [replanner.plan(spec, Inputs()) for spec in (one, other)]
    (tree / "a").unlink()
    for plan in plans:
        with pytest.raises(Exception, match=r"no file matches|changed during the build"):
            _ = plan.layers[0].entries


def test_without_trust_nothing_is_remembered(replanner: Replanner, load: Load, tree: Path) -> None:
    spec = load(SPEC)
    replanner.plan(spec, Inputs())
    plan = replace(replanner, is_trusted=False).plan(spec, Inputs())
    (tree / "a").unlink()
    assert plan.layers[0].entries


def test_another_version_of_the_program_plans_anew(replanner: Replanner, load: Load, tree: Path) -> None:
    spec = load(SPEC)
    replanner.plan(spec, Inputs())
    plan = replace(replanner, program="newer").plan(spec, Inputs())
    (tree / "a").unlink()
    assert plan.layers[0].entries


@pytest.mark.parametrize("damage", [b"", b"[", b"[1]", b"\xff" * 100])
def test_a_damaged_file_is_none(replanner: Replanner, load: Load, tree: Path, damage: bytes) -> None:
    spec = load(SPEC)
    first = replanner.plan(spec, Inputs())
    (path,) = (replanner.folder / "plans-1").iterdir()
    path.write_bytes(damage)
    assert words(replanner.plan(spec, Inputs())) == words(first)


class _Contents:
    identity: str | None = "sha256:1"

    def read(self, offset: int, size: int) -> bytes:
        return bytes(size)


def test_each_of_the_inputs_counts(load: Load, tree: Path) -> None:
    """A new one has to be told apart as well: else a plan is taken for another one."""
    spec = load(SPEC)
    system = Filesystem()
    system.add([], OpenTar(_Contents()))
    fetch = load(FETCH)
    others: dict[str, Any] = {
        "base": system,
        "donors": {Scratch(): Donor("other", system)},
        "fetched": {fetch.layers[0].fetches[0]: system},
        "debs": {load(APT).layers[0].apt: SimpleNamespace(identity="locked")},
        "wheels": {load(PYTHON).layers[0].python: SimpleNamespace(identity="locked")},
        "newest": 5,
        "backwards": True,
    }
    assert others.keys() == set(Inputs.__struct_fields__)
    found = {Planner(spec, Inputs()).survey()}
    found |= {Planner(spec, replace(Inputs(), **{name: value})).survey() for name, value in others.items()}
    assert None not in found
    assert len(found) == len(others) + 1


def test_inputs_that_cannot_be_told_apart_make_no_fingerprint(load: Load, tree: Path) -> None:
    contents = _Contents()
    contents.identity = None
    system = Filesystem()
    system.add([], OpenTar(contents))
    assert Planner(load(SPEC), Inputs(base=system)).survey() is None


NAMES = st.sampled_from(["a", "b.txt", "x.log", "sub/b.txt", "sub/c.log", "no/d", "no/e.txt", "link", "sub/link"])
KINDS = ["write", "delete", "chmod", "touch", "link", "folder", "ignore"]
EDITS = st.lists(
    st.tuples(st.sampled_from(KINDS), NAMES, st.integers(0, 2)),
    max_size=3,
)


def edit(tree: Path, what: str, name: str, number: int) -> None:
    path = tree / name
    path.parent.mkdir(exist_ok=True)
    if what == "ignore":
        (tree.parent / ".dockerignore").write_text(f"tree/{name}\n" if number else "")
        return
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    if what == "delete":
        path.unlink(missing_ok=True)
    elif what == "link":
        path.unlink(missing_ok=True)
        path.symlink_to("abc"[number])
    elif what == "folder":
        path.unlink(missing_ok=True)
        path.mkdir()
    elif path.is_symlink() or what == "write" or not path.exists():
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(number))
    elif what == "chmod":
        path.chmod(path.stat().st_mode ^ 0o111)
    else:
        os.utime(path, (number, number))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, min_size=1, max_size=5))
def test_after_any_edits_the_plan_is_that_which_is_made_anew(
    replanner: Replanner, load: Load, tree: Path, rounds: list[list[tuple[str, str, int]]]
) -> None:
    spec = load(SPEC)
    for edits in rounds:
        for what, name, number in edits:
            edit(tree, what, name, number)
        expected = words_or_error(lambda: plan_build(spec, Inputs()))
        for _ in range(2):
            assert words_or_error(lambda: replanner.plan(spec, Inputs())) == expected


def test_a_file_is_another_one_by_each_of_its_numbers() -> None:
    source = FileSource(path="/a", size=1, mtime_ns=2, ctime_ns=3, device=4, inode=5)
    for field in ("size", "mtime_ns", "ctime_ns", "device", "inode"):
        changed: dict[str, Any] = {field: 9}
        assert msgspec.structs.replace(source, **changed).identity != source.identity
    assert msgspec.structs.replace(source, path="/b").identity == source.identity
