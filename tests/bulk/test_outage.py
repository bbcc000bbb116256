import pytest

from zim_async import TransportError
from zim_async.bulk._outage import RUN, Backoff, Outage

ERROR = TransportError("no answer")


@pytest.fixture
def ended() -> list[bool]:
    return []


@pytest.fixture
def outage(ended: list[bool]) -> Outage:
    return Outage(Backoff(), lambda: ended.append(True))


def test_only_a_run_of_failures_is_an_outage(outage: Outage, ended: list[bool]) -> None:
    for _ in range(RUN - 1):
        outage.fail(ERROR)
    outage.recover()
    for _ in range(RUN - 1):
        outage.fail(ERROR)
    assert outage.reason is None
    outage.fail(ERROR)
    assert outage.reason == str(ERROR)
    assert not ended


def test_the_end_of_an_outage_is_told_once(outage: Outage, ended: list[bool]) -> None:
    for _ in range(RUN):
        outage.fail(ERROR)
    outage.recover()
    outage.recover()
    assert (outage.reason, ended) == (None, [True])


def test_a_pause_that_the_server_asks_for_is_an_outage_from_the_first(outage: Outage) -> None:
    outage.fail(TransportError("HTTP 429", status=429, retry_after=7.0))
    assert outage.reason is not None
    assert outage.next_pause() == 7.0


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_response(outage: Outage) -> None:
    assert [outage.next_pause() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    outage.recover()
    assert outage.next_pause() == 1.0


@pytest.mark.parametrize(("asked_for", "pause"), [(0.5, 1.0), (20.0, 20.0), (3600.0, 60.0)])
def test_a_pause_is_as_long_as_the_server_asked_for(outage: Outage, asked_for: float, pause: float) -> None:
    outage.fail(TransportError("HTTP 503", status=503, retry_after=asked_for))
    assert outage.next_pause() == pause
