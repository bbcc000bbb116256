"""A journal for those who look at it, later or while its job runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ._group_table import count, summaries
from ._journal import Journal
from ._journal_file import lock, remove, translate_errors
from ._records import CodeCount, Outcome, State, Tally, sort_codes

PAGE: Final = 1_000  # rows


@dataclass(frozen=True, slots=True)
class JournalReader:
    """What a journal holds. Iterate it for the outcomes, those of each action in the order of the job's input.

    Attributes:
        path: The journal's file.
        app_id: The application whose job it is.
        host: The server's name.
        tallies: How many actions were in each state when it was opened, by action name.
        codes: What was not found and refused by then, by return code.
        states: What is iterated.
    """

    path: Path
    app_id: int
    host: str
    tallies: Mapping[str, Tally]
    codes: tuple[CodeCount, ...]
    states: tuple[State, ...]

    def __iter__(self) -> Iterator[Outcome]:
        """Yield the outcomes page by page: between two pages nothing is open that a running job would wait for."""
        after = 0
        while True:
            with Journal.view(self.path) as journal:
                page = journal.page(self.states, after, PAGE)
            yield from (outcome for _, outcome in page)
            if len(page) < PAGE:
                return
            after = page[-1][0]


def read_journal(path: str | os.PathLike[str], *states: State) -> JournalReader:
    """Open the journal of a bulk job to read it, also while the job runs.

    Args:
        path: The journal's file.
        *states: The states of the actions to iterate, or none for all.

    Returns:
        The journal's counts, and an iterable of its outcomes. Reading blocks.

    Raises:
        JournalError: It is no journal, damaged, can't be read, or holds actions whose class isn't imported.

    Example:
        for outcome in read_journal("job.journal", State.REFUSED, State.NOT_FOUND):
            print(outcome.action, outcome.code, outcome.message)
    """
    with Journal.view(path) as journal:
        codes = sort_codes(journal.codes())
        return JournalReader(
            journal.path, journal.app_id, journal.host, journal.tallies(), codes, states or tuple(State)
        )


def read_summaries(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield what the journal says of the groups that are finished, in the order in which they were.

    Args:
        path: The journal's file.

    Yields:
        What ``Steps.summary`` returned.

    Raises:
        JournalError: It is no journal, damaged, or can't be read.
    """
    after = 0
    while True:
        with Journal.view(path) as journal:
            page = summaries(journal, after, PAGE)
        yield from (summary for _, summary in page)
        if len(page) < PAGE:
            return
        after = page[-1][0]


def remove_finished_journal(path: str | os.PathLike[str]) -> bool:
    """Remove a journal that nobody could ask anything of: all its actions are done.

    It happens under the journal's lock, whose file stays.

    Args:
        path: The journal's file.

    Returns:
        Whether it was removed. It is kept while any action or group is open, or any action not found or refused.

    Raises:
        JournalError: Another process has it, or it is no journal.
    """
    path = Path(os.path.realpath(path))
    if not path.exists():
        return False
    held = lock(path)
    try:
        with translate_errors(path):
            if not path.exists():
                return False
            with Journal.view(path) as journal:
                tallies, (groups, groups_finished) = journal.tallies(), count(journal)
            finished = all(set(+Counter(tally)) <= {State.DONE} for tally in tallies.values())
            finished = finished and groups == groups_finished
            if finished:
                remove(path)
    finally:
        held.close()
    return finished
