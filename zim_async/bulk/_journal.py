"""The journal of a bulk job: one SQLite file that knows of every action where it stands.

1. A row is marked sent before its request can leave, and gets its outcome after the server's response was read.
2. Each mark is committed to disk (WAL, synchronous=FULL) before anything is built on it.
3. So what is marked done was done, whenever the process dies. What was sent and has no outcome is known as such.
4. A journal belongs to one application, one host, one kind of job and one version of its schema.
   One without rows belongs to nobody.
5. Methods block. They are for a thread of their own, all for the same one.
6. Statements handle many rows each, by way of SQLite's JSON functions: every row that passes through Python
   takes the interpreter from the event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self, TypeAlias

from ..actions import Action, field_names
from ..errors import InvalidArgumentError, JournalError
from . import _journal_file as journal_file
from ._journal_file import damaged, translate_errors
from ._listed import Listed
from ._records import OPEN, CodeCount, Mark, Outcome, Row, State, Tally, to_datetime
from ._stored_actions import check_class, class_of, from_values, to_text

JobKind: TypeAlias = Literal["cleanup", "groups", "erase"]
_LETTERS: Final = {state: state.value[0] for state in State}
_STATES: Final = {letter: state for state, letter in _LETTERS.items()}
# CROSS JOIN has SQLite go through the values, and look each up: it might go through all rows for each value instead.
_SAME_ROWS: Final = (
    "FROM json_each(?) CROSS JOIN rows ON group_id = 0 AND step = 0 AND class_id = ? AND fields = value"
    " WHERE state IN ('w', 's')"
)


class _Class(NamedTuple):
    id: int
    name: str
    fields: tuple[str, ...]


class Journal:
    """An open journal. Make one with ``open``, to run its job, or ``view``, to look at it."""

    def __init__(
        self, path: Path, db: sqlite3.Connection, lock: sqlite3.Connection | None, last_written: float | None = None
    ) -> None:
        self.path = path
        self.last_written = last_written or 0.0  # by an earlier run, in Unix seconds; 0 for a new journal
        self._unused = lock is not None and last_written is None
        self.db = db
        self._lock = lock
        self._listed: Listed | None = None
        self._classes: dict[str, type[Action]] = {}  # met or looked up so far, by name
        with translate_errors(path):
            found = db.execute("SELECT app_id, host, kind FROM job").fetchone()
            self._stored = _read_stored(db)
        if found is None:
            raise JournalError(damaged(path, "it doesn't say whose it is"))
        self.app_id: int = found[0]
        self.host: str = found[1]
        self.kind: str = found[2]

    @classmethod
    def open(cls, path: str | os.PathLike[str], app_id: int, host: str, kind: JobKind = "cleanup") -> Self:
        """Open the journal of an application's job, or begin one. Nobody else can until it is closed.

        Raises:
            JournalError: Another process has it, it is another job's, of another kind, damaged, or can't be written.
        """
        path = Path(os.path.realpath(path))
        journal_file.refuse_foreign(path)
        with contextlib.ExitStack() as undo:
            lock = undo.enter_context(contextlib.closing(journal_file.lock(path)))
            with translate_errors(path):
                last_written = None
                if path.exists():
                    files = (path, Path(f"{path}-wal"))
                    last_written = max(file.stat().st_mtime for file in files if file.exists())
                else:
                    journal_file.create(path, app_id, host, kind)
                db = undo.enter_context(contextlib.closing(journal_file.connect(path, "mode=rw")))
                journal_file.prepare(path, db)
            journal = cls(path, db, lock, last_written)
            journal._claim_for(app_id, host, kind)
            undo.pop_all()
        return journal

    @classmethod
    def view(cls, path: str | os.PathLike[str]) -> Self:
        """Open a journal to read it, also while its job runs.

        Raises:
            JournalError: It is no journal, damaged, or can't be read.
        """
        path = Path(os.path.realpath(path))
        with contextlib.ExitStack() as undo:
            with translate_errors(path):
                db = undo.enter_context(contextlib.closing(journal_file.connect_to_read(path)))
            journal = cls(path, db, None)
            undo.pop_all()
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the actions that it holds."""
        return tuple(self._stored)

    def close(self) -> None:
        """Close the file, and let others have it. A new one that nothing was kept in is removed before."""
        with translate_errors(self.path):
            self.db.close()
            if self._unused:
                journal_file.remove(self.path)
        if self._lock is not None:
            self._lock.close()

    # Taking up actions

    def begin(self) -> None:
        """Begin what is to be written as a whole, or not at all."""
        with translate_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Write what was done since ``begin``."""
        with translate_errors(self.path):
            self.db.execute("COMMIT")
        self._unused = False

    def roll_back(self) -> None:
        """Forget what was done since ``begin``."""
        with contextlib.suppress(sqlite3.Error):  # of some failures SQLite has rolled back by itself
            self.db.execute("ROLLBACK")
            self._stored = _read_stored(self.db)
        self._classes.clear()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write what happens within as a whole, or not at all."""
        self.begin()
        try:
            with translate_errors(self.path):
                yield
                self.db.execute("COMMIT")
        except BaseException:
            self.roll_back()
            raise

    def is_empty(self) -> bool:
        """Tell whether it has neither rows nor groups."""
        with translate_errors(self.path):
            return not self.db.execute("SELECT EXISTS (SELECT 1 FROM rows UNION SELECT 1 FROM groups)").fetchone()[0]

    def track_listed(self) -> None:
        """Remember from now on what of an earlier run is given again: its rows, or its groups if it has any."""
        with translate_errors(self.path):
            self._listed = Listed(self.db, "rows" if self.kind == "cleanup" else "groups")

    def add(self, actions: Iterable[Action], *, group_id: int = 0, step: int = 0) -> dict[str, int]:
        """Take up the actions that aren't here yet, and return how many of each name those were. ``begin`` goes before.

        Raises:
            InvalidArgumentError: Actions of that class can't be kept.
        """
        alike: defaultdict[type[Action], list[Action]] = defaultdict(list)
        for action in actions:
            alike[type(action)].append(action)
        insert = (
            "INSERT OR IGNORE INTO rows (group_id, step, class_id, fields, state, at)"
            " SELECT ?, ?, ?, value, 'w', ? FROM json_each(?)"
        )
        new: Counter[str] = Counter()
        with translate_errors(self.path):
            for kind, same in alike.items():
                if self._classes.get(kind.name) is not kind:
                    self._learn(same[0])
                number, array = self._stored[kind.name].id, to_text(same, self._stored[kind.name].fields)
                if not group_id:
                    self.note_listed(_SAME_ROWS, array, number)
                new[kind.name] += self.db.execute(insert, (group_id, step, number, now(), array)).rowcount
        return new

    def note_listed(self, query: str, *values: object) -> None:
        """Note as given again what a query finds, if that is tracked. See ``Listed.add``."""
        if self._listed is not None:
            self._listed.add(query, *values)

    @property
    def listed(self) -> Listed:
        """What was given again since ``track_listed``."""
        if self._listed is None:
            raise RuntimeError("track_listed goes before")
        return self._listed

    def count_missing(self) -> int:
        """Count what is open from an earlier run, and wasn't given again since ``track_listed``."""
        with translate_errors(self.path):
            return self.listed.count_missing()

    def missing(self, count: int) -> tuple[Action, ...]:
        """Return so many of those actions."""
        with translate_errors(self.path):
            found = self.listed.missing("class_id, fields", count)
        return tuple(self._build(number, json.loads(fields)) for number, fields in found)

    def missing_groups(self, count: int) -> tuple[str, ...]:
        """Return the names of so many of those groups."""
        with translate_errors(self.path):
            return tuple(name for (name,) in self.listed.missing("name", count))

    def drop_missing(self) -> None:
        """Forget all of that."""
        with translate_errors(self.path):
            self.listed.drop_missing()

    def reopen(self, state: State) -> None:
        """Have what came to an end in a state sent once more."""
        letter = _LETTERS[state]
        with translate_errors(self.path):
            self.db.execute("DELETE FROM codes WHERE id IN (SELECT id FROM rows WHERE state = ?)", (letter,))
            self.db.execute("UPDATE rows SET state = 'w', at = ? WHERE state = ?", (now(), letter))

    # Sending

    def find_class(self, name: str) -> type[Action]:
        """Return the class of actions that it holds.

        Raises:
            JournalError: The program has none of that name, or one with other fields.
        """
        kind = self._classes.get(name)
        if kind is None:
            kind = self._classes[name] = class_of(name, self._stored[name].fields, self.path)
        return kind

    def open_rows(self, name: str, after: int, count: int) -> list[Row]:
        """Return the next open rows of an action, by ID. ``after`` is the last one had before."""
        # In one step, all as one text.
        query = (
            "SELECT json_group_array(json_array(id, json(fields), state, group_id)) FROM (SELECT * FROM rows"
            " NOT INDEXED WHERE id > ? AND class_id = ? AND state IN ('w', 's') ORDER BY id LIMIT ?)"
        )
        with translate_errors(self.path):
            stored = self._stored[name]
            found = json.loads(self.db.execute(query, (after, stored.id, count)).fetchone()[0])
        rows = [Row(number, self._build(stored.id, values), _STATES[s], group) for number, values, s, group in found]
        rows.sort()
        return rows

    def write(self, marks: Sequence[Mark]) -> None:
        """Mark rows, all in one transaction."""
        alike: defaultdict[tuple[State, int], list[int]] = defaultdict(list)
        for number, mark in {mark.row.id: mark for mark in marks}.items():  # the last of each row counts
            alike[mark.state, mark.at].append(number)
        codes = [(m.row.id, m.code, m.message, m.request_id) for m in marks if m.code]
        with self.transaction():
            for (state, at), numbers in alike.items():
                update = "UPDATE rows SET state = ?, at = ? WHERE id IN (SELECT value FROM json_each(?))"
                self.db.execute(update, (_LETTERS[state], at, _to_array(numbers)))
            if codes:
                self.db.executemany("INSERT OR REPLACE INTO codes VALUES (?, ?, ?, ?)", codes)

    # Looking

    def tallies(self) -> dict[str, Tally]:
        """Count the actions of each name in each state."""
        tallies = {name: dict.fromkeys(State, 0) for name in self._stored}
        names = {stored.id: stored.name for stored in self._stored.values()}
        # Not by an index: it would be gone through at random.
        query = "SELECT class_id, state, count(*) FROM rows NOT INDEXED GROUP BY class_id, state"
        with translate_errors(self.path):
            for number, letter, count in self.db.execute(query):
                tallies[names[number]][_STATES[letter]] = count
        return {name: tally for name, tally in tallies.items() if any(tally.values())}

    def codes(self) -> list[CodeCount]:
        """Count what was not found and refused, by code, each with the first as an example."""
        query = (
            "SELECT count(*), min(id), class_id, fields, state, code, message, request_id, at"
            " FROM codes JOIN rows USING (id) WHERE state IN ('n', 'r') GROUP BY state, code"
        )
        with translate_errors(self.path):
            found = self.db.execute(query).fetchall()
        outcomes = [(count, self.to_outcome(*values)) for count, _, *values in found]
        return [CodeCount(example.state, example.code or 0, count, example) for count, example in outcomes]

    def page(self, states: Sequence[State], after: int, count: int) -> list[tuple[int, Outcome]]:
        """Return the next rows in some states with their IDs, by ID. ``after`` is the last one had before."""
        query = (
            "SELECT id, class_id, fields, state, code, message, request_id, at FROM rows NOT INDEXED"
            " LEFT JOIN codes USING (id) WHERE rows.id > ? AND state IN (SELECT value FROM json_each(?))"
            " ORDER BY rows.id LIMIT ?"
        )
        letters = _to_array([_LETTERS[state] for state in states])
        with translate_errors(self.path):
            found = self.db.execute(query, (after, letters, count)).fetchall()
        return [(number, self.to_outcome(*values)) for number, *values in found]

    # Within

    def _claim_for(self, app_id: int, host: str, kind: JobKind) -> None:
        if (self.app_id, self.host, self.kind) == (app_id, host, kind):
            return
        if self.is_empty():
            with translate_errors(self.path):
                self.db.execute("UPDATE job SET app_id = ?, host = ?, kind = ?", (app_id, host, kind))
            self.app_id, self.host, self.kind = app_id, host, kind
        elif (self.app_id, self.host) != (app_id, host):
            raise JournalError(
                f"{self.path} is the journal of AppId {self.app_id} at {self.host}, not of AppId {app_id} at"
                f" {host}; nothing was sent. Give another journal, or that application's credentials"
            )
        else:
            raise JournalError(
                f"{self.path} is the journal of another kind of job ({self.kind}, not {kind}); nothing was sent."
                " Give another journal"
            )

    def _learn(self, action: Action) -> None:
        """Take up the class of an action that is met for the first time."""
        kind, fields = type(action), field_names(type(action))
        check_class(action)
        stored = self._stored.get(action.name)
        if stored is None:
            insert = "INSERT INTO classes (name, fields) VALUES (?, ?) RETURNING id"
            with translate_errors(self.path):
                number = self.db.execute(insert, (action.name, json.dumps(fields))).fetchone()[0]
            self._stored[action.name] = _Class(number, action.name, fields)
        elif stored.fields != fields:
            raise InvalidArgumentError(
                f"{kind.__name__} has the fields {', '.join(fields)}, but {action.name} in {self.path} has"
                f" {', '.join(stored.fields)}. Begin a new journal"
            )
        self._classes[action.name] = kind

    def _build(self, class_id: int, values: Sequence[object]) -> Action:
        stored = next(stored for stored in self._stored.values() if stored.id == class_id)
        try:
            return from_values(self.find_class(stored.name), stored.fields, values)
        except (TypeError, ValueError) as error:
            problem = str(error)
        raise JournalError(damaged(self.path, problem))

    def to_outcome(
        self, class_id: int, fields: str, letter: str, code: int | None, message: str, request_id: str, at: int
    ) -> Outcome:
        state = _STATES[letter]
        code = code if code is not None or state in OPEN else 0
        action = self._build(class_id, json.loads(fields))
        return Outcome(action, state, code, message or "", request_id or "", to_datetime(at))


def _read_stored(db: sqlite3.Connection) -> dict[str, _Class]:
    found = db.execute("SELECT id, name, fields FROM classes").fetchall()
    return {name: _Class(number, name, tuple(json.loads(fields))) for number, name, fields in found}


def now() -> int:
    """Return the time in Unix milliseconds, as a journal keeps it."""
    return time.time_ns() // 1_000_000


_to_array: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
