import asyncio

import pytest

from tests.support import virtual_clock
from zim_async import TransportError
from zim_async.bulk._outage import RUN, Backoff, Outage
from zim_async.bulk._stop import Stop

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
    assert not ended  # that call was sent before
    outage.recover(probe=True)
    outage.recover(probe=True)
    assert ended == [True]
    assert outage.reason is None


async def wait(outage: Outage, stop: Stop | None = None) -> float:
    """Return the seconds that the next wait takes."""
    start = asyncio.get_running_loop().time()
    await outage.wait(stop or Stop())
    return round(asyncio.get_running_loop().time() - start, 3)


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_response(outage: Outage) -> None:
    async def play() -> None:
        assert [await wait(outage) for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        outage.recover()
        assert await wait(outage) == 1.0

    virtual_clock.run(play())


@pytest.mark.parametrize(("asked_for", "pause"), [(0.5, 1.0), (20.0, 20.0), (3600.0, 60.0)])
def test_a_pause_that_the_server_asks_for_is_heeded_from_the_first(
    outage: Outage, asked_for: float, pause: float
) -> None:
    outage.fail(TransportError("HTTP 503", status=503, retry_after=asked_for))
    assert outage.reason is not None
    assert virtual_clock.run(wait(outage)) == pause


@pytest.mark.parametrize(("asked_for", "pause"), [(0.0, 0.1), (0.7, 0.8)])
def test_a_wait_is_cut_short_but_for_what_the_server_asked_for(outage: Outage, asked_for: float, pause: float) -> None:
    async def play() -> float:
        stop = Stop()
        asyncio.get_running_loop().call_later(0.1, stop.wake)
        asyncio.get_running_loop().call_later(0.8, stop.wake)
        return await wait(outage, stop)

    outage.fail(TransportError("HTTP 503", status=503, retry_after=asked_for))
    assert virtual_clock.run(play()) == pause


def test_the_end_of_the_job_ends_every_wait(outage: Outage) -> None:
    async def play() -> float:
        stop = Stop()
        asyncio.get_running_loop().call_later(0.1, stop.set)
        return await wait(outage, stop)

    outage.fail(TransportError("HTTP 503", status=503, retry_after=30.0))
    assert virtual_clock.run(play()) == 0.1
