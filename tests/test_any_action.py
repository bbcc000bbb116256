"""Any action of the API through the client, against a server that shares no code with the package."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import MakeClient
from zim_async import (
    Action,
    ClockSkewError,
    ConfigError,
    ConvType,
    InvalidArgumentError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RateLimiter,
    RetryPolicy,
    ServerBusyError,
    TransportError,
    ZimClient,
    ZimError,
)
from zim_async.sandbox import Sandbox

SECRET = "hush-hush"
EAGER = RetryPolicy(first_backoff=0, longest_backoff=0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Checks the signature of each request by the vendor's page, and answers by a handler for each action."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.nonces: list[str] = []

    async def respond(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        text = query["AppId"] + query["SignatureNonce"] + SECRET + query["Timestamp"]
        assert query["Signature"] == hashlib.md5(text.encode()).hexdigest()
        self.nonces.append(query["SignatureNonce"])
        return await self.handlers[query["Action"]](request)


@asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[tuple[ZimClient, Server]]:
    server = Server()
    server.handlers = handlers
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_route("*", "/", server.respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with ZimClient(7, SECRET, base_url=url, limiter=RateLimiter(), retry=EAGER) as zim:
            yield zim, server
    finally:
        await runner.cleanup()


def done(**fields: object) -> web.Response:
    return web.json_response({"Code": 0, "Message": "success", "RequestId": "r1", **fields})


def refused(code: int) -> Handler:
    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"Code": code, "Message": "no", "RequestId": "r1"})

    return refuse


async def test_query_user_infos() -> None:
    async def query(request: web.Request) -> web.Response:
        assert request.method == "POST"
        users = [{"UserId": user, "Balance": 2**70} for user in (await request.json())["UserIds"]]
        return done(Users=users, ErrorList=[{"UserId": "eve", "SubCode": 660700012}])

    async with serving(QueryUserInfos=query) as (zim, _):
        response = await zim.call("QueryUserInfos", {"UserIds": ["alice", "bøb"]}, idempotent=True)
    assert response.action == "QueryUserInfos"
    assert response.data == {
        "Users": [{"UserId": "alice", "Balance": 2**70}, {"UserId": "bøb", "Balance": 2**70}],
        "ErrorList": [{"UserId": "eve", "SubCode": 660700012}],
    }


async def test_query_friend_list_by_get() -> None:
    async def query(request: web.Request) -> web.Response:
        assert (request.method, await request.read()) == ("GET", b"")
        return done(Users=request.query.getall("UserId[]"), Limit=request.query["Limit"])

    async with serving(QueryFriendList=query) as (zim, _):
        body = {"UserId": ["alice & co", "böb"], "Limit": 100}
        response = await zim.call("QueryFriendList", body, method="GET", idempotent=True)
    assert response.data == {"Users": ["alice & co", "böb"], "Limit": "100"}


async def test_an_action_of_ones_own_goes_through_send() -> None:
    @dataclass(frozen=True, slots=True)
    class SendPeerMessage(Action):
        name = "SendPeerMessage"
        qps = 10.0
        from_user_id: str
        to_user_id: str
        payload: dict[str, str]

    async def send(request: web.Request) -> web.Response:
        assert await request.json() == {"FromUserId": "alice", "ToUserId": "bob", "Payload": {"text": "hi"}}
        return done(MsgId=2**53 + 1)

    async with serving(SendPeerMessage=send) as (zim, _):
        response = await zim.send(SendPeerMessage("alice", "bob", {"text": "hi"}))
        assert response.data["MsgId"] == 2**53 + 1
        assert zim.limiter.of("SendPeerMessage").qps == 10


async def cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return done()


async def fail(_request: web.Request) -> web.Response:
    return web.Response(status=503)


@pytest.mark.parametrize("handler", [cut, fail, refused(660000001), refused(105001)])
async def test_what_may_have_been_done_is_not_repeated(handler: Handler) -> None:
    async with serving(SendPeerMessage=handler) as (zim, server):
        with pytest.raises((TransportError, ServerBusyError), match="may have acted") as caught:
            await zim.call("SendPeerMessage", {})
        assert caught.value.maybe_applied
        assert "safe" not in str(caught.value)
        assert len(server.nonces) == caught.value.attempts == 1


@pytest.mark.parametrize("code", [1, 7, 660300005, 660300006, 100000012, 100000015])
async def test_what_surely_was_not_done_is_repeated(code: int) -> None:
    async with serving(SendPeerMessage=refused(code)) as (zim, server):

        async def once(request: web.Request) -> web.StreamResponse:
            server.handlers["SendPeerMessage"] = accept
            return await refused(code)(request)

        async def accept(_request: web.Request) -> web.Response:
            return done()

        server.handlers["SendPeerMessage"] = once
        assert (await zim.call("SendPeerMessage", {})).attempts == 2


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_get_is_never_sent_twice_behind_our_back(idempotent: bool) -> None:
    async def query(request: web.Request) -> web.Response:
        return await cut(request) if len(server.nonces) == 2 else done()

    async with serving(QueryFriendList=query) as (zim, server):
        await zim.call("QueryFriendList", method="GET")  # the connection is kept alive
        if idempotent:
            assert (await zim.call("QueryFriendList", method="GET", idempotent=True)).attempts == 2
        else:
            with pytest.raises(TransportError):
                await zim.call("QueryFriendList", method="GET")
        assert len(server.nonces) == len(set(server.nonces)) == (3 if idempotent else 2)


async def test_a_large_body_goes_through() -> None:
    async def measure(request: web.Request) -> web.Response:
        return done(Bytes=len(await request.read()))

    async with serving(SendPeerMessage=measure) as (zim, _):
        response = await zim.call("SendPeerMessage", {"Payload": "x" * (8 * 2**20 - 14)})
        assert response.data["Bytes"] == 8 * 2**20
        with pytest.raises(InvalidArgumentError, match="bytes"):
            await zim.call("SendPeerMessage", {"Payload": "x" * (8 * 2**20)})


@pytest.mark.parametrize(
    ("name", "body", "method"),
    [
        ("Query&Action=DeleteConv", {}, "POST"),
        ("", {}, "POST"),
        ("Abfrägen", {}, "POST"),
        (7, {}, "POST"),
        ("Query", {"a": {1}}, "POST"),
        ("Query", {"a": float("nan")}, "POST"),
        ("Query", {"a": "\ud800"}, "POST"),
        ("Query", {1: "a"}, "POST"),
        ("Query", {"a": {True: 1}}, "POST"),
        ("Query", ["a"], "POST"),
        ("Query", "a", "POST"),
        ("Query", {}, "PUT"),
        ("Query", {"Signature": "x"}, "GET"),
        ("Query", {"AppId": 1}, "GET"),
        ("Query", {"a": {"b": 1}}, "GET"),
        ("Query", {"a": "\ud800"}, "GET"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_sent(name: Any, body: Any, method: Any) -> None:
    async with serving() as (zim, server):
        with pytest.raises(InvalidArgumentError):
            await zim.call(name, body, method=method)
        with pytest.raises(InvalidArgumentError):
            await zim.call("Query", {}, idempotent=1)  # type: ignore[arg-type]
        assert not server.nonces


async def test_a_stated_rate_stays_set() -> None:
    async with serving(SendRoomMessage=refused(0)) as (zim, _):
        await zim.call("SendRoomMessage", qps=10)
        assert zim.limiter.of("SendRoomMessage").qps == zim.qps["SendRoomMessage"] == 10
        await zim.call("SendRoomMessage")
        assert zim.limiter.of("SendRoomMessage").qps == 10
        with pytest.raises(ConfigError):
            await zim.call("SendRoomMessage", qps=0)


async def test_nothing_of_a_get_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(QueryFriendList=refused(2)) as (zim, server):
        with pytest.raises(ZimError) as caught:
            await zim.call("QueryFriendList", {"UserId": "alice"}, method="GET")
        shown = caplog.text + str(caught.value)
        assert "alice" not in shown
        assert server.nonces[0] not in shown


# The two calls that complete the job, at the sandbox


async def test_conversations_are_read_over_all_pages(box: Sandbox, make_client: MakeClient) -> None:
    zim = make_client()
    for number in range(600):
        box.add_message("alice", f"friend-{number}")
    box.add_group("g7", ["alice"])
    found = [one async for one in zim.conversations("alice")]
    assert [one.conv_id for one in found] == [*(f"friend-{number}" for number in range(600)), "g7"]
    assert found[-1].conv_type is ConvType.GROUP
    assert found[0].updated_at.utcoffset() is not None
    assert [arrival.action for arrival in box.arrivals] == ["QueryConversationList"] * 2
    box.fail_next(code=660500002)
    with pytest.raises(NotFoundError):
        _ = [one async for one in zim.conversations("nobody")]


async def test_a_page_of_long_ids_fits(box: Sandbox, zim: ZimClient) -> None:
    ids = ["\N{MATHEMATICAL FRAKTUR SMALL Z}" * 24 + f"{number:08}" for number in range(500)]
    for conv_id in ids:
        box.add_message("alice", conv_id)
    assert [one.conv_id async for one in zim.conversations("alice")] == ids


async def test_pages_in_a_loop_are_an_error(box: Sandbox, zim: ZimClient) -> None:
    box.add_message("alice", "bob")
    row = {"ConvId": "bob", "UpdateTime": 1}
    for token in (5, 6):
        body = {"Code": 0, "Message": "", "RequestId": "", "List": [row], "Next": token}
        box.answer_next(body=json.dumps(body).encode())
    with pytest.raises(ProtocolError):
        await asyncio.wait_for(anext(skip_first(zim)), 5)


async def skip_first(zim: ZimClient) -> AsyncIterator[object]:
    pages = zim.conversations("alice")
    await anext(pages)
    async for one in pages:
        yield one


async def test_a_page_and_a_groups_messages(box: Sandbox, zim: ZimClient) -> None:
    box.add_group("g7", ["alice", "bob"])
    await zim.clear_member_group_message(from_user_id="alice", group_id="g7")
    assert box.messages("alice", "g7", ConvType.GROUP) == []
    assert box.messages("bob", "g7", ConvType.GROUP) == ["hello"]
    response = await zim.query_conversation_list(from_user_id="alice", limit=1)
    assert (response.data["TotalCount"], len(response.data["List"])) == (1, 1)
    for limit, token in ((0, 0), (501, 0), (True, 0), (1, -1), (1, "0")):
        with pytest.raises(InvalidArgumentError):
            await zim.query_conversation_list(from_user_id="alice", limit=limit, next=token)  # type: ignore[arg-type]


async def test_a_clock_is_learned_without_repeating_what_was_done(box: Sandbox, zim: ZimClient) -> None:
    box.handle("SendPeerMessage", lambda _body: {"MsgId": 1})
    box.clock_skew = 900
    assert (await zim.call("SendPeerMessage", {})).attempts == 2
    box.fail_next(code=100000004, times=2)
    with pytest.raises((ClockSkewError, RateLimitedError)):
        await zim.call("SendPeerMessage", {})
