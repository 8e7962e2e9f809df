"""Parsing: YAML 1.2 text to a Document.

PyYAML's events are all that is used of it, because its resolvers speak YAML 1.1 (`no` is false, `22:30` is 1350).
Source: YAML 1.2.2, 10.3 "Core Schema"; null is the only type that it finds here, all else is text for the model.
Left out on purpose: tags, merge keys, several documents in a file, keys that are not text.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml

from layerkit.document.problem import DocumentError, Position, Problem, Source
from layerkit.document.syntax import explain_syntax, is_tab_indented, tab_problem
from layerkit.document.tree import Document, Entry, Node, Scalar
from layerkit.oci.digest import shorten

MAX_DEPTH: Final = 64
"""Levels of nesting; the models have six."""

MAX_ALIASED: Final = 1000
"""Values that all aliases of a file may stand for together: a few lines can otherwise stand for billions."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")

# YAML 1.2.2, 5.1 "Character Set", less three characters which are line breaks in YAML 1.1 only: positions and values
# would depend on the version.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse_document(text: str | bytes, file: str) -> Document:
    """The values of `text`, in UTF-8 if it is bytes; `file` is its name in errors. Raises DocumentError."""
    content, bad = _decode(text)
    source = Source(file, tuple(_LINE_BREAK.split(content)))
    if bad is not None:
        offset, message, hint = bad
        raise DocumentError([source.problem(_position_of(offset, content, source), message, hint)])
    return _Composer(source).compose(content)


def _decode(text: str | bytes) -> tuple[str, tuple[int, str, str] | None]:
    """Without the byte order mark; and where there is a character that may not be here: its offset, message, hint."""
    if isinstance(text, bytes):
        try:
            return _decode(text.decode())
        except UnicodeDecodeError as error:
            good = text[: error.start].decode().removeprefix("\ufeff")
            rest = text[error.start :].decode(errors="replace")
            return good + rest, (len(good), f"byte 0x{text[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    text = text.removeprefix("\ufeff")
    found = _FORBIDDEN.search(text)
    if found is None:
        return text, None
    code = ord(found[0])
    escape = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return text, (
        found.start(),
        f"character U+{code:04X} cannot be seen and may not stand here",
        f'remove it, or write it as {escape} within "double quotes"',
    )


def _position_of(offset: int, content: str, source: Source) -> Position:
    before = _LINE_BREAK.split(content[:offset])
    return source.at(len(before), len(before[-1]) + 1)


class _Composer:
    """Events to nodes. Problems are gathered, so that one reading shows all of them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems: list[Problem] = []
        self._anchors: dict[str, Node | None] = {}
        self._aliased = 0
        self._text_lines: set[int] = set()

    def compose(self, content: str, loader: Any = _LOADER) -> Document:
        try:
            root = self._compose_root(yaml.parse(content, Loader=loader))
        except yaml.YAMLError as error:
            raise DocumentError([*self._problems, explain_syntax(error, self._source)]) from error
        self._find_tabs()
        if self._problems:
            raise DocumentError(self._problems)
        if root is None or root.content is None:
            raise DocumentError([self._source.problem(self._source.at(1, 1), "the file is empty")])
        return Document(self._source, root)

    def _compose_root(self, events: Iterable[yaml.Event]) -> Node | None:
        root: Node | None = None
        stream = iter(events)
        for event in stream:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if root is not None:
                message, hint = "a second document begins here: one file holds one", "remove the `---`"
                raise DocumentError([*self._problems, self._source.problem(self._begin(event), message, hint)])
            root = self._node(next(stream), stream, depth=1, fallback=self._source.at(1, 1))
        return root

    def _begin(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        return self._source.at(mark.line + 1, mark.column + 1) if mark else self._source.at(1, 1)

    def _report(self, position: Position, message: str, hint: str = "") -> None:
        self._problems.append(self._source.problem(position, message, hint))

    def _fail(self, position: Position, message: str, hint: str = "") -> DocumentError:
        self._report(position, message, hint)
        return DocumentError(self._problems)

    def _node(self, event: yaml.Event, stream: Iterator[yaml.Event], *, depth: int, fallback: Position) -> Node:
        """The value that begins with `event`; `fallback` is where an empty one stands."""
        position = self._begin(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, position, depth)
        if depth > MAX_DEPTH:
            raise self._fail(position, f"more than {MAX_DEPTH} levels of nesting")
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = None
        tag = getattr(event, "tag", None)
        if tag:
            self._report(position, "tags (`!...`) have no meaning here", 'remove it; "double quotes" make any text')
        match event:
            case yaml.MappingStartEvent():
                node = Node(position, self._entries(stream, depth))
            case yaml.SequenceStartEvent():
                node = Node(position, self._items(stream, depth))
            case yaml.ScalarEvent():
                node = self._scalar(event, position, fallback)
            case _:  # pragma: no cover - the parser has no other event here
                raise self._fail(position, "not valid YAML")
        if anchor:
            self._anchors[anchor] = node
        return node

    def _scalar(self, event: yaml.ScalarEvent, position: Position, fallback: Position) -> Node:
        plain = not event.style
        if plain and event.value in _NULLS:
            return Node(position if event.value else fallback, None)
        if not plain and event.start_mark and event.end_mark:
            end = event.end_mark.line + (1 if event.end_mark.column else 0)
            self._text_lines.update(range(event.start_mark.line + 2, end + 1))
        return Node(position, Scalar(event.value, plain=plain))

    def _items(self, stream: Iterator[yaml.Event], depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(stream), yaml.SequenceEndEvent):
            items.append(self._node(event, stream, depth=depth + 1, fallback=self._begin(event)))
        return items

    def _entries(self, stream: Iterator[yaml.Event], depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(stream), yaml.MappingEndEvent):
            position = self._begin(event)
            key = self._node(event, stream, depth=depth + 1, fallback=position)
            value = self._node(next(stream), stream, depth=depth + 1, fallback=position)
            if not isinstance(key.content, Scalar):
                self._report(position, "a key is text, and nothing else", "quote it")
                continue
            name = str(key.content)
            if name == "<<" and key.content.plain:
                self._report(position, "merge keys (`<<`) are not part of YAML 1.2", "write the keys out")
            elif name in entries:
                first = entries[name].position.line
                self._report(position, f"key {shorten(name)} stands here twice", f"the first one is on line {first}")
            else:
                entries[name] = Entry(position, value)
        return entries

    def _alias(self, event: yaml.AliasEvent, position: Position, depth: int) -> Node:
        name = event.anchor or ""
        if name not in self._anchors:
            raise self._fail(position, f"nothing above is marked &{name}", "quote a text that begins with *")
        node = self._anchors[name]
        if node is None:
            raise self._fail(position, f"*{name} stands within &{name}: it would have no end")
        self._aliased += node.size
        if self._aliased > MAX_ALIASED or depth + node.height > MAX_DEPTH:
            raise self._fail(position, f"the aliases of this file stand for more than {MAX_ALIASED} values")
        return node

    def _find_tabs(self) -> None:
        # The parser lets tabs pass within [...] and {...}; lines of quoted and block text may begin as they like.
        for number, line in enumerate(self._source.lines, start=1):
            if number not in self._text_lines and is_tab_indented(line):
                self._problems.append(tab_problem(number, self._source))
