"""The retry policy: tenacity behind the project's own words, keyed on the verdict of each error."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ._codes import Verdict, verdict_of
from .errors import ConfigError, ZimError

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

T = TypeVar("T")
log = logging.getLogger("zim_async")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which waits in seconds, a call that failed in passing is sent again.

    The wait before repeat n is drawn evenly from 0 to ``first_backoff`` * 2**(n-1), at most
    ``longest_backoff`` ("full jitter": Brooker, "Exponential Backoff and Jitter", AWS 2015); without
    ``jitter`` it is that bound itself. A server's Retry-After is honoured up to ``longest_backoff``.
    ``attempts`` counts the first one. Zero waits suit tests. Raises ``ConfigError``.
    """

    attempts: int = 5
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigError(f"attempts must be an int of at least 1, not {self.attempts!r}")
        waits = (self.first_backoff, self.longest_backoff)
        if not all(isinstance(wait, int | float) for wait in waits) or not 0 <= waits[0] <= waits[1] < math.inf:
            raise ConfigError(
                "back-offs must satisfy 0 <= first_backoff <= longest_backoff < inf,"
                f" not {self.first_backoff!r} and {self.longest_backoff!r}"
            )

    async def resume(self, error: ZimError, attempt: Callable[[], Awaitable[T]]) -> T:
        """Go on after a first attempt that failed with ``error``: await ``attempt()`` until it succeeds.

        Raises the last error when it lasts, or when attempts run out. That the first attempt is made by
        the caller keeps tenacity out of the way of calls with which all is well.
        """
        if self.attempts == 1 or not _is_passing(error):
            raise error
        first_error: ZimError | None = error

        async def attempt_again() -> T:
            nonlocal first_error
            if first_error is not None:  # tenacity's first attempt is the one already made
                error, first_error = first_error, None
                raise error
            return await attempt()

        return await self._retrying()(attempt_again)

    def _retrying(self) -> AsyncRetrying:
        # Imported when something is to be retried: that is a fifth of what importing this library would take.
        from tenacity import (
            AsyncRetrying,
            retry_if_exception,
            stop_after_attempt,
            wait_exponential,
            wait_random_exponential,
        )

        backoff = wait_random_exponential if self.jitter else wait_exponential
        wait = backoff(multiplier=self.first_backoff, max=self.longest_backoff)
        return AsyncRetrying(
            stop=stop_after_attempt(self.attempts),
            wait=lambda state: max(wait(state), min(_retry_after(state), self.longest_backoff)),
            retry=retry_if_exception(_is_passing),
            before_sleep=_log_wait,
            reraise=True,
        )


def _is_passing(error: BaseException) -> bool:
    # Anything but the library's own errors, cancellation above all, passes through untouched.
    return isinstance(error, ZimError) and verdict_of(error) in (Verdict.RETRY, Verdict.SLOW_DOWN)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(state: RetryCallState) -> float:
    return getattr(_error_of(state), "retry_after", None) or 0.0


def _log_wait(state: RetryCallState) -> None:
    wait = state.next_action.sleep if state.next_action else 0.0
    log.warning("attempt %d failed, next in %.2f s: %s", state.attempt_number, wait, _error_of(state))
