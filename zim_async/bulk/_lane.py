"""One action's part of a bulk job: a pool of workers behind one gate.

1. Only the worker at the gate reads rows and waits for a permit, at bulk priority. So the queue of the limiter
   holds one call of the lane, however large the job is. Workers are added while all of them are busy, up to a bound.
2. A row is marked as sent when its permit is held, and sent when that mark is on disk.
3. What fails transiently is sent again in the lane's next pass, which begins when all rows were sent once and nothing
   is in flight any more. A pass that settled nothing is followed by a pause.
4. In an outage the gate stays closed: one call at a time is a probe, sent after a pause, and nothing follows before
   its response.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from .._codes import Verdict, verdict_of
from .._protocol import Response
from ..actions import Action
from ..errors import (
    ApiError,
    JournalError,
    NotFoundError,
    ProtocolError,
    QuotaUnavailableError,
    RateLimitedError,
    ZimError,
)
from ..limits import ActionLimiter, Permit, Priority
from ._journal import Journal, now
from ._journal_writer import JournalWriter
from ._outage import RUN, Backoff, Outage
from ._records import Mark, Row, State
from ._stop import Stop

Attempt: TypeAlias = Callable[[Action, Permit, Priority], Awaitable[Response]]

MOST_WORKERS: Final = 300
WRONG_SERVER: Final = (403, 404)  # what a proxy, a firewall or another web server answers


@dataclass(frozen=True, slots=True)
class Pace:
    """What a job takes its time for.

    Attributes:
        backoff: The pauses in an outage, and between passes that settle nothing.
        settling: Seconds after an earlier run's last calls, which the server still counts.
        workers: Calls of one action in flight at most. It may be more where a higher rate asks for it.
        page: Rows read at a time.
    """

    backoff: Backoff = field(default_factory=Backoff)
    settling: float = 1.0
    workers: int = 100
    page: int = 500


@dataclass(slots=True, eq=False)
class Shared:
    """What the lanes of a job share.

    Attributes:
        limiter_of: Returns the limiter of an action by its name.
        attempt: Sends an action once, by a permit that is held, at a priority.
        reached: Whether the server has responded as documented.
        growing: Whether rows may still be added.
        counts_as_done: Whether an action that was not found has nothing left to do.
    """

    limiter_of: Callable[[str], ActionLimiter]
    attempt: Attempt
    journal: JournalWriter
    stop: Stop
    pace: Pace
    reached: bool = False
    growing: bool = False
    counts_as_done: Callable[[Action, NotFoundError], bool] = lambda _action, _error: False


class Lane:
    """Sends the rows of one action until all have an outcome.

    Attributes:
        outage: The action's circuit breaker.
        retried: Calls that failed transiently, and are sent again.
        throttled: Calls that the server refused for the rate.
    """

    def __init__(self, name: str, shared: Shared) -> None:
        self.outage = Outage(shared.pace.backoff, shared.stop.wake)
        self.retried = self.throttled = 0
        self._name, self._shared = name, shared
        self._journal, self._stop = shared.journal, shared.stop
        self._limiter = shared.limiter_of(name)
        self._gate = asyncio.Lock()
        self._pool: asyncio.TaskGroup
        self._workers = self._idle = 0
        self._rows: deque[Row] = deque()  # read, and not yet sent
        self._last_id = 0  # of those read in this pass
        self._again_from: int | None = None  # the first row of this pass that failed transiently
        self._settled = 0  # in this pass
        self._backoff = shared.pace.backoff
        self._wrong_pages = 0  # in a row
        self._in_flight = 0
        self._change = asyncio.Event()

    async def run(self) -> None:
        """Send until all is settled, or the job ends."""
        async with asyncio.TaskGroup() as self._pool:
            self._start_worker()

    def wake(self) -> None:
        """Have the gate look again at what there is to do."""
        self._change.set()

    def _start_worker(self) -> None:
        self._workers += 1
        self._pool.create_task(self._work())

    def _most_workers(self) -> float:
        # A permit comes back with the response at the earliest: no more calls than the rate are ever in flight.
        return max(self._shared.pace.workers, min(self._limiter.qps, MOST_WORKERS))

    async def _work(self) -> None:
        while True:
            self._idle += 1
            async with self._gate:
                self._idle -= 1
                turn = await self._next_turn()
                if turn is None:
                    return
                if self.outage.reason is not None:  # a probe
                    await self._send(*turn)
                    continue
                if not self._idle and self._workers < self._most_workers():
                    self._start_worker()
            await self._send(*turn)

    # At the gate

    async def _next_turn(self) -> tuple[Row, Permit] | None:
        """Return the next row and the permit to send it, or None when there is nothing to send any more."""
        while await self._read_rows():
            probing = self.outage.reason is not None
            if probing:
                await self.outage.wait(self._stop)
            permit = await self._take_permit()
            if permit is None:
                continue
            if self._stop.is_set() or not (probing or self.outage.reason is None):
                permit.cancel()  # the job ends, or an outage began, while this waited its turn
                continue
            self._in_flight += 1
            return self._rows.popleft(), permit
        return None

    async def _take_permit(self) -> Permit | None:
        try:
            return await self._limiter.acquire("bulk", owner=self._shared)
        except QuotaUnavailableError as error:
            self.outage.fail(error)
        except ZimError as error:
            self._stop.set(error)
        return None

    async def _read_rows(self) -> bool:
        """Read further rows if there are none at hand, and tell whether there are any to send."""
        try:
            while not (self._rows or self._stop.is_set()):
                self._change.clear()  # before the look at what there is, lest a change in between be missed
                page = await self._journal.do(Journal.open_rows, self._name, self._last_id, self._shared.pace.page)
                if page:
                    self._rows.extend(page)
                    self._last_id = page[-1].id
                elif self._in_flight:
                    await self._change.wait()
                elif self._again_from is not None:
                    await self._begin_pass(self._again_from)
                elif self._shared.growing:
                    await self._change.wait()
                else:
                    return False
        except JournalError as error:
            self._stop.set(error)
        return not self._stop.is_set()

    async def _begin_pass(self, first_id: int) -> None:
        await self._journal.flush()  # else what is done would be read again
        if self._settled or self.outage.reason is not None:  # an outage has pauses of its own
            self._backoff = self._shared.pace.backoff
        else:
            await self._stop.pause(self._backoff.pause)
            self._backoff = self._backoff.doubled()
        self._last_id, self._again_from = first_id - 1, None
        self._settled = 0

    # Beyond the gate

    async def _send(self, row: Row, permit: Permit) -> None:
        try:
            if await self._mark_sent(row, permit):
                self._journal.note(await self._attempt(row, permit))
        finally:
            self._in_flight -= 1
            self.wake()

    async def _mark_sent(self, row: Row, permit: Permit) -> bool:
        try:
            await self._journal.mark_sent(row)
        except JournalError:  # which ends the job
            permit.cancel()
            return False
        except BaseException:
            permit.cancel()
            self._journal.note(Mark(row, State.SENT, row.state, now()))
            raise
        return True

    async def _attempt(self, row: Row, permit: Permit) -> Mark:
        probe = self.outage.reason is not None
        try:
            await self._shared.attempt(row.action, permit, "bulk")
        except ZimError as error:
            return self._judge(row, error, probe=probe)
        self._note_response(probe=probe)
        return Mark(row, State.SENT, State.DONE, now(), 0)

    def _judge(self, row: Row, error: ZimError, *, probe: bool) -> Mark:
        """Return what an error makes of a row, and draw from it what concerns the others."""
        verdict, unsettled = verdict_of(error), State.SENT if error.maybe_applied else row.state
        if verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
            self._note_failure(row, error, throttled=verdict is Verdict.SLOW_DOWN)
            return Mark(row, State.SENT, unsettled, now())
        if not isinstance(error, ApiError) or verdict in (Verdict.STOP, Verdict.FIX_CLOCK):
            self._stop.set(error)
            return Mark(row, State.SENT, unsettled, now())
        self._note_response(probe=probe)
        state = State.REFUSED
        if isinstance(error, NotFoundError):
            # If an attempt before may have been applied, that it isn't there any more is our own doing.
            ours = unsettled is State.SENT or self._shared.counts_as_done(row.action, error)
            state = State.DONE if ours else State.NOT_FOUND
        return Mark(row, State.SENT, state, now(), error.code, error.message or "", error.request_id or "")

    def _note_response(self, *, probe: bool) -> None:
        self._shared.reached = True
        self._settled += 1
        self.outage.recover(probe=probe)

    def _note_failure(self, row: Row, error: ZimError, *, throttled: bool) -> None:
        self._again_from = min(row.id, self._again_from or row.id)
        self.retried += 1
        self.throttled += throttled
        if isinstance(error, RateLimitedError):  # others use the quota: the limiter's business
            return
        self.outage.fail(error)
        page = isinstance(error, ProtocolError) and error.status in WRONG_SERVER
        self._wrong_pages = self._wrong_pages + 1 if page else 0
        if self._wrong_pages >= RUN and not self._shared.reached:
            self._stop.set(error)
