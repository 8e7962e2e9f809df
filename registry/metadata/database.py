"""What an engine of the index does.

SQL is written once for all engines: `?1`, `?2` for the values, `ON CONFLICT`, `RETURNING`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]


class Queries(Protocol):
    """One statement at a time, against the database or within a transaction."""

    async def rows(self, sql: str, *values: object) -> list[Row]: ...

    async def row(self, sql: str, *values: object) -> Row | None:
        """The first row."""


Work = Callable[[Queries], Awaitable[T]]


class Database(Queries, Protocol):
    """As Queries: reads, each of which sees one committed state."""

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction; when this returns it is durable, when it raises nothing happened.

        `work` awaits nothing but its Queries: an engine may run it in a thread, and together with others.
        """

    async def close(self) -> None: ...
