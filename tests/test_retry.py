import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support import virtual_clock
from zim_async import (
    ConfigError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RetryPolicy,
    ServerBusyError,
    TransportError,
    ZimError,
)
from zim_async.retry import MAX_THROTTLED, repeat


def failing(*errors: BaseException) -> Callable[[], Awaitable[str]]:
    """An attempt that raises each error once and then succeeds."""
    left = list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def busy() -> ServerBusyError:
    return ServerBusyError("busy", code=1)


async def timed(policy: RetryPolicy, *errors: BaseException) -> tuple[object, float]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        attempt = failing(*errors)
        try:
            return await attempt(), 0.0  # the first attempt is the caller's
        except ZimError as error:
            first_error = error
        return await repeat(policy, first_error, attempt), round(loop.time() - start, 6)
    except ZimError as error:
        return error, round(loop.time() - start, 6)


@pytest.mark.parametrize(
    "error", [busy(), RateLimitedError("slow", code=7), TransportError("reset"), ProtocolError("garbage")]
)
def test_passing_failures_are_repeated(error: ZimError) -> None:
    assert virtual_clock.run(timed(RetryPolicy(2), error))[0] == "done"


@pytest.mark.parametrize("error", [NotFoundError("gone", code=660800002), ConfigError("bad"), ZimError("closed")])
def test_lasting_failures_are_raised_at_once(error: ZimError) -> None:
    assert virtual_clock.run(timed(RetryPolicy(), error)) == (error, 0.0)


def test_the_last_own_error_is_raised_when_attempts_run_out() -> None:
    errors = [busy(), TransportError("first"), TransportError("last"), busy()]
    outcome, _ = virtual_clock.run(timed(RetryPolicy(3), *errors))
    assert outcome is errors[2]
    assert errors[2].__cause__ is None
    assert errors[2].__context__ is None


def test_one_attempt_means_one() -> None:
    error = busy()
    assert virtual_clock.run(timed(RetryPolicy(1), error)) == (error, 0.0)


def test_a_lasting_failure_after_a_passing_one_ends_it() -> None:
    gone = NotFoundError("gone", code=660800002)
    assert virtual_clock.run(timed(RetryPolicy(), busy(), gone))[0] is gone


def test_back_off_doubles_up_to_the_longest() -> None:
    policy = RetryPolicy(6, first_backoff=1, longest_backoff=5, jitter=False)
    assert virtual_clock.run(timed(policy, *(busy() for _ in range(5)))) == ("done", 1 + 2 + 4 + 5 + 5)


def test_full_jitter_stays_below_the_bound_and_varies() -> None:
    waits = {virtual_clock.run(timed(RetryPolicy(2, first_backoff=1), busy()))[1] for _ in range(50)}
    assert len(waits) > 40
    assert 0 <= min(waits) < 0.3
    assert 0.7 < max(waits) <= 1


@pytest.mark.parametrize(("retry_after", "wait"), [(3.0, 3.0), (900.0, 10.0), (0.0, 1.0), (None, 1.0)])
def test_retry_after_is_honoured_and_capped(retry_after: float | None, wait: float) -> None:
    policy = RetryPolicy(first_backoff=1, longest_backoff=10, jitter=False)
    assert virtual_clock.run(timed(policy, TransportError("503", retry_after=retry_after))) == ("done", wait)


def test_a_call_refused_for_its_rate_has_not_failed() -> None:
    throttled = [RateLimitedError("slow", code=7) for _ in range(MAX_THROTTLED - 1)]
    assert virtual_clock.run(timed(RetryPolicy(1), *throttled)) == ("done", 0.0)


def test_refusals_for_rate_end_somewhere() -> None:
    throttled = [RateLimitedError("slow", code=7) for _ in range(MAX_THROTTLED)]
    assert virtual_clock.run(timed(RetryPolicy(), *throttled))[0] is throttled[-1]


def test_failures_count_apart_from_refusals_for_rate() -> None:
    policy = RetryPolicy(2, first_backoff=1, jitter=False)
    slow, last = RateLimitedError("slow", code=7), busy()
    assert virtual_clock.run(timed(policy, slow, slow, busy(), slow, last)) == (last, 1.0)


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    async def main() -> tuple[object, float]:
        error, start = TransportError("503", retry_after=3.0), asyncio.get_running_loop().time()
        with pytest.raises(TransportError) as caught:
            await repeat(RetryPolicy(first_backoff=0), error, failing(), time_left=lambda: 2.5)
        return caught.value, asyncio.get_running_loop().time() - start

    error, seconds = virtual_clock.run(main())
    assert isinstance(error, TransportError)
    assert error.retry_after == 3.0
    assert seconds < 0.001


def test_cancellation_is_never_swallowed() -> None:
    with pytest.raises(asyncio.CancelledError):
        virtual_clock.run(timed(RetryPolicy(), busy(), asyncio.CancelledError()))


def test_foreign_exceptions_pass_through() -> None:
    with pytest.raises(KeyError):
        virtual_clock.run(timed(RetryPolicy(), busy(), KeyError()))


def test_concurrent_calls_keep_their_own_count() -> None:
    async def main() -> list[object]:
        policy = RetryPolicy(3)
        return [result for result, _ in await asyncio.gather(*(timed(policy, busy(), busy()) for _ in range(20)))]

    assert virtual_clock.run(main()) == ["done"] * 20


def test_each_wait_is_told_with_its_reason() -> None:
    async def main() -> list[tuple[ZimError, float]]:
        waits: list[tuple[ZimError, float]] = []
        policy = RetryPolicy(first_backoff=2, jitter=False)
        await repeat(policy, first, failing(), on_wait=lambda error, seconds: waits.append((error, seconds)))
        return waits

    first = busy()
    assert virtual_clock.run(main()) == [(first, 2.0)]


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"first_backoff": -1},
        {"first_backoff": 2, "longest_backoff": 1},
        {"longest_backoff": float("inf")},
        {"first_backoff": float("nan")},
        {"first_backoff": "1"},
    ],
)
def test_bad_policies_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        RetryPolicy(**options)  # type: ignore[arg-type]
