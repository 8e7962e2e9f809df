"""`layerkit build --watch`: builds after each change, tells of failures, and ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs import LayerkitProcess, RegistryProcess

SPEC = "from: scratch\nlayers: [{name: app, copy: [./src:/srv/]}]\n"


class Watching:
    """A process that watches. Lines are waited for: the test's own time limit ends it where none comes."""

    def __init__(self, layerkit: LayerkitProcess, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "layerkit", "build", "--watch", *arguments],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "XDG_DATA_HOME": str(layerkit.data), "XDG_CACHE_HOME": str(layerkit.data / "cache")},
        )

    def digest(self) -> str:
        """The next answer."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def until_it_waits(self) -> list[str]:
        """What it tells until nothing is left to do."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line.rstrip("\n"))
            if line.startswith("watching "):
                return lines
        pytest.fail("it ended: " + "\n".join(lines))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


Start = Callable[..., Watching]


@pytest.fixture
def start(layerkit: LayerkitProcess, context: Path) -> Iterator[Start]:
    running: list[Watching] = []

    def _start(*arguments: str) -> Watching:
        running.append(Watching(layerkit, context, *arguments))
        return running[-1]

    yield _start
    for one in running:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "src").mkdir(parents=True)
    (folder / "src/file").write_text("one")
    (folder / "layerkit.yaml").write_text(SPEC)
    return folder


def changed(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("changed: ")]


def test_each_change_is_built_and_ctrl_c_ends_it(layerkit: LayerkitProcess, context: Path, start: Start) -> None:
    watching = start("-t", "localhost/web:1")
    assert changed(watching.until_it_waits()) == []
    first = watching.digest()

    (context / "src/file").write_text("two")
    assert changed(watching.until_it_waits()) == ["changed: src/file"]
    second = watching.digest()
    assert second != first

    # A folder that is new is watched as well.
    (context / "new").mkdir()
    (context / "new/file").write_text("three")
    (context / "new").rename(context / "src/new")
    assert changed(watching.until_it_waits()) == ["changed: src/new"]
    third = watching.digest()
    (context / "src/new/file").write_text("four")
    assert changed(watching.until_it_waits()) == ["changed: src/new/file"]
    assert len({first, second, third, watching.digest()}) == 4

    # How editors save: another file gets the name.
    (context / "saved").write_text("five")
    (context / "saved").rename(context / "src/file")
    assert changed(watching.until_it_waits()) == ["changed: src/file"]
    last = watching.digest()
    assert layerkit("inspect", "--format", "json", "localhost/web:1").stdout.count(last)

    assert watching.end(signal.SIGINT) == 130
    assert watching.process.stderr is not None
    assert watching.process.stderr.read().strip() == "interrupted"
    store = layerkit.data / "layerkit/store"
    assert not [path for path in store.rglob(".*") if path.is_file()]
    assert not list((store / "leases").iterdir())


def test_a_failure_is_told_and_waited_out(context: Path, start: Start) -> None:
    watching = start()
    watching.until_it_waits()
    first = watching.digest()
    (context / "layerkit.yaml").write_text("from: scratch\nlayer: []\n")
    lines = watching.until_it_waits()
    assert "layerkit.yaml:2:1: unknown key 'layer'" in lines
    (context / "layerkit.yaml").write_text(SPEC.replace("./src", "./later"))
    assert any("later" in line for line in watching.until_it_waits())
    (context / "later").mkdir()
    watching.until_it_waits()
    assert watching.digest() != first
    (context / "layerkit.yaml").write_text(SPEC)
    watching.until_it_waits()
    assert watching.digest() == first
    assert watching.end(signal.SIGINT) == 130


def test_what_a_build_writes_is_no_reason_to_build(context: Path, start: Start) -> None:
    (context / "layerkit.yaml").write_text("from: scratch\nlayers: [{copy: [./:/srv/]}]\n")
    (context / ".dockerignore").write_text("out\nimage.tar\n")
    watching = start("-o", "oci:out", "-o", "oci-archive:image.tar", "--iidfile", "id")
    watching.until_it_waits()
    first = watching.digest()
    assert (context / "out/index.json").exists()
    (context / "src/file").write_text("two")
    assert changed(watching.until_it_waits()) == ["changed: src/file"]
    second = watching.digest()
    assert second != first
    (context / "src/file").write_text("three")
    assert changed(watching.until_it_waits()) == ["changed: src/file"]


def test_a_change_while_it_is_built_is_built_next(context: Path, start: Start) -> None:
    fifo = context / "id"
    os.mkfifo(fifo)
    # It cannot end before somebody reads its digest.
    watching = start("--iidfile", "id")
    with fifo.open() as file:
        (context / "src/file").write_text("two")
        first = file.read()
    with fifo.open() as file:
        assert file.read() != first
    assert changed(watching.until_it_waits()) in ([], ["changed: src/file"])


def test_each_build_is_pushed(
    layerkit: LayerkitProcess, registry_process: RegistryProcess, context: Path, start: Start
) -> None:
    name = f"{registry_process.address}/web:1"
    watching = start("-t", name, "--push")
    for content in ("two", "three"):
        watching.until_it_waits()
        shown = layerkit("inspect", "--remote", "--format", "json", name).stdout
        assert json.loads(shown)["descriptor"]["digest"] == watching.digest()
        (context / "src/file").write_text(content)


def test_wrong_usage_ends_it(start: Start) -> None:
    watching = start("nothing/")
    _, told = watching.process.communicate(timeout=60)
    assert watching.process.returncode == 2
    assert told.startswith("error: ")


def test_without_watchfiles_one_is_told_how_to_get_it(context: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['watchfiles'] = None\n"
        "sys.argv = ['layerkit', 'build', '--watch']\n"
        "from layerkit.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=context, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "error: --watch needs watchfiles: pip install 'layerkit[watch]'"
