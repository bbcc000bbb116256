"""What the limiter promises on every kind of event loop, by real clocks."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import loops, virtual_clock
from tests.support.limiters import action_limiter, most_in_any_second
from zim_async import ClosedError, RateLimiter
from zim_async.limits import ActionLimiter, Permit


@pytest.fixture(params=loops.LOOPS)
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def call_for(limiter: ActionLimiter, seconds: float) -> list[float]:
    """Have forty callers call as often as they may, at a server that answers at once; return the arrivals."""
    arrivals: list[float] = []
    ends = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < ends:
            permit = await limiter.acquire()
            arrivals.append(time.monotonic())
            permit.release()

    await asyncio.gather(*(work() for _ in range(40)))
    return arrivals


def test_no_second_sees_too_many_calls_and_the_quota_is_used(loop_name: str) -> None:
    arrivals = loops.run(call_for(RateLimiter(20).of("DeleteConv"), 3.2), loop_name)
    assert most_in_any_second(arrivals) <= 20
    assert len([at for at in arrivals if at < arrivals[0] + 3.2]) >= 79


def test_a_loop_whose_timers_are_early_lets_no_call_through_early() -> None:
    async def main() -> list[float]:
        limiter, arrivals = action_limiter(20), []

        async def work() -> None:
            for _ in range(20):
                permit = await limiter.acquire()
                arrivals.append(virtual_clock.now())
                permit.release()
                await asyncio.sleep(0.0003)

        await asyncio.gather(*(work() for _ in range(30)))
        return arrivals

    arrivals = virtual_clock.run(main(), whole_milliseconds=True)
    assert most_in_any_second(arrivals) == 20
    assert arrivals[-1] - arrivals[0] == pytest.approx(29.0, rel=0.01)


def test_waiting_calls_may_be_cancelled_and_abandoned(loop_name: str) -> None:
    async def main() -> None:
        limiters = RateLimiter(1)
        limiter = limiters.of("DeleteConv")
        (await limiter.acquire()).release()
        calls = [asyncio.create_task(limiter.acquire(owner="me")) for _ in range(10)]
        await asyncio.sleep(0.01)
        for call in calls[:5]:
            call.cancel()
        await limiters.abandon("me", "closed")
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 5 + [ClosedError] * 5
        assert (limiter.waiting, limiter.in_flight) == (0, 0)

    loops.run(main(), loop_name)


# One loop after another, and beside it


async def one_call(limiter: ActionLimiter) -> float:
    start = time.monotonic()
    (await limiter.acquire()).release()
    return time.monotonic() - start


def test_the_count_goes_on_when_a_new_loop_takes_over(loop_name: str) -> None:
    limiter = RateLimiter(2).of("DeleteConv")

    async def leave_one_in_flight() -> Permit:
        await one_call(limiter)
        return await limiter.acquire()

    permit = loops.run(leave_one_in_flight(), loop_name)
    assert loops.run(one_call(limiter), loop_name) == pytest.approx(1.0, abs=0.1)
    permit.release()  # of a call whose loop is gone, which the limiter has accounted for
    permit.cancel()
    assert limiter.in_flight == 0


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_second_loop_takes_over_what_the_first_leaves_idle(
    other_loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    limiter = RateLimiter(1).of("DeleteConv")
    asyncio.run_coroutine_threadsafe(one_call(limiter), other_loop).result()
    assert loops.run(one_call(limiter), loop_name) > 0.9  # the permit is still on its way back
    assert asyncio.run_coroutine_threadsafe(one_call(limiter), other_loop).result() > 0.9


def test_a_second_loop_beside_a_busy_one_is_told_the_two_ways_out(other_loop: asyncio.AbstractEventLoop) -> None:
    limiter = RateLimiter(1).of("DeleteConv")
    permit = asyncio.run_coroutine_threadsafe(limiter.acquire(), other_loop).result()
    with pytest.raises(ClosedError, match=r"one background loop.*Redis"):
        asyncio.run(one_call(limiter))
    waiting = asyncio.run_coroutine_threadsafe(one_call(limiter), other_loop)
    other_loop.call_soon_threadsafe(permit.release)
    with pytest.raises(ClosedError, match=r"one background loop.*Redis"):
        asyncio.run(one_call(limiter))
    assert waiting.result() > 0.9


def test_abandoning_from_another_loop_touches_nothing(other_loop: asyncio.AbstractEventLoop) -> None:
    limiters = RateLimiter(1)
    limiter = limiters.of("DeleteConv")
    asyncio.run_coroutine_threadsafe(one_call(limiter), other_loop).result()
    waiting = asyncio.run_coroutine_threadsafe(limiter.acquire(owner="me"), other_loop)
    while not limiter.waiting:
        time.sleep(0.001)
    asyncio.run(limiters.abandon("me", "closed"))
    waiting.result().cancel()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_the_loop_runs_starts_afresh() -> None:
    limiter = RateLimiter(1).of("DeleteConv")

    def call_in_child() -> None:
        status = 1
        try:
            status = 0 if asyncio.run(asyncio.wait_for(one_call(limiter), 5)) < 0.5 else 2
        finally:
            os._exit(status)

    async def main() -> int:
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as pool:
            child = os.fork()
            if child == 0:
                pool.submit(call_in_child).result()
            status = os.waitpid(child, 0)[1]
        waiting.cancel()
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(main()) == 0


def test_a_closed_limiter_may_be_used_on_the_next_loop(loop_name: str) -> None:
    limiters = RateLimiter(1)

    async def use() -> float:
        async with limiters:
            waited = await one_call(limiters.of("DeleteConv"))
            await asyncio.sleep(0.1)
            await limiters.of("DeleteConv").acquire()  # in flight as the limiter closes
            return waited

    loops.run(use(), loop_name)
    assert limiters.of("DeleteConv").in_flight == 0
    assert loops.run(one_call(limiters.of("DeleteConv")), loop_name) > 0.9
    asyncio.run(limiters.close())


def test_a_limiter_in_use_on_another_loop_is_not_closed(other_loop: asyncio.AbstractEventLoop) -> None:
    limiters = RateLimiter(1)
    permit = asyncio.run_coroutine_threadsafe(limiters.of("DeleteConv").acquire(), other_loop).result()
    with pytest.raises(ClosedError, match="another event loop"):
        asyncio.run(limiters.close())
    other_loop.call_soon_threadsafe(permit.release)
