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
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeAlias, TypeVar

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
from .journal import Journal, Outcome, Row, State
from .outage import Outage
from .progress import Progress
from .retry import RetryPolicy

P = ParamSpec("P")
T = TypeVar("T")
Actions: TypeAlias = Iterable[Action] | AsyncIterable[Action]

READ_AT_ONCE: Final = 1_000  # actions
CLAIM_SECONDS: Final = 0.05  # of the quota, claimed at once: what a crash would leave marked as sent, but wasn't
MOST_CLAIMED: Final = 100
MOST_IN_FLIGHT: Final = 200  # calls of one action
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


class _Job:
    """One run of a job. ``Progress`` says what its counts mean."""

    def __init__(self, client: ZimClient, on_progress: Callable[[Progress], object] | None) -> None:
        self._client = client
        self._on_progress = on_progress
        self._thread = ThreadPoolExecutor(1, "zim_async-journal")
        self._journal: Journal  # once opened; used in its thread only
        self._tallies = {name: Counter[State]() for name in ACTIONS}
        self._read = self._duplicates = self._retried = 0
        self._refusals_before = self._rate_refusals()
        self._started_at: float | None = None
        self._claimed: dict[str, deque[Row]] = {name: deque() for name in ACTIONS}  # and not yet sent
        self._outcomes: list[Outcome] = []  # not yet in the journal
        self._recording: asyncio.Task[None] | None = None
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
                await self.load(actions, keep=True)
                self._report()
                async with asyncio.TaskGroup() as lanes:
                    for name in ACTIONS:
                        lanes.create_task(self._run_lane(name))
            finally:
                for helper in helpers:
                    helper.cancel()
                await self._record_the_rest()
        if self._error is not None:
            raise self._error
        return self.progress()

    @contextlib.asynccontextmanager
    async def opened(self, journal: Path) -> AsyncIterator[None]:
        """Have the journal open within."""
        with contextlib.ExitStack() as stack:

            def open_journal() -> None:  # all in the thread: this may be cancelled while it is being opened
                self._journal = stack.enter_context(Journal.open(journal, self._client.app_id, self._client.host))

            try:
                await self._in_thread(open_journal)
                yield
            finally:
                await self._in_thread(stack.close)
                self._thread.shutdown(wait=False)

    async def load(self, actions: Actions, *, keep: bool) -> None:
        """Read the actions into the journal, all or none; only count them unless they are to be kept."""
        await self._in_thread(self._journal.begin)
        kept = False
        try:
            async with contextlib.aclosing(_batches(actions)) as batches:
                async for batch in batches:
                    new = await self._in_thread(self._journal.add, batch)
                    self._read += len(batch)
                    self._duplicates += len(batch) - new
                    if self._ending.is_set():
                        return
            for name, tally in (await self._in_thread(self._journal.tallies)).items():
                self._tallies[name].update(tally)
            if keep:
                await self._in_thread(self._journal.commit)
                self._started_at = asyncio.get_running_loop().time()
                kept = True
        finally:
            if not kept:
                await self._in_thread(self._journal.roll_back)

    def progress(self) -> Progress:
        loaded = self._started_at is not None
        seconds = asyncio.get_running_loop().time() - self._started_at if self._started_at is not None else 0.0
        unfinished = any(tally[State.WAITING] or tally[State.SENT] for tally in self._tallies.values())
        return Progress(
            tallies={name: {state: tally[state] for state in State} for name, tally in self._tallies.items()},
            read=self._read,
            duplicates=self._duplicates,
            retried=self._retried,
            rate_refusals=self._rate_refusals() - self._refusals_before,
            seconds=seconds,
            outage=self._outage.reason,
            interrupted=self._ending.is_set() and (unfinished or not loaded),
        )

    def _rate_refusals(self) -> int:
        return sum(self._client.limiter.of(name).refusals for name in ACTIONS)

    # Sending

    async def _run_lane(self, name: str) -> None:
        """Send an action's rows, and those that failed in passing again, until all have come to an end."""
        in_flight = asyncio.Semaphore(MOST_IN_FLIGHT)
        last_id = -1
        while last_id and not self._ending.is_set():
            last_id = 0
            async with asyncio.TaskGroup() as calls:
                while rows := await self._claim(name, last_id):
                    last_id = rows[-1].id
                    while rows and not self._ending.is_set():
                        await self._send(rows.popleft(), in_flight, calls)
            await self._record_all()  # else the next pass would claim again what is done

    async def _claim(self, name: str, last_id: int) -> deque[Row]:
        """Return the rows to send next; none at the end of a pass or of the job."""
        if self._ending.is_set():
            return deque()
        rows = self._claimed[name]
        count = max(1, min(MOST_CLAIMED, int(self._client.limiter.of(name).qps * CLAIM_SECONDS)))
        try:
            rows.extend(await self._in_thread(self._journal.claim, name, last_id, count))
        except JournalError as error:
            self._end(error)
        for row in rows:
            self._move(row, row.was, State.SENT)
        return rows

    async def _send(self, row: Row, in_flight: asyncio.Semaphore, calls: asyncio.TaskGroup) -> None:
        """Send a row when its turn comes, unless the job ends before. In an outage it is a probe, and awaited."""
        if self._outage.reason is None:
            await in_flight.acquire()
            if await self._turn(row):
                calls.create_task(self._call(row)).add_done_callback(lambda _: in_flight.release())
            else:
                in_flight.release()
            return
        async with self._probing:
            if self._outage.reason is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), self._outage.next_pause())
            if await self._turn(row):
                await self._call(row)

    async def _turn(self, row: Row) -> bool:
        """Wait for a row's turn; put it back, and tell so, if the job ends before."""
        limiter = self._client.limiter.of(row.action.name)
        try:
            if not self._ending.is_set():
                await limiter.acquire("bulk", owner=self)
                if not self._ending.is_set():
                    return True
                limiter.give_back()
        except ClosedError as error:
            self._end(error)
        self._note(Outcome(row, row.was))
        return False

    async def _call(self, row: Row) -> None:
        try:
            await self._client.send_in_turn(row.action, retry=ONCE)
        except ZimError as error:
            outcome = self._judge(row, error)
        else:
            self._outage.recover()
            outcome = Outcome(row, State.DONE)
        self._note(outcome)

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
        # A turn given up because the job ends is no reason for its end.
        if self._error is None and not (self._ending.is_set() and isinstance(error, ClosedError)):
            self._error = error
        self._ending.set()

    async def _obey(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    async def _give_up_turns(self) -> None:
        await self._ending.wait()
        await self._client.limiter.give_up(self, "the job ends; this call was not sent")

    # The journal

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def _note(self, outcome: Outcome) -> None:
        """Have an outcome written down, together with those that come while others are being written."""
        self._outcomes.append(outcome)
        if self._recording is None or self._recording.done():
            self._recording = asyncio.create_task(self._record())

    async def _record(self) -> None:
        while self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            try:
                await self._in_thread(self._journal.record, outcomes)
            except JournalError as error:
                self._end(error)
                return
            for outcome in outcomes:
                self._move(outcome.row, State.SENT, outcome.state)
            self._report()

    async def _record_all(self) -> None:
        if self._recording is not None:
            await asyncio.wait([self._recording])

    async def _record_the_rest(self) -> None:
        """At the end: put back what was claimed and not sent, and see everything written."""
        for rows in self._claimed.values():
            for row in rows:
                self._note(Outcome(row, row.was))
        await self._record_all()

    def _move(self, row: Row, before: State, after: State) -> None:
        tally = self._tallies[row.action.name]
        tally[before] -= 1
        tally[after] += 1

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
