"""The order of a layer: the same for the same entries, and one that every consumer can apply as it reads.

Source: LAYERS, items 10-12, 15 and 26; image-spec, layer.md ("duplicate entries", "whiteouts").
"""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property

from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.tar import Stretch, iter_stretches
from layerkit.oci.digest import shorten


class Arranged(tuple[Entry, ...]):  # noqa: SLOT001 - it keeps what is dear to find
    """Entries that can share a layer, in the order in which they are written."""

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        return tuple(iter_stretches(self))


def arrange(entries: Iterable[Entry]) -> Arranged:
    """The entries of one layer in the order in which they are written, which does not depend on that of `entries`.

    A directory, then all that is in it: whiteouts first, the rest by the bytes of its names. Parents that are
    missing are added, mode 0755 and owned by root: whoever knows better adds them before. The first of a file and its
    hardlinks is written as the file, the others as links to it, because a target must come before its links.

    Raises LayerError for two entries of one path, a path below what is no directory, a whiteout beside an entry of
    the name that it deletes or below an opaque one, and a hardlink whose target is not a file of this layer with the
    same attributes.
    """
    if isinstance(entries, Arranged):
        return entries
    given = tuple(entries)
    layer = {entry.path: entry for entry in given}
    if len(layer) < len(given):
        raise _twice(given)
    kinds = {entry.type for entry in given}
    _add_parents(layer)
    if EntryType.WHITEOUT in kinds:
        _check_whiteouts(layer)
    if EntryType.HARDLINK in kinds:
        _order_links(layer)
    return Arranged(sorted(layer.values(), key=_rank if EntryType.WHITEOUT in kinds else _rank_of_path))


def _twice(entries: Iterable[Entry]) -> LayerError:
    path = next(path for path, count in Counter(entry.path for entry in entries).items() if count > 1)
    return LayerError(f"{shorten(path)} is twice in one layer: keep one of the two")


def _rank(entry: Entry) -> str:
    rank = _rank_of_path(entry)
    if entry.type is not EntryType.WHITEOUT:
        return rank
    above, slash, name = rank.rpartition("\0")
    return f"{above}{slash}\0{name}"


def _rank_of_path(entry: Entry) -> str:
    # No name holds a NUL or is empty: `a`, `a/b`, `a-b` is the order of `a`, `a\0b`, `a-b`, and a whiteout's
    # `a\0\0.wh.b` comes before all other children of `a`. Texts have the order of their bytes in UTF-8.
    path = entry.path
    return path.replace("/", "\0") if path != ROOT else ""


def _add_parents(layer: dict[str, Entry]) -> None:
    for parent in dict.fromkeys([path.rpartition("/")[0] for path in layer]):
        path = parent
        while path:
            known = layer.get(path)
            if known is None:
                layer[path] = Entry(path=path, type=EntryType.DIRECTORY, mode=0o755)
            elif known.type is EntryType.DIRECTORY:
                break
            else:
                raise _below_no_directory(path, known, layer)
            path = path.rpartition("/")[0]


def _below_no_directory(parent: str, known: Entry, layer: Iterable[str]) -> LayerError:
    path = next(path for path in layer if path.startswith(f"{parent}/"))
    return LayerError(
        f"{shorten(path)} is below {shorten(parent)}, which is a {known.type}: "
        "make that a directory, or copy to where it leads"
    )


def _check_whiteouts(layer: dict[str, Entry]) -> None:
    whiteouts = [entry for entry in layer.values() if entry.type is EntryType.WHITEOUT]
    emptied = {entry.path.rpartition("/")[0] for entry in whiteouts if not entry.hides}
    for entry in whiteouts:
        # An overlay does not filter what is in an opaque directory: the whiteout would be listed there as a file.
        folder = entry.hides
        while emptied and folder:
            folder = folder.rpartition("/")[0]
            if folder in emptied:
                raise LayerError(
                    f"{shorten(entry.hides)} is deleted, and so is all that {shorten(folder or ROOT)} had before: "
                    "leave the deletion out"
                )
        if (hidden := entry.hides) and hidden in layer:
            raise LayerError(
                f"{shorten(hidden)} is both deleted and made in one layer: leave the deletion out, "
                "or hide what a directory had before by an opaque whiteout in it"
            )


def _order_links(layer: dict[str, Entry]) -> None:
    names: dict[str, list[Entry]] = {}
    for entry in layer.values():
        if entry.type is EntryType.HARDLINK:
            target = _resolve(entry, layer)
            names.setdefault(target.path, [target]).append(entry)
    for path, group in names.items():
        file = layer[path]
        first = min(group, key=_rank).path
        for entry in group:
            link = entry.changed(type=EntryType.HARDLINK, link=first, source=None) if entry.path != first else file
            layer[entry.path] = link.changed(path=entry.path)


def _resolve(link: Entry, layer: dict[str, Entry]) -> Entry:
    """The file that a hardlink, or a chain of them, leads to."""
    target = link
    for _ in range(len(layer)):
        if target.type is not EntryType.HARDLINK:
            break
        found = layer.get(target.link)
        if found is None:
            raise LayerError(
                f"{shorten(link.path)} is a hardlink to {shorten(target.link)}, "
                "which is not in the same layer: copy the file instead"
            )
        target = found
    if target.type is not EntryType.FILE:
        raise LayerError(
            f"{shorten(link.path)} is a hardlink to {shorten(target.path)}, which is a {target.type}: "
            "only files have hardlinks; copy it instead"
        )
    if _attributes(link) != _attributes(target):
        raise LayerError(
            f"{shorten(link.path)} is a hardlink to {shorten(target.path)}, but not of the same mode, owner, mtime "
            "and xattrs: one file has but one set of them"
        )
    return target


def _attributes(entry: Entry) -> tuple[object, ...]:
    return entry.mode, entry.uid, entry.gid, entry.mtime, dict(entry.xattrs)
