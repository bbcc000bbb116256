"""Why and when a bulk job ends before all is done, and the pauses that this cuts short."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from ..errors import ClosedError

T = TypeVar("T")


class Stop:
    """The end of a job: once set, nothing more is sent, and what is in flight is awaited and recorded.

    Attributes:
        error: Why the job ends, unless somebody asked for it.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._set = asyncio.Event()
        self._wake = asyncio.Event()

    def is_set(self) -> bool:
        """Tell whether the job ends."""
        return self._set.is_set()

    def set(self, error: BaseException | None = None) -> None:
        """End the job. The first error is kept."""
        if not (self.is_set() and isinstance(error, ClosedError)):  # which is how the end shows to those who wait
            self.error = self.error or error
        self._set.set()
        self.wake()

    async def wait(self) -> None:
        """Wait until the job ends."""
        await self._set.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds, or until the job ends."""
        await _wait(self._set, seconds)

    async def pause(self, seconds: float) -> None:
        """Wait so many seconds, or until the job ends or somebody calls ``wake``."""
        if not self.is_set():
            await _wait(self._wake, seconds)

    def wake(self) -> None:
        """Cut all pauses short."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def race(self, work: Awaitable[T]) -> T | None:
        """Return what some work comes to, or cancel it and return None when the job ends before."""
        task, end = asyncio.ensure_future(work), asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            ended_by_itself = task.done()
        finally:
            for one in (task, end):
                one.cancel()
            await asyncio.wait({task, end})
        if task.cancelled() and not ended_by_itself:
            return None
        return task.result()  # or what it raised, a cancellation of its own too


async def _wait(event: asyncio.Event, seconds: float) -> None:
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
