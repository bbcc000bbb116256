"""Jobs of many small parts: each group of actions goes step by step, and each step depends on the one before.

1. All groups are read into the journal, as a whole or not at all, before anything is sent.
2. A number of groups are active at a time, so that all quotas are at work and memory stays flat.
3. The caller is asked for a group's next step when everything of its last one is settled. What it returns is written
   in one transaction before anything of it is sent. Nothing returned means that the group is finished.
4. After a crash open rows are sent, and settled groups are asked again: the caller may be asked twice for a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from .._text import show_value
from ..actions import Action
from ..errors import InvalidArgumentError, NotFoundError, ZimError
from . import _group_table as table
from ._engine import Engine, is_being_cancelled, path_of
from ._group_table import Group
from ._input import Source, batches, check_actions
from ._job import EXAMPLES, Options, Unlisted
from ._journal import JobKind, Journal
from ._outage import Outage
from ._records import FINISHED, Mark, Outcome, Progress

History: TypeAlias = Callable[[], Awaitable[list[Outcome]]]

ACTIVE: Final = 100  # groups
PAGE: Final = 500  # groups read at a time


class Steps(Protocol):
    """What the groups of a job do, for those who need more than ``run_groups`` offers."""

    async def next(self, group: Group, outcomes: Sequence[Outcome], history: History) -> Sequence[Action]:
        """Return the actions of a group's next step, or an empty sequence when it is finished.

        Args:
            group: Its name, and as ``step`` the number of the next step from 0.
            outcomes: Those of the step before.
            history: Returns those of all steps, when it is awaited.
        """

    def summary(self, group: Group) -> str | None:
        """Return what the journal is to say of a group that is finished. ``read_summaries`` has it.

        Args:
            group: The group.
        """

    async def finished(self, group: Group) -> None:
        """Take note that a group's end is on disk.

        Args:
            group: The group.
        """

    def counts_as_done(self, action: Action, error: NotFoundError) -> bool:
        """Return whether an action that was not found has nothing left to do.

        Args:
            action: The action.
            error: The server's word.
        """

    def waits_out(self, error: ZimError) -> bool:
        """Return whether ``next`` is to be called again later after an error, instead of ending the job.

        Args:
            error: What ``next`` raised.
        """


class GroupJob:
    """One run of a job of groups."""

    def __init__(self, engine: Engine, steps: Steps, *, kind: JobKind = "groups", active: int = ACTIVE) -> None:
        self._engine = engine
        self._steps = steps
        self._kind: JobKind = kind
        self._active = active
        self._groups: deque[Group] = deque()  # read, and not yet active
        self._last_id = 0  # of those read
        self._reading = asyncio.Lock()
        self._open: Counter[int] = Counter()  # rows of active groups, by ID: never more than there are
        self._signals: dict[int, asyncio.Event] = {}  # of active groups
        self._outage = Outage(engine.shared.pace.backoff, engine.stop.wake)  # of what steps ask the server
        self._probing = asyncio.Lock()
        engine.on_marks = self._note
        engine.outages.append(self._outage)
        engine.shared.counts_as_done = steps.counts_as_done

    async def run(
        self,
        groups: Source[str],
        journal: str | os.PathLike[str] | None = None,
        stop: asyncio.Event | None = None,
        options: Options | None = None,
    ) -> Progress:
        """Load the groups, and drive them until all are finished or the job ends."""
        engine, unlisted = self._engine, (options or Options()).unlisted
        async with engine.ending_in_order(stop), contextlib.aclosing(batches(groups)) as source:
            first = await engine.stop.race(anext(source, []))
            with path_of(journal) as path:
                async with engine.opened(path, self._kind):
                    loaded = first is not None and await engine.stop.race(self._load(first, source, unlisted))
                    await self._count()
                    if loaded:
                        async with engine.sending(), asyncio.TaskGroup() as drivers:
                            for _ in range(self._active):
                                drivers.create_task(self._drive_groups())
                        await engine.tell_progress()
        return engine.progress()

    async def _load(self, first: list[str], source: AsyncGenerator[list[str], None], unlisted: Unlisted) -> bool:
        journal = self._engine.journal
        async with journal.transaction():
            await journal.do(Journal.track_listed)
            await self._add(first)
            async for batch in source:
                await self._add(batch)
            await self._compare(unlisted)
        return True

    async def _add(self, names: list[str]) -> None:
        for name in names:
            if not _is_name(name):
                raise InvalidArgumentError(
                    f"a group is named by a non-empty str, not {show_value(name)}; nothing was sent"
                )
        new = await self._engine.journal.do(table.add, names)
        self._engine.read += len(names)
        self._engine.duplicates += len(names) - new

    async def _compare(self, unlisted: Unlisted) -> None:
        """Decide on the groups that are open from an earlier run and not in the input."""
        engine = self._engine
        engine.unlisted = await engine.journal.do(Journal.count_missing)
        if engine.unlisted and unlisted == "drop":
            await engine.journal.do(Journal.drop_missing)
            engine.unlisted = 0
        elif engine.unlisted and unlisted == "error":
            examples = await engine.journal.do(Journal.missing_groups, EXAMPLES)
            raise InvalidArgumentError(
                f"groups that are open in the journal and not in the input: {engine.unlisted}, such as"
                f" {' and '.join(map(ascii, examples))}; nothing was sent."
                " If they are still meant, give unlisted='send' (--resume); if not, unlisted='drop'"
            )

    async def _count(self) -> None:
        engine = self._engine
        await engine.journal.count()
        engine.groups, engine.groups_finished = await engine.journal.do(table.count)

    # Driving

    async def _drive_groups(self) -> None:
        """Drive one group after another."""
        try:
            while (group := await self._next_group()) is not None:
                await self._drive(group)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            self._engine.stop.set(error)

    async def _next_group(self) -> Group | None:
        async with self._reading:
            if not self._groups:
                self._groups.extend(await self._engine.journal.do(table.open_groups, self._last_id, PAGE))
            if not self._groups or self._engine.stop.is_set():
                return None
            group = self._groups.popleft()
            self._last_id = group.id
            return group

    async def _drive(self, group: Group) -> None:
        """Take a group from step to step until it is finished, or the job ends."""
        engine = self._engine
        self._signals[group.id] = asyncio.Event()
        while await self._settled(group):
            actions = await self._next_step(group)
            if actions is None:
                break
            if not actions:
                await self._finish(group)
                break
            engine.add_rows(await engine.journal.do(table.begin_step, group, actions))
            group = group._replace(step=group.step + 1)
        del self._signals[group.id], self._open[group.id]

    async def _settled(self, group: Group) -> bool:
        """Wait until everything of a group's last step is settled, and tell whether the job goes on."""
        signal = self._signals[group.id]
        while not self._engine.stop.is_set():
            signal.clear()
            self._open[group.id] = 0
            count = await self._engine.journal.do(table.count_open_rows, group)
            if not count:
                return True
            # What was settled since the count was subtracted already; what was settled just before it, too. So this
            # may be too low, and then the count is taken again.
            self._open[group.id] += count
            if self._open[group.id] > 0:
                await self._engine.stop.race(signal.wait())
        return False

    def _note(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            group_id = mark.row.group_id
            if group_id in self._signals and mark.state in FINISHED:
                self._open[group_id] -= 1
                if self._open[group_id] <= 0:
                    self._signals[group_id].set()

    async def _next_step(self, group: Group) -> list[Action] | None:
        """Return a group's next step, or None when the job ends before."""
        while not self._engine.stop.is_set():
            if self._outage.reason is None:
                actions = await self._ask(group, probe=False)
            else:
                async with self._probing:
                    if self._outage.reason is None:
                        continue
                    await self._outage.wait(self._engine.stop)
                    actions = await self._ask(group, probe=True)
            if actions is not None:
                return actions
        return None

    async def _ask(self, group: Group, *, probe: bool) -> list[Action] | None:
        """Ask for a group's next step. Return None when the job ends, or when that is to be asked again."""
        do, stop = self._engine.journal.do, self._engine.stop
        outcomes = await do(table.outcomes, group) if group.step else []
        try:
            actions = await stop.race(
                self._steps.next(group, outcomes, lambda: do(table.outcomes, group, all_steps=True))
            )
        except ZimError as error:
            if not self._steps.waits_out(error):
                raise
            self._outage.fail(error)
            return None
        self._outage.recover(probe=probe)
        return None if actions is None and stop.is_set() else _checked(actions, group)

    async def _finish(self, group: Group) -> None:
        await self._engine.journal.do(table.finish, group, self._steps.summary(group))
        self._engine.groups_finished += 1
        await self._steps.finished(group)


def _checked(actions: object, group: Group) -> list[Action]:
    if not isinstance(actions, Sequence):
        raise InvalidArgumentError(f"a step must be a sequence of actions, not {show_value(actions)}")
    check_actions(actions, f"nothing of step {group.step} of {show_value(group.name)} was sent")
    return list(actions)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != "" and not any("\ud800" <= character <= "\udfff" for character in value)
