"""The packages of an image, as its own files list them: Debian's, Alpine's and Python's.

Sources: dpkg(1) and deb822(5), "status"; distroless, which has a file for each package in `status.d`; the apk database
format; the core metadata of Python packages, whose folder is NAME-VERSION.dist-info.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry
from layerkit.layer.tree import FileTree
from layerkit.packages.debian.database import STATUS, STATUS_FOLDER
from layerkit.view.contents import read_files
from layerkit.view.files import File, find_file, iter_folder
from layerkit.view.image import ViewedImage

_APK: Final = "lib/apk/db/installed"
_METADATA: Final = ".dist-info/METADATA"
_LARGEST: Final = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """`kind` is `deb`, `apk` or `python`."""

    kind: str
    name: str
    version: str


async def read_packages(image: ViewedImage, tree: FileTree) -> tuple[Package, ...]:
    """The packages that the image has, sorted. Raises LayerError, and what the repository raises."""
    found = set(await asyncio.to_thread(lambda: list(_python(tree))))
    lists = [file for file in _lists(tree) if file.size <= _LARGEST and not file.entry.sparse]
    for path, content in (await _read(image, lists)).items():
        text = content.decode(errors="replace")
        found |= set(parse_apk(text) if path == _APK else parse_dpkg(text))
    return tuple(sorted(found))


def _lists(tree: FileTree) -> Iterator[File]:
    for path in (STATUS, _APK):
        file = find_file(tree, path)
        if file is not None and file.type is EntryType.FILE:
            yield file
    for file in iter_folder(tree, STATUS_FOLDER):
        if file.type is EntryType.FILE and not file.path.endswith(".md5sums"):
            yield file


async def _read(image: ViewedImage, files: list[File]) -> dict[str, bytes]:
    layers: defaultdict[int, dict[int, IndexedEntry]] = defaultdict(dict)
    for file in files:
        layers[file.origin.layer][file.entry.offset] = file.entry
    contents: dict[tuple[int, int], bytes] = {}
    for number, entries in layers.items():
        layer = image.layers[number]
        found = await image.read_layer(
            layer, partial(read_files, media_type=layer.media_type, entries=entries.values())
        )
        contents.update({(number, offset): content for offset, content in found.items()})
    return {file.path: contents[file.origin.layer, file.entry.offset] for file in files}


def parse_dpkg(text: str) -> Iterator[Package]:
    """What a `status` file lists as installed. A list of one package, as in `status.d`, need not say that it is."""
    for stanza in text.split("\n\n"):
        fields = dict(_fields(stanza, ":"))
        state = fields.get("Status", "install ok installed").split()
        if "Package" in fields and "Version" in fields and state[-1:] == ["installed"]:
            yield Package(kind="deb", name=fields["Package"], version=fields["Version"])


def parse_apk(text: str) -> Iterator[Package]:
    for stanza in text.split("\n\n"):
        fields = dict(_fields(stanza, ":"))
        if "P" in fields and "V" in fields:
            yield Package(kind="apk", name=fields["P"], version=fields["V"])


def _fields(stanza: str, separator: str) -> Iterator[tuple[str, str]]:
    for line in stanza.split("\n"):
        name, found, value = line.partition(separator)
        if found and name and not name[0].isspace():
            yield name, value.strip()


def _python(tree: FileTree) -> Iterator[Package]:
    for file in iter_folder(tree, "", recursive=True):
        if file.path.endswith(_METADATA):
            name, dash, version = file.path.removesuffix(_METADATA).rpartition("/")[2].partition("-")
            if dash:
                yield Package(kind="python", name=name.replace("_", "-").lower(), version=version)
