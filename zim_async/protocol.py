"""Sign, encode and decode: bytes in, values out, no I/O.

Failures are returned as values, not raised: the frame that held the signed URL is gone by the
time ``ZimClient.send`` raises them, so no traceback can show it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from .actions import Action
from .codes import RULES, SUCCESS, UNDOCUMENTED
from .errors import ApiError, ConfigError, ProtocolError, TransportError

MAX_BODY_BYTES: Final = 64 * 1024
MAX_SHOWN_CHARACTERS: Final = 200
_SIGNATURE: Final = re.compile("(?:Signature=)?[0-9A-Fa-f]{32}")
_encode_json: Final[Callable[[object], str]] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Credentials:
    """An application's ID and server secret; the secret never shows. Raises ``ConfigError``."""

    app_id: int
    server_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if type(self.app_id) is not int or not 1 <= self.app_id < 2**32:
            raise ConfigError("app_id must be an int from 1 to 4294967295, the AppId shown in the vendor's console")
        secret = self.server_secret
        if not isinstance(secret, str) or not secret:
            raise ConfigError(f"server_secret must be a non-empty str, not {type(secret).__name__}")
        if any("\ud800" <= character <= "\udfff" for character in secret):
            raise ConfigError("server_secret holds a lone surrogate: it was read in the wrong encoding")


class Answer(NamedTuple):
    """What came back over HTTP: status, at most ``MAX_BODY_BYTES`` + 1 bytes of body, two headers."""

    status: int
    body: bytes
    date: str | None = None
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The server's answer to a call that was done; ``action`` is its name, ``attempts`` the requests it took."""

    code: int
    message: str
    request_id: str
    action: str
    attempts: int


def sign(credentials: Credentials, nonce: str, timestamp: int) -> str:
    """Return the signature, version 2.0: the MD5 of AppId, nonce, secret and Unix time, in hex."""
    text = f"{credentials.app_id}{nonce}{credentials.server_secret}{timestamp}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def signed_query(credentials: Credentials, action: Action, nonce: str, timestamp: int) -> str:
    """Return the six public parameters as a query string, good for one request."""
    return (
        f"Action={action.name}&AppId={credentials.app_id}&SignatureNonce={nonce}&Timestamp={timestamp}"
        f"&Signature={sign(credentials, nonce, timestamp)}&SignatureVersion=2.0"
    )


def encode(action: Action) -> bytes:
    """Return the request body."""
    return _encode_json(action.body()).encode()


def decode(action: str, answer: Answer, attempts: int = 1) -> Response | ApiError | ProtocolError | TransportError:
    """Return the response that an answer holds, or the error that it amounts to."""
    status = answer.status
    if status >= 500 or status == 429:
        return TransportError(
            f"HTTP {status} from the server. Try again later; repeating is safe",
            retry_after=parse_retry_after(answer.retry_after),
            action=action,
        )
    if len(answer.body) > MAX_BODY_BYTES:
        return _unexpected(action, status, f"a body of more than {MAX_BODY_BYTES} bytes")
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return _unexpected(action, status, f"not JSON: {_shown(answer.body.decode(errors='replace'))}")
    code = content.get("Code") if isinstance(content, dict) else None
    if type(code) is not int:  # by type: False, 0.0 and their like equal 0
        return _unexpected(action, status, f"no integer Code: {_shown(answer.body.decode(errors='replace'))}")
    message, request_id = _text(content.get("Message")), _text(content.get("RequestId"))
    if code != SUCCESS:
        return _refusal(action, code, _shown(message), _escaped(request_id))
    if status != 200:
        return _unexpected(action, status, "Code 0, which is no success under that status")
    return Response(code, message, request_id, action, attempts)


def parse_date(value: str | None) -> float | None:
    """Return an HTTP date as Unix seconds, or None where there is none."""
    try:
        moment = parsedate_to_datetime(value or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None) -> float | None:
    """Return the wait that a Retry-After header asks for in seconds; a date or nonsense gives None."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _refusal(action: str, code: int, message: str, request_id: str) -> ApiError:
    rule = RULES.get(code, UNDOCUMENTED)
    return rule.error(
        f'code {code}, {rule.meaning} (server: "{message}"; request ID: {request_id or "none"}). {rule.what_to_do}',
        action=action,
        code=code,
        message=message,
        request_id=request_id,
    )


def _unexpected(action: str, status: int, what: str) -> ProtocolError:
    return ProtocolError(
        f"HTTP {status} with {what}. Check that the base URL is the ZIM server's and no proxy answers for it",
        action=action,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _shown(text: str) -> str:
    """Make a server's text fit to show: it may echo the signed request, forge a log line, or flood one."""
    return _escaped(_SIGNATURE.sub("[signature]", text))


def _escaped(text: str) -> str:
    shown = text[:MAX_SHOWN_CHARACTERS]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(text) <= MAX_SHOWN_CHARACTERS else shown + "..."
