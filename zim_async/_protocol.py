"""Sign and decode: bytes in, values out, no I/O.

Failures are returned as values, not raised (``session`` says why).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from ._codes import RULES, SUCCESS, TOO_MANY_REQUESTS, UNDOCUMENTED
from ._encoding import MAX_REQUEST_BYTES, encode_body, encode_query
from ._text import escape_text, show_text, show_value
from .actions import (
    PACKAGE_ACTIONS,
    Action,
    is_action_name,
)
from .errors import ApiError, ConfigError, InvalidArgumentError, ProtocolError, TransportError

_QUERY: Final = re.compile("(Signature(?:=|%3[Dd]))[0-9A-Fa-f]{32}")
_parse_json: Final[Callable[[str], tuple[Any, int]]] = json.JSONDecoder().raw_decode


class Credentials:
    """An application's ID and server secret, which never shows. Raises ``ConfigError``."""

    __slots__ = ("app_id", "server_secret")

    def __init__(self, app_id: int, server_secret: str) -> None:
        problem = _problem_with(app_id, server_secret)
        self.app_id, self.server_secret = app_id, server_secret
        del server_secret  # error trackers show the locals of a failed frame
        if problem:
            raise ConfigError(problem)

    def __repr__(self) -> str:
        return f"Credentials(app_id={self.app_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ZimClient can't be pickled or copied: it holds a secret. Make one in each process")


@dataclass(frozen=True, slots=True)
class Request:
    """One call of any action, ready to be signed: what ``ZimClient.call`` and users' own actions come down to.

    Args:
        name: The action's name.
        content: The request body, or None for a GET.
        parameters: What a GET adds to the query, encoded.
        idempotent: Whether it may be sent again when the outcome is unknown.
        max_response_bytes: A longer response body is refused.
    """

    name: str
    content: bytes | None
    parameters: str = ""
    idempotent: bool = False
    max_response_bytes: int = Action.max_response_bytes

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "GET" if self.content is None else "POST"

    def body(self) -> bytes | None:
        """Return the request body."""
        return self.content


Sendable: TypeAlias = Action | Request


def ready_to_send(action: Action) -> Sendable:
    """Return what to send for an action, after a look at the body of one that isn't the package's own.

    Raises:
        InvalidArgumentError: Its body isn't bytes, or too long, or a field can't be written as JSON.
    """
    if type(action) in PACKAGE_ACTIONS:  # these can't fail, and their bodies needn't wait in the queue
        return action
    body = action.body()
    if not isinstance(body, bytes) or len(body) > MAX_REQUEST_BYTES:
        raise InvalidArgumentError(f"{type(action).__name__}.body must return at most {MAX_REQUEST_BYTES} bytes")
    return Request(action.name, body, idempotent=action.idempotent, max_response_bytes=action.max_response_bytes)


def to_request(name: object, body: object, method: object, idempotent: object) -> Request:
    """Return the request of an action that is called by its name.

    Raises:
        InvalidArgumentError: The vendor can't have given that name, or the body can't be written.
    """
    if not isinstance(name, str) or not is_action_name(name):
        raise InvalidArgumentError(f"an action's name has ASCII letters and digits only: {show_value(name)}")
    if method not in ("POST", "GET"):
        raise InvalidArgumentError(f"method must be 'POST' or 'GET', not {show_value(method)}")
    if not isinstance(idempotent, bool):
        raise InvalidArgumentError(f"idempotent must be True or False, not {show_value(idempotent)}")
    if body is not None and not isinstance(body, Mapping):
        raise InvalidArgumentError(f"body must be a mapping or None, not {show_value(body)}")
    if method == "GET":
        return Request(name, None, encode_query(body or {}), idempotent=idempotent)
    return Request(name, encode_body(body or {}), idempotent=idempotent)


class RawResponse(NamedTuple):
    """What came back over HTTP.

    Args:
        status: The HTTP status.
        body: The start of the body, to one byte beyond what the action allows.
        headers: By name, in any case.
        min_round_trip: What a round trip to that host takes at least, in seconds. 0 while that isn't known.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    min_round_trip: float = 0.0


_NO_DATA: Final[Mapping[str, Any]] = {}


class Response(NamedTuple):
    """The server's response to a call that was done.

    Args:
        code: The return code, 0.
        message: The server's message.
        request_id: The server's ID for the request. Its support asks for it.
        action: The action's name.
        attempts: The requests that it took.
        data: Everything else that the response holds, as the vendor spells it. Integers of any size are exact.

    Example:
        zim.clear_peer_message.return_value = Response(action="ClearPeerMessage")  # a mock's, in a test of your own
    """

    code: int = SUCCESS
    message: str = "success"
    request_id: str = ""
    action: str = ""
    attempts: int = 1
    data: Mapping[str, Any] = _NO_DATA


def sign(credentials: Credentials, nonce: str, timestamp: int) -> str:
    """Return the signature, version 2.0: the MD5 of AppId, nonce, secret and Unix time, in hex."""
    text = f"{credentials.app_id}{nonce}{credentials.server_secret}{timestamp}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def signed_query(credentials: Credentials, action: str, nonce: str, timestamp: int, parameters: str = "") -> str:
    """Return the query string of one request: the six public parameters, and those of a GET, encoded already."""
    return (
        f"Action={action}&AppId={credentials.app_id}&SignatureNonce={nonce}&Timestamp={timestamp}"
        f"&Signature={sign(credentials, nonce, timestamp)}&SignatureVersion=2.0{parameters and '&' + parameters}"
    )


def decode(
    action: Sendable, raw: RawResponse, attempts: int = 1
) -> Response | ApiError | ProtocolError | TransportError:
    """Return the response that came back, or the error that it amounts to."""
    status = raw.status
    if status >= 500 or status == TOO_MANY_REQUESTS:
        return TransportError(
            f"HTTP {status} from the server. Try again later",
            maybe_applied=status != TOO_MANY_REQUESTS,
            status=status,
            retry_after=parse_retry_after(raw.headers.get("Retry-After"), raw.headers.get("Date")),
        )
    if len(raw.body) > action.max_response_bytes:
        return _unexpected(status, f"a body of more than {action.max_response_bytes} bytes")
    try:
        # Decoded and stripped here: json would guess at the encoding, and search for white space by expressions.
        text = raw.body.decode().strip("\ufeff \t\r\n")
        content, end = _parse_json(text)
        if end != len(text):
            content = None
    except (ValueError, RecursionError):
        return _unexpected(status, f"not JSON: {show_text(raw.body.decode(errors='replace'))}")
    code = content.pop("Code", None) if isinstance(content, dict) else None
    # By type: False, 0.0 and their like equal 0. A number that no server counts to would only flood the log.
    if type(code) is not int or code.bit_length() > 63:
        return _unexpected(status, f"no integer Code: {show_text(raw.body.decode(errors='replace'))}")
    message, request_id = content.pop("Message", ""), content.pop("RequestId", "")
    if not (isinstance(message, str) and isinstance(request_id, str)):
        message, request_id = _text(message), _text(request_id)
    if code != SUCCESS:
        return _refusal(code, show_text(message), escape_text(_QUERY.sub(r"\1[signature]", request_id)))
    if status != 200:
        return _unexpected(status, "Code 0, which is no success under that status")
    return Response(code, message, request_id, action.name, attempts, content)


def parse_date(value: str | None) -> float | None:
    """Return an HTTP date as Unix seconds, or None where there is none."""
    try:
        moment = parsedate_to_datetime(value or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the wait in seconds that a Retry-After header asks for, by number or by the server's own clock."""
    try:
        seconds = float(value or "")
    except ValueError:
        until, now = parse_date(value), parse_date(date)
        if until is None or now is None:
            return None
        seconds = until - now
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _problem_with(app_id: object, server_secret: object) -> str | None:
    if type(app_id) is not int or not 1 <= app_id < 2**32:
        return "app_id must be an int from 1 to 4294967295, the AppId shown in the vendor's console"
    if not isinstance(server_secret, str) or not server_secret:
        return f"server_secret must be a non-empty str, not {type(server_secret).__name__}"
    if any("\ud800" <= character <= "\udfff" for character in server_secret):
        return "server_secret holds a lone surrogate: it was read in the wrong encoding"
    return None


def _refusal(code: int, message: str, request_id: str) -> ApiError:
    rule = RULES.get(code, UNDOCUMENTED)
    error = rule.error(
        f'code {code}, {rule.meaning} (server: "{message}"; request ID: {request_id or "none"}). {rule.what_to_do}',
        code=code,
        message=message,
        request_id=request_id,
    )
    error.maybe_applied = rule.maybe_applied
    return error


def _unexpected(status: int, what: str) -> ProtocolError:
    return ProtocolError(
        f"HTTP {status} with {what}. Check that the base URL is the ZIM server's and no proxy answers for it",
        status=status,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
