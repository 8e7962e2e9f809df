"""requirements.txt: the files that it includes, and the hashes that it demands. Pure but for reading them.

What it asks for is uv's to understand. Source: pip's documentation, "Requirements File Format".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import OCIError
from layerkit.packages.errors import PackageError

_INCLUDE: Final = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=[^\s=-]))(?P<path>\S.*)\Z")
_INDEX: Final = re.compile(
    r"(?:-i|--index-url|--extra-index-url|-f|--find-links)(?:\s*=\s*|\s+)(?P<url>[a-z]+://\S+)\Z"
)
_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)\}")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_HASH: Final = re.compile(r"\s--hash(?:\s*=\s*|\s+)(?P<algorithm>[A-Za-z0-9]+):(?P<value>[A-Za-z0-9]+)")
_COMMENT: Final = re.compile(r"(?:\A|\s+)#.*")
_MOST_FILES: Final = 100
_MOST_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """`files` are those that are read, with their content, by the paths as the first one leads to them; `indexes` are
    the URLs that they name, as they stand there.

    `hashes` are by the name of the distribution: where there are any, each wheel must have one of its own.
    """

    path: Path
    files: Mapping[str, str]
    hashes: Mapping[str, frozenset[Digest]]
    indexes: tuple[str, ...] = ()

    def check(self, name: str, file: str, digest: Digest) -> None:
        """Raises PackageError for a wheel that is none of those that are demanded."""
        if not self.hashes:
            return
        allowed = self.hashes.get(name, frozenset())
        if digest not in allowed:
            have = "none of its hashes is" if allowed else "it has no hash for this package, while it has for others:"
            raise PackageError(f"{file} is not what {self.path.name} demands: {have} {digest}")


def load_requirements(path: Path, folder: Path) -> Requirements:
    """The file at `path` and those that it includes, none of which may be outside of `folder`.

    Raises PackageError for what cannot be read.
    """
    files: dict[str, str] = {}
    hashes: dict[str, set[Digest]] = {}
    indexes: list[str] = []
    pending = [path]
    while pending:
        current = pending.pop()
        name = _name_within(current, folder)
        if name in files:
            continue
        if len(files) >= _MOST_FILES:
            raise PackageError(f"{path.name} includes more than {_MOST_FILES} files")
        files[name] = _read(current, name)
        if current.suffix == ".toml":
            continue
        for line in _lines(files[name]):
            if found := _INCLUDE.match(line):
                included = found["path"].strip("\"' ")
                if "://" in included:
                    raise PackageError(f"{name} includes {shorten(included)}: keep a copy beside it")
                pending.append(current.parent / included)
            elif found := _INDEX.match(line):
                indexes.append(found["url"])
            elif digests := list(_hashes(line, name)):
                package = _NAME.match(line)
                hashes.setdefault(canonicalize_name(package[0]) if package else "", set()).update(digests)
    return Requirements(
        path=path,
        files=files,
        hashes={name: frozenset(found) for name, found in hashes.items()},
        indexes=tuple(indexes),
    )


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """The text with `${NAME}` as it is in the environment; one that is not there stays."""
    return _VARIABLE.sub(lambda found: environment.get(found["name"], found[0]), text)


def _name_within(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except (ValueError, OSError) as error:
        raise PackageError(f"{path.name} is outside of the folder of the spec: only what is in it is read") from error


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PackageError(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise PackageError(f"{name} has more than {_MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PackageError(f"{name} is not UTF-8") from error


def _lines(text: str) -> Iterator[str]:
    """The logical lines, without comments."""
    pending = ""
    for line in text.splitlines():
        # A comment between lines that go on is part of none.
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            pending += line[:-1] + " "
            continue
        whole, pending = pending + line, ""
        if stripped := _COMMENT.sub("", whole).strip():
            yield stripped


def _hashes(line: str, name: str) -> Iterator[Digest]:
    for found in _HASH.finditer(line):
        if found["algorithm"].lower() != "sha256":
            # Wheels are known by this one alone.
            continue
        try:
            yield Digest(f"sha256:{found['value'].lower()}")
        except OCIError as error:
            raise PackageError(f"{name} demands a hash that is none: {error.message}") from error
