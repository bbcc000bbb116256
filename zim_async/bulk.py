"""Bulk jobs: hundreds of thousands of deletes, at bulk priority, that survive whatever happens on the way.

One job, from top to bottom: all actions are read into the journal, as a whole or not at all; then each action's
lane claims rows, waits for its turn in the quota, and sends, both lanes side by side; answers are written to
the journal as they come, and count from then on. What failed in passing goes back and is sent again in the
lane's next pass. Memory holds what is in flight and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from .actions import ACTIONS, Action
from .client import ZimClient
from .codes import Verdict, is_for_every_call, verdict_of
from .errors import (
    ApiError,
    ClosedError,
    InvalidArgumentError,
    JournalError,
    NotFoundError,
    ProtocolError,
    TransportError,
    ZimError,
)
from .journal import Outcome, Row, State
from .ledger import Ledger
from .limits import ActionLimiter
from .outage import Outage
from .progress import Progress
from .retry import RetryPolicy

Actions: TypeAlias = Iterable[Action] | AsyncIterable[Action]

READ_AT_ONCE: Final = 1_000  # actions
CLAIM_SECONDS: Final = 0.05  # of the quota, claimed at once: what a crash would leave marked as sent, but wasn't
MOST_CLAIMED: Final = 500
MOST_IN_FLIGHT: Final = 100  # calls of one action
ONCE: Final = RetryPolicy(attempts=1)  # the job's next pass is the repetition


async def cleanup(
    client: ZimClient,
    actions: Actions,
    *,
    journal: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    stop: asyncio.Event | None = None,
) -> Progress:
    """Send every action once, at bulk priority and the whole quota, and return what came of them.

    All are read before the first is sent. ``journal`` names the file that remembers them (see the module
    ``journal``): run the same again after any interruption, and the job goes on; without one it can't.
    ``on_progress`` is called each time that answers were written down. ``stop``, once set, drains: nothing
    more is sent, what is in flight is awaited and recorded. Outages are waited out. Raises what every call would
    meet (``AuthenticationError``, say), ``JournalError``, ``ClosedError``, and ``InvalidArgumentError`` for what
    is no action; what was answered until then is in the journal.
    """
    with _named(journal) as path:
        return await _Job(client, on_progress).run(actions, path, stop)


async def plan(client: ZimClient, actions: Actions, *, journal: str | os.PathLike[str] | None = None) -> Progress:
    """Return where ``cleanup`` would begin, sending nothing and leaving the journal as it is."""
    job = _Job(client, None)
    with _named(journal, existing=True) as path:
        async with job.opened(path):
            await job.load(actions, keep=False)
            return job.progress()


@contextlib.contextmanager
def _named(journal: str | os.PathLike[str] | None, *, existing: bool = False) -> Iterator[Path]:
    """Have a path for the journal: a temporary one if there is no name, or no such file where one is to exist."""
    if journal is not None and (not existing or Path(journal).exists()):
        yield Path(journal)
        return
    with tempfile.TemporaryDirectory(prefix="zim_async-") as directory:
        yield Path(directory, "journal")


class _Ended(Exception):  # noqa: N818, it is a control flow, not an error
    """The job is to end before it has begun."""


class _Lane:
    """What the calls of one action share."""

    def __init__(self, name: str, limiter: ActionLimiter) -> None:
        self.name = name
        self.limiter = limiter
        self.rows: deque[Row] = deque()  # claimed, and not yet sent
        self.last_id = 0  # of the last row claimed in this pass
        self.at_end = False  # of the pass: there is nothing more to claim
        self.claiming: asyncio.Task[None] | None = None

    @property
    def at_once(self) -> int:
        """How many rows to claim at once."""
        return max(1, min(MOST_CLAIMED, int(self.limiter.qps * CLAIM_SECONDS)))


class _Job:
    """One run of a job. ``Progress`` says what its counts mean."""

    def __init__(self, client: ZimClient, on_progress: Callable[[Progress], object] | None) -> None:
        self._client = client
        self._on_progress = on_progress
        self._ledger = Ledger(self._report, self._end)
        self._read = self._duplicates = self._retried = 0
        self._started_at: float | None = None
        self._lanes = [_Lane(name, client.limiter.of(name)) for name in ACTIONS]
        self._refusals_before = self._rate_refusals()
        self._ending = asyncio.Event()
        self._error: Exception | None = None
        self._outage = Outage()
        self._probing = asyncio.Lock()

    async def run(self, actions: Actions, journal: Path, stop: asyncio.Event | None) -> Progress:
        async with self.opened(journal):
            helpers = [asyncio.create_task(self._give_up_turns())]
            if stop is not None:
                helpers.append(asyncio.create_task(self._obey(stop)))
            try:
                with contextlib.suppress(_Ended):
                    await self.load(actions, keep=True)
                    self._report()
                    async with asyncio.TaskGroup() as lanes:
                        for lane in self._lanes:
                            lanes.create_task(self._run_lane(lane))
            finally:
                for helper in helpers:
                    helper.cancel()
                await self._put_back()
        if self._error is not None:
            raise self._error
        return self.progress()

    def opened(self, journal: Path) -> contextlib.AbstractAsyncContextManager[None]:
        """Have the journal open within."""
        return self._ledger.opened(journal, self._client.app_id, self._client.host)

    async def load(self, actions: Actions, *, keep: bool) -> None:
        """Read the actions into the journal, all or none; only count them unless they are to be kept."""
        async with self._ledger.loading(keep=keep), contextlib.aclosing(_batches(actions)) as batches:
            async for batch in batches:
                new = await self._ledger.add(batch)
                self._read += len(batch)
                self._duplicates += len(batch) - new
                if self._ending.is_set():
                    raise _Ended
        self._started_at = asyncio.get_running_loop().time()

    def progress(self) -> Progress:
        loaded = self._started_at is not None
        seconds = asyncio.get_running_loop().time() - self._started_at if self._started_at is not None else 0.0
        tallies = self._ledger.tallies
        unfinished = any(tally[State.WAITING] or tally[State.SENT] for tally in tallies.values())
        return Progress(
            tallies=tallies,
            read=self._read,
            duplicates=self._duplicates,
            retried=self._retried,
            rate_refusals=self._rate_refusals() - self._refusals_before,
            seconds=seconds,
            outage=self._outage.reason,
            interrupted=self._ending.is_set() and (unfinished or not loaded),
        )

    def _rate_refusals(self) -> int:
        return sum(lane.limiter.refusals for lane in self._lanes)

    # Sending

    async def _run_lane(self, lane: _Lane) -> None:
        """Send an action's rows, and those that failed in passing again, until all have come to an end."""
        while not self._ending.is_set():
            lane.last_id, lane.at_end = 0, False
            await self._have_rows(lane)
            if not lane.rows:
                return
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(MOST_IN_FLIGHT, max(1, int(lane.limiter.qps)))):
                    workers.create_task(self._work(lane))
            await self._ledger.written()  # else the next pass would claim again what is done

    async def _work(self, lane: _Lane) -> None:
        """Send the lane's rows, one after the other, as long as there are any."""
        while (lane.rows or not lane.at_end) and not self._ending.is_set():
            if self._outage.reason is None:
                await self._send_next(lane)
                continue
            async with self._probing:  # one call at a time, after a pause each
                if self._outage.reason is not None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._ending.wait(), self._outage.next_pause())
                    await self._send_next(lane)

    async def _send_next(self, lane: _Lane) -> None:
        if self._ending.is_set() or (lane.at_end and not lane.rows):
            return
        try:
            await lane.limiter.acquire("bulk", owner=lane)
        except ClosedError as error:
            if not lane.at_end:  # else nobody is to wait any longer
                self._end(error)
            return
        row = None
        try:
            row = await self._next_row(lane)
        finally:
            if row is None:
                lane.limiter.give_back()
        if row is None:
            return
        try:
            await self._client.send_in_turn(row.action, retry=ONCE)
        except ZimError as error:
            outcome = self._judge(row, error)
        else:
            self._outage.recover()
            outcome = Outcome(row, State.DONE)
        self._ledger.note(outcome)

    async def _next_row(self, lane: _Lane) -> Row | None:
        """Return the row whose turn has come, marked as sent; None at the end of the pass, or of the job."""
        await self._have_rows(lane)
        if not lane.rows or self._ending.is_set():
            return None
        row = lane.rows.popleft()
        if not lane.rows and lane.at_end:
            await self._client.limiter.give_up(lane, "nothing is left to send")
        return row

    async def _have_rows(self, lane: _Lane) -> None:
        """See that the lane has rows if there are any; more are claimed before it has run out of them."""
        idle = lane.claiming is None or lane.claiming.done()
        if idle and not lane.at_end and len(lane.rows) <= lane.at_once // 2:
            lane.claiming = asyncio.create_task(self._claim(lane))
        if not lane.rows and lane.claiming is not None:
            await asyncio.wait([lane.claiming])

    async def _claim(self, lane: _Lane) -> None:
        try:
            rows, more = await self._ledger.claim(lane.name, lane.last_id, lane.at_once)
        except JournalError as error:
            self._end(error)
            return
        if rows:
            lane.last_id = rows[-1].id
        lane.rows.extend(rows)
        lane.at_end = not more

    def _judge(self, row: Row, error: ZimError) -> Outcome:
        """Return what an error makes of a row, and draw from it what concerns the others."""
        if verdict_of(error) in (Verdict.RETRY, Verdict.SLOW_DOWN):
            self._outage.fail(error)
            self._retried += 1  # in the next pass
            unknown = isinstance(error, ProtocolError) or (isinstance(error, TransportError) and error.maybe_applied)
            return Outcome(row, State.SENT if unknown else row.was)
        if not isinstance(error, ApiError) or is_for_every_call(error):
            self._end(error)
            return Outcome(row, row.was)
        self._outage.recover()
        state = State.GONE if isinstance(error, NotFoundError) else State.REFUSED
        return Outcome(row, state, error.code or 0, error.message or "", error.request_id or "")

    # Ending

    def _end(self, error: Exception | None = None) -> None:
        """Send nothing more; what is in flight is awaited and recorded."""
        if not (self._ending.is_set() and isinstance(error, ClosedError)):  # which is how the end shows to others
            self._error = self._error or error
        self._ending.set()

    async def _obey(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    async def _give_up_turns(self) -> None:
        await self._ending.wait()
        for lane in self._lanes:
            await self._client.limiter.give_up(lane, "the job ends; this call was not sent")

    async def _put_back(self) -> None:
        """At the end, put back what was claimed and not sent, and see everything written."""
        for lane in self._lanes:
            if lane.claiming is not None:
                await asyncio.wait([lane.claiming])
            for row in lane.rows:
                self._ledger.note(Outcome(row, row.was))
            lane.rows.clear()
        await self._ledger.written()

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
            if type(action) not in ACTIONS.values():
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
