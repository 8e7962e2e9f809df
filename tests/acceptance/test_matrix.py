"""LAYERS, section 3: what we write is read as it was planned by skopeo, umoci, podman, buildah and docker."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from layerkit.layer.compress import Compression
from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.layer.estargz import LANDMARK, TOC
from layerkit.layer.source import FileSource
from layerkit.layer.tar import encode_header
from tests.acceptance.fixtures import Fixture, make_fixtures, sparse_fixture
from tests.acceptance.image import TAG, write_image, write_tar_image
from tests.acceptance.readers import (
    DOCKER_READERS,
    NAME,
    READERS,
    build_layout,
    decompress_by_skopeo,
    mount_from_docker,
    write_archive,
)
from tests.acceptance.rules import RULES, find_rule
from tests.acceptance.tree import Difference, Tree, compare, plan_tree, read_folder
from tests.engines import OFFLINE, Client, run_docker, run_podman_that_pulls_parts
from tests.programs import RegistryProcess, run_program, run_registry

# The image is written once and read once by each: `--dist loadfile` keeps this file in one process.
# The first test of each reader waits for it to read sixty layers.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

FIXTURES: Final = make_fixtures()
FOLDERS: Final = [*(fixture.name for fixture in FIXTURES), "sparse"]
ALL_READERS: Final = [*READERS, *DOCKER_READERS]

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
def registry(scratch: Path) -> Iterator[RegistryProcess]:
    with run_registry(scratch / "registry") as process:
        yield process


@pytest.fixture(scope="module")
def docker() -> Iterator[Client]:
    with run_docker(*OFFLINE) as client:
        yield client


def push(layout: Path, name: str) -> None:
    run_program(
        *("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false"),
        *(f"oci:{layout}:{TAG}", f"docker://{name}"),
    )


@pytest.fixture(scope="module")
def read(layout: Path, scratch: Path, registry: RegistryProcess, docker: Client) -> Callable[[str], Tree]:
    """The tree that a reader makes of the image."""

    def scratch_of(reader: str) -> Path:
        folder = scratch / reader
        folder.mkdir()
        return folder

    @cache
    def read_tree(reader: str) -> Tree:
        if reader == "docker load":
            # Without the layers that were pulled: what docker has it does not load again.
            docker("image", "prune", "--all", "--force")
            docker("load", "-q", "-i", write_archive(layout, scratch_of(reader), "docker-archive"))
            return DOCKER_READERS[reader](docker, f"localhost/{NAME}", scratch / reader)
        if reader in DOCKER_READERS:
            name = f"{registry.address}/matrix:{TAG}"
            push(layout, name)
            docker("pull", "-q", name)
            return DOCKER_READERS[reader](docker, name, scratch_of(reader))
        return READERS[reader](layout, scratch_of(reader))

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


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_root_file_system_that_gnu_tar_packs_is_imported_as_it_is(
    planned: Tree, read: Callable[[str], Tree], scratch: Path, tmp_path: Path, form: str
) -> None:
    """What umoci has unpacked, as `from: tar:`, and unpacked by umoci again."""
    assert read("umoci")
    dialect = ["--format=gnu"] if form == "gnu" else ["--format=pax", "--xattrs", "--xattrs-include=*"]
    rootfs = scratch / "umoci/bundle/rootfs"
    run_program("tar", *dialect, "--numeric-owner", "-C", rootfs, "-cf", tmp_path / "root.tar", ".")
    layout = build_layout(f"tar:{tmp_path}/root.tar", tmp_path)
    (tmp_path / "again").mkdir()
    found = [
        difference
        for difference in compare(planned, READERS["umoci"](layout, tmp_path / "again"))
        # The GNU dialect has none.
        if not (form == "gnu" and difference.field == "xattrs")
        # An entry of the root, which only a mode or an owner of its own would need.
        and (difference.path, difference.field) != (ROOT, "mtime")
    ]
    assert [str(difference) for difference in found] == []


async def test_go_reads_the_size_of_a_file_of_8_gib(scratch: Path) -> None:
    """LAYERS, item 2, by the header alone: a reader that took another size from it would miss a header, not content."""
    source = FileSource(path="/nowhere", size=8 * 2**30, mtime_ns=0, ctime_ns=0, device=0, inode=0)
    header = encode_header(Entry(path="large", type=EntryType.FILE, mode=0o644, source=source))
    layout = await write_tar_image(scratch / "8gib", header + bytes(2**20))
    refusal = Client(("umoci",)).refusal("unpack", "--image", f"{layout.root}:{TAG}", scratch / "8gib-bundle")
    assert "unexpected EOF" in refusal
    assert "header" not in refusal


FEW: Final = ("files", "empty", "large", "hardlinks", "capabilities", "xattrs", "deleted-folder", "opaque", "nothing")


@pytest.fixture(scope="module")
def few() -> tuple[Fixture, ...]:
    return tuple(fixture for fixture in FIXTURES if fixture.name in FEW)


@pytest.fixture(scope="module")
def zstd(few: tuple[Fixture, ...], scratch: Path) -> Path:
    return asyncio.run(write_image(scratch / "zstd", few, stored=Compression.ZSTD)).root


@pytest.fixture(scope="module")
def estargz(few: tuple[Fixture, ...], scratch: Path) -> Path:
    return asyncio.run(write_image(scratch / "estargz", few, stored=Compression.ESTARGZ)).root


class TestEstargz:
    """LAYERS, items 29 and 33: several members, and two files that are no secret, are all that others see of it."""

    @pytest.mark.parametrize("reader", [*READERS, "docker"])
    def test_every_reader_reads_it_as_any_other(
        self,
        few: tuple[Fixture, ...],
        estargz: Path,
        reader: str,
        registry: RegistryProcess,
        docker: Client,
        tmp_path: Path,
    ) -> None:
        if reader == "docker":
            name = f"{registry.address}/estargz:{TAG}"
            push(estargz, name)
            docker("pull", "-q", name)
            found = mount_from_docker(docker, name, tmp_path)
        else:
            found = READERS[reader](estargz, tmp_path)
        added = {path: found.pop(path) for path in (LANDMARK, TOC)}
        assert (added[LANDMARK].size, added[LANDMARK].mode, added[TOC].mode) == (1, 0o444, 0o444)
        planned = plan_tree(layer for fixture in few for layer in fixture.layers)
        differences = compare(planned, found)
        assert [str(difference) for difference in differences if find_rule(reader, difference) is None] == []

    def test_podman_fetches_its_files_one_by_one(
        self, few: tuple[Fixture, ...], scratch: Path, registry: RegistryProcess
    ) -> None:
        """By the table of contents alone, and from our registry: a reader that is not ours."""
        # Of several layers podman 4.3 loses those that it has fetched so.
        one = Fixture(name="one", layers=(tuple(entry for fixture in few for entry in fixture.layers[0]),))
        layout = asyncio.run(write_image(scratch / "parts", [one], stored=Compression.ESTARGZ)).root
        name = f"{registry.address}/parts:{TAG}"
        push(layout, name)
        with run_podman_that_pulls_parts() as podman:
            podman("pull", "-q", "--tls-verify=false", name)
            found = read_folder(Path(podman("image", "mount", name).strip()))
            podman("image", "umount", "--all")
        # Whoever reads the tar has both; the landmark is nothing to a reader of the table.
        assert not {LANDMARK, TOC} & found.keys()
        differences = [
            str(difference)
            for difference in compare(plan_tree(one.layers), found)
            # podman 4.3 takes neither times nor owners from the table, and the root's mode is its own.
            if difference.field not in {"mtime", "uid", "gid"} and difference.path != ROOT
        ]
        assert differences == []


class TestZstd:
    """LAYERS, items 31 and 32: podman, buildah and skopeo take layers by zstd; who cannot read them says so."""

    @pytest.mark.parametrize("reader", ["skopeo", "podman", "buildah"])
    def test_they_are_read_as_any_other(
        self, few: tuple[Fixture, ...], zstd: Path, reader: str, tmp_path: Path
    ) -> None:
        planned = plan_tree(layer for fixture in few for layer in fixture.layers)
        read = decompress_by_skopeo if reader == "skopeo" else READERS[reader]
        found = compare(planned, read(zstd, tmp_path))
        assert [str(difference) for difference in found if find_rule(reader, difference) is None] == []

    def test_umoci_refuses_them_by_their_type(self, zstd: Path, tmp_path: Path) -> None:
        refusal = Client(("umoci",)).refusal("unpack", "--image", f"{zstd}:{TAG}", tmp_path / "bundle")
        assert "application/vnd.oci.image.layer.v1.tar+zstd" in refusal

    def test_docker_refuses_them_until_its_version_23(
        self, few: tuple[Fixture, ...], zstd: Path, registry: RegistryProcess, docker: Client, tmp_path: Path
    ) -> None:
        name = f"{registry.address}/zstd:{TAG}"
        push(zstd, name)
        version = docker("version", "--format", "{{.Server.Version}}")
        if int(version.partition(".")[0]) < 23:
            assert "failed to register layer" in docker.refusal("pull", "-q", name)
            assert docker("images", "-q", name) == ""
        else:
            docker("pull", "-q", name)
            planned = plan_tree(layer for fixture in few for layer in fixture.layers)
            found = compare(planned, mount_from_docker(docker, name, tmp_path))
            assert [str(difference) for difference in found if find_rule("docker", difference) is None] == []
