"""The journal of a bulk job: one SQLite file that knows of every action where it stands.

What may be relied on, whenever the process dies: an action is marked sent before its request can leave, and done
or refused after the server's answer was read, each mark committed to disk (WAL, synchronous=FULL). So what is marked
done was done; what was sent and not answered is known as such, and sent once more.

A journal belongs to one application, one host and one version of this schema. Methods block: they are for a
thread of their own, all for the same one. Statements handle many rows each, by way of SQLite's JSON functions,
since every row that passes through Python takes the interpreter from the event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from ..actions import ACTIONS, Action, field_names
from ..errors import JournalError
from ._records import Entry, Outcome, Row, State, Tallies, Tally

APPLICATION_ID: Final = 0x5A494D4A  # "ZIMJ", where SQLite keeps it in a file's header
SCHEMA_VERSION: Final = 1
CACHE_KIB: Final = 16_000
_SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE job (app_id INTEGER NOT NULL, host TEXT NOT NULL);
CREATE TABLE actions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    arguments TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'done', 'gone', 'refused')),
    UNIQUE (name, arguments)
);
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY REFERENCES actions,
    code INTEGER NOT NULL,
    message TEXT NOT NULL,
    request_id TEXT NOT NULL
);
"""


class Journal:
    """An open journal; make one with ``open``, to run its job, or ``view``, to look at it."""

    def __init__(
        self, path: Path, db: sqlite3.Connection, lock: sqlite3.Connection | None, last_written: float = 0.0
    ) -> None:
        self.path = path
        self.last_written = last_written  # by an earlier run, in Unix seconds; 0 for a new journal
        self._db = db
        self._lock = lock
        with _translate_errors(path):
            found = db.execute("SELECT app_id, host FROM job").fetchone()
        if found is None:
            raise JournalError(_damaged(path, "it doesn't say whose it is"))
        self.app_id: int = found[0]
        self.host: str = found[1]

    @classmethod
    def open(cls, path: str | os.PathLike[str], app_id: int, host: str) -> Self:
        """Open the journal of an application's job, or begin one; nobody else can until it is closed.

        Raises ``JournalError`` if another process has it, if it is another job's, of another kind, damaged,
        or can't be written.
        """
        path = Path(os.path.realpath(path))
        with contextlib.ExitStack() as undo:
            lock = undo.enter_context(contextlib.closing(_lock(path)))
            with _translate_errors(path):
                last_written = 0.0
                if path.exists():
                    files = (path, Path(f"{path}-wal"))
                    last_written = max(file.stat().st_mtime for file in files if file.exists())
                else:
                    _create(path, app_id, host)
                db = undo.enter_context(contextlib.closing(_connect(path, "mode=rw")))
                _prepare(path, db)
            journal = cls(path, db, lock, last_written)
            if (journal.app_id, journal.host) != (app_id, host):
                raise JournalError(
                    f"{path} is the journal of AppId {journal.app_id} at {journal.host}, not of AppId {app_id} at"
                    f" {host}; nothing was sent. Give another journal, or that application's credentials"
                )
            undo.pop_all()
        return journal

    @classmethod
    def view(cls, path: str | os.PathLike[str]) -> Self:
        """Open a journal to read it, also while its job runs. Raises ``JournalError``."""
        path = Path(os.path.realpath(path))
        with contextlib.ExitStack() as undo:
            with _translate_errors(path):
                # Without a log there is nothing to wait for, nor is one left behind.
                options = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
                db = undo.enter_context(contextlib.closing(_connect(path, options)))
            journal = cls(path, db, None)
            undo.pop_all()
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and let others have it."""
        with _translate_errors(self.path):
            self._db.close()
        if self._lock is not None:
            self._lock.close()

    def begin(self) -> None:
        """Begin what is to be written as a whole, or not at all."""
        with _translate_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Write what was done since ``begin``."""
        with _translate_errors(self.path):
            self._db.execute("COMMIT")

    def roll_back(self) -> None:
        """Forget what was done since ``begin``."""
        with contextlib.suppress(sqlite3.Error):  # of some failures SQLite has rolled back by itself
            self._db.execute("ROLLBACK")

    def add(self, actions: Iterable[Action]) -> int:
        """Take up the actions that aren't here yet, and return how many those were; ``begin`` goes before."""
        arguments: dict[str, list[str]] = {}
        for action in actions:
            arguments.setdefault(action.name, []).append(_dump(_FIELDS[action.name](action)))
        insert = "INSERT OR IGNORE INTO actions (name, arguments, state) SELECT ?, value, 'waiting' FROM json_each(?)"
        with _translate_errors(self.path):
            return sum(self._db.execute(insert, (name, _dump(texts))).rowcount for name, texts in arguments.items())

    def claim(self, name: str, after: int, count: int) -> list[Row]:
        """Mark the next unfinished actions of a name as sent and return them; ``after`` is the last row had before."""
        # Not by the index, which has them in another order; and in one step, all rows as one text.
        find = (
            "SELECT json_group_array(json_array(id, json(arguments), state)) FROM (SELECT * FROM actions NOT INDEXED"
            " WHERE id > ? AND name = ? AND state IN ('waiting', 'sent') ORDER BY id LIMIT ?)"
        )
        with self._transaction():
            found = json.loads(self._db.execute(find, (after, name, count)).fetchone()[0])
            try:
                rows = [Row(number, ACTIONS[name](*values), State(state)) for number, values, state in found]
            except (TypeError, ValueError) as error:
                raise JournalError(_damaged(self.path, str(error))) from None
            self._mark(State.SENT, [row.id for row in rows])
        rows.sort()
        return rows

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what came of claimed rows."""
        ids: dict[State, list[int]] = {}
        for outcome in outcomes:
            ids.setdefault(outcome.state, []).append(outcome.row.id)
        refusals = [(o.row.id, o.code, o.message, o.request_id) for o in outcomes if o.state is State.REFUSED]
        with self._transaction():
            for state, numbers in ids.items():
                self._mark(state, numbers)
            if refusals:
                self._db.executemany("INSERT INTO refusals VALUES (?, ?, ?, ?)", refusals)

    def tallies(self) -> Tallies:
        """Count the actions of each name in each state."""
        cells = [(name, state) for name in ACTIONS for state in State]
        counts = ", ".join(["coalesce(sum(name = ? AND state = ?), 0)"] * len(cells))
        # Not by the index: it lacks the state, and would be gone through at random.
        query = f"SELECT {counts} FROM actions NOT INDEXED"  # noqa: S608, made of constants
        with _translate_errors(self.path):
            found = self._db.execute(query, [value for cell in cells for value in cell]).fetchone()
        width = len(State)
        return {name: Tally(*found[place * width : (place + 1) * width]) for place, name in enumerate(ACTIONS)}

    def entries(self, state: State) -> Iterator[Entry]:
        """Yield what is in a state, in the order in which it came in."""
        query = (
            "SELECT name, arguments, code, message, request_id FROM actions LEFT JOIN refusals USING (id)"
            " WHERE state = ? ORDER BY id"
        )
        with _translate_errors(self.path):
            for name, arguments, *reason in self._db.execute(query, (state,)):
                yield Entry(_load(name, arguments), *reason)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.begin()
        try:
            with _translate_errors(self.path):
                yield
            self.commit()
        except BaseException:
            self.roll_back()
            raise

    def _mark(self, state: State, ids: list[int]) -> None:
        if ids:
            update = "UPDATE actions SET state = ? WHERE id IN (SELECT value FROM json_each(?))"
            self._db.execute(update, (state, _dump(ids)))


_FIELDS: Final[Mapping[str, Any]] = MappingProxyType(
    {name: attrgetter(*field_names(kind)) for name, kind in ACTIONS.items()}
)
_dump: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _load(name: str, arguments: str) -> Action:
    return ACTIONS[name](*json.loads(arguments))


def _connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a journal, and see that it is one: SQLite opens an empty or a foreign file without a word.

    Through SQLite alone: to open and close the file otherwise would drop the locks that this process has on it.
    """
    if path.stat().st_size == 0:
        raise JournalError(_foreign(path))
    db = sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None, timeout=10)
    try:
        _check_kind(path, db)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def _check_kind(path: Path, db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JournalError(_foreign(path))
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"{path} was written by another version of zim_async (schema {version}, here {SCHEMA_VERSION})."
            " Finish the job with that version, or give another name"
        )


def _prepare(path: Path, db: sqlite3.Connection) -> None:
    # FULL, so that even a power failure loses no commit. Both are asked for and then looked at: SQLite doesn't insist.
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    db.execute("PRAGMA synchronous = FULL")
    synchronous = db.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, synchronous) != ("wal", 2):
        raise JournalError(f"{path} is where SQLite can't keep a write-ahead log; give a place on a local disk")
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise JournalError(_damaged(path, found))
    db.execute("UPDATE job SET host = host")  # a file that can't be written opens all the same


def _create(path: Path, app_id: int, host: str) -> None:
    """Make a new journal in one step: under its name there is never half of one."""
    draft = path.with_name(path.name + ".new")
    # A log that outlived its journal would be played into the new one.
    for leftover in (draft, f"{draft}-journal", f"{path}-wal", f"{path}-shm"):
        Path(leftover).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
        db.executescript(_SCHEMA)
        db.execute("INSERT INTO job VALUES (?, ?)", (app_id, host))
    draft.replace(path)


def _lock(path: Path) -> sqlite3.Connection:
    """Take the journal for this process, by a lock that no death of a process leaves behind."""
    with _translate_errors(path), contextlib.ExitStack() as undo:
        lock = undo.enter_context(contextlib.closing(sqlite3.connect(f"{path}.lock", isolation_level=None, timeout=0)))
        lock.execute("BEGIN EXCLUSIVE")
        undo.pop_all()
    return lock


@contextlib.contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"{path} can't be used: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = _damaged(path, str(error))
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest are details of the code
        if code == sqlite3.SQLITE_NOTADB:
            problem = _foreign(path)
        elif code == sqlite3.SQLITE_BUSY:
            problem = f"{path} is in use by another process; wait for that to end"
        elif code == sqlite3.SQLITE_CORRUPT:
            problem = _damaged(path, str(error))
        else:
            problem = f"{path} can't be read or written ({error}); look for a full or read-only disk"
    else:
        return
    raise JournalError(problem)


def _foreign(path: Path) -> str:
    return f"{path} is no journal of a bulk job. Give another name"


def _damaged(path: Path, found: str) -> str:
    return f"{path} is damaged ({found}). Begin a new journal: both actions may safely be repeated"
