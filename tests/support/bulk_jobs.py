"""Bulk jobs in tests: actions, runs without long pauses, and what a journal says afterwards."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zim_async import (
    ClearPeerMessage,
    ConvType,
    DeleteConv,
    ZimClient,
)
from zim_async.bulk import Progress, State, read_journal
from zim_async.bulk._engine import Engine
from zim_async.bulk._job import Options, run
from zim_async.bulk._lane import Pace
from zim_async.bulk._outage import Backoff

Action = ClearPeerMessage | DeleteConv
FAST = 5_000.0  # calls a second
PACE = Pace(Backoff(0.02), settling=0.0)


async def run_job(
    zim: ZimClient,
    actions: Any,
    *,
    journal: Path | None = None,
    on_progress: Any = None,
    on_outcome: Any = None,
    stop: asyncio.Event | None = None,
    pace: Pace = PACE,
    attempt: Any = None,
    **options: Any,
) -> Progress:
    """Do what ``cleanup`` does, without its long pauses."""
    return await run(Engine(zim, on_progress, on_outcome, pace, attempt), actions, journal, stop, Options(**options))


def some(count: int) -> list[Action]:
    """Return so many actions, every other one of each kind."""
    return [
        ClearPeerMessage(f"user-{n}", "bob") if n % 2 else DeleteConv(f"user-{n}", "g7", ConvType.GROUP)
        for n in range(count)
    ]


def states(path: Path) -> Counter[str]:
    tallies = read_journal(path).tallies.values()
    return +Counter({state.value: sum(tally[state] for tally in tallies) for state in State})


def assert_at_rest(zim: ZimClient) -> None:
    for name in "ClearPeerMessage", "DeleteConv":
        assert (zim.limiter.of(name).in_flight, zim.limiter.of(name).waiting) == (0, 0)


def stop_after(count: int, stop: Callable[[], object]) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.done >= count:
            stop()

    return on_progress
