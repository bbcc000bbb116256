import asyncio
import math

from tests.support import virtual_clock
from zim_async.limits._wakeup import Wakeup


def test_it_calls_once_at_the_time_set_last() -> None:
    async def main() -> list[float]:
        woken: list[float] = []
        wakeup = Wakeup(lambda: woken.append(virtual_clock.now()), virtual_clock.now)
        wakeup.open(asyncio.get_running_loop())
        start = virtual_clock.now()
        for seconds in (5.0, 1.0, 3.0, 3.0):
            wakeup.set(start + seconds)
        await asyncio.sleep(10.0)
        return [round(at - start, 6) for at in woken]

    assert virtual_clock.run(main()) == [3.0]


def test_it_calls_nothing_when_told_never_nor_after_close() -> None:
    async def main() -> int:
        woken: list[None] = []
        wakeup = Wakeup(lambda: woken.append(None), virtual_clock.now)
        wakeup.set(virtual_clock.now())  # on no loop
        wakeup.open(asyncio.get_running_loop())
        assert wakeup.runs_here
        wakeup.set(virtual_clock.now() + 1.0)
        wakeup.set(math.inf)
        await asyncio.sleep(2.0)
        wakeup.set(virtual_clock.now() + 1.0)
        wakeup.close()
        await asyncio.sleep(2.0)
        assert not wakeup.runs_here
        return len(woken)

    assert virtual_clock.run(main()) == 0


def test_what_was_set_on_a_loop_that_was_left_calls_nothing() -> None:
    async def main() -> int:
        woken: list[None] = []
        wakeup = Wakeup(lambda: woken.append(None), virtual_clock.now)
        wakeup.open(asyncio.get_running_loop())
        wakeup.set(virtual_clock.now() + 1.0)
        other = asyncio.new_event_loop()
        wakeup.open(other)
        await asyncio.sleep(2.0)
        other.close()
        return len(woken)

    assert virtual_clock.run(main()) == 0
