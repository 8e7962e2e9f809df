"""Debs: the packages that `apt:` asks for, chosen from the lists of archives and brought to this machine.

What is asked for is a value with a digest, so that a lock tells whether it still answers it, and the cache too: the
same request to the same lists is resolved once.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.archives import Archives, Listing
from layerkit.build.fetch import Fetcher
from layerkit.build.filesystem import Filesystem
from layerkit.build.installing import ArrivedDeb, ArrivedDebs, Installs
from layerkit.build.kept import Keeper
from layerkit.build.together import run_together
from layerkit.layer.errors import LayerError
from layerkit.layer.spool import Shelf
from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import DigestInvalid, OCIError
from layerkit.packages.debian.architecture import debian_architecture
from layerkit.packages.debian.database import read_installed
from layerkit.packages.debian.package import Package
from layerkit.packages.debian.resolve import Resolved, resolve
from layerkit.packages.errors import PackageError
from layerkit.packages.lock import AptLock, LockedDeb, digest_request
from layerkit.packages.osrelease import read_os_release
from layerkit.spec.model import Apt, Spec

_AT_ONCE: Final = 8
_PATH: Final = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._+~:%/-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Packages for one architecture of one suite, beside those that are `installed`: by the base and by the layers
    below, which have `earlier`."""

    apt: Apt
    architecture: str
    suite: str
    installed: tuple[Package, ...]
    earlier: tuple[ArrivedDebs, ...] = ()

    @property
    def digest(self) -> Digest:
        """What all of it is called. Neither mirrors nor what they have belongs to it."""
        apt = self.apt
        present = [f"{package.name}={package.version}" for package in self.installed]
        present += [f"{deb.name}={deb.version}" for debs in self.earlier for deb in debs.lock.packages]
        return digest_request(
            {
                "packages": sorted(apt.packages),
                "architecture": self.architecture,
                "suites": [[mirror.suite or self.suite, *mirror.components] for mirror in apt.mirrors]
                or [[self.suite, *apt.components]],
                "snapshot": apt.snapshot,
                "installed": sorted(present),
            }
        )


@dataclass(slots=True, kw_only=True)
class Debs:
    """Those of one build."""

    fetcher: Fetcher
    archives: Archives
    keeper: Keeper
    installs: Installs
    _mirrors: dict[Digest, str] = field(default_factory=dict)
    """Which mirror's list has a package, of those that were chosen in this build."""

    def ask(self, apt: Apt, spec: Spec, base: Filesystem, earlier: Sequence[ArrivedDebs]) -> Request:
        """What a layer asks for. Blocking. Raises DocumentError."""
        try:
            architecture = debian_architecture(spec.platform)
            suite = (
                apt.suite
                or read_os_release(base.read).get("VERSION_CODENAME", "")
                or next((each.suite for each in reversed(earlier)), "")
            )
            if not suite and not (apt.mirrors and all(mirror.suite for mirror in apt.mirrors)):
                raise PackageError("the base does not say which suite it is of: name the `suite:`")
            installed = _installed(base, architecture)
        except (PackageError, LayerError) as error:
            raise spec.problem(apt.position, str(error)) from error
        return Request(apt=apt, architecture=architecture, suite=suite, installed=installed, earlier=tuple(earlier))

    async def resolve(self, request: Request, spec: Spec) -> AptLock:
        """Which packages answer a request by what archives have now. Raises DocumentError and OCIError."""
        try:
            sources = await asyncio.to_thread(self.archives.sources, request.apt, request.suite, request.architecture)
            listings = await self.archives.listings(sources, request.architecture)
            return await asyncio.to_thread(self._resolve, request, listings)
        except PackageError as error:
            raise spec.problem(request.apt.position, str(error)) from error

    def _resolve(self, request: Request, listings: list[Listing]) -> AptLock:
        key = digest_request([request.digest, [[item.digest, item.priority] for item in listings]])
        known = self.keeper.find(f"resolved-{key.encoded}", _Resolution)
        if known is None:
            known = self._choose(request, listings)
            self.keeper.remember(f"resolved-{key.encoded}", known)
        mirrors = {str(listing.digest): listing.source.mirror for listing in listings}
        self._mirrors.update({deb.sha256: mirrors[known.lists[deb.name]] for deb in known.packages})
        return AptLock(
            request=request.digest,
            suites=tuple(dict.fromkeys(listing.source.suite for listing in listings)),
            snapshot=request.apt.snapshot,
            packages=known.packages,
        )

    def _choose(self, request: Request, listings: list[Listing]) -> "_Resolution":
        universe = self.archives.universe(listings, request.architecture)
        below = [deb.open().stanza for debs in request.earlier for deb in debs.debs]
        installed = [
            *request.installed,
            *(Package.of(stanza, native=request.architecture, origin=stanza["package"]) for stanza in below),
        ]
        chosen = resolve(request.apt.packages, universe, installed)
        origins = {listing.name: str(listing.digest) for listing in listings}
        return _Resolution(
            packages=tuple(_lock(item) for item in chosen),
            lists={item.package.name: origins[item.package.origin] for item in chosen},
        )

    async def bring(self, request: Request, lock: AptLock, spec: Spec) -> ArrivedDebs:
        """The packages of a lock, on this machine. Raises DocumentError and OCIError."""
        apt = request.apt
        try:
            missing = [deb for deb in lock.packages if not self.fetcher.has(deb.sha256, deb.size)]
            if missing:
                sources = await asyncio.to_thread(self.archives.sources, apt, request.suite, request.architecture)
                mirrors = list(dict.fromkeys(source.mirror for source in sources))
                await run_together([self._bring(deb, mirrors) for deb in missing], at_once=_AT_ONCE)
        except PackageError as error:
            raise spec.problem(apt.position, str(error)) from error
        return ArrivedDebs(
            apt=apt,
            architecture=request.architecture,
            suite=request.suite,
            lock=lock,
            debs=tuple(ArrivedDeb(deb, self.fetcher.path(deb.sha256), self.installs) for deb in lock.packages),
            installs=self.installs,
        )

    async def _bring(self, deb: LockedDeb, mirrors: Sequence[str]) -> None:
        known = self._mirrors.get(deb.sha256)
        wanted = [known] if known is not None else _likely_first(mirrors, deb)
        failures: list[OCIError] = []
        for mirror in dict.fromkeys(wanted):
            try:
                await self.fetcher.fetch(f"{mirror}/{deb.path}", deb.sha256)
            except DigestInvalid as error:
                raise PackageError(
                    f"package {deb.name} {deb.version} is not what its list or the lock says: {error.message}; "
                    "do not use this mirror, or see who has changed the file"
                ) from error
            except OCIError as error:
                failures.append(error)
            else:
                return
        raise PackageError(
            f"package {deb.name} {deb.version} cannot be brought: {failures[0].message}; where a newer version has "
            "taken its place, `layerkit lock --upgrade` takes that, and `snapshot:` names an archive that keeps all"
        )


def open_debs(fetcher: Fetcher, *, spool: Path, machine: Path, today: Callable[[], datetime]) -> Debs:
    """`spool` is a folder for what is decompressed, `machine` that of this machine's apt."""
    keeper = Keeper(folder=fetcher.folder, is_trusted=fetcher.is_trusted)
    return Debs(
        fetcher=fetcher,
        archives=Archives(fetcher=fetcher, today=today, apt=machine),
        keeper=keeper,
        installs=Installs(keeper=keeper, spool=spool, shelf=Shelf(spool)),
    )


class _Resolution(msgspec.Struct, frozen=True):
    """Packages that were chosen, and by their names the digests of the lists that have them."""

    packages: tuple[LockedDeb, ...]
    lists: dict[str, str]


def _lock(item: Resolved) -> LockedDeb:
    package = item.package
    if package.sha256 is None or not package.path:
        raise PackageError(f"the list has no SHA256 or no file name of package {package.name}: it cannot be trusted")
    if not _PATH.fullmatch(package.path) or ".." in package.path.split("/"):
        raise PackageError(f"package {package.name} stands at {shorten(package.path)}, which no archive would say")
    return LockedDeb(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        path=package.path.removeprefix("./"),
        size=package.size,
        sha256=package.sha256,
        reason=item.reason,
    )


def _likely_first(mirrors: Iterable[str], deb: LockedDeb) -> list[str]:
    """Debian's security updates have a pool of their own, whose paths say so."""
    is_update = "/updates/" in f"/{deb.path}"
    return sorted(mirrors, key=lambda mirror: ("security" in mirror) is not is_update)


def _installed(base: Filesystem, architecture: str) -> tuple[Package, ...]:
    """What the base has of packages for this architecture."""
    found = read_installed(base, architecture=architecture)
    packages = {package.name: package for package in found if package.architecture in {architecture, "all"}}
    return tuple(packages[name] for name in sorted(packages))
