"""The server's clock as far as responses tell it. Signatures are stamped with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, TypeGuard

from ._codes import Verdict, verdict_of
from ._protocol import parse_date
from .errors import ApiError, ClockSkewError

# A Date header has a resolution of a second and ages on its way: only minutes count as a difference.
MIN_DIFFERENCE: Final = 60.0


class ServerClock:
    """Tells Unix time as the server does: local time plus an ``offset`` in seconds, 0 until one is learned."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> int:
        """Return the server's time in whole Unix seconds."""
        return int(time.time() + self.offset)

    def observe(self, outcome: object, headers: Mapping[str, str], signed_at: int) -> float | None:
        """Learn from a response's Date. Return server minus local clock in seconds if signing anew will help.

        That is so when the signature was refused and its time was minutes off the server's. While a
        difference is known, every response is looked at, so that it is forgotten once the clocks agree.
        """
        refused = is_clock_refusal(outcome)
        if not refused and not self.offset:
            return None
        server_time = parse_date(headers.get("Date"))
        if server_time is None:
            return None
        difference = server_time - time.time()
        self.offset = difference if abs(difference) >= MIN_DIFFERENCE else 0.0
        return difference if refused and abs(server_time - signed_at) >= MIN_DIFFERENCE else None


def is_clock_refusal(outcome: object) -> TypeGuard[ApiError]:
    """Tell whether a signature was refused for a reason that the clock may be."""
    return isinstance(outcome, ApiError) and verdict_of(outcome) is Verdict.FIX_CLOCK


def clock_skew_error(error: ApiError, difference: float) -> ClockSkewError:
    """Return the error for a signature refused again although made by the server's clock."""
    return ClockSkewError(
        f"code {error.code}: the server's clock is {difference:+.0f} s from this machine's; signed anew by the"
        f' server\'s, and refused again (server: "{error.message}"; request ID: {error.request_id}).'
        f" {ClockSkewError.advice} If it is right, check the server secret.",
        difference=difference,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
    )
