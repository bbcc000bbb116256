"""The session manager: one aiohttp connector, shared by any number of clients and tasks."""

from __future__ import annotations

import asyncio
from typing import Final, Self

import aiohttp
from yarl import URL

from .errors import ConfigError, TransportError, ZimError
from .protocol import MAX_BODY_BYTES, Answer

# Failures before a request can have left: the server saw nothing.
_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ServerFingerprintMismatch)
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}


class SessionManager:
    """Opens one aiohttp session on first use, inside the running loop, and closes it after the calls in flight.

    A ``session`` of the caller's own is used as it is, and never closed. ``trust_env`` lets proxies and
    ``.netrc`` of the environment apply. Once its event loop is closed, the next use opens a session on
    the loop then running; two loops at once raise ``ZimError``, as does any use after ``close``.
    """

    def __init__(self, *, session: aiohttp.ClientSession | None = None, trust_env: bool = False) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise ConfigError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
        self._lent = session
        self._trust_env = trust_env
        self._own: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._in_flight = 0
        self._idle: asyncio.Event | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def post(self, url: URL, body: bytes, *, timeout: aiohttp.ClientTimeout) -> Answer | ZimError:
        """Send a body and return the answer, or the failure as a value (see ``protocol`` for why).

        Redirects are not followed: they would carry the signature elsewhere.
        """
        try:
            session = await self._open()
        except ZimError as error:
            return error.with_traceback(None)
        self._in_flight += 1
        try:
            async with session.post(
                url,
                data=body,
                headers=_HEADERS,
                timeout=timeout,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
            ) as response:
                content = await _read_bounded(response.content)
                headers = response.headers
                return Answer(response.status, content, headers.get("Date"), headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _to_transport_error(error)
        except RuntimeError:  # how aiohttp says that a session or its loop is closed
            return ZimError("the aiohttp session is closed, or belongs to another event loop; nothing was sent")
        finally:
            self._in_flight -= 1
            if self._idle is not None and not self._in_flight:
                self._idle.set()

    async def close(self) -> None:
        """Refuse new calls, wait for those in flight, close what was opened here; a second call does nothing."""
        self._closed = True
        if self._in_flight and self._loop is asyncio.get_running_loop():
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ZimError("the session manager is closed; make a new one, or close it later")
        if self._loop is not loop:
            await self._move_to(loop)
        if self._lent is not None:
            return self._lent
        if self._own is None:
            # No limit on connections: the rate limiter bounds what is in flight, and a wait for a free
            # connection behind it would only eat into the time-out.
            connector = aiohttp.TCPConnector(limit=0)
            self._own = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=self._trust_env
            )
        return self._own

    async def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and (self._lent is not None or not self._loop.is_closed()):
            raise ZimError("used from a second event loop: make one client (and session) for each loop")
        old, self._own = self._own, None
        self._loop, self._in_flight, self._idle = loop, 0, None
        if old is not None:
            await old.close()  # its loop is gone: there is nothing left to wait for


async def _read_bounded(stream: aiohttp.StreamReader) -> bytes:
    """Read to the end, but at most one byte above the limit: aiohttp bounds neither size nor unpacking."""
    content = b""
    while len(content) <= MAX_BODY_BYTES:
        chunk = await stream.read(MAX_BODY_BYTES + 1 - len(content))
        if not chunk and stream.at_eof():
            break
        content += chunk
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
