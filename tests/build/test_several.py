"""Several images and platforms of one file: their order, what they share, and the index."""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from layerkit.build.builder import Builder
from layerkit.build.built import BuildResult
from layerkit.content.store import Store
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.progress import Activity
from layerkit.spec.load import load_file
from layerkit.spec.model import SpecFile
from tests.images import DOCKER_LIST, HandmadeLayout, file, folder, make_tar, read_layer
from tests.progress import Recorded

Make = Callable[..., Any]


@pytest.fixture
def load_whole(context: Path) -> Callable[..., SpecFile]:
    def _load(text: str, *platforms: str) -> SpecFile:
        path = context / "layerkit.yaml"
        path.write_text(text)
        return load_file(
            path, default_platform=parse_platform("linux/amd64"), platforms=[parse_platform(p) for p in platforms]
        )

    return _load


@pytest.fixture
def make(builder: Builder, load_whole: Callable[..., SpecFile]) -> Make:
    """Build the images of a file, by name."""

    async def _make(text: str, *names: str, progress: Recorded | None = None) -> dict[str, BuildResult]:
        used = replace(builder, progress=progress) if progress is not None else builder
        results = await used.build(load_whole(text).select(names))
        return {str(result.spec.name): result for result in results}

    return _make


@pytest.fixture(autouse=True)
def _files(context: Path) -> None:
    for name in ("file", "tool-amd64", "tool-arm64", "tool-armv7"):
        (context / name).write_text(name)


def document_of(result: BuildResult) -> Any:
    return json.loads(result.manifest.raw)


PLATFORMS = """\
platforms: [linux/arm64/v8, linux/amd64, linux/arm/v7]
labels: {org.opencontainers.image.source: https://example.org/x, org.opencontainers.image.revision: abc}
annotations: {note: "for ${arch}", all: x}
timestamp: 1700000000
from: scratch
layers:
  - {name: common, copy: [./file:/etc/file]}
  - {name: tool, copy: ["tool-${arch}${variant}:/bin/tool"]}
"""


class TestPlatforms:
    """LAYERS, item 43."""

    async def test_several_are_an_index_in_the_order_of_the_file(self, make: Make) -> None:
        (result,) = (await make(PLATFORMS)).values()
        index = document_of(result)
        assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
        assert [entry["platform"] for entry in index["manifests"]] == [
            {"os": "linux", "architecture": "arm64"},
            {"os": "linux", "architecture": "amd64"},
            {"os": "linux", "architecture": "arm", "variant": "v7"},
        ]
        for entry, image in zip(index["manifests"], result.images, strict=True):
            assert entry["digest"] == image.manifest.digest
            assert entry["size"] == len(image.manifest.raw)
            assert "annotations" not in entry

    async def test_annotations_are_of_the_manifests_and_what_they_share_of_the_index(self, make: Make) -> None:
        (result,) = (await make(PLATFORMS)).values()
        shared = {
            "all": "x",
            "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
            "org.opencontainers.image.revision": "abc",
            "org.opencontainers.image.source": "https://example.org/x",
        }
        assert document_of(result)["annotations"] == shared
        assert dict(result.images[1].image.annotations) == {**shared, "note": "for amd64"}

    async def test_one_is_a_plain_manifest(self, make: Make) -> None:
        """SPEC, rule 8: "One platform gives a plain manifest"."""
        (result,) = (await make("from: scratch\nplatforms: [linux/arm64]\n")).values()
        assert result.manifest.digest == result.images[0].manifest.digest

    async def test_what_they_have_in_common_is_packed_once(self, make: Make) -> None:
        progress = Recorded()
        (result,) = (await make(PLATFORMS, progress=progress)).values()
        packed = [step.name for step in progress.steps if step.activity is Activity.PACK]
        assert sorted(packed) == ["common", "tool", "tool", "tool"]
        assert len({image.image.layers[0].digest for image in result.images}) == 1
        assert len({image.image.layers[1].digest for image in result.images}) == 3

    async def test_each_has_its_own_base(self, make: Make, context: Path) -> None:
        base = HandmadeLayout(context / "base")
        children = [
            (base.image(make_tar(folder("etc"), file("etc/arch", name.encode())), platform=name), name)
            for name in ("linux/amd64", "linux/arm64/v8", "linux/arm/v6")
        ]
        base.name(base.index(children, media_type=DOCKER_LIST))
        text = PLATFORMS.replace("from: scratch", "from: oci:base")
        (result,) = (await make(text)).values()
        firsts = [image.image.layers[0].digest for image in result.images]
        diff_ids = {name: json.loads(base.path_of(child["digest"]).read_text()) for child, name in children}
        assert firsts == [
            diff_ids[name]["layers"][0]["digest"] for name in ("linux/arm64/v8", "linux/amd64", "linux/arm/v6")
        ]

    async def test_the_index_is_in_the_store_under_its_name_alone(self, make: Make, store: Store) -> None:
        (result,) = (await make(PLATFORMS)).values()
        assert store.entries() == ()
        await store.repository(RepositoryName("registry.example/x")).put_manifest(result.manifest, [Tag("1")])
        assert [entry.digest for entry in store.entries()] == [result.manifest.digest]


SEVERAL = """\
images:
  web:
    from: base
    layers:
      - {name: web, copy: [./file:/bin/web, {from: tools, src: /bin, dest: /opt/}]}
  base:
    from: scratch
    users: {app: {uid: 7}}
    layers: [{name: first, symlink: {/bin: usr/bin}, directory: [{path: /usr/bin, owner: app}]}]
    labels: {a: b}
  tools:
    from: scratch
    layers: [{copy: [tool-amd64:/bin/tool]}]
"""


class TestSeveralImages:
    async def test_they_are_built_after_what_they_need(self, make: Make, store: Store) -> None:
        results = await make(SEVERAL)
        assert list(results) == ["base", "tools", "web"]
        web, base = results["web"].images[0], results["base"].images[0]
        assert web.image.layers[:2] == base.image.layers
        assert web.image.config.execution.labels == {"a": "b"}
        (layer,) = web.layers
        entries = read_layer(store.root, {"digest": layer.written.descriptor.digest, "mediaType": "gzip"})
        # Through the link of the other image, into the folder with its owner.
        assert list(entries) == ["opt", "opt/tool", "usr", "usr/bin", "usr/bin/web"]
        assert entries["usr/bin"].uid == 7

    async def test_of_one_only_what_it_needs_is_built(self, make: Make) -> None:
        assert list(await make(SEVERAL, "tools")) == ["tools"]
        assert list(await make(SEVERAL, "web")) == ["base", "tools", "web"]

    async def test_planning_writes_nothing(
        self, builder: Builder, load_whole: Callable[..., SpecFile], store: Store
    ) -> None:
        plans = await builder.plan(load_whole(SEVERAL).select())
        assert [[layer.name for layer in plan.layers] for plan in plans] == [
            ["first", "users"],
            ["layer-1"],
            ["web"],
        ]
        assert [path for path in store.root.rglob("*") if path.is_file() and path.name != "oci-layout"] == []

    async def test_what_is_planned_is_what_is_built(
        self, builder: Builder, load_whole: Callable[..., SpecFile], make: Make
    ) -> None:
        plans = await builder.plan(load_whole(SEVERAL).select())
        results = await make(SEVERAL)
        for plan, result in zip(plans, results.values(), strict=True):
            (image,) = result.images
            assert [layer.entries for layer in plan.layers] == [layer.planned.entries for layer in image.layers]

    async def test_copies_of_copies_come_from_the_first(self, make: Make, store: Store, context: Path) -> None:
        base = HandmadeLayout(context / "base")
        base.name(base.image(make_tar(file("deep", b"deep" * 50_000))))
        text = (
            "images:\n"
            "  a: {from: scratch, layers: [{copy: [{from: 'oci:base', src: /deep, dest: /a}]}]}\n"
            "  b: {from: scratch, layers: [{copy: [{from: a, src: /a, dest: /b}]}]}\n"
            "  c: {from: a, layers: [{copy: [{from: b, src: /b, dest: /c}]}]}\n"
        )
        results = await make(text)
        raw = gzip.decompress(store.path_of(results["c"].images[0].layers[0].written.descriptor.digest).read_bytes())
        assert b"deep" * 50_000 in raw

    async def test_a_copy_of_a_copy_that_was_made_before_is_brought_from_the_first(
        self, make: Make, store: Store, context: Path
    ) -> None:
        base = HandmadeLayout(context / "base")
        base.name(base.image(make_tar(file("deep", b"deep" * 50_000))))
        text = (
            "images:\n"
            "  a: {from: scratch, layers: [{copy: [{from: 'oci:base', src: /deep, dest: /a}]}]}\n"
            "  b: {from: scratch, layers: [{copy: [{from: a, src: /a, dest: /%s}]}]}\n"
        )
        for name in ("one", "other"):
            (layer,) = (await make(text % name))["b"].images[0].image.layers
            raw = gzip.decompress(store.path_of(layer.digest).read_bytes())
            assert name.encode() in raw
            assert b"deep" * 50_000 in raw

    async def test_builds_side_by_side_give_the_same(
        self, builder: Builder, load_whole: Callable[..., SpecFile]
    ) -> None:
        images = load_whole(SEVERAL).select()
        found = await asyncio.gather(*(builder.build(images) for _ in range(4)))
        assert len({tuple(result.manifest.digest for result in results) for results in found}) == 1
