"""The limiter of one action: never more than ``qps`` arrivals in any one second, as the server sees them.

It has three parts, with one job each:

1. A queue (see ``_queue``): first come, first served, interactive calls ahead of bulk ones. Only its head asks
   for a permit, so a million waiting calls cost a million queue entries and nothing more.
2. A window of ``qps`` permits (see ``window`` and ``_local``): the hard bound. A permit comes back one second
   after the call's response.
3. A token bucket (see ``_bucket``): the mean. Should the window ever be led astray by what it learns of the
   network, the excess is made good in the seconds that follow. Whoever has a permit takes a token too, and
   hardly ever waits for it.

A refusal by the server says that other programs use the quota. The action pauses for all its callers, and works
with fewer permits, which grow back while responses are clean (see ``_adaptation``).

A limiter serves one event loop at a time. Another one takes over when the first is closed, or has no calls
that wait or are in flight. A forked child starts afresh: its parent's calls are not its own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from typing import Any, Final

from ..errors import ClosedError, QueueTimeoutError, ZimError
from ._bucket import TokenBucket
from ._local import LocalWindow
from ._queue import Queue, WaitingCall
from ._throttle_log import ThrottleLog
from .window import PRIORITIES, Permit, Priority, WindowFactory

COME_WITHIN: Final = 0.5  # seconds in which a call is to take what it was granted


class _HeldPermit:
    """A permit that a caller holds. What comes after its end, or after its event loop, does nothing."""

    __slots__ = ("_ended", "_limiter", "_loop_number", "_permit")

    def __init__(self, limiter: ActionLimiter, permit: Permit) -> None:
        self._limiter = limiter
        self._permit = permit
        self._loop_number = limiter._loop_number
        self._ended = False
        limiter._in_flight += 1

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        limiter = self._limiter
        if not self._ended and self._loop_number == limiter._loop_number:
            self._ended = True
            limiter._in_flight -= 1
            self._permit.release(min_round_trip=min_round_trip, throttled=throttled)
            if throttled:
                limiter._note_throttled()

    def cancel(self) -> None:
        limiter = self._limiter
        if not self._ended and self._loop_number == limiter._loop_number:
            self._ended = True
            limiter._in_flight -= 1
            self._permit.cancel()
            limiter._bucket.refund()


class ActionLimiter:
    """Lets the calls of one action through.

    Made by ``RateLimiter.of``.

    Args:
        action: The action's name.
        qps: Calls a second.
        window: Makes the window that permits come from.

    Example:
        permit = await limiter.acquire()
        try:
            ...  # send the request
        finally:
            permit.release()
    """

    def __init__(self, action: str, qps: float, *, window: WindowFactory = LocalWindow) -> None:
        self._action = action
        self._qps = qps
        self._make_window = window
        self._loop_number = 0  # permits of an earlier loop's calls are void
        self._forget_parent()

    def _forget_parent(self) -> None:
        self._window = self._make_window(self._action, self._qps)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._last_throttled: float | None = None
        self._forget_calls()

    def _forget_calls(self) -> None:
        self._bucket = TokenBucket(self._qps)
        self._queue = Queue()
        self._in_flight = 0
        self._loop_number += 1
        self._throttle_log = ThrottleLog(self._action)

    def __repr__(self) -> str:
        return (
            f"<ActionLimiter qps={self.qps:g} permits={self.permits:.1f} in_flight={self.in_flight}"
            f" waiting={self.waiting}>"
        )

    @property
    def qps(self) -> float:
        """Calls a second. It may be set at any time."""
        return self._qps

    @qps.setter
    def qps(self, qps: float) -> None:
        if qps != self._qps:
            self._qps = qps
            self._bucket = TokenBucket(qps)
            self._window.resize(qps)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Calls that hold a permit."""
        return self._in_flight

    @property
    def permits(self) -> float:
        """Calls that may be under way in any one second: ``qps``, or fewer after refusals."""
        return self._window.permits

    @property
    def last_throttled(self) -> float | None:
        """When the server last refused a call for its rate, by ``time.monotonic``. None if never."""
        return self._last_throttled

    @property
    def idle(self) -> bool:
        """Whether nothing is lost if the limiter is forgotten: no calls, no permits in use, no refusals remembered."""
        return not self._queue and not self._in_flight and self._window.idle

    def estimated_wait(self, priority: Priority = "interactive") -> float:
        """Return the seconds that a call which comes now is likely to wait.

        Args:
            priority: The call's.
        """
        return self._window.estimated_wait(priority, self._queue.ahead_of(priority))

    async def acquire(
        self,
        priority: Priority = "interactive",
        max_wait: float | None = None,
        *,
        owner: object = None,
        again: bool = False,
    ) -> Permit:
        """Wait for this call's turn, and return the permit to send it.

        Args:
            priority: "interactive", or "bulk" for calls that let interactive ones go first.
            max_wait: The seconds that the call may wait, and may be expected to wait; None for any.
            owner: Who may abandon the call while it waits, see ``RateLimiter.abandon``. Anything hashable.
            again: Whether the call has waited before. It then goes ahead of those which haven't.

        Returns:
            A permit, of which exactly one of ``release`` and ``cancel`` is to be called.

        Raises:
            QueueTimeoutError: The wait is likely to be longer than ``max_wait``, or was.
            ClosedError: The owner abandoned the call, or the limiter is in use on another event loop.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._take_over(loop)
        free = None if self._queue else self._window.try_take(priority)
        permit: Permit | None = None if free is None else _HeldPermit(self, free)
        was_late = False
        while permit is None:
            call = self._enqueue(priority, max_wait, owner, again)
            try:
                permit = await call
            except BaseException:
                self._withdraw(call)
                raise
            if not was_late and time.monotonic() - call.granted_at > COME_WITHIN:
                # The loop stood still, or the whole process. Others may have been granted that permit meanwhile.
                self._withdraw(call)
                permit, again, was_late = None, True, True
        if not self._bucket.try_take():
            try:
                await self._bucket.take()
            except BaseException:
                permit.cancel()
                raise
        return permit

    def abandon(self, owner: object, reason: str, most: int) -> bool:
        """Fail up to ``most`` waiting calls of an owner with ``ClosedError``.

        Args:
            owner: What was given to ``acquire``.
            reason: The error's text.
            most: The calls to fail at most.

        Returns:
            Whether there were any.
        """
        if self._loop is not asyncio.get_running_loop():
            return False
        calls = self._queue.pop_owned(owner, most)
        for call in calls:
            if not call.done():
                self._fail(call, ClosedError(reason, action=self._action))
        return bool(calls)

    def close(self) -> Coroutine[Any, Any, None]:
        """Fail all waiting calls with ``ClosedError``, and close the window. The next call opens it anew.

        Returns:
            What is to be awaited until the window is closed. Calls that come before that are served.

        Raises:
            ClosedError: The limiter is in use on another event loop.
        """
        if self._loop is not asyncio.get_running_loop():
            self._check_unused()
        else:
            for priority in PRIORITIES:
                while (call := self._queue.pop(priority)) is not None:
                    reason = "the limiter was closed while the call waited; nothing was sent"
                    call.set_exception(ClosedError(reason, action=self._action))
        self._forget_calls()
        self._expect()
        self._loop = None
        return self._close_window()

    async def _close_window(self) -> None:
        if self._loop is None:  # nobody came meanwhile, whose window it would be
            await self._window.close()

    def _enqueue(self, priority: Priority, max_wait: float | None, owner: object, again: bool) -> WaitingCall:
        if max_wait is not None:
            wait = self._window.estimated_wait(priority, self._queue.ahead_of(priority, again=again))
            if wait > max_wait:
                text = f"the wait in the queue is likely to be {wait:.1f} s, more than {max_wait=:g}"
                raise self._queue_timeout(text, wait)
        loop = asyncio.get_running_loop()
        call = WaitingCall(priority, owner, loop)
        first = priority == "interactive" and not self._queue.interactive
        self._queue.append(call, again=again)
        if max_wait is not None:
            timer = loop.call_later(max_wait, self._time_out, call, max_wait)
            call.add_done_callback(lambda _: timer.cancel())
        if first:  # there may be a permit that the bulk calls in the queue aren't due for
            self._admit()
        else:
            self._expect()
        return call

    def _admit(self) -> None:
        """Give permits to the heads of the queue, as long as there are any."""
        queue = self._queue
        while queue:
            priority = queue.next_priority
            try:
                permit = self._window.try_take(priority)
                if permit is None and priority == "bulk" and queue.interactive:
                    priority = "interactive"
                    permit = self._window.try_take(priority)
            except ZimError as error:
                if (call := queue.pop(priority)) is None:
                    break
                error.action = self._action
                call.set_exception(error)
                continue
            if permit is None:
                break
            if (call := queue.pop(priority)) is None:  # all of them were cancelled in this moment
                permit.cancel()
                break
            call.granted_at = time.monotonic()
            call.set_result(_HeldPermit(self, permit))
        self._expect()

    def _expect(self) -> None:
        self._window.expect(self._queue.interactive, self._queue.bulk)

    def _note_throttled(self) -> None:
        self._last_throttled = time.monotonic()
        self._throttle_log.note(self.permits, self._qps)

    def _withdraw(self, call: WaitingCall) -> None:
        """Leave the queue with a call that was cancelled while it waited, or as its permit came."""
        if call.get_loop() is not self._loop or self._loop.is_closed():
            return  # thrown away with its loop
        if not call.done():
            call.cancel()
        if call.cancelled():
            self._queue.note_left(call)
            self._expect()
        elif call.exception() is None:
            call.result().cancel()
            self._bucket.try_take()  # that refunded a token, which the call hadn't taken yet

    def _time_out(self, call: WaitingCall, max_wait: float) -> None:
        if not call.done():
            wait = self.estimated_wait(call.priority)
            self._fail(call, self._queue_timeout(f"still in the queue after {max_wait=:g} s", wait))

    def _queue_timeout(self, text: str, wait: float) -> QueueTimeoutError:
        text += f"; nothing was sent. A call that comes now would wait some {wait:.1f} s"
        return QueueTimeoutError(text, estimated_wait=wait, action=self._action)

    def _fail(self, call: WaitingCall, error: ZimError) -> None:
        self._queue.note_left(call)
        call.set_exception(error)
        self._expect()

    def _take_over(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pid != os.getpid():
            self._forget_parent()
        else:
            self._check_unused()
            self._forget_calls()
            self._expect()
        self._loop = loop
        self._window.open(self._admit)

    def _check_unused(self) -> None:
        if self._loop is not None and not self._loop.is_closed() and (self._queue or self._in_flight):
            raise ClosedError(
                "this application's quota is in use on another event loop of this process. Either run all its"
                " calls on one background loop, or share the quota through Redis (zim_async.limits.redis)",
                action=self._action,
            )
