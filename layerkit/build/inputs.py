"""Inputs: what a plan needs beside the folder of its spec. It is brought before the plan is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from layerkit.build.filesystem import Filesystem
from layerkit.build.pick import Donor
from layerkit.layer.entry import MAX_MTIME
from layerkit.layer.source import FileSource
from layerkit.spec.model import (
    Apt,
    ArchiveBase,
    Base,
    Fetch,
    ImageBase,
    LayoutBase,
    RegistryBase,
    RootfsBase,
    Scratch,
    StoreBase,
)

if TYPE_CHECKING:
    from layerkit.build.installing import ArrivedDebs

Fetched = FileSource | Filesystem
"""A file, or what is in an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """`base` is what the image is built on, and grows by the layers of the plan; `donors` are the other images that
    are copied from. `newest` is the time in seconds that no time of a source may exceed. Folders are read `backwards`
    to show that their order does not matter."""

    base: Filesystem = field(default_factory=Filesystem)
    donors: Mapping[Base, Donor] = field(default_factory=lambda: MappingProxyType({}))
    fetched: Mapping[Fetch, Fetched] = field(default_factory=lambda: MappingProxyType({}))
    debs: "Mapping[Apt, ArrivedDebs]" = field(default_factory=lambda: MappingProxyType({}))
    newest: int = MAX_MTIME
    backwards: bool = False


def name_base(base: Base) -> str:
    """A base for the history of an image: the same wherever the spec's folder is, so a path is its last name."""
    match base:
        case Scratch():
            return "scratch"
        case RegistryBase(reference):
            return str(reference)
        case StoreBase(reference):
            return f"store:{reference}"
        case LayoutBase(path, reference):
            return f"oci:{path.name}" + (f":{reference}" if reference else "")
        case ArchiveBase(path, kind, reference):
            return f"{kind}:{path.name}" + (f":{reference}" if reference else "")
        case RootfsBase(path):
            return f"tar:{path.name}"
        case ImageBase(name):
            return str(name)
