"""uv: which versions answer requirements, and the project as a wheel. A program that runs; blocking.

It is asked for the target and not for this machine, and for wheels alone; it answers with a pylock.toml.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from layerkit.packages.errors import PackageError
from layerkit.packages.python.target import Family, Target

_LEVELS: Final = (17, 28, *range(31, 41))
"""Minor versions of glibc that uv knows by name."""
_GLIBC_MACHINES: Final = frozenset({"x86_64", "aarch64"})
_SECONDS: Final = 1800
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+@")
_FRAME: Final = re.compile(r"^[\s│╰─▶├\xd7]*(?:error: )?", re.MULTILINE)
_MOST_TEXT: Final = 2000


class Answer(NamedTuple):
    """A pylock.toml, whose paths are relative to a `folder` that is no more."""

    text: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """`program` is its path; `environment` is all that it may know of ours, `options` are for whatever it resolves."""

    program: str
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()

    def compile(
        self,
        requirements: Path,
        target: Target,
        *,
        extras: Sequence[str] = (),
        groups: Sequence[str] = (),
        preferred: Mapping[str, str] | None = None,
    ) -> "Answer":
        """What the file asks for. `preferred` are versions by name, which are kept where they may be.

        Raises PackageError with what uv says.
        """
        options = [f"--extra={extra}" for extra in extras] + [f"--group={group}" for group in groups]
        with tempfile.TemporaryDirectory(prefix="layerkit-") as folder:
            before = Path(folder) / "pylock.toml"
            if preferred:
                before.write_text(_pins(preferred))
            self._run(
                [
                    "pip",
                    "compile",
                    str(requirements),
                    f"--output-file={before}",
                    *_asking(target),
                    *self.options,
                    *options,
                ],
                requirements.parent,
                f"{requirements.name} cannot be resolved for {target}",
            )
            return Answer(before.read_text(encoding="utf-8"), Path(folder))

    def find(self, versions: Iterable[tuple[str, str]], target: Target, folder: Path) -> "Answer":
        """Exactly these versions: where their wheels are today. Raises PackageError."""
        pins = "".join(f"{name}=={version}\n" for name, version in sorted(versions))
        with tempfile.TemporaryDirectory(prefix="layerkit-") as made:
            requirements, output = Path(made) / "requirements.txt", Path(made) / "pylock.toml"
            requirements.write_text(pins)
            self._run(
                [
                    "pip",
                    "compile",
                    str(requirements),
                    "--no-deps",
                    f"--output-file={output}",
                    *_asking(target),
                    *self.options,
                ],
                folder,
                "what is locked cannot be found",
            )
            return Answer(output.read_text(encoding="utf-8"), Path(made))

    def build(self, project: Path, folder: Path) -> Path:
        """The project as a wheel, in the empty `folder`. Its build backend runs. Raises PackageError."""
        self._run(
            ["build", "--wheel", f"--out-dir={folder}", f"--python={sys.executable}", str(project)],
            project,
            f"{project.name or project} cannot be built",
        )
        found = sorted(folder.glob("*.whl"))
        if len(found) != 1:
            raise PackageError(f"{project.name or project} made {len(found)} wheels, and one was expected")
        return found[0]

    def _run(self, arguments: Sequence[str], folder: Path, what: str) -> None:
        command = [self.program, *arguments, "--no-progress", "--color=never", "--no-python-downloads"]
        try:
            done = subprocess.run(  # noqa: S603 - a list, and no shell
                command,
                cwd=folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except OSError as error:
            raise PackageError(f"{what}: {self.program} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise PackageError(f"{what}: uv has not ended after {_SECONDS} seconds") from error
        if done.returncode:
            said = _tell(done.stderr.decode(errors="replace"))
            raise PackageError(f"{what}: {said or f'uv ended with {done.returncode}'}")


def find_uv() -> str:
    """The path of the program that the library brings. Raises PackageError."""
    from uv import find_uv_bin  # noqa: PLC0415 - few builds need it

    try:
        return os.fsdecode(find_uv_bin())
    except FileNotFoundError as error:
        raise PackageError("uv, which resolves requirements, is not installed: pip install uv") from error


def _asking(target: Target) -> list[str]:
    return [
        "--format=pylock.toml",
        "--no-header",
        "--only-binary=:all:",
        f"--python-version={target.full_version}",
        f"--python={sys.executable}",
        *_platform(target),
    ]


def _platform(target: Target) -> list[str]:
    if target.machine in _GLIBC_MACHINES:
        if target.libc.family is Family.MUSL:
            return [f"--python-platform={target.machine}-unknown-linux-musl"]
        level = max((level for level in _LEVELS if level <= target.libc.minor), default=_LEVELS[0])
        return [f"--python-platform={target.machine}-manylinux_2_{level}"]
    # For all platforms at once: versions that have wheels for any of them.
    return ["--universal"]


def _pins(versions: Mapping[str, str]) -> str:
    """As uv reads what it wrote before."""
    packages = "".join(
        f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\nwheels = [{{ url = "https://a.invalid/'
        f'{name.replace("-", "_")}-{version}-py3-none-any.whl", hashes = {{}} }}]\n'
        for name, version in sorted(versions.items())
    )
    return f'lock-version = "1.0"\ncreated-by = "layerkit"\n{packages}'


def _tell(text: str) -> str:
    """What uv says, in one line, without logins."""
    text = _LOGIN.sub("", _FRAME.sub("", text))
    words = " ".join(text.split())
    return words if len(words) <= _MOST_TEXT else f"{words[: _MOST_TEXT // 2]} ... {words[-_MOST_TEXT // 2 :]}"
