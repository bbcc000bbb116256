"""Permits in this process: the hard bound on arrivals, and the pace of bulk calls.

1. A permit is in use from the moment it is taken until one second after the call's response. The arrival at the
   server lies between sending and response. So whatever the network does to either way, the arrival that takes a
   permit over comes at least a second after the arrival that had it before.
2. Of that second, what every round trip takes at least is taken off again: so much of the wait for the response
   came after the arrival before, or comes before the arrival to come. This credit is learned, and errs on the low
   side. But in the second in which a route turns faster than any seen lately, the old credit is too large for the
   new route, and that one second may see up to twice the calls. Without credit the bound is exact.
3. A call that ended without a response is taken to have arrived by the time it ended.
4. All times are ``time.monotonic``'s. An event loop's timer only says when to look again: it may be early, since
   uvloop's count whole milliseconds, and an early look finds no permit.
5. A refused permit comes back up to a second later than others, at a random phase, where it may find room among
   other programs' calls. How many permits there are then is the control law's matter (see ``_adaptation``).
6. Bulk calls go a slot of 1 / qps seconds apart. So permits come back a slot apart too, and an interactive call
   finds one within a slot or two. Late wake-ups are made good from a bank of BANK seconds: a longer one would bring
   back bunches, none would lose each late wake-up for good.
7. A call with ``ahead`` others before it waits for permit number ``ahead`` of those free, coming back, or expected
   back one mean cycle after they were taken. Beyond the last one, everything repeats a cycle later.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable
from typing import Final

from ._adaptation import Adaptation
from ._wakeup import Wakeup
from .window import Priority

BANK: Final = 0.02  # seconds
CYCLES_AVERAGED: Final = 3
LONGEST_SLEEP: Final = 1.0  # seconds until the window looks again while calls wait, whatever it knows
FORGET_FROM: Final = 64  # permits that came back, too few to be worth forgetting
# How far a reading of the clock may lag behind: the moment of a response, that is, may be later by so much.
RESOLUTION: Final = time.get_clock_info("monotonic").resolution


class _LocalPermit:
    """Any permit in use of a window: they are all alike, so that one object stands for each of them."""

    __slots__ = ("_window",)

    def __init__(self, window: LocalWindow) -> None:
        self._window = window

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        self._window._release(min_round_trip, throttled)

    def cancel(self) -> None:
        self._window._cancel()


class LocalWindow:
    """The permits of one action in this process, ``qps`` of them.

    Below one call a second there is one permit, and the second is longer instead. Above, a fraction is dropped:
    2.5 calls a second are 2 in any second.

    Args:
        action: The action's name.
        qps: Calls a second.
        clock: Tells the time in seconds, and never goes back.
        chance: Draws numbers from 0 to 1, evenly.
    """

    def __init__(
        self,
        action: str,
        qps: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._action = action
        self._clock = clock
        self._chance = chance
        self._back: list[float] = []  # when permits come back, or came back and weren't forgotten yet, in order
        self._taken: deque[float] = deque()  # when the permits in flight were taken
        self._forget_at = FORGET_FROM
        self._cycle = 0.0  # seconds from taking a permit to its coming back, on average; 0 before the first
        self._min_round_trip = 0.0  # as told last
        self._bulk_due_at = -math.inf
        self._interactive_waiting = self._bulk_waiting = 0
        self._permit = _LocalPermit(self)
        # A wake-up may be early. Then nothing is free yet, and the next is set when the limiter tells who waits.
        self._wakeup = Wakeup(self._wake, clock)
        self._on_change: Callable[[], None] = lambda: None
        self._adaptation = Adaptation(1, chance)
        self.resize(qps)

    def __repr__(self) -> str:
        return f"<LocalWindow {self._action} permits={self.permits:.1f}>"

    @property
    def permits(self) -> float:
        """Calls that may be under way in any one second: as the rate allows, or fewer after refusals."""
        self._adaptation.grow(self._clock())
        return self._adaptation.permits

    @property
    def idle(self) -> bool:
        """Whether no permit is in use or on its way back, and no refusal remembered."""
        back = not self._back or self._back[-1] <= self._clock()
        return back and not self._taken and self.permits == self._adaptation.size

    def open(self, on_change: Callable[[], None]) -> None:
        """Begin on the running event loop. See ``Window``."""
        self._wakeup.open(asyncio.get_running_loop())
        self._on_change = on_change
        # Calls that are still in flight ended with their loop, now as far as can be known.
        self._back += [self._clock() + self._period] * len(self._taken)
        self._back.sort()
        self._taken.clear()

    async def close(self) -> None:
        """Do nothing: there is nothing to return."""

    def try_take(self, priority: Priority) -> _LocalPermit | None:
        """Return a permit if one is free, and a bulk call due."""
        now = self._clock()
        if self._free_at(now) > now:
            return None
        if priority == "bulk":
            if self._bulk_due_at > now:
                return None
            self._bulk_due_at = max(self._bulk_due_at, now - BANK) + self._slot
        self._taken.append(now)
        return self._permit

    def expect(self, interactive: int, bulk: int) -> None:
        """Take note of how many calls of each priority wait now."""
        self._interactive_waiting, self._bulk_waiting = interactive, bulk
        self._set_timer()

    def estimated_wait(self, priority: Priority, ahead: int) -> float:
        """Return the seconds until a call that comes now is likely to get a permit. See ``Window``."""
        now = self._clock()
        self._adaptation.grow(now)
        permits, cycle = int(self._adaptation.permits), self._expected_cycle(now)
        ahead = self._adaptation.counted(ahead, cycle, now)
        back = self._back[bisect_right(self._back, now) :]
        soonest = now + self._period - self._min_round_trip  # if all responses came now
        back += (max(soonest, taken_at + cycle) for taken_at in self._taken)
        back.sort()
        times = [now] * min(permits - len(back), ahead + 1) + back[max(0, len(back) - permits) :]
        turn, place = divmod(ahead, permits)
        at = max(times[place], self._adaptation.pause_ends)
        if priority == "bulk":
            first_at = max(times[0], self._adaptation.pause_ends)
            at = max(at, max(self._bulk_due_at, first_at - BANK) + place * self._slot)
        return self._adaptation.slowed(max(0.0, at + turn * cycle - now), now)

    def resize(self, qps: float) -> None:
        """Change the rate. Permits in use stay in use, and what refusals taught about the old rate is forgotten."""
        size = math.floor(qps) if qps >= 1 else 1
        self._adaptation.resize(size)
        self._period = max(1.0, 1.0 / qps) + RESOLUTION
        self._slot = 1.0 / qps
        self._weight = 1.0 / (CYCLES_AVERAGED * size)
        self._set_timer()

    def _release(self, min_round_trip: float, throttled: bool) -> None:
        now = self._clock()
        self._min_round_trip = max(0.0, min_round_trip)
        back_at = now + self._period - min_round_trip
        if throttled:
            self._adaptation.refuse(now)
            insort(self._back, back_at + self._chance() * self._period)
        else:
            back_at += self._adaptation.lateness()
            insort(self._back, back_at)
            self._cycle += (back_at - self._taken[0] - self._cycle) * (self._weight if self._cycle else 1.0)
        self._taken.popleft()  # which of the calls in flight it was doesn't matter to the average
        if len(self._back) >= self._forget_at:
            del self._back[: bisect_right(self._back, now)]
            self._forget_at = max(FORGET_FROM, 2 * len(self._back))
        if self._interactive_waiting or self._bulk_waiting:
            self._set_timer()

    def _cancel(self) -> None:
        self._taken.pop()
        self._set_timer()

    def _free_at(self, now: float) -> float:
        """Return when a permit is free: not after ``now`` means now, ``inf`` after a response."""
        adaptation = self._adaptation
        if adaptation.permits < adaptation.size:
            adaptation.grow(now)
        # There is room once all but this many of those that come back are there.
        needed = len(self._taken) + len(self._back) - int(adaptation.permits)
        if needed < 0:
            return adaptation.pause_ends
        if needed >= len(self._back):
            return math.inf
        return max(adaptation.pause_ends, self._back[needed])

    def _expected_cycle(self, now: float) -> float:
        if self._cycle:
            return max(self._cycle, self._period)
        # Before the first response there is only the age of the calls under way to go by.
        return self._period + (now - self._taken[0] if self._taken else 0.0)

    def _set_timer(self) -> None:
        """Have ``on_change`` called when the first of those who wait may go."""
        if not (self._interactive_waiting or self._bulk_waiting):
            self._wakeup.set(math.inf)
            return
        if not self._wakeup.runs_here:
            return  # the timer that is set will see to it
        now = self._clock()
        at = self._free_at(now)
        if not self._interactive_waiting:
            at = max(at, self._bulk_due_at)
        at = min(at, now + LONGEST_SLEEP)
        if at < self._wakeup.at:
            self._wakeup.set(at)

    def _wake(self) -> None:
        self._on_change()
