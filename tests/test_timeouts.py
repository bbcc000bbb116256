import asyncio

import pytest

from tests.support import virtual_clock
from zim_async._timeouts import TimeoutGroup


async def call(group: TimeoutGroup, seconds: float) -> str:
    task = group.start()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not group.stop(task):
            raise
        return "timed out"
    finally:
        group.stop(task)
    return "done"


async def timed(group: TimeoutGroup, seconds: float) -> tuple[str, float]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    return await call(group, seconds), round(loop.time() - start, 3)


def test_each_call_has_its_own_time() -> None:
    async def main() -> list[tuple[str, float]]:
        group = TimeoutGroup(10.0, asyncio.get_running_loop(), on_idle=lambda: None)
        calls = []
        for seconds in (3, 30, 10.5, 9.5):
            calls.append(asyncio.create_task(timed(group, seconds)))
            await asyncio.sleep(1)
        results = await asyncio.gather(*calls)
        calls.append(asyncio.create_task(timed(group, 11)))
        results.append(await calls[-1])
        group.close()
        return results

    out, done = ("timed out", 10.0), "done"
    assert virtual_clock.run(main()) == [(done, 3.0), out, out, (done, 9.5), out]


def test_a_timed_out_task_counts_as_not_cancelled() -> None:
    async def main() -> None:
        group = TimeoutGroup(1.0, asyncio.get_running_loop(), on_idle=lambda: None)
        assert await call(group, 5) == "timed out"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)

    virtual_clock.run(main())


def test_anothers_cancellation_goes_through_even_at_the_same_moment() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        group = TimeoutGroup(1.0, loop, on_idle=lambda: None)
        for delay in (0.5, 1.0):
            task = asyncio.create_task(call(group, 5))
            await asyncio.sleep(0)
            loop.call_later(delay, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
        group.close()

    virtual_clock.run(main())


def test_closing_lets_go_of_the_timer() -> None:
    async def main() -> None:
        group = TimeoutGroup(1.0, asyncio.get_running_loop(), on_idle=lambda: None)
        assert await call(group, 0.5) == "done"
        group.close()
        group.close()
        await asyncio.sleep(2)

    virtual_clock.run(main())


def test_a_group_needs_a_task() -> None:
    loop = virtual_clock.VirtualLoop()
    with pytest.raises(RuntimeError, match="task"):
        TimeoutGroup(1.0, loop, on_idle=lambda: None).start()
    loop.close()
