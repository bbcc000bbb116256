"""The rate limiter: never more than ``qps`` arrivals of one action in any second, as the server sees them.

Theory of operation. Each action of an application has three parts, with one job each:

- a queue (see ``turns``): first come, first served, interactive calls ahead of bulk ones; only its head
  goes on to the other two, so that a million waiting calls cost a million queue entries and nothing more;
- a token bucket (aiolimiter) of ``qps`` tokens a second: the mean. Should the window ever be led astray
  by what it learns of the network, the excess is made good in the seconds that follow;
- a window of ``qps`` permits (see ``window``): the hard bound. A bucket alone lets a full bucket plus a
  second's refill through in one second. A permit comes back one second after the call's *answer*: the
  arrival at the server lies between sending and answer, so whatever the network does to either way, the
  arrival that takes a permit over comes at least a second after the arrival that had it before.

Of that second, what every round trip takes at least can be taken off again (see ``roundtrip``): that much of
the wait for the answer lay after the arrival before, or lies before the arrival to come. This credit is learned,
and errs on the low side; but in the second in which a route turns faster than any seen lately, the old credit is
too large for the new route, and that one second may see up to twice the calls. Where no connection is reused,
or the session is borrowed, there is no credit, and the bound is exact. A call given up without an answer is
taken to have arrived by the time it was given up.

A call joins the queue and takes a permit; sent, it releases it, and one never sent gives it back. A refusal
by the server says that other programs use the quota: the action pauses for all its callers, and works with fewer
permits, which grow back while answers are clean (see ``window``). When the event loop has closed and a new one
takes over, permits in flight count as answered just then.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Final, TypeAlias

from ..actions import ACTIONS
from ..errors import ClosedError, ConfigError, QueueTimeoutError
from ._local import Window
from ._queue import Priority, Turn, Turns

DEFAULT_QPS: Final = 20.0
GIVEN_UP_AT_A_TIME: Final = 250
Rate: TypeAlias = float | Mapping[str, float]


class Bucket:
    """An aiolimiter bucket of ``qps`` tokens a second, emptied by the hundredth of a second's worth at a time.

    Up to a hundred calls a second that is token by token; above, it saves some 5 us a call.
    """

    def __init__(self, qps: float) -> None:
        # Imported here: what it imports takes a quarter of the time that importing this library would.
        from aiolimiter import AsyncLimiter

        self._limiter = AsyncLimiter(max(qps, 1.0), max(1.0, 1.0 / qps))
        self._handful = max(1, int(qps / 100))
        self._in_hand = 0

    def take_at_once(self) -> bool:
        """Take a token if there is one."""
        if not self._in_hand:
            if not self._limiter.has_capacity(self._handful):
                return False
            # With capacity its coroutine ends without suspending, so there is nothing to await.
            with contextlib.suppress(StopIteration):
                self._limiter.acquire(self._handful).send(None)
            self._in_hand = self._handful
        self._in_hand -= 1
        return True

    def put_back(self) -> None:
        """Return a token that came to nothing."""
        self._in_hand += 1

    async def take(self) -> None:
        """Wait for a token and take it."""
        if not self._in_hand:
            await self._limiter.acquire(self._handful)
            self._in_hand = self._handful
        self._in_hand -= 1


class ActionLimiter:
    """Lets the calls of one action through: ``await acquire()``, send, then ``release()`` on every path."""

    def __init__(self, qps: float) -> None:
        self._qps = qps
        self._window = Window(qps)
        self._bucket = Bucket(qps)
        self._turns = Turns()
        self._serving: asyncio.Task[None] | None = None
        self._change: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return (
            f"<ActionLimiter qps={self.qps:g} permits={self.permits:.1f} in_flight={self.in_flight}"
            f" waiting={self.waiting}>"
        )

    @property
    def qps(self) -> float:
        """Calls a second; may be set at any time."""
        return self._qps

    @qps.setter
    def qps(self, qps: float) -> None:
        if qps == self._qps:
            return
        self._qps = qps
        self._window.resize(qps)
        self._bucket = Bucket(qps)
        self._stop_serving()  # it may be waiting for the old bucket
        self._serve_queue()

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._turns)

    @property
    def in_flight(self) -> int:
        """Calls let through whose end isn't known yet."""
        return self._window.in_flight

    @property
    def permits(self) -> float:
        """Calls that may be under way in any one second: ``qps``, or fewer after refusals."""
        if self._loop is not None:
            self._window.grow(self._loop.time())
        return self._window.permits

    @property
    def last_refusal(self) -> float | None:
        """When the server last refused a call for its rate, by the event loop's clock; None if never."""
        return None if self._window.last_refusal == -math.inf else self._window.last_refusal

    def estimated_wait(self, priority: Priority = "interactive") -> float:
        """Return the seconds that a call joining now is likely to wait; needs the running loop's clock."""
        return self._window.wait(self._turns.ahead_of(priority), asyncio.get_running_loop().time())

    async def acquire(
        self,
        priority: Priority = "interactive",
        max_wait: float | None = None,
        *,
        owner: object = None,
        again: bool = False,
    ) -> None:
        """Wait for this call's turn as ``join`` says; each return is to be followed by one ``release``."""
        turn = self.join(priority, max_wait, owner=owner, again=again)
        if turn is not None:
            try:
                await turn
            except (asyncio.CancelledError, ClosedError):
                self.leave(turn)
                raise

    def turns_of(self, owner: object) -> list[Turn]:
        """Return the turns that wait on the running loop for an owner."""
        return self._turns.owned_by(owner) if self._loop is asyncio.get_running_loop() else []

    def join(
        self, priority: Priority, max_wait: float | None = None, *, owner: object = None, again: bool = False
    ) -> Turn | None:
        """Take a permit and return None if one is free, else a turn to await; if that raises, ``leave`` with it.

        These are the halves of ``acquire``, for callers who save memory by waiting in a frame of their own.
        ``again`` is for a call that has waited before: it goes to the front. Raises ``QueueTimeoutError``
        when the wait is likely to be longer than ``max_wait`` seconds.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._move_to(loop)
        now = loop.time()
        # Nobody serves the queue: nobody waits.
        if self._serving is None and self._window.opens_at(now) <= now and self._bucket.take_at_once():
            self._window.take(now)
            return None
        if max_wait is not None and (wait := self.estimated_wait(priority)) > max_wait:
            raise QueueTimeoutError(
                f"the wait in the queue would be some {wait:.1f} s, more than max_wait={max_wait:g};"
                " nothing was sent. Try again after that time",
                estimated_wait=wait,
            )
        turn = Turn(priority, owner, loop)
        self._turns.join(turn, again=again)
        self._serve_queue()
        return turn

    def leave(self, turn: Turn) -> None:
        """Leave with a turn that was cancelled, or given up by its owner, while it was awaited."""
        if turn.cancelled() or turn.exception() is not None:
            self._turns.leave(turn)
            if not self._turns:
                self._stop_serving()
        else:  # let through in the same moment, and never sent
            self.give_back()

    def release(self, floor: float = 0.0, *, refused: bool = False) -> None:
        """Note that a call ended, ``refused`` for its rate or not; ``floor`` is what its round trip took at least."""
        if self._loop is not None:
            self._window.end(self._loop.time(), floor, refused=refused)
        if self._change is not None:
            self._signal_change()

    def give_back(self) -> None:
        """Return permit and token of a call that was let through but never sent."""
        self._window.give_back()
        self._bucket.put_back()
        self._signal_change()

    async def _serve(self) -> None:
        """Let the heads of the queue through, one after another, until nobody waits."""
        loop = asyncio.get_running_loop()
        while self._turns:
            await self._window_open(loop)
            await self._bucket.take()
            # While that took its time, a refusal may have closed the window, or the last waiter been cancelled.
            turn = self._turns.next() if self._window.opens_at(loop.time()) <= loop.time() else None
            if turn is not None:
                self._window.take(loop.time())
                turn.set_result(None)
            else:
                self._bucket.put_back()
                await asyncio.sleep(0)

    async def _window_open(self, loop: asyncio.AbstractEventLoop) -> None:
        while (opens_at := self._window.opens_at(loop.time())) > loop.time():
            self._change = loop.create_future()
            # Permits may grow back, which nothing else would tell of.
            timer = loop.call_at(min(opens_at, loop.time() + 1.0), self._signal_change)
            try:
                await self._change
            finally:
                timer.cancel()

    def _serve_queue(self) -> None:
        if not self._turns or self._loop is None or self._loop.is_closed():
            return
        if self._serving is None:
            self._serving = self._loop.create_task(self._serve())
            self._serving.add_done_callback(self._resume_serving)

    def _resume_serving(self, ended: asyncio.Task[None]) -> None:
        if ended is self._serving:
            self._serving = None
            self._serve_queue()  # in case somebody cancelled every task there is

    def _stop_serving(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None and not serving.get_loop().is_closed():
            serving.cancel()

    def _signal_change(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            if not self._loop.is_closed():
                raise ClosedError("this application's quota is in use on another event loop; send from one loop only")
            self._window.carry_over(loop.time())
            self._bucket = Bucket(self._qps)
            self._turns = Turns()
        self._loop, self._serving, self._change = loop, None, None


class RateLimiter:
    """The quota of one application: an ``ActionLimiter`` for each action.

    ``qps`` is one number for every action, or a mapping by action name; unnamed ones have 20.
    Raises ``ConfigError`` for a rate that isn't a finite number above 0.
    """

    def __init__(self, qps: Rate = DEFAULT_QPS) -> None:
        self._limiters = {name: ActionLimiter(DEFAULT_QPS) for name in ACTIONS}
        self.qps = qps

    def __repr__(self) -> str:
        return f"RateLimiter({', '.join(f'{name}={limiter!r}' for name, limiter in self._limiters.items())})"

    def of(self, action: str) -> ActionLimiter:
        """Return the limiter of an action by its name."""
        return self._limiters[action]

    async def give_up(self, owner: object, reason: str) -> None:
        """Fail the waiting turns of an owner with a ``ClosedError``, some at a time so that the loop stays free."""
        turns = [turn for limiter in self._limiters.values() for turn in limiter.turns_of(owner)]
        for number, turn in enumerate(turns, 1):
            if not turn.done():
                turn.set_exception(ClosedError(reason))
            if number % GIVEN_UP_AT_A_TIME == 0:
                await asyncio.sleep(0)

    @property
    def qps(self) -> Mapping[str, float]:
        """Calls a second by action; set it, while running too, to a number or to a mapping of those to change."""
        return {name: limiter.qps for name, limiter in self._limiters.items()}

    @qps.setter
    def qps(self, qps: Rate) -> None:
        rates = qps if isinstance(qps, Mapping) else dict.fromkeys(ACTIONS, qps)
        for name, rate in rates.items():
            if name not in ACTIONS:
                raise ConfigError(f"qps names an unknown action, {name!r}; there are {', '.join(ACTIONS)}")
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
                raise ConfigError(f"qps must be a finite number of calls a second above 0, not {rate!r}")
        for name, rate in rates.items():
            self._limiters[name].qps = float(rate)


_shared: Final[dict[tuple[str, int], RateLimiter]] = {}


def shared_limiter(domain: str, app_id: int) -> RateLimiter:
    """Return the limiter that all clients of this process share for an application on one server side."""
    key = (domain, app_id)
    if key not in _shared:
        _shared[key] = RateLimiter()
    return _shared[key]
