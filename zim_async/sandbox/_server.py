"""A ZIM server on loopback for tests and trials: it checks every request, keeps state, and fails on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from typing import Any, Final, NamedTuple, Self

from aiohttp import web

from .._codes import RULES, SUCCESS, code_of
from .._text import show_value
from ..actions import ConvType, is_action_name
from ..errors import ApiError, InvalidArgumentError
from ._conversations import Conversations
from ._counting import COUNTERS, Counter, Counting, SlidingSecond
from ._faults import NO_FAULT, Fault, Faults
from ._gate import PUBLIC_PARAMETERS, Gate
from ._handlers import Handler, Handlers, Parameters, refusal

MAX_RECORDED: Final = 1_000_000
MAX_BODY_BYTES: Final = 16 * 2**20  # more than a client sends
MAX_LINE_BYTES: Final = 64 * 2**10  # a GET carries its parameters in the first line


class Arrival(NamedTuple):
    """A request as the server met it.

    Attributes:
        action: The action's name.
        at: When it arrived, in monotonic seconds.
        code: The return code of the response.
    """

    action: str
    at: float
    code: int


class Sandbox:
    """A ZIM server on loopback that runs while it is entered.

    It accepts ``qps`` arrivals of each action in any one second, and responds with code 7 beyond. It checks requests
    by code of its own, never the client's.

    Args:
        app_id: The application's ID. Default: a random one, which keeps the quotas of sandboxes apart.
        server_secret: The secret. Default: a random one.
        port: The port on 127.0.0.1. Default: a free one.
        qps: The limit of each action, in calls a second. None counts without refusing.
        counting: How a second is counted: "sliding", "sliding-all" (refused calls count too), "clock" or "bucket".
        strict: Whether unknown users, groups and conversations are refused. Otherwise they count as done.

    Attributes:
        base_url: Where it listens, once entered.
        clock_skew: Seconds that its clock is ahead. May be set at any time.
        delay: Seconds before each response. May be set at any time.
        arrivals: The requests that arrived, the latest million.

    Example:
        async with Sandbox(strict=True) as box:
            box.add_message("alice", "bob")
            async with ZimClient(box.app_id, box.server_secret, base_url=box.base_url) as zim:
                await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
            assert box.messages("alice", "bob") == []
    """

    def __init__(
        self,
        *,
        app_id: int | None = None,
        server_secret: str | None = None,
        port: int = 0,
        qps: int | None = 20,
        counting: Counting = "sliding",
        strict: bool = False,
    ) -> None:
        self.app_id: int = app_id or 1 + secrets.randbelow(2**32 - 1)
        self.server_secret: str = server_secret or secrets.token_hex(16)
        self.base_url: str = ""
        self.clock_skew: float = 0.0
        self.delay: float = 0.0
        self.arrivals: deque[Arrival] = deque(maxlen=MAX_RECORDED)
        limit = MAX_RECORDED if qps is None else qps
        self._port = port
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self._gate = Gate()
        self._seen: defaultdict[str, SlidingSecond] = defaultdict(lambda: SlidingSecond(MAX_RECORDED))
        self._limits: defaultdict[str, Counter] = defaultdict(lambda: COUNTERS[counting](limit))
        self._faults = Faults()
        self._conversations = Conversations()
        self._handlers = Handlers(self._conversations, strict=strict).by_name()

    async def __aenter__(self) -> Self:
        self._closing = asyncio.Event()
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("POST", "/", self._respond)
        app.router.add_route("GET", "/", self._respond)
        # No access log: its lines hold the signed URL.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, max_line_size=MAX_LINE_BYTES)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    # State

    def add_message(self, from_user_id: str, to_user_id: str, text: str = "hello") -> None:
        """Put a one-to-one message in the views of both users, who become known by it."""
        now = self._now()
        self._conversations.add(from_user_id, (to_user_id, ConvType.PEER), [text], now)
        self._conversations.add(to_user_id, (from_user_id, ConvType.PEER), [text], now)

    def add_group(self, group_id: str, members: Iterable[str], texts: Iterable[str] = ("hello",)) -> None:
        """Put a group conversation with messages in the list of each member."""
        texts, now = list(texts), self._now()
        for member in members:
            self._conversations.add(member, (group_id, ConvType.GROUP), texts, now)

    def messages(self, user_id: str, conv_id: str, conv_type: ConvType = ConvType.PEER) -> list[str] | None:
        """Return what a user sees of a conversation, or None if it isn't in the user's list."""
        view = self._conversations.listed_view(user_id, (conv_id, conv_type))
        return None if view is None else list(view.messages)

    def handle(self, action: str, handler: Handler) -> None:
        """Respond to an action by a function of your own, in place of the sandbox's if it has one.

        Args:
            action: The action's name.
            handler: Takes the parameters as a dict: the decoded body, or what a GET has in its query (all of it
                text). It returns the response's fields besides the usual three, or a return code, or None for
                success. An ``ApiError`` that it raises is a refusal with its code. Anything else that it raises is
                logged by aiohttp, and an HTTP 500.

        Raises:
            InvalidArgumentError: The name isn't made of ASCII letters and digits.

        Example:
            box.handle("QueryUserInfos", lambda given: {"Result": [{"UserId": user} for user in given["UserIds"]]})
        """
        if not is_action_name(action):
            raise InvalidArgumentError(f"an action's name has ASCII letters and digits alone, not {show_value(action)}")
        self._handlers[action] = handler

    # What arrived

    @property
    def refused(self) -> int:
        """Requests refused for their rate, of those recorded."""
        return sum(arrival.code == 7 for arrival in self.arrivals)

    def busiest_second(self, action: str) -> int:
        """Return the largest number of arrivals of an action in any one second."""
        return self._seen[action].most

    # Faults, each for the next `times` requests that are signed well, in time and within the rate

    def fail_next(self, error: type[ApiError] | None = None, *, code: int | None = None, times: int = 1) -> None:
        """Refuse, without acting.

        Args:
            error: The class of the error that the client is to raise.
            code: The return code, instead of a class.
            times: The number of requests.

        Raises:
            InvalidArgumentError: There isn't exactly one of class and code, or no code raises that class.

        Example:
            box.fail_next(NotFoundError)
            box.fail_next(code=7, times=5)
        """
        if (error is None) == (code is None):
            raise InvalidArgumentError("give a class of error or a code, and not both")
        self._faults.add(Fault(times, code=_code_of(error) if code is None else code))

    def answer_next(
        self, *, status: int = 200, body: bytes | None = None, retry_after: str | None = None, times: int = 1
    ) -> None:
        """Respond with an HTTP status, a Retry-After header, or a body of any bytes, without acting."""
        self._faults.add(Fault(times, status=status, body=body, retry_after=retry_after))

    def drop_next(self, *, after_acting: bool = False, times: int = 1) -> None:
        """Cut the connection instead of responding, before or after acting."""
        self._faults.add(Fault(times, drop=True, acts=after_acting))

    def delay_next(self, seconds: float, *, times: int = 1) -> None:
        """Act, but respond later."""
        self._faults.add(Fault(times, acts=True, delay=seconds))

    def clear_faults(self) -> None:
        """Forget the faults that no request has met yet."""
        self._faults.clear()

    # The server

    async def _respond(self, request: web.Request) -> web.Response:
        arrived_at = time.monotonic()
        name = request.query.get("Action", "")
        self._seen[name].accepts(arrived_at)
        fields: Mapping[str, Any] = {}
        fault = NO_FAULT
        try:
            handler = self._admit(request, name, arrived_at)
            given = await _read_parameters(request)
            fault = self._faults.next()
            code, fields = _run(handler, given) if fault.acts else (fault.code, {})
        except ApiError as error:
            code = error.code or _code_of(type(error))
        self.arrivals.append(Arrival(name, arrived_at, code))
        if seconds := self.delay + fault.delay:
            with contextlib.suppress(TimeoutError):  # cut short when the sandbox closes
                await asyncio.wait_for(self._closing.wait(), seconds)
        if fault.drop and request.transport is not None:
            request.transport.abort()
        return self._response(code, fields, fault)

    def _admit(self, request: web.Request, name: str, now: float) -> Handler:
        if not name:
            raise refusal(100000006)
        if name not in self._handlers:
            raise refusal(100000007)
        if code := self._gate.check(request.query, self.app_id, self.server_secret, self._now()):
            raise refusal(code)
        if not self._limits[name].accepts(now):
            raise refusal(7)
        return self._handlers[name]

    def _response(self, code: int, fields: Mapping[str, Any], fault: Fault) -> web.Response:
        headers = {"Date": formatdate(self._now(), usegmt=True)}
        if fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
        message = RULES[code].meaning if code in RULES else "unknown" if code else "success"
        content = {"Code": code, "Message": message, "RequestId": str(secrets.randbelow(10**18)), **fields}
        body = json.dumps(content).encode() if fault.body is None else fault.body
        return web.Response(status=fault.status, body=body, headers=headers, content_type="application/json")

    def _now(self) -> float:
        return time.time() + self.clock_skew


def _code_of(error: Any) -> int:
    if code := code_of(error):
        return code
    raise InvalidArgumentError(
        f"no return code raises {show_value(error)}: give an ApiError class, or use answer_next or drop_next"
    )


def _run(handler: Handler, given: Parameters) -> tuple[int, Mapping[str, Any]]:
    outcome = handler(given)
    if isinstance(outcome, int):
        return outcome, {}
    return SUCCESS, outcome or {}


async def _read_parameters(request: web.Request) -> Parameters:
    if request.method == "GET":
        return _read_query(request)
    try:
        content = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise refusal(100000012) from None
    if not isinstance(content, dict):
        raise refusal(100000012)
    return content


def _read_query(request: web.Request) -> Parameters:
    """Read the parameters of a GET: ``UserId[]=a&UserId[]=b`` is a list."""
    given: Parameters = {}
    for name in request.query:
        if name not in PUBLIC_PARAMETERS:
            values = request.query.getall(name)
            given[name.removesuffix("[]")] = values if name.endswith("[]") else values[0]
    return given
