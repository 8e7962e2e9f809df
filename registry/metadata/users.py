"""Users that the registry keeps itself: names, and the hashes of their passwords."""

from dataclasses import dataclass

from registry.metadata.database import Queries


@dataclass(frozen=True, slots=True)
class User:
    """`created_at` and `changed_at` (of the password) in seconds since 1970."""

    name: str
    created_at: int
    changed_at: int


async def find_password(queries: Queries, name: str) -> str | None:
    """The hash of the password of `name`."""
    row = await queries.row("SELECT password FROM users WHERE name = ?1", name)
    return None if row is None else str(row[0])


async def add_user(queries: Queries, name: str, password: str, *, now: int) -> bool:
    """False where the name is taken."""
    row = await queries.row(
        """INSERT INTO users (name, password, created_at, changed_at) VALUES (?1, ?2, ?3, ?3)
           ON CONFLICT DO NOTHING RETURNING 1""",
        name,
        password,
        now,
    )
    return row is not None


async def set_password(queries: Queries, name: str, password: str, *, now: int) -> bool:
    """False where there is no such user."""
    row = await queries.row(
        "UPDATE users SET password = ?2, changed_at = ?3 WHERE name = ?1 RETURNING 1", name, password, now
    )
    return row is not None


async def remove_user(queries: Queries, name: str) -> bool:
    """False where there is none."""
    return await queries.row("DELETE FROM users WHERE name = ?1 RETURNING 1", name) is not None


async def list_users(queries: Queries) -> list[User]:
    """In the byte order of their names."""
    rows = await queries.rows("SELECT name, created_at, changed_at FROM users ORDER BY name")
    return [User(*row) for row in rows]
