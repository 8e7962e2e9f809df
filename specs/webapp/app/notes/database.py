"""The database: a file of SQLite with one table."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST = 100
"""Notes that are kept; the oldest go first."""


class Notes:
    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")

    def add(self, text: str) -> int:
        """Keep a note; returned is its number."""
        with self._open() as database:
            (number,) = database.execute("INSERT INTO note (text) VALUES (?) RETURNING id", (text,)).fetchone()
            database.execute("DELETE FROM note WHERE id <= ?", (number - MOST,))
        return int(number)

    def newest(self) -> list[tuple[int, str]]:
        """All notes with their numbers, the newest first."""
        with self._open() as database:
            return database.execute("SELECT id, text FROM note ORDER BY id DESC").fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path)
        try:
            with database:
                yield database
        finally:
            database.close()
