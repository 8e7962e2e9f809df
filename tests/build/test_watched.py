"""What `--watch` looks at: all that a build reads, and nothing that it writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.build.watched import Watched, watched_by
from layerkit.spec.model import ImageSpec, Spec

Load = Callable[..., Spec]


def watch(spec: Spec, *outputs: Path) -> Watched:
    image = ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))
    return watched_by([image], spec.context / "layerkit.yaml", [spec.context / "layerkit.lock"], outputs)


@pytest.fixture(autouse=True)
def _files(context: Path) -> None:
    for name in ("src/a/b", "src/node_modules/x", "src/.git/HEAD", "other/c", "static/css/d.css"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)


COPY = "from: scratch\nlayers:\n- copy: [./src:/srv/, 'static/**/*.css:/static/']\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("layerkit.yaml", True),
        ("layerkit.lock", True),
        (".dockerignore", True),
        ("src", True),
        ("src/a/b", True),
        ("src/new/file", True),
        ("src/.git/index", False),
        ("static/css/new.css", True),
        ("other/c", False),
        ("srcs", False),
        (".layerkit.yaml.swp", False),
    ],
)
def test_what_counts(load: Load, context: Path, path: str, *, expected: bool) -> None:
    assert watch(load(COPY)).counts(str(context / path)) is expected


def test_folders_are_those_of_sources_and_the_one_of_the_spec(load: Load, context: Path) -> None:
    names = {"", "src", "src/a", "src/node_modules", "static", "static/css"}
    assert watch(load(COPY)).folders() == {str(context / name) for name in names}


def test_what_dockerignore_leaves_out_is_not_looked_at(load: Load, context: Path) -> None:
    (context / ".dockerignore").write_text("**/node_modules\nsrc/a/*\n!src/a/b\n")
    watched = watch(load(COPY))
    assert str(context / "src/node_modules") not in watched.folders()
    assert str(context / "src/a") in watched.folders()
    assert not watched.counts(str(context / "src/node_modules/x"))
    assert watched.counts(str(context / "src/a/b"))
    assert not watched.counts(str(context / "src/a/c"))


def test_a_dockerignore_that_is_wrong_leaves_nothing_out(load: Load, context: Path) -> None:
    (context / ".dockerignore").write_text("[\n")
    assert watch(load(COPY)).counts(str(context / "src/a/b"))


def test_what_builds_write_into_a_source_counts_for_nothing(load: Load, context: Path) -> None:
    """Else the build would be its own reason to build again."""
    watched = watch(load("from: scratch\nlayers: [{copy: [./:/srv/]}]\n"), context / "out", context / "image.tar")
    for name in ("out", "out/blobs/sha256/x", "image.tar", ".image.tar.0123"):
        assert not watched.counts(str(context / name))
    assert watched.counts(str(context / "outer"))
    assert str(context / "src/a") in watched.folders()
    (context / "out/blobs").mkdir(parents=True)
    assert not {str(context / "out"), str(context / "out/blobs")} & watched.folders()


def test_a_source_that_is_not_there_yet_is_waited_for_where_it_will_be(load: Load, context: Path) -> None:
    watched = watch(load("from: scratch\nlayers: [{copy: [./new/deep/file:/x]}]\n"))
    assert watched.folders() == {str(context)}
    assert watched.counts(str(context / "new"))
    assert watched.counts(str(context / "new/deep/file"))


def test_a_link_is_followed_to_what_it_leads_to(load: Load, context: Path) -> None:
    (context / "link").symlink_to("src")
    watched = watch(load("from: scratch\nlayers: [{copy: [./link:/srv/]}]\n"))
    assert watched.counts(str(context / "src/a/b"))
    assert str(context / "src/a") in watched.folders()


@pytest.mark.parametrize("base", ["oci:base", "oci-archive:base", "tar:base"])
def test_bases_of_this_machine_are_read_too(load: Load, context: Path, base: str) -> None:
    assert watch(load(f"from: {base}\n")).counts(str(context / "base"))


def test_requirements_and_what_they_include_are_read(load: Load, context: Path) -> None:
    (context / "requirements.txt").write_text("-r more.txt\nattrs\n")
    (context / "more.txt").write_text("attrs\n")
    watched = watch(load("from: scratch\nlayers: [{python: {requirements: requirements.txt, version: '3.13'}}]\n"))
    assert watched.counts(str(context / "requirements.txt"))
    assert watched.counts(str(context / "more.txt"))
