"""Inputs: what a plan needs beside the folder of its spec. It is brought before the plan is made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from layerkit.build.filesystem import Filesystem
from layerkit.build.pick import Donor
from layerkit.layer.entry import MAX_MTIME
from layerkit.layer.source import FileSource, Identity
from layerkit.spec.model import (
    Apt,
    ArchiveBase,
    Base,
    Fetch,
    ImageBase,
    LayoutBase,
    Python,
    RegistryBase,
    RootfsBase,
    Scratch,
    StoreBase,
)

if TYPE_CHECKING:
    from layerkit.build.environments import ArrivedWheels
    from layerkit.build.installing import ArrivedDebs

Fetched = FileSource | Filesystem
"""A file, or what is in an archive."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """`base` is what the image is built on, and grows by the layers of the plan; `donors` are the other images that
    are copied from. `newest` is the time in seconds that no time of a source may exceed. Folders are read `backwards`
    to show that their order does not matter."""

    base: Filesystem = msgspec.field(default_factory=Filesystem)
    donors: Mapping[Base, Donor] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    fetched: Mapping[Fetch, Fetched] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    debs: "Mapping[Apt, ArrivedDebs]" = msgspec.field(default_factory=lambda: MappingProxyType({}))
    wheels: "Mapping[Python, ArrivedWheels]" = msgspec.field(default_factory=lambda: MappingProxyType({}))
    newest: int = MAX_MTIME
    backwards: bool = False

    @property
    def identity(self) -> str | None:
        """What tells them from all others; None where nobody knows that."""
        known: list[object] = [self.newest, self.backwards, self.base.digest]
        known += [(repr(base), donor.filesystem.digest) for base, donor in self.donors.items()]
        known += [(repr(fetch), _identify(fetched)) for fetch, fetched in self.fetched.items()]
        known += [(repr(apt), debs.identity) for apt, debs in self.debs.items()]
        known += [(repr(python), wheels.identity) for python, wheels in self.wheels.items()]
        is_known = all(value is not None and (not isinstance(value, tuple) or None not in value) for value in known)
        return repr(known) if is_known else None


def _identify(fetched: Fetched) -> Identity | None:
    return fetched.identity if isinstance(fetched, FileSource) else fetched.digest


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
