"""The plan: what will be in each layer, from where. Printable, and made before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from layerkit.build.scan import Context, content_entry, symlink_entry
from layerkit.document.problem import Position
from layerkit.layer.arrange import arrange
from layerkit.layer.entry import MAX_MTIME, ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import FileTree, IndexedEntry, LayerIndex
from layerkit.sizes import format_size
from layerkit.spec.model import Content, Copy, Layer, Spec, Symlink

_LONGEST_HISTORY: Final = 400
_MANY_LAYERS: Final = 64
"""More than these slow down whatever mounts the image; MOST_LAYERS is where some refuse it."""
_OF_THE_HOST: Final = ("security.selinux", "security.ima", "security.evm", "trusted.", "user.overlay.")
"""Extended attributes that say something of the machine where a layer was made, and nothing of the image."""


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

    @property
    def summary(self) -> str:
        """Like `40 files, 2.0 MB`."""
        return f"{self.files} {'file' if self.files == 1 else 'files'}, {format_size(self.size)}"


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
    _refuse_unsupported(spec)
    context = Context(spec)
    tree = FileTree.of(base)
    layers: list[PlannedLayer] = []
    warnings: list[str] = []
    for layer in spec.layers:
        entries = _plan_layer(spec, layer, context, tree, warnings)
        layers.append(PlannedLayer(name=layer.name, created_by=_describe(layer), entries=entries))
        tree.add(map(_indexed, entries))
    count = len(base) + len(layers)
    if count > _MANY_LAYERS:
        warnings.append(f"the image has {count} layers: more than {_MANY_LAYERS} are slow to mount")
    return BuildPlan(spec=spec, layers=tuple(layers), warnings=(*spec.warnings, *warnings, *sorted(context.warnings)))


def _refuse_unsupported(spec: Spec) -> None:
    """Raises DocumentError for what the language has and no build can make yet."""
    found = [(user.position, "users") for user in spec.users]
    for layer in spec.layers:
        found += [(fetch.position, "fetch") for fetch in layer.fetches]
        found += [(directory.position, "directory") for directory in layer.directories]
        found += [(removal.position, "remove") for removal in layer.removals]
        for copy in layer.copies:
            if isinstance(copy, Copy):
                used = {"from": copy.origin, "caps": copy.capabilities, "mtime": copy.keep_mtime}
                found += [(copy.position, word) for word, value in used.items() if value]
    if found:
        position, word = found[0]
        raise spec.problem(position, f"`{word}` is not supported yet by this version")


def _plan_layer(spec: Spec, layer: Layer, context: Context, below: FileTree, warnings: list[str]) -> tuple[Entry, ...]:
    planned: dict[str, Entry] = {}
    positions: dict[str, Position] = {}
    for source in (*layer.copies, *layer.symlinks):
        try:
            for found in _entries(source, context):
                entry = _settle(found, below)
                if entry.path == ROOT:
                    continue
                replaced = planned.get(entry.path)
                if replaced is not None and entry.type is EntryType.DIRECTORY is replaced.type:
                    continue
                if replaced is not None:
                    _check_replaced(entry, replaced, positions[entry.path])
                    warnings.append(
                        f"{source.position}: /{entry.path} is copied twice in one layer: the later one wins"
                    )
                planned[entry.path] = entry
                positions[entry.path] = source.position
        except LayerError as error:
            raise spec.problem(source.position, str(error)) from error
    for path, position in positions.items():
        try:
            _add_parents(planned, path, below)
        except LayerError as error:
            raise spec.problem(position, str(error)) from error
    try:
        return arrange(planned.values())
    except LayerError as error:
        raise spec.problem(layer.position, str(error)) from error


def _check_replaced(entry: Entry, replaced: Entry, position: Position) -> None:
    """Raises LayerError: a folder and a file of one name have no order in which both could be had."""
    if EntryType.DIRECTORY in {entry.type, replaced.type}:
        raise LayerError(
            f"/{entry.path} would be a {_word(entry.type)}, and is a {_word(replaced.type)} of the same layer, "
            f"by line {position.line}: choose another destination for one of the two"
        )


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
            raise _cannot_replace(existing, path, EntryType.DIRECTORY)
    elif existing is not None and existing.type is EntryType.DIRECTORY:
        raise _cannot_replace(existing, path, entry.type)
    return replace(entry, path=path)


def _cannot_replace(existing: IndexedEntry, path: str, kind: EntryType) -> LayerError:
    mend = "choose another destination"
    if kind is EntryType.FILE:
        mend += ", or one with a slash at its end to copy into it"
    return LayerError(
        f"/{path} is a {_word(existing.type)} of a layer below, and cannot become a {_word(kind)}: {mend}"
    )


def _word(kind: EntryType) -> str:
    return "folder" if kind is EntryType.DIRECTORY else str(kind)


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
            raise _cannot_replace(existing, path, EntryType.DIRECTORY)


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
    """A folder as it is below, as far as an entry can say it: what a tar of others holds can be odder than ours."""
    return Entry(
        path=path,
        type=EntryType.DIRECTORY,
        mode=existing.mode,
        uid=existing.uid,
        gid=existing.gid,
        mtime=min(max(existing.mtime, 0), MAX_MTIME),
        xattrs=tuple((name, value) for name, value in existing.xattrs if value and not name.startswith(_OF_THE_HOST)),
    )


def _describe(layer: Layer) -> str:
    """What `docker history` shows."""
    steps = [f"{item.src if isinstance(item, Copy) else 'content'}:{item.dest}" for item in layer.copies]
    steps += [f"{link.path} -> {link.target}" for link in layer.symlinks]
    text = f"layerkit: {layer.name}: {', '.join(steps)}"
    return text if len(text) <= _LONGEST_HISTORY else f"{text[: _LONGEST_HISTORY - 3]}..."
