"""Images of a file: one at its top, or several under `images:` with `defaults:` merged into each (SPEC, rule 9)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from layerkit.document.problem import DocumentError, InvalidValue, Position, Problem
from layerkit.document.tree import Document, Entry, Node, describe
from layerkit.document.validate import closest
from layerkit.oci.digest import shorten
from layerkit.oci.reference import RepositoryName
from layerkit.spec.bases import SCRATCH
from layerkit.spec.shape import SpecShape
from layerkit.spec.text import parse_name, suggest_name

MOST_IMAGES: Final = 200
"""Images of one file: each takes its own copy of the defaults."""

_DEFAULT_STEM: Final = "layerkit"
_IMAGES: Final = "images"
_TOP: Final = frozenset({"vars", "defaults", _IMAGES})


def has_several(document: Document) -> bool:
    """Whether the file has `images:`. Some of it may have been meant: `image` is not read as that."""
    return isinstance(document.root.content, dict) and _IMAGES in document.root.content


def split_images(document: Document) -> tuple[dict[RepositoryName, Document], list[Problem]]:
    """A document for each image under `images:`, in their order, and what is wrong around them."""
    top = _Top(document)
    defaults = top.defaults()
    images = {
        name: msgspec.structs.replace(document, root=_image(entry, defaults)) for name, entry in top.images().items()
    }
    return images, top.problems


def name_single(document: Document, path: Path, context: Path) -> RepositoryName:
    """The name of the one image of a file: that of its `name:`, else of the file, else of its folder.

    Raises DocumentError if none of them fits.
    """
    if document.get(("name",)) is not None:
        try:
            return parse_name(document.get(("name",)))
        except InvalidValue as error:
            raise DocumentError([document.problem(document.locate(("name",)), error.message, error.hint)]) from None
    name, origin = (context.name, "folder") if path.stem == _DEFAULT_STEM else (path.stem, "file")
    try:
        return parse_name(name)
    except InvalidValue:
        message = f"the image needs a name: that of its {origin}, {shorten(name)}, does not fit a repository"
        place = Position(document.file, 1, 1)
        raise DocumentError([document.problem(place, message, f"add `name: {suggest_name(name)}`")]) from None


class _Top:
    """The keys at the top of a file with several images."""

    def __init__(self, document: Document) -> None:
        content = document.root.content
        self._document = document
        self._entries: Mapping[str, Entry] = content if isinstance(content, dict) else {}
        self.problems: list[Problem] = []
        for key, entry in self._entries.items():
            if key not in _TOP:
                self._report(entry.position, *_refuse_key(key))

    def _report(self, position: Position, message: str, hint: str = "") -> None:
        self.problems.append(self._document.problem(position, message, hint))

    def defaults(self) -> Node | None:
        entry = self._entries.get("defaults")
        if entry is None:
            return None
        if not isinstance(entry.node.content, dict):
            if entry.node.content is None:
                self._report(entry.position, "`defaults` has no value", "give it one, or remove the key")
            else:
                self._report(entry.node.position, f"expected a map, found {describe(entry.node.value())}")
            return None
        return entry.node

    def images(self) -> dict[RepositoryName, Entry]:
        entry = self._entries[_IMAGES]
        found = entry.node.content
        if not isinstance(found, dict):
            example = "write `NAME: {from: ...}`, one for each image"
            self._report(entry.position, f"expected a map of images, found {describe(entry.node.value())}", example)
            return {}
        if not found:
            self._report(entry.position, "`images` is empty", "give it one, or remove the key")
        if len(found) > MOST_IMAGES:
            self._report(entry.position, f"{len(found)} images, {MOST_IMAGES} are allowed", "part the file")
            return {}
        images: dict[RepositoryName, Entry] = {}
        for name, image in found.items():
            try:
                images[_parse_image_name(name)] = image
            except InvalidValue as error:
                self._report(image.position, error.message, error.hint)
        return images


def _refuse_key(key: str) -> tuple[str, str]:
    known = {field.alias or name for name, field in SpecShape.model_fields.items()} - {"vars"}
    if key == "name":
        return "`name` stands beside `images`, where each image has its own", "remove it: an image's key is its name"
    if key in known:
        return (
            f"`{key}` stands beside `images`: a file describes one image, or several by name",
            "move it into an image, or into `defaults:` for all of them",
        )
    meant = SpecShape.other_words.get(key) or closest(key, _TOP)
    hint = f"did you mean `{meant}`?" if meant in _TOP else f"known keys: {', '.join(sorted(_TOP))}"
    return f"unknown key {shorten(key)}", hint


def _parse_image_name(name: str) -> RepositoryName:
    if name == SCRATCH:
        raise InvalidValue("`scratch` is the empty base, and no name of an image", "choose another name")
    try:
        return parse_name(name)
    except InvalidValue as error:
        raise InvalidValue(error.message, f"write `{suggest_name(name)}:`") from None


def _image(entry: Entry, defaults: Node | None) -> Node:
    """The image's own values over the defaults: maps merge, all else replaces. It begins at its name."""
    node = entry.node
    merged = node if defaults is None else _merge(defaults, node)
    content = {} if merged.content is None else merged.content
    return Node(entry.position, content)


def _merge(below: Node, above: Node) -> Node:
    if above.content is None and isinstance(below.content, dict):
        return below
    if not isinstance(below.content, dict) or not isinstance(above.content, dict):
        return above
    merged = dict(below.content)
    for key, entry in above.content.items():
        known = merged.get(key)
        merged[key] = (
            entry
            if known is None or entry.node.content is None
            else Entry(entry.position, _merge(known.node, entry.node))
        )
    return Node(above.position, merged)
