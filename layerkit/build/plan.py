"""The plan: what will be in each layer, from where. Printable, and made before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from layerkit.build.scan import Context, content_entry, symlink_entry
from layerkit.layer.arrange import arrange
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import FileTree, IndexedEntry, LayerIndex
from layerkit.spec.model import Content, Copy, Layer, Spec, Symlink

_LONGEST_HISTORY: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayer:
    """`entries` are in the order of the layer; `created_by` is for the image's history."""

    name: str
    created_by: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(entry.size for entry in self.entries)

    @property
    def files(self) -> int:
        return sum(entry.type is EntryType.FILE for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """`warnings` are what a person may want to know and change."""

    spec: Spec
    layers: tuple[PlannedLayer, ...]
    warnings: tuple[str, ...]


def plan_build(spec: Spec, base: Sequence[LayerIndex]) -> BuildPlan:
    """What a build of `spec` on layers with these headers will write. Looks at files, and reads none. Blocking.

    Raises DocumentError at the copy, link or layer that cannot be.
    """
    context = Context(spec)
    tree = FileTree.of(base)
    layers: list[PlannedLayer] = []
    warnings: list[str] = []
    for layer in spec.layers:
        entries = _plan_layer(spec, layer, context, tree, warnings)
        layers.append(PlannedLayer(name=layer.name, created_by=_describe(layer), entries=entries))
        tree.add(map(_indexed, entries))
    return BuildPlan(spec=spec, layers=tuple(layers), warnings=(*warnings, *context.skipped))


def _plan_layer(spec: Spec, layer: Layer, context: Context, below: FileTree, warnings: list[str]) -> tuple[Entry, ...]:
    planned: dict[str, Entry] = {}
    for source in (*layer.copies, *layer.symlinks):
        try:
            for found in _entries(source, context):
                entry = _settle(found, below)
                replaced = planned.get(entry.path)
                if replaced is not None and EntryType.DIRECTORY not in {entry.type, replaced.type}:
                    warnings.append(
                        f"{source.position}: /{entry.path} is copied twice in one layer: the later one wins"
                    )
                if replaced is None or entry.type is not EntryType.DIRECTORY:
                    planned[entry.path] = entry
        except LayerError as error:
            raise spec.problem(source.position, str(error)) from error
    try:
        for path in tuple(planned):
            _add_parents(planned, path, below)
        return arrange(planned.values())
    except LayerError as error:
        raise spec.problem(layer.position, str(error)) from error


def _entries(source: Copy | Content | Symlink, context: Context) -> list[Entry]:
    match source:
        case Copy():
            return context.copy(source)
        case Content():
            return [content_entry(source)]
        case Symlink():
            return [symlink_entry(source)]


def _settle(entry: Entry, below: FileTree) -> Entry:
    """Where an entry goes on top of what there is: through the links of its parents, and never over a folder.

    A folder that exists keeps its attributes: copying into /tmp must not take its sticky bit. Raises LayerError.
    """
    path = below.resolve(entry.path)
    existing = below.lookup(path)
    if entry.type is EntryType.DIRECTORY:
        if existing is not None and existing.type is EntryType.SYMLINK:
            path = below.resolve_directory(path)
            existing = below.lookup(path)
        if existing is not None and existing.type is EntryType.DIRECTORY:
            return _kept(existing, path)
        if existing is not None:
            raise LayerError(f"/{path} is a {existing.type} of a layer below, and would become a folder")
    elif existing is not None and existing.type is EntryType.DIRECTORY:
        raise LayerError(f"/{path} is a folder of a layer below: end the destination with a slash to copy into it")
    return replace(entry, path=path)


def _add_parents(planned: dict[str, Entry], path: str, below: FileTree) -> None:
    """Every parent is in the layer, as it is below: consumers disagree on what a missing one would be."""
    while path := path.rpartition("/")[0]:
        if path in planned:
            return
        existing = below.lookup(path)
        if existing is None:
            planned[path] = Entry(path=path, type=EntryType.DIRECTORY, mode=0o755)
        elif existing.type is EntryType.DIRECTORY:
            planned[path] = _kept(existing, path)
        else:
            raise LayerError(f"/{path} is a {existing.type} of a layer below, and would become a folder")


def _indexed(entry: Entry) -> IndexedEntry:
    """A planned entry as later layers see it."""
    return IndexedEntry(
        path=entry.path,
        type=entry.type,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        link=entry.link,
        mtime=entry.mtime,
        xattrs=entry.xattrs,
        device=entry.device,
    )


def _kept(existing: IndexedEntry, path: str) -> Entry:
    return Entry(
        path=path,
        type=EntryType.DIRECTORY,
        mode=existing.mode,
        uid=existing.uid,
        gid=existing.gid,
        mtime=existing.mtime,
        xattrs=existing.xattrs,
    )


def _describe(layer: Layer) -> str:
    """What `docker history` shows."""
    steps = [f"{item.src if isinstance(item, Copy) else 'content'}:{item.dest}" for item in layer.copies]
    steps += [f"{link.path} -> {link.target}" for link in layer.symlinks]
    text = f"layerkit: {layer.name}: {', '.join(steps)}"
    return text if len(text) <= _LONGEST_HISTORY else f"{text[: _LONGEST_HISTORY - 3]}..."
