"""The file of a journal: created whole, locked by its job, checked before use, removed under its lock."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import JournalError

if sys.platform != "win32":
    import fcntl

APPLICATION_ID: Final = 0x5A494D4A  # "ZIMJ", where SQLite keeps it in a file's header
SCHEMA_VERSION: Final = 2
CACHE_KIB: Final = 16_000
# The journal, SQLite's log and its index, the lock, and a draft with SQLite's own journal of that.
_SUFFIXES: Final = ("", "-wal", "-shm", ".lock", ".lock-journal", ".new", ".new-journal")
# A row is never longer than at first: what grows would have to move while the job runs. So states are letters.
_SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE job (app_id INTEGER NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL);
CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, fields TEXT NOT NULL);
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    step INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('o', 'f'))
);
CREATE TABLE summaries (id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL REFERENCES groups, summary TEXT NOT NULL);
CREATE TABLE rows (
    id INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    class_id INTEGER NOT NULL REFERENCES classes,
    fields TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('w', 's', 'd', 'n', 'r')),
    at INTEGER NOT NULL,
    UNIQUE (group_id, step, class_id, fields)
);
CREATE TABLE codes (
    id INTEGER PRIMARY KEY REFERENCES rows,
    code INTEGER NOT NULL,
    message TEXT NOT NULL,
    request_id TEXT NOT NULL
);
"""


def journal_files(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return where a journal stands, and what may stand beside it while it is made, written or locked.

    Args:
        path: The journal's file, or a link to it.

    Returns:
        The paths. What anybody else keeps there would be overwritten or removed.
    """
    path = os.path.realpath(path)
    return tuple(Path(f"{path}{suffix}") for suffix in _SUFFIXES)


def refuse_foreign(path: Path) -> None:
    """Refuse what is no journal before it is locked: the lock file would stay beside it.

    Raises:
        JournalError: It is none.
    """
    if path.exists() and not path.is_file():
        raise JournalError(f"{path} can't be used: it is no file")
    # A journal may be missing, or be closed by another process just now: under the lock it is looked at again.
    with translate_errors(path), contextlib.suppress(FileNotFoundError, sqlite3.OperationalError):
        connect_to_read(path).close()


def create(path: Path, app_id: int, host: str, kind: str) -> None:
    """Make a new journal in one step: under its name there is never half of one."""
    draft = path.with_name(path.name + ".new")
    # A log that outlived its journal would be played into the new one.
    for leftover in (draft, f"{draft}-journal", f"{path}-wal", f"{path}-shm"):
        Path(leftover).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
        db.executescript(_SCHEMA)
        db.execute("INSERT INTO job VALUES (?, ?, ?)", (app_id, host, kind))
    draft.replace(path)


def remove(path: Path) -> None:
    """Remove a journal that is locked and closed. The lock file stays, lest two processes lock two files."""
    for file in (path, f"{path}-wal", f"{path}-shm"):
        Path(file).unlink(missing_ok=True)


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a journal, and see that it is one: SQLite opens an empty or a foreign file without a word.

    Through SQLite alone: to open and close the file otherwise would drop the locks that this process has on it.
    """
    if path.stat().st_size == 0:
        raise JournalError(_foreign(path))
    db = sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None, timeout=10)
    try:
        _check_schema(path, db)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal to read it, also while its job runs."""
    # Without a log there is nothing to wait for, nor is one left behind.
    return connect(path, "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1")


def prepare(path: Path, db: sqlite3.Connection) -> None:
    """Make a journal that was opened to be written safe against power failures, and check the whole of it."""
    # FULL, so that even a power failure loses no commit. Both are asked for and then looked at: SQLite doesn't insist.
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    db.execute("PRAGMA synchronous = FULL")
    synchronous = db.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, synchronous) != ("wal", 2):
        raise JournalError(f"{path} is where SQLite can't keep a write-ahead log; give a place on a local disk")
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise JournalError(damaged(path, found))
    db.execute("UPDATE job SET host = host")  # a file that can't be written opens all the same


def lock(path: Path) -> sqlite3.Connection:
    """Take a journal for this process, by a lock that no death of a process leaves behind."""
    with translate_errors(path), contextlib.ExitStack() as undo:
        connection = sqlite3.connect(f"{path}.lock", isolation_level=None, timeout=0)
        undo.enter_context(contextlib.closing(connection))
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            # SQLite says "busy" of a file system without locks too.
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY and not _has_locks(path.parent):
                raise JournalError(
                    f"{path} is on a file system without locks (mostly a network's); give a place on a local disk"
                ) from None
            raise
        undo.pop_all()
    return connection


def _has_locks(directory: Path) -> bool:
    if sys.platform == "win32":
        return True
    # On another file: closing the lock file here would drop this process's own lock on it.
    with tempfile.TemporaryFile(dir=directory) as probe:
        try:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _check_schema(path: Path, db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JournalError(_foreign(path))
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"{path} was written by another version of zim_async (schema {version}, here {SCHEMA_VERSION})."
            " Finish the job with that version, or begin a new journal: what is done may safely be repeated"
        )


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong with the file as a ``JournalError`` that says what to do."""
    try:
        yield
    except OSError as error:
        problem = f"{path} can't be used: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = damaged(path, str(error))
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest are details of the code
        if code == sqlite3.SQLITE_NOTADB:
            problem = _foreign(path)
        elif code == sqlite3.SQLITE_BUSY:
            problem = f"{path} is in use by another process; wait for that to end"
        elif code == sqlite3.SQLITE_CORRUPT:
            problem = damaged(path, str(error))
        else:
            problem = f"{path} can't be read or written ({error}); look for a full or read-only disk"
    else:
        return
    raise JournalError(problem)


def damaged(path: Path, found: str) -> str:
    """Return what to say of a damaged journal."""
    return f"{path} is damaged ({found}). Begin a new journal: what is done may safely be repeated"


def _foreign(path: Path) -> str:
    return f"{path} is no journal of a bulk job. Give another name"
