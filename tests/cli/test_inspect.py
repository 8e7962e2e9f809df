"""`layerkit inspect` and `layerkit images`: what is in the store, and in a registry."""

import json
from pathlib import Path

import pytest

from tests.images import HandmadeLayout, file, make_tar
from tests.programs import LayerkitProcess, RegistryProcess

SPEC = """\
from: scratch
layers: [{copy: [{content: hello, dest: /x}]}]
timestamp: 1700000000
labels: {title: hello, note: "bell \\a and \\e[31mred"}
config: {entrypoint: [/x, "a b"], cmd: [c], user: "5", workdir: /srv, expose: [80], env: {A: "1", B: "2"}}
"""


@pytest.fixture
def built(layerkit: LayerkitProcess, tmp_path: Path) -> str:
    """The digest of an image that is `localhost/acme/web:1` and `web:latest` in the store."""
    (tmp_path / "web.yaml").write_text(SPEC)
    names = ("-t", "localhost/acme/web:1", "-t", "web")
    return layerkit("build", "-f", "web.yaml", *names, cwd=tmp_path).stdout.strip()


@pytest.fixture
def index(layerkit: LayerkitProcess, tmp_path: Path) -> str:
    """The digest of an index for two platforms that is `localhost/index:1` in the store, and alone there."""
    store = layerkit.data / "layerkit/store"
    layout = HandmadeLayout(store)
    tar = make_tar(file("x", b"content"))
    platforms = ("linux/amd64", "linux/arm/v7")
    made = layout.index([(layout.image(tar, platform=name, author=name), name) for name in platforms])
    digest = layout.name(made)
    path = store / "index.json"
    name = '"annotations": {"io.containerd.image.name": "localhost/index:1", '
    path.write_text(path.read_text().replace('"annotations": {', name))
    return digest


class TestText:
    def test_an_image_is_shown_for_people(self, layerkit: LayerkitProcess, built: str) -> None:
        lines = layerkit("inspect", "localhost/acme/web:1").stdout.splitlines()
        assert lines[:3] == [
            "name      localhost/acme/web:1",
            f"digest    {built}",
            "type      application/vnd.oci.image.manifest.v1+json",
        ]
        assert lines[4:13] == [
            "created   2023-11-14T22:13:20Z",
            'entry     ["/x", "a b"]',
            'cmd       ["c"]',
            "user      5",
            "workdir   /srv",
            "ports     80/tcp",
            "env       A=1",
            "          B=2",
            "labels    note=bell \ufffd and \ufffd[31mred",
        ]
        assert [line.split()[0] for line in lines[15:]] == ["config", "layer", "total"]

    def test_nothing_reaches_the_terminal_but_text(self, layerkit: LayerkitProcess, built: str) -> None:
        """Labels are written by whoever made the image."""
        assert layerkit("inspect", "localhost/acme/web:1").stdout.replace("\n", "").isprintable()

    def test_a_name_without_a_registry_is_of_the_store_first(self, layerkit: LayerkitProcess, built: str) -> None:
        assert layerkit("inspect", "web").stdout.startswith("name      web:latest\n")
        assert f"digest    {built}" in layerkit("inspect", f"web@{built}").stdout

    def test_an_index_lists_its_images(self, layerkit: LayerkitProcess, index: str) -> None:
        lines = layerkit("inspect", "localhost/index:1").stdout.splitlines()
        assert lines[1] == f"digest    {index}"
        assert [line.split()[-1] for line in lines[4:6]] == ["linux/amd64", "linux/arm/v7"]
        one = layerkit("inspect", "--platform", "linux/arm", "localhost/index:1").stdout
        assert "platform  linux/arm/v7" in one

    def test_an_index_without_the_platform_is_not_sought_elsewhere(self, layerkit: LayerkitProcess, index: str) -> None:
        done = layerkit("inspect", "--platform", "linux/s390x", "localhost/index:1", check=False)
        assert done.code == 1
        assert done.stderr == (
            "error: localhost/index:1 has no image for linux/s390x: it has linux/amd64, linux/arm/v7\n"
        )

    @pytest.mark.parametrize("platform", ["linux", "linux/", "a/b/c/d"])
    def test_a_wrong_platform_is_wrong_usage(self, layerkit: LayerkitProcess, platform: str) -> None:
        done = layerkit("inspect", "--platform", platform, "web", check=False)
        assert (done.code, done.stdout) == (2, "")
        assert "expected os/architecture[/variant]" in done.stderr


class TestJSON:
    def test_it_has_manifest_and_config_as_they_are_stored(self, layerkit: LayerkitProcess, built: str) -> None:
        shown = json.loads(layerkit("inspect", "--format", "json", "localhost/acme/web:1").stdout)
        blobs = layerkit.data / "layerkit/store/blobs"
        assert set(shown) == {"name", "descriptor", "manifest", "config"}
        assert shown["name"] == "localhost/acme/web:1"
        raw = (blobs / built.replace(":", "/")).read_bytes()
        assert shown["descriptor"] == {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": built,
            "size": len(raw),
        }
        assert shown["manifest"] == json.loads(raw)
        config = blobs / shown["manifest"]["config"]["digest"].replace(":", "/")
        assert shown["config"] == json.loads(config.read_bytes())

    def test_an_index_has_no_config(self, layerkit: LayerkitProcess, index: str) -> None:
        shown = json.loads(layerkit("inspect", "--format", "json", "localhost/index:1").stdout)
        assert set(shown) == {"name", "descriptor", "manifest"}
        one = layerkit("inspect", "--format", "json", "--platform", "linux/arm", "localhost/index:1").stdout
        assert json.loads(one)["config"]["author"] == "linux/arm/v7"


class TestRemote:
    def test_what_the_store_has_not_is_asked_of_the_registry(
        self, layerkit: LayerkitProcess, registry_process: RegistryProcess, tmp_path: Path
    ) -> None:
        name = f"{registry_process.address}/web:1"
        (tmp_path / "web.yaml").write_text(SPEC)
        layerkit("build", "-f", "web.yaml", "-t", name, "--push", cwd=tmp_path)
        local = layerkit("inspect", name).stdout
        elsewhere = LayerkitProcess(tmp_path / "elsewhere")
        assert elsewhere("inspect", name).stdout == local
        assert elsewhere("images").stdout == ""
        # What is in the store is not asked for, unless one says so.
        (tmp_path / "web.yaml").write_text(SPEC.replace("1700000000", "1800000000"))
        layerkit("build", "-f", "web.yaml", "-t", name, cwd=tmp_path)
        assert layerkit("inspect", name).stdout != local
        assert layerkit("inspect", "--remote", name).stdout == local


class TestImages:
    def test_nothing_is_listed_of_an_empty_store(self, layerkit: LayerkitProcess) -> None:
        done = layerkit("images")
        assert (done.stdout, done.stderr) == ("", "")

    def test_each_name_is_a_line(self, layerkit: LayerkitProcess, built: str) -> None:
        rows = [line.split()[:4] for line in layerkit("images").stdout.splitlines()]
        shown = json.loads(layerkit("inspect", "--format", "json", "web").stdout)["manifest"]
        size = shown["config"]["size"] + sum(layer["size"] for layer in shown["layers"])
        assert rows == [["web:latest", built, f"{size}", "B"], ["localhost/acme/web:1", built, f"{size}", "B"]]

    def test_an_index_has_the_size_of_all_its_images(self, layerkit: LayerkitProcess, index: str) -> None:
        name, digest, size, unit, _, platforms = layerkit("images").stdout.split()
        assert (name, digest, platforms) == ("localhost/index:1", index, "linux/amd64,linux/arm/v7")
        children = [
            json.loads(layerkit("inspect", "--format", "json", "--platform", platform, name).stdout)["manifest"]
            for platform in ("linux/amd64", "linux/arm/v7")
        ]
        blobs = [blob for child in children for blob in (child["config"], *child["layers"])]
        # What two of them share is there once.
        total = sum({blob["digest"]: blob["size"] for blob in blobs}.values())
        assert f"{size} {unit}" in {f"{total} B", f"{total / 1000:.1f} kB"}
