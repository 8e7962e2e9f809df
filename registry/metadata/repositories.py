"""Repositories: names, and the ids by which other rows know them."""

from registry.metadata.database import Queries


async def repository_exists(queries: Queries, name: str) -> bool:
    return await queries.row("SELECT 1 FROM repositories WHERE name = ?1", name) is not None


async def ensure_repository(queries: Queries, name: str) -> int:
    """The id of `name`, which is made where it does not exist."""
    row = await queries.row("SELECT id FROM repositories WHERE name = ?1", name)
    if row is None:
        row = await queries.row("INSERT INTO repositories (name) VALUES (?1) RETURNING id", name)
        assert row is not None  # noqa: S101 - RETURNING always returns
    return int(row[0])


async def list_repositories(queries: Queries, *, after: str, limit: int) -> list[str]:
    """Names of those that have a manifest, in byte order."""
    rows = await queries.rows(
        """SELECT name FROM repositories r WHERE name > ?1
           AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
           ORDER BY name LIMIT ?2""",
        after,
        limit,
    )
    return [name for (name,) in rows]
