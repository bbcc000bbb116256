"""The session manager: one aiohttp connector, shared by any number of clients and tasks."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from http.cookies import SimpleCookie
from typing import Any, Final, Self, TypeAlias

import aiohttp
from yarl import URL

from ._protocol import MAX_BODY_BYTES, Answer
from ._round_trip import RoundTrips
from ._timeouts import Watchdog
from .errors import ClosedError, ConfigError, TransportError, ZimError

# Failures before a request can have left: the server saw nothing.
_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ServerFingerprintMismatch)
_HEADERS: Final = {"Content-Type": "application/json"}
CONNECT_SHARE: Final = 0.95  # of a time-out, for connecting
TimeOut: TypeAlias = tuple[Watchdog, aiohttp.ClientTimeout]


class _NoCookies(aiohttp.DummyCookieJar):
    """Keeps no cookies, and says so with one empty set for all calls: making one for each takes half a microsecond."""

    _NONE: Final[SimpleCookie] = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:  # noqa: ARG002
        return self._NONE


class SessionManager:
    """Opens one aiohttp session on first use, inside the running loop, and closes it after the calls in flight.

    A caller's own ``session`` lends its connections, default headers, authentication and traces; it is never
    closed, nor are cookies put in its jar. ``trust_env`` lets proxies and ``.netrc`` of the environment apply.
    Once its event loop is closed, the next use opens a session on the loop then running; two loops at once
    raise ``ClosedError``, as does any use after ``close``.
    """

    def __init__(self, *, session: aiohttp.ClientSession | None = None, trust_env: bool = False) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise ConfigError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
        self._lender = session
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._time_outs: dict[float, TimeOut] = {}  # by seconds
        self._sockets_opened = 0
        self._round_trips: defaultdict[str, RoundTrips] = defaultdict(RoundTrips)  # by host
        self._in_flight = 0
        self._idle: asyncio.Event | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def post(self, host: URL, query: str, body: bytes, *, timeout: float) -> Answer | ZimError:
        """Send a body and return the answer, or the failure as a value (see ``protocol`` for why).

        ``timeout`` is in seconds. Redirects are not followed: they would carry the signature elsewhere.
        """
        loop = asyncio.get_running_loop()
        session = self._session
        if session is None or self._loop is not loop or self._closed or self._lender is not None:
            try:
                session = await self._open()
            except ClosedError as error:
                return error.with_traceback(None)
        watchdog, connecting = self._time_outs.get(timeout) or self._new_time_out(timeout, loop)
        task = watchdog.start()
        self._in_flight += 1
        sockets_opened, sent_at = self._sockets_opened, loop.time()
        try:
            response = await session.post(
                host.with_query(query),
                data=body,
                allow_redirects=False,
                timeout=connecting,
            )
            stream = response.content
            if stream.is_eof():  # mostly it is all there, along with the headers: saves a coroutine
                content = stream.read_nowait(MAX_BODY_BYTES + 1)
            else:
                content = await _read_bounded(response)
        except asyncio.CancelledError:
            if not watchdog.stop(task):
                raise
            return _to_transport_error(TimeoutError())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _to_transport_error(error)
        except RuntimeError:  # how aiohttp says that a session or its loop is closed
            return ClosedError("the aiohttp session is closed, or belongs to another event loop; nothing was sent")
        finally:
            watchdog.stop(task)
            if not loop.is_closed():  # else thrown away with its loop, which `_move_to` accounts for
                self._in_flight -= 1
                if self._idle is not None and not self._in_flight:
                    self._idle.set()
        round_trips, seconds = self._round_trips[host.authority], loop.time() - sent_at
        if self._lender is None:
            if self._sockets_opened == sockets_opened:
                # No connection was opened meanwhile, so the call reused one: its time is the network's own.
                round_trips.add(seconds)
            else:
                round_trips.undercut(seconds)
        return Answer(response.status, content, response.headers, round_trips.floor)

    async def close(self) -> None:
        """Refuse new calls, wait for those in flight, close what was opened here; a second call does nothing."""
        self._closed = True
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop and not _is_over(self._loop):
            raise ClosedError("close it on the event loop that it was used on")
        if self._in_flight and self._loop is loop:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()
        for watchdog, _ in self._time_outs.values():
            watchdog.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _new_time_out(self, timeout: float, loop: asyncio.AbstractEventLoop) -> TimeOut:
        # aiohttp times the connecting alone, so that a failure there is told apart from one after sending.
        connecting = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SHARE * timeout)
        time_out = self._time_outs[timeout] = (Watchdog(timeout, loop), connecting)
        return time_out

    async def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClosedError("the session manager is closed; make a new one, or close it later")
        if self._lender is not None and self._lender.closed:
            raise ClosedError("the aiohttp session that was lent is closed; close it after its client")
        if self._loop is not loop:
            await self._move_to(loop)
        if self._session is None:
            self._session = self._new_session()
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        options: dict[str, Any] = {"cookie_jar": _NoCookies(), "trust_env": self._trust_env}
        options["headers"] = _HEADERS
        if (lender := self._lender) is not None:
            options |= {"connector": lender.connector, "connector_owner": False, "trust_env": lender.trust_env}
            options |= {"headers": {**lender.headers, **_HEADERS}, "auth": lender.auth}
            options |= {"trace_configs": lender.trace_configs}
        else:
            # No limit on connections: the rate limiter bounds what is in flight, and a wait for a free
            # connection behind it would only eat into the time-out.
            options["connector"] = aiohttp.TCPConnector(limit=0, socket_factory=self._open_socket)
        return aiohttp.ClientSession(**options)

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        self._sockets_opened += 1
        family, kind, protocol, _, _ = address
        return socket.socket(family, kind, protocol)

    async def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and (self._lender is not None or not _is_over(self._loop)):
            raise ClosedError("used from a second event loop: make one client (and session) for each loop")
        old, self._session = self._session, None
        self._loop, self._in_flight, self._idle = loop, 0, None
        self._time_outs.clear()
        if old is not None:
            await old.close()  # its loop is gone: there is nothing left to wait for


def _is_over(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is None or loop.is_closed()


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read to the end, but at most one byte above the limit: aiohttp bounds neither size nor unpacking."""
    stream = response.content
    try:
        content = await stream.read(MAX_BODY_BYTES + 1)
        while len(content) <= MAX_BODY_BYTES and not stream.at_eof():
            content += await stream.read(MAX_BODY_BYTES + 1 - len(content))
    except BaseException:
        response.close()
        raise
    if not stream.at_eof():  # at its end, aiohttp has taken the connection back by itself
        response.close()
    return content


def _to_transport_error(error: Exception) -> TransportError:
    # Only the class names the failure: aiohttp's own texts hold the signed URL.
    name = type(error).__name__
    if isinstance(error, _NEVER_SENT):
        reason = error.strerror if isinstance(error, OSError) else None
        return TransportError(
            f"no connection to the server ({name}{f': {reason}' if reason else ''});"
            " nothing was sent. Check the network, the region or the base URL",
            maybe_applied=False,
        )
    if isinstance(error, TimeoutError):
        return TransportError(f"no answer in time ({name}); the server may have acted. Repeating is safe")
    return TransportError(f"the connection failed ({name}); the server may have acted. Repeating is safe")
