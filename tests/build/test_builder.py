"""Building on bases: what of them stays as it is, what changes, and which are refused."""

import asyncio
import gzip
import json
import re
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import zstandard
from msgspec.structs import replace

from layerkit.build.alike import AlikeRecords
from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.build.packing import Packer
from layerkit.build.planned import PlannedLayer
from layerkit.build.recipes import LayerRecords
from layerkit.build.stretches import StretchRecords
from layerkit.content.store import Store
from layerkit.document.problem import DocumentError
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid, ManifestUnknown, NameUnknown, OCIError
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.progress import Activity, Outcome, Step
from layerkit.spec.model import ImageSpec, Spec
from tests.estargz import open_estargz
from tests.images import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HandmadeLayout,
    compress,
    digest_of,
    file,
    folder,
    make_tar,
    read_layer,
    symlink,
)
from tests.progress import Recorded

Build = Callable[..., Awaitable[BuiltImage]]

ROOTFS = make_tar(
    folder("tmp", mode=0o1777),
    folder("usr"),
    folder("usr/lib", uid=3, pax_headers={"SCHILY.xattr.user.note": "kept"}),
    symlink("lib", "usr/lib"),
    file("usr/lib/old.so", b"old"),
)
UPDATE = make_tar(file("usr/lib/.wh.old.so"), folder("etc"), file("etc/issue", b"hello"))


@pytest.fixture
def base(context: Path) -> HandmadeLayout:
    """A layout in the folder `base` beside the spec."""
    return HandmadeLayout(context / "base")


@pytest.fixture(autouse=True)
def _files(context: Path) -> None:
    (context / "file").write_text("content")


def manifest_of(built: BuiltImage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(built.manifest.raw)
    return document


def config_of(built: BuiltImage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(built.image.config.raw)
    return document


def image_of(*specs: Spec) -> ImageSpec:
    """The image of these specs, one for each platform."""
    return ImageSpec(name=specs[0].name, tags=specs[0].tags, specs=specs)


COPY = "from: oci:base\nlayers: [{name: new, copy: [./file:/lib/x.so, ./file:/tmp/, ./file:/srv/a/b]}]\n"


class TestScratch:
    async def test_a_config_has_what_runtimes_require(self, build: Build) -> None:
        """LAYERS, item 40: "required `architecture`, `os`, `rootfs{type,diff_ids}`; `created` RFC 3339 UTC `Z`"."""
        built = await build("from: scratch\n", platform="linux/arm/v6")
        assert config_of(built) == {
            "architecture": "arm",
            "os": "linux",
            "variant": "v6",
            "created": "1970-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        assert manifest_of(built)["layers"] == []

    async def test_config_and_manifest_are_canonical_and_named_by_their_bytes(self, build: Build, store: Store) -> None:
        """LAYERS, item 40: "UTF-8, sorted keys, no spaces, no trailing newline; size in descriptor = exact bytes"."""
        built = await build(
            "from: scratch\nconfig: {env: {Ü: ß}, cmd: [a b]}\nannotations: {b: é, a: c}\nlayers: [{copy: [./file:/x]}]"
        )
        for raw in (built.manifest.raw, built.image.config.raw):
            document = json.loads(raw)
            assert raw == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        config = manifest_of(built)["config"]
        stored = store.path_of(built.image.config.digest).read_bytes()
        assert (config["digest"], config["size"]) == (digest_of(stored), len(stored))
        assert manifest_of(built)["annotations"] == {"a": "c", "b": "é"}
        assert manifest_of(built)["mediaType"] == "application/vnd.oci.image.manifest.v1+json"

    async def test_each_layer_has_a_diff_id_and_a_history(self, build: Build, store: Store) -> None:
        """LAYERS, items 27 and 41: both in the order of the layers, and as many."""
        built = await build(
            "from: scratch\nlayers:\n- {name: one, copy: [./file:/x]}\n- {name: two, symlink: {/y: x}}\n"
            "timestamp: 1700000000\n"
        )
        config = config_of(built)
        stored = [store.path_of(layer.digest).read_bytes() for layer in built.image.layers]
        assert config["rootfs"]["diff_ids"] == [digest_of(gzip.decompress(raw)) for raw in stored]
        assert [layer.digest for layer in built.image.layers] == [digest_of(raw) for raw in stored]
        assert config["history"] == [
            {"created": "2023-11-14T22:13:20Z", "created_by": "layerkit: one: ./file:/x"},
            {"created": "2023-11-14T22:13:20Z", "created_by": "layerkit: two: /y -> x"},
        ]
        assert config["created"] == "2023-11-14T22:13:20Z"
        assert [layer.planned.name for layer in built.layers] == ["one", "two"]

    async def test_a_layer_that_is_not_compressed_has_one_digest(self, build: Build) -> None:
        """LAYERS, item 27: "For an uncompressed layer they coincide"."""
        built = await build("from: scratch\ncompression: none\nlayers: [{copy: [./file:/x]}]\n")
        assert list(built.image.config.diff_ids) == [layer.digest for layer in built.image.layers]
        assert built.image.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar"

    @pytest.mark.parametrize(
        ("compression", "codec"),
        [("gzip", "zlib-ng/2.3.3;level=2;"), ("gzip:9", "zlib-ng/2.3.3;level=9;"), ("gzip:fast", "isa-l/2.32.1;")],
    )
    async def test_a_layer_by_gzip_has_its_level_in_its_record(
        self, build: Build, store: Store, compression: str, codec: str
    ) -> None:
        """Issue 5: "level and codec recorded". The content is the same."""
        built = await build(f"from: scratch\ncompression: {compression}\nlayers: [{{copy: [./file:/x]}}]\n")
        (layer,) = built.layers
        assert layer.written.codec.startswith(codec)
        assert layer.written.descriptor.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
        stored = store.path_of(layer.written.descriptor.digest).read_bytes()
        assert digest_of(gzip.decompress(stored)) == layer.written.diff_id

    async def test_a_layer_of_estargz_has_its_annotations_in_the_manifest_also_when_it_is_known_again(
        self, build: Build, store: Store
    ) -> None:
        """stargz-snapshotter, estargz.md: `toc.digest` "MUST be contained in the descriptor that references this"."""
        text = "from: scratch\ncompression: estargz:6\nlayers: [{copy: [./file:/x]}]\n"
        for _ in range(2):
            built = await build(text)
            (described,) = manifest_of(built)["layers"]
            stored = store.path_of(Digest(described["digest"])).read_bytes()
            layer = open_estargz(stored, described["annotations"]["containerd.io/snapshot/stargz/toc.digest"])
            assert set(layer.entries) == {".no.prefetch.landmark", "x"}
            assert built.layers[0].written.codec.startswith("zlib-ng/2.3.3;level=6;estargz=1;")

    @pytest.mark.parametrize("seconds", [0, 2**31, 253402300799])
    async def test_a_timestamp_is_written_as_utc(self, build: Build, seconds: int) -> None:
        built = await build(f"from: scratch\ntimestamp: {seconds}\n")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", config_of(built)["created"])


class TestLayersOfTheBase:
    async def test_they_keep_their_bytes_and_ours_come_on_top(
        self, build: Build, base: HandmadeLayout, store: Store
    ) -> None:
        """LAYERS, item 36: "Base layers pass through byte-identical with their media type"."""
        base.name(base.image(ROOTFS, UPDATE))
        built = await build(COPY)
        layers = manifest_of(built)["layers"]
        assert [layer["digest"] for layer in layers[:2]] == [digest_of(compress(t)) for t in (ROOTFS, UPDATE)]
        for layer in layers:
            raw = (store.root / "blobs" / layer["digest"].replace(":", "/")).read_bytes()
            assert (digest_of(raw), len(raw)) == (layer["digest"], layer["size"])
        assert len(layers) == 3
        assert config_of(built)["rootfs"]["diff_ids"][:2] == [digest_of(ROOTFS), digest_of(UPDATE)]

    async def test_parents_and_links_are_those_of_the_base(
        self, build: Build, base: HandmadeLayout, store: Store
    ) -> None:
        base.name(base.image(ROOTFS, UPDATE))
        built = await build(COPY)
        layer = read_layer(store.root, manifest_of(built)["layers"][2])
        assert list(layer) == ["srv", "srv/a", "srv/a/b", "tmp", "tmp/file", "usr", "usr/lib", "usr/lib/x.so"]
        assert layer["tmp"].mode == 0o1777
        assert layer["usr/lib"].uid == 3
        assert layer["usr/lib"].pax_headers["SCHILY.xattr.user.note"] == "kept"
        assert layer["usr/lib/x.so"].uid == 0

    async def test_a_second_build_gives_the_same_digest(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(ROOTFS, UPDATE))
        first, second = await build(COPY), await build(COPY)
        assert first.manifest.digest == second.manifest.digest
        assert first.manifest.raw == second.manifest.raw

    async def test_no_layer_of_its_own_takes_the_base_as_it_is(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(ROOTFS))
        built = await build("from: oci:base\nconfig: {user: '5'}\n")
        assert len(manifest_of(built)["layers"]) == 1
        assert config_of(built)["config"] == {"User": "5"}

    async def test_docker_schema_2_becomes_oci_by_its_types_alone(
        self, build: Build, base: HandmadeLayout, store: Store
    ) -> None:
        """LAYERS, item 36: "convert the types of gzip layers only, never re-compress"; 42: types of one family."""
        base.name(
            base.image(
                ROOTFS, UPDATE, layer_type=DOCKER_LAYER, manifest_type=DOCKER_MANIFEST, config_type=DOCKER_CONFIG
            )
        )
        built = await build(COPY)
        manifest = manifest_of(built)
        assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
        assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
        assert [layer["digest"] for layer in manifest["layers"][:2]] == [
            digest_of(compress(tar)) for tar in (ROOTFS, UPDATE)
        ]
        assert "usr/lib/x.so" in read_layer(store.root, manifest["layers"][2])

    @pytest.mark.parametrize(
        ("stored", "media_type"),
        [
            (zstandard.compress, "application/vnd.oci.image.layer.v1.tar+zstd"),
            (bytes, "application/vnd.oci.image.layer.v1.tar"),
        ],
        ids=["zstd", "none"],
    )
    async def test_however_they_are_stored(
        self, build: Build, base: HandmadeLayout, store: Store, stored: Callable[[bytes], bytes], media_type: str
    ) -> None:
        base.name(base.image(ROOTFS, stored=stored, layer_type=media_type))
        manifest = manifest_of(await build(COPY))
        assert manifest["layers"][0]["mediaType"] == media_type
        assert manifest["layers"][0]["digest"] == digest_of(stored(ROOTFS))
        assert "usr/lib/x.so" in read_layer(store.root, manifest["layers"][1])

    async def test_annotations_of_layers_stay(self, build: Build, base: HandmadeLayout) -> None:
        """LAYERS, items 33 and 34: without them no client finds the table of contents of eStargz or zstd:chunked."""
        annotations = {"containerd.io/snapshot/stargz/toc.digest": digest_of(b"")}
        base.name(base.image(ROOTFS, layer_fields={"annotations": annotations, "urls": ["https://example.org/x"]}))
        layers = manifest_of(await build(COPY))["layers"]
        assert layers[0]["annotations"] == annotations
        assert layers[0]["urls"] == ["https://example.org/x"]
        assert "annotations" not in layers[1]

    async def test_a_damaged_layer_is_refused(self, build: Build, base: HandmadeLayout, store: Store) -> None:
        """S6: "Verify diff_id of base layers when indexing"."""
        base.name(base.image(ROOTFS, rootfs={"type": "layers", "diff_ids": [digest_of(UPDATE)]}))
        layer = digest_of(compress(ROOTFS))
        with pytest.raises(LayerError, match=f"layer {layer} of oci:.*base: .*its diff_id is {digest_of(ROOTFS)}"):
            await build(COPY)
        assert store.entries() == ()

    async def test_bytes_that_are_not_of_their_digest_are_refused(
        self, build: Build, base: HandmadeLayout, store: Store
    ) -> None:
        base.name(base.image(ROOTFS))
        layer = digest_of(compress(ROOTFS))
        base.path_of(layer).write_bytes(gzip.compress(UPDATE).ljust(len(gzip.compress(ROOTFS)), b"\0"))
        with pytest.raises(OCIError, match=layer):
            await build(COPY)
        assert not (store.root / "blobs" / layer.replace(":", "/")).exists()

    async def test_a_layer_that_is_no_tar_is_refused(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(b"no tar" * 1000))
        with pytest.raises(LayerError, match=r"layer sha256:[0-9a-f]+ of oci:.*/base: "):
            await build(COPY)

    async def test_a_layer_that_may_not_be_distributed_cannot_be_looked_into(
        self, build: Build, base: HandmadeLayout
    ) -> None:
        """LAYERS, item 35: "Non-distributable base layers: keep the descriptor verbatim, do not push"."""
        foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        fields = {"urls": ["https://example.org/x"]}
        base.name(base.image(ROOTFS, layer_type=foreign, layer_fields=fields, manifest_type=DOCKER_MANIFEST))
        with pytest.raises(LayerError, match="may not be distributed"):
            await build(COPY)
        (layer,) = manifest_of(await build("from: oci:base\n"))["layers"]
        assert layer["mediaType"] == "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        assert layer["urls"] == fields["urls"]

    @pytest.mark.parametrize(("count", "is_refused"), [(119, False), (120, True)])
    async def test_no_more_than_120_layers(
        self, build: Build, base: HandmadeLayout, count: int, is_refused: bool
    ) -> None:
        """LAYERS, item 46: "≤ 127 layers in total, refuse > 120"."""
        base.name(base.image(*[make_tar(file("x"))] * count))
        if is_refused:
            with pytest.raises(DocumentError) as caught:
                await build(COPY)
            assert str(caught.value).endswith("layerkit.yaml:2:1: the image would have 121 layers, 120 are allowed")
        else:
            assert len((await build(COPY)).image.layers) == 120


class TestHistory:
    @pytest.mark.parametrize(
        "history",
        [
            None,
            [],
            [{"created_by": "one"}],
            [{"created_by": "env", "empty_layer": True}, {"created_by": "one"}],
            [{"created_by": "one"}, {"created_by": "two"}, {"created_by": "cmd", "empty_layer": True}],
        ],
    )
    async def test_as_many_steps_as_layers(
        self, build: Build, base: HandmadeLayout, history: list[dict[str, Any]] | None
    ) -> None:
        """LAYERS, item 41: "count of non-empty = layers"."""
        base.name(base.image(ROOTFS, UPDATE, history=history))
        told = config_of(await build(COPY))["history"]
        assert sum(not step.get("empty_layer") for step in told) == 3
        assert [step["created_by"] for step in told[: len(history or ())]] == [
            step["created_by"] for step in history or ()
        ]
        assert told[-1]["created_by"].startswith("layerkit: new: ")

    async def test_what_the_base_tells_stays_as_it_is(self, build: Build, base: HandmadeLayout) -> None:
        told = [{"created": "2020-02-03T04:05:06.789Z", "created_by": "x", "comment": "c", "author": "a", "other": 1}]
        base.name(base.image(ROOTFS, history=told))
        assert config_of(await build(COPY))["history"][:1] == told


class TestConfigOfTheBase:
    async def test_unknown_keys_are_preserved(self, build: Build, base: HandmadeLayout) -> None:
        """LAYERS, item 40: "unknown base keys preserved"."""
        kept: dict[str, Any] = {
            "author": "me",
            "docker_version": "1.2",
            "x-unknown": {"a": [1, None]},
            "os.version": "10",
        }
        execution = {"OnBuild": ["RUN x"], "Domainname": "", "x": {"y": 1}, "Cmd": ["sh"]}
        base.name(base.image(ROOTFS, config=execution, **kept))
        config = config_of(await build(COPY + "config: {env: {A: 1}}\n"))
        assert {key: config[key] for key in kept} == kept
        assert config["config"] == {**execution, "Env": ["A=1"]}

    async def test_env_and_labels_merge(self, build: Build, base: HandmadeLayout) -> None:
        """SPEC, "Config": "Env and labels merge with the base's"."""
        base.name(base.image(ROOTFS, config={"Env": ["PATH=/bin", "A=1", "B=x=y"], "Labels": {"a": "1", "b": "2"}}))
        built = await build(COPY + "config: {env: {A: 2, C: ''}, labels: {b: 3, c: 4}}\n")
        assert config_of(built)["config"] == {
            "Env": ["PATH=/bin", "A=2", "B=x=y", "C="],
            "Labels": {"a": "1", "b": "3", "c": "4"},
        }

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            ("{}", {"Entrypoint": ["e"], "Cmd": ["c"]}),
            ("{entrypoint: [x]}", {"Entrypoint": ["x"]}),
            ("{entrypoint: [x], cmd: [y]}", {"Entrypoint": ["x"], "Cmd": ["y"]}),
            ("{cmd: [y]}", {"Entrypoint": ["e"], "Cmd": ["y"]}),
            ("{cmd: []}", {"Entrypoint": ["e"]}),
            ("{entrypoint: []}", {}),
            ("{entrypoint: [], cmd: [y]}", {"Cmd": ["y"]}),
        ],
    )
    async def test_an_entrypoint_clears_the_cmd(
        self, build: Build, base: HandmadeLayout, config: str, expected: dict[str, Any]
    ) -> None:
        """SPEC, "Config": "`entrypoint` without `cmd` clears the base's `cmd`"."""
        base.name(base.image(ROOTFS, config={"Entrypoint": ["e"], "Cmd": ["c"]}))
        assert config_of(await build(f"from: oci:base\nconfig: {config}\n"))["config"] == expected

    async def test_created_is_ours(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(ROOTFS, created="2024-01-01T00:00:00Z"))
        assert config_of(await build(COPY))["created"] == "1970-01-01T00:00:00Z"

    async def test_nulls_are_read(self, build: Build, base: HandmadeLayout) -> None:
        """Docker writes null for empty lists and maps."""
        base.name(base.image(ROOTFS, config={"Env": None, "Cmd": None, "Labels": None, "Volumes": None}))
        built = await build("from: oci:base\nconfig: {env: {A: 1}, labels: {a: b}, volumes: [/v], expose: [1]}\n")
        assert config_of(built)["config"] == {
            "Env": ["A=1"],
            "Labels": {"a": "b"},
            "Volumes": {"/v": {}},
            "ExposedPorts": {"1/tcp": {}},
        }

    async def test_annotations_of_the_base_are_not_ours(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(ROOTFS, annotations={"org.opencontainers.image.title": "base"}))
        assert "annotations" not in manifest_of(await build("from: oci:base\n"))

    async def test_a_config_of_other_layers_is_refused(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(ROOTFS, rootfs={"type": "layers", "diff_ids": []}))
        with pytest.raises(ManifestInvalid, match="1 layers, its config 0 diff_ids"):
            await build("from: oci:base\n")


class TestPlatforms:
    """LAYERS, item 43: "Base platform match: exact variant, then lower, error otherwise listing what exists"."""

    @pytest.mark.parametrize("kind", ["application/vnd.oci.image.index.v1+json", DOCKER_LIST])
    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v5"),
        ],
    )
    async def test_an_index_has_the_image_for_the_platform(
        self, build: Build, base: HandmadeLayout, kind: str, wanted: str, found: str
    ) -> None:
        platforms = ["linux/arm/v5", "linux/arm/v7", "linux/amd64", "linux/arm64/v8", "windows/amd64"]
        children = [(base.image(ROOTFS, platform=name, author=name), name) for name in platforms]
        base.name(base.index([(base.image(author="attestation"), "unknown/unknown"), *children], media_type=kind))
        assert config_of(await build(COPY, platform=wanted))["author"] == found

    async def test_what_the_index_says_completes_a_config_without_a_variant(
        self, build: Build, base: HandmadeLayout
    ) -> None:
        """Configs made by docker before version 20 have none."""
        children = [
            (base.image(ROOTFS, platform="linux/arm", author=variant), f"linux/arm/{variant}")
            for variant in ("v7", "v6")
        ]
        base.name(base.index(children))
        assert config_of(await build(COPY, platform="linux/arm/v6"))["author"] == "v6"

    async def test_an_index_without_the_platform_lists_those_that_it_has(
        self, build: Build, base: HandmadeLayout
    ) -> None:
        names = ["linux/arm64/v8", "linux/amd64", "unknown/unknown"]
        base.name(base.index([(base.image(ROOTFS, platform=name), name) for name in names]))
        with pytest.raises(ManifestUnknown) as caught:
            await build(COPY, platform="linux/riscv64")
        assert str(caught.value).endswith("base has no image for linux/riscv64: it has linux/amd64, linux/arm64/v8")

    @pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v6", "windows/amd64"])
    async def test_one_image_must_be_for_the_platform(self, build: Build, base: HandmadeLayout, platform: str) -> None:
        base.name(base.image(ROOTFS, platform="linux/arm/v7"))
        with pytest.raises(ManifestUnknown, match=f"no image for {platform}: it has linux/arm/v7"):
            await build(COPY, platform=platform)

    async def test_an_index_that_lies_is_found_out(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.index([(base.image(ROOTFS, platform="linux/s390x"), "linux/amd64")]))
        with pytest.raises(ManifestUnknown, match="no image for linux/amd64: it has linux/s390x"):
            await build(COPY)


class TestNaming:
    async def test_a_layout_with_one_image_needs_no_name(self, build: Build, base: HandmadeLayout) -> None:
        digest = base.name(base.image(ROOTFS, author="me"))
        for name in ("base", "base:1", f"base@{digest}", "./base"):
            assert config_of(await build(f"from: oci:{name}\n"))["author"] == "me"

    async def test_of_several_images_one_must_be_named(self, build: Build, base: HandmadeLayout) -> None:
        base.name(base.image(ROOTFS, author="one"), "1")
        base.name(base.image(ROOTFS, author="two"), "2")
        assert config_of(await build("from: oci:base:2\n"))["author"] == "two"
        with pytest.raises(ManifestUnknown, match=r"holds 2 images: name one, oci:.*base:TAG or oci:.*base@DIGEST"):
            await build("from: oci:base\n")
        with pytest.raises(ManifestUnknown, match="3 is not in"):
            await build("from: oci:base:3\n")

    async def test_a_folder_that_is_no_layout_is_told(self, build: Build, context: Path) -> None:
        (context / "folder").mkdir()
        for name in ("folder", "nothing"):
            with pytest.raises(NameUnknown, match=f"{name} is not an OCI image layout"):
                await build(f"from: oci:{name}\n")

    async def test_an_image_of_the_store_is_asked_for_by_store(
        self, build: Build, store: Store, base: HandmadeLayout
    ) -> None:
        """SPEC, "`from:`": "the local store only as `store:REF`"."""
        first = await build("from: scratch\nlayers: [{copy: [./file:/a]}]\n")
        repository = store.repository(RepositoryName("registry.example/acme/base"))
        await repository.put_manifest(first.manifest, [Tag("latest")])
        for name in ("registry.example/acme/base", f"registry.example/acme/base@{first.manifest.digest}"):
            built = await build(f"from: store:{name}\nlayers: [{{copy: [./file:/b]}}]\n")
            assert built.image.layers[0] == first.image.layers[0]
            # Nobody else could find a base of this store by its name.
            assert "annotations" not in manifest_of(built)
        with pytest.raises(ManifestUnknown, match=r"registry\.example/acme/base:2 is not in"):
            await build("from: store:registry.example/acme/base:2\n")

    async def test_what_is_no_image_is_refused(self, build: Build, base: HandmadeLayout) -> None:
        inner = base.index([(base.image(ROOTFS), "linux/amd64")])
        base.name(base.index([(inner, "linux/amd64")]))
        with pytest.raises(ManifestInvalid, match="is no image that can be built on"):
            await build("from: oci:base\n")


class _Paused(BytesSource, frozen=True):
    """Content whose second piece is not given before somebody allows it."""

    begun = Event()
    allowed = Event()

    def pieces(self, limit: int) -> Generator[bytes, None, None]:
        first, *rest = super().pieces(limit)
        yield first
        self.begun.set()
        self.allowed.wait(60)
        yield from rest


async def test_a_layer_of_a_cancelled_build_is_not_written_to_its_end(store: Store, load: Callable[..., Spec]) -> None:
    """A program that is interrupted ends when its threads do: nobody waits for gigabytes that nobody wants."""
    spec = load("from: scratch\ncompression: none\n")
    source = _Paused(bytes(16 * 2**20))
    entries = (Entry(path="x", type=EntryType.FILE, mode=0o644, source=source),)
    planned = PlannedLayer.of(entries, {}, name="large", created_by="")
    folder = store.root / "records"
    packer = Packer(
        store=store,
        records=LayerRecords(folder=folder),
        alike=AlikeRecords(folder=folder),
        stretches=StretchRecords(folder=folder),
        has=store.is_here,
    )
    writing = asyncio.create_task(packer.pack(spec, planned))
    await asyncio.to_thread(source.begun.wait, 60)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    source.allowed.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert [path for path in (store.root / "blobs").rglob("*") if path.is_file()] == []


async def test_each_layer_is_a_step_with_its_bytes(builder: Builder, load: Callable[[str], Spec]) -> None:
    progress = Recorded()
    spec = load("from: scratch\nlayers:\n  - name: one\n    copy: [./file:/a]\n  - name: two\n    copy: [./file:/b]\n")
    (result,) = await replace(builder, progress=progress).build([image_of(spec)])
    (built,) = result.images
    assert progress.ended
    assert [(step.activity, step.name, step.group) for step in progress.steps] == [
        (Activity.PACK, "one", f"{spec.name} linux/amd64"),
        (Activity.PACK, "two", f"{spec.name} linux/amd64"),
    ]
    for step, layer in zip(progress.steps, built.layers, strict=True):
        assert progress.advanced[step] == step.total == layer.written.uncompressed_size
        assert progress.outcomes[layer.written.descriptor.digest] == [Outcome.DONE]
    assert progress.details == {"one": "1 file, 7 B", "two": "1 file, 7 B"}


async def test_a_layer_that_cannot_be_read_ends_its_step(
    builder: Builder, load: Callable[[str], Spec], context: Path
) -> None:
    class Spoiling(Recorded):
        def begin(self, step: Step) -> None:
            (context / "file").write_text("other content")
            super().begin(step)

    progress = Spoiling()
    spec = load("from: scratch\nlayers:\n  - copy: [./file:/a]\n")
    with pytest.raises(LayerError, match="changed during the build"):
        await replace(builder, progress=progress).build([image_of(spec)])
    assert progress.ended
    assert progress.outcomes == {progress.steps[0].name: [Outcome.FAILED]}
