"""All packages that can be had: the lists of the suites for one architecture, read as far as they are asked.

A list has some 60,000 stanzas in 50 MB, of which a build needs a hundred: the stanzas are found by name, and parsed
when somebody asks for one.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from layerkit.packages.debian.control import decode, iter_stanzas, parse_stanza
from layerkit.packages.debian.package import Package
from layerkit.packages.debian.relation import Relation, parse_version

AUTOMATIC: Final = 500
"""apt_preferences(5): the priority of a suite that says nothing else."""

_PROVIDED: Final = re.compile(rb"[a-z0-9][a-z0-9+.-]*(?=\s*(?:\(|,|:|\Z))")


class PackageList:
    """One `Packages` file for one architecture. `priority` is apt's, `origin` names the list in errors."""

    def __init__(self, raw: bytes, *, architecture: str, origin: str, priority: int = AUTOMATIC) -> None:
        self._architecture = architecture
        self._origin = origin
        self._priority = priority
        self._by_name: dict[str, list[bytes]] = defaultdict(list)
        self._by_provision: dict[str, list[bytes]] = defaultdict(list)
        self._parsed: dict[bytes, Package] = {}
        for stanza in iter_stanzas(raw, origin=origin):
            if _field(stanza, b"Architecture") not in {architecture, "all"}:
                # Of a suite without components there is one list for all architectures.
                continue
            name = _field(stanza, b"Package")
            self._by_name[name].append(stanza)
            provides = _field(stanza, b"Provides")
            for found in _PROVIDED.findall(provides.encode()) if provides else ():
                self._by_provision[found.decode()].append(stanza)

    def named(self, name: str) -> list[Package]:
        """Every version of it."""
        return [self._parse(stanza) for stanza in self._by_name.get(name, ())]

    def providing(self, name: str) -> list[Package]:
        return [self._parse(stanza) for stanza in self._by_provision.get(name, ())]

    @property
    def names(self) -> Iterable[str]:
        return self._by_name.keys()

    def _parse(self, stanza: bytes) -> Package:
        package = self._parsed.get(stanza)
        if package is None:
            fields = parse_stanza(decode(stanza), origin=self._origin)
            package = Package.of(fields, native=self._architecture, origin=self._origin, priority=self._priority)
            self._parsed[stanza] = package
        return package


class Universe:
    """The lists of one architecture together, in the order of the sources."""

    def __init__(self, lists: Iterable[PackageList], *, architecture: str) -> None:
        self.architecture = architecture
        self._lists = tuple(lists)
        self._candidates: dict[str, Package | None] = {}
        self._providers: dict[str, tuple[Package, ...]] = {}

    def candidate(self, name: str) -> Package | None:
        """The version that apt would install: the highest of the lists with the highest priority."""
        if name not in self._candidates:
            found = [package for packages in self._lists for package in packages.named(name)]
            self._candidates[name] = max(found, key=_rank) if found else None
        return self._candidates[name]

    def version(self, name: str, version: str) -> Package | None:
        """This very version, from the first list that has it."""
        found = (package for packages in self._lists for package in packages.named(name))
        return next((package for package in found if package.version == version), None)

    def providers(self, name: str) -> tuple[Package, ...]:
        """The candidates that provide a name, not being of that name."""
        if name not in self._providers:
            found = {package.name for packages in self._lists for package in packages.providing(name)}
            candidates = (self.candidate(item) for item in sorted(found))
            wanted = Relation(name)
            self._providers[name] = tuple(
                package for package in candidates if package and package.name != name and package.satisfies(wanted)
            )
        return self._providers[name]

    def names(self) -> set[str]:
        return {name for packages in self._lists for name in packages.names}


def read_status(raw: bytes, *, architecture: str, origin: str) -> list[Package]:
    """The packages that are installed, of dpkg's `status` or one of its `status.d`. Raises PackageError."""
    packages = []
    for stanza in iter_stanzas(raw, origin=origin):
        fields = parse_stanza(decode(stanza), origin=origin)
        # status.d of distroless says nothing of a state: what is there is installed.
        if fields.get("status", "install ok installed").split()[-1] == "installed" and "version" in fields:
            packages.append(Package.of(fields, native=architecture, origin=origin))
    return packages


def _rank(package: Package) -> tuple[int, object]:
    return package.priority, parse_version(package.version)


def _field(stanza: bytes, name: bytes) -> str:
    marker = name + b":"
    if stanza.startswith(marker):
        begin = len(marker)
    else:
        begin = stanza.find(b"\n" + marker)
        if begin < 0:
            return ""
        begin += len(marker) + 1
    end = stanza.find(b"\n", begin)
    return stanza[begin : len(stanza) if end < 0 else end].strip().decode(errors="replace")
