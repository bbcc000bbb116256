import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from zim_async import ApiError, AuthenticationError, ClockSkewError, ServerBusyError
from zim_async._server_clock import ServerClock, clock_skew_error

EXPIRED = ClockSkewError("expired", code=100000004)


def date(ahead: float) -> dict[str, str]:
    return {"Date": formatdate(time.time() + ahead, usegmt=True)}


def test_an_unknown_difference_is_none() -> None:
    assert abs(ServerClock().now() - time.time()) <= 1


@pytest.mark.parametrize("ahead", [900, -86_400, 65])
@pytest.mark.parametrize("refusal", [EXPIRED, AuthenticationError("wrong", code=100000005)])
def test_minutes_are_learned_from_a_refusal_and_unlearned_from_any_answer(ahead: float, refusal: ApiError) -> None:
    clock = ServerClock()
    assert clock.observe(refusal, date(ahead), clock.now()) == pytest.approx(ahead, abs=2)
    assert clock.offset == pytest.approx(ahead, abs=2)
    assert clock.now() == pytest.approx(time.time() + ahead, abs=2)
    assert clock.observe("a success", date(0), clock.now()) is None
    assert clock.offset == 0


@pytest.mark.parametrize(
    ("outcome", "headers"),
    [
        (EXPIRED, lambda: date(30)),
        (EXPIRED, dict),
        (EXPIRED, lambda: {"Date": "soon"}),
        (ServerBusyError("busy", code=1), lambda: date(900)),
    ],
)
def test_nothing_is_learned_from_seconds_no_date_or_other_answers(
    outcome: object, headers: Callable[[], dict[str, str]]
) -> None:
    clock = ServerClock()
    assert clock.observe(outcome, headers(), clock.now()) is None
    assert clock.offset == 0


def test_a_signature_made_by_the_servers_clock_is_not_made_again() -> None:
    clock = ServerClock()
    clock.observe(EXPIRED, date(900), clock.now())
    assert clock.observe(EXPIRED, date(900), clock.now()) is None


def test_the_clock_skew_error_says_all() -> None:
    refusal = ClockSkewError("x", code=100000004, message="late", request_id="r1")
    error = clock_skew_error(refusal, -1234.0)
    assert (error.difference, error.code, error.message, error.request_id) == (-1234.0, 100000004, "late", "r1")
    assert "-1234 s" in str(error)
