"""The window of one action on a quota that many processes share in Redis.

1. What the quota is and who gets a permit is decided by one script in Redis (see ``_redis_step.lua``). This side
   tells what ended, says what is wanted, and keeps what was granted in hand.
2. One step at a time, in the background. It is due when calls wait for more than lies in hand, but not before the
   time that Redis told to ask again. A release is told TELL_WITHIN at the latest.
3. A permit is safe to use: the call arrives after it was granted, its response comes after it arrived, and the
   release is told after that. Each way over a network only adds to the distance. What every round trip takes at
   least may be taken off, half of it by who releases, for the way back, and half by who takes, for the way out.
   That goes for the round trip to the server and for that to Redis.
4. A permit that isn't used USE_WITHIN its time is given back unused, by this process's clock alone. So a process
   that slept wakes up to permits that it drops.
5. Redis keeps a permit for LEASE, longer only if told that its call is still under way. That is told after
   RENEW_AFTER. So the permits of a process that was killed are back soon.
6. When the quota in Redis turns out to be a new one, all that is held is told anew, within its first second.
7. Refusals by the server are learned here, as in a local window. What Redis is told is a smaller size.
8. A step that fails is decided DEADLINE after it began. Then calls fail ("closed"), or a local window with a share
   of the quota takes over ("local") until a step succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .._round_trip import RoundTrips
from ..errors import QuotaUnavailableError
from ._adaptation import Adaptation
from ._local import LocalWindow
from ._redis_link import RedisLink, Unavailable
from .window import Permit, Priority

log = logging.getLogger("zim_async")

OnFailure: TypeAlias = Literal["closed", "local"]
# In seconds:
TELL_WITHIN: Final = 0.2
USE_WITHIN: Final = 0.5
LEASE: Final = USE_WITHIN + 2.0
RENEW_AFTER: Final = 0.7
LONG_LEASE: Final = 11.0  # of a call that is under way for longer
RENEW_BEFORE: Final = 5.0  # its end
DEADLINE: Final = 0.6
TRY_AGAIN: Final = 1.0
EARLY: Final = 0.005  # before its turn, besides the way to Redis: what waking up late may take
SLACK: Final = 0.009
# How much a permit comes back later than a second: the resolution of the clock, and how much faster that of Redis
# may go (NTP turns a clock by 0.5 ms a second at most).
LATE: Final = time.get_clock_info("monotonic").resolution + 0.0005
SMOOTHING: Final = 0.2


class _RedisPermit:
    """A permit in hand or in use. Times are this process's."""

    __slots__ = ("_window", "expires_at", "for_bulk", "local", "name", "renew_at", "usable_at")

    def __init__(self, window: RedisWindow, name: str, usable_at: float, expires_at: float, *, for_bulk: bool) -> None:
        self._window = window
        self.name = name
        self.usable_at = usable_at
        self.expires_at = expires_at
        self.for_bulk = for_bulk
        self.renew_at = math.inf  # when Redis is to be told that it is still in use
        self.local: Permit | None = None  # the local window's, if it was taken there

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        self._window._release(self, min_round_trip, throttled)

    def cancel(self) -> None:
        self._window._cancel(self)


@dataclass(frozen=True, slots=True)
class _Step:
    """What was asked in one step."""

    told: dict[str, tuple[str, float]]
    interactive: int
    bulk: int
    serial: int
    sent_at: float


class RedisWindow:
    """The permits of one action, shared by all processes that use the same key.

    Args:
        action: The action's name.
        qps: Calls a second, by all processes together.
        key: The sorted set in Redis.
        connect: Returns the link to Redis of the running event loop.
        on_failure: What happens when Redis fails: "closed" or "local".
        share: The part of the quota that this process uses then.
        address: Host and port of Redis, for messages.
        chance: Draws numbers from 0 to 1, evenly.
    """

    def __init__(
        self,
        action: str,
        qps: float,
        *,
        key: str,
        connect: Callable[[], RedisLink],
        on_failure: OnFailure,
        share: float,
        address: str,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._action = action
        self._key = key
        self._connect = connect
        self._share = share
        self._address = address
        self._chance = chance
        self._process = os.urandom(8).hex()
        self._local = LocalWindow(action, qps * share) if on_failure == "local" else None
        self._local_in_use = False
        self._failure: str | None = None
        # What Redis said:
        self._seen = self._epoch = self._granted_at = 0  # microseconds, by its clock
        self._line = 1  # processes that wait, this one included
        self._ask_at = -math.inf
        self._asked_for_bulk = False
        # What is held, and what is to be told of it:
        self._serial = 0
        self._hand: list[_RedisPermit] = []  # in order of usable_at
        self._in_use: dict[_RedisPermit, None] = {}
        self._renew_at = math.inf
        self._told: dict[str, tuple[str, float]] = {}  # by permit: kind, and until when
        self._tell_at = math.inf
        # What was learned of the ways to Redis and to the server:
        self._round_trips = RoundTrips()
        self._round_trip = 0.0
        self._server_round_trip = 0.0
        # How it runs:
        self._interactive = self._bulk = 0
        self._on_change: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._step_task: asyncio.Task[None] | None = None
        self._not_before = -math.inf
        self._adaptation = Adaptation(1, chance)
        self.resize(qps)

    def __repr__(self) -> str:
        return f"<RedisWindow {self._key} at {self._address} permits={self.permits:.1f}>"

    @property
    def permits(self) -> float:
        """Calls that may be under way in any one second: as the rate allows, or fewer after refusals."""
        if self._local is not None and self._local_in_use:
            return self._local.permits
        self._adaptation.grow(time.monotonic())
        return self._adaptation.permits

    @property
    def idle(self) -> bool:
        """Whether nothing is held, to be told, or remembered of refusals."""
        return not (self._hand or self._in_use or self._told) and self.permits == self._adaptation.size

    def resize(self, qps: float) -> None:
        """Change the rate. What refusals taught about the old rate is forgotten."""
        self._adaptation.resize(math.floor(qps) if qps >= 1 else 1)
        self._period = max(1.0, 1.0 / qps) + LATE
        self._slot = 1.0 / qps
        if self._local is not None:
            self._local.resize(qps * self._share)

    def open(self, on_change: Callable[[], None]) -> None:
        """Begin on the running event loop; see ``Window``."""
        self._loop, self._on_change = asyncio.get_running_loop(), on_change
        self._link = self._connect()
        self._timer = self._step_task = None
        self._ask_at = -math.inf
        self._empty_hand()
        for permit in self._in_use:  # of calls that ended with their loop, now as far as can be known
            self._tell("back", permit.name, time.monotonic() + self._period)
        self._in_use.clear()
        if self._local is not None:
            self._local.open(on_change)

    async def close(self) -> None:
        """Tell Redis what ended and what lies in hand, and end what runs in the background."""
        if self._loop is not asyncio.get_running_loop():
            return
        self._loop = None
        self._stop_timer()
        if self._step_task is not None:
            await asyncio.wait({self._step_task})
        self._empty_hand()
        if self._told:
            await self._try_step(DEADLINE)

    def try_take(self, priority: Priority) -> _RedisPermit | None:
        """Return a permit if one is in hand, and its time has come.

        Raises:
            QuotaUnavailableError: Redis failed.
        """
        if self._failure is not None:
            raise QuotaUnavailableError(self._failure)
        now = time.monotonic()
        if self._local is not None and self._local_in_use:
            local = self._local.try_take(priority)
            if local is None:
                return None
            permit = _RedisPermit(self, self._new_name(), now, now, for_bulk=False)
            permit.local = local
        else:
            while self._hand and self._hand[0].expires_at <= now:
                self._tell("unused", self._hand.pop(0).name, now)
            if not self._hand or max(self._hand[0].usable_at, self._adaptation.pause_ends) > now:
                return None
            permit = self._hand.pop(0)
        permit.renew_at = now + RENEW_AFTER
        self._renew_at = min(self._renew_at, permit.renew_at)
        self._in_use[permit] = None
        self._plan()
        return permit

    def expect(self, interactive: int, bulk: int) -> None:
        """Take note of how many calls of each priority wait now."""
        self._interactive, self._bulk = interactive, bulk
        if not interactive + bulk:
            self._failure = None
        self._tell_of_spare()
        if self._local is not None and self._local_in_use:
            self._local.expect(interactive, bulk)
        self._plan()

    def estimated_wait(self, priority: Priority, ahead: int) -> float:
        """Return the seconds until a call that comes now is likely to get a permit; see ``Window``."""
        if self._local is not None and self._local_in_use:
            return self._local.estimated_wait(priority, ahead)
        now = time.monotonic()
        pause = max(0.0, self._adaptation.pause_ends - now)
        if ahead < len(self._hand):
            return max(pause, self._hand[ahead].usable_at - now)
        # Those in hand go first, then those that may be free, then one each time that this process's turn comes.
        asks_again = max(0.0, self._ask_at + EARLY + 1.5 * self._round_trip - now)
        free = 0 if asks_again else int(self._adaptation.permits) - len(self._in_use) - len(self._hand)
        turns = max(0, ahead + 1 - len(self._hand) - max(0, free))
        return max(pause, asks_again or self._round_trip) + turns * self._slot * max(1, self._line)

    def _release(self, permit: _RedisPermit, min_round_trip: float, throttled: bool) -> None:
        now = time.monotonic()
        self._in_use.pop(permit, None)
        if permit.local is not None:
            permit.local.release(min_round_trip=min_round_trip, throttled=throttled)
        if min_round_trip:
            self._server_round_trip = min_round_trip
        back_at = now + self._period - min_round_trip / 2
        if throttled:
            self._adaptation.refuse(now)
            back_at += self._chance() * self._period
        else:
            back_at += self._adaptation.lateness()
        self._tell("back", permit.name, back_at)
        self._plan()

    def _cancel(self, permit: _RedisPermit) -> None:
        del self._in_use[permit]
        if permit.local is not None:
            permit.local.cancel()
        elif permit.expires_at > time.monotonic():
            insort(self._hand, permit, key=_usable_at)
            self._tell_of_spare()
        else:
            self._tell("unused", permit.name, time.monotonic())
        self._plan()

    def _tell(self, kind: str, name: str, at: float) -> None:
        self._told[name] = (kind, at)
        self._tell_at = min(self._tell_at, time.monotonic() + TELL_WITHIN)

    def _tell_of_spare(self) -> None:
        if len(self._hand) > self._interactive + self._bulk:  # the next step gives them back
            self._tell_at = min(self._tell_at, time.monotonic() + TELL_WITHIN)

    def _empty_hand(self) -> None:
        for permit in self._hand:
            self._tell("unused", permit.name, time.monotonic())
        self._hand = []

    def _new_name(self) -> str:
        self._serial += 1
        return f"{self._process}-{self._serial}"

    # What is due when.

    def _plan(self) -> None:
        """Have the window woken when the next permit in hand may be used, or the next step is due."""
        if self._loop is None or not _runs_here(self._loop):
            return
        now = time.monotonic()
        at = self._step_due(now)
        if self._hand and self._interactive + self._bulk:
            at = min(at, max(self._hand[0].usable_at, self._adaptation.pause_ends))
        if self._timer is not None and at == self._wakes_at:
            return
        self._stop_timer()
        if at < math.inf:
            self._wakes_at = at
            self._timer = self._loop.call_later(max(0.0, at - now), self._wake)

    def _step_due(self, now: float) -> float:
        if self._step_task is not None:
            return math.inf
        at = min(self._tell_at, self._renew_at)
        if self._local_in_use:
            return max(at if not self._interactive + self._bulk else now, self._not_before)
        at = max(at, self._not_before)
        interactive, bulk = self._wanted(now)
        if interactive and self._asked_for_bulk:
            return now  # what was told to a process with bulk calls alone doesn't hold
        return min(at, self._ask_at) if interactive + bulk else at

    def _wanted(self, now: float) -> tuple[int, int]:
        """Return the interactive and the bulk calls for which there is no permit in hand."""
        soon = now + self._horizon
        for_interactive = sum(not permit.for_bulk or permit.usable_at <= soon for permit in self._hand)
        most = int(self._adaptation.permits)
        interactive = min(most, max(0, self._interactive - for_interactive))
        bulk = min(most, self._interactive + self._bulk - len(self._hand)) - interactive
        return interactive, max(0, bulk)

    @property
    def _credit(self) -> float:
        """What the way to Redis or from it, and the way to the server, take at least."""
        return (self._round_trips.minimum + self._server_round_trip) / 2

    @property
    def _horizon(self) -> float:
        return self._round_trip + SLACK + self._credit

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        now = time.monotonic()
        if self._hand and self._hand[0].usable_at <= now and self._interactive + self._bulk:
            self._on_change()
        if self._loop is not None and self._step_due(now) <= now:
            self._step_task = self._loop.create_task(self._step())
        self._plan()

    # One step.

    async def _step(self) -> None:
        ends_at = time.monotonic() + DEADLINE
        failure = await self._try_step(DEADLINE)
        if failure is not None and failure.disconnected:
            failure = await self._try_step(max(0.0, ends_at - time.monotonic()))
        self._step_task = None
        if failure is None:
            self._note_success()
        else:
            self._note_failure(failure)
        if self._loop is not None:
            self._on_change()
            self._plan()

    async def _try_step(self, timeout: float) -> Unavailable | None:
        step = self._begin_step()
        reply = await self._link.run(self._key, self._arguments(step), timeout)
        if isinstance(reply, Unavailable):
            self._take_back(step)
            return reply
        self._apply(step, reply)
        return None

    def _begin_step(self) -> _Step:
        now = time.monotonic()
        spare = len(self._hand) - self._interactive - self._bulk
        for _ in range(spare):
            self._tell("unused", self._hand.pop().name, now)
        self._renew(now)
        interactive, bulk = self._wanted(now) if self._loop is not None else (0, 0)
        step = _Step(self._told, interactive, bulk, self._serial + 1, now)
        self._serial += interactive + bulk
        self._told, self._tell_at = {}, math.inf
        return step

    def _renew(self, now: float) -> None:
        """Tell of calls that are under way for long."""
        self._renew_at = math.inf
        for permit in self._in_use:
            if permit.renew_at <= now:
                self._told[permit.name] = ("lease", now + LONG_LEASE)
                permit.renew_at = now + LONG_LEASE - RENEW_BEFORE
            self._renew_at = min(self._renew_at, permit.renew_at)

    def _arguments(self, step: _Step) -> list[str | int]:
        period, slot, horizon, lease = map(_microseconds, (self._period, self._slot, self._horizon, LEASE))
        size = int(self._adaptation.permits)
        arguments: list[str | int] = [self._process, self._seen, period, size, slot, horizon, lease]
        arguments += [self._granted_at, step.interactive, step.bulk, step.serial]
        way = self._round_trips.minimum / 2
        for name, (kind, at) in step.told.items():
            arguments += [kind, name, _microseconds(max(0.0, at - step.sent_at - (way if kind == "back" else 0.0)))]
        return arguments

    def _take_back(self, step: _Step) -> None:
        """Remember what is still to be told, now that a step failed, and that it may have granted something."""
        now = time.monotonic()
        for serial in range(step.serial, step.serial + step.interactive + step.bulk):
            self._told.setdefault(f"{self._process}-{serial}", ("unused", now + LEASE))
        self._told = {name: told for name, told in (step.told | self._told).items() if told[1] > now}
        self._tell_at = now if self._told else math.inf

    def _apply(self, step: _Step, reply: list[int]) -> None:
        received_at = time.monotonic()
        self._seen, epoch, self._line, asks_in, for_interactive, *waits = reply
        self._learn_round_trip(received_at - step.sent_at)
        if epoch != self._epoch:
            self._tell_all_anew(received_at)
            self._epoch = epoch
        for number, wait in enumerate(waits):
            usable_at = received_at + wait / 1e6 - self._credit
            expires_at = step.sent_at + wait / 1e6 + USE_WITHIN
            name, for_bulk = f"{self._process}-{step.serial + number}", number >= for_interactive
            insort(self._hand, _RedisPermit(self, name, usable_at, expires_at, for_bulk=for_bulk), key=_usable_at)
        if waits:
            self._granted_at = self._seen + max(waits)
        self._ask_at = -math.inf
        self._asked_for_bulk = asks_in >= 0 and not step.interactive
        if asks_in >= 0:
            self._ask_at = received_at + asks_in / 1e6 - self._credit - 1.5 * self._round_trip - EARLY

    def _learn_round_trip(self, seconds: float) -> None:
        self._round_trips.add(seconds)
        self._round_trip += (seconds - self._round_trip) * (SMOOTHING if self._round_trip else 1.0)

    def _tell_all_anew(self, now: float) -> None:
        for permit in self._in_use:
            permit.renew_at = self._renew_at = now
        for permit in self._hand:
            self._told[permit.name] = ("lease", permit.usable_at + LEASE)
            self._tell_at = now

    # Failure and success.

    def _note_failure(self, failure: Unavailable) -> None:
        now = time.monotonic()
        self._empty_hand()
        self._not_before = now + TRY_AGAIN
        self._ask_at = -math.inf
        text = f"the shared quota in Redis at {self._address} can't be used: {failure.reason}"
        if self._local is None:
            if self._interactive + self._bulk:
                self._failure = f"{text}; nothing was sent. {failure.advice}."
        elif not self._local_in_use:
            self._local_in_use = True
            self._local.expect(self._interactive, self._bulk)
            log.warning("%s: %s; until it can, this process uses %g of it by itself", self._action, text, self._share)

    def _note_success(self) -> None:
        self._not_before = -math.inf
        if self._local is not None and self._local_in_use:
            self._local_in_use = False
            self._local.expect(0, 0)
            self._tell_all_anew(time.monotonic())
            log.warning("%s: Redis at %s is back, and the quota is shared again", self._action, self._address)


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _usable_at(permit: _RedisPermit) -> float:
    return permit.usable_at


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
