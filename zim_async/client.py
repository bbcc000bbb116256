"""The client: composes signing, limiter, retries and session into one coroutine for each action."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from . import protocol
from .actions import Action, ClearPeerMessage, ConvType, DeleteConv
from .clock import MIN_DIFFERENCE, ServerClock
from .codes import Verdict, verdict_of
from .endpoints import Region, quota_domain, resolve
from .errors import (
    ApiError,
    ClockSkewError,
    ConfigError,
    InvalidArgumentError,
    QueueTimeoutError,
    RateLimitedError,
    TransportError,
    ZimError,
)
from .limits import Rate, RateLimiter, shared_limiter
from .protocol import Credentials, Response
from .retry import RetryPolicy
from .session import SessionManager

log = logging.getLogger("zim_async")


@dataclass(slots=True, eq=False)
class _Call:
    """One call on its way through queue, attempts and waits."""

    action: Action
    attempts: int = 0
    sending: bool = False
    last_error: ZimError | None = None


class ZimClient:
    """Calls the two actions for one application, at its rate and with retries.

    ``region`` (or ``base_url``) says where to; ``qps`` is the quota of calls a second, one number or one
    for each action name, shared by all clients of an application in this process; the latest to state it
    sets it. ``timeout`` bounds one attempt, ``deadline`` the queue, attempts and waits together, in
    seconds. ``limiter`` replaces the shared limiter; ``sessions`` is a ``SessionManager`` to share,
    ``session`` an aiohttp session to borrow: neither is closed here. Use it as ``async with``, or call
    ``close()``. Building one needs no running loop. Raises ``ConfigError``.
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
        retry: RetryPolicy | None = None,
        limiter: RateLimiter | None = None,
        sessions: SessionManager | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._credentials = Credentials(app_id, server_secret)
        self._url = resolve(region, base_url)
        if not _is_duration(timeout):
            raise ConfigError(f"timeout must be a number of seconds above 0, not {timeout!r}")
        if deadline is not None and not _is_duration(deadline):
            raise ConfigError(f"deadline must be None or a number of seconds above 0, not {deadline!r}")
        if sessions is not None and session is not None:
            raise ConfigError("give sessions or session, not both")
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._deadline = deadline
        self._retry = retry or RetryPolicy()
        self._limiter = limiter or shared_limiter(quota_domain(self._url), app_id)
        if qps is not None:
            self._limiter.set_qps(qps)
        self._owns_sessions = sessions is None
        self._sessions = sessions or SessionManager(session=session)
        self._clock = ServerClock()
        self._closed = False

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Build a client from ``ZIM_APP_ID``, ``ZIM_SERVER_SECRET`` and ``ZIM_REGION`` or ``ZIM_BASE_URL``.

        ``options`` are those of the class, and go before the environment. Raises ``ConfigError``.
        """
        app_id = os.environ.get("ZIM_APP_ID", "")
        secret = os.environ.get("ZIM_SERVER_SECRET", "")
        missing = [name for name, value in (("ZIM_APP_ID", app_id), ("ZIM_SERVER_SECRET", secret)) if not value]
        if missing:
            raise ConfigError(f"set {' and '.join(missing)} in the environment")
        if not (app_id.isascii() and app_id.isdigit()):
            raise ConfigError("ZIM_APP_ID must be a whole number, the AppId shown in the vendor's console")
        if not options.keys() & {"region", "base_url"}:
            options["region"] = os.environ.get("ZIM_REGION") or None
            options["base_url"] = os.environ.get("ZIM_BASE_URL") or None
        return cls(int(app_id), secret, **options)

    def __repr__(self) -> str:
        return f"<ZimClient app_id={self._credentials.app_id} host={self._url.host} {self._limiter!r}>"

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new calls; on a session of its own, wait for those in flight and close it. Idempotent."""
        self._closed = True
        if self._owns_sessions:
            await self._sessions.close()

    @property
    def limiter(self) -> RateLimiter:
        """The limiter in use: its live state, and ``set_qps``."""
        return self._limiter

    async def clear_peer_message(
        self,
        *,
        from_user_id: str,
        to_user_id: str,
        deadline: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove every message between two users from the view of ``from_user_id``; see ``send``."""
        return await self.send(ClearPeerMessage(from_user_id, to_user_id), deadline=deadline, retry=retry)

    async def delete_conv(
        self,
        *,
        from_user_id: str,
        conv_id: str,
        conv_type: ConvType,
        deadline: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Remove a conversation from the list of ``from_user_id``; see ``send``."""
        return await self.send(DeleteConv(from_user_id, conv_id, conv_type), deadline=deadline, retry=retry)

    async def send(
        self,
        action: Action,
        *,
        deadline: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> Response:
        """Send an action when its turn comes, again where that may help, and return the server's answer.

        ``deadline`` (seconds) and ``retry`` override the client's. Raises ``ApiError`` and its kin for what
        the server refused, ``TransportError`` or ``ProtocolError`` for no usable answer, and
        ``QueueTimeoutError`` when the deadline passed in the queue.
        """
        if not isinstance(action, Action):
            raise InvalidArgumentError(f"send takes a ClearPeerMessage or DeleteConv, not {type(action).__name__}")
        if deadline is None:
            deadline = self._deadline
        elif not _is_duration(deadline):
            raise InvalidArgumentError(f"deadline must be a number of seconds above 0, not {deadline!r}")
        self._check_open()
        call = _Call(action)
        policy = retry or self._retry
        if deadline is None:
            return await policy.run(lambda: self._attempt(call))
        try:
            async with asyncio.timeout(deadline):
                return await policy.run(lambda: self._attempt(call))
        except TimeoutError:
            pass
        # Out here nothing is chained to it: the cancelled attempt's frames hold the signed URL.
        raise _deadline_error(call, deadline)

    async def _attempt(self, call: _Call) -> Response:
        outcome, skew = await self._exchange(call)
        if skew is not None:  # the clock is learned: the same call, signed anew, at once
            outcome, _ = await self._exchange(call)
            if isinstance(outcome, ApiError) and _is_clock_refusal(outcome):
                outcome = _clock_skew_error(outcome, skew)
        if isinstance(outcome, Response):
            return outcome
        outcome.action, outcome.attempts = call.action.name, call.attempts
        call.last_error = outcome
        raise outcome

    async def _exchange(self, call: _Call) -> tuple[Response | ZimError, float | None]:
        """Take a slot, then sign, post and decode; return the outcome and the clock difference it brought to light."""
        limiter = self._limiter.of(call.action.name)
        await limiter.acquire()
        call.attempts += 1
        call.sending = True
        outcome: Response | ZimError | None = None
        try:
            outcome, skew = await self._post(call)
        finally:
            limiter.release(refused=isinstance(outcome, RateLimitedError))
        call.sending = False  # but not when cancelled: then the server may have acted
        log.debug("%s, attempt %d: %r", call.action.name, call.attempts, outcome)
        return outcome, skew

    async def _post(self, call: _Call) -> tuple[Response | ZimError, float | None]:
        if self._closed:
            return ZimError("the client was closed while the call waited its turn; nothing was sent"), None
        timestamp = self._clock.now()
        query = protocol.signed_query(self._credentials, call.action, secrets.token_hex(8), timestamp)
        answer = await self._sessions.post(
            self._url.with_query(query), protocol.encode(call.action), timeout=self._timeout
        )
        if isinstance(answer, ZimError):
            return answer, None
        outcome = protocol.decode(call.action.name, answer, call.attempts)
        return outcome, self._learn_clock(outcome, answer.date, timestamp)

    def _learn_clock(self, outcome: object, date: str | None, timestamp: int) -> float | None:
        """Return how many seconds the server's clock is ahead of a signature that it refused, if by minutes."""
        refused = _is_clock_refusal(outcome)
        if not refused and not self._clock.offset:
            return None
        server_time = protocol.parse_date(date)
        if server_time is None:
            return None
        self._clock.learn(server_time)
        difference = server_time - timestamp
        return difference if refused and abs(difference) >= MIN_DIFFERENCE else None

    def _check_open(self) -> None:
        if self._closed:
            raise ZimError("the client is closed; make a new one, or close it later")


def _is_clock_refusal(outcome: object) -> bool:
    return isinstance(outcome, ApiError) and verdict_of(outcome) is Verdict.FIX_CLOCK


def _clock_skew_error(error: ApiError, difference: float) -> ClockSkewError:
    return ClockSkewError(
        f"code {error.code}: the server's clock is {difference:+.0f} s from the one signed by; signed anew by the"
        f' server\'s, and refused again (server: "{error.message}"; request ID: {error.request_id}).'
        f" {ClockSkewError.advice} If it is right, check the server secret.",
        difference=difference,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
    )


def _deadline_error(call: _Call, deadline: float) -> ZimError:
    name = call.action.name
    error: ZimError
    if call.sending:
        error = TransportError(
            f"no answer within the deadline of {deadline:g} s; the server may have acted. Repeating is safe"
        )
    elif call.last_error is not None:
        return call.last_error
    else:
        error = QueueTimeoutError(f"still in the queue at the deadline of {deadline:g} s; nothing was sent")
    error.action, error.attempts = name, call.attempts
    return error


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
