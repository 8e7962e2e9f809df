"""`layerkit plan` and `layerkit explain`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images import HandmadeLayout, file, folder, make_tar
from tests.programs import Finished, LayerkitHere, LayerkitProcess

SPEC = """\
layers:
  - name: app
    owner: "10:20"
    copy: [./src:/srv/app/]
    symlink: {/srv/current: app}
  - name: notes
    copy: [{content: hello, dest: /notes, mode: "0600"}]
config: {env: {A: "1"}, cmd: [/srv/app/main]}
"""

Run = Callable[..., Finished]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    (path / "src/lib").mkdir(parents=True)
    (path / "src/main").write_text("#!/bin/sh\n")
    (path / "src/main").chmod(0o755)
    (path / "src/lib/a.py").write_text("a = 1\n")
    (path / "src/lib/b.py").write_text("b = 1\n")
    write(path, SPEC)
    return path


def write(context: Path, spec: str, *, base: str = "scratch") -> None:
    (context / "layerkit.yaml").write_text(f"from: {base}\n{spec}")


@pytest.fixture
def layerkit(tmp_path: Path) -> LayerkitProcess:
    return LayerkitHere(tmp_path / "data")


@pytest.fixture
def run(context: Path, layerkit: LayerkitProcess) -> Run:
    """Run a command beside the spec; it must succeed."""

    def _run(*arguments: str) -> Finished:
        return layerkit(*arguments, cwd=context)

    return _run


def explain(run: Run, *arguments: str) -> dict[str, Any]:
    """What is told of the one image."""
    (image,) = json.loads(run("explain", "--format", "json", *arguments).stdout)["images"]
    found: dict[str, Any] = image
    return found


def verdicts(image: dict[str, Any]) -> dict[str, str]:
    return {layer["name"]: layer["verdict"] for layer in image["layers"]}


def inputs(image: dict[str, Any], layer: str) -> list[tuple[Any, ...]]:
    (found,) = [one for one in image["layers"] if one["name"] == layer]
    return [(change["path"], change["change"], *change["aspects"]) for change in found["inputs"]]


class TestPlan:
    def test_each_file_has_its_source_destination_owner_and_mode(self, run: Run) -> None:
        """PAINS 6: "`layerkit plan` printing src -> dest for every file"."""
        lines = run("plan", "--platform", "linux/arm64").stdout.splitlines()
        assert lines[0] == "context for linux/arm64, on scratch"
        assert [line.split() for line in lines[3:11]] == [
            ["drwxr-xr-x", "0:0", "/srv/"],
            ["drwxr-xr-x", "10:20", "/srv/app/", "<-", "src"],
            ["drwxr-xr-x", "10:20", "/srv/app/lib/", "<-", "src/lib"],
            ["-rw-r--r--", "10:20", "6", "B", "/srv/app/lib/a.py", "<-", "src/lib/a.py"],
            ["-rw-r--r--", "10:20", "6", "B", "/srv/app/lib/b.py", "<-", "src/lib/b.py"],
            ["-rwxr-xr-x", "10:20", "10", "B", "/srv/app/main", "<-", "src/main"],
            ["lrwxrwxrwx", "10:20", "/srv/current", "->", "app", "<-", "symlink", "to", "app"],
            [],
        ]
        assert lines[2] == "app: 3 files, 22 B"
        assert lines[-1] == "2 layers, 4 files, 27 B"

    def test_nothing_is_written(self, run: Run, tmp_path: Path) -> None:
        run("plan")
        assert run("images").stdout == ""
        assert not (tmp_path / "data/layerkit/builds").exists()

    def test_one_layer_may_be_asked_for(self, run: Run, layerkit: LayerkitProcess, context: Path) -> None:
        lines = run("plan", "--layer", "notes").stdout.splitlines()
        assert "app: 3 files, 22 B" not in lines
        assert lines[-1] == "1 layer, 1 file, 5 B"
        done = layerkit("plan", "--layer", "nots", cwd=context, check=False)
        assert done.code == 2
        assert "no such layer; there are app, notes" in done.stderr

    def test_json_has_a_shape_that_stays(self, run: Run) -> None:
        """docs/output.md, "layerkit plan"."""
        (image,) = json.loads(run("plan", "--format", "json", "--platform", "linux/amd64").stdout)["images"]
        assert image["layers"].pop(1) == {
            "name": "notes",
            "files": 1,
            "size": 5,
            "entries": [
                {
                    "path": "/notes",
                    "type": "file",
                    "mode": "0600",
                    "uid": 0,
                    "gid": 0,
                    "size": 5,
                    "mtime": 0,
                    "source": "content",
                    "position": "layerkit.yaml:8:22",
                }
            ],
        }
        (app,) = image.pop("layers")
        assert image == {
            "name": "context",
            "platform": "linux/amd64",
            "base": {"name": "scratch", "digest": None},
            "warnings": [],
        }
        assert [found["path"] for found in app["entries"] if found["source"] is None] == ["/srv"]
        assert app["entries"][-1]["target"] == "app"

    def test_removals_and_bases_are_shown(self, run: Run, context: Path) -> None:
        layout = HandmadeLayout(context / "base")
        layout.name(layout.image(make_tar(folder("etc"), file("etc/motd", b"hi"))))
        write(context, "layers: [{name: less, remove: [/etc/motd]}]\n", base="oci:base")
        text = run("plan", "--platform", "linux/amd64").stdout
        assert "context for linux/amd64, on oci:base" in text
        assert ["removed", "/etc/motd", "<-", "remove", "/etc/motd"] in [line.split() for line in text.splitlines()]

    def test_several_images_and_platforms_are_planned(self, run: Run, context: Path) -> None:
        (context / "layerkit.yaml").write_text(
            "images:\n"
            "  one: {from: scratch, platforms: [linux/amd64, linux/arm64], layers: [{copy: [src:/a]}]}\n"
            "  two: {from: one, layers: [{copy: [src:/b]}]}\n"
        )
        images = json.loads(run("plan", "--format", "json").stdout)["images"]
        assert [(image["name"], image["platform"]) for image in images][:2] == [
            ("one", "linux/amd64"),
            ("one", "linux/arm64"),
        ]
        (image,) = json.loads(run("plan", "--format", "json", "two").stdout)["images"]
        assert image["name"] == "two"


class TestExplain:
    def test_without_a_build_all_is_new(self, run: Run) -> None:
        image = explain(run)
        assert image["before"] is None
        assert verdicts(image) == {"app": "new", "notes": "new"}
        assert "it has not been built on this machine" in run("explain").stdout
        done = run("explain", "--last")
        assert done.stdout == "\n"
        assert "has not been built" in done.stderr

    def test_where_nothing_changed_nothing_differs(self, run: Run, context: Path) -> None:
        digest = run("build", "-q").stdout.strip()
        (context / "src/main").touch()
        image = explain(run)
        assert image["before"]["digest"] == digest
        assert verdicts(image) == {"app": "same", "notes": "same"}
        assert image["config"] == []
        assert run("explain").stdout.splitlines()[1] == "  nothing differs"

    def test_each_input_that_changed_is_named(self, run: Run, context: Path) -> None:
        """PAINS 8: "`explain` prints which input changed"."""
        run("build", "-q")
        (context / "src/lib/a.py").write_text("a = 2\n")
        (context / "src/lib/b.py").unlink()
        (context / "src/new").write_text("")
        (context / "src/main").chmod(0o644)
        image = explain(run)
        assert verdicts(image) == {"app": "changed", "notes": "same"}
        assert inputs(image, "app") == [
            ("/srv/app/lib/a.py", "changed", "content"),
            ("/srv/app/lib/b.py", "gone"),
            ("/srv/app/main", "changed", "mode"),
            ("/srv/app/new", "new"),
        ]
        changed = image["layers"][0]
        assert changed["reasons"] == []
        assert changed["complete"]
        assert (changed["inputs"][0]["source"], changed["inputs"][0]["position"]) == (
            "src/lib/a.py",
            "layerkit.yaml:5:12",
        )
        lines = run("explain").stdout.splitlines()
        assert lines[1] == "  ~ layer app: 4 of its paths changed"
        assert lines[2].split() == ["~", "/srv/app/lib/a.py", "content", "<-", "src/lib/a.py", "layerkit.yaml:5:12"]
        assert lines[-1] == "  = layer notes: the same"

    def test_the_spec_may_be_what_changed(self, run: Run, context: Path) -> None:
        run("build", "-q")
        write(
            context,
            SPEC.replace('"10:20"', '"10:21"').replace("name: notes", "name: remarks").replace('A: "1"', 'B: "2"'),
        )
        image = explain(run)
        assert verdicts(image) == {"app": "changed", "remarks": "renamed"}
        assert image["layers"][0]["reasons"] == [
            "no longer: copy ./src to /srv/app/ owner 10:20",
            "no longer: symlink /srv/current to app owner 10:20",
            "new: copy ./src to /srv/app/ owner 10:21",
            "new: symlink /srv/current to app owner 10:21",
        ]
        assert {change[2:] for change in inputs(image, "app")} == {("owner",)}
        assert image["layers"][1]["reasons"] == ["it was called notes"]
        assert image["config"] == [
            {"path": "config.Env.A", "before": "1", "after": None},
            {"path": "config.Env.B", "before": None, "after": "2"},
        ]
        write(context, SPEC.partition("  - name: notes")[0])
        assert verdicts(explain(run)) == {"app": "same", "notes": "gone"}
        write(context, f"{SPEC}compression: zstd\n")
        image = explain(run)
        assert verdicts(image) == {"app": "changed", "notes": "changed"}
        assert image["layers"][0]["reasons"] == ["compression gzip -> zstd"]

    def test_what_a_compression_adds_is_no_input(self, run: Run, context: Path) -> None:
        write(context, f"{SPEC}compression: estargz:4\n")
        run("build", "-q")
        assert verdicts(explain(run)) == {"app": "same", "notes": "same"}
        (context / "src/lib/a.py").write_text("a = 2\n")
        image = explain(run)
        assert verdicts(image) == {"app": "changed", "notes": "same"}
        assert inputs(image, "app") == [("/srv/app/lib/a.py", "changed", "content")]

    def test_what_is_in_no_layer_may_be_what_changed(self, run: Run, context: Path) -> None:
        write(context, f"{SPEC}annotations: {{note: a}}\ntimestamp: 1700000000\n")
        run("build", "-q")
        write(context, f"{SPEC}annotations: {{note: b, more: c}}\ntimestamp: 1700000001\n")
        for options in ([], ["--last"]):
            image = explain(run, *options)
            assert set(verdicts(image).values()) == {"same"}
            assert image["config"] == [
                {"path": "created", "before": "2023-11-14T22:13:20Z", "after": "2023-11-14T22:13:21Z"},
                {"path": "annotations.more", "before": None, "after": "c"},
                {"path": "annotations.note", "before": "a", "after": "b"},
            ]
            run("build", "-q")

    def test_the_order_of_layers_may_be_what_changed(self, run: Run, context: Path) -> None:
        one, two = "  - {name: one, copy: [src:/one]}\n", "  - {name: two, copy: [src:/two]}\n"
        write(context, f"layers:\n{one}{two}")
        run("build", "-q")
        write(context, f"layers:\n{two}{one}")
        image = explain(run)
        assert image["reordered"]
        assert verdicts(image) == {"one": "same", "two": "same"}
        assert run("explain").stdout.splitlines()[1] == "  ~ the layers are in another order"

    def test_the_base_may_be_what_changed(self, run: Run, context: Path) -> None:
        run("build", "-q")
        layout = HandmadeLayout(context / "base")
        layout.name(layout.image(make_tar(folder("srv", mode=0o700)), config={"Env": ["A=1"], "User": "7"}))
        write(context, SPEC, base="oci:base")
        image = explain(run, "--platform", "linux/amd64")
        assert [image[side]["base"]["name"] for side in ("before", "after")] == ["scratch", "oci:base"]
        assert verdicts(image) == {"app": "changed", "notes": "same"}
        assert inputs(image, "app") == [("/srv", "changed", "mode")]
        assert image["config"] == [{"path": "config.User", "before": None, "after": "7"}]
        assert "  ~ base: scratch -> oci:base" in run("explain").stdout.splitlines()

    def test_the_last_two_builds_may_be_compared(self, run: Run, context: Path) -> None:
        first = run("build", "-q").stdout.strip()
        assert "no earlier one is known" in run("explain", "--last").stdout
        (context / "src/lib/a.py").write_text("a = 22\n")
        second = run("build", "-q").stdout.strip()
        # One that makes the same is no other build.
        run("build", "-q", "-t", "localhost/other:1")
        image = explain(run, "--last")
        assert [image[side]["digest"] for side in ("before", "after")] == [first, second]
        assert inputs(image, "app") == [("/srv/app/lib/a.py", "changed", "content")]
        assert image["layers"][0]["inputs"][0]["grown"] == 1
        assert explain(run)["before"]["digest"] == second

    def test_without_the_earlier_layer_the_files_cannot_be_told(self, run: Run, context: Path, tmp_path: Path) -> None:
        """What was built may have been removed since."""
        run("build", "-q")
        (context / "src/lib/a.py").write_text("a = 2\n")
        for path in (tmp_path / "data/layerkit/store/blobs/sha256").iterdir():
            path.unlink()
        image = explain(run)
        assert verdicts(image) == {"app": "changed", "notes": "same"}
        assert not image["layers"][0]["complete"]
        assert image["layers"][0]["inputs"] == []
        assert "what changed in its files cannot be told" in run("explain").stdout

    def test_a_record_that_is_damaged_is_no_record(self, run: Run, tmp_path: Path) -> None:
        run("build", "-q")
        (path,) = (tmp_path / "data/layerkit/builds").iterdir()
        path.write_bytes(path.read_bytes()[:50])
        assert explain(run)["before"] is None

    def test_a_record_that_cannot_be_kept_ends_no_build(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "data/layerkit").mkdir(parents=True)
        (tmp_path / "data/layerkit/builds").write_text("in the way")
        done = run("build")
        assert done.stdout.startswith("sha256:")
        assert "warning: what was built cannot be remembered" in done.stderr

    def test_many_inputs_are_cut_short_unless_all_are_wanted(self, run: Run, context: Path) -> None:
        run("build", "-q")
        for number in range(30):
            (context / f"src/{number}").write_text("x")
        assert "and 10 more (--all)" in run("explain").stdout
        assert len([line for line in run("explain", "--all").stdout.splitlines() if "+ /srv/app/" in line]) == 30

    def test_copies_from_another_image_are_compared(self, run: Run, context: Path) -> None:
        layout = HandmadeLayout(context / "other")
        layout.name(layout.image(make_tar(file("tool", b"one", mode=0o755))))
        spec = "layers: [{name: tools, copy: [{from: oci:other, src: /tool, dest: /bin/tool}]}]\n"
        write(context, spec)
        run("build", "-q", "--platform", "linux/amd64")
        assert verdicts(explain(run, "--platform", "linux/amd64")) == {"tools": "same"}
        layout = HandmadeLayout(context / "newer")
        layout.name(layout.image(make_tar(file("tool", b"two", mode=0o755))))
        (context / "other").rename(context / "older")
        (context / "newer").rename(context / "other")
        image = explain(run, "--platform", "linux/amd64")
        assert inputs(image, "tools") == [("/bin/tool", "changed", "content")]
