"""The limiters that clients share by default: one for each application on one server side, in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from weakref import WeakSet

from .limiter import RateLimiter

FEW: Final = 16


@dataclass(slots=True)
class _Entry:
    limiter: RateLimiter = field(default_factory=RateLimiter)
    users: WeakSet[object] = field(default_factory=WeakSet)


_entries: Final[dict[tuple[str, int], _Entry]] = {}
_swept_at = FEW  # entries; a sweep each time that they have doubled costs the same for each, however many there are


def shared_limiter(domain: str, app_id: int, user: object) -> RateLimiter:
    """Return the limiter that all clients of this process share for an application on one server side.

    It is forgotten some time after its last user is gone, but not while any of its quota is in use: a call
    made now counts for the next second, whoever makes the next one.

    Args:
        domain: The server side.
        app_id: The application.
        user: Who is going to use it, for as long as it lives.
    """
    entry = _entries.get((domain, app_id))
    if entry is None:
        _sweep()
        entry = _entries[domain, app_id] = _Entry()
    entry.users.add(user)
    return entry.limiter


def _sweep() -> None:
    global _swept_at
    if len(_entries) < _swept_at:
        return
    for key, entry in list(_entries.items()):
        if not entry.users and entry.limiter.idle:
            del _entries[key]
    _swept_at = max(FEW, 2 * len(_entries))
