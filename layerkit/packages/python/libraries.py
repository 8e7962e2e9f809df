"""Shared libraries that wheels need: those that they bring themselves, and those that have to be in the image.

What manylinux allows wheels to take from the system is more than a small image has: libstdc++, zlib, X11. Whoever looks
only at the image that was made learns it when a module is imported. Source: PEP 600; auditwheel's policies. Blocking.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from layerkit.layer.entry import EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.tree import FileTree
from layerkit.packages.debian.ldcache import parse_library
from layerkit.packages.python.wheel import Wheel

_MAGIC: Final = b"\x7fELF"
_LARGEST: Final = 128 * 2**20
"""Bytes of a library that is looked into: it is read as a whole."""
_FOLDERS: Final = ("lib", "lib32", "lib64", "usr/lib", "usr/lib32", "usr/lib64", "usr/local/lib", "usr/local/lib64")
_NAME: Final = re.compile(r"(?P<name>lib.+?)(?:-(?P<release>[0-9.]+))?\.so\.(?P<version>[0-9]+)")
_ODD_NAMES: Final = {"libz.so.1": "zlib1g", "libgcc_s.so.1": "libgcc-s1", "libc.so.6": "libc6", "libm.so.6": "libc6"}


def find_needed(wheel: Wheel) -> tuple[str, ...]:
    """The libraries that the files of a wheel need and none of them is. Raises PackageError."""
    needed: set[str] = set()
    own: set[str] = set()
    for member in wheel.members:
        name = member.path.rpartition("/")[2]
        if ".so" not in name and not member.is_executable:
            continue
        own.add(name)
        if member.source.size > _LARGEST or not wheel.begins_with(member, _MAGIC):
            continue
        library = parse_library(wheel.read_member(member, most=_LARGEST))
        if library is not None:
            needed.update(library.needed)
            own.add(library.soname)
    return tuple(sorted(needed - own))


def find_missing(
    needed: Mapping[str, Iterable[str]], tree: FileTree, own: Iterable[str], interpreter: str
) -> list[str]:
    """What to say of libraries that are nowhere in an image: `needed` are wheels by the names of libraries, `own` the
    names of files that wheels bring. Those of the folder beside the interpreter's are found too."""
    prefix = interpreter.rpartition("/")[0].rpartition("/")[0].strip("/")
    present = set(own)
    for folder in (*_FOLDERS, f"{prefix}/lib".strip("/")):
        present.update(_names(tree, folder))
    return [
        f"{library} is not in the image, and {_join(wheels)} needs it: install what has it{_guess(library)}"
        for library, wheels in sorted(needed.items())
        if library not in present
    ]


def _names(tree: FileTree, folder: str) -> Iterator[str]:
    try:
        path = tree.resolve_directory(folder)
    except LayerError:
        return
    for entry in tree.children(path):
        name = entry.path.rpartition("/")[2]
        if entry.type is EntryType.DIRECTORY and "-linux-" in name:
            yield from (child.path.rpartition("/")[2] for child in tree.children(entry.path))
        else:
            yield name


def _join(wheels: Iterable[str]) -> str:
    first, *others = sorted(wheels)
    return f"{first} (and {len(others)} more)" if others else first


def _guess(library: str) -> str:
    """The package of Debian that has it, by the rule for their names (Debian Policy, 8.1)."""
    if library in _ODD_NAMES:
        return f" (of Debian {_ODD_NAMES[library]})"
    found = _NAME.fullmatch(library)
    if found is None:
        return ""
    name = found["name"].lower().replace("_", "-") + (found["release"] or "")
    return f" (of Debian most likely {name}{'-' if name[-1].isdigit() else ''}{found['version']})"
