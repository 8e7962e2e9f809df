"""What is built: folders made of what every machine has, the same each time."""

import random
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

_MIB = 2**20
_SALT_EVERY = 64 * 1024
_SMALL = 50_000
_PACKAGE = 20_000_000


def installation() -> list[Path]:
    """The folders of the Python that runs: its standard library, and what is installed with it."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]


def make_installation(folder: Path, sources: Sequence[Path], *, entries: int, size: int) -> tuple[int, int]:
    """Copies of `sources`, one after the other, until there are so many entries or bytes: how many there are.

    No two copies have a block of content in common: whoever keeps the same content once keeps all of them.
    """
    made = written = 0
    for number in count():
        for source in sources:
            copy = folder / str(number) / source.name
            copy.mkdir(parents=True)
            for path, is_folder in _walk(source):
                target = copy / path.relative_to(source)
                if is_folder:
                    target.mkdir()
                elif path.is_symlink():
                    target.symlink_to(path.readlink())
                elif path.is_file():
                    content = bytearray(path.read_bytes())
                    if number:
                        _salt(content, number)
                    target.write_bytes(content)
                    target.chmod(path.stat().st_mode & 0o755 | 0o644)
                    written += len(content)
                made += 1
                if made >= entries or written >= size:
                    return made, written
    raise AssertionError("unreachable: there is always another copy")


def make_tiny_files(folder: Path, *, files: int) -> None:
    """Files of 20 to 120 bytes, 1,000 in a folder."""
    for number in range(files):
        parent = folder / f"{number // 1000:03}"
        if not number % 1000:
            parent.mkdir(parents=True)
        (parent / f"{number % 1000:03}.txt").write_bytes(b"file %06d of many\n" % number * (1 + number % 5))


def make_large_file(path: Path, like: Path, *, size: int) -> None:
    """A file of which every other 32 MiB are text and the rest is random, as of data and of what is packed already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = bytearray()
    for found, is_folder in _walk(like):
        if not is_folder and found.suffix == ".py" and not found.is_symlink():
            text += found.read_bytes()
        if len(text) >= 32 * _MIB:
            break
    chunk = (text * (32 * _MIB // len(text) + 1))[: 32 * _MIB] + random.Random(0).randbytes(32 * _MIB)
    with path.open("wb") as file:
        for number in count():
            _salt(chunk, number)
            file.write(chunk[: size - file.tell()])
            if file.tell() >= size:
                return


def find_small_file(folder: Path) -> Path:
    """A file of the middle of a tree, like those that people edit."""
    found = [
        path
        for path, is_folder in _walk(folder)
        if path.suffix == ".py" and not is_folder and not path.is_symlink() and 0 < path.stat().st_size < _SMALL
    ]
    return found[len(found) // 2]


def find_package(folder: Path) -> Path:
    """The largest package of a tree, up to 20 MB."""
    packages = [path.parent for path, _ in _walk(folder) if path.name == "__init__.py"]
    return max(packages, key=lambda package: (size if (size := tree_size(package)) <= _PACKAGE else 0, str(package)))


def rewrite(path: Path, number: int) -> None:
    """An edit that changes no size: what an editor does to a line."""
    content = bytearray(path.read_bytes())
    _salt(content, number)
    path.write_bytes(content)


def replace_package(folder: Path, number: int) -> None:
    """Another version of what is in a folder: every file is written anew, a tenth of them is another, and one more is
    there."""
    copy = folder.with_name(f".{folder.name}.new")
    shutil.copytree(folder, copy, symlinks=True)
    files = sorted(path for path, is_folder in _walk(copy) if not is_folder and not path.is_symlink())
    for path in files[number % 10 :: 10]:
        rewrite(path, number)
    (copy / f"new-{number}.txt").write_text(f"version {number}\n")
    shutil.rmtree(folder)
    copy.rename(folder)


def tree_size(folder: Path) -> int:
    return sum(path.lstat().st_size for path, is_folder in _walk(folder) if not is_folder)


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All that is in a folder, sorted, and whether it is a folder."""
    for path in sorted(folder.iterdir()):
        is_folder = path.is_dir() and not path.is_symlink()
        yield path, is_folder
        if is_folder:
            yield from _walk(path)


def _salt(content: bytearray, number: int) -> None:
    """Make content another of the same size, in each of its blocks."""
    salt = b"%08d" % number
    for start in range(0, len(content), _SALT_EVERY):
        end = min(start + len(salt), len(content))
        content[start:end] = salt[: end - start]
