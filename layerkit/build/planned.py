"""Planned: the layers of an image before anything of them is written, as values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import msgspec

from layerkit.document.problem import Position
from layerkit.layer.arrange import Arranged, arrange
from layerkit.layer.entry import Entry
from layerkit.layer.tar import tar_size
from layerkit.sizes import format_size
from layerkit.spec.model import Spec


class Provenance(NamedTuple):
    """Why a path is in a layer: where it came from, in a few words, and where the spec says so.

    Of what `is_inside` a folder the source is that folder, where it has the same name. A folder whose attributes the
    spec sets `is_declared`; what a package brings `is_packaged`.
    """

    source: str
    position: Position
    is_inside: bool = False
    is_declared: bool = False
    is_packaged: bool = False


class Provenances(Mapping[str, Provenance]):
    """By path. What comes from one folder has one value: of a hundred thousand files few have one of their own."""

    def __init__(self, known: Mapping[str, Provenance]) -> None:
        self._known = known

    def __getitem__(self, path: str) -> Provenance:
        found = self._known[path]
        if not found.is_inside:
            return found
        name = path.rpartition("/")[2]
        return found._replace(source=f"{found.source}/{name}" if found.source else name, is_inside=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class Doubt(NamedTuple):
    position: Position
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """What a build asks of a layer that it need not make. `size` are bytes of content, `tar_size` those of its tar.

    `key` tells its entries and their content from all others: None where that of one cannot be told without reading it.
    """

    files: int
    size: int
    tar_size: int
    key: str | None


class Made(NamedTuple):
    """`entries` are in the order of the layer.

    `provenance` is by the paths of the entries. Folders that are there for the sake of what is in them have none.
    """

    entries: Arranged
    provenance: Mapping[str, Provenance]


class PlannedLayer:
    """`created_by` is for the image's history. What a layer has is only made once somebody asks for it; of one that is
    remembered the `outline` is known before."""

    def __init__(self, *, name: str, created_by: str, make: Callable[[], Made], outline: Outline | None = None) -> None:
        self.name = name
        self.created_by = created_by
        self._make = make
        self._outline = outline

    # Not of the entries: asyncio makes that of every main task's result when it looks at the signal handler.
    def __repr__(self) -> str:
        return f"PlannedLayer({self.name!r})"

    @classmethod
    def of(
        cls, entries: Iterable[Entry], provenance: Mapping[str, Provenance], *, name: str, created_by: str
    ) -> "PlannedLayer":
        """Raises LayerError for entries that cannot share a layer."""
        made = Made(arrange(entries), Provenances(provenance))
        return cls(name=name, created_by=created_by, make=lambda: made)

    @cached_property
    def _made(self) -> Made:
        return self._make()

    @property
    def entries(self) -> Arranged:
        """Raises what planning them anew raises."""
        return self._made.entries

    @property
    def provenance(self) -> Mapping[str, Provenance]:
        return self._made.provenance

    @cached_property
    def outline(self) -> Outline:
        return outline_of(self.entries) if self._outline is None else self._outline

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self.outline.size

    @property
    def files(self) -> int:
        return self.outline.files

    @property
    def summary(self) -> str:
        """Like `40 files, 2.0 MB`."""
        return f"{self.files} {'file' if self.files == 1 else 'files'}, {format_size(self.size)}"


class BuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`warnings` are what a person may want to know and change; `doubts`, which are among them, what may keep the image
    from working: a strict build stops at them."""

    spec: Spec
    layers: tuple[PlannedLayer, ...]
    warnings: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()


def outline_of(entries: Iterable[Entry]) -> Outline:
    arranged = arrange(entries)
    keys = [stretch.key for stretch in arranged.stretches]
    sizes = [entry.source.size for entry in arranged if entry.source is not None]
    return Outline(
        # Only files have a source, and each has one.
        files=len(sizes),
        size=sum(sizes),
        tar_size=tar_size(arranged),
        key=sha256(b"".join(key or b"" for key in keys)).hexdigest() if all(keys) else None,
    )
