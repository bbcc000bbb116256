"""How long a round trip to a host takes at least: the credit that a permit gets for it."""

from __future__ import annotations

import math
from typing import Final

MIN_SAMPLES: Final = 20
GENERATION: Final = 500  # samples after which a generation is closed, and the one before it forgotten
# What is taken off the smallest round trip seen, for what the samples didn't show: a part of it, a part of
# how far the mean lies above it (the fewer samples the larger: with exponential delays either way, one in a
# thousand minima of n lies above the true one by more than 1.9 / sqrt(n) of that), and what a busy event
# loop adds to every sample alike (seconds).
SHRINK: Final = 0.96
SPREAD: Final = 0.15
SPREAD_OF_FEW: Final = 2.5
LOOP_LAG: Final = 0.008


class RoundTrips:
    """A lower bound of the round trips to one host, learned from calls on connections already open.

    It falls with the first faster answer, and rises only when two generations of answers were slower:
    a bound too low costs a little time, one too high breaks the rate promise.
    """

    def __init__(self) -> None:
        self._shortest = [math.inf, math.inf]  # of this generation, and of the one before
        self._total = 0.0
        self._count = 0
        self._mean_before: float | None = None

    def add(self, seconds: float) -> None:
        """Take one round trip into account; never one that opened its connection, which takes longer."""
        if self._count == GENERATION:
            self._mean_before = self._total / self._count
            self._shortest = [math.inf, self._shortest[0]]
            self._total, self._count = 0.0, 0
        self._shortest[0] = min(self._shortest[0], seconds)
        self._total += seconds
        self._count += 1

    @property
    def floor(self) -> float:
        """Seconds that every round trip takes at least; 0 until enough were seen."""
        if self._mean_before is None and self._count < MIN_SAMPLES:
            return 0.0
        count = self._count + (0 if self._mean_before is None else GENERATION)
        spread = max(SPREAD, SPREAD_OF_FEW / math.sqrt(count))
        shortest = min(self._shortest)
        means = [self._total / self._count] + ([] if self._mean_before is None else [self._mean_before])
        return max(0.0, SHRINK * shortest - spread * (max(means) - shortest) - LOOP_LAG)
