"""Removing: the whiteouts of a layer, for what layers below have.

A removal is of what is below its layer, and what the layer copies comes after it: a folder that is removed and copied
into is empty but for what is copied. A whiteout and an entry of one name never share a layer (LAYERS, item 26), so of
such a folder each name that is not made again has a whiteout of its own; an opaque one would do as well, but readers
agree on it less (image-spec, layer.md, "Opaque Whiteout").
"""

from collections.abc import Iterator, Mapping

from layerkit.build.filesystem import Filesystem
from layerkit.document.problem import InvalidValue
from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.layer.tree import Subtree
from layerkit.spec.model import Remove


def find_removed(removal: Remove, below: Filesystem) -> list[str]:
    """The paths that a removal matches. Raises InvalidValue for none, LayerError for loops of links."""
    # All that is in a folder, and not the folder.
    pattern = f"{removal.path[:-1]}" if removal.path.endswith("/**") else removal.path
    found = [match.path for match in below.match(pattern) if match.path != ROOT]
    if not found:
        hint = below.suggest(removal.path) or "what the layer itself copies is removed by not copying it"
        raise InvalidValue(f"no layer below has {removal.path}", hint)
    return found


def outermost(paths: Iterator[str] | list[str]) -> list[str]:
    """Those that are not below another."""
    kept: list[str] = []
    for path in sorted(paths, key=lambda path: path.split("/")):
        if not kept or not (path == kept[-1] or path.startswith(f"{kept[-1]}/")):
            kept.append(path)
    return kept


def hidden_paths(path: str, removed: Subtree, made: Mapping[str, Entry]) -> Iterator[str]:
    """The paths to hide so that nothing of `removed`, which was at `path`, is left, where a layer has `made` some.

    What is made instead of a file, or as something else than a folder instead of one, needs no whiteout: it replaces.
    """
    entry = made.get(path)
    if entry is None:
        yield path
    elif entry.type is EntryType.DIRECTORY:
        for name, child in removed.children():
            yield from hidden_paths(f"{path}/{name}", child, made)
