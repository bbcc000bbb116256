"""The session manager: one aiohttp connector, shared by any number of clients and tasks.

The rule about secrets, told once: a signed URL is in aiohttp's errors, their tracebacks and frames. So failures
leave ``request`` as values, made after the ``except`` block ended. By the time that a caller raises them, the frames
that held the URL are gone.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import socket
import time
from collections import defaultdict
from typing import Any, Final, Self, TypeAlias

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ._endpoints import is_loopback
from ._protocol import RawResponse
from ._round_trip import RoundTrips
from ._timeouts import TimeoutGroup
from .errors import ClosedError, ConfigError, TransportError, ZimError

# Failures before a request can have left: the server saw nothing.
_NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
)
_CONTENT_TYPE: Final = "Content-Type"
_LARGE_BODY: Final = 2**20  # bytes, from which aiohttp warns of what isn't a file
_JSON: Final = "application/json"
_PROXY_UNUSED: Final = ". HTTPS_PROXY is set, but not used here: SessionManager(proxy=...) takes one"
CONNECT_SHARE: Final = 0.95  # of a timeout, for name resolution and connecting
Timeout: TypeAlias = tuple[TimeoutGroup, aiohttp.ClientTimeout]


class SessionManager:
    """Opens one aiohttp session on first use, inside the running loop, and closes it after the calls in flight.

    Once its event loop is closed, the next use opens a session on the loop then running.

    Args:
        session: A session of the caller's own. It lends its connections, default headers, authentication and
            traces, but not its ``proxy``. It is never closed here, nor are cookies put in its jar.
        trust_env: Whether proxies and ``.netrc`` of the environment apply.
        proxy: The URL of a proxy for https. It is never used for a server on this machine.

    Raises:
        ConfigError: ``session`` is no ``aiohttp.ClientSession``, or ``proxy`` no URL of an HTTP proxy.

    Example:
        async with SessionManager() as sessions:
            europe = ZimClient(app_id, server_secret, region="fra", sessions=sessions)
            india = ZimClient(other_app_id, other_secret, region="bom", sessions=sessions)
    """

    def __init__(
        self, *, session: aiohttp.ClientSession | None = None, trust_env: bool = False, proxy: str | None = None
    ) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise ConfigError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
        self._lender = session
        self._trust_env = trust_env
        self._proxy = None if proxy is None else _checked_proxy(proxy)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timeouts: dict[float, Timeout] = {}  # by seconds
        self._sockets_opened = 0
        self._round_trips: defaultdict[str, RoundTrips] = defaultdict(RoundTrips)  # by host
        self._in_flight = 0
        self._idle: asyncio.Event | None = None
        self._closed = False
        self._pid = os.getpid()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self, method: str, host: URL, query: str, body: bytes | None, *, timeout: float, max_bytes: int
    ) -> RawResponse | ZimError:
        """Send a request and return what came back, or the failure as a value.

        Redirects are not followed: they would carry the signature elsewhere.

        Args:
            method: "POST" or "GET".
            host: Where to.
            query: The signed query, encoded.
            body: The request body, or None.
            timeout: For the whole exchange, in seconds.
            max_bytes: The response body is read to one byte beyond.

        Returns:
            The response, or ``ClosedError`` or ``TransportError``.
        """
        loop = asyncio.get_running_loop()
        session = self._session
        if session is None or self._loop is not loop or self._closed or self._lender is not None:
            try:
                session = await self._open()
            except ClosedError as error:
                return error.with_traceback(None)
        group, connecting = self._timeouts.get(timeout) or self._new_timeout(timeout, loop)
        task = group.start()
        self._in_flight += 1
        sockets_opened, sent_at = self._sockets_opened, time.monotonic()
        try:
            response = await session.request(
                method,
                _url(host, query),
                data=io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body,
                allow_redirects=False,
                timeout=connecting,
                proxy=self._proxy_for(host) if self._proxy else None,
                middlewares=None if method == "POST" else (_send_once,),
            )
            try:
                content = await response.content.read(max_bytes + 1)
                if not response.content.at_eof():
                    content = await _read_rest(response, content, max_bytes)
            except BaseException:
                response.close()
                raise
        except asyncio.CancelledError:
            if not group.stop(task):
                raise
            return _to_transport_error(TimeoutError())
        except Exception as error:  # noqa: BLE001, a lent session's trace hooks may raise anything
            if isinstance(error, RuntimeError) and session.closed:
                return ClosedError("the aiohttp session was closed; nothing was sent")
            return _to_transport_error(error, proxy_unused=not (self._proxy or self._trust_env or self._lender))
        finally:
            group.stop(task)
            if not loop.is_closed():  # else thrown away with its loop, which `_move_to` accounts for
                self._in_flight -= 1
                if self._idle is not None and not self._in_flight:
                    self._idle.set()
        round_trips = self._round_trips[host.authority]
        if self._lender is None:
            # With no connection opened meanwhile, the call reused one: its time is the network's own.
            round_trips.add(time.monotonic() - sent_at, connected=self._sockets_opened != sockets_opened)
        return RawResponse(response.status, content, response.headers, round_trips.minimum)

    async def close(self) -> None:
        """Refuse new calls, wait for those in flight, and close what was opened here. A second call does nothing.

        Cancelled while it waits, it closes immediately.

        Raises:
            ClosedError: It was used on another event loop, which is still open.
        """
        self._closed = True
        if self._pid != os.getpid():
            self._start_fresh()
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop and not _is_over(self._loop):
            raise ClosedError("close it on the event loop that it was used on")
        try:
            if self._in_flight and self._loop is loop:
                if self._idle is None:
                    self._idle = asyncio.Event()
                await self._idle.wait()
        finally:
            for group, _ in self._timeouts.values():
                group.close()
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    def _proxy_for(self, host: URL) -> URL | None:
        return self._proxy if host.scheme == "https" and not is_loopback(host.host or "") else None

    def _new_timeout(self, seconds: float, loop: asyncio.AbstractEventLoop) -> Timeout:
        # aiohttp times the connecting alone, so that a failure there is told apart from one after sending.
        connecting = aiohttp.ClientTimeout(total=None, connect=CONNECT_SHARE * seconds, ceil_threshold=math.inf)
        group = TimeoutGroup(seconds, loop, on_idle=lambda: self._timeouts.pop(seconds, None))
        timeout = self._timeouts[seconds] = (group, connecting)
        return timeout

    async def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClosedError("the session manager is closed; make a new one, or close it later")
        if self._lender is not None and self._lender.closed:
            raise ClosedError("the aiohttp session that was lent is closed; close it after its client")
        if self._loop is not loop:
            await self._move_to(loop)
        if self._session is None:
            try:
                self._session = self._new_session()
            except RuntimeError:
                raise ClosedError("the aiohttp session that was lent belongs to another event loop") from None
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        options: dict[str, Any] = {"cookie_jar": aiohttp.DummyCookieJar()}
        if (lender := self._lender) is not None:
            headers = CIMultiDict(lender.headers)
            headers[_CONTENT_TYPE] = _JSON
            options |= {"connector": lender.connector, "connector_owner": False, "trust_env": lender.trust_env}
            options |= {"headers": headers, "auth": lender.auth, "trace_configs": lender.trace_configs}
        else:
            # No limit on connections: the rate limiter bounds what is in flight, and a wait for a free
            # connection behind it would only eat into the timeout.
            connector = aiohttp.TCPConnector(limit=0, socket_factory=self._open_socket)
            options |= {"connector": connector, "headers": {_CONTENT_TYPE: _JSON}, "trust_env": self._trust_env}
        return aiohttp.ClientSession(**options)

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        self._sockets_opened += 1
        family, kind, protocol, _, _ = address
        return socket.socket(family, kind, protocol)

    async def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pid != os.getpid():
            self._start_fresh()
        if self._loop is not None and (self._lender is not None or not _is_over(self._loop)):
            raise ClosedError("used from a second event loop: make one client (and session) for each loop")
        old, self._session = self._session, None
        self._loop, self._in_flight, self._idle = loop, 0, None
        self._timeouts.clear()
        if old is not None:
            await old.close()  # its loop is gone: there is nothing left to wait for

    def _start_fresh(self) -> None:
        """Forget what a forked child has from its parent, whose connections these are."""
        _inherited.append(self._session)  # kept, since letting go of it would close them
        self._pid = os.getpid()
        self._session = self._loop = None


_inherited: Final[list[object]] = []


def _is_over(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is None or loop.is_closed()


def _url(host: URL, query: str) -> URL:
    return URL.build(
        scheme=host.scheme, authority=host.raw_authority, path=host.raw_path, query_string=query, encoded=True
    )


def _checked_proxy(proxy: str) -> URL:
    try:
        url = URL(proxy)
        if url.scheme in ("http", "https") and url.host:
            return url
    except (TypeError, ValueError):
        pass
    # Not shown: it may hold a password.
    raise ConfigError("proxy must be the URL of an HTTP proxy, such as http://proxy.example:3128")


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET: its signature and its permit are good for one request.

    It does so by itself when a connection that was kept alive dies, unless the error is of another class.
    """
    try:
        return await handler(request)
    except _NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        name = type(error).__name__
    raise aiohttp.ClientConnectionError(name)


async def _read_rest(response: aiohttp.ClientResponse, content: bytes, max_bytes: int) -> bytes:
    """Read to the end, but at most one byte above the limit: aiohttp bounds neither size nor unpacking."""
    stream = response.content
    while len(content) <= max_bytes and not stream.at_eof():
        content += await stream.read(max_bytes + 1 - len(content))
    if not stream.at_eof():  # at its end, aiohttp has taken the connection back by itself
        response.close()
    return content


def _to_transport_error(error: Exception, *, proxy_unused: bool = False) -> TransportError:
    # Only the class names the failure: aiohttp's own texts hold the signed URL.
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return TransportError(
            f"the server's certificate couldn't be verified ({name}); the request wasn't sent. Check the base URL,"
            " this machine's clock and its certificates, and whether a proxy answers for the server",
            maybe_applied=False,
            untrusted=True,
        )
    if isinstance(error, _NEVER_SENT):
        reason = error.strerror if isinstance(error, OSError) else None
        hint = proxy_unused and any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy"))
        return TransportError(
            f"no connection to the server ({name}{f': {reason}' if reason else ''});"
            f" the request wasn't sent. Check the network, the region or the base URL{_PROXY_UNUSED if hint else ''}",
            maybe_applied=False,
        )
    if isinstance(error, TimeoutError):
        return TransportError(f"no response in time ({name})")
    if not isinstance(error, aiohttp.ClientError | OSError | ValueError):
        return TransportError(f"a trace hook or resolver of the lent session raised {name}")
    return TransportError(f"the connection failed ({name})")
