"""One call's life: permit, signature, request, response, clock, retries, deadline.

1. A call waits for its permit first. It is signed when it leaves, so an hour in the queue does no harm.
2. Permit and signature belong to the attempt. A repeat takes a new permit, ahead of newcomers, and is signed anew.
3. What the server refused for a clock that is learned by now is signed anew immediately, once.
4. A failed attempt travels as a value up to ``send`` and ``attempt``, which stamp it and raise it. The frames that
   held the signed URL are gone by then.
5. A call that ends between attempts raises the server's last word, not the reason to end.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from yarl import URL

from ._call_record import CallRecord, is_throttled
from ._protocol import Credentials, RawResponse, Request, Response, Sendable, decode, ready_to_send, signed_query
from ._server_clock import ServerClock, clock_skew_error, is_clock_refusal
from ._text import show_value
from ._timeouts import RANGE, is_duration
from .actions import Action
from .errors import (
    ClosedError,
    InvalidArgumentError,
    QueueTimeoutError,
    QuotaUnavailableError,
    TransportError,
    ZimError,
)
from .events import Emitter
from .limits import Permit, RateLimiter
from .limits.window import PRIORITIES, Priority
from .retry import RetryPolicy, repeat
from .session import SessionManager

T = TypeVar("T")

_NO_TURN: Final = (ClosedError, QueueTimeoutError, QuotaUnavailableError)  # why a further attempt isn't made
ARRIVAL_LAG: Final = 0.25  # seconds within which an abandoned request has arrived, if it does
_CLOSED: Final = "the client was closed while the call waited its turn; this attempt was not sent"


class Caller:
    """Sends the calls of one application.

    Args:
        credentials: The application's.
        url: Where to.
        limiter: Gives the permits.
        sessions: Sends the requests.
        emitter: Tells the observers.
        timeout: For one attempt, in seconds.
        deadline: For a call that states none, in seconds, or None.
        max_wait: For the queue of a call that states none, in seconds, or None.
        policy: How often to repeat the calls that state nothing else.
    """

    def __init__(
        self,
        credentials: Credentials,
        url: URL,
        limiter: RateLimiter,
        sessions: SessionManager,
        emitter: Emitter,
        *,
        timeout: float = 10.0,
        deadline: float | None = None,
        max_wait: float | None = None,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008, it is frozen
    ) -> None:
        self._credentials = credentials
        self._url = url
        self._limiter = limiter
        self._sessions = sessions
        self._emitter = emitter
        self._timeout = timeout
        self._deadline = deadline
        self._max_wait = max_wait
        self._policy = policy
        self._clock = ServerClock()
        self._pausing: set[asyncio.Future[None]] = set()  # of calls between two attempts
        self.closed = False

    def enter_queue(
        self, action: Sendable, priority: Priority, deadline: float | None, max_wait: float | None
    ) -> Coroutine[Any, Any, Permit | CallRecord]:
        """Return what to await for an action's turn. Then comes ``send``.

        The two are apart so that a call that waits takes no frame of its own here.

        Args:
            action: What is to be sent.
            priority: Calls of priority "bulk" let "interactive" ones go first.
            deadline: For everything, in seconds, or None for the client's.
            max_wait: For the queue, repeats' turns included, in seconds, or None for the client's.

        Raises:
            InvalidArgumentError: One of these is wrong.
            ClosedError: The client is closed.
        """
        if priority not in PRIORITIES or deadline is not None or max_wait is not None:
            _check_options(priority, deadline, max_wait)
        if self.closed:
            raise ClosedError("the client is closed; make a new one, or close it later", action=action.name)
        limiter = self._limiter.of(action.name)
        deadline, max_wait = deadline or self._deadline, max_wait or self._max_wait
        if deadline is None and max_wait is None and not self._emitter.is_needed:
            return limiter.acquire(priority, owner=self)
        call = CallRecord(action, limiter, priority)
        call.max_wait = max_wait
        if deadline is not None:
            call.ends_at = time.monotonic() + deadline
        return self._take_turn(call, deadline)

    async def send(
        self, action: Sendable, turn: Permit | CallRecord, priority: Priority, policy: RetryPolicy | None
    ) -> Response:
        """Send an action whose turn has come, again where that may help, and return the server's response.

        Args:
            action: What to send.
            turn: From ``enter_queue``.
            priority: As there.
            policy: How often to repeat what failed, or None for the client's.

        Raises:
            ZimError: Stamped with the action's name and the attempts made.
        """
        if isinstance(turn, CallRecord):
            call = turn
        else:
            call = CallRecord(action, self._limiter.of(action.name), priority)
            call.permit, call.observed = turn, False
        if policy is not None and not isinstance(policy, RetryPolicy):
            call.permit.cancel()
            raise InvalidArgumentError(f"retry must be a RetryPolicy, not {show_value(policy)}")
        outcome: Response | BaseException
        try:
            attempt = self._attempt(call, call.permit)
            outcome = await (attempt if call.ends_at == math.inf else _within_deadline(call, attempt))
            if not isinstance(outcome, Response):
                outcome = await _within_deadline(call, self._repeat(call, outcome, policy or self._policy))
        except TimeoutError:
            outcome = _deadline_error(call)
        except ZimError as error:
            outcome = error
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call, outcome)
        if isinstance(outcome, Response):
            return outcome
        # Out here nothing is chained to it: a cancelled attempt's frames hold the signed URL.
        raise _stamped(outcome, call)

    async def attempt(self, action: Action, permit: Permit, priority: Priority) -> Response:
        """Send an action once, by a permit that the caller holds.

        Raises:
            ZimError: Stamped with the action's name and the attempts made.
        """
        try:
            call = CallRecord(ready_to_send(action), self._limiter.of(action.name), priority)
            self._start(call)
        except BaseException:
            permit.cancel()
            raise
        try:
            outcome = await self._attempt(call, permit)
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call, outcome)
        if isinstance(outcome, ZimError):
            raise _stamped(outcome, call)
        return outcome

    async def close(self) -> None:
        """Refuse new calls, and end those that wait for their turn or between two attempts."""
        self.closed = True
        loop = asyncio.get_running_loop()
        for pause in [pause for pause in self._pausing if pause.get_loop() is loop]:
            pause.cancel()
        await self._limiter.abandon(self, _CLOSED)

    async def _take_turn(self, call: CallRecord, deadline: float | None) -> CallRecord:
        """Wait for a call's turn within its limits, and return it with its permit."""
        self._start(call)
        error: ZimError
        try:
            async with asyncio.timeout(deadline):
                call.permit = await call.limiter.acquire(call.priority, call.max_wait, owner=self)
        except TimeoutError:
            error = _deadline_error(call)
        except ZimError as raised:
            error = raised
        except BaseException as raised:
            self._end(call, raised)
            raise
        else:
            call.note_queued(call.started_at)
            return call
        self._end(call, error)
        raise _stamped(error, call)

    async def _repeat(self, call: CallRecord, error: ZimError, policy: RetryPolicy) -> Response:
        """Make further attempts after a first one that failed with ``error``."""

        async def attempt() -> Response:
            outcome = await self._attempt(call, await self._next_permit(call))
            if isinstance(outcome, ZimError):
                raise outcome
            return outcome

        try:
            return await repeat(
                policy,
                error,
                attempt,
                idempotent=call.action.idempotent,
                sleep=self._pause,
                time_left=call.time_left,
                on_wait=lambda error, seconds: self._emitter.emit(call.retry_scheduled(error, seconds)),
            )
        except _NO_TURN:
            pass
        # That says nothing about what the server did. Its last word does.
        raise call.last_error or error

    async def _next_permit(self, call: CallRecord) -> Permit:
        """Wait for a further turn, ahead of calls that haven't had one."""
        asked_at = time.monotonic()
        max_wait = None if call.max_wait is None else max(0.0, call.max_wait - call.queued_in_all)
        try:
            return await call.limiter.acquire(call.priority, max_wait, owner=self, again=True)
        finally:
            call.note_queued(asked_at)

    async def _pause(self, seconds: float) -> None:
        """Wait between two attempts. Raises ``ClosedError`` when the client is closed meanwhile."""
        if self.closed:
            raise ClosedError(_CLOSED)
        pause = asyncio.get_running_loop().create_future()
        self._pausing.add(pause)
        try:
            await asyncio.wait([pause], timeout=seconds)
        finally:
            self._pausing.discard(pause)
        if self.closed:
            raise ClosedError(_CLOSED)

    async def _attempt(self, call: CallRecord, permit: Permit) -> Response | ZimError:
        """Sign, send and decode. Do so once more if the clock was learned from the refusal."""
        if self.closed:
            permit.cancel()
            return ClosedError(_CLOSED)
        call.attempts += 1
        call.sending = True
        action, signed_at = call.action, self._clock.now()
        sent_at = time.monotonic() if call.observed else 0.0
        method, parameters = ("POST", "") if type(action) is not Request else (action.method, action.parameters)
        query = signed_query(self._credentials, action.name, os.urandom(8).hex(), signed_at, parameters)
        try:
            raw = await self._sessions.request(
                method, self._url, query, action.body(), timeout=self._timeout, max_bytes=action.max_response_bytes
            )
        except BaseException as error:
            if call.observed:
                self._emitter.emit(call.attempt_ended(error, sent_at))
            permit.release(min_round_trip=-ARRIVAL_LAG)
            if isinstance(error, asyncio.CancelledError):
                error.__traceback__ = None  # its frames hold the signed URL
            raise
        call.sending = False
        skew: float | None = None
        outcome: Response | ZimError
        if isinstance(raw, RawResponse):
            outcome = decode(action, raw, call.attempts)
            done = isinstance(outcome, Response)
            permit.release(min_round_trip=raw.min_round_trip, throttled=not done and is_throttled(outcome))
            if not done or self._clock.offset:
                skew = self._clock.observe(outcome, raw.headers, signed_at)
        else:
            outcome, done = raw, False
            await self._end_unanswered(permit, raw)
        if isinstance(outcome, ClosedError):  # nothing was sent
            call.attempts -= 1
        elif call.observed:
            self._emitter.emit(call.attempt_ended(outcome, sent_at))
        return outcome if done else await self._fix_clock(call, outcome, skew)

    async def _end_unanswered(self, permit: Permit, error: ZimError) -> None:
        """End the permit of a request that had no response."""
        if isinstance(error, ClosedError):
            permit.cancel()
            await self._limiter.abandon(self, str(error))  # those who wait would only learn the same, one by one
        else:
            permit.release(min_round_trip=-ARRIVAL_LAG if error.maybe_applied else 0.0)

    async def _fix_clock(
        self, call: CallRecord, outcome: Response | ZimError, skew: float | None
    ) -> Response | ZimError:
        """Send again, immediately and once, what was refused for a clock that is learned by now."""
        if isinstance(outcome, Response | ClosedError):
            return outcome
        call.maybe_applied |= outcome.maybe_applied
        call.last_error = outcome
        if call.skew is not None and is_clock_refusal(outcome):
            return clock_skew_error(outcome, call.skew)
        call.skew = skew
        if skew is None:
            return outcome
        try:
            return await self._attempt(call, await self._next_permit(call))
        except _NO_TURN:
            return outcome

    def _start(self, call: CallRecord) -> None:
        call.started_at = time.monotonic()
        call.observed = self._emitter.is_needed
        if call.observed:
            self._emitter.emit(call.started(self._url.host or "", self._url.port or 443))

    def _end(self, call: CallRecord, outcome: Response | BaseException) -> None:
        if call.observed:
            self._emitter.emit(call.ended(outcome))


async def _within_deadline(call: CallRecord, work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(None if call.ends_at == math.inf else call.time_left()):
        return await work


def _stamped(error: ZimError, call: CallRecord) -> ZimError:
    """Return an error that knows the call it ended: the one place where errors learn that."""
    error.action, error.attempts, error.idempotent = call.action.name, call.attempts, call.action.idempotent
    error.maybe_applied |= call.maybe_applied
    return error


def _deadline_error(call: CallRecord) -> ZimError:
    deadline = f"{call.ends_at - call.started_at:.3g} s"
    if call.sending:
        return TransportError(f"no response within the deadline of {deadline}")
    if call.last_error is not None:
        return call.last_error
    return QueueTimeoutError(
        f"still in the queue at the deadline of {deadline}; nothing was sent",
        estimated_wait=call.limiter.estimated_wait(call.priority),
    )


def _check_options(priority: object, *durations: float | None) -> None:
    if priority not in PRIORITIES:
        raise InvalidArgumentError(f"priority must be 'interactive' or 'bulk', not {show_value(priority)}")
    for seconds in durations:
        if seconds is not None and not is_duration(seconds):
            raise InvalidArgumentError(f"deadline and max_wait must be seconds {RANGE}, not {show_value(seconds)}")
