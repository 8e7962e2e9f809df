"""The command line with all that it may write in one folder, so that a test sees what it wrote, and its memory."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from threading import Lock
from typing import Final

from tests.programs import PROJECT

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Run:
    """A command that ended. `memory` is the most that it had, in bytes."""

    code: int
    stdout: str
    stderr: str
    memory: int


class Forks:
    """Runs commands, one at a time, in processes that are forked from one (`forking`)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lock = Lock()

    def run(self, arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: Path) -> Run:
        command = {
            "arguments": arguments,
            "environment": {**environment},
            "cwd": str(cwd),
            "output": str(output),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        stdout, stderr = ((output / name).read_text() for name in ("stdout", "stderr"))
        return Run(answer["code"], stdout, stderr, answer["memory"] * 1024)


@contextmanager
def run_forks() -> Iterator[Forks]:
    command = [sys.executable, "-m", "tests.acceptance.forking"]
    with subprocess.Popen(command, cwd=PROJECT, stdin=PIPE, stdout=PIPE, text=True) as process:
        yield Forks(process)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`outside` is a folder that hostile names lead to, `context` the one that specs are in."""

    root: Path
    forks: Forks

    @classmethod
    def make(cls, root: Path, forks: Forks) -> "Sandbox":
        sandbox = cls(root, forks)
        for folder in (sandbox.outside, sandbox.context, root / "home", root / "tmp"):
            folder.mkdir()
        (sandbox.outside / "secret").write_text("secret of the host")
        return sandbox

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def context(self) -> Path:
        return self.root / "context"

    @property
    def blobs(self) -> Path:
        return self.root / "data/layerkit/store/blobs/sha256"

    def __call__(self, *arguments: str | Path, **environment: str) -> Run:
        output = self.root / "output"
        output.mkdir(exist_ok=True)
        own = {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "XDG_DATA_HOME": str(self.root / "data"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
        }
        return self.forks.run(
            [str(argument) for argument in arguments],
            cwd=self.context,
            environment={**os.environ, **own, **environment},
            output=output,
        )

    def build(self, spec: str, *arguments: str | Path, **environment: str) -> Run:
        path = self.context / "layerkit.yaml"
        path.write_text(spec)
        return self("build", "-q", "-f", path, "-t", "localhost/hostile:1", *arguments, **environment)

    def contents(self) -> dict[str, tuple[int, int, bytes]]:
        """All that is not the command's own: modes, times and contents by path."""
        own = {self.root / name for name in ("data", "cache", "output")}
        return {
            str(path.relative_to(self.root)): self._state(path)
            for path in self._walk(self.root)
            if path not in own and not own & set(path.parents) and path.name != "layerkit.yaml"
        }

    def kinds(self) -> set[int]:
        """The types of what the command has written to its own folders."""
        own = [path for folder in ("data", "cache") for path in self._walk(self.root / folder)]
        return {stat.S_IFMT(path.lstat().st_mode) for path in own}

    def _walk(self, folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from self._walk(path)

    @staticmethod
    def _state(path: Path) -> tuple[int, int, bytes]:
        status = path.lstat()
        is_file = stat.S_ISREG(status.st_mode)
        # Of folders no times: commands make and remove files of their own in TMPDIR.
        return status.st_mode, status.st_mtime_ns if is_file else 0, path.read_bytes() if is_file else b""
