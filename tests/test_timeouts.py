import asyncio

import pytest

from tests.support import virtual_clock
from zim_async._timeouts import Watchdog


async def call(dog: Watchdog, seconds: float) -> str:
    task = dog.start()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not dog.stop(task):
            raise
        return "timed out"
    finally:
        dog.stop(task)
    return "done"


async def timed(dog: Watchdog, seconds: float) -> tuple[str, float]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    return await call(dog, seconds), round(loop.time() - start, 3)


def test_each_call_has_its_own_time() -> None:
    async def main() -> list[tuple[str, float]]:
        dog = Watchdog(10.0, asyncio.get_running_loop())
        calls = []
        for seconds in (3, 30, 10.5, 9.5):
            calls.append(asyncio.create_task(timed(dog, seconds)))
            await asyncio.sleep(1)
        results = await asyncio.gather(*calls)
        calls.append(asyncio.create_task(timed(dog, 11)))
        results.append(await calls[-1])
        dog.close()
        return results

    out, done = ("timed out", 10.0), "done"
    assert virtual_clock.run(main()) == [(done, 3.0), out, out, (done, 9.5), out]


def test_a_timed_out_task_counts_as_not_cancelled() -> None:
    async def main() -> None:
        dog = Watchdog(1.0, asyncio.get_running_loop())
        assert await call(dog, 5) == "timed out"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)

    virtual_clock.run(main())


def test_anothers_cancellation_goes_through_even_at_the_same_moment() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        dog = Watchdog(1.0, loop)
        for delay in (0.5, 1.0):
            task = asyncio.create_task(call(dog, 5))
            await asyncio.sleep(0)
            loop.call_later(delay, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
        dog.close()

    virtual_clock.run(main())


def test_closing_lets_go_of_the_timer() -> None:
    async def main() -> None:
        dog = Watchdog(1.0, asyncio.get_running_loop())
        assert await call(dog, 0.5) == "done"
        dog.close()
        dog.close()
        await asyncio.sleep(2)

    virtual_clock.run(main())


def test_a_watchdog_needs_a_task() -> None:
    loop = virtual_clock.VirtualLoop()
    with pytest.raises(RuntimeError, match="task"):
        Watchdog(1.0, loop).start()
    loop.close()
