"""Programs that the tests run for real: the registry and the command line as processes, and those of others."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from layerkit.cli.main import main

PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Finished:
    """A program that ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class LayerkitProcess:
    """The command line as users have it, with a data folder of its own."""

    data: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *arguments: str | Path,
        check: bool = True,
        cwd: Path | None = None,
        stdin: str | None = None,
        **environment: str,
    ) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "layerkit", *map(str, arguments)],
            capture_output=True,
            check=False,
            text=True,
            timeout=100,
            cwd=cwd,
            input=stdin,
            env={
                **os.environ,
                "XDG_DATA_HOME": str(self.data),
                "XDG_CACHE_HOME": str(self.data / "cache"),
                **self.environment,
                **environment,
            },
        )
        if check and done.returncode != 0:
            pytest.fail(f"layerkit {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr}")
        return Finished(done.returncode, done.stdout, done.stderr)


class LayerkitHere(LayerkitProcess):
    """The same in this process, ten times as fast: for what is to be seen in the output, and not in a process."""

    def __call__(
        self,
        *arguments: str | Path,
        check: bool = True,
        cwd: Path | None = None,
        stdin: str | None = None,
        **environment: str,
    ) -> Finished:
        settings = {"XDG_DATA_HOME": str(self.data), "XDG_CACHE_HOME": str(self.data / "cache")}
        before, code = sys.argv, 0
        sys.argv = ["layerkit", *map(str, arguments)]
        with (
            chdir(cwd or Path.cwd()),
            CliRunner().isolation(stdin, env={**settings, **self.environment, **environment}) as (
                stdout,
                stderr,
                _,
            ),
        ):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.argv = before
            sys.stdout.flush()
            sys.stderr.flush()
            done = Finished(code, stdout.getvalue().decode(), stderr.getvalue().decode())
        if check and code != 0:
            pytest.fail(f"layerkit {' '.join(map(str, arguments))} ended with {code}:\n{done.stderr}")
        return done


@dataclass
class RegistryProcess:
    """`layerkit registry serve` on a free port. `log` has what it wrote until now."""

    root: Path
    address: str
    process: subprocess.Popen[str]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


@contextmanager
def run_registry(root: Path, *arguments: str) -> Iterator[RegistryProcess]:
    log_path = root.parent / f"{root.name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "layerkit",
                "registry",
                "serve",
                "--root",
                root,
                "--listen",
                "127.0.0.1:0",
                *arguments,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            match, before = None, ""
            while match is None:
                line = process.stderr.readline()
                before += line
                if not line:
                    pytest.fail(f"the registry did not start: {before}")
                match = re.match(r"registry listening on https?://([^,]+),", line)
            drain = subprocess.Popen(["/bin/cat"], stdin=process.stderr, stdout=log)
            try:
                yield RegistryProcess(root, match[1], process, log_path)
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(timeout=30)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                drain.wait(timeout=10)
        finally:
            process.stderr.close()


def locate(name: str) -> str:
    """The path of a program of another project; without it the test fails."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{name} is not installed: `make clients` installs it as root")
    return found


def run_program(*arguments: str | Path, environment: dict[str, str] | None = None, timeout: float = 100) -> str:
    """The standard output of a program that must succeed."""
    done = subprocess.run(
        [locate(str(arguments[0])), *arguments[1:]],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
