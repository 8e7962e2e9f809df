"""Fetched: what the `fetch:` of a spec brings, as a file or as what is in an archive. Each file is brought once."""

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from layerkit.build.fetch import Fetcher
from layerkit.build.filesystem import Filesystem, OpenTar
from layerkit.build.inputs import Fetched
from layerkit.layer.errors import LayerError
from layerkit.layer.read import DEFAULT_LIMITS, Limits
from layerkit.layer.source import FileSource
from layerkit.layer.spool import open_tar
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid
from layerkit.spec.model import Fetch, Spec


@dataclass(frozen=True, slots=True)
class Fetches:
    """Those of one build. What has to be unpacked goes to a file without a name in `spool`."""

    fetcher: Fetcher
    spool: Path
    limits: Limits = DEFAULT_LIMITS
    _files: dict[tuple[str, Digest | None], tuple[Path, Digest]] = field(default_factory=dict)
    _archives: dict[Digest, Filesystem] = field(default_factory=dict)

    async def bring(self, fetch: Fetch, spec: Spec, warnings: list[str]) -> Fetched:
        """Raises DocumentError for content that the spec does not mean, OCIError for what cannot be read."""
        key = fetch.url, fetch.sha256
        try:
            if key not in self._files:
                self._files[key] = await self.fetcher.fetch(fetch.url, fetch.sha256)
        except DigestInvalid as error:
            raise spec.problem(
                fetch.position, error.message, "if the new content is meant, write its sha256; if not, do not use it"
            ) from error
        path, digest = self._files[key]
        if fetch.sha256 is None:
            warnings.append(
                f"{fetch.position}: {fetch.url} may be another file tomorrow: add `sha256: {digest.encoded}`"
            )
        if not fetch.extract:
            return FileSource.seen(str(path), await asyncio.to_thread(os.stat, path))
        try:
            if digest not in self._archives:
                self._archives[digest] = await asyncio.to_thread(self._open, path, digest)
        except LayerError as error:
            raise spec.problem(fetch.position, f"{fetch.url} cannot be extracted: {error}") from error
        return self._archives[digest]

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
