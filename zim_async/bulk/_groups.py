"""Jobs of groups of actions, as users start them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..actions import Action
from ..client import ZimClient
from ..errors import NotFoundError, ZimError
from ._engine import Engine, OnOutcome, OnProgress
from ._group_job import GroupJob, History, Steps
from ._group_table import Group
from ._input import Source
from ._job import Options, Unlisted
from ._journal import JobKind
from ._records import Outcome, Progress

NextStep: TypeAlias = Callable[[str, int, Sequence[Outcome]], Awaitable[Sequence[Action]]]


async def run_groups(
    zim: ZimClient,
    groups: Source[str],
    next_step: NextStep,
    *,
    journal: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    on_outcome: OnOutcome | None = None,
    stop: asyncio.Event | None = None,
    unlisted: Unlisted = "error",
) -> Progress:
    """Send groups of actions step by step, each step once everything of the one before has its outcome.

    Args:
        zim: The client to send with.
        groups: The groups' names: an iterable or async iterable of str.
        next_step: A coroutine function that is given a group's name, the number of its next step from 0, and the
            outcomes of the step before, refusals and not-founds included. It returns the actions of the step, or an
            empty sequence when the group is finished. After a crash it may be asked twice for one step.
        journal: As for ``cleanup``.
        on_progress: As for ``cleanup``.
        on_outcome: As for ``cleanup``.
        stop: As for ``cleanup``. A ``next_step`` that is running then is cancelled.
        unlisted: As for ``cleanup``, of groups that aren't finished.

    Returns:
        Where the job stands.

    Raises:
        InvalidArgumentError: A group isn't a non-empty str, or a step has what can't be sent or repeated.
        JournalError: As for ``cleanup``. The journal of another kind of job too.
        ZimError: As for ``cleanup``.

        What ``groups``, ``next_step`` and the callbacks raise ends the job too. What is settled until then stays.

    Example:
        async def leave(user: str, step: int, outcomes: Sequence[Outcome]) -> Sequence[Action]:
            if step == 0:
                return [ClearMemberGroupMessage(user, "g7")]
            if step == 1 and all(outcome.state is State.DONE for outcome in outcomes):
                return [DeleteConv(user, "g7", ConvType.GROUP)]
            return []

        await run_groups(zim, ["alice", "bob"], leave, journal="leave.journal")
    """
    return await run_steps(
        zim,
        groups,
        _Plain(next_step),
        journal=journal,
        on_progress=on_progress,
        on_outcome=on_outcome,
        stop=stop,
        unlisted=unlisted,
    )


async def run_steps(
    zim: ZimClient,
    groups: Source[str],
    steps: Steps,
    *,
    kind: JobKind = "groups",
    journal: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    on_outcome: OnOutcome | None = None,
    stop: asyncio.Event | None = None,
    unlisted: Unlisted = "error",
) -> Progress:
    """Do what ``run_groups`` does, with all that ``Steps`` offers.

    Args:
        zim: As for ``run_groups``.
        groups: As for ``run_groups``.
        steps: What each group does.
        kind: What a journal is to call this kind of job. It can't be resumed as one of another kind.
        journal: As for ``run_groups``.
        on_progress: As for ``run_groups``.
        on_outcome: As for ``run_groups``.
        stop: As for ``run_groups``.
        unlisted: As for ``run_groups``.

    Returns:
        Where the job stands.

    Raises:
        ZimError: As for ``run_groups``.
    """
    engine = Engine(zim, on_progress, on_outcome)
    return await GroupJob(engine, steps, kind=kind).run(groups, journal, stop, Options(unlisted))


@dataclass(frozen=True, slots=True)
class _Plain:
    next_step: NextStep

    async def next(self, group: Group, outcomes: Sequence[Outcome], _history: History) -> Sequence[Action]:
        return await self.next_step(group.name, group.step, outcomes)

    def summary(self, _group: Group) -> None:
        return None

    async def finished(self, _group: Group) -> None:
        return None

    def counts_as_done(self, _action: Action, _error: NotFoundError) -> bool:
        return False

    def waits_out(self, _error: ZimError) -> bool:
        return False
