"""Timeouts: what counts as a duration, and one timer for many calls of the same timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

MAX_SECONDS: Final = 1e9  # thirty years: event loops overflow somewhere beyond
RANGE: Final = f"above 0, at most {MAX_SECONDS:.0f}"  # of a duration, for messages


def is_duration(value: object) -> bool:
    """Tell whether a value is a number of seconds above 0 that an event loop can wait for."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_SECONDS


class TimeoutGroup:
    """Cancels tasks whose call is still under way ``seconds`` after it began, as ``asyncio.timeout`` does.

    All timeouts of a group are equal, so calls are due in the order in which they began, and one timer serves them
    all. That saves the making and cancelling of a timer, some 5 % of a call.
    """

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop, on_idle: Callable[[], object]) -> None:
        self._seconds = seconds
        self._loop = loop
        self._on_idle = on_idle  # called when nothing was timed for a while
        # For each task under way: when it is due, and how often it had been cancelled before.
        self._running: dict[asyncio.Task[object], tuple[float, int]] = {}
        self._expired: dict[asyncio.Task[object], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> asyncio.Task[object]:
        """Time the current task from now on, until ``stop``, and return it."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("timeouts need a task")
        due = self._loop.time() + self._seconds
        self._running[task] = (due, task.cancelling())
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._cancel_late_tasks)
        return task

    def stop(self, task: asyncio.Task[object]) -> bool:
        """Time a task no longer, and tell whether it was this timeout, and nobody else, that cancelled it.

        If so, the task counts as not cancelled.
        """
        if self._running.pop(task, None) is not None:
            return False
        cancelled_before = self._expired.pop(task, None)
        return cancelled_before is not None and task.uncancel() <= cancelled_before

    def close(self) -> None:
        """Stop the timer, unless calls are still under way."""
        if self._timer is not None and not self._running:
            self._timer.cancel()
            self._timer = None

    def _cancel_late_tasks(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = []
        for task, (due, _) in self._running.items():
            if due > now:
                # The timer isn't moved when calls end. It looks again when the oldest one left is due.
                self._timer = self._loop.call_at(due, self._cancel_late_tasks)
                break
            late.append(task)
        for task in late:
            self._expired[task] = self._running.pop(task)[1]
            task.cancel()
        if self._timer is None:
            self._on_idle()
