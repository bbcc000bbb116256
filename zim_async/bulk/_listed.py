"""What is open from an earlier run and wasn't given again, of a journal's rows or of its groups.

It is counted by SQLite, in a temporary table that goes to disk if it grows.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final, Literal

_UNLISTED: Final = "WHERE id <= ? AND state IN ('w', 's', 'o') AND id NOT IN (SELECT id FROM temp.listed)"


class Listed:
    """Remembers, from its making on, which of the rows or groups that are here already are given again."""

    def __init__(self, db: sqlite3.Connection, table: Literal["rows", "groups"]) -> None:
        self._db = db
        self._table = table
        self._last_id = int(db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])  # noqa: S608
        db.execute("CREATE TEMP TABLE listed (id INTEGER PRIMARY KEY)")

    def add(self, query: str, *values: object) -> None:
        """Note as given what a query finds. It is the end of a SELECT of IDs, of which known ones are taken."""
        if self._last_id:
            insert = f"INSERT OR IGNORE INTO temp.listed SELECT {self._table}.id {query} AND {self._table}.id <= ?"
            self._db.execute(insert, (*values, self._last_id))

    def count_missing(self) -> int:
        """Count what is open and wasn't given."""
        query = f"SELECT count(*) FROM {self._table} {_UNLISTED}"  # noqa: S608
        return int(self._db.execute(query, (self._last_id,)).fetchone()[0])

    def missing(self, columns: str, count: int) -> list[tuple[Any, ...]]:
        """Return some columns of so much of it."""
        query = f"SELECT {columns} FROM {self._table} {_UNLISTED} LIMIT ?"  # noqa: S608
        return self._db.execute(query, (self._last_id, count)).fetchall()

    def drop_missing(self) -> None:
        """Forget it, and what is open of groups among it."""
        if self._table == "groups":
            groups = f"SELECT id FROM groups {_UNLISTED}"  # noqa: S608
            query = f"DELETE FROM rows WHERE state IN ('w', 's') AND group_id IN ({groups})"  # noqa: S608
            self._db.execute(query, (self._last_id,))
        self._db.execute(f"DELETE FROM {self._table} {_UNLISTED}", (self._last_id,))  # noqa: S608
