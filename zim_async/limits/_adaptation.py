"""The control law: how many permits to use when other programs use the same quota."""

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

    def resize(self, size: int) -> None:
        """Change the permits that the rate allows; what refusals taught about the old rate is forgotten."""
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
        self.last_refusal = max(self.last_refusal, now)
        self.pause_ends = self.last_refusal + PAUSE
        if now - self._last_cut >= 1.0:
            self._last_cut = now
            cut = min(DEEPEST_CUT, CUT * self.permits / self.size)
            self.permits = max(1.0, self.permits * (1.0 - cut))

    def lateness(self) -> float:
        """Draw the seconds by which a permit is to come back late after a call that wasn't refused."""
        if self.permits < self.size:
            return self._chance() * LATENESS * self.permits / self.size
        if self.size <= MANY and self._chance() * ONE_IN < 1.0:
            return self._chance() * LATENESS_ALONE
        return 0.0
