"""Wrong input: one clear message, the right exit code, nothing half-written, and never a traceback."""

import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import LayerkitProcess, RegistryProcess, run_program

GOOD = "from: scratch\nlayers:\n  - copy: [./file:/file]\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("content")
    return folder


def is_empty(layerkit: LayerkitProcess) -> bool:
    """Whether the local store has nothing in it, not even a part of something."""
    store = layerkit.data / "layerkit/store"
    return not any(path.is_file() and path.name != "oci-layout" for path in store.rglob("*"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("from: scratch\nentrypont: [a]\n", "layerkit.yaml:2:1: unknown key 'entrypont'"),
        ("from: scratch\nconfig:\n  entrypont: [a]\n", "layerkit.yaml:3:3: unknown key 'entrypont' in config"),
        ("from: scratch\nconfig:\n  command: [a]\n", "did you mean `cmd`?"),
        ("from: scratch\nconfig: {entrypoint: a b}\n", 'write it as a list: ["a", "b"]'),
        ("from: scratch\nconfig: {expose: [http]}\n", "layerkit.yaml:2:19: "),
        ("from: Example.COM//x\n", "layerkit.yaml:1:7: "),
        ("from: scratch\ntags: [acme/UPPER:1]\n", "layerkit.yaml:2:8: "),
        ("from: scratch\nlayers:\n  - copy: [./fil:/file]\n", "layerkit.yaml:3:12: no file matches ./fil"),
        ("from: scratch\nlayers:\n  - copy: [./fil:/file]\n", "did you mean file?"),
        ("from: scratch\nlayers:\n  - copy: [../file:/file]\n", "layerkit.yaml:3:12: "),
        ("from: scratch\nlayers:\n  - copy: [./file:file]\n", "layerkit.yaml:3:12: "),
        ("from: scratch\nlayers:\n  - copy: [{src: file, dest: /file, mode: 755}]\n", '"0755"'),
        ("from: scratch\nfrom: scratch\n", "layerkit.yaml:2:1: "),
        ("from: [\n", "layerkit.yaml:2:1: "),
        ("", "layerkit.yaml"),
    ],
)
def test_a_wrong_spec_is_told_with_its_place_and_its_mend(
    layerkit: LayerkitProcess, context: Path, spec: str, message: str
) -> None:
    (context / "layerkit.yaml").write_text(spec)
    done = layerkit("build", cwd=context, check=False)
    assert done.code == 2
    assert message in done.stderr
    assert re.search(r"^layerkit\.yaml(:\d+:\d+)?: ", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert is_empty(layerkit)


def test_a_missing_spec_is_named(layerkit: LayerkitProcess, context: Path) -> None:
    done = layerkit("build", cwd=context, check=False)
    assert (done.code, done.stdout) == (2, "")
    assert "layerkit.yaml" in done.stderr
    assert "-f FILE" in done.stderr


def test_build_dot_is_told_how_it_is_written(layerkit: LayerkitProcess, context: Path) -> None:
    done = layerkit("build", ".", cwd=context, check=False)
    assert done.code == 2
    assert "-f ./layerkit.yaml" in done.stderr


@pytest.mark.parametrize("reference", ["acme/UPPER", "a:b:c", "http://localhost/x", "x@sha256:12", "-x", "a" * 300])
def test_a_wrong_tag_is_wrong_usage(layerkit: LayerkitProcess, context: Path, reference: str) -> None:
    (context / "layerkit.yaml").write_text(GOOD)
    done = layerkit("build", f"--tag={reference}", cwd=context, check=False)
    assert (done.code, done.stdout) == (2, "")
    assert "invalid" in done.stderr.lower()
    assert is_empty(layerkit)


def test_pushing_wants_a_registry_in_the_name(layerkit: LayerkitProcess, context: Path) -> None:
    (context / "layerkit.yaml").write_text(GOOD)
    for arguments in ([], ["-t", "acme/web:1"]):
        done = layerkit("build", "--push", *arguments, cwd=context, check=False)
        assert (done.code, done.stdout) == (2, "")
        assert "registry" in done.stderr


@pytest.mark.parametrize("arguments", [("push", "web:1"), ("copy", "store:web:1", "web:2")])
def test_what_is_written_to_names_its_registry(layerkit: LayerkitProcess, arguments: tuple[str, ...]) -> None:
    done = layerkit(*arguments, check=False)
    assert (done.code, done.stdout) == (2, "")
    name = arguments[-1]
    assert f"{name} does not name its registry; write HOST/{name}, or docker.io/library/{name}" in done.stderr


def test_an_unreachable_registry_is_one_clear_line(layerkit: LayerkitProcess, context: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    (context / "layerkit.yaml").write_text(GOOD)
    done = layerkit("build", "-t", f"{address}/x:1", "--push", cwd=context, check=False)
    assert done.code == 1
    assert done.stderr.splitlines()[-1] == f"error: cannot reach registry {address}: connection refused"
    assert "Traceback" not in done.stderr


def test_a_name_that_does_not_resolve_is_one_clear_line(layerkit: LayerkitProcess) -> None:
    done = layerkit("pull", "registry.invalid/x:1", check=False)
    assert done.code == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot reach registry registry.invalid: ")
    assert "Traceback" not in done.stderr


def test_an_image_that_is_not_there_is_one_clear_line(
    layerkit: LayerkitProcess, registry_process: RegistryProcess
) -> None:
    for command in (["pull"], ["inspect", "--remote"]):
        done = layerkit(*command, f"{registry_process.address}/nothing:1", check=False)
        assert done.code == 1
        assert "nothing" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    done = layerkit("push", f"{registry_process.address}/nothing:1", check=False)
    assert done.code == 1
    assert "is not in" in done.stderr.splitlines()[-1]


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(layerkit: LayerkitProcess, context: Path) -> None:
    """The kernel's limit on the size of a file stands for the disk's end: writing fails in the midst of a layer."""
    (context / "file").write_bytes(random.Random(1).randbytes(3_000_000))
    (context / "layerkit.yaml").write_text(GOOD)
    script = (
        "import resource, runpy, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "sys.argv = ['layerkit', 'build'];"
        "runpy.run_module('layerkit', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=context,
        env={"XDG_DATA_HOME": str(layerkit.data), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*/store is full \(.*\): free space and try again", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert is_empty(layerkit)


def test_an_unknown_command_has_a_suggestion(layerkit: LayerkitProcess) -> None:
    done = layerkit("biuld", check=False)
    assert done.code == 2
    assert "'build'" in done.stderr


def test_help_names_every_command(layerkit: LayerkitProcess) -> None:
    out = layerkit("--help").stdout
    for command in ("build", "push", "pull", "images", "inspect", "registry"):
        assert f"  {command} " in out
        assert layerkit(command, "--help").stdout.startswith("Usage: ")


@pytest.mark.parametrize("command", ["ls", "inspect", "history"])
def test_an_image_that_is_neither_here_nor_at_its_registry_is_said_to_be_neither(
    layerkit: LayerkitProcess, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    done = layerkit(command, f"{address}/mistyped", check=False)
    assert done.stderr.splitlines()[-1] == (
        f"error: {address}/mistyped:latest is not in the local store; at its registry: "
        f"cannot reach registry {address}: connection refused"
    )
    done = layerkit(command, "--remote", f"{address}/mistyped", check=False)
    assert done.stderr.splitlines()[-1] == f"error: cannot reach registry {address}: connection refused"


def test_what_cannot_be_an_output_is_told_what_can(layerkit: LayerkitProcess, context: Path) -> None:
    (context / "layerkit.yaml").write_text(GOOD)
    for place in ("dir:out", "tar:out.tar", "store:x", "scratch", "out"):
        done = layerkit("build", "-o", place, cwd=context, check=False)
        assert done.code == 2
        assert f"error: -o {place}: expected oci:DIR[:TAG], oci-archive:FILE[:TAG]" in done.stderr


def test_a_folder_that_is_not_there_is_named_without_what_is_ours(layerkit: LayerkitProcess, context: Path) -> None:
    (context / "layerkit.yaml").write_text(GOOD)
    done = layerkit("build", "-o", "oci-archive:missing/x.tar", cwd=context, check=False)
    assert done.code == 1
    assert done.stderr.splitlines()[-1] == "error: missing is no folder: make it, or name another one for the archive"


@pytest.mark.parametrize(("sent", "said"), [("", "holds no|is no archive"), ("hello", "it is no tar, or cut off")])
def test_what_came_by_stdin_is_called_so(layerkit: LayerkitProcess, sent: str, said: str) -> None:
    done = layerkit("load", stdin=sent, check=False)
    assert done.code == 1
    assert re.match(f"error: stdin .*({said})", done.stderr.splitlines()[-1])


@pytest.mark.engine
def test_a_store_that_cannot_be_written_to_can_be_looked_into(layerkit: LayerkitProcess, context: Path) -> None:
    (context / "layerkit.yaml").write_text(GOOD)
    layerkit("build", "-t", "web:1", cwd=context)
    run_program("mount", "--bind", layerkit.data, layerkit.data)
    try:
        run_program("mount", "-o", "remount,bind,ro", layerkit.data)
        assert layerkit("images").stdout.startswith("web:1 ")
        assert layerkit("ls", "web:1").stdout == "file\n"
        layerkit("save", "web:1", "-o", context / "web.tar")
        done = layerkit("build", "-t", "web:2", cwd=context, check=False)
        assert done.code == 1
        assert "read-only file system" in done.stderr
    finally:
        run_program("umount", "--lazy", layerkit.data)
