"""`layerkit build`: its options, what it prints, and what is in the store and in `-o` afterwards."""

import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.images import HandmadeLayout, file, folder, make_tar, read_layer
from tests.programs import LayerkitProcess, RegistryProcess, run_program

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\n")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "file").write_text("content")
    (path / "layerkit.yaml").write_text("from: scratch\nlayers: [{name: app, copy: [./file:/file]}]\n")
    return path


def entries_of(layout: Path) -> list[tuple[str, str, str]]:
    """Full name, tag and digest of all that `index.json` lists."""
    return [
        (
            entry["annotations"].get("io.containerd.image.name", ""),
            entry["annotations"].get("org.opencontainers.image.ref.name", ""),
            entry["digest"],
        )
        for entry in json.loads((layout / "index.json").read_text())["manifests"]
    ]


def store_of(layerkit: LayerkitProcess) -> Path:
    return layerkit.data / "layerkit/store"


def read_json(layout: Path, digest: str) -> Any:
    return json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())


def config_of(layout: Path, digest: str) -> Any:
    return read_json(layout, read_json(layout, digest)["config"]["digest"])


def test_a_spec_is_parsed_once_unless_nothing_is_to_be_believed(layerkit: LayerkitProcess, context: Path) -> None:
    """`--no-cache`: what an earlier build has remembered is not believed."""
    kept = layerkit.data / "cache/layerkit/specs-1"
    (context / "other.yaml").write_text("name: context\nfrom: scratch\n")

    def build(*arguments: str) -> str:
        return layerkit("build", "-q", *arguments, cwd=context).stdout

    usual = build()
    (path,) = kept.iterdir()
    other = build("-f", "other.yaml")
    # The one in the place of the other, which shows whether it is read.
    path.write_bytes(next(each for each in kept.iterdir() if each != path).read_bytes())
    assert build() == other
    assert build("--no-cache") == usual != other
    assert build() == usual
    path.write_bytes(b"damaged")
    assert build() == usual


class TestOutput:
    """SPEC, "Command line": "`stdout` carries the answer (a digest, JSON), `stderr` everything else"."""

    def test_stdout_has_the_digest_alone(self, layerkit: LayerkitProcess, context: Path) -> None:
        done = layerkit("build", "-t", "localhost/x:1", cwd=context)
        assert DIGEST.fullmatch(done.stdout)
        lines = done.stderr.splitlines()
        assert lines[0].startswith("building context for linux/")
        assert re.fullmatch(r"  layer +\d+ B  sha256:[0-9a-f]{64}  app: 1 file, 7 B", lines[1])
        assert lines[2].split() == ["image", done.stdout.strip()]
        assert lines[3:] == ["tagged localhost/x:1"]

    def test_quiet_leaves_the_digest_alone(self, layerkit: LayerkitProcess, context: Path) -> None:
        (context / "layerkit.yaml").write_text("from: scratch\nlayers: [{copy: [./file:/a, ./layerkit.yaml:/a]}]\n")
        loud, quiet = layerkit("build", cwd=context), layerkit("build", "--quiet", cwd=context)
        assert (quiet.stdout, quiet.stderr) == (loud.stdout, "")
        assert "warning: layerkit.yaml:2:" in loud.stderr

    def test_a_failure_prints_nothing_on_stdout_even_when_quiet(self, layerkit: LayerkitProcess, context: Path) -> None:
        (context / "file").unlink()
        done = layerkit("build", "-q", cwd=context, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert "no file matches ./file" in done.stderr

    def test_a_reader_that_has_gone_is_no_traceback(self, layerkit: LayerkitProcess, context: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as gone:
            done = subprocess.run(
                [sys.executable, "-m", "layerkit", "build"],
                cwd=context,
                env={**os.environ, "XDG_DATA_HOME": str(layerkit.data)},
                stdout=gone,
                stderr=subprocess.PIPE,
                check=False,
                text=True,
            )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


class TestNames:
    def test_the_image_is_named_after_its_folder(self, layerkit: LayerkitProcess, context: Path) -> None:
        """SPEC, "What is built": "neither `-t` nor `tags:` means `NAME:latest`"."""
        digest = layerkit("build", cwd=context).stdout.strip()
        assert entries_of(store_of(layerkit)) == [("docker.io/library/context:latest", "latest", digest)]

    def test_several_names_are_one_image(self, layerkit: LayerkitProcess, context: Path) -> None:
        done = layerkit("build", "-t", "localhost/a:1", "--tag", "acme/b", "-t", "[::1]:5000/c:1", cwd=context)
        digest = done.stdout.strip()
        assert entries_of(store_of(layerkit)) == [
            ("localhost/a:1", "1", digest),
            ("docker.io/acme/b:latest", "latest", digest),
            ("[::1]:5000/c:1", "1", digest),
        ]

    def test_names_of_the_command_line_replace_those_of_the_spec(
        self, layerkit: LayerkitProcess, context: Path
    ) -> None:
        """SPEC, "What is built": "`-t` replaces `tags:`"."""
        (context / "layerkit.yaml").write_text("from: scratch\ntags: [localhost/a:1, localhost/b]\n")
        layerkit("build", "-t", "localhost/c:1", cwd=context)
        assert [name for name, _, _ in entries_of(store_of(layerkit))] == ["localhost/c:1"]
        layerkit("build", cwd=context)
        names = [name for name, _, _ in entries_of(store_of(layerkit))]
        assert sorted(names) == ["localhost/a:1", "localhost/b:latest", "localhost/c:1"]

    def test_a_digest_is_no_name(self, layerkit: LayerkitProcess, context: Path) -> None:
        done = layerkit("build", "-t", f"localhost/a@sha256:{'0' * 64}", cwd=context, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert "a tag alone" in done.stderr

    def test_a_new_build_takes_the_name_from_the_old(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit("build", "-t", "localhost/a:1", cwd=context)
        layerkit("build", "-t", "localhost/a:2", cwd=context)
        (context / "file").write_text("other")
        digest = layerkit("build", "-t", "localhost/a:1", cwd=context).stdout.strip()
        found = {name: named for name, _, named in entries_of(store_of(layerkit))}
        assert set(found) == {"localhost/a:1", "localhost/a:2"}
        assert found["localhost/a:1"] == digest != found["localhost/a:2"]


class TestLayoutOutput:
    """SPEC: "`-o oci:DIR` adds to the layout and replaces only the same reference"."""

    def test_a_layout_is_added_to(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        first = layerkit("build", "-t", "localhost/a:1", "-o", f"oci:{out}", cwd=context).stdout.strip()
        (context / "file").write_text("other")
        second = layerkit("build", "-t", "localhost/a:2", "-o", f"oci:{out}", cwd=context).stdout.strip()
        third = layerkit("build", "-t", "localhost/b:1", "-o", f"oci:{out}", cwd=context).stdout.strip()
        assert entries_of(out) == [
            ("localhost/a:1", "1", first),
            ("localhost/a:2", "2", second),
            ("localhost/b:1", "1", third),
        ]
        (context / "file").write_text("new")
        fourth = layerkit("build", "-t", "localhost/a:1", "-o", f"oci:{out}", cwd=context).stdout.strip()
        assert sorted(entries_of(out)) == [
            ("localhost/a:1", "1", fourth),
            ("localhost/a:2", "2", second),
            ("localhost/b:1", "1", third),
        ]
        for digest in (second, fourth):
            manifest = read_json(out, digest)
            assert list(read_layer(out, manifest["layers"][0])) == ["file"]
            assert config_of(out, digest)["rootfs"]["type"] == "layers"

    def test_all_names_are_in_it(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        done = layerkit("build", "-t", "localhost/a:1", "-t", "localhost/b:2", "-o", f"oci:{tmp_path}/out", cwd=context)
        digest = done.stdout.strip()
        assert entries_of(tmp_path / "out") == [("localhost/a:1", "1", digest), ("localhost/b:2", "2", digest)]
        assert done.stderr.splitlines()[-2:] == [
            f"written to oci:{tmp_path}/out:1",
            f"written to oci:{tmp_path}/out:2",
        ]

    def test_a_tag_of_its_own(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        layerkit("build", "-t", "localhost/a:1", "-o", "oci:out:9", "-o", f"oci:{tmp_path}/o:p", cwd=context)
        assert [tag for _, tag, _ in entries_of(context / "out")] == ["9"]
        assert [tag for _, tag, _ in entries_of(tmp_path / "o")] == ["p"]

    @pytest.mark.parametrize(
        "output", ["out", "oci:", "oci", "store:x", "tar:x", "oci:out:", "oci::1", "oci:out:-x", "oci:out:a b"]
    )
    def test_a_wrong_output_is_wrong_usage_before_anything_is_built(
        self, layerkit: LayerkitProcess, context: Path, output: str
    ) -> None:
        done = layerkit("build", "-o", output, cwd=context, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert f"-o {output}: " in done.stderr
        assert not store_of(layerkit).exists()

    def test_a_folder_of_something_else_is_left_alone(self, layerkit: LayerkitProcess, context: Path) -> None:
        done = layerkit("build", "-o", "oci:.", cwd=context, check=False)
        assert (done.code, done.stdout) == (1, "")
        assert "is no OCI image layout: it holds 'file'" in done.stderr
        assert sorted(path.name for path in context.iterdir()) == ["file", "layerkit.yaml"]

    @pytest.mark.engine
    def test_another_client_reads_it(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        digest = layerkit("build", "-t", "localhost/a:1", "-o", f"oci:{tmp_path}/out", cwd=context).stdout.strip()
        found = json.loads(run_program("skopeo", "inspect", f"oci:{tmp_path}/out:1"))
        assert found["Digest"] == digest


class TestVariables:
    def test_a_variable_of_the_command_line_wins(self, layerkit: LayerkitProcess, context: Path) -> None:
        (context / "layerkit.yaml").write_text(
            "vars: {TAG: dev, N: }\nfrom: scratch\ntags: ['localhost/a:${TAG}-${N}']\n"
        )
        layerkit("build", "--var", "TAG=1", "--var", "N=x", cwd=context)
        assert [tag for _, tag, _ in entries_of(store_of(layerkit))] == ["1-x"]

    @pytest.mark.parametrize("variable", ["TAG", "=x", ""])
    def test_a_variable_has_a_name_and_a_value(self, layerkit: LayerkitProcess, context: Path, variable: str) -> None:
        done = layerkit("build", "--var", variable, cwd=context, check=False)
        assert done.code == 2
        assert "expected NAME=VALUE" in done.stderr

    def test_an_undeclared_variable_is_told(self, layerkit: LayerkitProcess, context: Path) -> None:
        done = layerkit("build", "--var", "X=1", cwd=context, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert "X" in done.stderr

    def test_the_platform_of_the_spec_is_that_of_its_variables(self, layerkit: LayerkitProcess, context: Path) -> None:
        """SPEC, rule 4: "plus `arch os variant platform`"; the example's `dist/agent-${os}-${arch}${variant}`."""
        (context / "agent-linux-armv6").write_text("")
        (context / "layerkit.yaml").write_text(
            "from: scratch\nplatforms: [linux/arm/v6]\nlayers: [{copy: ['agent-${os}-${arch}${variant}:/agent']}]\n"
            "config: {env: {P: '${platform}'}}\n"
        )
        digest = layerkit("build", cwd=context).stdout.strip()
        config = config_of(store_of(layerkit), digest)
        assert (config["architecture"], config["variant"]) == ("arm", "v6")
        assert config["config"]["Env"] == ["P=linux/arm/v6"]

    @pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 5000, "99999999999", " 1"])
    def test_a_wrong_source_date_epoch_is_told(self, layerkit: LayerkitProcess, context: Path, text: str) -> None:
        done = layerkit("build", cwd=context, check=False, SOURCE_DATE_EPOCH=text)
        assert (done.code, done.stdout) == (2, "")
        assert "is no number of seconds since 1970" in done.stderr
        assert "Traceback" not in done.stderr

    def test_source_date_epoch_wins_over_timestamp(self, layerkit: LayerkitProcess, context: Path) -> None:
        (context / "layerkit.yaml").write_text("from: scratch\ntimestamp: 5\n")
        for epoch, created in (("86400", "1970-01-02"), ("", "1970-01-01")):
            digest = layerkit("build", cwd=context, SOURCE_DATE_EPOCH=epoch).stdout.strip()
            assert config_of(store_of(layerkit), digest)["created"].startswith(created)


class TestPushNames:
    @pytest.mark.parametrize("spec", ["tags: [acme/web:1]", "tags: [localhost/a:1, acme/web]", "name: web"])
    def test_a_name_without_a_registry_is_not_pushed(self, layerkit: LayerkitProcess, context: Path, spec: str) -> None:
        """SPEC, "What is built": "`--push` needs a reference with an explicit host"."""
        (context / "layerkit.yaml").write_text(f"from: scratch\n{spec}\n")
        done = layerkit("build", "--push", cwd=context, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert not store_of(layerkit).exists()

    def test_all_names_are_pushed(
        self, layerkit: LayerkitProcess, registry_process: RegistryProcess, context: Path
    ) -> None:
        names = [f"{registry_process.address}/{name}" for name in ("a:1", "b/c:2")]
        done = layerkit("build", "--push", "-t", names[0], "-t", names[1], cwd=context)
        assert DIGEST.fullmatch(done.stdout)
        for name in names:
            shown = layerkit("inspect", "--remote", "--format", "json", name).stdout
            assert json.loads(shown)["descriptor"]["digest"] == done.stdout.strip()


class TestBaseOfARegistry:
    ROOTFS = make_tar(folder("usr"), file("usr/x", bytes(range(256)) * 400))

    def test_its_layers_are_mounted_by_the_registry_that_has_them(
        self, layerkit: LayerkitProcess, registry_process: RegistryProcess, context: Path
    ) -> None:
        """What the registry has in the base's repository is not sent once more (distribution-spec, "Mounting")."""
        address = registry_process.address
        layout = HandmadeLayout(context / "base")
        layout.name(layout.image(self.ROOTFS))
        (context / "layerkit.yaml").write_text("from: oci:base\n")
        base = layerkit("build", "-t", f"{address}/base:1", "--push", cwd=context).stdout.strip()

        (context / "layerkit.yaml").write_text(
            f"from: {address}/base:1\nlayers: [{{copy: [./file:/usr/y]}}]\ntags: ['{address}/acme/app']\n"
        )
        other = LayerkitProcess(layerkit.data.parent / "other")
        done = other("build", "--push", cwd=context)
        layer = read_json(store_of(layerkit), base)["layers"][0]
        assert [line.split()[-1] for line in done.stderr.splitlines() if line.startswith("  mounted ")] == [
            layer["digest"]
        ]
        assert done.stderr.splitlines()[-1].endswith("1 mounted")
        manifest = read_json(store_of(other), done.stdout.strip())
        assert manifest["annotations"] == {
            "org.opencontainers.image.base.name": f"{address}/base:1",
            "org.opencontainers.image.base.digest": base,
        }
        assert manifest["layers"][0] == layer
        # A second build takes nothing but the manifest, and gives the same.
        again = other("build", "--push", cwd=context)
        assert again.stdout == done.stdout
        assert "pulled" not in again.stderr
        assert "pushed  " not in again.stderr

    def test_an_index_of_the_registry_is_named_and_one_of_its_images_taken(
        self, layerkit: LayerkitProcess, registry_process: RegistryProcess, context: Path, tmp_path: Path
    ) -> None:
        layout = HandmadeLayout(tmp_path / "base")
        platforms = ("linux/arm64", "linux/amd64")
        index = layout.name(layout.index([(layout.image(self.ROOTFS, platform=name), name) for name in platforms]))
        copy = LayerkitProcess(tmp_path / "copier")
        store_of(copy).parent.mkdir(parents=True)
        layout.root.rename(store_of(copy))
        text = (store_of(copy) / "index.json").read_text()
        name = f"{registry_process.address}/base:1"
        named = text.replace('"annotations": {', f'"annotations": {{"io.containerd.image.name": "{name}", ')
        (store_of(copy) / "index.json").write_text(named)
        copy("push", name)

        (context / "layerkit.yaml").write_text(f"from: {name}\nplatforms: [linux/arm64]\n")
        digest = layerkit("build", cwd=context).stdout.strip()
        assert config_of(store_of(layerkit), digest)["architecture"] == "arm64"
        assert read_json(store_of(layerkit), digest)["annotations"]["org.opencontainers.image.base.digest"] == index
        (context / "layerkit.yaml").write_text(f"from: {name}\nplatforms: [linux/s390x]\n")
        done = layerkit("build", cwd=context, check=False)
        assert done.code == 1
        assert done.stderr.splitlines()[-1] == (
            f"error: {name} has no image for linux/s390x: it has linux/amd64, linux/arm64"
        )

    def test_annotations_of_the_spec_may_hide_the_base(
        self, layerkit: LayerkitProcess, registry_process: RegistryProcess, context: Path
    ) -> None:
        """What is written there need not be a reference, and the image can be pushed all the same."""
        (context / "layerkit.yaml").write_text(
            "from: scratch\nlayers: [{copy: [./file:/x]}]\n"
            "annotations: {org.opencontainers.image.base.name: 'No Reference!'}\n"
        )
        name = f"{registry_process.address}/a:1"
        digest = layerkit("build", "--push", "-t", name, cwd=context).stdout.strip()
        assert f"digest    {digest}" in layerkit("inspect", "--remote", name).stdout


class TestSeveral:
    @pytest.fixture
    def several(self, context: Path) -> Path:
        (context / "layerkit.yaml").write_text(
            "defaults: {platforms: [linux/amd64, linux/arm64]}\n"
            "images:\n"
            "  web: {from: base, tags: [localhost/web:1], layers: [{copy: [./file:/web]}]}\n"
            "  base: {from: scratch, layers: [{copy: [./file:/base]}]}\n"
        )
        return context

    def test_all_are_built_and_their_digests_printed_in_that_order(
        self, layerkit: LayerkitProcess, several: Path
    ) -> None:
        done = layerkit("build", cwd=several)
        digests = done.stdout.splitlines()
        found = {name: digest for name, _, digest in entries_of(store_of(layerkit))}
        assert found == {"docker.io/library/base:latest": digests[0], "localhost/web:1": digests[1]}
        index = read_json(store_of(layerkit), digests[1])
        assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]

    def test_what_one_needs_is_built_but_not_named(self, layerkit: LayerkitProcess, several: Path) -> None:
        done = layerkit("build", "web", "-t", "localhost/other:1", cwd=several)
        assert [name for name, _, _ in entries_of(store_of(layerkit))] == ["localhost/other:1"]
        assert len(done.stdout.splitlines()) == 1

    def test_platforms_of_the_command_line_replace_those_of_the_file(
        self, layerkit: LayerkitProcess, several: Path
    ) -> None:
        digest = layerkit("build", "base", "--platform", "linux/arm/v7", cwd=several).stdout.strip()
        assert config_of(store_of(layerkit), digest)["variant"] == "v7"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("-t", "localhost/x"), "-t is for one image, and 2 are built"),
            (("--iidfile", "x"), "--iidfile is for one image, and 2 are built"),
            (("wep",), "did you mean `web`?"),
            ((".",), "'.' is no image of the spec. The spec is named with -f, like -f ./layerkit.yaml"),
            (("--platform", "amd64"), "invalid platform 'amd64'"),
        ],
    )
    def test_wrong_usage(
        self, layerkit: LayerkitProcess, several: Path, arguments: tuple[str, ...], message: str
    ) -> None:
        done = layerkit("build", *arguments, cwd=several, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert message in done.stderr

    def test_json_tells_all_of_it(self, layerkit: LayerkitProcess, several: Path) -> None:
        base, web = json.loads(layerkit("build", "--format", "json", cwd=several).stdout)["images"]
        assert (base["name"], base["references"]) == ("base", ["docker.io/library/base:latest"])
        assert web["references"] == ["localhost/web:1"]
        assert [platform["platform"] for platform in web["platforms"]] == ["linux/amd64", "linux/arm64"]
        (layer,) = web["platforms"][0]["layers"]
        assert (layer["name"], layer["mediaType"]) == ("layer-1", "application/vnd.oci.image.layer.v1.tar+gzip")

    def test_metadata_is_as_buildx_writes_it(self, layerkit: LayerkitProcess, several: Path, tmp_path: Path) -> None:
        path, iid = tmp_path / "metadata.json", tmp_path / "iid"
        done = layerkit("build", "web", "--metadata-file", str(path), "--iidfile", str(iid), cwd=several)
        metadata = json.loads(path.read_text())
        digest = done.stdout.strip()
        assert metadata["containerimage.digest"] == iid.read_text() == digest
        assert metadata["image.name"] == "localhost/web:1"
        assert metadata["containerimage.descriptor"]["mediaType"] == "application/vnd.oci.image.index.v1+json"
        layerkit("build", "--metadata-file", str(path), cwd=several)
        assert json.loads(path.read_text())["web"]["containerimage.digest"] == digest

    def test_a_check_says_what_is_wrong_and_writes_nothing(self, layerkit: LayerkitProcess, several: Path) -> None:
        done = layerkit("build", "--check", cwd=several)
        assert done.stdout == ""
        assert "web for linux/arm64: 1 layer, as it should be" in done.stderr
        assert entries_of(store_of(layerkit)) == [] if (store_of(layerkit) / "index.json").exists() else True
        (several / "file").unlink()
        done = layerkit("build", "--check", cwd=several, check=False)
        assert done.code == 2
        assert "no file matches ./file" in done.stderr


class TestArchives:
    """SPEC, "What is built": "archives are replaced atomically"; LAYERS, item 45."""

    def test_one_file_is_for_both_forms(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        path = tmp_path / "out.tar"
        path.write_text("an older one")
        digest = layerkit("build", "-t", "localhost/a:1", "-o", f"docker-archive:{path}", cwd=context).stdout.strip()
        with tarfile.open(path) as archive:
            names = archive.getnames()
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
            saved = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert names[:3] == ["oci-layout", "index.json", "manifest.json"]
        assert [entry["digest"] for entry in index["manifests"]] == [digest]
        assert saved[0]["RepoTags"] == ["localhost/a:1"]

    def test_several_images_share_one(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        (context / "layerkit.yaml").write_text(
            "images: {a: {from: scratch, tags: [localhost/a:1]}, b: {from: scratch, labels: {x: y}}}\n"
        )
        done = layerkit("build", "-o", f"oci-archive:{tmp_path}/out.tar", cwd=context)
        with tarfile.open(tmp_path / "out.tar") as archive:
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        assert sorted(entry["digest"] for entry in index["manifests"]) == sorted(done.stdout.split())
        done = layerkit("build", "-o", f"oci-archive:{tmp_path}/out.tar:1", cwd=context, check=False)
        assert (done.code, "is for one image, and 2 are built" in done.stderr) == (2, True)

    def test_a_name_of_its_own(self, layerkit: LayerkitProcess, context: Path, tmp_path: Path) -> None:
        out = f"docker-archive:{tmp_path}/out.tar:acme/other:7"
        layerkit("build", "-o", out, "-o", f"oci-archive:{tmp_path}/oci.tar:8", cwd=context)
        for name, tag in (("out.tar", "docker.io/acme/other:7"), ("oci.tar", "docker.io/library/context:8")):
            with tarfile.open(tmp_path / name) as archive:
                index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
            assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == tag


def test_a_limit_can_be_raised_by_who_trusts(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    """LAYERS, S5: "Bomb limits: per-layer uncompressed maximum (configurable ...)"."""
    (tmp_path / "rootfs.tar.gz").write_bytes(gzip.compress(make_tar(file("zeros", bytes(120 * 2**20)))))
    (tmp_path / "layerkit.yaml").write_text("name: a\nfrom: tar:rootfs.tar.gz\n")
    refused = layerkit("build", cwd=tmp_path, check=False)
    assert refused.code == 1
    assert "above the limit `ratio` of 1000" in refused.stderr
    assert "layerkit build --limit ratio=NUMBER" in refused.stderr
    layerkit("build", "--limit", "ratio=2000", cwd=tmp_path)


@pytest.mark.parametrize("limit", ["ratio", "ratio=many", "rate=3", "=3", "ratio=-1"])
def test_a_limit_that_is_none_is_wrong_usage(layerkit: LayerkitProcess, tmp_path: Path, limit: str) -> None:
    (tmp_path / "layerkit.yaml").write_text("name: a\nfrom: scratch\n")
    refused = layerkit("build", "--limit", limit, cwd=tmp_path, check=False)
    assert refused.code == 2
    assert f"--limit {limit}: expected NAME=NUMBER" in refused.stderr
