"""The control law: how many permits to use when other programs use the same quota.

Of the ``size`` permits that the rate allows, ``p`` are in use. ``s = p / size`` is the share held.

1. Only a refusal tells of others. It stops the action for PAUSE seconds, in which no call adds to the excess.
2. Cut: a refusal takes ``c = min(DEEPEST_CUT, CUT * s)`` of the permits, at most once a second. All refusals within a
   second are one event: their calls were on the way before the first response came. Who holds more, gives more.
3. Growth: each clean second brings back ``g = GROWTH * size / s**2`` permits. Who holds less, regains more.
   A clean second begins one second after a refusal.
4. Balance: cuts ``T`` seconds apart outweigh growth when ``T * g = c * p``, so ``T = CUT / GROWTH * s**4``.
   The fourth power makes shares equal: who holds twice as much is cut back sixteen times as readily.
5. CUT / GROWTH is 4,800 seconds. For four programs, ``s = 1/4``, T is 18.75 seconds, and 19.75 with the second
   before growth begins. That is a refusal in five seconds among 100 calls, or 1 %. For eight programs it is 16 %.
6. CUT is the size of a step. At ``s = 1/4`` it takes 6 %, so p swings by 3 % about its mean, and the quota stays used.
   DEEPEST_CUT holds from ``s = 1/2`` on: a lone program hands over half of its permits in 5.4 seconds of refusals.
7. DOUBLING brings back a program that was left alone. ``ds/dt = GROWTH / s**2 * 2**(t / DOUBLING)`` leads from 1/4 to
   1 in 157 seconds. Without it that would take 6,560.
8. Lateness: programs with a period of one second lock into phases that leave no gap, and a newcomer finds no way
   in. So permits come back late by up to ``LATENESS * s`` seconds, drawn evenly. Who holds more, gives way more.
   While alone, one permit in ONE_IN is late by up to LATENESS_ALONE. That costs 1.3 ms a second, and opens gaps
   wide enough for a newcomer to be noticed by.

9. Waits: ``n`` is the cuts lately, which count less the older they are. Cuts are expected to go on ``r = n / MEMORY``
   times a second, for ``3 * MEMORY * n`` seconds: what lasted long is likely to last. Pauses take the part
   ``PAUSE * r`` of the time, and a wait of ``w`` seconds meets ``1 - c * r * w / 2`` of the permits.
10. A refused call goes again ahead of those that wait. So if the part ``x`` of the calls is refused, ``m`` calls ahead
    count as ``m * (1 + x)``. That needs a second cut, since the first may come from a burst that is over. Lost permits
    and refused calls make a wait longer by the part MOST each, no more.

`python -m benchmarks.sharing` plays the law on a virtual clock, where the constants were tuned. Up to 40 ms: .94 of the
quota used and more, at most 1.4 % refused, the largest share within 1.8 times the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

CUT: Final = 0.24  # part of the permits lost on a refusal, at most once a second, times their share of the rate
DEEPEST_CUT: Final = 0.12
GROWTH: Final = 5e-5  # part of the rate regained per clean second, over the square of the share held
DOUBLING: Final = 20.0  # clean seconds after which growth has doubled, and doubled again
PAUSE: Final = 0.2  # seconds for which a refusal stops the whole action
LATENESS: Final = 0.12
LATENESS_ALONE: Final = 0.05
ONE_IN: Final = 20
MEMORY: Final = 3.0  # seconds for which a refusal makes another one likely
MOST: Final = 0.5
MANY: Final = 100  # permits, among which there are gaps enough without


class Adaptation:
    """The number of permits in use, learned from refusals.

    Args:
        size: The permits that the rate allows.
        chance: Draws numbers from 0 to 1, evenly.
    """

    def __init__(self, size: int, chance: Callable[[], float]) -> None:
        self.size = size
        self.permits = float(size)
        self.last_refusal = self.pause_ends = -math.inf
        self._chance = chance
        self._last_cut = -math.inf
        self._grown_at = -math.inf
        self._cuts_lately = 0.0
        self._refusals_lately = 0.0

    def resize(self, size: int) -> None:
        """Change the permits that the rate allows. What refusals taught about the old rate is forgotten."""
        self.size, self.permits = size, float(size)

    def grow(self, now: float) -> None:
        """Bring back permits for the clean seconds until ``now``."""
        since = max(self._grown_at, self.last_refusal + 1.0)
        if now > since and self.permits < self.size:
            share = self.permits / self.size
            speed = GROWTH * self.size / share**2 * 2.0 ** min(64.0, (now - self.last_refusal - 1.0) / DOUBLING)
            self.permits = min(self.size, self.permits + speed * (now - since))
        self._grown_at = max(self._grown_at, now)

    def refuse(self, now: float) -> None:
        """Take a refusal into account."""
        self.grow(now)
        self._refusals_lately = 1.0 + self._refusals_lately * _remembered(self.last_refusal, now)
        self.last_refusal = max(self.last_refusal, now)
        self.pause_ends = self.last_refusal + PAUSE
        if now - self._last_cut >= 1.0:
            self._cuts_lately = 1.0 + self._cuts_lately * _remembered(self._last_cut, now)
            self._last_cut = now
            cut = min(DEEPEST_CUT, CUT * self.permits / self.size)
            self.permits = max(1.0, self.permits * (1.0 - cut))

    def slowed(self, wait: float, now: float) -> float:
        """Return how long a wait is likely to become if refusals go on as in the last seconds.

        Args:
            wait: The seconds it would take with the permits there are now.
            now: The time in seconds.
        """
        lately = self._cuts_lately * _remembered(self._last_cut, now)
        cuts = lately / MEMORY
        loss = cuts * min(DEEPEST_CUT, CUT * self.permits / self.size)
        return wait * (1.0 + PAUSE * cuts) * (1.0 + min(MOST, loss * min(wait, 3.0 * MEMORY * lately) / 2.0))

    def counted(self, calls: int, cycle: float, now: float) -> int:
        """Return as how many calls a queue counts if refused calls go again as in the last seconds.

        Args:
            calls: The calls in the queue.
            cycle: The seconds from taking a permit to its coming back.
            now: The time in seconds.
        """
        lately = self._cuts_lately * _remembered(self._last_cut, now)
        if lately <= 1.0:
            return calls
        refusals = self._refusals_lately * _remembered(self.last_refusal, now) / MEMORY
        return int(calls * (1.0 + min(MOST, min(1.0, lately - 1.0) * refusals * cycle / self.permits)))

    def lateness(self) -> float:
        """Draw the seconds by which a permit is to come back late after a call that wasn't refused."""
        if self.permits < self.size:
            return self._chance() * LATENESS * self.permits / self.size
        if self.size <= MANY and self._chance() * ONE_IN < 1.0:
            return self._chance() * LATENESS_ALONE
        return 0.0


def _remembered(since: float, now: float) -> float:
    """Return the part that still counts of what was counted at ``since``."""
    return math.exp((since - now) / MEMORY)
