"""What is known of one call on its way, and the events that are made of it."""

from __future__ import annotations

import math
import time

from ._codes import Verdict, verdict_of
from ._protocol import Response, Sendable
from .actions import Priority
from .errors import ZimError
from .events import AttemptEnded, CallEnded, CallStarted, RetryScheduled
from .limits import ActionLimiter, Permit


class CallRecord:
    """One call on its way through queue, attempts and waits. Times are in seconds."""

    permit: Permit  # from the queue, for the first attempt
    # Most calls are done at the first attempt, and change few of these.
    observed = True
    started_at = 0.0
    ends_at = math.inf
    max_wait: float | None = None
    queued = 0.0  # in its last turn
    queued_in_all = 0.0
    attempts = 0
    sending = False
    maybe_applied = False  # whether the server may have acted at one of the attempts
    skew: float | None = None  # server minus local clock, when that is why the last attempt was refused
    last_error: ZimError | None = None

    def __init__(self, action: Sendable, limiter: ActionLimiter, priority: Priority) -> None:
        self.action = action
        self.limiter = limiter
        self.priority: Priority = priority

    def time_left(self) -> float:
        """Return the seconds until the deadline."""
        return self.ends_at - time.monotonic()

    def note_queued(self, asked_at: float) -> None:
        """Take a turn's time in the queue into account, which ends now."""
        self.queued = time.monotonic() - asked_at
        self.queued_in_all += self.queued

    def started(self, host: str, port: int) -> CallStarted:
        """Return the event of its start."""
        return CallStarted(self.action.name, self.priority, host, port)

    def attempt_ended(self, outcome: Response | BaseException, sent_at: float) -> AttemptEnded:
        """Return the event of an attempt's end, which is now."""
        code, error = _code_and_error(outcome)
        return AttemptEnded(
            action=self.action.name,
            priority=self.priority,
            attempt=self.attempts,
            code=code,
            error=error,
            throttled=is_throttled(outcome),
            seconds=time.monotonic() - sent_at,
            queue_seconds=self.queued,
            request_id=outcome.request_id if isinstance(outcome, Response | ZimError) else None,
        )

    def retry_scheduled(self, error: ZimError, delay: float) -> RetryScheduled:
        """Return the event of a wait before another attempt."""
        return RetryScheduled(
            action=self.action.name,
            priority=self.priority,
            attempt=self.attempts,
            code=error.code,
            error=type(error).__name__,
            throttled=is_throttled(error),
            delay=delay,
        )

    def ended(self, outcome: Response | BaseException) -> CallEnded:
        """Return the event of its end, which is now."""
        code, error = _code_and_error(outcome)
        seconds = time.monotonic() - self.started_at
        return CallEnded(
            action=self.action.name,
            priority=self.priority,
            attempts=self.attempts,
            code=code,
            error=error,
            seconds=seconds,
            queue_seconds=self.queued_in_all if self.attempts else seconds,
        )


def is_throttled(outcome: object) -> bool:
    """Tell whether the server refused a request for its rate."""
    return isinstance(outcome, ZimError) and verdict_of(outcome) is Verdict.SLOW_DOWN


def _code_and_error(outcome: Response | BaseException) -> tuple[int | None, str | None]:
    """Return the return code of an outcome and the name of its error, each None without one."""
    if isinstance(outcome, Response):
        return outcome.code, None
    return outcome.code if isinstance(outcome, ZimError) else None, type(outcome).__name__
