"""Load on a shared quota over a network of 20 ms: in this process, or as one of its own.

``python -m tests.support.redis_load URL`` prints the time of each arrival until it is ended.
"""

import asyncio
import sys
import time
from collections.abc import Callable

from zim_async import QuotaUnavailableError
from zim_async.limits import ActionLimiter
from zim_async.limits.redis import RedisRateLimiter

ROUND_TRIP = 0.02  # seconds
LANES = 30
APP_ID = 77


async def lane(limiter: ActionLimiter, arrive: Callable[[float], None], fail: Callable[[float], None]) -> None:
    """Make one call after another until cancelled, and tell when they arrive and when they fail."""
    while True:
        try:
            permit = await limiter.acquire()
        except QuotaUnavailableError:
            fail(time.monotonic())
            await asyncio.sleep(0.1)
            continue
        arrive(time.monotonic())  # what was sent arrives, whatever happens to this process
        await asyncio.sleep(ROUND_TRIP)
        permit.release(min_round_trip=ROUND_TRIP / 2)


async def load(url: str, arrive: Callable[[float], None], fail: Callable[[float], None]) -> None:
    """Use the quota as one process would, until cancelled."""
    async with RedisRateLimiter(url, app_id=APP_ID) as limiter:
        await asyncio.gather(*(lane(limiter.of("DeleteConv"), arrive, fail) for _ in range(LANES)))


if __name__ == "__main__":
    asyncio.run(load(sys.argv[1], lambda at: print(at, flush=True), lambda _: None))
