"""The retry policy: which failed attempts are worth another one, and how long to wait before it."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from ._codes import Verdict, verdict_of
from ._text import show_value
from ._timeouts import MAX_SECONDS
from .errors import ConfigError, ZimError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

# A call that the server refuses for its rate so often isn't unlucky: somebody else uses up the quota for good.
MAX_THROTTLED: Final = 100
_LARGEST_EXPONENT: Final = 64  # of two; a larger one could overflow, and no bound on backoffs is so high


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call that failed is sent again, and after which waits.

    The wait before repeat n is drawn evenly from 0 to ``first_backoff`` * 2**(n-1), at most ``longest_backoff``
    ("full jitter": Brooker, "Exponential Backoff and Jitter", AWS 2015). A call that the server refuses for its
    rate has not failed. It waits its turn again, up to 100 times, whatever ``attempts`` says.

    Args:
        attempts: Attempts that may fail, the first included.
        first_backoff: Bound of the first wait, in seconds. Zero waits suit tests.
        longest_backoff: Bound of every wait, in seconds, also of what a server's Retry-After asks for.
        jitter: Whether waits are drawn at random. Without it they are the bound itself.

    Raises:
        ConfigError: A value is out of range.

    Example:
        ZimClient(app_id, server_secret, retry=RetryPolicy(attempts=3, longest_backoff=5.0))
    """

    attempts: int = 5
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigError(f"attempts must be an int of at least 1, not {show_value(self.attempts)}")
        waits = (self.first_backoff, self.longest_backoff)
        numbers = all(isinstance(wait, int | float) and not isinstance(wait, bool) for wait in waits)
        if not numbers or not 0 <= waits[0] <= waits[1] <= MAX_SECONDS:
            raise ConfigError(
                f"backoffs must satisfy 0 <= first_backoff <= longest_backoff <= {MAX_SECONDS:.0f} seconds,"
                f" not {show_value(self.first_backoff)} and {show_value(self.longest_backoff)}"
            )

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            failures: The attempts that failed so far, from 1.
        """
        bound = min(self.longest_backoff, self.first_backoff * 2.0 ** min(failures - 1, _LARGEST_EXPONENT))
        return random.uniform(0.0, bound) if self.jitter else bound  # noqa: S311, not for secrets


async def repeat(
    policy: RetryPolicy,
    error: ZimError,
    attempt: Callable[[], Awaitable[T]],
    *,
    idempotent: bool = True,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    time_left: Callable[[], float] = lambda: math.inf,
    on_wait: Callable[[ZimError, float], None] = lambda _error, _seconds: None,
) -> T:
    """Make further attempts after a first one that failed, until one succeeds.

    The first attempt is the caller's, so that a call with which all is well never meets tenacity.

    Args:
        policy: How often, and after which waits.
        error: Why the first attempt failed.
        attempt: Makes one attempt. Raises ``ZimError`` if it fails.
        idempotent: Whether it may be repeated when the outcome is unknown.
        sleep: Waits so many seconds.
        time_left: Returns the seconds left until the call's deadline.
        on_wait: Called before each wait, with the error and the seconds.

    Returns:
        What the attempt that succeeded returned.

    Raises:
        ZimError: The last attempt's error, as soon as another attempt wouldn't help or comes too late.
    """

    def may_be_repeated(error: BaseException) -> bool:
        # Anything but the library's own errors, cancellation above all, passes through untouched.
        return isinstance(error, ZimError) and _is_transient(error) and (idempotent or not error.maybe_applied)

    if not may_be_repeated(error):
        raise error
    # Imported when something is to be repeated: that takes a fifth of what importing this library would.
    from tenacity import AsyncRetrying, retry_if_exception

    course = _Course(policy, time_left)
    retrying = AsyncRetrying(
        retry=retry_if_exception(may_be_repeated),
        wait=course.wait,
        stop=course.is_over,
        sleep=sleep,
        before_sleep=lambda state: on_wait(_error_of(state), state.upcoming_sleep),
        reraise=True,
    )
    async for manager in retrying:
        with manager:
            if manager.retry_state.attempt_number == 1:
                raise error
            return await attempt()
    raise error  # never reached: tenacity raises the last error


class _Course:
    """The attempts of one call so far: those that failed, and those refused for their rate."""

    def __init__(self, policy: RetryPolicy, time_left: Callable[[], float]) -> None:
        self._policy = policy
        self._time_left = time_left
        self._failures = 0
        self._throttled = 0

    def wait(self, state: RetryCallState) -> float:
        """Count the attempt that just ended, and return the seconds to wait before the next."""
        error = _error_of(state)
        if verdict_of(error) is Verdict.SLOW_DOWN:
            self._throttled += 1
            backoff = 0.0  # the queue makes it wait
        else:
            self._failures += 1
            backoff = self._policy.backoff(self._failures)
        retry_after = getattr(error, "retry_after", None) or 0.0
        return max(backoff, min(retry_after, self._policy.longest_backoff))

    def is_over(self, state: RetryCallState) -> bool:
        """Tell whether to stop: too many attempts, or the wait would outlast the deadline. Asked after ``wait``."""
        too_many = self._failures >= self._policy.attempts or self._throttled >= MAX_THROTTLED
        return too_many or state.upcoming_sleep >= self._time_left()


def _is_transient(error: ZimError) -> bool:
    return verdict_of(error) in (Verdict.RETRY, Verdict.SLOW_DOWN)


def _error_of(state: RetryCallState) -> ZimError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, ZimError):  # never: nothing else is repeated
        raise TypeError(f"no error to repeat after: {error!r}")
    return error
