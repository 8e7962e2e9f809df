"""What sets two images apart: files, config, history, layers and packages. Values in, values out, but for contents."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry
from layerkit.layer.tree import FileTree
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.view.contents import digest_files
from layerkit.view.files import File, iter_folder
from layerkit.view.image import ViewedImage
from layerkit.view.packages import Package, read_packages

_UNSAID: Final = ("rootfs", "history", "created")
"""Keys of a config that are compared in their own way, or say nothing of the image."""


class Aspect(StrEnum):
    """What of a file changed."""

    TYPE = "type"
    CONTENT = "content"
    LINK = "link"
    MODE = "mode"
    OWNER = "owner"
    XATTRS = "xattrs"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is in one of the images alone, or that is another in each: then `aspects` says in what."""

    path: str
    before: File | None
    after: File | None
    aspects: tuple[Aspect, ...] = ()

    @property
    def grown(self) -> int:
        """By how many bytes the content is larger now."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value of the config, by its path there, like `config.Env.PATH`. None is not set."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    kind: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """The layers that both images have, and those that one of them has alone, in their order."""

    shared: tuple[Descriptor, ...]
    before: tuple[Descriptor, ...]
    after: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDiff:
    """`files` are in the order of a tree: what is in a folder follows it. `history` is of the steps that one image has
    alone, as they stand in it."""

    before: ViewedImage
    after: ViewedImage
    files: tuple[FileChange, ...]
    settings: tuple[Setting, ...]
    history: tuple[tuple[str, ...], tuple[str, ...]]
    layers: LayerChange
    packages: tuple[PackageChange, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.settings or self.packages or any(self.history))


async def diff_images(before: ViewedImage, after: ViewedImage, *, times: bool = False) -> ImageDiff:
    """What is different in `after`. Times of files count with `times` alone.

    Raises LayerError, and what the repositories raise.
    """
    trees = await before.tree(), await after.tree()
    files = await _diff_files(before, after, trees, times=times)
    packages = await read_packages(before, trees[0]), await read_packages(after, trees[1])
    return ImageDiff(
        before=before,
        after=after,
        files=files,
        settings=diff_configs(before.config, after.config),
        history=_diff_history(before.config, after.config),
        layers=_diff_layers(before.layers, after.layers),
        packages=_diff_packages(*packages),
    )


async def _diff_files(
    before: ViewedImage, after: ViewedImage, trees: tuple[FileTree, FileTree], *, times: bool
) -> tuple[FileChange, ...]:
    old, new = await asyncio.to_thread(lambda: [{f.path: f for f in iter_folder(t, "", recursive=True)} for t in trees])
    changes: dict[str, FileChange] = {}
    doubtful: list[tuple[File, File]] = []
    for path, file in old.items():
        other = new.get(path)
        if other is None:
            changes[path] = FileChange(path=path, before=file, after=None)
            continue
        aspects = compare_entries(file.entry, other.entry, times=times)
        if aspects:
            changes[path] = FileChange(path=path, before=file, after=other, aspects=aspects)
        if _may_differ(before, file, after, other):
            doubtful.append((file, other))
    for path, file in new.items():
        if path not in old:
            changes[path] = FileChange(path=path, before=None, after=file)
    digests = [await _digest(before, [file for file, _ in doubtful]), await _digest(after, [f for _, f in doubtful])]
    for file, other in doubtful:
        if digests[0][_place(file)] != digests[1][_place(other)]:
            known = changes[file.path].aspects if file.path in changes else ()
            aspects = tuple(aspect for aspect in Aspect if aspect in {*known, Aspect.CONTENT})
            changes[file.path] = FileChange(path=file.path, before=file, after=other, aspects=aspects)
    return tuple(changes[path] for path in sorted(changes, key=lambda path: path.split("/")))


def compare_entries(before: IndexedEntry, after: IndexedEntry, *, times: bool) -> tuple[Aspect, ...]:
    """In what two entries differ, as far as their headers tell."""
    if before.type is not after.type:
        return (Aspect.TYPE,)
    found = {
        Aspect.CONTENT: before.size != after.size or before.device != after.device,
        Aspect.LINK: before.link != after.link,
        Aspect.MODE: before.mode != after.mode,
        Aspect.OWNER: (before.uid, before.gid) != (after.uid, after.gid),
        Aspect.XATTRS: before.xattrs != after.xattrs,
        Aspect.TIME: times and before.mtime != after.mtime,
    }
    return tuple(aspect for aspect, is_other in found.items() if is_other)


def _may_differ(before: ViewedImage, file: File, after: ViewedImage, other: File) -> bool:
    """Whether only the contents tell if two files are the same."""
    if not (file.type is other.type is EntryType.FILE and file.size == other.size and file.size):
        return False
    if file.entry.sparse or other.entry.sparse:
        # What is stored is a map and pieces: their places are all that can be compared.
        return False
    layers = before.layers[file.origin.layer].digest, after.layers[other.origin.layer].digest
    return layers[0] != layers[1] or file.entry.offset != other.entry.offset


def _place(file: File) -> tuple[int, int]:
    return file.origin.layer, file.entry.offset


async def _digest(image: ViewedImage, files: Iterable[File]) -> Mapping[tuple[int, int], bytes]:
    """The digests of the contents of files, with one pass over each layer that has some."""
    layers: defaultdict[int, dict[int, IndexedEntry]] = defaultdict(dict)
    for file in files:
        layers[file.origin.layer][file.entry.offset] = file.entry
    digests = {}
    for number, entries in layers.items():
        layer = image.layers[number]
        found = await image.read_layer(
            layer, partial(digest_files, media_type=layer.media_type, entries=entries.values())
        )
        digests.update({(number, offset): digest for offset, digest in found.items()})
    return digests


def diff_configs(before: ImageConfig, after: ImageConfig) -> tuple[Setting, ...]:
    """The values of two configs that differ, by their paths. Variables and labels count one by one."""
    old, new = dict(_flatten(before.document)), dict(_flatten(after.document))
    return tuple(
        Setting(path=path, before=old.get(path), after=new.get(path))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    )


def _flatten(document: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in document.items():
        if key in _UNSAID:
            continue
        if key != "config" or not isinstance(value, dict):
            yield key, value
            continue
        for name, setting in value.items():
            if name == "Env" and isinstance(setting, list):
                for variable in setting:
                    left, _, right = str(variable).partition("=")
                    yield f"config.Env.{left}", right
            elif name in {"Labels", "ExposedPorts", "Volumes"} and isinstance(setting, dict):
                yield from ((f"config.{name}.{left}", right) for left, right in setting.items())
            elif setting not in (None, "", [], {}):
                yield f"config.{name}", setting


def _diff_history(before: ImageConfig, after: ImageConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    old = [entry.created_by for entry in before.history]
    new = [entry.created_by for entry in after.history]
    shared = _common(old, new)
    return tuple(old[shared:]), tuple(new[shared:])


def _common(before: Sequence[object], after: Sequence[object]) -> int:
    """How many of the first are the same."""
    pairs = zip(before, after, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(before), len(after)))


def _diff_layers(before: Sequence[Descriptor], after: Sequence[Descriptor]) -> LayerChange:
    old, new = {layer.digest for layer in before}, {layer.digest for layer in after}
    return LayerChange(
        shared=tuple(layer for layer in before if layer.digest in new),
        before=tuple(layer for layer in before if layer.digest not in new),
        after=tuple(layer for layer in after if layer.digest not in old),
    )


def _diff_packages(before: Iterable[Package], after: Iterable[Package]) -> tuple[PackageChange, ...]:
    old = {(package.kind, package.name): package.version for package in before}
    new = {(package.kind, package.name): package.version for package in after}
    return tuple(
        PackageChange(kind=kind, name=name, before=old.get((kind, name)), after=new.get((kind, name)))
        for kind, name in sorted({*old, *new})
        if old.get((kind, name)) != new.get((kind, name))
    )
