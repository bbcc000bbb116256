"""Limiters on the virtual clock, with chance in the test's hands."""

import random
from collections.abc import Callable
from functools import partial

from tests.support import virtual_clock
from zim_async.limits import ActionLimiter, LocalWindow, Rate, RateLimiter
from zim_async.limits.window import WindowFactory


class Clock:
    """A clock that stands still unless it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def never() -> float:
    """Draw 1.0 each time: permits come back on the instant while the quota isn't shared."""
    return 1.0


def virtual_window(chance: Callable[[], float] = never) -> WindowFactory:
    """Return what makes windows on the virtual clock."""
    return partial(LocalWindow, clock=virtual_clock.now, chance=chance)


def action_limiter(qps: float, chance: Callable[[], float] = never) -> ActionLimiter:
    return ActionLimiter("DeleteConv", qps, window=virtual_window(chance))


def rate_limiter(qps: Rate | None = None, chance: Callable[[], float] = never) -> RateLimiter:
    return RateLimiter(qps, window=virtual_window(chance))


def dice(seed: int) -> Callable[[], float]:
    return random.Random(seed).random


def most_in_any_second(times: list[float]) -> int:
    return max(sum(start <= at < start + 1.0 for at in times) for start in times)
