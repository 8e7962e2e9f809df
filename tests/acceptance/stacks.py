"""Stacks of layers at random: what nobody has thought of, over few names so that they meet.

The same number gives the same stack. Only what a layer of ours can hold comes out: `arrange` refuses the rest.
"""

import random
from collections.abc import Iterator
from typing import Final

from layerkit.layer.arrange import arrange
from layerkit.layer.entry import Entry, EntryType, opaque, whiteout
from layerkit.layer.errors import LayerError
from layerkit.layer.source import BytesSource
from tests.acceptance.tree import Tree, plan_tree

LAYERS: Final = 5
_CHANGES: Final = 5
_MODES: Final = (0o644, 0o755, 0o600, 0o4755, 0o1777, 0)
_TARGETS: Final = ("a", "b/c", "/a", "nowhere", "../a")


def make_layers(folder: str, count: int) -> list[tuple[Entry, ...]]:
    """LAYERS layers that hold `count` stacks together, each in a folder of its own below `folder`."""
    layers: list[list[Entry]] = [[] for _ in range(LAYERS)]
    for number in range(count):
        for layer, entries in zip(layers, make_stack(f"{folder}/{number:03}", number), strict=True):
            layer.extend(entries)
    return [tuple(layer) for layer in layers]


def make_stack(folder: str, seed: int) -> Iterator[list[Entry]]:
    """The layers of one stack in a folder, the lowest first."""
    chance = random.Random(seed)
    below: list[list[Entry]] = []
    for _ in range(LAYERS):
        tree = plan_tree(below)
        layer: list[Entry] = []
        for _ in range(chance.randint(1, _CHANGES)):
            try:
                layer = [*layer, _change(folder, tree, layer, chance)]
                arrange(layer)
            except LayerError:
                layer.pop()
        below.append(layer)
        yield layer


def _change(folder: str, tree: Tree, layer: list[Entry], chance: random.Random) -> Entry:
    path = f"{folder}/{'/'.join(chance.choice('abc') for _ in range(chance.randint(1, 3)))}"
    known = sorted(found for found in tree if found.startswith(f"{folder}/"))
    files = [entry for entry in layer if entry.type is EntryType.FILE]
    kind = chance.choice(["file", "file", "folder", "symlink", "fifo", "hardlink", "whiteout", "whiteout", "opaque"])
    attributes = Entry(
        path=path,
        type=EntryType.FIFO,
        mode=chance.choice(_MODES),
        uid=chance.randint(0, 3),
        gid=chance.randint(0, 3),
        mtime=chance.randint(0, 9),
        xattrs=(("user.number", b"%d" % chance.randint(0, 9)),) if chance.random() < 0.2 else (),
    )
    match kind:
        case "file":
            content = BytesSource(b"%d" % chance.randint(0, 99))
            return attributes.changed(type=EntryType.FILE, source=content)
        case "folder":
            return attributes.changed(type=EntryType.DIRECTORY)
        case "symlink":
            link = chance.choice(_TARGETS)
            return attributes.changed(type=EntryType.SYMLINK, mode=0o777, link=link, xattrs=())
        case "hardlink" if files:
            target = chance.choice(files)
            return target.changed(path=path, type=EntryType.HARDLINK, link=target.path, source=None)
        case "whiteout" if known:
            return whiteout(chance.choice(known))
        case "opaque" if folders := [found for found in known if tree[found].type == EntryType.DIRECTORY]:
            return opaque(chance.choice(folders))
        case _:
            return attributes.changed(xattrs=())
