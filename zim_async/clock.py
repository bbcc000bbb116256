"""The server's clock as far as answers tell it: signatures are stamped with it."""

from __future__ import annotations

import time
from typing import Final

# A Date header has a resolution of a second and ages on its way: only minutes count as a difference.
MIN_DIFFERENCE: Final = 60.0


class ServerClock:
    """Tells Unix time as the server does: local time plus an ``offset`` in seconds, 0 until one is learned."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> int:
        """Return the server's time in whole Unix seconds."""
        return int(time.time() + self.offset)

    def learn(self, server_time: float) -> float:
        """Take the offset from an answer's date, less than a minute counting as none; return the whole difference."""
        difference = server_time - time.time()
        self.offset = difference if abs(difference) >= MIN_DIFFERENCE else 0.0
        return difference
