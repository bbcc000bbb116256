"""A ZIM server on loopback for tests and trials: it checks every request, keeps state, and fails on demand.

It verifies requests with code of its own, never the client's, so that the two check each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Final, NamedTuple, Self

from aiohttp import web

from .._codes import RULES
from ..actions import ACTIONS, Action, ClearPeerMessage, ConvType, DeleteConv
from ..errors import InvalidArgumentError
from ._counting import COUNTERS, Counting, SlidingSecond

MAX_CLOCK_DIFFERENCE: Final = 600
MAX_ID_BYTES: Final = 32
MAX_RECORDED: Final = 1_000_000
_PARAMETERS: Final = ("Action", "AppId", "SignatureNonce", "Timestamp", "SignatureVersion", "Signature")
_MALFORMED: Final = {
    "AppId": (r"[1-9][0-9]{0,9}", 100000001),
    "SignatureNonce": (r"[0-9a-fA-F]{16}", 100000002),
    "Timestamp": (r"[0-9]{1,12}", 100000003),
    "SignatureVersion": (r"2\.0", 100000008),
    "Signature": (r"[0-9a-f]{32}", 100000009),
}
_BAD_PARAMETER: Final = {ClearPeerMessage: 2, DeleteConv: 660000002}


class Arrival(NamedTuple):
    """A request as the server met it: action name, monotonic seconds, the code it was answered with."""

    action: str
    at: float
    code: int


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is to happen to the next ``times`` requests that would otherwise be done."""

    times: int
    code: int = 0
    status: int = 200
    body: bytes | None = None
    retry_after: str | None = None
    drop: bool = False
    acts: bool = False
    delay: float = 0.0


class _Refusal(Exception):  # noqa: N818, it is a control flow, not an error
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Sandbox:
    """Runs while entered: ``async with Sandbox() as box``, then use ``box.base_url`` and the credentials.

    ``qps`` arrivals of an action are accepted in any sliding second, and code 7 answered beyond; ``None``
    counts without refusing, and ``counting`` names other ways to count (see the module ``counting``).
    Unknown users and conversations count as done unless ``strict``. ``clock_skew`` (seconds that its clock
    is ahead) and ``delay`` (seconds before each answer) may be set at any time.
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
        # An AppId of its own for each sandbox keeps their quotas apart.
        self.app_id = app_id or 1 + secrets.randbelow(2**32 - 1)
        self.server_secret = server_secret or secrets.token_hex(16)
        self.base_url = ""
        self.clock_skew = 0.0
        self.delay = 0.0
        self.arrivals: deque[Arrival] = deque(maxlen=MAX_RECORDED)
        self._port = port
        self._strict = strict
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self._faults: deque[_Fault] = deque()
        self._nonces: dict[str, float] = {}
        self._seen = {name: SlidingSecond(MAX_RECORDED) for name in ACTIONS}
        self._limits = {name: COUNTERS[counting](MAX_RECORDED if qps is None else qps) for name in ACTIONS}
        self._views: dict[str, dict[tuple[str, ConvType], list[str]]] = {}

    async def __aenter__(self) -> Self:
        self._closing = asyncio.Event()
        app = web.Application()
        app.router.add_post("/", self._handle)
        # No access log: its lines hold the signed URL.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
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
        self._view(from_user_id, to_user_id, ConvType.PEER).append(text)
        self._view(to_user_id, from_user_id, ConvType.PEER).append(text)

    def add_group(self, group_id: str, members: Iterable[str], texts: Iterable[str] = ("hello",)) -> None:
        """Put a group conversation with messages in the list of each member."""
        for member in members:
            self._view(member, group_id, ConvType.GROUP).extend(texts)

    def messages(self, user_id: str, conv_id: str, conv_type: ConvType = ConvType.PEER) -> list[str] | None:
        """Return what a user sees of a conversation, or None if it isn't in the user's list."""
        view = self._views.get(user_id, {}).get((conv_id, conv_type))
        return None if view is None else list(view)

    # What arrived

    @property
    def refused(self) -> int:
        """Requests refused for their rate, of those recorded."""
        return sum(arrival.code == 7 for arrival in self.arrivals)

    def busiest_second(self, action: str) -> int:
        """Return the largest number of arrivals of an action in any one second."""
        return self._seen[action].most

    # Faults, each for the next `times` requests that are otherwise in order

    def fail_next(self, *, code: int, times: int = 1) -> None:
        """Answer with a return code, without acting."""
        self._add_fault(_Fault(times, code=code))

    def answer_next(
        self, *, status: int = 200, body: bytes | None = None, retry_after: str | None = None, times: int = 1
    ) -> None:
        """Answer with an HTTP status, a Retry-After header, or a body of any bytes, without acting."""
        self._add_fault(_Fault(times, status=status, body=body, retry_after=retry_after))

    def drop_next(self, *, after_acting: bool = False, times: int = 1) -> None:
        """Cut the connection instead of answering, before or after acting."""
        self._add_fault(_Fault(times, drop=True, acts=after_acting))

    def delay_next(self, seconds: float, *, times: int = 1) -> None:
        """Act, but answer later."""
        self._add_fault(_Fault(times, acts=True, delay=seconds))

    def _add_fault(self, fault: _Fault) -> None:
        if fault.times < 1:
            raise InvalidArgumentError(f"times must be at least 1, not {fault.times!r}")
        self._faults.append(fault)

    # The server

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        arrived_at = time.monotonic()
        name = request.query.get("Action", "")
        fault: _Fault | None = None
        try:
            if name in ACTIONS:
                self._seen[name].accepts(arrived_at)
            self._check_public_parameters(request)
            self._check_rate(name, arrived_at)
            action = _parse_action(ACTIONS[name], await request.read())
            fault = self._next_fault()
            if fault is None or fault.acts:
                self._act(action)
            code = fault.code if fault else 0
        except _Refusal as refusal:
            code = refusal.code
        self.arrivals.append(Arrival(name, arrived_at, code))
        if seconds := self.delay + (fault.delay if fault else 0.0):
            with contextlib.suppress(TimeoutError):  # cut short when the sandbox closes
                await asyncio.wait_for(self._closing.wait(), seconds)
        if fault is not None and fault.drop and request.transport is not None:
            request.transport.abort()
        return self._answer(code, fault)

    def _answer(self, code: int, fault: _Fault | None) -> web.Response:
        headers = {"Date": formatdate(self._now(), usegmt=True)}
        if fault is not None and fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
        message = RULES[code].meaning if code in RULES else "success" if code == 0 else "unknown"
        content = {"Code": code, "Message": message, "RequestId": str(secrets.randbelow(10**18))}
        body = json.dumps(content).encode() if fault is None or fault.body is None else fault.body
        status = fault.status if fault else 200
        return web.Response(status=status, body=body, headers=headers, content_type="application/json")

    def _check_public_parameters(self, request: web.Request) -> None:
        given = {name: request.query.get(name, "") for name in _PARAMETERS}
        if not given["Action"]:
            raise _Refusal(100000006)
        if given["Action"] not in ACTIONS:
            raise _Refusal(100000007)
        for name, (pattern, code) in _MALFORMED.items():
            if len(request.query.getall(name, ())) != 1 or not re.fullmatch(pattern, given[name]):
                raise _Refusal(code)
        if given["AppId"] != str(self.app_id):
            raise _Refusal(100000011)
        if abs(int(given["Timestamp"]) - self._now()) > MAX_CLOCK_DIFFERENCE:
            raise _Refusal(100000004)
        text = given["AppId"] + given["SignatureNonce"] + self.server_secret + given["Timestamp"]
        signature = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        if given["Signature"] != signature or given["SignatureNonce"] in self._nonces:
            raise _Refusal(100000005)
        self._remember_nonce(given["SignatureNonce"])

    def _remember_nonce(self, nonce: str) -> None:
        now = time.monotonic()
        self._nonces[nonce] = now
        oldest = next(iter(self._nonces))
        if now - self._nonces[oldest] > 2 * MAX_CLOCK_DIFFERENCE:  # its timestamp is too old by now
            del self._nonces[oldest]

    def _check_rate(self, name: str, now: float) -> None:
        if not self._limits[name].accepts(now):
            raise _Refusal(7)

    def _next_fault(self) -> _Fault | None:
        if not self._faults:
            return None
        fault = self._faults.popleft()
        if fault.times > 1:
            self._faults.appendleft(replace(fault, times=fault.times - 1))
        return fault

    def _act(self, action: ClearPeerMessage | DeleteConv) -> None:
        view = self._views.get(action.from_user_id)
        if isinstance(action, ClearPeerMessage):
            conversation = (action.to_user_id, ConvType.PEER)
        else:
            conversation = (action.conv_id, action.conv_type)
        if self._strict and view is None:
            raise _Refusal(660200001)
        if view is None or conversation not in view:
            if self._strict:
                raise _Refusal(660800002)
        elif isinstance(action, ClearPeerMessage):
            view[conversation].clear()
        else:
            del view[conversation]

    def _view(self, user_id: str, conv_id: str, conv_type: ConvType) -> list[str]:
        return self._views.setdefault(user_id, {}).setdefault((conv_id, conv_type), [])

    def _now(self) -> float:
        return time.time() + self.clock_skew


def _parse_action(kind: type[Action], body: bytes) -> ClearPeerMessage | DeleteConv:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise _Refusal(100000012) from None
    if not isinstance(content, dict):
        raise _Refusal(100000012)
    for name in ("FromUserId", "ToUserId", "ConvId"):
        value = content.get(name)
        if isinstance(value, str) and len(value.encode(errors="replace")) > MAX_ID_BYTES:
            raise _Refusal(660000012)
    try:
        if kind is ClearPeerMessage:
            return ClearPeerMessage(content["FromUserId"], content["ToUserId"])
        return DeleteConv(content["FromUserId"], content["ConvId"], content["ConvType"])
    except (KeyError, InvalidArgumentError):
        raise _Refusal(_BAD_PARAMETER[kind]) from None
