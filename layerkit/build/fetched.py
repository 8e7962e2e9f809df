"""Fetched: what the `fetch:` of a spec brings, as a file or as what is in an archive. Each file is brought once."""

import asyncio
import os
from pathlib import Path

import msgspec

from layerkit.build.fetch import Fetcher
from layerkit.build.filesystem import Filesystem, OpenTar
from layerkit.build.inputs import Fetched
from layerkit.build.pins import Pins
from layerkit.layer.errors import LayerError
from layerkit.layer.limits import DEFAULT_LIMITS, Limits
from layerkit.layer.source import FileSource
from layerkit.layer.spool import open_tar
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid
from layerkit.packages.lock import LockedURL
from layerkit.spec.model import Fetch, Spec


class Fetches(msgspec.Struct, frozen=True):
    """Those of one build. What has to be unpacked goes to a file without a name in `spool`."""

    fetcher: Fetcher
    spool: Path
    pins: Pins
    limits: Limits = DEFAULT_LIMITS
    _files: dict[tuple[str, Digest | None], tuple[Path, Digest]] = msgspec.field(default_factory=dict)
    _archives: dict[Digest, Filesystem] = msgspec.field(default_factory=dict)

    async def bring(self, fetch: Fetch, spec: Spec, warnings: list[str]) -> Fetched:
        """Raises DocumentError for content that the spec does not mean, OCIError for what cannot be read."""
        path, digest = await self.find(fetch, spec)
        if fetch.sha256 is None and fetch.url not in self.pins.lock.urls:
            warnings.append(
                f"{fetch.position}: {fetch.url} may be another file tomorrow: "
                f"add `sha256: {digest.encoded}`, or run `layerkit lock`"
            )
        if not fetch.extract:
            return FileSource.seen(str(path), await asyncio.to_thread(os.stat, path))
        try:
            if digest not in self._archives:
                self._archives[digest] = await asyncio.to_thread(self._open, path, digest)
        except LayerError as error:
            raise spec.problem(fetch.position, f"{fetch.url} cannot be extracted: {error}") from error
        return self._archives[digest]

    async def find(self, fetch: Fetch, spec: Spec) -> tuple[Path, Digest]:
        """The file as it is, with the content that the spec or the lock says. Raises what `bring` raises."""
        locked = self.pins.url(fetch.url) if fetch.sha256 is None else None
        sha256 = locked.sha256 if locked is not None else fetch.sha256
        key = fetch.url, sha256
        try:
            if key not in self._files:
                self._files[key] = await self.fetcher.fetch(fetch.url, sha256)
        except DigestInvalid as error:
            meant = "write its sha256" if locked is None else f"run `layerkit lock --upgrade {fetch.url}`"
            raise spec.problem(
                fetch.position, error.message, f"if the new content is meant, {meant}; if not, do not use it"
            ) from error
        path, digest = self._files[key]
        if sha256 is None:
            size = (await asyncio.to_thread(os.stat, path)).st_size
            self.pins.note_url(fetch.url, LockedURL(sha256=digest, size=size))
        return path, digest

    def _open(self, path: Path, digest: Digest) -> Filesystem:
        from layerkit.layer import zip as zip_archive  # noqa: PLC0415 - few specs fetch an archive

        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            is_zip = start in zip_archive.MAGIC
            open_archive = zip_archive.open_zip if is_zip else open_tar
            index, contents = open_archive(file, self.spool, self.limits, identity=str(digest))
        filesystem = Filesystem()
        filesystem.add(index.entries, OpenTar(contents))
        return filesystem
