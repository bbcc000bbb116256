"""Bulk jobs: hundreds of thousands of deletes that survive interruptions."""

from ._group_table import Group
from ._groups import History, Steps, run_groups, run_steps
from ._job import cleanup, plan
from ._reader import JournalReader, read_journal, read_summaries, remove_finished_journal
from ._records import CodeCount, Outcome, Progress, State

__all__ = [
    "CodeCount",
    "Group",
    "History",
    "JournalReader",
    "Outcome",
    "Progress",
    "State",
    "Steps",
    "cleanup",
    "plan",
    "read_journal",
    "read_summaries",
    "remove_finished_journal",
    "run_groups",
    "run_steps",
]
