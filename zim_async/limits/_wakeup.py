"""A timer by a clock that the event loop doesn't know."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Wakeup:
    """Calls a function once its time has come, on one event loop.

    The call may be early by the resolution of the loop's own clock.

    Args:
        on_wake: What to call.
        clock: Tells the time in seconds, and never goes back.
    """

    def __init__(self, on_wake: Callable[[], None], clock: Callable[[], float]) -> None:
        self._on_wake = on_wake
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.at = math.inf  # when it is due; infinity if it isn't set

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use an event loop from now on, and forget what was set on another."""
        self._loop, self._timer, self.at = loop, None, math.inf

    def close(self) -> None:
        """Call nothing any more."""
        self.set(math.inf)
        self._loop = None

    @property
    def runs_here(self) -> bool:
        """Whether its event loop is the running one."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def set(self, at: float) -> None:
        """Set the time, in place of one that was set before.

        Args:
            at: When, by the clock. Infinity for never.
        """
        if self._timer is not None:
            if at == self.at:
                return
            self._timer.cancel()
            self._timer, self.at = None, math.inf
        if at < math.inf and self._loop is not None:
            self.at = at
            self._timer = self._loop.call_later(max(0.0, at - self._clock()), self._wake)

    def _wake(self) -> None:
        if not self.runs_here:
            return  # set on a loop that was left
        self._timer, self.at = None, math.inf
        self._on_wake()
