"""What is said of a bulk job when it ends, or when its journal is looked at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from rich.table import Table

from .._text import escape_text
from ..actions import Action
from ..bulk import CodeCount, Outcome, Progress, State
from ._columns import to_row
from ._display import duration
from ._exit_codes import RESUME
from ._files import excerpt

OUTCOME_COLUMNS: Final = ("state", "code", "reason", "request_id")
_FIGURES: Final = ("read", "duplicates", "unlisted", "retried", "throttled", "interrupted")
_TITLES: Final = {State.SENT: "in flight or unknown", State.NOT_FOUND: "not found"}


def state_table(progress: Progress, title: str) -> Table:
    """Return a table of how many actions are in each state."""
    table = Table(title=title)
    table.add_column("")
    for name in progress.tallies:
        table.add_column(name, justify="right")
    for state in State:
        counts = (str(tally[state]) for tally in progress.tallies.values())
        table.add_row(_TITLES.get(state, state.value), *counts)
    table.add_row("all", *(str(progress.of(name).total) for name in progress.tallies), style="bold")
    return table


def report_line(progress: Progress) -> str:
    """Return what is to be said of a run besides the table."""
    return (
        f"{progress.read} read, {progress.duplicates} of them duplicates or known from before;"
        f" {progress.retried} retried, {progress.throttled} throttled; {duration(progress.seconds)}"
    )


def code_lines(progress: Progress) -> Iterator[str]:
    """Yield a line for each code that the server answered with, with an example."""
    for found in progress.codes:
        title = _TITLES.get(found.state, found.state.value)
        message = escape_text(found.example.message)
        yield f"{title}: {found.count} by code {found.code} ({message}), such as {row_text(found.example.action)}"


def row_text(action: Action) -> str:
    """Return an action as an example in a message."""
    return excerpt(" ".join(str(value) for value in to_row(action).values()))


def last_words(progress: Progress, *, app_id: int, ignore_not_found: bool, journal: str | None) -> Iterator[str]:
    """Yield what to do about a job that isn't simply done. Without a journal there is nowhere to look rows up."""
    if progress.remaining or progress.interrupted:
        yield "interrupted" if journal is None else RESUME
        return
    if progress.done == progress.total:
        yield f"all done: {progress.done}" if progress.total else "there were no rows"
    if journal is not None:
        for state in (State.REFUSED, State.NOT_FOUND):
            if progress.count(state) and not (ignore_not_found and state is State.NOT_FOUND):
                yield f"the rows: zim-async journal {shlex.quote(journal)} --export {state.value}"
    if progress.not_found and progress.not_found == progress.total:
        yield "nothing was done: all was not found"
        yield f"is AppId {app_id} the right application, and the type (peer, group) of the conversations right?"
    elif progress.not_found and not ignore_not_found:
        yield f"not found: {progress.not_found}; --ignore-not-found takes that for done"


def report_values(progress: Progress) -> dict[str, object]:
    """Return a job's figures for machines."""
    return {
        **{state.value: progress.count(state) for state in State},
        **{name: getattr(progress, name) for name in _FIGURES},
        "seconds": round(progress.seconds, 3),
        "actions": {name: {state.value: tally[state] for state in State} for name, tally in progress.tallies.items()},
        "codes": [_code_values(found) for found in progress.codes],
    }


def outcome_row(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as a row, ready to be fed to a new job."""
    reasons = {"state": outcome.state.value, "code": outcome.code}
    if outcome.code:
        reasons |= {"reason": outcome.message, "request_id": outcome.request_id}
    return {**to_row(outcome.action), **reasons}


def _code_values(found: CodeCount) -> dict[str, object]:
    return {
        "state": found.state.value,
        "code": found.code,
        "message": found.example.message,
        "count": found.count,
        "example": to_row(found.example.action),
    }
