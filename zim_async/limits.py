"""The rate limiter: never more than ``qps`` arrivals of one action in any second, as the server sees them.

Theory of operation. Each action of an application has three parts, with one job each:

- a queue: first come, first served; only its head goes on to the other two, so that a million
  waiting calls cost a million queue entries and nothing more;
- a token bucket (aiolimiter) of ``qps`` tokens a second: the mean;
- a window of ``qps`` permits: the hard bound. A bucket alone lets a full bucket plus a second's
  refill through in one second. A permit comes back one second after the *answer*: the arrival at the
  server lies between sending and answer, so whatever the network does to either way, the arrival
  that takes a permit over comes at least a second after the arrival that had it before.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, TypeAlias

from aiolimiter import AsyncLimiter

from .actions import ACTIONS
from .errors import ConfigError, ZimError

DEFAULT_QPS: Final = 20.0
# The window counts by the second, so a refusal says that a second is full: by then it is over.
REFUSAL_PAUSE: Final = 1.0

Rate: TypeAlias = float | Mapping[str, float]


class Window:
    """The hard bound: at most ``size`` permits in use, each until ``period`` seconds after its call ended.

    Times are those of any one monotonic clock. Below one call a second there is one permit, and the
    period is longer instead.
    """

    def __init__(self, qps: float) -> None:
        self.resize(qps)
        self.in_flight = 0
        self.not_before = -math.inf
        self._returning: list[float] = []  # a heap of the times at which permits come back

    def resize(self, qps: float) -> None:
        """Change the rate; permits in use stay in use."""
        self.size = max(1, math.floor(qps))
        self.period = max(1.0, 1.0 / qps)

    def opens_at(self, now: float) -> float:
        """Return when the next permit can be taken: not after ``now`` means at once, ``inf`` after an answer."""
        while self._returning and self._returning[0] <= now:
            heapq.heappop(self._returning)
        excess = self.in_flight + len(self._returning) - self.size
        if excess < 0:
            return self.not_before
        if excess >= len(self._returning):
            return math.inf
        return max(self.not_before, heapq.nsmallest(excess + 1, self._returning)[-1])

    def take(self) -> None:
        """Take a permit; the caller has seen that the window is open."""
        self.in_flight += 1

    def end(self, now: float) -> None:
        """Note that a call ended, in whatever way: its permit comes back one period from ``now``."""
        self.in_flight -= 1
        heapq.heappush(self._returning, now + self.period)

    def give_back(self) -> None:
        """Return a permit at once whose call was never sent."""
        self.in_flight -= 1

    def pause(self, until: float) -> None:
        """Hand out nothing before ``until``; a pause only ever moves later."""
        self.not_before = max(self.not_before, until)

    def carry_over(self, now: float) -> None:
        """Take what is known to a new event loop, whose calls in flight ended with the old one."""
        latest = now + self.period
        self._returning = [min(at, latest) for at in self._returning] + [latest] * self.in_flight
        heapq.heapify(self._returning)
        self.in_flight = 0
        self.not_before = min(self.not_before, now + REFUSAL_PAUSE)


class ActionLimiter:
    """Lets the calls of one action through: ``await acquire()``, send, then ``release()`` on every path."""

    def __init__(self, qps: float) -> None:
        self._qps = qps
        self._window = Window(qps)
        self._bucket = _bucket(qps)
        # An ordered dict, because a waiter may leave from anywhere at the cost of one look-up.
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._server: asyncio.Task[None] | None = None
        self._change: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<ActionLimiter qps={self.qps:g} waiting={self.waiting} in_flight={self.in_flight}>"

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
        self._bucket = _bucket(qps)
        self._stop_serving()  # it may be waiting for the old bucket
        self._serve_queue()

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Calls let through whose end isn't known yet."""
        return self._window.in_flight

    async def acquire(self) -> None:
        """Wait for this call's turn; each return must be followed by one ``release``."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._move_to(loop)
        if not self._queue and self._window.opens_at(loop.time()) <= loop.time() and self._bucket.has_capacity():
            await self._bucket.acquire()  # has capacity, so this doesn't suspend
            self._window.take()
            return
        turn = loop.create_future()
        self._queue[turn] = None
        self._serve_queue()
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def release(self, *, refused: bool = False) -> None:
        """Note that a call ended; one the server ``refused`` for its rate pauses the whole action."""
        now = asyncio.get_running_loop().time()
        self._window.end(now)
        if refused:
            self._window.pause(now + REFUSAL_PAUSE)
        self._signal_change()

    async def _serve(self) -> None:
        """Let the heads of the queue through, one after another, until nobody waits."""
        while self._queue:
            await self._bucket.acquire()
            await self._window_open()
            self._let_through()

    def _let_through(self) -> None:
        while self._queue:
            turn, _ = self._queue.popitem(last=False)
            if not turn.cancelled():  # cancelled in this very moment, and about to leave
                self._window.take()
                turn.set_result(None)
                return

    async def _window_open(self) -> None:
        loop = asyncio.get_running_loop()
        while (opens_at := self._window.opens_at(loop.time())) > loop.time():
            self._change = loop.create_future()
            timer = loop.call_at(opens_at, self._signal_change) if opens_at < math.inf else None
            try:
                await self._change
            finally:
                if timer is not None:
                    timer.cancel()

    def _serve_queue(self) -> None:
        if self._queue and (self._server is None or self._server.done()):
            self._server = asyncio.get_running_loop().create_task(self._serve())

    def _stop_serving(self) -> None:
        if self._server is not None:
            self._server.cancel()
            self._server = None

    def _signal_change(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if not turn.cancelled():  # let through in the same moment, and never sent
            self._window.give_back()
            self._signal_change()
            return
        self._queue.pop(turn, None)
        if not self._queue:
            self._stop_serving()

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            if not self._loop.is_closed():
                raise ZimError("this application's quota is in use on another event loop; send from one loop only")
            self._window.carry_over(loop.time())
            self._bucket = _bucket(self._qps)
            self._queue.clear()
        self._loop, self._server, self._change = loop, None, None


class RateLimiter:
    """The quota of one application: an ``ActionLimiter`` for each action, made on first use.

    ``qps`` is one number for every action, or a mapping by action name; unnamed ones have 20.
    Raises ``ConfigError`` for a rate that isn't a finite number above 0.
    """

    def __init__(self, qps: Rate = DEFAULT_QPS) -> None:
        self._limiters = {name: ActionLimiter(rate) for name, rate in _rates(qps).items()}

    def __repr__(self) -> str:
        return f"RateLimiter({', '.join(f'{name}={limiter!r}' for name, limiter in self._limiters.items())})"

    def of(self, action: str) -> ActionLimiter:
        """Return the limiter of an action by its name."""
        return self._limiters[action]

    def set_qps(self, qps: Rate) -> None:
        """Change the rates, while running too."""
        for name, rate in _rates(qps).items():
            self._limiters[name].qps = rate


_shared: Final[dict[tuple[str, int], RateLimiter]] = {}


def shared_limiter(domain: str, app_id: int) -> RateLimiter:
    """Return the limiter that all clients of this process share for an application on one server side."""
    return _shared.setdefault((domain, app_id), RateLimiter())


def _bucket(qps: float) -> AsyncLimiter:
    return AsyncLimiter(max(qps, 1.0), max(1.0, 1.0 / qps))


def _rates(qps: Rate) -> dict[str, float]:
    given = qps if isinstance(qps, Mapping) else dict.fromkeys(ACTIONS, qps)
    if unknown := set(given) - set(ACTIONS):
        raise ConfigError(f"qps names unknown actions {sorted(map(str, unknown))}; there are {sorted(ACTIONS)}")
    rates = dict.fromkeys(ACTIONS, DEFAULT_QPS) | dict(given)
    for rate in rates.values():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ConfigError(f"qps must be a finite number of calls a second above 0, not {rate!r}")
    return {name: float(rate) for name, rate in rates.items()}
