"""The journal as the event loop sees it: at work in a thread of its own, its tallies at hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from ..actions import ACTIONS, Action
from ._journal import Journal
from ._records import Outcome, Row, State, Tallies, Tally

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GROUP_COMMIT_PAUSE: Final = 4.0  # times what a commit took, before the next, under load
LONGEST_PAUSE: Final = 0.1  # seconds


class AsyncJournal:
    """Keeps a job's journal; ``tallies`` count what is written, as of each call of ``on_written``.

    What fails while outcomes are being written, which nobody waits for, goes to ``on_error``.
    """

    def __init__(self, on_written: Callable[[], object], on_error: Callable[[Exception], object]) -> None:
        self._tallies = {name: Counter[State]() for name in ACTIONS}
        self._on_written = on_written
        self._on_error = on_error
        self._thread = ThreadPoolExecutor(1, "zim_async-journal")
        self._journal: Journal  # once opened; used in its thread only
        self._outcomes: list[Outcome] = []  # not yet written
        self._writing: asyncio.Task[None] | None = None

    @property
    def tallies(self) -> Tallies:
        """How many actions of each name are in each state."""
        return {name: Tally(*(tally[state] for state in State)) for name, tally in self._tallies.items()}

    @property
    def last_written(self) -> float:
        """When an earlier run last wrote to it, in Unix seconds; 0 if none did."""
        return self._journal.last_written

    @contextlib.asynccontextmanager
    async def opened(self, path: Path, app_id: int, host: str) -> AsyncIterator[None]:
        """Have the journal open within. Raises ``JournalError``."""
        stack = contextlib.ExitStack()

        def open_journal() -> None:
            self._journal = stack.enter_context(Journal.open(path, app_id, host))

        try:
            await self._in_thread(open_journal)
            yield
        finally:
            # In the thread, after all that was begun there, however often the wait for it is cancelled.
            closing = self._thread.submit(stack.close)
            self._thread.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(closing))

    async def begin(self) -> None:
        """Begin what is to be kept as a whole, or not at all."""
        await self._in_thread(self._journal.begin)

    async def commit(self) -> None:
        """Keep what was added since ``begin``."""
        await self._in_thread(self._journal.commit)

    async def roll_back(self) -> None:
        """Forget what was added since ``begin``."""
        await self._in_thread(self._journal.roll_back)

    async def count(self) -> None:
        """Bring the tallies up to date."""
        for name, tally in (await self._in_thread(self._journal.tallies)).items():
            self._tallies[name] = Counter(dict(zip(State, tally, strict=True)))

    async def add(self, actions: list[Action]) -> int:
        """Take up those of some actions that aren't here yet, and return how many those were."""
        return await self._in_thread(self._journal.add, actions)

    async def claim(self, name: str, after: int, count: int) -> list[Row]:
        """Mark the next unfinished actions as sent and return them; see ``Journal.claim``."""
        rows = await self._in_thread(self._journal.claim, name, after, count)
        for row in rows:
            self._move(row, row.was, State.SENT)
        return rows

    def note(self, outcome: Outcome) -> None:
        """Have an outcome written, together with those that come while others are being written."""
        self._outcomes.append(outcome)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def written(self) -> None:
        """Wait until all that was noted is written, or can't be."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            began_at = loop.time()
            try:
                await self._in_thread(self._journal.record, outcomes)
            except Exception as error:  # noqa: BLE001, nobody else would hear of it
                self._on_error(error)
                return
            for outcome in outcomes:
                self._move(outcome.row, State.SENT, outcome.state)
            self._on_written()
            if self._outcomes:
                # They come faster than they can be written one by one: let some gather.
                await asyncio.sleep(min(LONGEST_PAUSE, GROUP_COMMIT_PAUSE * (loop.time() - began_at)))

    def _move(self, row: Row, before: State, after: State) -> None:
        tally = self._tallies[row.action.name]
        tally[before] -= 1
        tally[after] += 1

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
