"""What the log says of refusals for rate: a warning when they begin, then at most one a second that sums them up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

SECONDS_BETWEEN: Final = 1.0

log = logging.getLogger("zim_async")


class ThrottleLog:
    """The warnings of one action."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pace = ""

    def note(self, permits: float, qps: float) -> None:
        """Count a refusal.

        Args:
            permits: The calls that the limiter now lets be under way in any second.
            qps: The calls a second it would let through otherwise.
        """
        self._count += 1
        self._pace = f"{permits:.1f} of {qps:g}"
        if self._timer is None:
            self._report()

    def _report(self) -> None:
        self._timer = None
        if not self._count:
            return
        log.warning(
            "%s: %d refused by the server for the rate of calls; other programs use this AppId's quota."
            " Sending at most %s calls a second for now",
            self._action,
            self._count,
            self._pace,
        )
        self._count = 0
        with contextlib.suppress(RuntimeError):  # a permit may end where no loop runs any more
            self._timer = asyncio.get_running_loop().call_later(SECONDS_BETWEEN, self._report)
