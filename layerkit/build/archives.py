"""Archives: the mirrors that have Debian packages, their signed releases and lists, as far as a build asks for them.

A release is brought each time, because it says what there is today; a list is known by its SHA-256 and brought once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from layerkit.build.fetch import Fetcher
from layerkit.build.together import run_together
from layerkit.layer.decompress import decompress_archive
from layerkit.layer.errors import LayerError
from layerkit.layer.limits import Limits
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid
from layerkit.packages.debian.release import MAX_RELEASE, Release, verify_release
from layerkit.packages.debian.sources import DEFAULT_FOLDER, Source, find_sources, read_sources, trusted_keyring
from layerkit.packages.debian.universe import PackageList, Universe
from layerkit.packages.errors import PackageError
from layerkit.spec.model import Apt

SNAPSHOT: Final = "https://snapshot.debian.org/archive"
_MOST_LIST: Final = 2**30
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of packages that a release has. `name` is for messages, `digest` of the list as it is stored."""

    source: Source
    name: str
    digest: Digest
    path: Path
    priority: int


@dataclass(slots=True, kw_only=True)
class Archives:
    """Those of one build. `apt` is the folder of this machine's apt; `today` decides what has expired."""

    fetcher: Fetcher
    today: Callable[[], datetime]
    apt: Path = DEFAULT_FOLDER
    _releases: dict[Source, Release] = field(default_factory=dict)
    _lists: dict[tuple[Digest, str], PackageList] = field(default_factory=dict)

    def sources(self, asked: Apt, suite: str, architecture: str) -> list[Source]:
        """Where packages come from, by the spec or by this machine. Blocking. Raises PackageError."""
        if asked.mirrors:
            return [
                Source(
                    mirror=mirror.url,
                    suite=mirror.suite or suite,
                    components=mirror.components or ("main",),
                    keyring=self._keyring(mirror.keyring),
                )
                for mirror in asked.mirrors
            ]
        keyring = None if asked.keyring is None else self._keyring(asked.keyring)
        if asked.snapshot:
            return [
                Source(
                    mirror=f"{SNAPSHOT}/{archive}/{asked.snapshot}",
                    suite=suite + ending,
                    components=asked.components or ("main",),
                    keyring=self._keyring(None) if keyring is None else keyring,
                )
                for archive, ending in (("debian", ""), ("debian", "-updates"), ("debian-security", "-security"))
                if not ending or suite not in {"sid", "unstable"}
            ]
        found = find_sources(read_sources(self.apt), suite, architecture)
        for source in found:
            if not source.mirror.startswith(("http://", "https://")):
                raise PackageError(
                    f"this machine's apt has {source.suite} from {source.mirror}, which is not read here: "
                    "name `mirror:` and `keyring:` in the spec"
                )
        return [
            Source(
                mirror=source.mirror,
                suite=source.suite,
                components=asked.components or source.components,
                keyring=source.keyring if keyring is None else keyring,
                architectures=source.architectures,
            )
            for source in found
        ]

    def _keyring(self, path: Path | None) -> bytes:
        if path is None:
            return trusted_keyring(self.apt)
        try:
            return path.read_bytes()
        except OSError as error:
            raise PackageError(f"keyring {path} cannot be read: {error.strerror}") from error

    async def listings(self, sources: list[Source], architecture: str) -> list[Listing]:
        """The lists of all sources, on this machine. Raises PackageError and OCIError."""
        releases = await run_together([self._release(source) for source in sources], at_once=_AT_ONCE)
        wanted = [
            (source, release, component)
            for source, release in zip(sources, releases, strict=True)
            for component in (source.components if not source.is_flat else ("",))
        ]
        found = await run_together([self._listing(*each, architecture) for each in wanted], at_once=_AT_ONCE)
        return [listing for listing in found if listing is not None]

    async def _release(self, source: Source) -> Release:
        if source not in self._releases:
            path, _ = await self.fetcher.fetch(source.release_url, None, f"{source.suite} InRelease")
            self._releases[source] = await asyncio.to_thread(self._verify, path, source)
        return self._releases[source]

    def _verify(self, path: Path, source: Source) -> Release:
        if path.stat().st_size > MAX_RELEASE:
            raise PackageError(f"{source.release_url} has more than {MAX_RELEASE} bytes: it is no Release file")
        if not source.keyring:
            raise PackageError(f"no key is known that could have signed {source.release_url}: name a `keyring:`")
        return verify_release(path.read_bytes(), source.keyring, origin=source.release_url, now=self.today())

    async def _listing(self, source: Source, release: Release, component: str, architecture: str) -> Listing | None:
        found = release.find_list(component, architecture)
        if found is None:
            if release.components and component and component not in release.components:
                offered = ", ".join(release.components)
                raise PackageError(f"{source.release_url} has no component {component} (it has {offered})")
            if release.architectures and architecture not in release.architectures:
                offered = ", ".join(release.architectures)
                raise PackageError(
                    f"{source.release_url} has no packages for {architecture} (it has those for {offered})"
                )
            # Updates that there are none of yet.
            return None
        path, listed = found
        folder = path.rpartition("/")[0]
        digest = listed.digest
        by_hash = f"{folder}/by-hash/SHA256/{digest.encoded}".lstrip("/")
        url = f"{source.folder}/{by_hash if release.by_hash else path}"
        try:
            file, _ = await self.fetcher.fetch(url, digest, f"{source.suite} {path}")
        except DigestInvalid as error:
            raise PackageError(
                f"{source.folder}/{path} is not the list that is signed: {error.message}; the mirror may be in the "
                "midst of an update, or somebody has changed the file"
            ) from error
        return Listing(
            source=source, name=f"{source.folder}/{path}", digest=digest, path=file, priority=release.priority
        )

    def universe(self, listings: list[Listing], architecture: str) -> Universe:
        """All packages of the lists. Blocking. Raises PackageError."""
        return Universe([self._open(listing, architecture) for listing in listings], architecture=architecture)

    def _open(self, listing: Listing, architecture: str) -> PackageList:
        key = listing.digest, architecture
        if key not in self._lists:
            try:
                with listing.path.open("rb") as file:
                    raw = b"".join(decompress_archive(file, Limits(uncompressed_size=_MOST_LIST)))
            except LayerError as error:
                raise PackageError(f"{listing.name} cannot be read: {error}") from error
            self._lists[key] = PackageList(
                raw, architecture=architecture, origin=listing.name, priority=listing.priority
            )
        return self._lists[key]
