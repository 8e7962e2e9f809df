"""Resolution: which packages a set of names needs, and why each one.

What apt-get does on an empty system without recommended packages: depth first, in the order of the fields, the first
alternative that can be had. Source: Debian Policy, 7.2 to 7.5; apt's depcache, `MarkInstall`, for what Policy leaves
open: which of several providers is taken.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from layerkit.packages.debian.package import Package
from layerkit.packages.debian.relation import Alternatives, Relation, parse_version
from layerkit.packages.debian.universe import Universe
from layerkit.packages.errors import PackageError

_IMPORTANCE: Final = {"required": 0, "important": 1, "standard": 2, "optional": 3, "extra": 4}
_DEEPEST: Final = 400
"""Packages that need each other in a chain; Debian's longest have some 60."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resolved:
    """`reason` is the package that asked for it, "" where the spec did."""

    package: Package
    reason: str


def resolve(wanted: Iterable[str], universe: Universe, installed: Iterable[Package] = ()) -> tuple[Resolved, ...]:
    """What to install so that all of `wanted` (`NAME`, or `NAME=VERSION`) are there, by name.

    What `installed` has stays as it is, unless a newer version of it is needed. Raises PackageError with the chain of
    dependencies that cannot be had.
    """
    state = _State(universe, installed)
    state.want([package for text in wanted if (package := state.find(text)) is not None])
    return tuple(sorted(state.added.values(), key=lambda item: item.package.name))


class _Impossible(Exception):
    """An alternative that cannot be taken; `why` is for people, the nearest reason first."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class _State:
    def __init__(self, universe: Universe, installed: Iterable[Package]) -> None:
        self._universe = universe
        self._chosen: dict[str, Package] = {package.name: package for package in installed}
        self._providing: dict[str, list[Package]] = {}
        for package in self._chosen.values():
            self._note(package)
        self.added: dict[str, Resolved] = {}
        self._log: list[tuple[Package, Package | None]] = []
        """What was put, and what of the base it has replaced."""

    def find(self, text: str) -> Package | None:
        """What `NAME` or `NAME=VERSION` means, None for what is there already. Raises PackageError."""
        name, equals, version = text.partition("=")
        present = self._chosen.get(name)
        if present is not None and (not equals or present.version == version):
            return None
        if not equals:
            candidate = self._universe.candidate(name) or self._only_provider(name)
            return None if candidate.name in self._chosen else candidate
        package = self._universe.version(name, version)
        if package is None:
            known = self._universe.candidate(name)
            offered = f": the mirror has {known.version}" if known else ""
            raise PackageError(f"package {name} has no version {version}{offered}")
        return package

    def want(self, packages: Sequence[Package]) -> None:
        """Add packages, and then what they need: one that is wanted meets what another needs. Raises PackageError."""
        packages = list(dict.fromkeys(packages))
        replaced = [self._chosen.get(package.name) for package in packages]
        for package in packages:
            with _telling(package):
                self._put(package, "")
        for package, old in zip(packages, replaced, strict=True):
            with _telling(package):
                self._complete(package, old, 0)

    def _only_provider(self, name: str) -> Package:
        providers = self._universe.providers(name)
        if len(providers) == 1:
            return providers[0]
        if providers:
            offered = ", ".join(package.name for package in providers)
            raise PackageError(f"package {name} is a virtual one: name one of those that provide it ({offered})")
        import difflib  # noqa: PLC0415 - only a mistake needs it

        close = difflib.get_close_matches(name, self._universe.names(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise PackageError(f"no package {name} in the lists for {self._universe.architecture}{hint}")

    def _install(self, package: Package, reason: str, depth: int) -> None:
        """Add a package and all that it needs, or nothing. Raises _Impossible."""
        if depth > _DEEPEST:
            raise _Impossible(f"more than {_DEEPEST} packages need each other in a chain")
        if package.name in self.added:
            raise _Impossible(f"{package} would replace {self._chosen[package.name]}")
        mark = len(self._log)
        old = self._chosen.get(package.name)
        try:
            self._put(package, reason)
            self._complete(package, old, depth)
        except _Impossible:
            self._undo(mark)
            raise

    def _complete(self, package: Package, old: Package | None, depth: int) -> None:
        """Add what a package needs, and renew what it cannot be beside with. Raises _Impossible."""
        self._make_room(package, depth)
        for group in package.depends:
            self._satisfy(package, group, depth)
        if old is not None:
            self._keep_satisfied(package, old, depth)

    def _make_room(self, package: Package, depth: int) -> None:
        for relation in _flatten(package.breaks):
            other = self._find(relation)
            if other is not None and other.name != package.name:
                self._renew(other, package, f"{package} conflicts with {other}", depth)
        for other in list(self._chosen.values()):
            if other is package or not other.breaks or other.name == package.name:
                continue
            if any(package.satisfies(relation) for relation in _flatten(other.breaks)):
                self._renew(other, package, f"{other} conflicts with {package}", depth)

    def _keep_satisfied(self, package: Package, old: Package, depth: int) -> None:
        """See to those that needed the old version of a package of the base, as apt does: by their own new ones."""
        for other in list(self._chosen.values()):
            for group in other.depends:
                if any(old.satisfies(relation) for relation in group) and not self._is_met(group):
                    needs = f"{other} needs {' | '.join(map(str, group))}"
                    self._renew(other, package, needs, depth)
                    break

    def _renew(self, other: Package, package: Package, why: str, depth: int) -> None:
        """Take a newer version of what is installed already. Raises _Impossible where there is none."""
        candidate = self._universe.candidate(other.name)
        is_newer = candidate is not None and parse_version(candidate.version) > parse_version(other.version)
        if candidate is None or not is_newer or other.name in self.added:
            raise _Impossible(why)
        self._install(candidate, package.name, depth + 1)

    def _satisfy(self, package: Package, group: Alternatives, depth: int) -> None:
        if self._is_met(group):
            return
        text = " | ".join(map(str, group))
        options = self._options(group)
        if not options:
            raise _Impossible(f"{package} needs {text}, which {self._describe_absence(group)}")
        reasons = []
        for option in options:
            try:
                self._install(option, package.name, depth + 1)
            except _Impossible as error:
                reasons.append(error.why)
            else:
                return
        raise _Impossible(f"{package} needs {text}: {'; '.join(dict.fromkeys(reasons))}")

    def _options(self, group: Alternatives) -> list[Package]:
        """What would meet one of the alternatives, in the order in which apt would try."""
        found: dict[str, Package] = {}
        for relation in group:
            candidate = self._universe.candidate(relation.name)
            if candidate is not None and relation.accepts(candidate.version) and self._fits(candidate, relation):
                found.setdefault(candidate.name, candidate)
            providers = [
                provider
                for provider in self._universe.providers(relation.name)
                if provider.satisfies(relation) and self._fits(provider, relation)
            ]
            for provider in sorted(providers, key=_preference):
                found.setdefault(provider.name, provider)
        return list(found.values())

    def _fits(self, package: Package, relation: Relation) -> bool:
        """Whether it may stand for a relation of our architecture (MultiArch specification)."""
        if relation.qualifier in {"", "native", self._universe.architecture}:
            return True
        return relation.qualifier == "any" and package.multi_arch == "allowed"

    def _is_met(self, group: Alternatives) -> bool:
        return any(self._find(relation) is not None for relation in group)

    def _find(self, relation: Relation) -> Package | None:
        """The chosen package that a relation names, if any."""
        return next((p for p in self._providing.get(relation.name, ()) if p.satisfies(relation)), None)

    def _put(self, package: Package, reason: str) -> None:
        old = self._chosen.get(package.name)
        if old is not None:
            self._forget(old)
        self._log.append((package, old))
        self._chosen[package.name] = package
        self.added[package.name] = Resolved(package=package, reason=reason)
        self._note(package)

    def _undo(self, mark: int) -> None:
        """Take back what was put since the log was that long."""
        for package, old in reversed(self._log[mark:]):
            del self._chosen[package.name], self.added[package.name]
            self._forget(package)
            if old is not None:
                self._chosen[old.name] = old
                self._note(old)
        del self._log[mark:]

    def _note(self, package: Package) -> None:
        for name in {package.name, *(relation.name for relation in package.provides)}:
            self._providing.setdefault(name, []).append(package)

    def _forget(self, package: Package) -> None:
        for name in {package.name, *(relation.name for relation in package.provides)}:
            self._providing[name].remove(package)

    def _describe_absence(self, group: Alternatives) -> str:
        for relation in group:
            candidate = self._universe.candidate(relation.name)
            if candidate is not None:
                return f"the lists have in version {candidate.version} alone"
        return "no list has"


@contextmanager
def _telling(package: Package) -> Iterator[None]:
    try:
        yield
    except _Impossible as error:
        raise PackageError(f"package {package.name} cannot be installed: {error.why}") from None


def _flatten(groups: Sequence[Alternatives]) -> Iterable[Relation]:
    return (relation for group in groups for relation in group)


def _preference(provider: Package) -> tuple[bool, int, str]:
    return not provider.essential, _IMPORTANCE.get(provider.importance, 3), provider.name
