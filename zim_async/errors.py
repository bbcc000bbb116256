"""Every error the library raises. Each one says what to do next."""

from __future__ import annotations

from typing import ClassVar, Final


class ZimError(Exception):
    """Root of every error this library raises. All of them pickle, and none holds the secret or a signed URL.

    Attributes:
        action: The action's name, or None where there was no call.
        code: The server's return code, or None without one.
        message: The server's message, or None without one.
        request_id: The server's ID for the request, or None without one.
        attempts: The requests that were sent for the failed call.
        maybe_applied: Whether the server may have acted all the same.
        idempotent: Whether the action may be sent again although the server may have acted, or None if not known.
    """

    advice: ClassVar[str] = ""

    action: str | None
    code: int | None
    message: str | None
    request_id: str | None
    attempts: int
    maybe_applied: bool = False
    idempotent: bool | None

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
        self.idempotent = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.maybe_applied:
            text = f"{text.rstrip('.')}. The server may have acted{_ADVICE_ON_REPEATING[self.idempotent]}"
        if self.action is None:
            return text
        after = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{self.action} failed{after}: {text}"


_ADVICE_ON_REPEATING: Final = {
    True: "; repeating is safe",
    False: "; look whether it did before you repeat the call",
    None: "",
}


class ConfigError(ZimError):
    """The client can't be built from what it was given."""


class InvalidArgumentError(ZimError, ValueError):
    """An argument was refused before anything was sent."""


class ClosedError(ZimError):
    """What the call needs is closed, or in use on another event loop. This attempt was not sent."""


class QueueTimeoutError(ZimError):
    """The call was abandoned before its turn came. Nothing was sent.

    Attributes:
        estimated_wait: The wait in seconds that was to be expected: Retry-After for a web handler's 503.
    """

    def __init__(self, text: str, *, estimated_wait: float = 0.0, action: str | None = None) -> None:
        super().__init__(text, action=action)
        self.estimated_wait = estimated_wait


class QuotaUnavailableError(ZimError):
    """The quota that processes share in Redis can't be used. Nothing was sent."""


class TransportError(ZimError):
    """No usable response came: no connection, a reset, a timeout, or HTTP 5xx or 429.

    Attributes:
        maybe_applied: Whether the server may have acted all the same.
        status: The HTTP status, or None without one.
        retry_after: The wait in seconds that the server asked for, or None if it didn't.
        untrusted: Whether the server's certificate couldn't be verified, which no repeating mends.
    """

    def __init__(
        self,
        text: str,
        *,
        maybe_applied: bool = True,
        status: int | None = None,
        retry_after: float | None = None,
        untrusted: bool = False,
        action: str | None = None,
    ) -> None:
        super().__init__(text, action=action)
        self.untrusted = untrusted
        self.maybe_applied = maybe_applied
        self.status = status
        self.retry_after = retry_after


class ProtocolError(ZimError):
    """A response came, but not the documented one.

    Attributes:
        status: The HTTP status, or None without one.
    """

    maybe_applied = True

    def __init__(self, text: str, *, status: int | None = None, action: str | None = None) -> None:
        super().__init__(text, action=action)
        self.status = status


class JournalError(ZimError):
    """The journal of a bulk job can't be used, or no longer. What it doesn't say was done counts as not done."""


class ApiError(ZimError):
    """The server refused the call with a return code."""

    advice = "Look the code up in the vendor's list of return codes, or ask their support with the request ID."


class AuthenticationError(ApiError):
    """The AppId, the secret or the signature was refused."""

    advice = "Check the AppId and its server secret; a stray space or newline in the secret is enough."


class ClockSkewError(ApiError):
    """The signature's time was refused.

    Attributes:
        difference: Server minus local clock in seconds, or None while that isn't known.
    """

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

    advice = (
        "Check the parameters that were sent. IDs have at most 32 bytes each, and are of the kind the action asks for."
    )


class NotFoundError(ApiError):
    """The server found no such user, group or conversation.

    Of a user, some codes don't say which: unknown, logged out, or registered and never logged in.
    """

    advice = "A clean-up may count this as done. Otherwise check the ID."


class NotPermittedError(ApiError):
    """The application or the user lacks the right."""

    advice = "Have the service or the right switched on in the vendor's console."


class RateLimitedError(ApiError):
    """The server counted too many calls of this action, ours and other programs' together."""

    advice = "Find what else uses this AppId's quota, or lower qps."


class ServerBusyError(ApiError):
    """The server had a transient fault."""

    advice = "Try again later."
