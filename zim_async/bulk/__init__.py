"""Bulk jobs: hundreds of thousands of deletes that survive interruptions."""

from ._job import cleanup, plan
from ._reader import JournalReader, read_journal, remove_finished_journal
from ._records import CodeCount, Outcome, Progress, State

__all__ = [
    "CodeCount",
    "JournalReader",
    "Outcome",
    "Progress",
    "State",
    "cleanup",
    "plan",
    "read_journal",
    "remove_finished_journal",
]
