"""Single attempts, by a permit that is held: what bulk jobs build on."""

from collections.abc import AsyncIterator

import pytest
from yarl import URL

from zim_async import ClearPeerMessage, ClosedError, ConvType, DeleteConv, RateLimiter, ServerBusyError, SessionManager
from zim_async._call import Caller
from zim_async._protocol import Credentials
from zim_async.events import AttemptEnded, CallEnded, CallStarted, Emitter, Event
from zim_async.sandbox import Sandbox

ACTION = DeleteConv("alice", "bob", ConvType.PEER)


@pytest.fixture
def limiter() -> RateLimiter:
    return RateLimiter()


@pytest.fixture
async def caller(box: Sandbox, limiter: RateLimiter) -> AsyncIterator[Caller]:
    async with SessionManager() as sessions:
        yield Caller(
            Credentials(box.app_id, box.server_secret), URL(box.base_url), limiter, sessions, Emitter(), timeout=5.0
        )


async def test_who_holds_a_permit_sends_immediately_and_once(
    caller: Caller, limiter: RateLimiter, box: Sandbox
) -> None:
    deletes = limiter.of(ACTION.name)
    assert (await caller.attempt(ACTION, await deletes.acquire(), "bulk")).attempts == 1
    box.fail_next(code=1)
    with pytest.raises(ServerBusyError, match="DeleteConv failed"):
        await caller.attempt(ACTION, await deletes.acquire(), "bulk")
    permit = await deletes.acquire()
    await caller.close()
    with pytest.raises(ClosedError):
        await caller.attempt(ACTION, permit, "bulk")
    assert (len(box.arrivals), deletes.in_flight) == (2, 0)


async def test_a_single_attempt_is_told_as_a_call(box: Sandbox, limiter: RateLimiter) -> None:
    events: list[Event] = []
    credentials = Credentials(box.app_id, box.server_secret)
    async with SessionManager() as sessions:
        caller = Caller(credentials, URL(box.base_url), limiter, sessions, Emitter([events.append]))
        await caller.attempt(ACTION, await limiter.of(ACTION.name).acquire("bulk"), "bulk")
    assert [type(event) for event in events] == [CallStarted, AttemptEnded, CallEnded]


async def test_who_holds_a_permit_has_the_clock_learned_too(caller: Caller, limiter: RateLimiter, box: Sandbox) -> None:
    box.clock_skew = 3_600
    action = ClearPeerMessage("alice", "bob")
    assert (await caller.attempt(action, await limiter.of(action.name).acquire(), "bulk")).attempts == 2
