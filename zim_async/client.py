"""The client: composes signing, limiter, retries and session into one coroutine for each action."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp

from . import _protocol as protocol
from ._codes import Verdict, verdict_of
from ._endpoints import Region, quota_domain, resolve
from ._protocol import Answer, Credentials, Response
from ._server_clock import ServerClock, is_clock_refusal, second_refusal
from .actions import KINDS, Action, ClearPeerMessage, ConvType, DeleteConv
from .errors import (
    ClosedError,
    ConfigError,
    InvalidArgumentError,
    QueueTimeoutError,
    TransportError,
    ZimError,
)
from .limits import ActionLimiter, Permit, Priority, Rate, RateLimiter
from .limits._registry import shared_limiter
from .limits.window import PRIORITIES
from .retry import RetryPolicy
from .session import SessionManager

log = logging.getLogger("zim_async")


_NO_DEADLINE: Final = contextlib.nullcontext()  # as asyncio.timeout(None), which costs a waiting call 110 bytes


@dataclass(slots=True, eq=False)
class _Call:
    """One call on its way through queue, attempts and waits."""

    action: Action
    limiter: ActionLimiter
    priority: Priority
    attempts: int = 0
    sending: bool = False
    skew: float | None = None  # server minus local clock in seconds, when that is why the last attempt was refused
    last_error: ZimError | None = None


class ZimClient:
    """Calls the two actions for one application, at its rate and with retries.

    ``region`` (or ``base_url``) says where to; ``qps`` is the quota of calls a second, one number or one
    for each action name, shared by all clients of an application in this process; the latest to state it
    sets it. ``timeout`` bounds one attempt, ``deadline`` the queue, attempts and waits together, in
    seconds; ``max_wait`` the wait in the queue that a call may expect. ``limiter`` replaces the shared
    limiter; ``sessions`` is a ``SessionManager`` to share, ``session`` an aiohttp session to borrow: neither
    is closed here. Use it as ``async with``, or call ``close()``. Building one needs no running loop.
    Raises ``ConfigError``.
    """

    def __init__(
        self,
        app_id: int,
        server_secret: str,
        *,
        region: Region | str | None = None,
        base_url: str | None = None,
        qps: Rate | None = None,
        timeout: float = 10.0,
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
        limiter: RateLimiter | None = None,
        sessions: SessionManager | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        try:
            self._credentials = Credentials(app_id, server_secret)
        finally:
            del server_secret  # error trackers show the locals of a failed frame
        self._url = resolve(region, base_url)
        for name, seconds in {"timeout": timeout, "deadline": deadline, "max_wait": max_wait}.items():
            if not (_is_duration(seconds) or (seconds is None and name != "timeout")):
                raise ConfigError(f"{name} must be a number of seconds above 0, not {seconds!r}")
        if sessions is not None and session is not None:
            raise ConfigError("give sessions or session, not both")
        self._timeout = timeout
        self._deadline = deadline
        self._max_wait = max_wait
        self._retry = retry or RetryPolicy()
        self._limiter = limiter or shared_limiter(quota_domain(self._url), app_id, self)
        if qps is not None:
            self._limiter.qps = qps
        self._owns_sessions = sessions is None
        self._sessions = sessions or SessionManager(session=session)
        self._clock = ServerClock()
        self._closed = False

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Build a client from ``ZIM_APP_ID``, ``ZIM_SERVER_SECRET`` and ``ZIM_REGION`` or ``ZIM_BASE_URL``.

        ``options`` are those of the class, and go before the environment. Raises ``ConfigError``.
        """
        missing = [name for name in ("ZIM_APP_ID", "ZIM_SERVER_SECRET") if not os.environ.get(name)]
        if missing:
            raise ConfigError(f"set {' and '.join(missing)} in the environment")
        app_id = os.environ["ZIM_APP_ID"]
        if not (app_id.isascii() and app_id.isdigit() and len(app_id) <= 10):
            raise ConfigError("ZIM_APP_ID must be a whole number, the AppId shown in the vendor's console")
        if options.get("region") is None and options.get("base_url") is None:
            options["region"] = os.environ.get("ZIM_REGION") or None
            options["base_url"] = os.environ.get("ZIM_BASE_URL") or None
        return cls(int(app_id), os.environ["ZIM_SERVER_SECRET"], **options)

    def __repr__(self) -> str:
        if not hasattr(self, "_closed"):
            return "<ZimClient, not configured>"
        return f"<ZimClient app_id={self._credentials.app_id} host={self._url.host} {self._limiter!r}>"

    async def __aenter__(self) -> Self:
        if self._closed:
            raise ClosedError("the client is closed; make a new one")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new calls and give up those in the queue; close sessions of its own after the calls in flight."""
        self._closed = True
        await self._limiter.abandon(
            self, "the client was closed while the call waited its turn; this attempt was not sent"
        )
        if self._owns_sessions:
            await self._sessions.close()

    @property
    def app_id(self) -> int:
        """The application that calls are made for."""
        return self._credentials.app_id

    @property
    def host(self) -> str:
        """The name of the host that calls go to."""
        return self._url.host or ""

    @property
    def limiter(self) -> RateLimiter:
        """The limiter in use, for its live state: ``limiter.of("DeleteConv")``."""
        return self._limiter

    @property
    def qps(self) -> Mapping[str, float]:
        """Calls a second by action name; set it, while running too, to a number or to a mapping of those to change."""
        return self._limiter.qps

    @qps.setter
    def qps(self, qps: Rate) -> None:
        self._limiter.qps = qps

    async def clear_peer_message(
        self,
        *,
        from_user_id: str,
        to_user_id: str,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove every message between two users from the view of ``from_user_id``; see ``send``."""
        action = ClearPeerMessage(from_user_id, to_user_id)
        return await self.send(action, priority=priority, deadline=deadline, max_wait=max_wait, retry=retry)

    async def delete_conv(
        self,
        *,
        from_user_id: str,
        conv_id: str,
        conv_type: ConvType,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove a conversation from the list of ``from_user_id``; see ``send``."""
        action = DeleteConv(from_user_id, conv_id, conv_type)
        return await self.send(action, priority=priority, deadline=deadline, max_wait=max_wait, retry=retry)

    async def send(
        self,
        action: Action,
        *,
        priority: Priority = "interactive",
        deadline: float | None = None,
        max_wait: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Send an action when its turn comes, again where that may help, and return the server's answer.

        Calls of ``priority`` "bulk" let "interactive" ones go first. ``deadline``, ``max_wait`` (seconds) and
        ``retry`` override the client's. Raises ``ApiError`` and its kin for what the server refused,
        ``TransportError`` or ``ProtocolError`` for no usable answer, ``QueueTimeoutError`` when the deadline
        passed in the queue, or at once when the wait there is likely to be longer than ``max_wait``.
        """
        if type(action) not in KINDS or priority not in PRIORITIES or self._closed:
            raise _misuse(action, priority)
        if deadline is not None or max_wait is not None:
            _check_durations(deadline, max_wait)
        deadline = deadline or self._deadline
        limiter = self._limiter.of(action.name)
        call: _Call | None = None
        try:
            async with _NO_DEADLINE if deadline is None else asyncio.timeout(deadline):
                # Waited for right here, and before anything else is made: hundreds of thousands may wait.
                permit = await limiter.acquire(priority, max_wait or self._max_wait, owner=self)
                call = _Call(action, limiter, priority)
                outcome = await self._exchange(call, permit)
                if isinstance(outcome, Response):
                    return outcome
                return await self._recover(call, outcome, retry or self._retry)
        except (QueueTimeoutError, ClosedError) as error:
            error.action = action.name
            raise
        except TimeoutError:
            pass
        # Out here nothing is chained to it: the cancelled attempt's frames hold the signed URL.
        raise _deadline_error(call or _Call(action, limiter, priority), deadline)

    async def send_with_permit(self, action: Action, permit: Permit) -> Response:
        """Send an action once, by a permit of ``limiter.of(action.name)``; see ``send``.

        Bulk jobs do so: they know what still waits from what may have been done, and repeat by themselves.
        """
        call = _Call(action, self._limiter.of(action.name), "bulk")
        return _response_or_raise(await self._fix_clock(call, await self._exchange(call, permit)))

    async def _recover(self, call: _Call, error: ZimError, policy: RetryPolicy) -> Response:
        """Go on after a first attempt that failed: sign anew, or send again."""

        async def attempt() -> Response:
            permit = await call.limiter.acquire(call.priority, owner=self, again=True)
            return _response_or_raise(await self._fix_clock(call, await self._exchange(call, permit)))

        try:
            outcome = await self._fix_clock(call, error)
            if isinstance(outcome, Response):
                return outcome
            return await policy.resume(outcome, attempt)
        except ClosedError:
            pass
        # Closed in between, which says nothing about what the server did: the last failure does.
        raise call.last_error or error

    async def _fix_clock(self, call: _Call, outcome: Response | ZimError) -> Response | ZimError:
        """Sign anew, at once, what was refused for a clock that is learned by now."""
        if (skew := call.skew) is None:
            return outcome
        permit = await call.limiter.acquire(call.priority, owner=self, again=True)
        outcome = await self._exchange(call, permit)
        if is_clock_refusal(outcome):
            outcome = second_refusal(outcome, skew)
            outcome.action, outcome.attempts = call.action.name, call.attempts
        return outcome

    async def _exchange(self, call: _Call, permit: Permit) -> Response | ZimError:
        """Sign, post and decode, now that the limiter let the call go; return what came of it."""
        if self._closed:
            permit.cancel()
            return ClosedError("the client was closed before this attempt was sent")
        loop = asyncio.get_running_loop()
        call.attempts += 1
        call.sending, call.skew = True, None
        action, timestamp = call.action, self._clock.now()
        query = protocol.signed_query(self._credentials, action, os.urandom(8).hex(), timestamp)
        try:
            answer = await self._sessions.post(self._url, query, action.body(), timeout=self._timeout)
        except BaseException as error:
            if not loop.is_closed():  # else thrown away with its loop, which the limiter accounts for
                permit.release()
            if isinstance(error, asyncio.CancelledError):
                error.__traceback__ = None  # its frames hold the signed URL
            raise
        call.sending = False
        if not isinstance(answer, Answer):
            permit.release()
            return self._failed(call, answer)
        outcome = protocol.decode(action.name, answer, call.attempts)
        if isinstance(outcome, Response):
            permit.release(min_round_trip=answer.floor)
            if self._clock.offset:
                self._clock.observe(outcome, answer.headers, timestamp)
            log.debug("%s done, attempt %d, request ID %.100r", action.name, call.attempts, outcome.request_id)
            return outcome
        permit.release(min_round_trip=answer.floor, throttled=verdict_of(outcome) is Verdict.SLOW_DOWN)
        call.skew = self._clock.observe(outcome, answer.headers, timestamp)
        return self._failed(call, outcome)

    def _failed(self, call: _Call, error: ZimError) -> ZimError:
        error.action, error.attempts = call.action.name, call.attempts
        if not isinstance(error, ClosedError):
            call.last_error = error
        log.debug("attempt %d: %s", call.attempts, error)
        return error


def _misuse(action: object, priority: object) -> ZimError:
    if type(action) not in KINDS:
        return InvalidArgumentError(f"send takes a ClearPeerMessage or DeleteConv, not {type(action).__name__}")
    if priority not in PRIORITIES:
        return InvalidArgumentError(f"priority must be 'interactive' or 'bulk', not {priority!r}")
    return ClosedError("the client is closed; make a new one, or close it later")


def _response_or_raise(outcome: Response | ZimError) -> Response:
    if isinstance(outcome, ZimError):
        raise outcome
    return outcome


def _deadline_error(call: _Call, deadline: float | None) -> ZimError:
    error: ZimError
    if call.sending:
        error = TransportError(
            f"no answer within the deadline of {deadline} s; the server may have acted. Repeating is safe"
        )
    elif call.last_error is not None:
        return call.last_error
    else:
        error = QueueTimeoutError(
            f"still in the queue at the deadline of {deadline} s; nothing was sent",
            estimated_wait=call.limiter.estimated_wait(call.priority),
        )
    error.action, error.attempts = call.action.name, call.attempts
    return error


def _check_durations(*durations: float | None) -> None:
    for seconds in durations:
        if seconds is not None and not _is_duration(seconds):
            raise InvalidArgumentError(f"deadline and max_wait must be seconds above 0, not {seconds!r}")


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
