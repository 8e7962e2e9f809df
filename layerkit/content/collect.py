"""Collecting: what nothing refers to any more gives its bytes back.

`remove` takes names from an image, and with the last name its manifests, referrers and blobs, as far as no other image
has them. `prune` takes everything else that is of no use: manifests without a name, blobs without a manifest, what was
left by processes that were killed. Both hold the store's lock alone while they do, list first and delete then (a crash
leaves too much, never too little), and leave alone what a process at work counts on (`content/lease.py`). Blocking.
"""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerkit.content.lease import read_leases
from layerkit.content.listed import full_name
from layerkit.content.store import Store
from layerkit.files import readable_errors
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import ALGORITHMS, Digest
from layerkit.oci.errors import DigestInvalid, ManifestInvalid, ManifestUnknown
from layerkit.oci.manifest import Document, ImageIndex
from layerkit.oci.reference import Reference

GRACE_SECONDS: Final = 3600
"""How old the beginning of a blob is before it is taken for a leftover: nobody may have its lock for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """`manifests` and `blobs` are counts, `size` is the bytes that are free now."""

    manifests: int = 0
    blobs: int = 0
    size: int = 0

    def __add__(self, other: "Collected") -> "Collected":
        return Collected(
            manifests=self.manifests + other.manifests, blobs=self.blobs + other.blobs, size=self.size + other.size
        )


def remove(store: Store, reference: Reference) -> Collected:
    """Take the name, or with a digest all names that the repository has for it, and free what is left without one.

    Raises ManifestUnknown where the store has no such image.
    """
    with readable_errors(str(store.root)), store.locked():
        entries = store.entries()
        gone = [entry for entry in entries if _is_meant(entry, reference)]
        if not gone:
            raise ManifestUnknown(f"{reference.familiar()} is not in {store.root}")
        kept = [entry for entry in entries if entry not in gone]
        found = _Found(store)
        # A referrer goes with its subject, and is itself the subject of others.
        dying = {entry.digest for entry in gone}
        while True:
            live = found.below({entry.digest for entry in kept} | read_leases(store.root))
            dead = found.below(dying) - live
            orphans = {
                entry.digest for entry in kept if not entry.annotations and found.subject_of(entry.digest) in dead
            }
            if not orphans:
                break
            dying |= orphans
            kept = [entry for entry in kept if entry.annotations or entry.digest not in orphans]
        store.replace_entries(kept)
        return _free(store, dead, found)


def prune(store: Store, *, now: float, grace: float = GRACE_SECONDS) -> Collected:
    """Free all that no named image needs; `now` is in seconds since 1970."""
    with readable_errors(str(store.root)), store.locked():
        entries = store.entries()
        found = _Found(store)
        kept = [entry for entry in entries if entry.annotations]
        rest = [entry for entry in entries if not entry.annotations]
        held = read_leases(store.root)
        while True:
            live = found.below({entry.digest for entry in kept} | held)
            # Whatever tells of an image that stays, stays with it.
            needed = [entry for entry in rest if entry.digest in live or found.subject_of(entry.digest) in live]
            if not needed:
                break
            kept += needed
            rest = [entry for entry in rest if entry not in needed]
        if rest:
            store.replace_entries(entry for entry in entries if entry not in rest)
        known = set(_digests(store.root / "blobs")) | set(_digests(store.root / "remote"))
        collected = _free(store, known - live, found)
        leftovers = sum(_free_leftover(path, now - grace) for path in _beginnings(store.root / "blobs"))
        return collected + Collected(size=leftovers)


def _is_meant(entry: Descriptor, reference: Reference) -> bool:
    name, tag = full_name(entry)
    if reference.digest is not None:
        return entry.digest == reference.digest and (name == reference.name or not entry.annotations)
    return name == reference.name and tag == reference.target


class _Found:
    """The documents of a store's manifests, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._documents: dict[Digest, Document | None] = {}

    def document(self, digest: Digest) -> Document | None:
        if digest not in self._documents:
            document = None
            # One that is damaged refers to nothing that could be made use of.
            with suppress(DigestInvalid, ManifestInvalid):
                manifest = self._store.read_manifest(digest)
                document = manifest.document if manifest else None
            self._documents[digest] = document
        return self._documents[digest]

    def subject_of(self, digest: Digest) -> Digest | None:
        document = self.document(digest)
        return document.subject.digest if document is not None and document.subject is not None else None

    def below(self, roots: Iterable[Digest]) -> set[Digest]:
        """These, and all that they refer to."""
        waiting = list(roots)
        seen: set[Digest] = set()
        while waiting:
            digest = waiting.pop()
            if digest in seen:
                continue
            seen.add(digest)
            document = self.document(digest)
            for descriptor in document.references() if document is not None else ():
                if isinstance(document, ImageIndex):
                    waiting.append(descriptor.digest)
                else:
                    # No manifest: not worth reading.
                    seen.add(descriptor.digest)
        return seen


def _free(store: Store, digests: Iterable[Digest], found: _Found) -> Collected:
    manifests = blobs = size = 0
    for digest in digests:
        path = store.path_of(digest)
        if path.is_file():
            size += path.stat().st_size
            if found.document(digest) is None:
                blobs += 1
            else:
                manifests += 1
        store.remove(digest)
    return Collected(manifests=manifests, blobs=blobs, size=size)


def _digests(folder: Path) -> Iterator[Digest]:
    for algorithm in ALGORITHMS:
        if (folder / algorithm).is_dir():
            for path in (folder / algorithm).iterdir():
                # What has another name is not ours.
                with suppress(DigestInvalid):
                    yield Digest(f"{algorithm}:{path.name}")


def _beginnings(folder: Path) -> Iterator[Path]:
    yield from folder.glob(".upload-*")
    yield from folder.glob(".remote-*")


def _free_leftover(path: Path, before: float) -> int:
    """The bytes of a blob's beginning, which is deleted if nobody has written at it since, nor is about to."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = path.stat()
            if status.st_mtime >= before:
                return 0
            path.unlink()
            return status.st_size
    except (BlockingIOError, FileNotFoundError):
        return 0
