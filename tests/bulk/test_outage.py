import pytest

from zim_async import TransportError
from zim_async.bulk._outage import FIRST_PAUSE, LONGEST_PAUSE, RUN, Outage

ERROR = TransportError("no answer")


def test_only_a_run_of_failures_is_an_outage() -> None:
    outage = Outage()
    for _ in range(RUN - 1):
        outage.fail(ERROR)
    outage.recover()
    for _ in range(RUN - 1):
        outage.fail(ERROR)
    assert outage.reason is None
    outage.fail(ERROR)
    assert outage.reason == str(ERROR)


def test_pauses_double_up_to_a_minute_and_begin_anew_after_an_answer() -> None:
    outage = Outage()
    pauses = [outage.next_pause() for _ in range(8)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    outage.recover()
    assert outage.next_pause() == FIRST_PAUSE


@pytest.mark.parametrize(("asked_for", "pause"), [(0.5, FIRST_PAUSE), (20.0, 20.0), (3600.0, LONGEST_PAUSE)])
def test_a_pause_is_as_long_as_the_server_asked_for(asked_for: float, pause: float) -> None:
    outage = Outage()
    for _ in range(RUN):
        outage.fail(TransportError("HTTP 503", status=503, retry_after=asked_for))
    assert outage.next_pause() == pause
