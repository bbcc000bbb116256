"""The groups of a journal: which step each has reached, and what is to be said of it in the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ..actions import Action
from ._journal import Journal
from ._journal_file import translate_errors
from ._records import Outcome


class Group(NamedTuple):
    """An open group. ``step`` is the number of steps that were begun."""

    id: int
    name: str
    step: int


def add(journal: Journal, names: Sequence[str]) -> int:
    """Take up the groups that aren't here yet, and return how many those were. ``begin`` goes before."""
    array = json.dumps(names, ensure_ascii=False)
    insert = "INSERT OR IGNORE INTO groups (name, step, state) SELECT value, 0, 'o' FROM json_each(?)"
    with translate_errors(journal.path):
        journal.note_listed("FROM json_each(?) CROSS JOIN groups ON name = value WHERE state = 'o'", array)
        return journal.db.execute(insert, (array,)).rowcount


def count(journal: Journal) -> tuple[int, int]:
    """Return the number of groups, and of those that are finished."""
    with translate_errors(journal.path):
        found = journal.db.execute("SELECT count(*), coalesce(sum(state = 'f'), 0) FROM groups").fetchone()
    return int(found[0]), int(found[1])


def open_groups(journal: Journal, after: int, most: int) -> list[Group]:
    """Return the next open groups, by ID. ``after`` is the last one had before."""
    query = "SELECT id, name, step FROM groups WHERE id > ? AND state = 'o' ORDER BY id LIMIT ?"
    with translate_errors(journal.path):
        return [Group(*found) for found in journal.db.execute(query, (after, most)).fetchall()]


def count_open_rows(journal: Journal, group: Group) -> int:
    """Count what is open of a group's last step."""
    query = "SELECT count(*) FROM rows WHERE group_id = ? AND step = ? AND state IN ('w', 's')"
    with translate_errors(journal.path):
        return int(journal.db.execute(query, (group.id, group.step - 1)).fetchone()[0])


def outcomes(journal: Journal, group: Group, *, all_steps: bool = False) -> list[Outcome]:
    """Return the outcomes of a group's last step, or of all its steps."""
    query = (
        "SELECT class_id, fields, state, code, message, request_id, at FROM rows LEFT JOIN codes USING (id)"
        " WHERE group_id = ? AND step BETWEEN ? AND ? ORDER BY rows.id"
    )
    last = group.step - 1
    with translate_errors(journal.path):
        found = journal.db.execute(query, (group.id, 0 if all_steps else last, last)).fetchall()
    return [journal.to_outcome(*values) for values in found]


def begin_step(journal: Journal, group: Group, actions: Sequence[Action]) -> dict[str, int]:
    """Take up the actions of a group's next step as a whole, and return how many of each name there are."""
    with journal.transaction():
        new = journal.add(actions, group_id=group.id, step=group.step)
        journal.db.execute("UPDATE groups SET step = ? WHERE id = ?", (group.step + 1, group.id))
    return new


def finish(journal: Journal, group: Group, summary: str | None) -> None:
    """Close a group, with what is to be said of it."""
    with journal.transaction():
        journal.db.execute("UPDATE groups SET state = 'f' WHERE id = ?", (group.id,))
        if summary is not None:
            insert = "INSERT INTO summaries (group_id, summary) VALUES (?, ?)"
            journal.db.execute(insert, (group.id, summary))


def summaries(journal: Journal, after: int, most: int) -> list[tuple[int, str]]:
    """Return the next summaries with their IDs, in the order in which groups were finished."""
    query = "SELECT id, summary FROM summaries WHERE id > ? ORDER BY id LIMIT ?"
    with translate_errors(journal.path):
        return [(int(number), str(text)) for number, text in journal.db.execute(query, (after, most)).fetchall()]
