"""What observers are told, and what they can't break."""

import asyncio
import contextvars
import logging

import pytest

from tests.conftest import MakeClient
from zim_async import ClearPeerMessage, ConfigError, NotFoundError, QueueTimeoutError, RateLimiter
from zim_async.events import AttemptEnded, CallEnded, CallStarted, Event, RetryScheduled
from zim_async.sandbox import Sandbox

ACTION = ClearPeerMessage("alice", "bob")


async def test_a_call_is_told_from_beginning_to_end(box: Sandbox, make_client: MakeClient) -> None:
    events: list[Event] = []
    zim = make_client(observers=[events.append])
    box.fail_next(code=1)
    box.fail_next(code=7)
    await zim.send(ACTION, priority="bulk")
    assert [type(event) for event in events] == [
        CallStarted,
        AttemptEnded,
        RetryScheduled,
        AttemptEnded,
        RetryScheduled,
        AttemptEnded,
        CallEnded,
    ]
    assert {(event.action, event.priority) for event in events} == {("ClearPeerMessage", "bulk")}
    started = events[0]
    assert isinstance(started, CallStarted)
    assert f"http://{started.host}:{started.port}/" == box.base_url
    attempts = [event for event in events if isinstance(event, AttemptEnded)]
    assert [(a.attempt, a.code, a.error, a.throttled) for a in attempts] == [
        (1, 1, "ServerBusyError", False),
        (2, 7, "RateLimitedError", True),
        (3, 0, None, False),
    ]
    assert all(attempt.request_id and attempt.seconds > 0 for attempt in attempts)
    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert (ended.attempts, ended.code, ended.error) == (3, 0, None)
    assert ended.seconds >= ended.queue_seconds == pytest.approx(sum(a.queue_seconds for a in attempts))
    assert "alice" not in repr(events)


async def test_errors_and_cancellation_end_a_call_too(box: Sandbox, make_client: MakeClient) -> None:
    ended: list[CallEnded] = []

    def keep(event: Event) -> None:
        if isinstance(event, CallEnded):
            ended.append(event)

    zim = make_client(observers=[keep], limiter=RateLimiter(1))
    box.fail_next(code=660200001)
    with pytest.raises(NotFoundError):
        await zim.send(ACTION)
    with pytest.raises(QueueTimeoutError):
        await zim.send(ACTION, max_wait=0.1)
    waiting = asyncio.create_task(zim.send(ACTION))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert [(event.error, event.code, event.attempts) for event in ended] == [
        ("NotFoundError", 660200001, 1),
        ("QueueTimeoutError", None, 0),
        ("CancelledError", None, 0),
    ]


async def test_an_observer_that_raises_is_logged_once_and_breaks_nothing(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []

    def broken(_event: Event) -> None:
        raise KeyError("broken")

    zim = make_client(observers=[broken, events.append])
    for _ in range(3):
        await zim.send(ACTION)
    assert len(events) == 9
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


async def test_observers_are_called_in_the_calls_own_task(make_client: MakeClient) -> None:
    current = contextvars.ContextVar("current", default="none")
    seen: list[str] = []

    def span(event: Event) -> None:
        if isinstance(event, CallStarted):
            current.set("span")
        seen.append(current.get())

    zim = make_client(observers=[span])
    await asyncio.create_task(zim.send(ACTION))
    assert seen == ["span"] * 3
    assert current.get() == "none"


def test_what_cant_be_called_is_no_observer(make_client: MakeClient) -> None:
    with pytest.raises(ConfigError, match="callable"):
        make_client(observers=["log"])
