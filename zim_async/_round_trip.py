"""How long a round trip to a host takes at least: the credit that a permit gets for it."""

from __future__ import annotations

import math
from typing import Final

MIN_SAMPLES: Final = 20
GENERATION: Final = 500  # samples after which a generation is closed, and the one before it forgotten
# What is taken off the smallest round trip seen, for what the samples didn't show. A part of it. A part of
# how far the mean lies above it, the larger the fewer samples there are: with exponential delays either way, one
# in a thousand minima of n lies above the true one by more than 1.9 / sqrt(n) of that. And what a busy event loop
# adds to every sample alike, in seconds.
SHRINK: Final = 0.96
SPREAD: Final = 0.15
SPREAD_OF_FEW: Final = 2.5
LOOP_LAG: Final = 0.008


class RoundTrips:
    """A lower bound of the round trips to one host, learned from calls on connections that were open.

    It falls with the first faster response, and rises only when two generations of responses were slower.
    A bound too low costs a little time. One too high breaks the rate promise.
    """

    def __init__(self) -> None:
        self.minimum = 0.0  # seconds that every round trip takes at least; 0 until enough were seen
        self._shortest = math.inf
        self._total = 0.0
        self._count = 0
        self._before: tuple[float, float] | None = None  # shortest and mean of the generation before

    def add(self, seconds: float, *, connected: bool = False) -> None:
        """Take one round trip into account.

        Args:
            seconds: What the call took.
            connected: Whether it opened its connection too. Such a time can only show that trips are shorter.
        """
        if connected:
            if seconds < self._shortest and self._count:
                self._shortest = seconds
                self._learn()
            return
        if self._count == GENERATION:
            self._before = (self._shortest, self._total / self._count)
            self._shortest, self._total, self._count = math.inf, 0.0, 0
        self._total += seconds
        self._count += 1
        # Down immediately; up is in no hurry.
        if seconds < self._shortest or self._count % MIN_SAMPLES == 0:
            self._shortest = min(self._shortest, seconds)
            self._learn()

    def _learn(self) -> None:
        shortest, mean, count = self._shortest, self._total / self._count, self._count
        if self._before is not None:
            shortest, mean, count = min(shortest, self._before[0]), max(mean, self._before[1]), count + GENERATION
        if count >= MIN_SAMPLES:
            spread = max(SPREAD, SPREAD_OF_FEW / math.sqrt(count))
            self.minimum = max(0.0, SHRINK * shortest - spread * (mean - shortest) - LOOP_LAG)
