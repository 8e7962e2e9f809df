"""LAYERS, section 3: what we write is read as it was planned by skopeo, umoci, podman, buildah and docker."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from layerkit.layer.entry import ROOT
from tests.acceptance.fixtures import Fixture, make_fixtures, sparse_fixture
from tests.acceptance.image import TAG, write_image
from tests.acceptance.readers import READERS, read_by_docker
from tests.acceptance.rules import RULES, find_rule
from tests.acceptance.tree import Difference, Tree, compare, plan_tree
from tests.programs import run_program, run_registry

# The image is written once and read once by each: `--dist loadfile` keeps this file in one process.
# The first test of each reader waits for it to read sixty layers.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

FIXTURES: Final = make_fixtures()
FOLDERS: Final = [*(fixture.name for fixture in FIXTURES), "sparse"]
ALL_READERS: Final = [*READERS, "docker", "docker export"]

Differences = dict[str, list[Difference]]
"""By the fixture whose folder they are in."""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def fixtures(scratch: Path) -> tuple[Fixture, ...]:
    return (*FIXTURES, sparse_fixture(scratch))


@pytest.fixture(scope="module")
def planned(fixtures: tuple[Fixture, ...]) -> Tree:
    return plan_tree(layer for fixture in fixtures for layer in fixture.layers)


@pytest.fixture(scope="module")
def layout(fixtures: tuple[Fixture, ...], scratch: Path) -> Path:
    return asyncio.run(write_image(scratch / "layout", fixtures)).root


@pytest.fixture(scope="module")
def read(layout: Path, scratch: Path) -> Callable[[str], Tree]:
    """The tree that a reader makes of the image."""

    def scratch_of(reader: str) -> Path:
        folder = scratch / reader
        folder.mkdir()
        return folder

    @cache
    def read_docker() -> dict[str, Tree]:
        with run_registry(scratch / "registry") as registry:
            name = f"{registry.address}/matrix:{TAG}"
            run_program(
                *("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false"),
                *(f"oci:{layout}:{TAG}", f"docker://{name}"),
            )
            return read_by_docker(name, scratch_of("docker"))

    @cache
    def read_tree(reader: str) -> Tree:
        return READERS[reader](layout, scratch_of(reader)) if reader in READERS else read_docker()[reader]

    return read_tree


@pytest.fixture(scope="module")
def differences(planned: Tree, read: Callable[[str], Tree]) -> Callable[[str], Differences]:
    """What a reader has made otherwise than it was planned, by fixture."""

    @cache
    def find(reader: str) -> Differences:
        found: Differences = defaultdict(list)
        for difference in compare(planned, read(reader)):
            folder = difference.path.partition("/")[0]
            found["root" if folder == ROOT else folder].append(difference)
        return found

    return find


@pytest.mark.parametrize("reader", ALL_READERS)
@pytest.mark.parametrize("name", FOLDERS)
def test_every_reader_makes_of_a_fixture_what_was_planned(
    differences: Callable[[str], Differences], name: str, reader: str
) -> None:
    assert [str(found) for found in differences(reader)[name] if find_rule(reader, found) is None] == []


@pytest.mark.parametrize("reader", ALL_READERS)
def test_no_reader_has_anything_beside_the_fixtures(differences: Callable[[str], Differences], reader: str) -> None:
    others = [found for folder, list_ in differences(reader).items() if folder not in FOLDERS for found in list_]
    assert [str(found) for found in others if find_rule(reader, found) is None] == []


def test_every_rule_is_needed_by_every_reader_that_it_names(differences: Callable[[str], Differences]) -> None:
    used = {
        (rule.name, reader)
        for reader in ALL_READERS
        for list_ in differences(reader).values()
        for found in list_
        if (rule := find_rule(reader, found)) is not None
    }
    assert used == {(rule.name, reader) for rule in RULES for reader in rule.readers}


def test_the_plan_holds_what_the_fixtures_are_about(planned: Tree) -> None:
    """The oracle itself: were it empty, all would agree with it."""
    assert len(planned) > 2000
    assert planned["hardlinks/chain"].names == ("hardlinks/a/first", "hardlinks/b", "hardlinks/c", "hardlinks/chain")
    assert planned["sticky"].mode == 0o1777
    assert planned["capabilities/serve"].xattrs[0][0] == "security.capability"
    assert planned["ids/4294967294"].uid == 2**32 - 2
    gone = {"deleted-file/a", "deleted-folder/a/b/c", "deleted-links/one", "opaque/d/old", "made-again/a/old"}
    assert not gone & planned.keys()
    assert planned.keys() >= {"deleted-file/b", "deleted-links/two", "opaque/d/e/new", "made-again/a/new", "twice/a"}
