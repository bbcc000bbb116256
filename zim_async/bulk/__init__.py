"""Bulk jobs: hundreds of thousands of deletes that survive interruptions.

```python
import asyncio
from collections.abc import AsyncIterable

from zim_async import ConvType, DeleteConv, Progress, ZimClient, cleanup


async def leave_groups(
    zim: ZimClient, members: AsyncIterable[tuple[str, str]], stop: asyncio.Event | None = None
) -> Progress:
    # Takes groups off their members' lists. Run it again after any interruption, and it resumes.
    return await cleanup(
        zim,
        (DeleteConv(user_id, group_id, ConvType.GROUP) async for user_id, group_id in members),
        journal="leave-groups.journal",
        on_progress=lambda progress: print(progress.done, "done,", progress.remaining, "to go"),
        on_outcome=lambda outcome: print(outcome.action, outcome.state),  # after it is on disk
        stop=stop,  # when it is set, nothing more is sent
    )
```
"""

from ._engine import OnProgress, path_of
from ._group_job import History, Steps
from ._group_table import Group
from ._groups import run_groups, run_steps
from ._job import cleanup, plan
from ._journal_file import journal_files
from ._reader import JournalReader, read_journal, read_summaries, remove_finished_journal
from ._records import CodeCount, Outcome, Progress, State

__all__ = [
    "CodeCount",
    "Group",
    "History",
    "JournalReader",
    "OnProgress",
    "Outcome",
    "Progress",
    "State",
    "Steps",
    "cleanup",
    "journal_files",
    "path_of",
    "plan",
    "read_journal",
    "read_summaries",
    "remove_finished_journal",
    "run_groups",
    "run_steps",
]
