"""The command line as a whole: how errors are told, what becomes of output that nobody reads, completion, help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerkit import __version__
from layerkit.cli.main import _COMMANDS, _SECTIONS
from tests.programs import LayerkitProcess

GOOD = "from: scratch\nlayers:\n  - {name: app, copy: [./file:/file]}\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("content")
    (folder / "layerkit.yaml").write_text(GOOD)
    return folder


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["biuld"], "error: no such command 'biuld': did you mean 'build'?", "hint: layerkit --help"),
        (["push"], "error: missing argument 'REF'", "hint: layerkit push --help"),
        (["build", "--nonsense"], "error: no such option '--nonsense'", "hint: layerkit build --help"),
        (["registry", "serve", "--workers", "0"], "error: invalid value for '--workers'", "hint: layerkit registry"),
    ],
)
def test_wrong_usage_is_told_in_one_style(
    layerkit: LayerkitProcess, arguments: list[str], error: str, hint: str
) -> None:
    done = layerkit(*arguments, check=False)
    first, second = done.stderr.splitlines()
    assert (done.code, done.stdout) == (2, "")
    assert first.startswith(error)
    assert second.startswith(hint)


@pytest.mark.parametrize("arguments", [[], ["registry"]])
def test_whoever_asks_for_nothing_gets_the_help(layerkit: LayerkitProcess, arguments: list[str]) -> None:
    done = layerkit(*arguments, check=False)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == layerkit(*arguments, "--help").stdout


def test_errors_are_json_where_progress_is(layerkit: LayerkitProcess, context: Path) -> None:
    done = layerkit("push", "--progress", "json", "localhost:1/nothing:1", check=False)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.code == 1
    assert events[-1]["event"] == "error"
    assert "nothing" in events[-1]["text"]
    (context / "layerkit.yaml").write_text("from: scratch\nentrypont: [a]\n")
    done = layerkit("build", "--progress", "json", cwd=context, check=False)
    assert done.code == 2
    assert json.loads(done.stderr)["text"].startswith("layerkit.yaml:2:1: unknown key 'entrypont'")


def test_a_build_tells_its_steps_as_json(layerkit: LayerkitProcess, context: Path) -> None:
    done = layerkit("build", "--progress", "json", cwd=context)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (begin,) = [event for event in events if event["event"] == "begin"]
    (end,) = [event for event in events if event["event"] == "end"]
    assert (begin["step"], begin["activity"], begin["name"]) == (1, "pack", "app")
    assert (end["step"], end["outcome"], end["done"], end["detail"]) == (1, "done", begin["total"], "1 file, 7 B")
    assert end["descriptor"]["digest"].startswith("sha256:")


@pytest.mark.parametrize("quiet", [["-q"], ["--quiet"], ["--progress", "quiet"]])
def test_quiet_prints_the_answer_alone(layerkit: LayerkitProcess, context: Path, quiet: list[str]) -> None:
    done = layerkit("build", *quiet, cwd=context)
    assert done.stderr == ""
    assert done.stdout.startswith("sha256:")


def run(layerkit: LayerkitProcess, command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A line of bash, in which `layerkit` is this one."""
    script = f'layerkit() {{ "{sys.executable}" -m layerkit "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
        env={**os.environ, "XDG_DATA_HOME": str(layerkit.data), **environment},
    )


def test_a_reader_that_goes_early_is_no_error_worth_a_word(layerkit: LayerkitProcess, context: Path) -> None:
    for number in range(3):
        layerkit("build", "-q", "-t", f"localhost/web:{number}", cwd=context)
    assert len(run(layerkit, "layerkit images | head -n 1").stdout.splitlines()) == 1
    for command in ("layerkit images", "layerkit --help", "layerkit completion zsh"):
        done = run(layerkit, f"{command} | true")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_stdout_is_told(layerkit: LayerkitProcess, context: Path) -> None:
    layerkit("build", "-q", "-t", "localhost/web:1", cwd=context)
    done = run(layerkit, "layerkit images > /dev/full")
    assert (done.returncode, done.stderr) == (1, "error: stdout: no space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_streams_that_are_closed_stop_nothing(layerkit: LayerkitProcess, context: Path, closed: str) -> None:
    done = run(layerkit, f"layerkit build -f {context}/layerkit.yaml -t localhost/web:1 {closed}")
    assert (done.returncode, done.stderr if "2>" in closed else "") == (0, "")
    assert "Traceback" not in done.stderr
    assert layerkit("images").stdout.startswith("localhost/web:1")


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_terminal_that_knows_few_characters_ends_nothing(
    layerkit: LayerkitProcess, context: Path, variables: dict[str, str]
) -> None:
    (context / "layerkit.yaml").write_text("from: scratch\nconfig:\n  labels: {name: été}\n  enviroment: {}\n")
    done = run(layerkit, f"layerkit build -f {context}/layerkit.yaml", **variables)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    done = run(layerkit, "layerkit inspect $'\\xff\\xfe'", **variables)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_is_grouped_and_names_each_command_once(layerkit: LayerkitProcess) -> None:
    lines = layerkit("--help").stdout.splitlines()
    assert [title for title in _SECTIONS if f"{title}:" in lines] == [
        title for title, names in _SECTIONS.items() if set(names) & set(_COMMANDS)
    ]
    for name, (_, _, text) in _COMMANDS.items():
        assert len([line for line in lines if line.split() == [name, *text.split()]]) == 1


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_each_command_has_a_help_with_examples(layerkit: LayerkitProcess, name: str) -> None:
    out = layerkit(name, "--help").stdout
    assert out.startswith(f"Usage: layerkit {name} ")
    assert f"  layerkit {name} " in out or name == "registry"


def test_the_version_is_that_of_the_package(layerkit: LayerkitProcess) -> None:
    assert layerkit("--version").stdout == f"layerkit, version {__version__}\n"


class TestCompletion:
    @pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
    def test_each_shell_gets_a_script(self, layerkit: LayerkitProcess, shell: str, word: str) -> None:
        script = layerkit("completion", shell).stdout
        assert "_LAYERKIT_COMPLETE" in script
        assert word in script

    def test_bash_takes_its_script(self, layerkit: LayerkitProcess) -> None:
        done = run(layerkit, "source <(layerkit completion bash) && complete -p layerkit")
        assert (done.returncode, done.stderr) == (0, "")
        assert "layerkit" in done.stdout

    def complete(self, layerkit: LayerkitProcess, *words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "layerkit"],
            capture_output=True,
            check=False,
            text=True,
            env={
                **os.environ,
                "XDG_DATA_HOME": str(layerkit.data),
                "_LAYERKIT_COMPLETE": "bash_complete",
                "COMP_WORDS": " ".join(["layerkit", *words]),
                "COMP_CWORD": str(len(words)),
            },
        )
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    def test_commands_and_options_are_completed(self, layerkit: LayerkitProcess) -> None:
        assert self.complete(layerkit, "bui") == ["build"]
        assert "--progress" in self.complete(layerkit, "push", "--pro")
        assert self.complete(layerkit, "build", "--progress", "r") == ["rich"]

    def test_images_of_the_store_are_completed(self, layerkit: LayerkitProcess, context: Path) -> None:
        assert self.complete(layerkit, "push", "") == []
        assert not layerkit.data.exists()
        for name in ("localhost:5000/web:1", "localhost:5000/shop:1", "docker.io/acme/tool:2"):
            layerkit("build", "-q", "-t", name, cwd=context)
        assert self.complete(layerkit, "push", "localhost:5000/w") == ["localhost:5000/web:1"]
        assert self.complete(layerkit, "push", "") == ["acme/tool:2", "localhost:5000/shop:1", "localhost:5000/web:1"]
        assert self.complete(layerkit, "push", "docker.io/a") == ["docker.io/acme/tool:2"]
