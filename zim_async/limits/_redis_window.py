"""The window of one action on a quota that many processes share in Redis.

1. What the quota is and who gets a permit is decided by one script in Redis (see ``_redis_step.lua``). This side
   tells what ended, says what is wanted, and keeps what was granted in hand (see ``_redis_permits``).
2. One step at a time, in the background. It is due when calls wait for more than lies in hand, but not before the
   time that Redis told to ask again. What ended is told TELL_WITHIN at the latest.
3. A permit is safe to use: the call arrives after it was granted, its response comes after it arrived, and the
   release is told after that. Each way over a network only adds to the distance. What every round trip takes at
   least may be taken off, half of it by who releases, for the way back, and half by who takes, for the way out:
   ways there are taken to be as long as ways back. That goes for the round trip to the server and for that to
   Redis. A slow reply from Redis costs nothing: what is due when is known from the quickest.
4. A permit that isn't used USE_WITHIN its time is given back unused, by this process's clock alone. So a process
   that slept wakes up to permits that it drops.
5. Redis keeps a permit for a short lease, and longer only if told that its call is still under way. That is told
   after RENEW_AFTER. So the permits of a process that was killed are back soon.
6. When the quota in Redis turns out to be a new one, all that is held is told anew, within its first second.
7. Refusals by the server are learned here, as in a local window. What Redis is told is a smaller size.
8. A step that fails is decided DEADLINE after it began. Then calls fail, or a local window with a share of the
   quota stands in. Redis is told of its permits too. It stands in for RETURN_AFTER beyond the first step that
   succeeds: by then all other processes have found Redis too, and told theirs.
9. Another event loop may take over, also while this one's limiter is closing. What was told in a step that is under
   way then is told again, and its reply ignored.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from typing import Final

from ..errors import QuotaUnavailableError
from ._adaptation import Adaptation
from ._local import LocalWindow
from ._redis_link import RedisLink, Unavailable
from ._redis_permits import EARLY, TELL_WITHIN, Booking, SharedPermits, Step
from ._remote_clock import DRIFT
from ._wakeup import Wakeup
from .window import Permit, Priority

log = logging.getLogger("zim_async")

DEADLINE: Final = 0.6  # seconds for a step, its repetition on a new connection included
TRY_AGAIN: Final = 1.0  # seconds after a failure
RETURN_AFTER: Final = TRY_AGAIN + DEADLINE  # seconds
# Seconds by which a permit comes back later than a second after the response: the resolution of the clock, and how
# much faster the clock of Redis may go.
LATE: Final = time.get_clock_info("monotonic").resolution + DRIFT


class _RedisPermit:
    """A permit in use."""

    __slots__ = ("_window", "booking", "local")

    def __init__(self, window: RedisWindow, booking: Booking, local: Permit | None = None) -> None:
        self._window = window
        self.booking = booking
        self.local = local  # the permit of the window that stands in

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        if self.local is not None:
            self.local.release(min_round_trip=min_round_trip, throttled=throttled)
        self._window._release(self.booking, min_round_trip, throttled)

    def cancel(self) -> None:
        if self.local is not None:
            self.local.cancel()
        self._window._cancel(self.booking)


class RedisWindow:
    """The permits of one action, shared by all processes that use the same key.

    Args:
        action: The action's name.
        qps: Calls a second, by all processes together.
        key: The sorted set in Redis.
        connect: Returns the link to Redis of the running event loop.
        share: The part of the quota that this process uses by itself while Redis fails; None to fail its calls.
        address: Where Redis is, for messages.
        clock: Tells the time in seconds, and never goes back.
        chance: Draws numbers from 0 to 1, evenly.
    """

    def __init__(
        self,
        action: str,
        qps: float,
        *,
        key: str,
        connect: Callable[[], RedisLink],
        share: float | None,
        address: str,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._action = action
        self._key = key
        self._connect = connect
        self._share = share
        self._address = address
        self._clock = clock
        self._chance = chance
        self._permits = SharedPermits(clock)
        self._local: LocalWindow | None = None  # while it stands in
        self._returns_at: float | None = None  # from the local one, once Redis replies
        self._failure: str | None = None  # while calls are to fail
        self._not_before = -math.inf  # the next step, after one that failed
        self._interactive = self._bulk = 0
        self._on_change: Callable[[], None] = lambda: None
        self._is_open = False
        self._wakeup = Wakeup(self._wake, clock)
        self._step: Step | None = None  # under way
        self._step_task: asyncio.Task[Unavailable | None] | None = None
        self._adaptation = Adaptation(1, chance)
        self.resize(qps)

    def __repr__(self) -> str:
        return f"<RedisWindow {self._key} at {self._address} permits={self.permits:.1f}>"

    @property
    def permits(self) -> float:
        """Calls that may be under way in any one second: as the rate allows, or fewer after refusals."""
        if self._local is not None:
            return self._local.permits
        self._adaptation.grow(self._clock())
        return self._adaptation.permits

    @property
    def idle(self) -> bool:
        """Whether nothing is held, to be told, or remembered of refusals."""
        return self._permits.is_empty and self.permits == self._adaptation.size

    def resize(self, qps: float) -> None:
        """Change the rate. What refusals taught about the old rate is forgotten."""
        self._qps = qps
        self._adaptation.resize(math.floor(qps) if qps >= 1 else 1)
        self._permits.period = max(1.0, 1.0 / qps) + LATE
        if self._local is not None and self._share is not None:
            self._local.resize(qps * self._share)

    def open(self, on_change: Callable[[], None]) -> None:
        """Begin on the running event loop. See ``Window``."""
        self._is_open, self._on_change = True, on_change
        self._wakeup.open(asyncio.get_running_loop())
        self._link = self._connect()
        if self._step is not None:  # of another loop, or of closing
            self._permits.take_back(self._step)
            self._step = self._step_task = None
        self._permits.end_all()
        if self._local is not None:
            self._local.open(on_change)

    async def close(self) -> None:
        """Tell Redis what ended, give back what lies in hand, and end what runs in the background."""
        if not self._wakeup.runs_here:
            return
        self._is_open = False
        self._wakeup.close()
        if self._step_task is not None:
            await asyncio.wait({self._step_task})
        if self._is_open:  # again, meanwhile
            return
        self._permits.give_back(0)
        if self._permits.has_to_tell:
            await self._try_step(0, 0, DEADLINE)

    def try_take(self, priority: Priority) -> _RedisPermit | None:
        """Return a permit if one is in hand and its time has come.

        Raises:
            QuotaUnavailableError: Redis failed.
        """
        if self._failure is not None:
            raise QuotaUnavailableError(self._failure, action=self._action)
        if self._local is not None:
            local = self._local.try_take(priority)
            permit = None if local is None else _RedisPermit(self, self._permits.take_unbooked(), local)
        elif self._adaptation.pause_ends > self._clock():
            return None
        else:
            booking = self._permits.take()
            permit = None if booking is None else _RedisPermit(self, booking)
        if permit is not None:
            self._plan()
        return permit

    def expect(self, interactive: int, bulk: int) -> None:
        """Take note of how many calls of each priority wait now."""
        self._interactive, self._bulk = interactive, bulk
        if not interactive + bulk:
            self._failure = None
        if self._local is not None:
            self._local.expect(interactive, bulk)
        self._plan()

    def estimated_wait(self, priority: Priority, ahead: int) -> float:
        """Return the seconds until a call that comes now is likely to get a permit. See ``Window``."""
        if self._local is not None:
            return self._local.estimated_wait(priority, ahead)
        now, held = self._clock(), self._permits
        pause = max(0.0, self._adaptation.pause_ends - now)
        if ahead < len(held.hand):
            return max(pause, held.hand[ahead].usable_at - now)
        # Those in hand go first, then those that may be free, then one each time that this process's turn comes.
        asks_in = max(0.0, held.ask_at + EARLY + 1.5 * held.round_trip - now)
        free = 0 if asks_in else max(0, int(self._adaptation.permits) - len(held.in_use) - len(held.hand))
        turns = max(0, ahead + 1 - len(held.hand) - free)
        return max(pause, asks_in or held.round_trip) + turns * max(1, held.line) / self._qps

    def _release(self, booking: Booking, min_round_trip: float, throttled: bool) -> None:
        if throttled:
            self._adaptation.refuse(self._clock())
            late = self._chance() * self._permits.period
        else:
            late = self._adaptation.lateness()
        self._permits.end(booking, late, min_round_trip)
        self._plan()

    def _cancel(self, booking: Booking) -> None:
        self._permits.put_back(booking)
        self._plan()

    def _plan(self) -> None:
        """Have the window woken when the next permit in hand may be used, or the next step is due."""
        if not self._is_open or not self._wakeup.runs_here:
            return
        waiting, hand = self._interactive + self._bulk, self._permits.hand
        if len(hand) > waiting:
            self._permits.tell_soon()
        at = self._step_due()
        if hand and waiting:
            at = min(at, max(hand[0].usable_at, self._adaptation.pause_ends))
        self._wakeup.set(at)

    def _step_due(self) -> float:
        if self._step_task is not None:
            return math.inf
        held = self._permits
        at = min(held.tell_at, *held.in_use.values()) if held.in_use else held.tell_at
        if self._local is not None:  # see whether Redis is back
            at = -math.inf
        at = max(at, self._not_before)
        if any(self._wanted()):
            at = min(at, held.asks_at(self._interactive))
        return at

    def _wanted(self) -> tuple[int, int]:
        if self._local is not None:
            return 0, 0
        return self._permits.wanted(self._interactive, self._bulk, int(self._adaptation.permits))

    def _wake(self) -> None:
        now, hand = self._clock(), self._permits.hand
        if hand and hand[0].usable_at <= now and self._interactive + self._bulk:
            self._on_change()
        if self._is_open and self._step_due() <= now:
            self._step_task = asyncio.create_task(self._run_step())
            self._step_task.add_done_callback(self._end_step)
        self._plan()

    async def _run_step(self) -> Unavailable | None:
        self._permits.give_back(self._interactive + self._bulk)
        ends_at = self._clock() + DEADLINE
        failure = await self._try_step(*self._wanted(), DEADLINE)
        if failure is not None and failure.disconnected and (left := ends_at - self._clock()) > 0.0:
            failure = await self._try_step(*self._wanted(), left)
        return failure

    def _end_step(self, task: asyncio.Task[Unavailable | None]) -> None:
        if task is not self._step_task:
            return  # of a loop that was left
        self._step_task = None
        failure = Unavailable("the step was cancelled", "Try again") if task.cancelled() else task.result()
        if failure is None:
            self._note_success()
        else:
            self._note_failure(failure)
        if self._is_open:
            self._on_change()
            self._plan()

    async def _try_step(self, interactive: int, bulk: int, timeout: float) -> Unavailable | None:
        step = self._step = self._permits.begin(interactive, bulk)
        arguments = self._permits.arguments(step, int(self._adaptation.permits), 1.0 / self._qps)
        reply = await self._link.run(self._key, arguments, timeout)
        if self._step is not step:
            return None  # taken back meanwhile
        self._step = None
        if isinstance(reply, Unavailable):
            self._permits.take_back(step)
            return reply
        self._permits.accept(step, reply)
        return None

    def _note_failure(self, failure: Unavailable) -> None:
        self._permits.give_back(0)
        self._not_before = self._clock() + TRY_AGAIN
        self._returns_at = None
        text = f"the shared quota in Redis at {self._address} can't be used: {failure.reason}"
        if self._share is None:
            if self._interactive + self._bulk:
                self._failure = f"{text}; nothing was sent. {failure.advice}."
        elif self._local is None:
            self._local = self._stand_in(self._qps * self._share)
            log.warning("%s: %s; until it can, this process uses %g of it by itself", self._action, text, self._share)

    def _stand_in(self, qps: float) -> LocalWindow:
        local = LocalWindow(self._action, qps, clock=self._clock, chance=self._chance)
        local.open(self._on_change)
        if self._permits.used_lately:
            # All processes together may have used the whole quota just now.
            while (permit := local.try_take("interactive")) is not None:
                permit.release()
        local.expect(self._interactive, self._bulk)
        return local

    def _note_success(self) -> None:
        self._not_before = -math.inf
        if self._local is None:
            return
        now = self._clock()
        if self._returns_at is None:
            self._returns_at = now + RETURN_AFTER
        if now < self._returns_at:
            self._not_before = now + TELL_WITHIN
            return
        self._local.expect(0, 0)
        self._local = self._returns_at = None
        self._permits.tell_all_anew()
        log.warning("%s: Redis at %s is back, and the quota is shared again", self._action, self._address)
