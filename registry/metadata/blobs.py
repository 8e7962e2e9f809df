"""Blobs: content of the store, and the repositories that may serve it."""

from collections.abc import Sequence

from layerkit.oci.digest import Digest
from registry.metadata.database import Queries
from registry.metadata.repositories import ensure_repository


async def find_blob(queries: Queries, repository: str, digest: Digest) -> int | None:
    """The size of a blob of the repository."""
    row = await queries.row(
        """SELECT b.size FROM repositories r
           JOIN repository_blobs l ON l.repository_id = r.id
           JOIN blobs b ON b.digest = l.digest
           WHERE r.name = ?1 AND l.digest = ?2 AND b.deleting = 0""",
        repository,
        digest,
    )
    return None if row is None else int(row[0])


async def find_blob_anywhere(queries: Queries, digest: Digest) -> int | None:
    """The size of a blob that at least one repository has."""
    row = await queries.row(
        """SELECT b.size FROM blobs b WHERE b.digest = ?1 AND b.deleting = 0
           AND EXISTS (SELECT 1 FROM repository_blobs l WHERE l.digest = b.digest)""",
        digest,
    )
    return None if row is None else int(row[0])


async def add_blob(
    queries: Queries, repository: str, digest: Digest, *, size: int, leased_until: int, upload: str | None = None
) -> None:
    """Record that the store has the blob and that the repository may serve it, and lease it to its pusher."""
    await queries.row(
        """INSERT INTO blobs (digest, size, leased_until) VALUES (?1, ?2, ?3)
           ON CONFLICT (digest) DO UPDATE SET size = excluded.size, deleting = 0,
           leased_until = CASE WHEN excluded.leased_until > blobs.leased_until
               THEN excluded.leased_until ELSE blobs.leased_until END""",
        digest,
        size,
        leased_until,
    )
    await queries.row(
        """INSERT INTO repository_blobs (repository_id, digest, upload) VALUES (?1, ?2, ?3)
           ON CONFLICT (repository_id, digest) DO UPDATE SET upload = excluded.upload
           WHERE excluded.upload IS NOT NULL""",
        await ensure_repository(queries, repository),
        digest,
        upload,
    )


async def find_uploaded(queries: Queries, repository: str, upload: str) -> Digest | None:
    """The blob of the repository that this upload was the last one to bring."""
    row = await queries.row(
        """SELECT l.digest FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id AND l.upload = ?2
           WHERE r.name = ?1""",
        repository,
        upload,
    )
    return None if row is None else Digest(row[0])


async def remove_blob(queries: Queries, repository: str, digest: Digest) -> bool:
    """The repository serves it no longer; the content stays. False where it did not."""
    row = await queries.row(
        """DELETE FROM repository_blobs WHERE digest = ?1
           AND repository_id = (SELECT id FROM repositories WHERE name = ?2) RETURNING 1""",
        digest,
        repository,
    )
    return row is not None


async def find_missing(queries: Queries, repository_id: int, digests: Sequence[Digest]) -> list[Digest]:
    """Those of `digests` that are neither a blob nor a manifest of the repository."""
    missing = []
    for digest in digests:
        row = await queries.row(
            """SELECT 1 FROM repository_blobs l JOIN blobs b ON b.digest = l.digest
               WHERE l.repository_id = ?1 AND l.digest = ?2 AND b.deleting = 0
               UNION ALL SELECT 1 FROM manifests WHERE repository_id = ?1 AND digest = ?2 LIMIT 1""",
            repository_id,
            digest,
        )
        if row is None:
            missing.append(digest)
    return missing
