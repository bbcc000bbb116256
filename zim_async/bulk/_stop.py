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

    def __bool__(self) -> bool:
        return self._set.is_set()

    def set(self, error: BaseException | None = None) -> None:
        """End the job; the first error is kept."""
        if not (self and isinstance(error, ClosedError)):  # which is how the end shows to those who wait
            self.error = self.error or error
        self._set.set()
        self.wake()

    async def wait(self) -> None:
        """Wait until the job ends."""
        await self._set.wait()

    async def pause(self, seconds: float) -> None:
        """Wait so many seconds, or until the job ends or somebody calls ``wake``."""
        if self or seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

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
