"""The journal as the event loop sees it: at work in a thread of its own, its counts at hand.

1. What is marked while a transaction is being committed goes into the next one, all together.
2. ``mark_sent`` waits for that commit, ``note`` doesn't.
3. ``on_written`` is awaited after each commit, before the next one: whoever is slow there slows the job down,
   and memory stays flat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from ._journal import JobKind, Journal, now
from ._records import CodeCount, Mark, Row, State, Tally, sort_codes

P = ParamSpec("P")
T = TypeVar("T")

GATHERING_SHARE: Final = 2.0  # of what a commit took, before the next, under load
LONGEST_GATHERING: Final = 0.1  # seconds


class JournalWriter:
    """Keeps a job's journal. ``tallies`` and ``codes`` count what is written.

    What fails while outcomes are being written, which nobody waits for, goes to ``on_error``.
    """

    def __init__(
        self, on_written: Callable[[Sequence[Mark]], Awaitable[None]], on_error: Callable[[Exception], object]
    ) -> None:
        self._tallies: dict[str, Counter[State]] = {}
        self._codes: dict[tuple[State, int], CodeCount] = {}
        self._on_written = on_written
        self._on_error = on_error
        self._thread = ThreadPoolExecutor(1, "zim_async-journal")
        self._journal: Journal  # once opened; used in its thread only
        self._marks: list[Mark] = []  # not yet written
        self._waiting: list[asyncio.Future[None]] = []  # for those
        self._writing: asyncio.Task[None] | None = None

    @property
    def tallies(self) -> dict[str, Tally]:
        """How many actions of each name are in each state."""
        return {name: {state: tally[state] for state in State} for name, tally in self._tallies.items()}

    @property
    def codes(self) -> tuple[CodeCount, ...]:
        """What was not found and refused, the most frequent code first."""
        return sort_codes(self._codes.values())

    @property
    def last_written(self) -> float:
        """When an earlier run last wrote to it, in Unix seconds, or 0 if none did."""
        return self._journal.last_written

    @contextlib.asynccontextmanager
    async def opened(self, path: Path, app_id: int, host: str, kind: JobKind) -> AsyncIterator[None]:
        """Have the journal open within.

        Raises:
            JournalError: It can't be used.
        """
        stack = contextlib.ExitStack()

        def open_journal() -> None:
            self._journal = stack.enter_context(Journal.open(path, app_id, host, kind))

        try:
            await self._in_thread(open_journal)
            yield
        finally:
            # In the thread, after all that was begun there, however often the wait for it is cancelled.
            closing = self._thread.submit(stack.close)
            self._thread.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(closing))

    async def do(self, work: Callable[Concatenate[Journal, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have a method of ``Journal`` called in the journal's thread."""
        return await self._in_thread(partial(work, self._journal, *args, **kwargs))

    @contextlib.asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator[None]:
        """Write what is done within as a whole, or not at all, and without ``keep`` not at all."""
        await self.do(Journal.begin)
        kept = False
        try:
            yield
            if keep:
                await self.do(Journal.commit)
                kept = True
        finally:
            if not kept:
                await self.do(Journal.roll_back)

    async def count(self) -> None:
        """Bring the counts up to date."""
        self._tallies = {name: Counter(tally) for name, tally in (await self.do(Journal.tallies)).items()}
        self._codes = {(found.state, found.code): found for found in await self.do(Journal.codes)}

    def count_new(self, counts: Mapping[str, int]) -> None:
        """Count rows that were added, so many of each name."""
        for name, count in counts.items():
            self._tallies.setdefault(name, Counter())[State.WAITING] += count

    async def mark_sent(self, row: Row) -> None:
        """Mark a row as sent, and wait until that is on disk.

        Raises:
            JournalError: It can't be written.
        """
        if row.state is State.SENT:
            return
        self.note(Mark(row, row.state, State.SENT, now()))
        await self.flush()

    def note(self, mark: Mark) -> None:
        """Have a mark written, together with those that come while others are being written."""
        self._marks.append(mark)
        self._start_writing()

    async def flush(self) -> None:
        """Wait until all that was noted so far is on disk.

        Raises:
            JournalError: It can't be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self._start_writing()
        await written

    async def finish(self) -> None:
        """Wait until all that was noted is written and told, or can't be."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _start_writing(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or self._marks:
            marks, self._marks = self._marks, []
            waiting, self._waiting = self._waiting, []
            began_at = loop.time()
            try:
                await self.do(Journal.write, marks)
            except Exception as error:  # noqa: BLE001, nobody else would hear of it
                _settle(waiting, error)
                self._on_error(error)
                return
            took = loop.time() - began_at
            self._count(marks)
            _settle(waiting)
            await self._on_written(marks)
            if self._waiting or self._marks:
                # They come faster than they can be written one by one: let some gather.
                await asyncio.sleep(min(LONGEST_GATHERING, GATHERING_SHARE * took))

    def _count(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            tally = self._tallies[mark.row.action.name]
            tally[mark.before] -= 1
            tally[mark.state] += 1
            if mark.code and mark.state is not State.DONE:
                key = (mark.state, mark.code)
                found = self._codes.get(key) or CodeCount(*key, 0, mark.outcome())
                self._codes[key] = replace(found, count=found.count + 1)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _settle(waiting: Sequence[asyncio.Future[None]], error: Exception | None = None) -> None:
    for future in waiting:
        if future.done():  # cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
