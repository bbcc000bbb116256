"""The limiters that clients share by default: one for each application on one server side, in this process."""

from __future__ import annotations

from typing import Final

from .limiter import RateLimiter

SWEEP_FROM: Final = 16


class Registry:
    """Keeps limiters by server side and application, for as long as they are needed."""

    def __init__(self) -> None:
        self._limiters: dict[tuple[str, int], RateLimiter] = {}
        self._sweep_at = SWEEP_FROM

    def find(self, domain: str, app_id: int) -> RateLimiter:
        """Return the limiter of an application on a server side, to be attached to at once.

        It is forgotten some time after its last user is gone, but not while any of its quota is in use: a call
        made now counts for the next second, whoever makes the next one.
        """
        limiter = self._limiters.get((domain, app_id))
        if limiter is None:
            if len(self._limiters) >= self._sweep_at:
                self._sweep()
            limiter = self._limiters[domain, app_id] = RateLimiter()
        return limiter

    def _sweep(self) -> None:
        for key, limiter in list(self._limiters.items()):
            if limiter.idle:
                del self._limiters[key]
        # Each time that they have doubled: then a sweep costs the same for each, however many there are.
        self._sweep_at = max(SWEEP_FROM, 2 * len(self._limiters))


shared_limiters: Final = Registry()
