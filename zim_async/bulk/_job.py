"""Bulk jobs: hundreds of thousands of deletes, at bulk priority, that survive whatever happens on the way.

1. All actions are read into the journal, as a whole or not at all, before the first is sent.
2. Then each action's lane sends its rows, all lanes side by side.
3. Outcomes are written to the journal as they come, and count from then on.
4. Memory doesn't grow with the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from ..actions import Action
from ..client import ZimClient
from ..errors import InvalidArgumentError
from ._engine import Engine, OnOutcome, OnProgress, path_of
from ._input import Source, batches, check_actions
from ._journal import Journal
from ._records import Progress, State

Unlisted: TypeAlias = Literal["error", "send", "drop"]
EXAMPLES: Final = 2


async def cleanup(
    zim: ZimClient,
    actions: Source[Action],
    *,
    journal: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    on_outcome: OnOutcome | None = None,
    stop: asyncio.Event | None = None,
    unlisted: Unlisted = "error",
    retry_not_found: bool = False,
    retry_refused: bool = False,
) -> Progress:
    """Send any number of actions at bulk priority and the whole quota, each until it has an outcome.

    All are read before the first is sent. Transient failures are repeated, and outages waited out.

    Args:
        zim: The client to send with.
        actions: What to send: an iterable or async iterable of idempotent actions, your own subclasses too.
        journal: A file that remembers where each action stands. Run the same again after an interruption to
            resume the job. Without one it can't be resumed.
        on_progress: Called when all are read, and each time that outcomes were written. May be a coroutine function.
        on_outcome: Called with each outcome once it is on disk. May be a coroutine function. After a crash,
            ``read_journal`` has them all.
        stop: Once set, nothing more is sent. What is in flight is awaited and recorded.
        unlisted: What to do about actions that are open in the journal from an earlier run and not among
            ``actions``: stop before anything is sent, send them too, or drop them from the journal.
        retry_not_found: Send once more what was not found in an earlier run.
        retry_refused: Send once more what was refused in an earlier run.

    Returns:
        Where the job stands. ``interrupted`` tells whether ``stop`` ended it early.

    Raises:
        InvalidArgumentError: An input is no action, or may not be repeated, or lacks actions that are open.
        JournalError: The journal is another job's, in use, damaged, or can't be written.
        ApiError: What every call would meet, such as ``AuthenticationError`` for a wrong secret.
        TransportError: The server's certificate can't be verified.
        ProtocolError: Nothing but pages of HTTP 403 or 404 came, so this isn't the server.
        ClosedError: The client was closed meanwhile.

        What ``actions`` and the callbacks raise ends the job too. Outcomes until then are in the journal.

    Example:
        report = await cleanup(zim, [DeleteConv("alice", "g7", ConvType.GROUP)], journal="alice.journal")
        print(report.done, report.not_found, report.refused)
    """
    engine = Engine(zim, on_progress, on_outcome)
    return await run(engine, actions, journal, stop, Options(unlisted, retry_not_found, retry_refused))


async def plan(
    zim: ZimClient,
    actions: Source[Action],
    *,
    journal: str | os.PathLike[str] | None = None,
    unlisted: Unlisted = "error",
    retry_not_found: bool = False,
    retry_refused: bool = False,
) -> Progress:
    """Return where ``cleanup`` would begin, sending nothing and leaving the journal as it is.

    Args:
        zim: The client that would send.
        actions: As for ``cleanup``.
        journal: As for ``cleanup``. The plan needs it to itself.
        unlisted: As for ``cleanup``.
        retry_not_found: As for ``cleanup``.
        retry_refused: As for ``cleanup``.

    Returns:
        The counts. ``remaining`` would be sent.

    Raises:
        InvalidArgumentError: As for ``cleanup``.
        JournalError: As for ``cleanup``.
    """
    engine = Engine(zim)
    load = _Load(engine, Options(unlisted, retry_not_found, retry_refused))
    async with contextlib.aclosing(batches(actions)) as source:
        first: list[Action] = await anext(source, [])
        with path_of(journal, existing=True) as path:
            async with engine.opened(path, "cleanup"):
                await load.run(first, source, keep=False)
                return engine.progress()


@dataclass(frozen=True, slots=True)
class Options:
    """What ``cleanup`` was told about an earlier run's rows."""

    unlisted: Unlisted = "error"
    retry_not_found: bool = False
    retry_refused: bool = False

    def __post_init__(self) -> None:
        if self.unlisted not in get_args(Unlisted):
            raise InvalidArgumentError(f"unlisted must be 'error', 'send' or 'drop', not {self.unlisted!r}")


async def run(
    engine: Engine,
    actions: Source[Action],
    journal: str | os.PathLike[str] | None = None,
    stop: asyncio.Event | None = None,
    options: Options | None = None,
) -> Progress:
    """Do what ``cleanup`` does, with an engine."""
    load = _Load(engine, options or Options())
    async with engine.ending_in_order(stop), contextlib.aclosing(batches(actions)) as source:
        # Before the journal: an input that can't be opened leaves nothing behind.
        first = await engine.stop.race(anext(source, []))
        with path_of(journal) as path:
            async with engine.opened(path, "cleanup"):
                if first is not None and await engine.stop.race(load.run(first, source, keep=True)):
                    async with engine.sending():
                        pass
                else:
                    await engine.journal.count()
    return engine.progress()


class _Load:
    """Takes the input up into the journal, as a whole or not at all."""

    def __init__(self, engine: Engine, options: Options) -> None:
        self._engine = engine
        self._options = options

    async def run(self, first: list[Action], source: AsyncGenerator[list[Action], None], *, keep: bool) -> bool:
        """Read the rest of the input too, and bring the counts up to date. ``keep`` it in the journal or not."""
        journal = self._engine.journal
        async with journal.transaction(keep=keep):
            await self._take_up(first, source)
            await journal.count()
        return True

    async def _take_up(self, first: list[Action], source: AsyncGenerator[list[Action], None]) -> None:
        await self._reopen()
        await self._engine.journal.do(Journal.track_listed)
        await self._add(first)
        async for batch in source:
            await self._add(batch)
        await self._compare()

    async def _reopen(self) -> None:
        if self._options.retry_not_found:
            await self._engine.journal.do(Journal.reopen, State.NOT_FOUND)
        if self._options.retry_refused:
            await self._engine.journal.do(Journal.reopen, State.REFUSED)

    async def _add(self, batch: list[Action]) -> None:
        check_actions(batch)
        new = await self._engine.journal.do(Journal.add, batch)
        self._engine.read += len(batch)
        self._engine.duplicates += len(batch) - sum(new.values())

    async def _compare(self) -> None:
        """Decide on the rows that are open from an earlier run and not in the input."""
        engine, unlisted = self._engine, self._options.unlisted
        count = await engine.journal.do(Journal.count_missing)
        if not count:
            return
        if unlisted == "drop":
            await engine.journal.do(Journal.drop_missing)
            return
        engine.unlisted = count
        engine.unlisted_examples = await engine.journal.do(Journal.missing, EXAMPLES)
        if unlisted == "error":
            examples = " and ".join(ascii(action) for action in engine.unlisted_examples)
            raise InvalidArgumentError(
                f"actions that are open in the journal and not in the input: {count}, such as {examples}; nothing was"
                " sent. If they are still meant, give unlisted='send' (--resume); if not, unlisted='drop'"
            )
