"""Single attempts, by a permit that is held: what bulk jobs build on."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from zim_async import (
    ClearPeerMessage,
    ClosedError,
    ConvType,
    DeleteConv,
    NotFoundError,
    RateLimiter,
    RetryPolicy,
    ServerBusyError,
    SessionManager,
    ZimClient,
    ZimError,
)
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


async def test_what_an_earlier_attempt_may_have_done_is_told_in_the_end(box: Sandbox, limiter: RateLimiter) -> None:
    box.drop_next(after_acting=True)
    box.fail_next(code=660800002)
    retry = RetryPolicy(first_backoff=0, longest_backoff=0)
    async with ZimClient(box.app_id, box.server_secret, base_url=box.base_url, limiter=limiter, retry=retry) as zim:
        with pytest.raises(NotFoundError) as caught:
            await zim.send(ACTION)
    assert caught.value.maybe_applied


async def test_a_failure_after_the_close_began_waits_for_nothing(box: Sandbox, limiter: RateLimiter) -> None:
    box.fail_next(code=1)
    box.delay = 0.2
    retry = RetryPolicy(first_backoff=20, longest_backoff=20, jitter=False)
    zim = ZimClient(box.app_id, box.server_secret, base_url=box.base_url, limiter=limiter, retry=retry)
    call = asyncio.create_task(zim.send(ACTION))
    while not limiter.of(ACTION.name).in_flight:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(zim.close(), 5)
    with pytest.raises(ServerBusyError):
        await asyncio.wait_for(call, 5)


async def test_a_timeout_holds_when_the_close_of_a_lent_session_is_cancelled(box: Sandbox) -> None:
    box.delay = 30
    async with aiohttp.ClientSession() as session:
        sessions = SessionManager(session=session)
        url = URL(box.base_url)
        call = asyncio.create_task(sessions.request("POST", url, "Action=X", b"{}", timeout=0.5, max_bytes=1))
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(sessions.close())
        await asyncio.sleep(0)
        closing.cancel()
        assert isinstance(await asyncio.wait_for(call, 5), ZimError)
        await asyncio.wait([closing])
