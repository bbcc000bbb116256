"""The ways in which a server may count calls a second. The vendor doesn't say which is its own."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, Protocol, TypeAlias

Counting: TypeAlias = Literal["sliding", "sliding-all", "clock", "bucket"]


class Counter(Protocol):
    """Decides on one arrival after another, at monotonic times in seconds."""

    def accepts(self, now: float) -> bool:
        """Count an arrival, and tell whether it is within the limit."""


class SlidingSecond:
    """At most ``limit`` in any one second, wherever it starts. Refused calls count too if ``all_calls``."""

    def __init__(self, limit: int, *, all_calls: bool = False) -> None:
        self._limit = limit
        self._all_calls = all_calls
        self._counted: deque[float] = deque()
        self.most = 0

    def accepts(self, now: float) -> bool:
        """Count an arrival, and tell whether it is within the limit."""
        while self._counted and self._counted[0] <= now - 1.0:
            self._counted.popleft()
        accepted = len(self._counted) < self._limit
        if accepted or self._all_calls:
            self._counted.append(now)
            self.most = max(self.most, len(self._counted))
        return accepted


class ClockSecond:
    """At most ``limit`` from one full second to the next."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = -1
        self._count = 0

    def accepts(self, now: float) -> bool:
        """Count an arrival, and tell whether it is within the limit."""
        if (second := math.floor(now)) != self._second:
            self._second, self._count = second, 0
        if self._count >= self._limit:
            return False
        self._count += 1
        return True


class RefilledTokens:
    """``limit`` tokens, refilled at ``limit`` a second. Each call takes one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tokens = float(limit)
        self._at = -math.inf

    def accepts(self, now: float) -> bool:
        """Count an arrival, and tell whether it is within the limit."""
        self._tokens = min(self._limit, self._tokens + (now - self._at) * self._limit)
        self._at = now
        # A token that a rounding error keeps from being whole is whole.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True


COUNTERS: Final[Mapping[Counting, Callable[[int], Counter]]] = MappingProxyType(
    {
        "sliding": SlidingSecond,
        "sliding-all": lambda limit: SlidingSecond(limit, all_calls=True),
        "clock": ClockSecond,
        "bucket": RefilledTokens,
    }
)
