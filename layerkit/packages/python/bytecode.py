"""Byte code: modules compiled by an interpreter of this machine that is of the image's version. A program that runs.

What depends upon the hashes of texts is fixed by a seed, and what depends upon who else holds an object is left out, so
that the same source makes the same bytes. Times of files say nothing in an image: the byte code has the hash of its
source, which nobody compares. Source: PEP 552; CPython, `Python/marshal.c`. Blocking.
"""

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from layerkit.packages.errors import PackageError

_SECONDS: Final = 1800
_SIZE: Final = struct.Struct("<I")
_COMPILE: Final = """
import importlib.util, marshal, struct, sys, warnings
warnings.simplefilter("ignore")
sys.setrecursionlimit(10000)
source, out = sys.stdin.buffer, sys.stdout.buffer
def read():
    (size,) = struct.unpack("<I", source.read(4))
    return source.read(size)
def dump(code):
    try:
        return marshal.dumps(code, 2)
    except ValueError:
        return marshal.dumps(code)
(count,) = struct.unpack("<I", source.read(4))
for _ in range(count):
    path, text = read().decode("utf-8", "surrogateescape"), read()
    try:
        code = dump(compile(text, path, "exec", dont_inherit=True, optimize=0))
        made = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + importlib.util.source_hash(text) + code
    except Exception:
        made = b""
    out.write(struct.pack("<I", len(made)) + made)
"""


class Module(NamedTuple):
    """`path` is absolute, in the image."""

    path: str
    source: bytes


def find_interpreter(version: tuple[int, int], environment: Mapping[str, str]) -> str:
    """One of this machine, of this version. Raises PackageError where there is none."""
    if sys.version_info[:2] == version and sys.implementation.name == "cpython":
        return sys.executable
    name = "python{}.{}".format(*version)
    found = shutil.which(name, path=environment.get("PATH"))
    if found is None:
        raise PackageError(
            f"byte code for {name} is made by {name}, which this machine does not have: install it, or leave `compile` "
            "out"
        )
    return found


def compile_modules(modules: Sequence[Module], interpreter: str) -> list[bytes]:
    """What stands in `__pycache__` for each of them, nothing for what is no module of this version.

    Raises PackageError where the interpreter fails, or makes other bytes the second time.
    """
    if not modules:
        return []
    first, second = (_run(order, interpreter) for order in (modules, modules[::-1]))
    return [one if one == other else b"" for one, other in zip(first, second[::-1], strict=True)]


def cached_name(name: str, version: tuple[int, int]) -> str:
    """Where the byte code of a module stands (PEP 3147): `a/b.py` has `a/__pycache__/b.cpython-311.pyc`."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}__pycache__/{last.removesuffix('.py')}.cpython-{version[0]}{version[1]}.pyc"


def _run(modules: Sequence[Module], interpreter: str) -> list[bytes]:
    parts = [_SIZE.pack(len(modules))]
    for module in modules:
        for part in (module.path.encode(errors="surrogateescape"), module.source):
            parts += [_SIZE.pack(len(part)), part]
    try:
        done = subprocess.run(  # noqa: S603 - a list, and no shell
            [interpreter, "-S", "-s", "-B", "-c", _COMPILE],
            input=b"".join(parts),
            cwd="/",
            env={"PYTHONHASHSEED": "0"},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageError(f"{interpreter} cannot compile modules: {error}") from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split()[-20:])
        raise PackageError(f"{interpreter} cannot compile modules: {said or f'it ended with {done.returncode}'}")
    made: list[bytes] = []
    at = 0
    while at < len(done.stdout):
        (size,) = _SIZE.unpack_from(done.stdout, at)
        made.append(done.stdout[at + _SIZE.size : at + _SIZE.size + size])
        at += _SIZE.size + size
    return made
