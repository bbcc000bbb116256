"""The window of permits: the hard bound on arrivals, its size learned where the quota is shared.

Pure bookkeeping: times are seconds of any one monotonic clock, always given by the caller.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from itertools import chain
from typing import Final

# How permits follow refusals, when other programs use the same quota. Played by `python -m benchmarks.sharing`
# on a virtual clock, by which the figures were found.
# Programs that hold more of the quota are cut harder and grow slower, until all hold the same.
CUT: Final = 0.24  # part of the permits lost on a refusal, at most once a second, times their share of the rate
DEEPEST_CUT: Final = 0.12
GROWTH: Final = 5e-5  # part of the rate regained per clean second, over the square of the share held
DOUBLING: Final = 20.0  # clean seconds after which growth has doubled, and doubled again
PAUSE: Final = 0.2  # seconds for which a refusal stops the whole action
# Permits come back late, by up to DITHER seconds drawn evenly: else programs lock into phases that leave no gap,
# and one that comes later finds no way in. Those that hold more of the quota give way more. While alone, only
# one in so many is late, which costs 1.3 ms a second, and opens gaps wide enough for a newcomer to be noticed by.
DITHER: Final = 0.12
DITHER_ALONE: Final = 0.05
ONE_IN: Final = 20
MANY: Final = 100  # permits, among which there are gaps enough without
CYCLES_AVERAGED: Final = 3


class LocalWindow:
    """Permits, ``qps`` of them, each in use until one period after its call's answer, less the round trip's floor.

    Below one call a second there is one permit, and the period is longer instead; above, a fraction is
    dropped: 2.5 calls a second are 2 in any second.
    A refusal makes permits fewer and sends the refused one off to a random phase of the second, where it
    may find room; where programs keep their phases, all find one, and hardly disturb each other.
    """

    def __init__(self, qps: float) -> None:
        self.last_refusal = -math.inf
        self._last_cut = -math.inf
        self._grown_at = -math.inf
        # When permits come back: most come in order, and a queue is quicker than a heap; the others in a heap.
        self._in_order: deque[float] = deque()
        self._returning: list[float] = []
        self._taken: deque[float] = deque()  # when the permits in flight were taken
        self._cycle = 0.0  # seconds from taking a permit to its coming back, on average; 0 before the first
        self._permits = self._size = 0.0
        self.resize(qps)

    def resize(self, qps: float) -> None:
        """Change the rate; permits in use stay in use, and what refusals taught about the old rate is forgotten."""
        self._size = math.floor(qps) if qps >= 1 else 1
        self._period = max(1.0, 1.0 / qps)
        self._permits = float(self._size)
        self._weight = 1.0 / (CYCLES_AVERAGED * self._size)

    @property
    def in_flight(self) -> int:
        """Permits taken by calls whose end isn't known yet."""
        return len(self._taken)

    @property
    def not_before(self) -> float:
        """When the pause after the last refusal ends."""
        return self.last_refusal + PAUSE

    @property
    def permits(self) -> float:
        """Permits there are now; fewer than the rate allows after refusals."""
        return self._permits

    def grow(self, now: float) -> None:
        """Bring back permits for the clean seconds until ``now``."""
        since = max(self._grown_at, self.last_refusal + 1.0)
        if now > since and self._permits < self._size:
            share = self._permits / self._size
            speed = GROWTH * self._size / share**2 * 2.0 ** min(64.0, (now - self.last_refusal - 1.0) / DOUBLING)
            self._permits = min(self._size, self._permits + speed * (now - since))
        self._grown_at = max(self._grown_at, now)

    def opens_at(self, now: float) -> float:
        """Return when the next permit can be taken: not after ``now`` means at once, ``inf`` after an answer."""
        while self._in_order and self._in_order[0] <= now:
            self._in_order.popleft()
        while self._returning and self._returning[0] <= now:
            heapq.heappop(self._returning)
        if self._permits < self._size:
            self.grow(now)
        out = len(self._in_order) + len(self._returning)
        excess = len(self._taken) + out - int(self._permits)
        if excess < 0:
            return self.last_refusal + PAUSE
        if excess >= out:
            return math.inf
        back_at = heapq.nsmallest(excess + 1, chain(self._in_order, self._returning))[-1]
        return max(self.last_refusal + PAUSE, back_at)

    def take(self, now: float) -> None:
        """Take a permit; the caller has seen that the window is open."""
        self._taken.append(now)

    def end(self, now: float, floor: float = 0.0, *, refused: bool = False) -> None:
        """Note that a call ended, in whatever way; ``floor`` is what its round trip took at least."""
        if refused:
            self._refuse(now)
        back_at = now + self._period - floor
        if refused or self._size <= MANY or self._permits < self._size:
            back_at += random.random() * self._lateness(refused)  # noqa: S311
        if not self._in_order or back_at >= self._in_order[-1]:
            self._in_order.append(back_at)
        else:
            heapq.heappush(self._returning, back_at)
        # Which of the calls in flight it was doesn't matter to the average.
        cycle = back_at - self._taken.popleft()
        self._cycle += (cycle - self._cycle) * (self._weight if self._cycle else 1.0)

    def give_back(self) -> None:
        """Return a permit at once whose call was never sent."""
        self._taken.pop()

    def wait(self, position: int, now: float) -> float:
        """Return the seconds until a call with ``position`` calls before it is let through, as things look."""
        self.grow(now)
        # Before the first answer there is only the age of the calls under way to go by.
        cycle = self._cycle or self._period + (now - self._taken[0] if self._taken else 0.0)
        back = sorted([*self._in_order, *self._returning, *(max(now, taken_at + cycle) for taken_at in self._taken)])
        free = int(self._permits) - len(back)
        times = [now] * free + back[max(0, -free) :]
        turn, place = divmod(position, len(times))
        return max(0.0, max(self.not_before, times[place]) + turn * max(cycle, self._period) - now)

    def carry_over(self, now: float) -> None:
        """Take what is known to a new event loop, whose calls in flight ended with the old one."""
        latest = now + self._period
        out = chain(self._in_order, self._returning)
        self._in_order = deque(sorted([min(at, latest) for at in out] + [latest] * self.in_flight))
        self._returning.clear()
        self._taken.clear()
        self.last_refusal = min(self.last_refusal, now)
        self._last_cut = min(self._last_cut, now)
        self._grown_at = min(self._grown_at, now)

    def _lateness(self, refused: bool) -> float:
        if refused:
            return self._period
        if self._permits < self._size:
            return DITHER * self._permits / self._size
        return DITHER_ALONE if random.random() * ONE_IN < 1.0 else 0.0  # noqa: S311

    def _refuse(self, now: float) -> None:
        self.grow(now)
        self.last_refusal = max(self.last_refusal, now)
        if now - self._last_cut >= 1.0:
            self._last_cut = now
            cut = min(DEEPEST_CUT, CUT * self._permits / self._size)
            self._permits = max(1.0, self._permits * (1.0 - cut))
