"""The limiters that clients share by default: one for each application on one server side, in this process."""

from __future__ import annotations

from typing import Final

from .limiter import RateLimiter

SWEEP_FROM: Final = 16


_limiters: Final[dict[tuple[str, int], RateLimiter]] = {}
_swept_at = (
    SWEEP_FROM  # limiters; a sweep each time that they have doubled costs the same for each, however many there are
)


def shared_limiter(domain: str, app_id: int, user: object) -> RateLimiter:
    """Return the limiter that all clients of this process share for an application on one server side.

    It is forgotten some time after its last user is gone, but not while any of its quota is in use: a call
    made now counts for the next second, whoever makes the next one.

    Args:
        domain: The server side.
        app_id: The application.
        user: Who is going to use it, for as long as it lives.
    """
    limiter = _limiters.get((domain, app_id))
    if limiter is None:
        _sweep()
        limiter = _limiters[domain, app_id] = RateLimiter()
    limiter.attach(user)
    return limiter


def _sweep() -> None:
    global _swept_at
    if len(_limiters) < _swept_at:
        return
    for key, limiter in list(_limiters.items()):
        if limiter.idle:
            del _limiters[key]
    _swept_at = max(SWEEP_FROM, 2 * len(_limiters))
