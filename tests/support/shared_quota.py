"""Several programs that don't know of each other on one quota of 20 a second: how much of it they use.

Played on a virtual clock, which is honest here: nothing but waiting takes time.
"""

import asyncio
import random
from dataclasses import dataclass

from tests.support.limiters import action_limiter
from zim_async._round_trip import RoundTrips
from zim_async.limits import Permit
from zim_async.sandbox import COUNTERS, Counting

QPS = 20
SETTLING = 60.0
COUNTED = 60.0


@dataclass(frozen=True)
class Outcome:
    """Of the counted minute: share of the quota used, of calls refused, and the largest share over the smallest."""

    used: float
    refused: float
    largest_to_smallest: float


async def share_quota(counting: Counting, clients: int, trip: float, jitter: float, *, seed: int) -> Outcome:
    """Let clients with endless work start within three seconds; ``trip`` and ``jitter`` are seconds each way."""
    loop, dice = asyncio.get_running_loop(), random.Random(seed)
    server = COUNTERS[counting](QPS)
    begins = loop.time() + SETTLING
    accepted, refused = [0] * clients, [0] * clients

    async def work(number: int) -> None:
        limiter, round_trips = action_limiter(QPS, dice.random), RoundTrips()
        calls: set[asyncio.Task[None]] = set()

        async def call(permit: Permit) -> None:
            sent_at = loop.time()
            await asyncio.sleep(trip + dice.expovariate(1 / jitter))
            ok = server.accepts(loop.time())
            if loop.time() >= begins:
                (accepted if ok else refused)[number] += 1
            await asyncio.sleep(trip + dice.expovariate(1 / jitter))
            round_trips.add(loop.time() - sent_at)
            permit.release(min_round_trip=round_trips.minimum, throttled=not ok)

        await asyncio.sleep(dice.uniform(0, 3))
        while loop.time() < begins + COUNTED:
            task = asyncio.create_task(call(await limiter.acquire()))
            calls.add(task)
            task.add_done_callback(calls.discard)
        await asyncio.gather(*calls)

    await asyncio.gather(*(work(number) for number in range(clients)))
    done, lost = sum(accepted), sum(refused)
    return Outcome(done / (QPS * COUNTED), lost / (done + lost), max(accepted) / max(1, min(accepted)))
