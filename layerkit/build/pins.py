"""Pins: what a build takes from its lock, and what it looks up because the lock does not have it."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from layerkit.document.problem import DocumentError, Position
from layerkit.oci.digest import Digest
from layerkit.oci.reference import Reference
from layerkit.packages.lock import NO_LOCK, AptLock, LayerKey, Lock, LockedURL, PythonLock
from layerkit.spec.model import Base, Copy, Layer, RegistryBase, Spec

LOCK_IT: Final = "run `layerkit lock`, and keep its file with the spec"

_Packages = TypeVar("_Packages", AptLock, PythonLock)


class NotLocked(DocumentError):
    """The lock does not have what the spec asks for, and must."""


class Pins(msgspec.Struct, kw_only=True):
    """Those of one build. `lock` is what is known, and has to have all that is asked where the build `is_locked`.

    `used` is what of it was asked for, and what was found beside it.
    """

    lock: Lock = NO_LOCK
    is_locked: bool = False
    _bases: dict[str, Digest] = msgspec.field(default_factory=dict)
    _urls: dict[str, LockedURL] = msgspec.field(default_factory=dict)
    _apt: dict[LayerKey, AptLock] = msgspec.field(default_factory=dict)
    _python: dict[LayerKey, PythonLock] = msgspec.field(default_factory=dict)

    @property
    def used(self) -> Lock:
        return Lock(bases=self._bases, urls=self._urls, apt=self._apt, python=self._python)

    def of(self, spec: Spec) -> Lock:
        """What an image for one platform takes from elsewhere, by itself: of the images of its file it stands on or
        copies from those know."""
        named = [base.reference for base in origins(spec) if isinstance(base, RegistryBase)]
        bases = {base_key(reference): digest for reference in named if (digest := self.base(reference)) is not None}
        urls = {}
        for fetch in (fetch for layer in spec.layers for fetch in layer.fetches):
            known = LockedURL(sha256=fetch.sha256, size=0) if fetch.sha256 is not None else self.url(fetch.url)
            if known is not None:
                urls[fetch.url] = known
        keys = [layer_key(spec, layer) for layer in spec.layers]
        return Lock(
            bases=bases,
            urls=urls,
            apt={key: self._apt[key] for key in keys if key in self._apt},
            python={key: self._python[key] for key in keys if key in self._python},
        )

    def check(self, spec: Spec, warnings: list[str]) -> None:
        """See whether the bases and URLs of a spec are in the lock, where there is one. Raises NotLocked."""
        if not self.is_locked and self.lock == NO_LOCK:
            return
        problems = [spec.document.problem(position, message, LOCK_IT) for position, message in self._missing(spec)]
        if self.is_locked and problems:
            raise NotLocked(problems)
        warnings += [f"{problem}: {LOCK_IT}" for problem in problems]

    def _missing(self, spec: Spec) -> Iterator[tuple[Position, str]]:
        for base, position in origins(spec).items():
            if isinstance(base, RegistryBase) and self.base(base.reference) is None:
                yield position, f"{base.reference} is not in the lock"
        for layer in spec.layers:
            for fetch in layer.fetches:
                if fetch.sha256 is None and self.url(fetch.url) is None:
                    yield fetch.position, f"{fetch.url} is not in the lock"

    def base(self, reference: Reference) -> Digest | None:
        """What a base is to be by the spec or the lock, None where it has to be looked up."""
        if reference.digest is not None:
            return reference.digest
        key = base_key(reference)
        if key in self.lock.bases:
            self._bases[key] = self.lock.bases[key]
        return self._bases.get(key)

    def note_base(self, reference: Reference, digest: Digest) -> None:
        if reference.digest is None:
            self._bases[base_key(reference)] = digest

    def url(self, url: str) -> LockedURL | None:
        """What is to be at a URL for which the spec has no SHA-256, None where that has to be seen."""
        if url in self.lock.urls:
            self._urls[url] = self.lock.urls[url]
        return self._urls.get(url)

    def note_url(self, url: str, found: LockedURL) -> None:
        self._urls[url] = found

    def apt(self, spec: Spec, layer: Layer, position: Position, request: Digest, warnings: list[str]) -> AptLock | None:
        """The Debian packages of a layer, None where they have to be resolved (`note_apt` takes what is found then).

        Those of another request are of no use; `warnings` get that. Raises NotLocked.
        """
        return self._packages(self.lock.apt, self._apt, spec, layer, position, request, warnings)

    def note_apt(self, spec: Spec, layer: Layer, found: AptLock) -> None:
        self._apt[layer_key(spec, layer)] = found

    def python(
        self, spec: Spec, layer: Layer, position: Position, request: Digest, warnings: list[str]
    ) -> PythonLock | None:
        """The wheels of a layer: as `apt` has its packages."""
        return self._packages(self.lock.python, self._python, spec, layer, position, request, warnings)

    def note_python(self, spec: Spec, layer: Layer, found: PythonLock) -> None:
        self._python[layer_key(spec, layer)] = found

    def _packages(
        self,
        locked: Mapping[LayerKey, _Packages],
        used: dict[LayerKey, _Packages],
        spec: Spec,
        layer: Layer,
        position: Position,
        request: Digest,
        warnings: list[str],
    ) -> _Packages | None:
        key = layer_key(spec, layer)
        found = locked.get(key)
        if found is not None and found.request == request:
            used[key] = found
            return found
        state = "is not in the lock" if found is None else "asks for other packages than the lock has"
        problem = spec.document.problem(position, f"{key} {state}", LOCK_IT)
        if self.is_locked:
            raise NotLocked([problem])
        if self.lock != NO_LOCK:
            warnings.append(f"{problem}: {LOCK_IT}")
        return None


def base_key(reference: Reference) -> str:
    """What the lock calls a base."""
    return str(reference.with_default_tag())


def layer_key(spec: Spec, layer: Layer) -> LayerKey:
    return LayerKey(image=spec.name, layer=layer.name, platform=spec.platform)


def origins(spec: Spec) -> dict[Base, Position]:
    """The base of a spec and what it copies from, each with where it is named first."""
    found: dict[Base, Position] = {spec.base: spec.locate("from")}
    for index, layer in enumerate(spec.layers):
        for number, copy in enumerate(layer.copies):
            if isinstance(copy, Copy) and copy.origin is not None:
                found.setdefault(copy.origin, spec.locate("layers", index, "copy", number, "from"))
    return found
