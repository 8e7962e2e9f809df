"""`copy`, `tag`, `rm`, `prune`, `save` and `load`: what they say, and that an image keeps its digest on every way."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import CONFIG, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, MANIFEST, HandmadeLayout, file, make_tar
from tests.programs import LayerkitProcess, RegistryProcess, run_registry

LAYERS = [make_tar(file("one", b"1")), make_tar(file("two", b"2" * 100_000))]
DOCKER: dict[str, Any] = {"manifest_type": DOCKER_MANIFEST, "config_type": DOCKER_CONFIG, "layer_type": DOCKER_LAYER}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path_factory.mktemp("moving") / "registry") as process:
        yield process


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A layout with an image, one of docker, an index, and one with a referrer that itself has one, by their tags."""
    made = HandmadeLayout(tmp_path_factory.mktemp("images") / "layout")
    digests = {"root": str(made.root)}
    single = made.image(*LAYERS)
    digests["single"] = made.name(single, "single")
    digests["docker"] = made.name(made.image(*LAYERS, **DOCKER), "docker")
    children = [(made.image(*LAYERS, platform=each), each) for each in ("linux/amd64", "linux/arm64")]
    digests["index"] = made.name(made.index(children), "index")
    digests["arm64"] = children[1][0]["digest"]
    subject = made.image(LAYERS[1], author="subject")
    digests["subject"] = made.name(subject, "subject")
    for name in ("signature", "countersignature"):
        subject = made.put(json.dumps(referrer(made, subject, name)).encode(), MANIFEST)
        digests[name] = str(subject["digest"])
        made._entries.append(subject)
    made.name(single, "single")
    return digests


def referrer(made: HandmadeLayout, subject: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x-signature",
        "config": made.put(b"{}", CONFIG),
        "layers": [made.put(name.encode(), "application/x-signature")],
        "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
    }


def blobs(layerkit: LayerkitProcess) -> set[str]:
    return {path.name for path in (layerkit.data / "layerkit/store/blobs").glob("*/*")}


class TestRoundTrips:
    @pytest.mark.parametrize("name", ["single", "docker", "index", "subject"])
    def test_an_image_keeps_its_digest_through_every_place(
        self,
        layerkit: LayerkitProcess,
        registry: RegistryProcess,
        images: dict[str, str],
        tmp_path: Path,
        name: str,
    ) -> None:
        start = f"{registry.address}/start/{name}:1"
        places = [
            start,
            f"oci-archive:{tmp_path}/one.tar",
            f"store:{registry.address}/stored/{name}:2",
            f"docker-archive:{tmp_path}/two.tar:{registry.address}/saved/{name}:3",
            f"oci:{tmp_path}/layout:{name}",
            f"{registry.address}/end/{name}:4",
            f"{registry.address}/mounted/{name}:5",
        ]
        source = f"oci:{images['root']}:{name}"
        for place in places:
            done = layerkit("copy", "--referrers", source, place)
            assert done.stdout == f"{images[name]}\n"
            source = place
        if name == "subject":
            shown = json.loads(layerkit("inspect", "--remote", "--format", "json", places[-1]).stdout)
            assert [each["digest"] for each in shown["referrers"]] == [images["signature"]]
            pull = LayerkitProcess(tmp_path / "other")
            pull("pull", f"{registry.address}/mounted/{name}@{images['countersignature']}")

    def test_a_platform_is_picked(
        self, layerkit: LayerkitProcess, images: dict[str, str], registry: RegistryProcess
    ) -> None:
        arguments = ("--platform", "linux/arm64", f"oci:{images['root']}:index")
        done = layerkit("copy", *arguments, f"{registry.address}/picked:1", "--format", "json")
        shown = json.loads(done.stdout)
        assert list(shown) == ["source", "destination", "mediaType", "digest", "size"]
        assert shown["digest"] == images["arm64"]
        assert layerkit("pull", "-q", f"{registry.address}/picked:1").stdout == f"{images['arm64']}\n"
        done = layerkit("copy", "--platform", "linux/s390x", *arguments[2:], "store:x:1", check=False)
        assert done.code == 1
        assert "has no image for linux/s390x: it has linux/amd64, linux/arm64" in done.stderr

    def test_referrers_stay_where_they_are_when_told_so(
        self, layerkit: LayerkitProcess, images: dict[str, str]
    ) -> None:
        layerkit("copy", "--no-referrers", f"oci:{images['root']}:subject", "store:x:1")
        assert images["signature"].partition(":")[2] not in blobs(layerkit)

    def test_within_a_registry_blobs_are_mounted(
        self, layerkit: LayerkitProcess, images: dict[str, str], registry: RegistryProcess
    ) -> None:
        layerkit("copy", f"oci:{images['root']}:single", f"{registry.address}/from:1")
        done = layerkit("copy", f"{registry.address}/from:1", f"{registry.address}/to:1")
        assert "3 mounted" in done.stderr
        layerkit("pull", f"{registry.address}/from:1")
        layerkit("tag", f"{registry.address}/from:1", f"{registry.address}/tagged:1")
        assert "3 mounted" in layerkit("push", f"{registry.address}/tagged:1").stderr

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("oci:absent", "store:x"), 1, "absent is not an OCI image layout"),
            (("oci-archive:absent", "store:x"), 1, "absent cannot be read: no such file"),
            (("store:absent:1", "oci:x"), 1, "absent:1 is not in"),
            (("tar:x", "store:x"), 2, "is no image"),
            (("{layout}:single", "oci:x@sha256:" + 64 * "0"), 2, "a layout is written to under a tag"),
            (("{layout}:single", "oci-archive:x@sha256:" + 64 * "0"), 2, "an archive is written under a tag"),
            (("{layout}:single", "store:x@sha256:" + 64 * "0"), 2, "it cannot become"),
            (("{layout}", "store:x"), 1, "name one"),
            (("store:x",), 2, "missing argument 'DST'"),
        ],
    )
    def test_mistakes_are_explained(
        self,
        layerkit: LayerkitProcess,
        images: dict[str, str],
        tmp_path: Path,
        arguments: tuple[str, ...],
        code: int,
        message: str,
    ) -> None:
        filled = [each.format(layout=f"oci:{images['root']}") for each in arguments]
        done = layerkit("copy", *filled, check=False, cwd=tmp_path)
        assert (done.code, done.stdout) == (code, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


class TestStore:
    def test_what_is_tagged_removed_and_pruned(self, layerkit: LayerkitProcess, images: dict[str, str]) -> None:
        layerkit("copy", f"oci:{images['root']}:single", "store:web:1")
        assert layerkit("tag", "web:1", "web:2", "localhost:5000/web").stdout == f"{images['single']}\n"
        listed = json.loads(layerkit("images", "--format", "json").stdout)
        assert [each["name"] for each in listed] == ["web:1", "web:2", "localhost:5000/web:latest"]
        assert {each["digest"] for each in listed} == {images["single"]}
        done = layerkit("rm", "web:1", "web:2")
        assert done.stdout == "docker.io/library/web:1\ndocker.io/library/web:2\n"
        assert "freed 0 B" in done.stderr
        assert "freed 0 B" not in layerkit("rm", "localhost:5000/web").stderr
        assert blobs(layerkit) == set()
        done = layerkit("rm", "web:1", check=False)
        assert done.code == 1
        assert "web:1 is not in" in done.stderr
        layerkit("copy", f"oci:{images['root']}:single", "store:web:1")
        layerkit("copy", f"oci:{images['root']}:docker", "store:web:1")
        freed = json.loads(layerkit("prune", "--format", "json").stdout)
        assert (freed["manifests"], list(freed)) == (1, ["manifests", "blobs", "size"])
        assert layerkit("prune").stdout == "freed 0 B: 0 manifests, 0 blobs\n"

    def test_the_cache_is_shown_and_freed(self, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        layerkit("cache", "prune", "--downloads")
        (tmp_path / "layerkit.yaml").write_text("from: scratch\nlayers: [{copy: [{content: x, dest: /x}]}]\n")
        layerkit("build", cwd=tmp_path)
        assert json.loads(layerkit("cache", "ls", "--format", "json").stdout)["layers"]["files"] == 1
        assert layerkit("cache", "ls").stdout.split()[:5] == ["KIND", "FILES", "SIZE", "layers", "1"]
        assert layerkit("cache", "prune").stdout.endswith(" files\n")
        assert json.loads(layerkit("cache", "prune", "--format", "json").stdout) == {"files": 0, "size": 0}

    def test_a_build_leaves_no_more_of_the_cache_than_it_may(self, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        (tmp_path / "layerkit.yaml").write_text("from: scratch\nlayers: [{copy: [{content: x, dest: /x}]}]\n")
        download = layerkit.data / "cache/layerkit/fetch/sha256-x"
        download.parent.mkdir(parents=True)
        download.write_bytes(bytes(1000))
        layerkit("build", cwd=tmp_path)
        assert download.exists()
        # As if it had just been brought.
        os.utime(download.parent)
        layerkit("build", cwd=tmp_path, LAYERKIT_CACHE_SIZE="0.5kB")
        assert not download.exists()
        for wrong in ("much", "-1", "1G"):
            done = layerkit("build", cwd=tmp_path, check=False, LAYERKIT_CACHE_SIZE=wrong)
            assert (done.code, done.stdout) == (2, "")
            assert done.stderr.startswith("error: LAYERKIT_CACHE_SIZE: expected a size in bytes")

    def test_a_registry_removes_tags_and_images(
        self, layerkit: LayerkitProcess, images: dict[str, str], registry: RegistryProcess
    ) -> None:
        name = f"{registry.address}/removed"
        for tag in ("1", "2"):
            layerkit("copy", f"oci:{images['root']}:single", f"{name}:{tag}")
        layerkit("rm", "--remote", f"{name}:1")
        assert layerkit("inspect", "--remote", f"{name}:1", check=False).code == 1
        layerkit("inspect", "--remote", f"{name}:2")
        layerkit("rm", "--remote", f"{name}@{images['single']}")
        assert layerkit("inspect", "--remote", f"{name}:2", check=False).code == 1

    def test_images_tell_platforms_size_and_time(self, layerkit: LayerkitProcess, images: dict[str, str]) -> None:
        layerkit("copy", f"oci:{images['root']}:index", "store:web:1")
        (shown,) = json.loads(layerkit("images", "--format", "json").stdout)
        assert shown["platforms"] == ["linux/amd64", "linux/arm64"]
        assert list(shown) == ["name", "digest", "mediaType", "size", "created", "platforms"]
        assert layerkit("images").stdout.split()[:2] == ["web:1", images["index"]]


class TestSaveAndLoad:
    def test_saved_images_are_loaded_under_their_names(
        self, layerkit: LayerkitProcess, images: dict[str, str], tmp_path: Path
    ) -> None:
        for name in ("single", "index"):
            layerkit("copy", f"oci:{images['root']}:{name}", f"store:acme/{name}:1")
        layerkit("tag", "acme/single:1", "localhost:5000/other:2")
        layerkit("save", "acme/single:1", "acme/index:1", "localhost:5000/other:2", "-o", tmp_path / "all.tar")
        other = LayerkitProcess(tmp_path / "other")
        assert other("load", "-i", tmp_path / "all.tar").stdout.splitlines() == [
            "docker.io/acme/single:1",
            "localhost:5000/other:2",
            "docker.io/acme/index:1",
        ]
        listed = {each["name"]: each["digest"] for each in json.loads(other("images", "--format", "json").stdout)}
        assert listed == {
            "acme/index:1": images["index"],
            "acme/single:1": images["single"],
            "localhost:5000/other:2": images["single"],
        }

    def test_stdin_and_layouts_are_loaded_too(
        self, layerkit: LayerkitProcess, images: dict[str, str], tmp_path: Path
    ) -> None:
        layerkit("copy", f"oci:{images['root']}:single", f"oci-archive:{tmp_path}/one.tar:v1")
        with (tmp_path / "one.tar").open("rb") as archive:
            done = subprocess.run(
                [sys.executable, "-m", "layerkit", "load", "-t", "web:3"],
                stdin=archive,
                capture_output=True,
                check=True,
                text=True,
                env={"PATH": "", "XDG_DATA_HOME": str(layerkit.data)},
            )
        assert done.stdout == "docker.io/library/web:3\n"
        done_too = layerkit("load", "-i", tmp_path / "one.tar")
        assert done_too.stdout == f"{images['single']}\n"
        refused = layerkit("load", "-i", images["root"], "-t", "web:4", check=False)
        assert (refused.code, "-t names one image" in refused.stderr) == (2, True)

    def test_docker_is_not_given_what_it_could_not_load(
        self, layerkit: LayerkitProcess, images: dict[str, str], tmp_path: Path
    ) -> None:
        layerkit("copy", f"oci:{images['root']}:subject", "store:web:1")
        signature = f"web@{images['signature']}"
        layerkit("save", signature, "-o", tmp_path / "x.tar")
        done = layerkit("save", signature, "--format", "docker", "-o", tmp_path / "y.tar", check=False)
        assert (done.code, "docker could not load" in done.stderr) == (1, True)
        assert not (tmp_path / "y.tar").exists()

    @pytest.mark.parametrize("content", [b"", b"no tar" * 1000, make_tar(file("../x", b""))])
    def test_what_is_no_archive_is_refused(self, layerkit: LayerkitProcess, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.tar").write_bytes(content)
        done = layerkit("load", "-i", tmp_path / "x.tar", check=False)
        assert (done.code, done.stdout, "Traceback" in done.stderr) == (1, "", False)
        assert str(tmp_path / "x.tar") in done.stderr


def test_push_and_pull_say_what_they_moved(
    images: dict[str, str], registry: RegistryProcess, layerkit: LayerkitProcess
) -> None:
    name = f"{registry.address}/moved:1"
    layerkit("copy", f"oci:{images['root']}:single", f"store:{name}")
    expected = {"name": name, "mediaType": MANIFEST, "digest": images["single"]}
    for command in ("push", "pull"):
        shown = json.loads(layerkit(command, name, "--format", "json").stdout)
        assert shown == {**expected, "size": shown["size"]}
        assert shown["size"] > 0
        assert layerkit(command, name).stdout == f"{images['single']}\n"
