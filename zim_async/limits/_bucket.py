"""The mean rate: an aiolimiter bucket of ``qps`` tokens, refilled by ``qps`` a second."""

from __future__ import annotations

from typing import Final

BATCH_SECONDS: Final = (
    0.01  # of the rate, taken out together: token by token up to 100 a second, and 5 us a call less above
)


class TokenBucket:
    """Tokens to be had in batches, some of them in hand.

    Args:
        qps: Tokens a second.
    """

    def __init__(self, qps: float) -> None:
        # Imported here: what it imports takes a quarter of the time that importing this library would.
        from aiolimiter import AsyncLimiter

        self._limiter = AsyncLimiter(max(qps, 1.0), max(1.0, 1.0 / qps))
        self._batch = max(1, int(qps * BATCH_SECONDS))
        self._in_hand = 0

    def try_take(self) -> bool:
        """Take a token if one is in hand."""
        if self._in_hand > 0:
            self._in_hand -= 1
            return True
        return False

    async def take(self) -> None:
        """Take a token, and wait for it if there is none. One that is cancelled meanwhile is still to be put back."""
        self._in_hand -= 1
        if self._in_hand < 0:
            await self._limiter.acquire(self._batch)
            self._in_hand += self._batch

    def refund(self) -> None:
        """Return a token that wasn't needed."""
        self._in_hand += 1
