"""`layerkit ls`, `history` and `diff`, on images that layerkit built and on those that others made."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.images import HandmadeLayout, Member, digest_of, file, folder, make_tar, member, symlink
from tests.programs import LayerkitHere, LayerkitProcess, RegistryProcess, run_registry

ROOTFS: list[Member] = [
    folder("etc"),
    file("etc/passwd", b"root:x:0:0\n", mode=0o644),
    file("etc/old", b"old"),
    folder("tmp", mode=0o1777),
    folder("usr"),
    folder("usr/bin"),
    file("usr/bin/ping", b"ping", mode=0o4755, uid=0, pax_headers={"SCHILY.xattr.user.note": "a"}),
    member("usr/bin/ping4", b"1", linkname="usr/bin/ping"),
    symlink("bin", "usr/bin"),
    folder("var"),
    folder("var/lib"),
    folder("var/lib/dpkg"),
    file("var/lib/dpkg/status", b"Package: libc6\nStatus: install ok installed\nVersion: 1\n"),
    member("null", b"3", mode=0o666, devmajor=1, devminor=3),
]
PYTHON = "venv/lib/python3/site-packages"
UPDATE: list[Member] = [
    file("etc/.wh.old"),
    folder("srv"),
    folder("srv/app"),
    file("srv/app/main.py", b"print()\n", uid=10, gid=20, mtime=1_700_000_000),
    file(f"srv/app/{PYTHON}/Flask_Login-1.0.dist-info/METADATA", b""),
]


@pytest.fixture
def layerkit(tmp_path: Path) -> LayerkitProcess:
    return LayerkitHere(tmp_path / "data")


class Images(HandmadeLayout):
    """The local store, with images that others made."""

    def store(self, descriptor: dict[str, Any], name: str, tag: str = "1") -> str:
        """List the image under a name; the answer is its digest."""
        digest = self.name(descriptor, tag)
        self._entries[-1]["annotations"]["io.containerd.image.name"] = f"{name}:{tag}"
        self.name(descriptor, f"{tag}-again")
        return digest


@pytest.fixture
def images(layerkit: LayerkitProcess) -> Images:
    return Images(layerkit.data / "layerkit/store")


@pytest.fixture
def web(images: Images) -> str:
    """`localhost/web:1`, of two layers."""
    return images.store(
        images.image(make_tar(*ROOTFS), make_tar(*UPDATE), created="2024-01-02T03:04:05Z"), "localhost/web"
    )


class TestLs:
    def test_a_folder_is_listed(self, layerkit: LayerkitProcess, web: str) -> None:
        done = layerkit("ls", "localhost/web:1")
        assert done.stdout.splitlines() == ["bin", "etc/", "null", "srv/", "tmp/", "usr/", "var/"]
        assert done.stderr == ""

    def test_deletions_are_deletions(self, layerkit: LayerkitProcess, web: str) -> None:
        assert layerkit("ls", "localhost/web:1", "/etc").stdout.splitlines() == ["passwd"]
        done = layerkit("ls", "localhost/web:1", "/etc/old", check=False)
        assert (done.code, done.stdout) == (1, "")
        assert done.stderr == "error: '/etc/old' is not in localhost/web:1\n"

    def test_the_long_form_has_all_that_ls_has(self, layerkit: LayerkitProcess, web: str) -> None:
        lines = layerkit("ls", "-lR", "localhost/web:1", "/").stdout.splitlines()
        assert [line.split() for line in lines if "ping" in line or "main.py" in line or "/null" in line] == [
            ["crw-rw-rw-", "0:0", "1,3", "1970-01-01", "00:00", "/null"],
            ["-rw-r--r--", "10:20", "8", "B", "2023-11-14", "22:13", "/srv/app/main.py"],
            ["-rwsr-xr-x+", "0:0", "4", "B", "1970-01-01", "00:00", "/usr/bin/ping"],
            ["-rwsr-xr-x+", "0:0", "4", "B", "1970-01-01", "00:00", "/usr/bin/ping4", "=", "/usr/bin/ping"],
        ]
        assert any(line.endswith("  /bin -> usr/bin") for line in lines)
        assert any(line.startswith("drwxrwxrwt") and line.endswith("  /tmp/") for line in lines)

    def test_a_file_and_a_link_may_be_asked_for(self, layerkit: LayerkitProcess, web: str) -> None:
        assert layerkit("ls", "localhost/web:1", "/bin").stdout.splitlines() == ["ping", "ping4"]
        assert layerkit("ls", "localhost/web:1", "/bin/ping").stdout.splitlines() == ["ping"]
        assert layerkit("ls", "-l", "localhost/web:1", "etc/passwd").stdout.endswith("  /etc/passwd\n")

    def test_json_has_a_shape_that_stays(self, layerkit: LayerkitProcess, web: str) -> None:
        """docs/output.md, "layerkit ls"."""
        shown = json.loads(layerkit("ls", "--format", "json", "-R", "localhost/web:1", "/usr/").stdout)
        layers = json.loads(layerkit("inspect", "--format", "json", "localhost/web:1").stdout)["manifest"]["layers"]
        assert shown == {
            "name": "localhost/web:1",
            "digest": web,
            "platform": "linux/amd64",
            "path": "/usr",
            "files": [
                {
                    "path": "/usr/bin",
                    "type": "directory",
                    "mode": "0755",
                    "uid": 0,
                    "gid": 0,
                    "size": 0,
                    "mtime": 0,
                    "layer": layers[0]["digest"],
                },
                *(
                    {
                        "path": f"/usr/bin/{name}",
                        "type": "file",
                        "mode": "4755",
                        "uid": 0,
                        "gid": 0,
                        "size": 4,
                        "mtime": 0,
                        "layer": layers[0]["digest"],
                        **hardlink,
                        "xattrs": {"user.note": "YQ=="},
                    }
                    for name, hardlink in (("ping", {}), ("ping4", {"hardlink": "/usr/bin/ping"}))
                ),
            ],
        }

    def test_names_of_others_are_only_text(self, layerkit: LayerkitProcess, images: Images) -> None:
        tar = make_tar(file("a\x1b[31m\nb"), file("caf\udce9"), symlink("l", "\x07"))
        images.store(images.image(tar), "localhost/evil")
        for options in ([], ["-l"]):
            lines = layerkit("ls", *options, "localhost/evil:1").stdout.splitlines()
            assert len(lines) == 3
            assert all(line.isprintable() for line in lines)
        shown = json.loads(layerkit("ls", "--format", "json", "localhost/evil:1").stdout)
        assert [entry["path"] for entry in shown["files"]] == ["/a\x1b[31m\nb", "/caf\udce9", "/l"]

    def test_an_image_of_an_index_is_chosen(self, layerkit: LayerkitProcess, images: Images) -> None:
        children = [
            (images.image(make_tar(file(name.replace("/", "-"))), platform=name), name)
            for name in ("linux/amd64", "linux/arm64", "linux/arm/v7")
        ]
        images.store(images.index(children), "localhost/index")
        images.store(images.index(children[2:]), "localhost/one")
        assert layerkit("ls", "--platform", "linux/arm64", "localhost/index:1").stdout == "linux-arm64\n"
        assert layerkit("ls", "localhost/one:1").stdout == "linux-arm-v7\n"
        done = layerkit("ls", "--platform", "linux/s390x", "localhost/index:1", check=False)
        assert "it has linux/amd64, linux/arm/v7, linux/arm64" in done.stderr

    def test_an_artifact_has_no_files(self, layerkit: LayerkitProcess, images: Images) -> None:
        images.store(images.image(config_type="application/vnd.cncf.helm.config.v1"), "localhost/chart")
        done = layerkit("ls", "localhost/chart:1", check=False)
        assert done.code == 1
        assert done.stderr.startswith("error: localhost/chart:1 is no image whose files could be looked at")

    def test_a_layer_that_lies_is_told(self, layerkit: LayerkitProcess, images: Images) -> None:
        images.store(images.image(make_tar(file("x")), stored=lambda raw: b"no gzip"), "localhost/broken")
        for command in (["ls"], ["diff", "localhost/broken:1"]):
            done = layerkit(*command, "localhost/broken:1", check=False)
            assert (done.code, done.stdout) == (1, "")
            assert done.stderr.startswith("error: layer sha256:")
            assert "of localhost/broken:1" in done.stderr


def test_what_others_wrote_looks_like_no_line_of_ours(layerkit: LayerkitProcess, images: Images) -> None:
    evil = "x\x1b[31m\n  9  2024-01-01T00:00:00Z  sha256:forged"
    history = [{"created": evil, "created_by": evil, "comment": evil}]
    config = {"Labels": {evil: evil}, "Env": [evil], "Entrypoint": [evil], "User": evil, "WorkingDir": evil}
    tar = make_tar(file(evil, b"x"))
    images.store(images.image(tar, history=history, config=config, annotations={evil: evil}), "localhost/evil")
    images.store(images.image(make_tar(file("y"))), "localhost/good")
    commands = (["ls"], ["ls", "-lR"], ["history"], ["inspect"], ["diff", "localhost/good:1"], ["diff", "--all"])
    for command in commands:
        names = ["localhost/evil:1", "localhost/good:1"] if command[-1] == "--all" else ["localhost/evil:1"]
        for line in layerkit(*command, *names).stdout.splitlines():
            assert line.isprintable()
            assert not line.startswith("  9")


class TestHistory:
    def test_each_step_has_its_layer(self, layerkit: LayerkitProcess, images: Images) -> None:
        history: list[dict[str, Any]] = [
            {"created": "2024-01-02T03:04:05Z", "created_by": "ADD   rootfs\n  /", "comment": "from afar"},
            {"created_by": 'CMD ["sh"]', "empty_layer": True},
        ]
        tars = make_tar(file("a")), make_tar(file("b"))
        digest = images.store(images.image(*tars, history=history), "localhost/web")
        lines = layerkit("history", "localhost/web:1").stdout.splitlines()
        shown = json.loads(layerkit("history", "--format", "json", "localhost/web:1").stdout)
        layers = json.loads(layerkit("inspect", "--format", "json", "localhost/web:1").stdout)["manifest"]["layers"]
        assert shown == {
            "name": "localhost/web:1",
            "digest": digest,
            "platform": "linux/amd64",
            "steps": [
                {**history[0], "layer": layers[0]},
                {"created": None, "created_by": 'CMD ["sh"]', "comment": "", "layer": None},
                {"created": None, "created_by": "", "comment": "", "layer": layers[1]},
            ],
        }
        assert lines[0].split()[:2] == ["1", "2024-01-02T03:04:05Z"]
        assert lines[0].endswith(layers[0]["digest"])
        assert lines[1].strip() == "ADD rootfs /  # from afar"
        assert lines[2].endswith("-  no layer")
        assert lines[5].strip() == "(nothing is known of it)"


class TestDiff:
    def test_files_config_and_packages_are_compared(self, layerkit: LayerkitProcess, images: Images) -> None:
        base = make_tar(*ROOTFS)
        changed = make_tar(
            file("etc/passwd", b"root:x:0:1\n", mode=0o600),
            file("usr/bin/ping", b"pong", mode=0o4755),
            file("var/lib/dpkg/status", b"Package: libc6\nStatus: install ok installed\nVersion: 2\n"),
            symlink("bin", "usr/bin/"),
            file(".wh.null"),
            *UPDATE,
        )
        old = images.image(base, config={"Env": ["A=1", "PATH=/bin"], "Cmd": ["a"]})
        new = images.image(base, changed, config={"Env": ["B=2", "PATH=/bin"], "Cmd": ["b"], "Labels": {"x": "y"}})
        digests = images.store(old, "localhost/old"), images.store(new, "localhost/new")
        shown = json.loads(layerkit("diff", "--format", "json", "localhost/old:1", "localhost/new:1").stdout)
        assert [shown[side]["digest"] for side in ("before", "after")] == list(digests)
        assert {(change["path"], change["change"], *change["aspects"]) for change in shown["files"]} == {
            ("/bin", "changed", "link"),
            ("/etc/old", "removed"),
            ("/etc/passwd", "changed", "content", "mode"),
            ("/null", "removed"),
            ("/srv", "added"),
            ("/srv/app", "added"),
            ("/srv/app/main.py", "added"),
            *((f"/srv/app/{'/'.join(PYTHON.split('/')[:n])}", "added") for n in range(1, 5)),
            (f"/srv/app/{PYTHON}/Flask_Login-1.0.dist-info", "added"),
            (f"/srv/app/{PYTHON}/Flask_Login-1.0.dist-info/METADATA", "added"),
            ("/usr/bin/ping", "changed", "content", "xattrs"),
            ("/var/lib/dpkg/status", "changed", "content"),
        }
        assert shown["config"] == [
            {"path": "config.Cmd", "before": ["a"], "after": ["b"]},
            {"path": "config.Env.A", "before": "1", "after": None},
            {"path": "config.Env.B", "before": None, "after": "2"},
            {"path": "config.Labels.x", "before": None, "after": "y"},
        ]
        assert shown["packages"] == [
            {"kind": "deb", "name": "libc6", "before": "1", "after": "2"},
            {"kind": "python", "name": "flask-login", "before": None, "after": "1.0"},
        ]
        assert [len(shown["layers"][key]) for key in ("shared", "before", "after")] == [1, 0, 1]
        text = layerkit("diff", "localhost/old:1", "localhost/new:1").stdout.splitlines()
        assert "  ~ libc6        1 -> 2  deb" in text
        assert '  ~ Cmd ["a"] -> ["b"]' in text
        assert any(line.split() == ["+", "/srv/", "+8", "B", "2", "files"] for line in text)
        assert not any("main.py" in line for line in text)
        every = layerkit("diff", "--all", "localhost/old:1", "localhost/new:1").stdout
        assert "+ /srv/app/main.py" in every

    def test_the_same_content_in_other_layers_is_no_difference(self, layerkit: LayerkitProcess, images: Images) -> None:
        one = images.image(make_tar(*ROOTFS))
        half = len(ROOTFS) // 2
        two = images.image(make_tar(*ROOTFS[:half]), make_tar(*ROOTFS[half:]), history=[])
        images.store(one, "localhost/one")
        images.store(two, "localhost/two")
        shown = json.loads(layerkit("diff", "--format", "json", "localhost/one:1", "localhost/two:1").stdout)
        assert shown["files"] == shown["packages"] == shown["config"] == []
        assert layerkit("diff", "--exit-code", "localhost/one:1", "localhost/one:1").stdout.endswith("the same image\n")

    def test_times_count_when_asked_for(self, layerkit: LayerkitProcess, images: Images) -> None:
        for number in (1, 2):
            images.store(images.image(make_tar(file("x", b"x", mtime=number)), history=[]), f"localhost/t{number}")
        names = ("localhost/t1:1", "localhost/t2:1")
        assert "the same files, config and history" in layerkit("diff", "--exit-code", *names).stdout
        done = layerkit("diff", "--times", "--exit-code", *names, check=False)
        assert done.code == 1
        assert "time 1970-01-01 00:00 -> 1970-01-01 00:00" in done.stdout

    def test_colour_is_for_terminals(self, layerkit: LayerkitProcess, images: Images) -> None:
        images.store(images.image(make_tar(file("a"))), "localhost/a")
        images.store(images.image(make_tar(file("b"))), "localhost/b")
        arguments = ("diff", "localhost/a:1", "localhost/b:1")
        assert "\x1b" not in layerkit(*arguments).stdout
        assert "\x1b[32m  + /b" in layerkit(*arguments, FORCE_COLOR="1").stdout
        assert "\x1b" not in layerkit(*arguments, FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.fixture(scope="module")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with run_registry(tmp_path_factory.mktemp("looking") / "registry") as registry:
        yield registry


def test_a_registry_is_looked_into_as_the_store_is(
    layerkit: LayerkitProcess, shared_registry: RegistryProcess, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "layerkit.yaml").write_text("from: scratch\nlayers: [{name: app, copy: [./file:/srv/file]}]\n")
    name = f"{shared_registry.address}/web:1"
    layerkit("build", "-q", "--push", "-t", name, cwd=tmp_path)
    elsewhere = LayerkitHere(tmp_path / "elsewhere")
    for command in (["ls", "-lR", name], ["history", name], ["diff", name, name], ["inspect", name]):
        assert elsewhere(*command).stdout == layerkit(*command).stdout
        assert layerkit(*command, "--remote").stdout == layerkit(*command).stdout
    assert elsewhere("images").stdout == ""
    done = elsewhere("ls", f"{shared_registry.address}/nothing:1", check=False)
    assert done.code == 1
    assert "nothing" in done.stderr


def test_inspect_shows_base_annotations_and_referrers(
    layerkit: LayerkitProcess, images: Images, shared_registry: RegistryProcess
) -> None:
    annotations = {
        "org.opencontainers.image.base.name": "docker.io/library/debian:12",
        "org.opencontainers.image.base.digest": "sha256:" + "0" * 64,
        "org.example.note": "hello",
    }
    made = images.image(make_tar(file("x")), annotations=annotations)
    digest = images.store(made, "localhost/web")
    subject = {key: made[key] for key in ("mediaType", "digest", "size")}
    referrer = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": made["mediaType"],
            "artifactType": "application/spdx+json",
            "config": images.put(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [],
            "subject": subject,
        }
    )
    sbom = images.store(images.put(referrer.encode(), made["mediaType"]), "localhost/web", "sbom")
    lines = layerkit("inspect", "localhost/web:1").stdout.splitlines()
    assert lines[1] == f"digest    {digest}"
    assert f"base      docker.io/library/debian:12 sha256:{'0' * 64}" in lines
    assert "note      org.example.note=hello" in lines
    assert f"referrer  {sbom}  application/spdx+json" in lines
    shown = json.loads(layerkit("inspect", "--format", "json", "localhost/web:1").stdout)
    assert [(found["digest"], found["artifactType"]) for found in shown["referrers"]] == [
        (sbom, "application/spdx+json")
    ]
    artifact = layerkit("inspect", "localhost/web:sbom").stdout.splitlines()
    assert "artifact  application/spdx+json" in artifact
    assert f"subject   {digest}" in artifact


def test_a_base_that_moved_is_why_an_image_is_another(
    layerkit: LayerkitProcess, shared_registry: RegistryProcess, tmp_path: Path
) -> None:
    """PAINS 8: "stale hits from moved tags": here the next build takes the new base, and says so."""
    base, spec = f"{shared_registry.address}/base:1", tmp_path / "layerkit.yaml"
    digests = []
    for number in (1, 2):
        text = f"from: scratch\nlayers: [{{copy: [{{content: '{number}', dest: /etc/version}}]}}]\n"
        (tmp_path / "base.yaml").write_text(text)
        digests.append(layerkit("build", "-q", "-f", "base.yaml", "--push", "-t", base, cwd=tmp_path).stdout.strip())
        if number == 1:
            spec.write_text(f"from: {base}\nlayers: [{{name: app, copy: [{{content: x, dest: /srv/x}}]}}]\n")
            layerkit("build", "-q", cwd=tmp_path)
    (image,) = json.loads(layerkit("explain", "--format", "json", cwd=tmp_path).stdout)["images"]
    assert [image[side]["base"] for side in ("before", "after")] == [
        {"name": base, "digest": digest} for digest in digests
    ]
    assert [layer["verdict"] for layer in image["layers"]] == ["same"]
    lines = layerkit("explain", cwd=tmp_path).stdout.splitlines()
    assert lines[1] == f"  ~ base: {base} moved: {digests[0]} -> {digests[1]}"


class TestPlaces:
    """`inspect ls diff history` of images that are neither in the store nor in a registry, as in `from:`."""

    @pytest.fixture
    def layout(self, tmp_path: Path) -> HandmadeLayout:
        layout = HandmadeLayout(tmp_path / "layout")
        layout.name(layout.image(make_tar(file("one"))), "1")
        layout.name(layout.image(make_tar(file("two"))), "2")
        return layout

    def test_a_layout_may_be_named(self, layerkit: LayerkitProcess, layout: HandmadeLayout, tmp_path: Path) -> None:
        assert layerkit("ls", f"oci:{layout.root}:1").stdout == "one\n"
        shown = json.loads(layerkit("inspect", "--format", "json", "oci:layout:2", cwd=tmp_path).stdout)
        digest = shown["descriptor"]["digest"]
        assert shown["name"] == "oci:layout:2"
        assert layerkit("ls", f"oci:layout@{digest}", cwd=tmp_path).stdout == "two\n"
        assert "  + /two" in layerkit("diff", "oci:layout:1", "oci:layout:2", cwd=tmp_path).stdout
        assert "step 0" in layerkit("history", "oci:layout:1", cwd=tmp_path).stdout

    def test_of_several_images_one_must_be_named(
        self, layerkit: LayerkitProcess, layout: HandmadeLayout, tmp_path: Path
    ) -> None:
        done = layerkit("ls", "oci:layout", cwd=tmp_path, check=False)
        assert done.code == 1
        assert done.stderr == "error: oci:layout holds 2 images: name one, oci:layout:TAG: '1', '2'\n"
        done = layerkit("ls", "oci:layout:3", cwd=tmp_path, check=False)
        assert done.code == 1
        assert "3" in done.stderr
        done = layerkit("ls", "oci:nowhere", cwd=tmp_path, check=False)
        assert (done.code, done.stderr.count("\n")) == (1, 1)

    def test_an_archive_may_be_named(self, layerkit: LayerkitProcess, layout: HandmadeLayout, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            tar.add(layout.root, ".")
        assert layerkit("ls", "oci-archive:images.tar:2", cwd=tmp_path).stdout == "two\n"
        done = layerkit("ls", "oci-archive:images.tar", cwd=tmp_path, check=False)
        assert "holds 2 images" in done.stderr

    def test_what_docker_saved_may_be_named(self, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        layer = make_tar(file("saved", b"x"))
        config = {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
        members = {
            "config.json": json.dumps(config).encode(),
            "abc/layer.tar": layer,
            "manifest.json": json.dumps(
                [{"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["abc/layer.tar"]}]
            ).encode(),
        }
        (tmp_path / "saved.tar").write_bytes(make_tar(*(file(name, content) for name, content in members.items())))
        for place in ("docker-archive:saved.tar", "docker-archive:saved.tar:web:1"):
            assert layerkit("ls", place, cwd=tmp_path).stdout == "saved\n"
        done = layerkit("ls", "docker-archive:saved.tar:web:2", cwd=tmp_path, check=False)
        assert done.code == 1

    def test_the_store_alone_may_be_meant(self, layerkit: LayerkitProcess, web: str) -> None:
        assert layerkit("ls", "store:localhost/web:1", "/srv").stdout == "app/\n"
        done = layerkit("ls", "store:localhost/nothing:1", check=False)
        assert done.code == 1
        assert "is not in" in done.stderr

    @pytest.mark.parametrize("text", ["scratch", "tar:x.tar", "oci:", "docker-daemon:x", "A B", "docker-archive:"])
    def test_what_is_no_image_is_wrong_usage(self, layerkit: LayerkitProcess, text: str) -> None:
        done = layerkit("ls", text, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: invalid value for 'REF': ")
