"""What every bulk job is driven by: a journal, a lane for each action, the caller's callbacks, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from ..actions import Action
from ..client import ZimClient
from ._journal import JobKind, Journal
from ._journal_writer import JournalWriter
from ._lane import Attempt, Lane, Pace, Shared
from ._outage import Outage
from ._records import FINISHED, Mark, Outcome, Progress, State
from ._stop import Stop

T = TypeVar("T")
OnProgress: TypeAlias = Callable[[Progress], object]  # a coroutine function too
OnOutcome: TypeAlias = Callable[[Outcome], object]


class Engine:
    """One run of a bulk job.

    Attributes:
        stop: Ends the run.
        journal: Where the job is kept.
        read: Of the input so far. ``Progress`` says what this and the next ones mean.
        duplicates: Likewise.
        unlisted: Likewise.
        unlisted_examples: Likewise.
        groups: Likewise.
        groups_finished: Likewise.
        outages: Circuit breakers besides the lanes'.
        on_marks: Called with marks that were written.
        shared: What the lanes share.
    """

    def __init__(
        self,
        zim: ZimClient,
        on_progress: OnProgress | None = None,
        on_outcome: OnOutcome | None = None,
        pace: Pace | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        self.stop = Stop()
        self.journal = JournalWriter(self._tell, self.stop.set)
        self.read = self.duplicates = self.unlisted = 0
        self.unlisted_examples: tuple[Action, ...] = ()
        self.groups = self.groups_finished = 0
        self.outages: list[Outage] = []
        self.on_marks: Callable[[Sequence[Mark]], object] = lambda _: None
        self._zim = zim
        self._on_progress = on_progress
        self._on_outcome = on_outcome
        self.shared = Shared(zim.limiter.of, attempt or zim._caller.attempt, self.journal, self.stop, pace or Pace())
        self._lanes: dict[str, Lane] = {}
        self._started_at: float | None = None
        self._telling: asyncio.Future[object] | None = None
        self._callbacks_ended = False
        self._one_call = asyncio.Lock()
        self._running: asyncio.TaskGroup

    @contextlib.asynccontextmanager
    async def opened(self, path: Path, kind: JobKind) -> AsyncIterator[None]:
        """Have the journal open within, and all outcomes written when that ends."""
        async with self.journal.opened(path, self._zim.app_id, self._zim.host, kind):
            try:
                yield
            except asyncio.CancelledError:
                self._end_callbacks()
                raise
            finally:
                await self.journal.finish()

    @contextlib.asynccontextmanager
    async def ending_in_order(self, stop: asyncio.Event | None) -> AsyncIterator[None]:
        """Within, heed the caller's wish to stop. Afterwards, raise the error that ended the job if there was one."""
        helpers = [asyncio.create_task(self._end_lanes())]
        if stop is not None:
            helpers.append(asyncio.create_task(self._obey(stop)))
        try:
            yield
        finally:
            for helper in helpers:
                helper.cancel()
        if self.stop.error is not None:
            raise self.stop.error

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send the journal's open rows, each action in a lane of its own, and wait for the last of them at the end.

        Within, rows may be added: see ``add_rows``.
        """
        progress = self.progress()
        names = [name for name in progress.tallies if progress.of(name).remaining]
        for name in names:
            await self.journal.do(Journal.find_class, name)  # before anything is sent
        self._started_at = time.monotonic()
        await self.tell_progress()
        if progress.remaining:
            since = max(0.0, time.time() - self.journal.last_written)
            await self.stop.pause(self.shared.pace.settling - since)
        async with asyncio.TaskGroup() as self._running:
            self.shared.growing = True
            for name in names:
                self._open_lane(name)
            try:
                yield
            finally:
                self.shared.growing = False
                for lane in self._lanes.values():
                    lane.wake()

    def add_rows(self, counts: Mapping[str, int]) -> None:
        """Have rows sent that were added to the journal meanwhile, so many of each name."""
        self.journal.count_new(counts)
        for name in counts:
            if name in self._lanes:
                self._lanes[name].wake()
            else:
                self._open_lane(name)

    def _open_lane(self, name: str) -> None:
        self._lanes[name] = Lane(name, self.shared)
        self._running.create_task(self._lanes[name].run())

    def progress(self) -> Progress:
        """Return how far the job has come."""
        lanes = self._lanes.values()
        outages = (outage.reason for outage in (*(lane.outage for lane in lanes), *self.outages))
        progress = Progress(
            tallies=self.journal.tallies,
            codes=self.journal.codes,
            read=self.read,
            duplicates=self.duplicates,
            unlisted=self.unlisted,
            unlisted_examples=self.unlisted_examples,
            retried=sum(lane.retried for lane in lanes),
            throttled=sum(lane.throttled for lane in lanes),
            seconds=0.0 if self._started_at is None else time.monotonic() - self._started_at,
            outage=next((reason for reason in outages if reason is not None), None),
            groups=self.groups,
            groups_finished=self.groups_finished,
        )
        unfinished = self._started_at is None or progress.remaining > 0 or self.groups_finished < self.groups
        return replace(progress, interrupted=self.stop.is_set() and unfinished)

    # Telling the caller

    async def _tell(self, marks: Sequence[Mark]) -> None:
        """Tell of marks that were written."""
        self.on_marks(marks)
        if self._on_outcome is not None:
            for mark in marks:
                if mark.state in FINISHED:
                    await self.call(self._on_outcome, mark.outcome())
        if any(mark.before is State.SENT for mark in marks):
            await self.tell_progress()

    async def tell_progress(self) -> None:
        """Call the caller's function with how far the job has come."""
        if self._on_progress is not None:
            await self.call(self._on_progress, self.progress())

    async def call(self, function: Callable[[T], object], value: T) -> None:
        """Call one of the caller's functions, one call at a time. What it raises ends the job."""
        try:
            async with self._one_call:
                if self._callbacks_ended:
                    return
                result = function(value)
                if inspect.isawaitable(result):
                    self._telling = asyncio.ensure_future(result)
                    await self._telling
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            self._end_callbacks()
            self.stop.set(error)

    def _end_callbacks(self) -> None:
        self._callbacks_ended = True
        if self._telling is not None:
            self._telling.cancel()

    # Ending

    async def _obey(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.stop.set()

    async def _end_lanes(self) -> None:
        await self.stop.wait()
        for lane in self._lanes.values():
            lane.wake()
        await self._zim.limiter.abandon(self.shared, "the job ends; this call was not sent")


@contextlib.contextmanager
def path_of(journal: str | os.PathLike[str] | None, *, existing: bool = False) -> Iterator[Path]:
    """Have a path for the journal: a temporary one if there is no name, or no such file where one is to exist."""
    if journal is not None and (not existing or Path(journal).exists()):
        yield Path(journal)
        return
    with tempfile.TemporaryDirectory(prefix="zim_async-") as directory:
        yield Path(directory, "journal")


def is_being_cancelled() -> bool:
    """Tell whether a cancellation that reaches the current task was meant for it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
