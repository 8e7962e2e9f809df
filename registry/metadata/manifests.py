"""Manifests, the tags that point to them, and what refers to what."""

from collections.abc import Sequence

from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import Manifest, required_digests
from layerkit.oci.reference import Tag
from registry.metadata.database import Queries, Row

_BY_TAG = """FROM repositories r
    JOIN tags t ON t.repository_id = r.id AND t.name = ?2
    JOIN manifests m ON m.id = t.manifest_id
    WHERE r.name = ?1"""
_BY_DIGEST = """FROM repositories r
    JOIN manifests m ON m.repository_id = r.id AND m.digest = ?2
    WHERE r.name = ?1"""


async def find_manifest(queries: Queries, repository: str, reference: Tag | Digest) -> Descriptor | None:
    where = _BY_DIGEST if isinstance(reference, Digest) else _BY_TAG
    row = await queries.row(f"SELECT m.media_type, m.digest, m.size {where}", repository, reference)
    return None if row is None else Descriptor(media_type=row[0], digest=Digest(row[1]), size=row[2])


async def read_manifest(queries: Queries, repository: str, reference: Tag | Digest) -> Manifest | None:
    where = _BY_DIGEST if isinstance(reference, Digest) else _BY_TAG
    row = await queries.row(f"SELECT m.media_type, m.payload, m.digest {where}", repository, reference)
    return None if row is None else Manifest(media_type=row[0], raw=row[1], digest=Digest(row[2]))


async def add_manifest(queries: Queries, repository_id: int, manifest: Manifest, *, now: int) -> int:
    """The id of the manifest's row. The same bytes under another media type take that type."""
    pointer, subject = manifest.pointer(), manifest.document.subject
    row = await queries.row(
        """INSERT INTO manifests
               (repository_id, digest, media_type, size, subject, artifact_type, annotations, created_at, payload)
           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
           ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type,
               subject = excluded.subject, artifact_type = excluded.artifact_type, annotations = excluded.annotations
           RETURNING id""",
        repository_id,
        manifest.digest,
        manifest.media_type,
        len(manifest.raw),
        subject.digest if subject else None,
        pointer.artifact_type,
        encode_json(pointer.annotations).decode() if pointer.annotations else None,
        now,
        manifest.raw,
    )
    assert row is not None  # noqa: S101 - RETURNING always returns
    manifest_id = int(row[0])
    for digest in required_digests(manifest.document):
        await queries.row(
            """INSERT INTO manifest_references (manifest_id, digest, repository_id) VALUES (?1, ?2, ?3)
               ON CONFLICT DO NOTHING""",
            manifest_id,
            digest,
            repository_id,
        )
    return manifest_id


async def remove_manifest(queries: Queries, repository: str, digest: Digest) -> bool:
    """With its tags. False where there is none."""
    row = await queries.row(
        """DELETE FROM manifests WHERE digest = ?1
           AND repository_id = (SELECT id FROM repositories WHERE name = ?2) RETURNING 1""",
        digest,
        repository,
    )
    return row is not None


async def find_referring(queries: Queries, repository: str, digest: Digest) -> Digest | None:
    """A manifest of the repository that needs `digest`."""
    row = await queries.row(
        """SELECT m.digest FROM repositories r
           JOIN manifest_references f ON f.digest = ?2 AND f.repository_id = r.id
           JOIN manifests m ON m.id = f.manifest_id
           WHERE r.name = ?1 LIMIT 1""",
        repository,
        digest,
    )
    return None if row is None else Digest(row[0])


async def set_tag(queries: Queries, repository_id: int, tag: Tag, manifest_id: int, *, now: int) -> None:
    await queries.row(
        """INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT (repository_id, name)
           DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at""",
        repository_id,
        tag,
        manifest_id,
        now,
    )


async def remove_tag(queries: Queries, repository: str, tag: Tag) -> bool:
    """False where there is none."""
    row = await queries.row(
        """DELETE FROM tags WHERE name = ?1
           AND repository_id = (SELECT id FROM repositories WHERE name = ?2) RETURNING 1""",
        tag,
        repository,
    )
    return row is not None


async def list_tags(queries: Queries, repository: str, *, after: str, limit: int) -> list[Tag]:
    rows = await queries.rows(
        """SELECT t.name FROM repositories r JOIN tags t ON t.repository_id = r.id
           WHERE r.name = ?1 AND t.name > ?2 ORDER BY t.name LIMIT ?3""",
        repository,
        after,
        limit,
    )
    return [Tag(name) for (name,) in rows]


async def list_referrers(
    queries: Queries, repository: str, subject: Digest, *, artifact_types: Sequence[str], after: str, limit: int
) -> list[Descriptor]:
    """In the order of their digests."""
    kinds = f"AND m.artifact_type IN ({', '.join(f'?{n}' for n in range(5, 5 + len(artifact_types)))})"
    rows = await queries.rows(
        f"""SELECT m.media_type, m.digest, m.size, m.artifact_type, m.annotations
            FROM repositories r JOIN manifests m ON m.repository_id = r.id
            WHERE r.name = ?1 AND m.subject = ?2 AND m.digest > ?3 {kinds if artifact_types else ""}
            ORDER BY m.digest LIMIT ?4""",  # noqa: S608 - only the numbers of parameters are put together
        repository,
        subject,
        after,
        limit,
        *artifact_types,
    )
    return [_referrer(row) for row in rows]


def _referrer(row: Row) -> Descriptor:
    return Descriptor(
        media_type=row[0],
        digest=Digest(row[1]),
        size=row[2],
        artifact_type=row[3],
        annotations=decode_json(row[4], dict[str, str]) if row[4] else {},
    )
