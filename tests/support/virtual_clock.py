"""An event loop whose clock jumps to the next timer: hours of waiting pass in no time, and to the microsecond."""

import asyncio
import math
import selectors
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class _Clock:
    """The time of all virtual loops; as the real one's, it goes on from one loop to the next."""

    def __init__(self) -> None:
        self.now = 1000.0


_clock = _Clock()


def now() -> float:
    """Return the virtual time in seconds: what ``time.monotonic`` is beside a real loop."""
    return _clock.now


class _JumpingSelector(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("deadlock: every task waits, and no timer is set")
            _clock.now += timeout
        _clock.now += 1e-9  # as a real clock does, lest a timer set a rounding error too early spin for ever
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on the virtual clock.

    Args:
        whole_milliseconds: Whether timers are as uvloop's: in whole milliseconds, and up to one early.
    """

    def __init__(self, *, whole_milliseconds: bool = False) -> None:
        self._whole_milliseconds = whole_milliseconds
        super().__init__(_JumpingSelector())

    def time(self) -> float:
        return math.floor(_clock.now * 1000.0) / 1000.0 if self._whole_milliseconds else _clock.now

    def call_at(  # type: ignore[override]
        self, when: float, *arguments: Any, **options: Any
    ) -> asyncio.TimerHandle:
        if self._whole_milliseconds:
            when = round(when * 1000.0) / 1000.0
        return super().call_at(when, *arguments, **options)


def run(main: Coroutine[Any, Any, T], *, whole_milliseconds: bool = False) -> T:
    """Run a coroutine to its end on a virtual clock, and see that it leaves no task behind."""

    async def checked() -> T:
        result = await main
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=partial(VirtualLoop, whole_milliseconds=whole_milliseconds)) as runner:
        return runner.run(checked())
