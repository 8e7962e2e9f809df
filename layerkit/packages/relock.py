"""Relocking: what of a lock is to be looked up anew, and what has changed then. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from layerkit.oci.errors import OCIError
from layerkit.oci.reference import parse_reference
from layerkit.packages.lock import AptLock, LayerKey, Lock, PythonLock, digest_request

_Packages = TypeVar("_Packages", AptLock, PythonLock)

_OUTDATED: Final = digest_request("outdated")
"""No request is called so: whoever has packages by it has to choose them anew."""


class Kind(StrEnum):
    BASE = "base"
    URL = "url"
    DEB = "deb"
    WHEEL = "wheel"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Of one thing, by digest, of packages by version where that differs; "" is what is not there. `where` is the layer
    of a package."""

    kind: Kind
    name: str
    before: str
    after: str
    where: LayerKey | None = None


class _Thing(msgspec.Struct, frozen=True):
    kind: Kind
    where: LayerKey | None
    name: str
    architecture: str = ""

    @property
    def order(self) -> tuple[int, str, str, str]:
        return list(Kind).index(self.kind), str(self.where or ""), self.name, self.architecture


def compare_locks(before: Lock, after: Lock) -> tuple[Change, ...]:
    """What has changed from one lock to another, in the order of its file."""
    old, new = dict(_things(before)), dict(_things(after))
    changes = []
    for thing in sorted(old.keys() | new.keys(), key=lambda thing: thing.order):
        one, other = old.get(thing, ("", "")), new.get(thing, ("", ""))
        if one != other:
            shown = 0 if one[0] != other[0] else 1
            changes.append(
                Change(kind=thing.kind, name=thing.name, before=one[shown], after=other[shown], where=thing.where)
            )
    return tuple(changes)


def _things(lock: Lock) -> Iterator[tuple[_Thing, tuple[str, str]]]:
    """Each with what it is: for people, and to the byte."""
    for name, digest in lock.bases.items():
        yield _Thing(Kind.BASE, None, name), (digest, digest)
    for name, url in lock.urls.items():
        yield _Thing(Kind.URL, None, name), (url.sha256, url.sha256)
    for key, apt in lock.apt.items():
        for deb in apt.packages:
            yield _Thing(Kind.DEB, key, deb.name, deb.architecture), (deb.version, deb.sha256)
    for key, python in lock.python.items():
        for wheel in python.packages:
            yield _Thing(Kind.WHEEL, key, wheel.name), (wheel.version, wheel.sha256)


def outdate(lock: Lock, names: Collection[str]) -> Lock:
    """The lock with what has one of these names to be looked up anew: bases by reference or name alone, URLs, and
    packages, with which all of their layer are chosen again.

    Raises KeyError with a name that nothing has.
    """
    wanted = frozenset(names)
    seen: set[str] = set()

    def is_meant(*spellings: str) -> bool:
        found = wanted.intersection(spellings)
        seen.update(found)
        return bool(found)

    bases = {name: digest for name, digest in lock.bases.items() if not is_meant(*_spellings(name))}
    urls = {name: url for name, url in lock.urls.items() if not is_meant(name)}
    outdated = Lock(bases=bases, urls=urls, apt=_outdate(lock.apt, is_meant), python=_outdate(lock.python, is_meant))
    for name in names:
        if name not in seen:
            raise KeyError(name)
    return outdated


def join_locks(locks: Iterable[Lock]) -> Lock:
    """What any of these has; of what several have the last is right."""
    joined = Lock()
    for lock in locks:
        joined = Lock(
            bases={**joined.bases, **lock.bases},
            urls={**joined.urls, **lock.urls},
            apt={**joined.apt, **lock.apt},
            python={**joined.python, **lock.python},
        )
    return joined


def _outdate(locked: Mapping[LayerKey, _Packages], is_meant: Callable[[str], bool]) -> dict[LayerKey, _Packages]:
    found: dict[LayerKey, _Packages] = {}
    for key, entry in locked.items():
        kept = [package for package in entry.packages if not is_meant(package.name)]
        is_whole = len(kept) == len(entry.packages)
        found[key] = entry if is_whole else msgspec.structs.replace(entry, request=_OUTDATED, packages=tuple(kept))
    return found


def _spellings(name: str) -> tuple[str, ...]:
    """How people call a base: with its registry and tag, without either."""
    try:
        reference = parse_reference(name)
    except OCIError:
        return (name,)
    short = reference.familiar()
    bare = short[: -len(reference.tag) - 1] if reference.tag is not None else short
    return (name, reference.name, short, bare)
