import asyncio
import gc
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypedDict

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from zim_async import ClosedError, ConfigError, SessionManager, TransportError, ZimError
from zim_async._protocol import RawResponse
from zim_async.sandbox import Sandbox

QUERY = "Signature=hush"


class Limits(TypedDict):
    timeout: float
    max_bytes: int


MAX_BYTES = 64 * 1024
LIMITS: Limits = {"timeout": 5.0, "max_bytes": MAX_BYTES}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[URL]:
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"Retry-After": "3"})


async def test_posts_and_returns_what_came() -> None:
    async with serving(echo) as url, SessionManager() as sessions:
        answer = await sessions.request("POST", url, QUERY, b"body", **LIMITS)
    assert isinstance(answer, RawResponse)
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (200, b"body", "3")
    assert "Date" in answer.headers


async def test_one_connection_is_kept_and_shared() -> None:
    peers = set()

    async def note_peer(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        return web.Response()

    async with serving(note_peer) as url, SessionManager() as sessions:
        for _ in range(5):
            await sessions.request("POST", url, QUERY, b"", **LIMITS)
    assert len(peers) == 1


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    seen = []

    async def redirect(request: web.Request) -> web.Response:
        seen.append(dict(request.cookies))
        response = web.Response(status=307, headers={"Location": "/elsewhere"})
        response.set_cookie("track", "me")
        return response

    async with serving(redirect) as url, SessionManager() as sessions:
        for _ in range(2):
            answer = await sessions.request("POST", url, QUERY, b"", **LIMITS)
            assert isinstance(answer, RawResponse)
            assert answer.status == 307
    assert seen == [{}, {}]


async def test_a_bomb_is_unpacked_no_further_than_the_limit() -> None:
    bomb = gzip.compress(b" " * 200_000_000)

    async def explode(_request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with serving(explode) as url, SessionManager() as sessions:
        tracemalloc.start()
        try:
            answer = await sessions.request("POST", url, QUERY, b"", **LIMITS)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(answer, RawResponse)
    assert len(answer.body) == MAX_BYTES + 1
    assert peak < 10_000_000


async def test_a_body_in_pieces_is_read_whole() -> None:
    async def in_pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"piece ")
            await asyncio.sleep(0)
        return response

    async with serving(in_pieces) as url, SessionManager() as sessions:
        answer = await sessions.request("POST", url, QUERY, b"", **LIMITS)
    assert isinstance(answer, RawResponse)
    assert answer.body == b"piece piece piece "


def hides_the_url(error: BaseException) -> bool:
    texts = f"{error} {error!r} {error.args} {error.__cause__} {error.__context__}"
    return "hush" not in texts and "Signature" not in texts


async def test_no_connection_means_nothing_was_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = URL(f"http://127.0.0.1:{unused.getsockname()[1]}/")
        async with SessionManager() as sessions:
            error = await sessions.request("POST", url, QUERY, b"", **LIMITS)
    assert isinstance(error, TransportError)
    assert not error.maybe_applied
    assert "sent" in str(error)
    assert hides_the_url(error)


class Hanging(aiohttp.abc.AbstractResolver):
    """A name server that never says anything."""

    async def resolve(self, *_: object, **__: object) -> list[aiohttp.abc.ResolveResult]:
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        pass


async def test_a_name_that_is_never_resolved_means_nothing_was_sent() -> None:
    connector = aiohttp.TCPConnector(resolver=Hanging())
    async with aiohttp.ClientSession(connector=connector) as session:
        sessions = SessionManager(session=session)
        error = await sessions.request("POST", URL("http://zim.example/"), QUERY, b"", timeout=0.1, max_bytes=MAX_BYTES)
        await sessions.close()
    assert isinstance(error, TransportError)
    assert not error.maybe_applied


async def test_a_lent_sessions_headers_are_kept_but_for_the_content_type() -> None:
    seen: list[list[str]] = []

    async def note(request: web.Request) -> web.Response:
        seen.append([*request.headers.getall("Content-Type"), *request.headers.getall("X-Trace")])
        return web.Response()

    headers = {"content-type": "text/plain", "X-Trace": "t1"}
    async with serving(note) as url, aiohttp.ClientSession(headers=headers) as session:
        sessions = SessionManager(session=session)
        await sessions.request("POST", url, QUERY, b"{}", **LIMITS)
        await sessions.close()
    assert seen == [["application/json", "t1"]]


async def test_a_trace_hook_that_raises_shows_no_signed_url() -> None:
    async def fail(*_: object) -> None:
        raise KeyError("hook")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail)
    async with serving(echo) as url, aiohttp.ClientSession(trace_configs=[trace]) as session:
        error = await SessionManager(session=session).request("POST", url, QUERY, b"", **LIMITS)
    assert isinstance(error, TransportError)
    assert "raised KeyError" in str(error)
    assert hides_the_url(error)


async def test_time_out_and_reset_may_have_been_applied() -> None:
    async def stall(_request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def reset(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    for handler, says in ((stall, "no response in time"), (reset, "the connection failed")):
        async with serving(handler) as url, SessionManager() as sessions:
            error = await sessions.request("POST", url, QUERY, b"", timeout=0.1, max_bytes=MAX_BYTES)
        assert isinstance(error, TransportError)
        assert error.maybe_applied
        assert says in str(error)
        assert hides_the_url(error)


async def test_close_waits_for_calls_in_flight_and_can_be_repeated() -> None:
    arrived, answer_now = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        arrived.set()
        await answer_now.wait()
        return web.Response(body=b"late")

    async with serving(wait) as url:
        sessions = SessionManager()
        post = asyncio.create_task(sessions.request("POST", url, QUERY, b"", **LIMITS))
        await arrived.wait()
        closing = [asyncio.create_task(sessions.close()) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await sessions.request("POST", url, QUERY, b"", **LIMITS)
        assert not closing[0].done()
        answer_now.set()
        answer = await post
        await asyncio.gather(*closing)
        await sessions.close()
    assert isinstance(answer, RawResponse)
    assert answer.body == b"late"
    assert isinstance(refused, ZimError)
    assert "closed" in str(refused)
    assert refused.__traceback__ is None


async def test_entering_a_closed_manager_says_so() -> None:
    sessions = SessionManager()
    await sessions.close()
    with pytest.raises(ZimError, match="closed"):
        async with sessions:
            pass


def test_a_new_loop_gets_a_new_session() -> None:
    sessions = SessionManager()

    async def use() -> None:
        async with serving(echo) as url:
            assert isinstance(await sessions.request("POST", url, QUERY, b"", **LIMITS), RawResponse)

    async def use_and_close() -> None:
        await use()
        await sessions.close()

    asyncio.run(use())
    asyncio.run(use_and_close())


def test_a_second_running_loop_is_told_so() -> None:
    async def main() -> None:
        async with SessionManager() as sessions:
            error = await asyncio.to_thread(lambda: asyncio.run(sessions.request("POST", URL(), QUERY, b"", **LIMITS)))
            assert isinstance(error, ZimError)
            assert "second event loop" in str(error)

    asyncio.run(main())


async def test_a_lent_session_is_used_as_it_is_and_left_open() -> None:
    seen = []

    async def note_header(request: web.Request) -> web.Response:
        seen.append(request.headers.get("X-Own"))
        response = web.Response(status=500)
        response.set_cookie("track", "me")
        return response

    async with (
        serving(note_header) as url,
        aiohttp.ClientSession(
            headers={"X-Own": "yes"},
            raise_for_status=True,
            auto_decompress=False,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
        ) as own,
    ):
        async with SessionManager(session=own) as sessions:
            answer = await sessions.request("POST", url, QUERY, b"", **LIMITS)
        assert isinstance(answer, RawResponse)
        assert answer.status == 500
        assert not own.closed
        assert not list(own.cookie_jar)
    assert seen == ["yes"]


async def test_a_lent_session_that_is_closed_is_a_clear_error() -> None:
    own = aiohttp.ClientSession()
    await own.close()
    error = await SessionManager(session=own).request("POST", URL("http://127.0.0.1:9/"), QUERY, b"", **LIMITS)
    assert type(error) is ClosedError
    assert "lent is closed" in str(error)


def test_only_an_aiohttp_session_can_be_lent() -> None:
    with pytest.raises(ConfigError, match="ClientSession"):
        SessionManager(session=object())  # type: ignore[arg-type]


async def test_only_calls_on_open_connections_teach_the_shortest_round_trip() -> None:
    async def wait(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.03)
        return web.Response()

    async def learned_minima(sessions: SessionManager, url: URL) -> list[float]:
        answers = [await sessions.request("POST", url, QUERY, b"", **LIMITS) for _ in range(22)]
        return [answer.min_round_trip for answer in answers if isinstance(answer, RawResponse)]

    async with serving(wait) as url, aiohttp.ClientSession() as own:
        async with SessionManager() as sessions:
            learned = await learned_minima(sessions, url)
        async with SessionManager(session=own) as sessions:
            lent = await learned_minima(sessions, url)
    assert learned[:20] == [0.0] * 20  # the first one opened the connection
    assert 0.015 < learned[-1] < 0.03
    assert lent == [0.0] * 22  # whose connections can't be told apart


def test_calls_of_a_closed_loop_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = SessionManager()

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def leave_pending() -> asyncio.Task[object]:
        task: asyncio.Task[object] = asyncio.create_task(sessions.request("POST", URL(), QUERY, b"", **LIMITS))
        await asyncio.sleep(0)
        return task

    async def use_and_close() -> None:
        monkeypatch.undo()
        async with sessions:
            pending.clear()
            gc.collect()
            assert sessions._in_flight == 0

    monkeypatch.setattr(aiohttp.ClientSession, "request", hang)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    pending = [loop.run_until_complete(leave_pending())]
    loop.close()
    asyncio.run(use_and_close())


def test_closing_from_another_loop_than_the_one_in_use_is_told_so() -> None:
    async def main() -> None:
        async with SessionManager() as sessions:
            with pytest.raises(ZimError, match="close it on the event loop"):
                await asyncio.to_thread(lambda: asyncio.run(sessions.close()))

    asyncio.run(main())


async def test_a_proxy_is_for_https_and_never_for_this_machine(box: Sandbox) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with SessionManager(proxy=f"http://127.0.0.1:{port}") as sessions:
            error = await sessions.request("POST", URL("https://zim.example/"), QUERY, b"{}", **LIMITS)
            assert isinstance(error, TransportError)
            assert not error.maybe_applied
            assert asked[0].startswith(b"CONNECT zim.example:443")
            answer = await sessions.request("POST", URL(box.base_url), QUERY, b"{}", **LIMITS)
            assert isinstance(answer, RawResponse)
            local = await sessions.request("POST", URL("https://127.0.0.1:1/"), QUERY, b"{}", **LIMITS)
            assert isinstance(local, TransportError)
    assert len(asked) == 1
    assert QUERY.encode() not in asked[0]


@pytest.mark.parametrize("proxy", ["socks5://user:pass-word@proxy:1080", "proxy:3128", "http://", ""])
def test_a_proxy_of_another_kind_is_refused_and_its_password_not_shown(proxy: str) -> None:
    with pytest.raises(ConfigError, match="URL of an HTTP proxy") as caught:
        SessionManager(proxy=proxy)
    assert "pass-word" not in str(caught.value)


async def test_a_proxy_that_is_set_and_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    url = URL("https://127.0.0.1:1/")
    async with SessionManager() as sessions, SessionManager(proxy="http://127.0.0.1:1") as with_proxy:
        assert "HTTPS_PROXY" not in str(await sessions.request("POST", url, QUERY, b"{}", **LIMITS))
        monkeypatch.setenv("HTTPS_PROXY", "http://user:pass-word@proxy.example:3128")
        error = str(await sessions.request("POST", url, QUERY, b"{}", **LIMITS))
        assert "HTTPS_PROXY is set, but not used here" in error
        assert "pass-word" not in error
        assert "HTTPS_PROXY" not in str(await with_proxy.request("POST", url, QUERY, b"{}", **LIMITS))
