"""The clock of another machine, as far as its stamps tell.

A stamp was made between two moments of our own: before the request left, that clock hadn't got so far, and when the
reply was there, it had. So each reply bounds from both sides by how much that clock is ahead.
"""

from __future__ import annotations

import math
from typing import Final

DRIFT: Final = 0.0005  # seconds a second by which two clocks may differ: NTP turns one by so much at most
TOLERANCE: Final = 0.01  # seconds by which bounds may contradict each other before the clock is taken to have been set


class RemoteClock:
    """What is known of another clock. Bounds learned from one stamp hold for later ones but for the drift."""

    def __init__(self) -> None:
        self._least, self._most = -math.inf, math.inf  # seconds by which it is ahead
        self._learned_at = 0.0

    def learn(self, stamp: float, sent_at: float, received_at: float) -> bool:
        """Learn from a reply, and return whether that clock was set since the one before.

        Args:
            stamp: The other clock's time, in seconds.
            sent_at: When the request left, by our clock.
            received_at: When the reply was there.
        """
        least, most = stamp - received_at, stamp - sent_at
        drift = DRIFT * (received_at - self._learned_at)
        known_least, known_most = self._least - drift, self._most + drift
        self._learned_at = received_at
        was_set = least > known_most + TOLERANCE or most < known_least - TOLERANCE
        # The latest reply is right in any case.
        self._least = least if was_set else min(max(least, known_least), most)
        self._most = most if was_set else max(min(most, known_most), least)
        return was_set

    def latest(self, stamp: float) -> float:
        """Return when a stamp was made at the latest, by our clock.

        Args:
            stamp: The other clock's time, in seconds.
        """
        return stamp - self._least
