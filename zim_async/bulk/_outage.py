"""A circuit breaker: a run of failures in passing isn't so many failed calls, but one reason to wait."""

from __future__ import annotations

from typing import Final

from ..errors import ZimError

RUN: Final = 5  # failures in passing, in a row
FIRST_PAUSE: Final = 1.0  # seconds before the first probe; each next pause is twice as long
LONGEST_PAUSE: Final = 60.0


class Outage:
    """Follows how calls end; ``reason`` says what is wrong while there is an outage, and is None otherwise."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._asked_for = 0.0

    def fail(self, error: ZimError) -> None:
        """Take a failure in passing into account."""
        self._failures += 1
        if self._failures >= RUN:
            self.reason = str(error)
            self._asked_for = getattr(error, "retry_after", None) or 0.0

    def recover(self) -> None:
        """Note an answer that settled a call, one way or the other: the server is there."""
        self.reason = None
        self._failures, self._pause, self._asked_for = 0, FIRST_PAUSE, 0.0

    def next_pause(self) -> float:
        """Return the seconds to wait before the next probe: longer each time, or what the server asked for.

        A minute at most.
        """
        pause = min(max(self._pause, self._asked_for), LONGEST_PAUSE)
        self._pause = min(2.0 * self._pause, LONGEST_PAUSE)
        return pause
