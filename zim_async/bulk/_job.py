"""Bulk jobs: hundreds of thousands of deletes, at bulk priority, that survive whatever happens on the way.

One job, from top to bottom: all actions are read into the journal, as a whole or not at all; then each action's
lane claims rows, waits for a permit for each, and sends, both lanes side by side; outcomes are written to the
journal as they come, and count from then on. What failed in passing goes back and is sent again in the lane's
next pass. Memory doesn't grow with the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from .._codes import Verdict, verdict_of
from ..actions import ACTIONS, KINDS, Action
from ..client import ZimClient
from ..errors import (
    ApiError,
    ClosedError,
    InvalidArgumentError,
    JournalError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    TransportError,
    ZimError,
)
from ..limits import ActionLimiter, Permit
from ._journal_writer import AsyncJournal
from ._outage import FIRST_PAUSE, LONGEST_PAUSE, Outage
from ._progress import Progress
from ._records import Outcome, Row, State

Actions: TypeAlias = Iterable[Action] | AsyncIterable[Action]

READ_AT_ONCE: Final = 1_000  # actions
CLAIM_SECONDS: Final = 0.05  # of the quota, claimed at once: what a crash would leave marked as sent, but wasn't
MOST_CLAIMED: Final = 500
MOST_IN_FLIGHT: Final = 100  # calls of one action
SETTLING_SECONDS: Final = 1.0  # since an earlier run's last words, whose calls the server counts for so long


async def cleanup(
    client: ZimClient,
    actions: Actions,
    *,
    journal: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    stop: asyncio.Event | None = None,
) -> Progress:
    """Have every action done that is given, or still open in the journal, and return where the journal stands.

    All are read before the first is sent, at bulk priority and the whole quota; what fails in passing is
    repeated until the server answers for good, and outages are waited out. ``journal`` names the file that remembers
    (see the module ``journal``): run the same again after any interruption, and the job goes on; without one it
    can't. ``on_progress`` is called when all are read, and each time that outcomes were written; what it raises
    ends the job. ``stop``, once set, drains: nothing more is sent, what is in flight is awaited and recorded.
    Raises what every call would meet (``AuthenticationError``, say), ``JournalError``, ``ClosedError``, and
    ``InvalidArgumentError`` for what is no action; what was answered until then is in the journal.
    """
    with _path_of(journal) as path:
        return await _Job(client, on_progress).run(actions, path, stop)


async def plan(client: ZimClient, actions: Actions, *, journal: str | os.PathLike[str] | None = None) -> Progress:
    """Return where ``cleanup`` would begin, sending nothing and leaving the journal as it is.

    It needs the journal to itself. Raises ``JournalError`` and ``InvalidArgumentError``.
    """
    job = _Job(client, None)
    with _path_of(journal, existing=True) as path:
        async with job.opened(path):
            await job.load(actions, keep=False)
            return job.progress()


@contextlib.contextmanager
def _path_of(journal: str | os.PathLike[str] | None, *, existing: bool = False) -> Iterator[Path]:
    """Have a path for the journal: a temporary one if there is no name, or no such file where one is to exist."""
    if journal is not None and (not existing or Path(journal).exists()):
        yield Path(journal)
        return
    with tempfile.TemporaryDirectory(prefix="zim_async-") as directory:
        yield Path(directory, "journal")


class _Job:
    """One run of a job. ``Progress`` says what its counts mean."""

    def __init__(self, client: ZimClient, on_progress: Callable[[Progress], object] | None) -> None:
        self._client = client
        self._on_progress = on_progress
        self._journal = AsyncJournal(self._report, self._end)
        self._read = self._duplicates = self._retried = self._rate_refusals = 0
        self._started_at: float | None = None
        self._ending = asyncio.Event()
        self._error: Exception | None = None
        self._outage = Outage()
        self._probing = asyncio.Lock()

    async def run(self, actions: Actions, path: Path, stop: asyncio.Event | None) -> Progress:
        async with self.opened(path):
            helpers = [asyncio.create_task(self._give_up_turns())]
            if stop is not None:
                helpers.append(asyncio.create_task(self._obey(stop)))
            try:
                if not await self._unless_ending(self.load(actions, keep=True)):
                    await self._journal.count()
                else:
                    self._report()
                    since = max(0.0, time.time() - self._journal.last_written)
                    await self._pause(SETTLING_SECONDS - since)
                    async with asyncio.TaskGroup() as lanes:
                        for name in ACTIONS:
                            lanes.create_task(self._run_lane(name))
            finally:
                for helper in helpers:
                    helper.cancel()
                await self._journal.written()
        if self._error is not None:
            raise self._error
        return self.progress()

    def opened(self, path: Path) -> contextlib.AbstractAsyncContextManager[None]:
        """Have the journal open within."""
        return self._journal.opened(path, self._client.app_id, self._client.host)

    async def load(self, actions: Actions, *, keep: bool) -> None:
        """Read the actions into the journal, all or none; only count them unless they are to be kept."""
        await self._journal.begin()
        kept = False
        try:
            async with contextlib.aclosing(_batches(actions)) as batches:
                async for batch in batches:
                    new = await self._journal.add(batch)
                    self._read += len(batch)
                    self._duplicates += len(batch) - new
            await self._journal.count()
            if keep:
                await self._journal.commit()
                kept = True
        finally:
            if not kept:
                await self._journal.roll_back()
        self._started_at = asyncio.get_running_loop().time()

    def progress(self) -> Progress:
        now = asyncio.get_running_loop().time()
        tallies = self._journal.tallies
        unfinished = self._started_at is None or any(tally.remaining for tally in tallies.values())
        return Progress(
            tallies=tallies,
            read=self._read,
            duplicates=self._duplicates,
            retried=self._retried,
            rate_refusals=self._rate_refusals,
            seconds=0.0 if self._started_at is None else now - self._started_at,
            outage=self._outage.reason,
            interrupted=self._ending.is_set() and unfinished,
        )

    # Sending

    async def _run_lane(self, name: str) -> None:
        """Send an action's rows, and those that failed in passing again, until all have come to an end."""
        pause, finished = FIRST_PAUSE, self._journal.tallies[name].finished
        sent = await self._run_pass(name)
        while sent and not self._ending.is_set():
            await self._journal.written()  # else what is done would be claimed again
            before, finished = finished, self._journal.tallies[name].finished
            if finished > before:
                pause = FIRST_PAUSE
            else:  # some actions can fail time and again while others don't: that is no outage, but no hurry either
                await self._pause(pause)
                pause = min(2.0 * pause, LONGEST_PAUSE)
            sent = await self._run_pass(name)
            self._retried += sent

    async def _run_pass(self, name: str) -> int:
        """Send each unfinished row once; return how many those were."""
        limiter, in_flight = self._client.limiter.of(name), asyncio.Semaphore(MOST_IN_FLIGHT)
        rows: deque[Row] = deque()  # claimed, and not yet sent
        count = last_id = 0
        try:
            async with asyncio.TaskGroup() as calls:
                while claimed := await self._claim(name, last_id, int(limiter.qps * CLAIM_SECONDS)):
                    rows.extend(claimed)
                    count, last_id = count + len(claimed), claimed[-1].id
                    while rows and (permit := await self._next_permit(limiter, in_flight)) is not None:
                        call = calls.create_task(self._send(rows.popleft(), permit, in_flight))
                        if self._outage.reason is not None:  # a probe: nothing follows before its answer
                            await asyncio.wait([call])
        finally:
            for row in rows:
                self._journal.note(Outcome(row, row.was))
        return count

    async def _claim(self, name: str, last_id: int, count: int) -> list[Row]:
        """Return the rows to be sent next; none at the end of the pass, or of the job."""
        if self._ending.is_set():
            return []
        claim = asyncio.create_task(self._journal.claim(name, last_id, max(1, min(MOST_CLAIMED, count))))
        try:
            return await asyncio.shield(claim)
        except JournalError as error:
            self._end(error)
            return []
        except asyncio.CancelledError:
            for row in await claim:
                self._journal.note(Outcome(row, row.was))
            raise

    async def _next_permit(self, limiter: ActionLimiter, in_flight: asyncio.Semaphore) -> Permit | None:
        """Wait for room, the end of a pause, and a permit; return None if the job ends before."""
        await in_flight.acquire()
        if self._outage.reason is not None:
            async with self._probing:  # one action's probe at a time
                await self._pause(self._outage.next_pause())
        if self._ending.is_set():
            return None
        try:
            permit = await limiter.acquire("bulk", owner=self)
        except ClosedError as error:
            self._end(error)
            return None
        if self._ending.is_set():
            permit.cancel()
            return None
        return permit

    async def _send(self, row: Row, permit: Permit, in_flight: asyncio.Semaphore) -> None:
        try:
            self._journal.note(await self._outcome(row, permit))
        finally:
            in_flight.release()

    async def _outcome(self, row: Row, permit: Permit) -> Outcome:
        try:
            await self._client._caller.attempt(row.action, permit, "bulk")
        except ZimError as error:
            return self._judge(row, error)
        self._outage.recover()
        return Outcome(row, State.DONE)

    def _judge(self, row: Row, error: ZimError) -> Outcome:
        """Return what an error makes of a row, and draw from it what concerns the others."""
        verdict = verdict_of(error)
        if verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
            self._rate_refusals += verdict is Verdict.SLOW_DOWN
            if not isinstance(error, RateLimitedError):  # which says that others use the quota: the limiter's business
                self._outage.fail(error)
            unknown = isinstance(error, ProtocolError) or (isinstance(error, TransportError) and error.maybe_applied)
            return Outcome(row, State.SENT if unknown else row.was)
        if not isinstance(error, ApiError) or verdict in (Verdict.STOP, Verdict.FIX_CLOCK):
            self._end(error)
            return Outcome(row, row.was)
        self._outage.recover()
        if isinstance(error, NotFoundError):
            return Outcome(row, State.GONE)
        return Outcome(row, State.REFUSED, error.code or 0, error.message or "", error.request_id or "")

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), seconds)

    # Ending

    def _end(self, error: Exception | None = None) -> None:
        """Send nothing more; what is in flight is awaited and recorded."""
        if not (self._ending.is_set() and isinstance(error, ClosedError)):  # which is how the end shows to others
            self._error = self._error or error
        self._ending.set()

    async def _unless_ending(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do some work unless the job ends before; tell whether it was done."""
        task, ending = asyncio.create_task(work), asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (task, ending):
                one.cancel()
            await asyncio.wait({task, ending})
        if task.cancelled():
            return False
        await task
        return True

    async def _obey(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    async def _give_up_turns(self) -> None:
        await self._ending.wait()
        await self._client.limiter.abandon(self, "the job ends; this call was not sent")

    def _report(self) -> None:
        if self._on_progress is None:
            return
        try:
            self._on_progress(self.progress())
        except Exception as error:  # noqa: BLE001, the caller's; `run` raises it when what is in flight is recorded
            self._end(error)


async def _batches(actions: Actions) -> AsyncGenerator[list[Action], None]:
    batch: list[Action] = []
    async with contextlib.aclosing(_each(actions)) as each:
        async for action in each:
            if type(action) not in KINDS:
                raise InvalidArgumentError(
                    f"a bulk job takes ClearPeerMessage and DeleteConv, not {type(action).__name__}; nothing was sent"
                )
            batch.append(action)
            if len(batch) == READ_AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


async def _each(actions: Actions) -> AsyncGenerator[Action, None]:
    if isinstance(actions, AsyncIterable):
        async for action in actions:
            yield action
    else:
        for action in actions:
            yield action
