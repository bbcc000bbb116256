"""What one process holds of a shared quota, and what it says to the script in Redis (see ``_redis_step.lua``).

Nothing here waits or connects. Times are this process's. See ``_redis_window`` for the theory.
"""

from __future__ import annotations

import math
import os
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .._round_trip import RoundTrips
from ._remote_clock import RemoteClock

# In seconds:
TELL_WITHIN: Final = 0.2
ASK_WITHIN: Final = 0.35
ASK_WITHIN_EACH: Final = 0.028  # of the processes that wait, if that is longer, lest a long line ask all the time
USE_WITHIN: Final = 0.4
ARRIVE_WITHIN: Final = 1.0  # what a lease leaves for the call to arrive, before the period that its permit is away
RENEW_AFTER: Final = 0.7
LONG_LEASE: Final = 10.0  # and a period more, of a call that is under way for longer
RENEW_BEFORE: Final = 5.0  # its end
EARLY: Final = 0.005  # before a permit's time, besides the way to Redis: what waking up may take
SLACK: Final = 0.009
SMOOTHING: Final = 0.2  # the part of each round trip in the average
NEVER_SEEN: Final = 2**53 - 1  # microseconds: the last step can't have been so late
Kind: TypeAlias = Literal["lease", "back", "unused"]


@dataclass(frozen=True, slots=True)
class Booking:
    """A permit granted by Redis.

    Attributes:
        name: How Redis knows it.
        due_at: When it is free, as far as Redis can tell.
        usable_at: When it may be used, since ways take some time at least.
        expires_at: Until when.
        for_bulk: Whether it was granted for a bulk call.
    """

    name: str
    due_at: float
    usable_at: float
    expires_at: float
    for_bulk: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What is asked in one step.

    Attributes:
        told: What is told of permits, by name: what became of each, and until when that matters.
        interactive: Interactive calls that want a permit.
        bulk: Bulk calls that want one.
        serial: The number of the first permit granted.
        sent_at: When the step began.
    """

    told: dict[str, tuple[Kind, float]]
    interactive: int
    bulk: int
    serial: int
    sent_at: float


class SharedPermits:
    """The permits of one action that this process holds.

    Args:
        clock: Tells the time in seconds, and never goes back.

    Attributes:
        period: The seconds for which a permit is away after its response.
        hand: Permits that are booked, in order of their time.
        in_use: Permits in use, by name, and when Redis is to be told that they still are.
        tell_at: When Redis is to be told of what ended, at the latest.
        ask_at: When this process is to ask again.
        line: The processes that wait, this one included.
        round_trip: To Redis, in seconds, on average.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.period = 1.0
        self.hand: list[Booking] = []
        self.in_use: dict[str, float] = {}
        self.tell_at = math.inf
        self.ask_at = -math.inf
        self.line = 1
        self.round_trip = 0.0
        self._told: dict[str, tuple[Kind, float]] = {}
        self._asked_for_bulk = False  # alone
        self._stepped_at = self._used_at = -math.inf
        self._process = os.urandom(8).hex()
        self._serial = 0
        self._seen = self._epoch = self._granted_at = 0  # microseconds, by the clock of Redis
        self._redis_clock = RemoteClock()
        self._redis_round_trips = RoundTrips()
        self._server_round_trip = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, nor to be told."""
        return not (self.hand or self.in_use or self._told)

    @property
    def has_to_tell(self) -> bool:
        """Whether there is something to tell of permits that ended."""
        return bool(self._told)

    @property
    def used_lately(self) -> bool:
        """Whether a call of this process may have arrived within the last period."""
        return bool(self.in_use) or self._used_at + self.period > self._clock()

    @property
    def credit(self) -> float:
        """What the ways from Redis and to the server take at least, in seconds: half of either round trip."""
        return (self._redis_round_trips.minimum + self._server_round_trip) / 2

    @property
    def horizon(self) -> float:
        """How many seconds before its time a permit is worth taking, so that it is in hand by then."""
        return self.round_trip + SLACK + self.credit

    @property
    def _lease(self) -> float:
        return USE_WITHIN + ARRIVE_WITHIN + self.period

    def wanted(self, interactive: int, bulk: int, most: int) -> tuple[int, int]:
        """Return the calls that wait without a permit in hand for them, interactive and bulk.

        Args:
            interactive: Interactive calls that wait.
            bulk: Bulk calls that wait.
            most: The permits that there are.
        """
        soon = self._clock() + self.horizon
        for_interactive = sum(not booking.for_bulk or booking.usable_at <= soon for booking in self.hand)
        wanted = min(most, max(0, interactive - for_interactive))
        return wanted, max(0, min(most, interactive + bulk - len(self.hand)) - wanted)

    def asks_at(self, interactive: int) -> float:
        """Return when to ask again while calls wait: as told, but soon enough to notice that Redis is down.

        What was told to a process with bulk calls alone binds no interactive call.
        """
        if interactive and self._asked_for_bulk:
            return -math.inf
        return min(self.ask_at, self._stepped_at + max(ASK_WITHIN, ASK_WITHIN_EACH * self.line))

    def take(self) -> Booking | None:
        """Return a permit whose time has come, now in use."""
        now = self._clock()
        while self.hand and self.hand[0].expires_at <= now:
            self._give_back(self.hand.pop(0))
        if not self.hand or self.hand[0].usable_at > now:
            return None
        booking = self.hand.pop(0)
        self.in_use[booking.name] = now + RENEW_AFTER
        return booking

    def take_unbooked(self) -> Booking:
        """Return a permit that Redis hasn't granted, now in use. Redis learns of it."""
        self._serial += 1
        now = self._clock()
        booking = Booking(f"{self._process}-{self._serial}", now, now, now, for_bulk=False)
        self.in_use[booking.name] = now
        return booking

    def put_back(self, booking: Booking) -> None:
        """Take back a permit that was never sent."""
        self.in_use.pop(booking.name, None)
        if booking.expires_at > self._clock():
            insort(self.hand, booking, key=_usable_at)
        else:
            self._give_back(booking)

    def end(self, booking: Booking, late: float, min_round_trip: float) -> None:
        """Take back a permit whose request ended.

        Args:
            booking: The permit.
            late: The seconds by which it is free again later than after its period.
            min_round_trip: To the server, in seconds, or 0 if not known. See ``Permit``.
        """
        self.in_use.pop(booking.name, None)
        self._used_at = self._clock()
        # Half of it is the way back. What is below 0 counts whole.
        credit = min_round_trip / 2 if min_round_trip > 0 else min_round_trip
        if min_round_trip > 0:
            self._server_round_trip = min_round_trip
        self._tell("back", booking.name, self._clock() + self.period + late - credit)

    def end_all(self) -> None:
        """Take back all permits: those in use as if their requests had ended now."""
        for name in self.in_use:
            self._tell("back", name, self._clock() + self.period)
        self.in_use.clear()
        self.give_back(0)

    def give_back(self, waiting: int) -> None:
        """Give back what lies in hand beyond the calls that wait."""
        while len(self.hand) > waiting:
            self._give_back(self.hand.pop())

    def tell_soon(self) -> None:
        """See to it that a step comes, though there is nothing to ask."""
        self.tell_at = min(self.tell_at, self._clock() + TELL_WITHIN)

    def begin(self, interactive: int, bulk: int) -> Step:
        """Begin a step that asks for so many permits."""
        now = self._clock()
        for name, renew_at in self.in_use.items():
            if renew_at <= now:
                self._told[name] = ("lease", now + LONG_LEASE + self.period)
                self.in_use[name] = now + LONG_LEASE + self.period - RENEW_BEFORE
        step = Step(self._told, interactive, bulk, self._serial + 1, now)
        self._serial += interactive + bulk
        self._told, self.tell_at = {}, math.inf
        return step

    def arguments(self, step: Step, size: int, slot: float) -> list[str | int]:
        """Return a step as the script takes it.

        Args:
            step: The step.
            size: The permits that there are.
            slot: The seconds from one permit to the next.
        """
        times = map(_microseconds, (self.period, slot, self.horizon, self._lease))
        arguments: list[str | int] = [self._process, self._seen, size, *times]
        arguments += [self._granted_at, step.interactive, step.bulk, step.serial]
        way = self._redis_round_trips.minimum / 2
        for name, (kind, until) in step.told.items():
            after = until - step.sent_at - (way if kind == "back" else 0.0)
            arguments += [kind, name, max(0, _microseconds(after))]
        return arguments

    def accept(self, step: Step, reply: list[int]) -> None:
        """Take the script's reply to a step."""
        received_at = self._clock()
        self._seen, epoch, self.line, asks_in, for_interactive, *waits = reply
        if self._epoch:  # the first step connects too
            self._learn_round_trip(received_at - step.sent_at)
        if epoch != self._epoch:
            self._epoch = epoch
            self._redis_clock = RemoteClock()
            self.tell_all_anew()
        if self._redis_clock.learn(self._seen / 1e6, step.sent_at, received_at):
            self._begin_anew()
            return
        replied_at = self._redis_clock.latest(self._seen / 1e6)
        for number, wait in enumerate(waits):
            due_at, expires_at = replied_at + wait / 1e6, step.sent_at + wait / 1e6 + USE_WITHIN
            name, for_bulk = f"{self._process}-{step.serial + number}", number >= for_interactive
            insort(self.hand, Booking(name, due_at, due_at - self.credit, expires_at, for_bulk), key=_usable_at)
        if waits:
            self._granted_at = self._seen + max(waits)
        self._stepped_at = received_at
        self.ask_at = -math.inf
        if asks_in >= 0:
            self.ask_at = replied_at + asks_in / 1e6 - self.credit - 1.5 * self.round_trip - EARLY
        self._asked_for_bulk = asks_in >= 0 and not step.interactive

    def take_back(self, step: Step) -> None:
        """Remember what a step that failed was to tell, and that it may have granted something all the same."""
        now = self._clock()
        for serial in range(step.serial, step.serial + step.interactive + step.bulk):
            self._told[f"{self._process}-{serial}"] = ("unused", now + self._lease)
        # A "back" may end a long lease, and matters for as long as that.
        told = step.told | self._told
        self._told = {
            name: (kind, until)
            for name, (kind, until) in told.items()
            if until + (LONG_LEASE if kind == "back" else 0.0) > now
        }
        self.tell_at = now if self._told else math.inf
        self.ask_at = -math.inf

    def tell_all_anew(self) -> None:
        """Have all that is held told to a quota that doesn't know of it."""
        now = self._clock()
        self.in_use = dict.fromkeys(self.in_use, now)
        for booking in self.hand:
            self._told[booking.name] = ("lease", booking.due_at + self._lease)
        if not self.is_empty:
            self.tell_at = now

    def _begin_anew(self) -> None:
        """Take no permits after the clock of Redis was set, and have the next step begin a new epoch.

        What that clock said is due may not be, in this reply and for all other processes.
        """
        self.give_back(0)
        self._seen = NEVER_SEEN
        self.ask_at, self.tell_at = -math.inf, self._clock()

    def _learn_round_trip(self, seconds: float) -> None:
        self._redis_round_trips.add(seconds)
        self.round_trip += (seconds - self.round_trip) * (SMOOTHING if self.round_trip else 1.0)

    def _give_back(self, booking: Booking) -> None:
        self._tell("back", booking.name, booking.due_at)

    def _tell(self, kind: Kind, name: str, until: float) -> None:
        self._told[name] = (kind, until)
        self.tell_soon()


def _usable_at(booking: Booking) -> float:
    return booking.usable_at


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
