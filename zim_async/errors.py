"""Every error the library raises; each one says what to do next."""

from __future__ import annotations

from typing import ClassVar


class ZimError(Exception):
    """Root of every error this library raises.

    Attributes that don't apply to an error are ``None``; ``attempts`` counts the requests sent
    for the failed call. Every error pickles, and none holds the secret or a signed URL.
    """

    advice: ClassVar[str] = ""

    def __init__(
        self,
        text: str,
        *,
        action: str | None = None,
        code: int | None = None,
        message: str | None = None,
        request_id: str | None = None,
    ) -> None:
        # Only the text goes to `args`: pickle then restores the rest from `__dict__`.
        super().__init__(text)
        self.action = action
        self.code = code
        self.message = message
        self.request_id = request_id
        self.attempts = 0

    def __str__(self) -> str:
        text = super().__str__()
        if self.action is None:
            return text
        after = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{self.action} failed{after}: {text}"


class ConfigError(ZimError):
    """The client can't be built from what it was given."""


class InvalidArgumentError(ZimError, ValueError):
    """An argument was refused before anything was sent."""


class ClosedError(ZimError):
    """What the call needs is closed, or in use on another event loop; this attempt was not sent."""


class QueueTimeoutError(ZimError):
    """The call was given up before its turn came; nothing was sent.

    ``estimated_wait`` is the wait in seconds that was to be expected: what a web handler answers as
    503 with Retry-After.
    """

    def __init__(self, text: str, *, estimated_wait: float = 0.0, action: str | None = None) -> None:
        super().__init__(text, action=action)
        self.estimated_wait = estimated_wait


class TransportError(ZimError):
    """No usable answer came: no connection, a reset, a time-out, or HTTP 5xx or 429.

    ``maybe_applied`` tells whether the server may have acted all the same; both actions are
    idempotent, so repeating them is safe either way. ``status`` is the HTTP status if there was
    one, ``retry_after`` the wait in seconds that the server asked for if it did.
    """

    def __init__(
        self,
        text: str,
        *,
        maybe_applied: bool = True,
        status: int | None = None,
        retry_after: float | None = None,
        action: str | None = None,
    ) -> None:
        super().__init__(text, action=action)
        self.maybe_applied = maybe_applied
        self.status = status
        self.retry_after = retry_after


class ProtocolError(ZimError):
    """An answer came, but not the documented one; whether the server acted is unknown."""


class JournalError(ZimError):
    """The journal of a bulk job can't be used, or no longer; what it doesn't say was done counts as not done."""


class ApiError(ZimError):
    """The server refused the call with a return code."""

    advice = "Look the code up in the vendor's list of return codes, or ask their support with the request ID."


class AuthenticationError(ApiError):
    """The AppId, the secret or the signature was refused."""

    advice = "Check the AppId and its server secret; a stray space or newline in the secret is enough."


class ClockSkewError(ApiError):
    """The signature's time was refused; ``difference`` is server minus local clock in seconds."""

    advice = "Set this machine's clock (NTP); the server accepts ten minutes of difference."

    def __init__(
        self,
        text: str,
        *,
        difference: float | None = None,
        action: str | None = None,
        code: int | None = None,
        message: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(text, action=action, code=code, message=message, request_id=request_id)
        self.difference = difference


class InvalidParameterError(ApiError):
    """The server refused a parameter of the action."""

    advice = "Check the IDs that were sent: at most 32 bytes each, and of the kind the action asks for."


class NotFoundError(ApiError):
    """The user, group or conversation doesn't exist (any more)."""

    advice = "A clean-up may count this as done; otherwise check the ID, and that the user ever logged in."


class NotPermittedError(ApiError):
    """The application or the user lacks the right."""

    advice = "Have the service or the right switched on in the vendor's console."


class RateLimitedError(ApiError):
    """The server counted too many calls of this action, ours and other programs' together."""

    advice = "Find what else uses this AppId's quota, or lower qps."


class ServerBusyError(ApiError):
    """The server had a passing fault."""

    advice = "Try again later; the call may safely be repeated."
