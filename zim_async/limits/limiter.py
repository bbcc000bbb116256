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

A call waits for a permit; sent, it releases it, and one never sent cancels it. A refusal
by the server says that other programs use the quota: the action pauses for all its callers, and works with fewer
permits, which grow back while answers are clean (see ``window``). When the event loop has closed and a new one
takes over, permits in flight count as answered just then.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from ..actions import ACTIONS, Action, find_action_class, show_value
from ..errors import ClosedError, ConfigError, QueueTimeoutError
from ._local import LocalWindow
from ._names import action_name
from ._queue import Turn, Turns
from .window import Permit, Priority

DEFAULT_QPS: Final = 20.0
ABANDONED_AT_A_TIME: Final = 250
Rate: TypeAlias = float | Mapping[str, float] | Mapping[Any, float]  # Any: names and classes; keys are invariant


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


class _HeldPermit:
    """A permit that a caller holds."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: ActionLimiter) -> None:
        self._limiter = limiter

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        """Note that the request ended; see ``Permit``."""
        self._limiter._release(self, min_round_trip, throttled)

    def cancel(self) -> None:
        """Return the permit of a request that was never sent."""
        self._limiter._cancel(self)


class ActionLimiter:
    """Lets the calls of one action through: ``permit = await acquire()``, send, ``permit.release()`` on every path."""

    def __init__(self, qps: float, *, window: Callable[[float], LocalWindow] = LocalWindow) -> None:
        self._qps = qps
        self._window = window(qps)
        self._held: set[_HeldPermit] = set()
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
    ) -> Permit:
        """Wait for this call's turn, and return the permit to send it.

        Args:
            priority: "interactive", or "bulk" for calls that let interactive ones go first.
            max_wait: The seconds that the wait may be expected to take at most; None for any.
            owner: Who may abandon the call while it waits: see ``RateLimiter.abandon``.
            again: Whether the call has waited before; it then goes ahead of those which haven't.

        Returns:
            A permit, of which exactly one of ``release`` and ``cancel`` is to be called.

        Raises:
            QueueTimeoutError: The wait is likely to be longer than ``max_wait``.
            ClosedError: The owner abandoned the call, or the limiter is in use on another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._move_to(loop)
        # Nobody serves the queue: nobody waits.
        if self._serving is None:
            now = loop.time()
            if self._window.opens_at(now) <= now and self._bucket.take_at_once():
                return self._take(now)
        if max_wait is not None:
            self._check_wait(priority, max_wait)
        turn = Turn(priority, owner, loop)
        self._turns.join(turn, again=again)
        self._serve_queue()
        try:
            return await turn
        except BaseException:
            self._leave(turn)
            raise

    def _check_wait(self, priority: Priority, max_wait: float) -> None:
        if (wait := self.estimated_wait(priority)) > max_wait:
            raise QueueTimeoutError(
                f"the wait in the queue would be some {wait:.1f} s, more than max_wait={max_wait:g};"
                " nothing was sent. Try again after that time",
                estimated_wait=wait,
            )

    def _leave(self, turn: Turn) -> None:
        """Leave with a turn that was cancelled or abandoned, or with the permit that came in the same moment."""
        if not turn.done() or turn.cancelled() or turn.exception() is not None:
            turn.cancel()
            self._turns.leave(turn)
            if not self._turns:
                self._stop_serving()
        else:
            turn.result().cancel()

    def _take(self, now: float) -> _HeldPermit:
        self._window.take(now)
        permit = _HeldPermit(self)
        self._held.add(permit)
        return permit

    def _release(self, permit: _HeldPermit, min_round_trip: float, throttled: bool) -> None:
        if permit in self._held:
            self._held.discard(permit)
            if self._loop is not None:
                self._window.end(self._loop.time(), min_round_trip, refused=throttled)
            self._signal_change()

    def _cancel(self, permit: _HeldPermit) -> None:
        if permit in self._held:
            self._held.discard(permit)
            self._window.give_back()
            self._bucket.put_back()
            self._signal_change()

    def abandon(self, owner: object, reason: str, most: int) -> bool:
        """Fail up to ``most`` waiting calls of an owner with ``ClosedError(reason)``; tell whether there are more."""
        turns = self._turns.owned_by(owner) if self._loop is asyncio.get_running_loop() else []
        for turn in turns[:most]:
            turn.set_exception(ClosedError(reason))
        return len(turns) > most

    async def _serve(self) -> None:
        """Let the heads of the queue through, one after another, until nobody waits."""
        loop = asyncio.get_running_loop()
        while self._turns:
            await self._window_open(loop)
            await self._bucket.take()
            # While that took its time, a refusal may have closed the window, or the last waiter been cancelled.
            turn = self._turns.next() if self._window.opens_at(loop.time()) <= loop.time() else None
            if turn is not None:
                turn.set_result(self._take(loop.time()))
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
            self._held = set()
        self._loop, self._serving, self._change = loop, None, None


class RateLimiter:
    """The quota of one application: an ``ActionLimiter`` for each action, made when it is first asked for.

    Args:
        qps: Calls a second: one number for every action, or a mapping by action name or ``Action`` class.
            Actions that it doesn't name have the rate that their class states, or 20.
        window: What the permits of an action come from.

    Raises:
        ConfigError: A rate isn't a finite number above 0, or a name isn't an action's.

    Example:
        limiter = RateLimiter({"DeleteConv": 50, "QueryUserInfos": 10})
        async with ZimClient(app_id, secret, limiter=limiter) as zim:
            ...
            print(limiter.of("DeleteConv").estimated_wait())
    """

    def __init__(self, qps: Rate | None = None, *, window: Callable[[float], LocalWindow] = LocalWindow) -> None:
        self._window = window
        self._limiters: dict[str, ActionLimiter] = {}
        self._rate_of_all: float | None = None
        self._rates: dict[str, float] = {}
        if qps is not None:
            self.qps = qps

    def __repr__(self) -> str:
        return f"RateLimiter({', '.join(f'{name}={limiter!r}' for name, limiter in self._limiters.items())})"

    def of(self, action: str | type[Action]) -> ActionLimiter:
        """Return the limiter of an action.

        Args:
            action: Its name in the vendor's spelling, or its class.

        Raises:
            ConfigError: The name isn't an action's, or looks like a slip in the name of a known one.
        """
        name = action if isinstance(action, str) else getattr(action, "name", None)
        limiter = self._limiters.get(name)  # type: ignore[arg-type]  # whatever it is, it isn't in there
        if limiter is None:
            name = action_name(action)
            limiter = self._limiters[name] = ActionLimiter(self._rate_of(name), window=self._window)
        return limiter

    async def abandon(self, owner: object, reason: str) -> None:
        """Fail the waiting calls of an owner with ``ClosedError``, some at a time so that the loop stays free.

        Args:
            owner: What was given to ``acquire``.
            reason: The error's text.
        """
        for limiter in list(self._limiters.values()):
            while limiter.abandon(owner, reason, ABANDONED_AT_A_TIME):  # noqa: ASYNC110, others take their turn
                await asyncio.sleep(0)

    @property
    def qps(self) -> Mapping[str, float]:
        """Calls a second by action; set it, while running too, to a number or to a mapping of those to change."""
        return {name: self._rate_of(name) for name in {**ACTIONS, **self._rates, **self._limiters}}

    @qps.setter
    def qps(self, qps: Rate) -> None:
        if isinstance(qps, Mapping):
            self._rates |= {action_name(action): _checked_rate(rate) for action, rate in qps.items()}
        else:
            self._rate_of_all, self._rates = _checked_rate(qps), {}
        for name, limiter in self._limiters.items():
            limiter.qps = self._rate_of(name)

    def _rate_of(self, name: str) -> float:
        if (rate := self._rates.get(name, self._rate_of_all)) is not None:
            return rate
        kind = find_action_class(name)
        return DEFAULT_QPS if kind is None else kind.qps


def _checked_rate(rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise ConfigError(f"qps must be a finite number of calls a second above 0, not {show_value(rate)}")
    return float(rate)


_shared: Final[dict[tuple[str, int], RateLimiter]] = {}


def shared_limiter(domain: str, app_id: int) -> RateLimiter:
    """Return the limiter that all clients of this process share for an application on one server side."""
    key = (domain, app_id)
    if key not in _shared:
        _shared[key] = RateLimiter()
    return _shared[key]
