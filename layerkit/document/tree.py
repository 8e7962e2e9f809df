"""A document: the values of a file, and where each of them stands."""

from collections.abc import Callable
from typing import NamedTuple, Self, TypeAlias

import msgspec

from layerkit.document.problem import Position, Problem, Source
from layerkit.oci.digest import shorten

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way from the root to a value: keys and indexes, like `("layers", 0, "copy")`."""

Value: TypeAlias = "Scalar | list[Value] | dict[str, Value] | None"


class Scalar(str):
    """The text of a scalar as it was typed. `plain` is whether it stood without quotes."""

    __slots__ = ("plain",)
    plain: bool

    def __new__(cls, text: str, *, plain: bool = False) -> Self:
        scalar = super().__new__(cls, text)
        scalar.plain = plain
        return scalar


class Entry(NamedTuple):
    """A key of a map: where the key stands, and its value."""

    position: Position
    node: "Node"


class Node(msgspec.Struct, frozen=True):
    """A value and where it begins. `size` counts the values within it, `height` how deep they are nested.

    An alias is the same node once more, so walking a tree costs what it counts for, not what was typed.
    """

    position: Position
    content: "Scalar | list[Node] | dict[str, Entry] | None"
    size: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        children = self.children()
        msgspec.structs.force_setattr(self, "size", 1 + sum(child.size for child in children))
        msgspec.structs.force_setattr(self, "height", 1 + max((child.height for child in children), default=0))

    def children(self) -> "list[Node]":
        if isinstance(self.content, dict):
            return [entry.node for entry in self.content.values()]
        return self.content if isinstance(self.content, list) else []

    def child(self, part: str | int) -> Entry | None:
        """The value at a key or an index, None where there is none."""
        content = self.content
        if isinstance(content, dict) and isinstance(part, str):
            return content.get(part)
        if isinstance(content, list) and isinstance(part, int) and 0 <= part < len(content):
            return Entry(content[part].position, content[part])
        return None

    def value(self) -> Value:
        match self.content:
            case dict() as entries:
                return {key: entry.node.value() for key, entry in entries.items()}
            case list() as items:
                return [item.value() for item in items]
            case leaf:
                return leaf

    def map_scalars(self, change: "Callable[[KeyPath, Scalar], Scalar]", path: KeyPath) -> "Node":
        match self.content:
            case dict() as entries:
                changed = {
                    key: Entry(entry.position, entry.node.map_scalars(change, (*path, key)))
                    for key, entry in entries.items()
                }
                return Node(self.position, changed)
            case list() as items:
                return Node(self.position, [item.map_scalars(change, (*path, i)) for i, item in enumerate(items)])
            case Scalar() as scalar:
                return Node(self.position, change(path, scalar))
            case None:
                return self


class Document(msgspec.Struct, frozen=True):
    """The values of one file: dict, list, Scalar and None."""

    source: Source
    root: Node

    @property
    def file(self) -> str:
        return self.source.file

    @property
    def values(self) -> Value:
        """A fresh tree of plain values at each call."""
        return self.root.value()

    def get(self, path: KeyPath) -> Value:
        """The value at `path`, None where there is none."""
        here = self.root
        for part in path:
            child = here.child(part)
            if child is None:
                return None
            here = child.node
        return here.value()

    def locate(self, path: KeyPath, *, key: bool = False) -> Position:
        """Where the value at `path` begins, or its key with `key`; of what is not there, its nearest parent.

        The items of a list that stands in the place of a map are found by the key that the map would have.
        """
        here = Entry(self.root.position, self.root)
        for part in path:
            child = here.node.child(part)
            if child is None and isinstance(part, str) and isinstance(here.node.content, list):
                continue
            if child is None:
                break
            here = child
        return here.position if key else here.node.position

    def problem(self, position: Position, message: str, hint: str = "") -> Problem:
        """A Problem of this file, with the line where it stands."""
        return self.source.problem(position, message, hint)

    def map_scalars(self, change: Callable[[KeyPath, Scalar], Scalar]) -> "Document":
        """The same document, positions included, with every scalar that is a value (keys are not) changed."""
        return msgspec.structs.replace(self, root=self.root.map_scalars(change, ()))


def describe(value: object) -> str:
    """What was found, for an error message."""
    match value:
        case None:
            return "nothing"
        case list() | tuple():
            return "a list"
        case dict():
            return "a map"
        case _:
            return shorten(str(value))
