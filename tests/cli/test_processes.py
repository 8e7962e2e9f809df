"""Processes: what they import, that several share a store, and that one may be killed at any moment."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images import digest_of
from tests.programs import LayerkitProcess, RegistryProcess


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    (path / "files").mkdir(parents=True)
    for number in range(40):
        (path / f"files/{number}").write_bytes(random.Random(number).randbytes(50_000))
    (path / "layerkit.yaml").write_text(
        "from: scratch\nlayers:\n  - copy: [./files:/a]\n  - copy: [./files:/b]\n  - copy: ['./files/1*:/c/']\n"
    )
    return path


@pytest.fixture
def start(layerkit: LayerkitProcess, context: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a build, and do not wait for it."""

    def _start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "layerkit", "build", *arguments],
            cwd=context,
            env={**os.environ, "XDG_DATA_HOME": str(layerkit.data)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return _start


def check_store(layerkit: LayerkitProcess) -> dict[str, str]:
    """The images of the store by name, after every blob was found to be what its name says."""
    store = layerkit.data / "layerkit/store"
    for path in (store / "blobs/sha256").iterdir():
        assert digest_of(path.read_bytes()) == f"sha256:{path.name}"
    entries = json.loads((store / "index.json").read_text())["manifests"]
    for entry in entries:
        manifest = json.loads((store / "blobs" / entry["digest"].replace(":", "/")).read_text())
        for descriptor in (manifest["config"], *manifest["layers"]):
            path = store / "blobs" / descriptor["digest"].replace(":", "/")
            assert path.stat().st_size == descriptor["size"]
    return {entry["annotations"]["io.containerd.image.name"]: entry["digest"] for entry in entries}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["biuld"], []])
def test_what_the_list_of_commands_does_not_need_is_not_imported(arguments: list[str]) -> None:
    """Completion and scripts ask for it: asyncio, aiohttp and pydantic would take longer than the answer."""
    script = (
        "import sys, contextlib, io\n"
        "from layerkit.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "    try:\n"
        f"        sys.argv = ['layerkit', *{arguments!r}]\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        pass\n"
        "print(*sorted({'asyncio', 'aiohttp', 'pydantic', 'msgspec', 'yaml'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == ""


_OF_NO_BUILD = (
    "aiohttp, bz2, cryptography, email.utils, json, lzma, pathspec, pydantic, random, rich, secrets, tarfile, "
    "tempfile, yaml, layerkit.cli.outputs, layerkit.cli.push, layerkit.cli.repro, layerkit.content.archive, "
    "layerkit.content.export, layerkit.document.parse, layerkit.document.validate, layerkit.engine, "
    "layerkit.layer.zip, layerkit.remote.client, layerkit.spec.assemble"
)
_OF_NO_LIST = f"{_OF_NO_BUILD}, layerkit.build, layerkit.document, layerkit.layer, layerkit.spec"


_OF_NO_PUSH = (
    "cryptography, pathspec, pydantic, rich, yaml, layerkit.build.builder, layerkit.document, layerkit.layer, "
    "layerkit.packages, layerkit.sbom, layerkit.spec"
)


def imported_by(layerkit: LayerkitProcess, context: Path, *arguments: str) -> tuple[set[str], set[str]]:
    """The modules that a command has in the end, and the modules of ours that have made dataclasses."""
    script = (
        "import sys\n"
        "from layerkit.cli.main import main\n"
        f"sys.argv = ['layerkit', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "    for name, module in sys.modules.items():\n"
        "        made = any(vars(value).get('__dataclass_fields__') and value.__module__ == name\n"
        "            for value in vars(module).values() if isinstance(value, type))\n"
        "        print(name, made)\n"
    )
    environment = {**os.environ, "XDG_DATA_HOME": str(layerkit.data), "XDG_CACHE_HOME": str(layerkit.data / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, cwd=context, env=environment
    )
    found = [line.split() for line in done.stdout.splitlines() if line.endswith((" True", " False"))]
    made = {name for name, made in found if name.startswith("layerkit.") and made == "True"}
    return {name for name, _ in found}, made


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [(["build", "-q"], _OF_NO_BUILD), (["plan", "-q"], _OF_NO_BUILD), (["images"], _OF_NO_LIST)],
    ids=["build", "plan", "images"],
)
def test_what_a_command_does_not_need_is_not_imported(
    layerkit: LayerkitProcess, context: Path, arguments: list[str], needless: str
) -> None:
    """Most of a build that changes nothing is its imports. It is the second one here that counts.

    A dataclass takes as long to make as thirty classes of msgspec, and there are a hundred of them.
    """
    layerkit("build", "-q", cwd=context)
    modules, with_dataclasses = imported_by(layerkit, context, *arguments)
    assert modules & set(needless.split(", ")) == set()
    assert with_dataclasses == set()


def test_what_a_push_does_not_need_is_not_imported(
    layerkit: LayerkitProcess, context: Path, registry_process: RegistryProcess
) -> None:
    """Of an image that is there already: one request, and the client's imports."""
    name = f"{registry_process.address}/pushed:1"
    layerkit("build", "-q", "-t", name, "--push", cwd=context)
    modules, _ = imported_by(layerkit, context, "push", "-q", name)
    assert modules & set(_OF_NO_PUSH.split(", ")) == set()


def test_builds_at_the_same_time_share_a_store(
    layerkit: LayerkitProcess, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    digests = set()
    for number in range(4):
        running = [start("-t", f"localhost/{name}:{number}", "-t", f"localhost/{name}:latest") for name in "ab"]
        for process in running:
            out, err = process.communicate(timeout=100)
            assert process.returncode == 0, err
            digests.add(out.strip())
    (digest,) = digests
    names = {f"localhost/{name}:{tag}" for name in "ab" for tag in (*range(4), "latest")}
    assert check_store(layerkit) == dict.fromkeys(names, digest)
    assert len(layerkit("images").stdout.splitlines()) == len(names)


def test_builds_at_the_same_time_begin_a_store_together(
    layerkit: LayerkitProcess, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    for number in range(3):
        for process in [start("-t", f"localhost/{name}:1") for name in "abc"]:
            _, err = process.communicate(timeout=100)
            assert process.returncode == 0, err
        assert set(check_store(layerkit)) == {f"localhost/{name}:1" for name in "abc"}
        layerkit.data.rename(layerkit.data.with_name(f"before-{number}"))


def test_a_killed_build_leaves_a_store_that_can_be_used(
    layerkit: LayerkitProcess, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """The order of writing: "A crash in between leaves a file that nothing refers to, never a short one"."""
    killed = 0
    for step in range(16):
        process = start("-t", "localhost/killed:1")
        try:
            process.wait(timeout=0.05 + 0.06 * step)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
        assert process.returncode in {0, -signal.SIGKILL}
        if (layerkit.data / "layerkit/store/index.json").exists():
            check_store(layerkit)
    assert killed > 0
    done = start("-t", "localhost/whole:1")
    out, err = done.communicate(timeout=100)
    assert done.returncode == 0, err
    assert check_store(layerkit)["localhost/whole:1"] == out.strip()
    assert layerkit("inspect", "localhost/whole:1").code == 0


def test_what_a_killed_process_left_does_no_harm(layerkit: LayerkitProcess, context: Path) -> None:
    store = layerkit.data / "layerkit/store"
    (store / "blobs/sha256").mkdir(parents=True)
    for name in (".oci-layout.new", ".index.json.new", "blobs/.upload-0123456789abcdef01234567"):
        (store / name).write_bytes(b"half of some")
    # Of these the first begins a store anew, the others are only in one that has begun.
    (store / ".index.json.new").unlink()
    digest = layerkit("build", "-t", "localhost/a:1", cwd=context).stdout.strip()
    (store / ".index.json.new").write_bytes(b"half of some")
    (store / "blobs/.upload-sha256-0123456789abcdef01234567").write_bytes(b"half of some")
    assert layerkit("build", "-t", "localhost/a:2", cwd=context).stdout.strip() == digest
    assert check_store(layerkit) == {"localhost/a:1": digest, "localhost/a:2": digest}


def test_an_interrupted_build_says_so(layerkit: LayerkitProcess, context: Path) -> None:
    """Exit code 130, as of every program that Ctrl-C ends. The build waits at a spec that nobody writes."""
    os.mkfifo(context / "pipe.yaml")
    # Of a shell's background jobs, where this may run, SIGINT is ignored: the build is to hear it all the same.
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from layerkit.cli.main import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "build", "-f", "pipe.yaml"],
        cwd=context,
        env={**os.environ, "XDG_DATA_HOME": str(layerkit.data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Opening succeeds when the build has opened it for reading.
    with (context / "pipe.yaml").open("w"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("files/7", 1, "error: cannot read '.*/files/7': Permission denied"),
        ("files", 2, r"layerkit\.yaml:3:12: cannot read .*/files: permission denied"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    layerkit: LayerkitProcess, context: Path, name: str, code: int, message: str
) -> None:
    (context / name).chmod(0)
    # Root may read all, unless it gives that up.
    powers = "-dac_override,-dac_read_search"
    humble = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*humble, sys.executable, "-m", "layerkit", "build"],
        cwd=context,
        env={**os.environ, "XDG_DATA_HOME": str(layerkit.data)},
        capture_output=True,
        check=False,
        text=True,
    )
    (context / name).chmod(0o700)
    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    assert not (layerkit.data / "layerkit/store/index.json").exists()
