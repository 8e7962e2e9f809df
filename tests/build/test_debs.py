"""Layers of Debian packages: chosen from signed lists, brought by their digests, installed by what they say."""

import io
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from layerkit.build.archives import SNAPSHOT
from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.build.pins import NotLocked
from layerkit.content.store import Store
from layerkit.document.problem import DocumentError
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.packages.lock import Lock, format_lock, parse_lock
from layerkit.spec.load import load_file
from layerkit.spec.model import ImageSpec
from tests.build.conftest import Load
from tests.debs import Archive, keyring, make_deb

Build = Callable[..., Awaitable[BuiltImage]]

BASE = {"usr/lib/os-release": b"ID=debian\nVERSION_CODENAME=bookworm\n"}
SCRIPT = "#!/bin/sh\nset -e\nmake-it-work --now\n"


@pytest.fixture
def archive() -> Archive:
    """`app` needs `libapp`, and `base` says which suite it is of."""
    archive = Archive()
    archive.add("base", BASE)
    checksums = f"{'1' * 32}  usr/lib/libapp.so.1\n"
    archive.add("libapp", {"usr/lib/libapp.so.1": b"lib"}, control="Multi-Arch: same\n", md5sums=checksums)
    archive.add("libapp", {"usr/lib/libapp.so.1": b"lib for arm"}, architecture="arm64")
    archive.add(
        "app", {"usr/bin/app": b"#!app", "usr/share/doc/app/copyright": b"c"}, architecture="all", depends="libapp"
    )
    archive.add("odd", {"usr/bin/odd": b"#!odd"}, postinst=SCRIPT)
    archive.publish()
    return archive


@pytest.fixture
def machine(tmp_path: Path, archive: Archive) -> Path:
    """The folder of a machine's apt, which has packages from the archive."""
    folder = tmp_path / "apt"
    folder.mkdir()
    (folder / "keys.gpg").write_bytes(keyring("archive"))
    (folder / "sources.list").write_text(f"deb [signed-by={folder}/keys.gpg] {archive.url} bookworm main\n")
    return folder


@pytest.fixture
def builder(builder: Builder, archive: Archive, machine: Path) -> Builder:
    return replace(builder, open_url=archive.open_url, apt=machine)


def index_of(image: BuiltImage, store: Store, number: int = -1) -> LayerIndex:
    layer = image.image.layers[number]
    return index_layer(io.BytesIO(store.path_of(layer.digest).read_bytes()), layer.media_type)


def paths_of(image: BuiltImage, store: Store, number: int = -1) -> set[str]:
    return {entry.path for entry in index_of(image, store, number).entries}


SCRATCH = "from: scratch\nlayers:\n  - apt: {packages: [app], suite: bookworm}\n"


async def test_packages_come_with_what_they_need(build: Build, store: Store) -> None:
    image = await build(SCRATCH)
    assert {"usr/bin/app", "usr/lib/libapp.so.1", "bin", "var/lib/dpkg/status.d/app"} <= paths_of(image, store)
    assert image.image.config.history[-1].created_by == "layerkit: layer-1: apt app"


async def test_a_plan_says_which_package_a_path_is_from(build: Build) -> None:
    (layer,) = (await build(SCRATCH)).plan.layers
    assert layer.provenance["usr/lib/libapp.so.1"].source == "apt: libapp 1"
    assert layer.provenance["var/lib/dpkg/status.d/app"].source == "apt: made by installing packages"
    assert layer.provenance["usr/bin/app"].position.line == 3


async def test_other_platforms_have_packages_of_their_own(build: Build, store: Store) -> None:
    arm = index_of(await build(SCRATCH, platform="linux/arm64"), store)
    assert {entry.path: entry.size for entry in arm.entries}["usr/lib/libapp.so.1"] == len(b"lib for arm")


async def test_the_suite_is_that_of_the_base_and_what_it_has_does_not_come_again(build: Build, store: Store) -> None:
    image = await build(
        "from: scratch\nlayers:\n  - apt: {packages: [base, libapp], suite: bookworm}\n  - apt: [app]\n"
    )
    assert "usr/bin/app" in paths_of(image, store)
    assert "usr/lib/libapp.so.1" not in paths_of(image, store)


async def test_a_base_of_the_same_file_says_what_it_has(builder: Builder, context: Path, store: Store) -> None:
    path = context / "layerkit.yaml"
    path.write_text(
        "images:\n  low:\n    from: scratch\n    layers: [{apt: {packages: [base, libapp], suite: bookworm}}]\n"
        "  high:\n    from: low\n    layers: [{apt: [app]}]\n"
    )
    file = load_file(path, default_platform=parse_platform("linux/amd64"))
    _, high = await builder.build(file.select(["high"]))
    assert {"usr/bin/app"} <= paths_of(high.images[0], store)
    assert "usr/lib/libapp.so.1" not in paths_of(high.images[0], store)


async def test_a_base_is_renewed_as_far_as_a_package_needs_it(
    builder: Builder, context: Path, store: Store, archive: Archive
) -> None:
    path = context / "layerkit.yaml"
    path.write_text("from: scratch\nlayers: [{apt: {packages: [base, libapp], suite: bookworm}}]\ntags: [low:1]\n")
    platform = parse_platform("linux/amd64")
    (low,) = await builder.build(load_file(path, default_platform=platform).select())
    await store.repository(RepositoryName("docker.io/library/low")).put_manifest(low.manifest, [Tag("1")])
    archive.add("libapp", {"usr/lib/libapp.so.2": b"newer"}, version="2")
    archive.add("newer", {"usr/bin/newer": b"#!"}, depends="libapp (>= 2)")
    archive.publish()
    path.write_text("from: store:low:1\nlayers: [{apt: [newer], remove: [/usr/lib/os-release]}]\n")
    (high,) = await builder.build(load_file(path, default_platform=platform).select())
    found = paths_of(high.images[0], store)
    assert {"usr/lib/libapp.so.2", "usr/lib/.wh.libapp.so.1", "usr/bin/newer", "usr/lib/.wh.os-release"} <= found
    again = (await builder.build(load_file(path, default_platform=platform).select()))[0]
    assert again.manifest.digest == high.manifest.digest


async def test_a_snapshot_is_a_dated_archive_in_the_place_of_the_mirrors(
    builder: Builder, context: Path, store: Store, archive: Archive
) -> None:
    stamp = "20201101T000000Z"
    context.joinpath("keys.gpg").write_bytes(keyring("archive"))
    dated = Archive(url=f"{SNAPSHOT}/debian/{stamp}", files=archive.files)
    dated.add("app", {"usr/bin/old": b"#!old"}, version="0")
    # What a release said of its own end was true of its day.
    dated.publish(fields="Date: Sun, 01 Nov 2020 00:00:00 UTC\nValid-Until: Sun, 08 Nov 2020 00:00:00 UTC\n")
    for name, suite in (("debian", "bookworm-updates"), ("debian-security", "bookworm-security")):
        more = Archive(url=f"{SNAPSHOT}/{name}/{stamp}", suite=suite, files=archive.files)
        more.add("other")
        more.publish()
    path = context / "layerkit.yaml"
    path.write_text(
        f"from: scratch\nlayers:\n  - apt: {{packages: [app], suite: bookworm, snapshot: {stamp}, keyring: keys.gpg}}\n"
    )
    images = load_file(path, default_platform=parse_platform("linux/amd64")).select()
    (built,) = await builder.build(images)
    assert "usr/bin/old" in paths_of(built.images[0], store)
    assert all(url.startswith(f"{SNAPSHOT}/") for url in archive.asked)
    lock = await builder.resolve(images)
    (locked,) = lock.apt.values()
    assert (locked.snapshot, locked.packages[0].version) == (stamp, "0")
    archive.asked.clear()
    elsewhere = replace(builder, cache=context.parent / "another", lock=lock, is_locked=True)
    (again,) = await elsewhere.build(images)
    assert again.manifest.digest == built.manifest.digest
    assert archive.asked == [f"{SNAPSHOT}/debian/{stamp}/{locked.packages[0].path}"]


async def test_copies_of_the_same_layer_stand_upon_the_packages(build: Build, store: Store, context: Path) -> None:
    """ "In a layer packages come first, so that its copies can replace what they bring." """
    context.joinpath("mine").write_text("mine")
    image = await build(f"{SCRATCH}    copy: [mine:/bin/app, mine:/lib/own]\n    symlink: {{/usr/bin/link: app}}\n")
    found = {entry.path: entry for entry in index_of(image, store).entries}
    assert (found["usr/bin/app"].size, "usr/lib/own" in found, "lib/own" in found) == (4, True, False)
    assert image.plan.warnings == ()


async def test_what_is_excluded_is_left_out(build: Build, store: Store) -> None:
    text = SCRATCH.replace("suite:", 'exclude: ["/usr/share/doc/", "*.no"], suite:')
    image = await build(text)
    assert not [path for path in paths_of(image, store) if path.startswith("usr/share/doc/")]
    (warning,) = image.plan.warnings
    assert warning.endswith("layerkit.yaml:3:10: `exclude` *.no matches nothing of the packages")


async def test_a_build_of_nothing_new_opens_no_package(build: Build, builder: Builder, archive: Archive) -> None:
    first = await build(SCRATCH)
    archive.asked.clear()
    for path in builder.cache.glob("fetch/sha256-*"):
        if path.read_bytes().startswith(b"!<arch>"):
            # It is still of its size, and would be refused.
            path.write_bytes(b"x" * path.stat().st_size)
    again = await build(SCRATCH)
    assert again.manifest.digest == first.manifest.digest
    assert [url.rpartition("/")[2] for url in archive.asked] == ["InRelease"]


async def test_without_the_cache_the_layer_is_the_same(
    build: Build, builder: Builder, archive: Archive, load: Load
) -> None:
    first = await build(SCRATCH)
    spec = load(SCRATCH)
    wary = replace(builder, is_cached=False)
    (again,) = await wary.build([ImageSpec(name=spec.name, tags=(), specs=(spec,))])
    assert again.manifest.digest == first.manifest.digest


async def test_a_layer_that_is_gone_is_made_of_what_is_remembered(build: Build, store: Store) -> None:
    first = await build(SCRATCH)
    store.path_of(first.image.layers[0].digest).unlink()
    again = await build(SCRATCH)
    assert again.manifest.digest == first.manifest.digest
    assert "usr/bin/app" in paths_of(again, store)


async def test_a_package_that_was_damaged_in_the_cache_is_told_and_brought_anew(
    build: Build, builder: Builder, store: Store
) -> None:
    first = await build(SCRATCH)
    store.path_of(first.image.layers[0].digest).unlink()
    for path in builder.cache.glob("fetch/sha256-*"):
        if path.read_bytes().startswith(b"!<arch>"):
            path.write_bytes(b"x" * path.stat().st_size)
    messages = []
    for _ in range(2):
        with pytest.raises(Exception, match="was damaged in the cache") as refused:
            await build(SCRATCH)
        messages.append(str(refused.value))
    assert any("package app 1" in message for message in messages)
    assert (await build(SCRATCH)).manifest.digest == first.manifest.digest


async def test_hundreds_of_packages_need_few_open_files(build: Build, archive: Archive) -> None:
    names = [f"part{number}" for number in range(60)]
    for name in names:
        archive.add(name, {f"usr/share/{name}": b"x"})
    archive.publish()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 40, hard))
    try:
        image = await build(SCRATCH.replace("[app]", f"[{', '.join(names)}]"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert image.plan.layers[0].files > 60


class TestStatements:
    TEXT = SCRATCH.replace("[app]", "[odd]")

    async def test_one_that_is_not_understood_is_told(self, build: Build) -> None:
        (warning,) = (await build(self.TEXT)).plan.warnings
        assert warning.endswith(
            "layerkit.yaml:3:10: package odd: its script has a statement that is not understood and not done: "
            "make-it-work --now"
        )
        assert (await build(self.TEXT)).plan.warnings == (warning,)

    async def test_a_strict_build_stops_at_it(self, builder: Builder, load: Load) -> None:
        spec = load(self.TEXT)
        strict = replace(builder, is_strict=True)
        with pytest.raises(DocumentError, match="make-it-work --now"):
            await strict.build([ImageSpec(name=spec.name, tags=(), specs=(spec,))])


class TestRefusals:
    async def refuse(self, build: Build, text: str = SCRATCH, **options: Any) -> str:
        with pytest.raises(DocumentError) as refused:
            await build(text, **options)
        return str(refused.value)

    async def test_a_release_that_is_signed_by_somebody_else(self, build: Build, archive: Archive) -> None:
        archive.publish("mallory")
        assert "bookworm/InRelease is not signed by a key of its keyring" in await self.refuse(build)

    async def test_a_list_that_is_not_the_one_that_was_signed(self, build: Build, archive: Archive) -> None:
        for url in archive.files:
            if "/by-hash/" in url:
                archive.files[url] += b"x"
        message = await self.refuse(build)
        assert "main/binary-amd64/Packages.xz is not the list that is signed" in message

    async def test_a_package_that_is_not_the_one_of_the_list(self, build: Build, archive: Archive) -> None:
        archive.files[f"{archive.url}/pool/main/libapp_1_amd64.deb"] += b"x"
        assert "package libapp 1 is not what its list or the lock says" in await self.refuse(build)

    async def test_a_package_that_is_gone(self, build: Build, archive: Archive) -> None:
        del archive.files[f"{archive.url}/pool/main/libapp_1_amd64.deb"]
        message = await self.refuse(build)
        assert "package libapp 1 cannot be brought" in message
        assert "`layerkit lock --upgrade`" in message

    async def test_a_package_that_no_list_has(self, build: Build) -> None:
        message = await self.refuse(build, SCRATCH.replace("[app]", "[ap]"))
        assert "layerkit.yaml:3:10: no package ap in the lists for amd64 (did you mean app?)" in message

    async def test_a_base_without_a_suite(self, build: Build) -> None:
        message = await self.refuse(build, "from: scratch\nlayers: [{apt: [app]}]")
        assert "the base does not say which suite it is of: name the `suite:`" in message

    async def test_a_suite_that_the_machine_has_not(self, build: Build) -> None:
        message = await self.refuse(build, SCRATCH.replace("bookworm", "trixie"))
        assert "this machine's apt has no source for the suite trixie (it has bookworm)" in message

    async def test_a_source_of_the_machine_that_is_no_web_server(self, build: Build, machine: Path) -> None:
        machine.joinpath("sources.list").write_text("deb file:/srv/debian bookworm main\n")
        message = await self.refuse(build)
        assert "this machine's apt has bookworm from file:/srv/debian, which is not read here" in message

    async def test_a_package_whose_path_leads_elsewhere(self, build: Build, archive: Archive) -> None:
        archive.add("evil", path="../../evil.deb")
        archive.publish()
        message = await self.refuse(build, SCRATCH.replace("[app]", "[evil]"))
        assert "package evil stands at '../../evil.deb', which no archive would say" in message

    async def test_a_platform_without_packages(self, build: Build) -> None:
        assert "has no packages for riscv64" in await self.refuse(build, platform="linux/riscv64")
        assert "Debian has no packages for linux/wasm" in await self.refuse(build, platform="linux/wasm")

    async def test_a_component_that_is_not_there(self, build: Build) -> None:
        message = await self.refuse(build, SCRATCH.replace("suite:", "components: [contrib], suite:"))
        assert "has no component contrib (it has main)" in message

    async def test_a_keyring_that_is_not_there(self, build: Build) -> None:
        message = await self.refuse(build, SCRATCH.replace("suite:", "keyring: keys/none.gpg, suite:"))
        assert "keys/none.gpg cannot be read: No such file or directory" in message

    async def test_a_pattern_that_is_none(self, build: Build) -> None:
        message = await self.refuse(build, SCRATCH.replace("suite:", "exclude: ['a\\'], suite:"))
        assert "is no pattern" in message

    async def test_a_mirror_that_does_not_answer(self, build: Build, archive: Archive) -> None:
        archive.files.clear()
        with pytest.raises(OCIError, match="InRelease answers with HTTP status 404"):
            await build(SCRATCH)


class TestLock:
    async def lock(self, builder: Builder, load: Load, text: str = SCRATCH) -> Lock:
        spec = load(text)
        return await builder.resolve([ImageSpec(name=spec.name, tags=(), specs=(spec,))])

    async def build(self, builder: Builder, load: Load, lock: Lock, text: str = SCRATCH) -> BuiltImage:
        spec = load(text)
        locked = replace(builder, lock=lock, is_locked=True)
        (result,) = await locked.build([ImageSpec(name=spec.name, tags=(), specs=(spec,))])
        return result.images[0]

    async def test_it_has_the_packages_and_no_mirror(self, builder: Builder, load: Load, archive: Archive) -> None:
        lock = await self.lock(builder, load)
        (found,) = lock.apt.values()
        assert [(deb.name, deb.version, deb.reason) for deb in found.packages] == [
            ("app", "1", ""),
            ("libapp", "1", "app"),
        ]
        assert found.suites == ("bookworm",)
        assert parse_lock(format_lock(lock), "layerkit.lock") == lock
        assert "deb.example" not in format_lock(lock)
        assert not [url for url in archive.asked if url.endswith(".deb")]

    async def test_what_is_locked_is_built_whatever_lists_say_now(
        self, build: Build, builder: Builder, load: Load, archive: Archive
    ) -> None:
        lock = await self.lock(builder, load)
        first = await self.build(builder, load, lock)
        archive.add("app", {"usr/bin/app": b"#!newer"}, version="2", architecture="all")
        archive.publish()
        archive.asked.clear()
        assert (await self.build(builder, load, lock)).manifest.digest == first.manifest.digest
        assert archive.asked == []
        assert (await build(SCRATCH)).manifest.digest != first.manifest.digest

    async def test_a_lock_serves_behind_any_mirror(
        self, builder: Builder, load: Load, archive: Archive, tmp_path: Path
    ) -> None:
        lock = await self.lock(builder, load)
        first = await self.build(builder, load, lock)
        other = Archive(url="http://far.example/mirror", files={})
        other.files.update({url.replace(archive.url, other.url): content for url, content in archive.files.items()})
        elsewhere = replace(builder, open_url=other.open_url, cache=tmp_path / "other-cache")
        (builder.apt / "sources.list").write_text(f"deb {other.url} bookworm main\n")
        assert (await self.build(elsewhere, load, lock)).manifest.digest == first.manifest.digest
        assert {url.rpartition(".")[2] for url in other.asked} == {"deb"}

    async def test_a_package_of_another_content_is_refused(
        self, builder: Builder, load: Load, archive: Archive, tmp_path: Path
    ) -> None:
        lock = await self.lock(builder, load)
        archive.files[f"{archive.url}/pool/main/libapp_1_amd64.deb"] = make_deb("libapp", {"usr/lib/evil": b"x"})
        with pytest.raises(DocumentError, match="package libapp 1 is not what its list or the lock says"):
            await self.build(builder, load, lock)

    async def test_a_spec_that_asks_for_something_else_needs_another(self, builder: Builder, load: Load) -> None:
        lock = await self.lock(builder, load)
        with pytest.raises(NotLocked, match="asks for other packages than the lock has"):
            await self.build(builder, load, lock, SCRATCH.replace("[app]", "[odd]"))

    async def test_layers_upon_layers_are_locked_each_by_itself(self, builder: Builder, load: Load) -> None:
        text = "from: scratch\nlayers:\n  - apt: {packages: [base, libapp], suite: bookworm}\n  - apt: [app]\n"
        lock = await self.lock(builder, load, text)
        assert [[deb.name for deb in each.packages] for each in lock.apt.values()] == [["base", "libapp"], ["app"]]
        await self.build(builder, load, lock, text)

    async def test_what_stands_on_an_image_of_the_file_is_locked_for_what_that_has(
        self, builder: Builder, context: Path
    ) -> None:
        path = context / "layerkit.yaml"
        path.write_text(
            "images:\n  low:\n    from: scratch\n    layers: [{apt: {packages: [base, libapp], suite: bookworm}}]\n"
            "  high:\n    from: low\n    layers: [{apt: [app]}]\n"
        )
        file = load_file(path, default_platform=parse_platform("linux/amd64"))
        lock = await builder.resolve(file.select())
        found = {key.image: [deb.name for deb in each.packages] for key, each in lock.apt.items()}
        assert found == {"low": ["base", "libapp"], "high": ["app"]}
        await replace(builder, lock=lock, is_locked=True).build(file.select())


async def test_mirrors_and_keyrings_of_the_spec_stand_in_the_place_of_the_machines(
    build: Build, archive: Archive, context: Path, machine: Path, store: Store
) -> None:
    machine.joinpath("sources.list").unlink()
    other = Archive(url="http://other.example/own", suite="now", files=archive.files)
    other.add("own", {"usr/bin/own": b"#!"}, depends="app")
    other.publish("other")
    context.joinpath("other.gpg").write_bytes(keyring("other"))
    context.joinpath("archive.asc").write_bytes(keyring("archive"))
    image = await build(f"""
        from: scratch
        layers:
          - apt:
              packages: [own]
              suite: bookworm
              keyring: archive.asc
              mirror:
                - {archive.url}
                - {{url: {other.url}, suite: now, keyring: other.gpg}}
    """)
    assert {"usr/bin/own", "usr/bin/app"} <= paths_of(image, store)


async def test_owners_may_be_users_that_packages_bring(
    build: Build, archive: Archive, context: Path, store: Store
) -> None:
    archive.add(
        "accounts",
        {
            "usr/share/base-passwd/passwd.master": b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n",
            "usr/share/base-passwd/group.master": b"root:x:0:\nweb:x:33:\n",
        },
    )
    archive.publish()
    context.joinpath("page").write_text("page")
    text = SCRATCH.replace("[app]", "[accounts]")
    image = await build(f"{text}    owner: web\n    copy: [page:/srv/page]\n")
    assert {entry.path: entry.uid for entry in index_of(image, store).entries}["srv/page"] == 33
