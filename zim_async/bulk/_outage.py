"""A circuit breaker for each action: a run of transient failures isn't so many failed calls, but one reason to wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ..errors import ZimError
from ._stop import Stop

RUN: Final = 5  # transient failures in a row


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause that doubles from one time to the next. All in seconds."""

    pause: float = 1.0
    longest: float = 60.0

    def doubled(self) -> Backoff:
        """Return the one for the next time."""
        return replace(self, pause=min(2.0 * self.pause, self.longest))


class Outage:
    """Follows how the calls of one action end.

    Attributes:
        reason: What is wrong while there is an outage, None otherwise.
    """

    def __init__(self, backoff: Backoff, on_end: Callable[[], object]) -> None:
        self.reason: str | None = None
        self._first = self._backoff = backoff
        self._on_end = on_end
        self._failures = 0
        self._asked_for = 0.0

    def fail(self, error: ZimError) -> None:
        """Note a transient failure. It takes a run of them, or one with which the server asked for a pause."""
        self._failures += 1
        self._asked_for = max(self._asked_for, getattr(error, "retry_after", None) or 0.0)
        if self._failures >= RUN or self._asked_for:
            self.reason = str(error)

    def recover(self, *, probe: bool = False) -> None:
        """Note a response that settled a call, one way or the other: the server is there.

        A call that was sent before the outage began says nothing of it: only a ``probe`` ends it.
        """
        was_out = self.reason is not None
        if was_out and not probe:
            return
        self.reason = None
        self._failures, self._backoff, self._asked_for = 0, self._first, 0.0
        if was_out:
            self._on_end()

    async def wait(self, stop: Stop) -> None:
        """Wait before the next probe: longer each time, and no less than the server asked for, up to the longest.

        The end of another action's outage ends the wait too, but for what the server asked for.
        """
        asked_for, self._asked_for = min(self._asked_for, self._backoff.longest), 0.0
        pause, self._backoff = self._backoff.pause, self._backoff.doubled()
        await stop.sleep(asked_for)
        await stop.pause(pause - asked_for)
