"""Relations: what `Depends:` and its kin say.

Source: Debian Policy, 7.1 "Syntax of relationship fields"; deb-control(5); MultiArch specification, "Dependencies".
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError

_RELATION: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::(?P<qualifier>[a-z0-9-]+))?"
    r"\s*(?:\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?"
    r"\s*(?:\[(?P<architectures>[^\]]*)\])?\s*(?:<[^>]*>\s*)*\Z"
)
_VERSION: Final = re.compile(
    r"(?:(?P<epoch>[0-9]{1,9}):)?(?P<upstream>[A-Za-z0-9.+~:-]*?[A-Za-z0-9.+~:])(?:-(?P<revision>[A-Za-z0-9.+~]+))?\Z"
)
_DIGITS: Final = re.compile(r"([0-9]+)")
# `<` and `>` mean `<=` and `>=`: Policy 7.1, of old packages.
_OPERATORS: Final = {"<": "<=", ">": ">="}


@dataclass(frozen=True, slots=True)
class Relation:
    """A package by name, of a version that compares so, if any. `qualifier` is `any`, an architecture, or ""."""

    name: str
    qualifier: str = ""
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        qualifier = f":{self.qualifier}" if self.qualifier else ""
        version = f" ({self.operator} {self.version})" if self.operator else ""
        return f"{self.name}{qualifier}{version}"

    def accepts(self, version: str) -> bool:
        """Whether a package of this version is one that is meant."""
        if not self.operator:
            return True
        found, wanted = parse_version(version), parse_version(self.version)
        match self.operator:
            case "=":
                return found == wanted
            case "<<":
                return found < wanted
            case "<=":
                return found <= wanted
            case ">=":
                return found >= wanted
            case _:
                return found > wanted


Alternatives = tuple[Relation, ...]
"""`a | b`: any of them will do, the first is preferred."""


Version = tuple[object, ...]
"""Compares as dpkg compares versions."""


@lru_cache(maxsize=16384)
def parse_version(text: str) -> Version:
    """`[epoch:]upstream[-revision]` (Policy, 5.6.12). Raises PackageError.

    A sort key rather than a class: in it `~` is less than the end of a part, which is less than a letter, which is less
    than all else, and digits count as numbers.
    """
    found = _VERSION.match(text)
    if found is None:
        raise PackageError(f"{shorten(text)} is no version of a Debian package")
    return int(found["epoch"] or "0"), _sort_key(found["upstream"]), _sort_key(found["revision"] or "0")


def _sort_key(part: str) -> tuple[object, ...]:
    # `re` gives other characters and digits in turn, beginning and ending with others, be they none.
    pieces = _DIGITS.split(part)
    if pieces[-1] or len(pieces) == 1:
        # Digits that are not there count as 0: `1a` and `1a0` are equal.
        pieces += ["0", ""]
    return tuple(int(piece) if n % 2 else (*map(_weight, piece), 0) for n, piece in enumerate(pieces))


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


@lru_cache(maxsize=16384)
def parse_relations(text: str, architecture: str) -> tuple[Alternatives, ...]:
    """`a (>= 1), b | c:any`: all of which have to hold on this architecture. Raises PackageError."""
    groups = []
    for group in text.split(","):
        if not group.strip():
            continue
        alternatives = tuple(
            relation for item in group.split("|") if (relation := _parse_relation(item.strip(), architecture))
        )
        if alternatives:
            groups.append(alternatives)
    return tuple(groups)


def _parse_relation(text: str, architecture: str) -> Relation | None:
    found = _RELATION.match(text)
    if found is None:
        raise PackageError(f"{shorten(text)} is no relation between packages: expected NAME or NAME (>= VERSION)")
    restriction = (found["architectures"] or "").split()
    if restriction:
        is_negated = restriction[0].startswith("!")
        named = {item.lstrip("!") for item in restriction}
        is_named = bool(named & {architecture, "any", "linux-any"})
        if is_named is is_negated:
            return None
    operator = found["operator"] or ""
    return Relation(found["name"], found["qualifier"] or "", _OPERATORS.get(operator, operator), found["version"] or "")
