"""The vendor's return codes: what each means, what a client does about it, and whether the call can have been done.

Source: the vendor's "Return codes" page and the pages of the actions (2026-08 edition).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

from .errors import (
    ApiError,
    AuthenticationError,
    ClockSkewError,
    InvalidParameterError,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    RateLimitedError,
    ServerBusyError,
    TransportError,
    ZimError,
)

SUCCESS: Final = 0
TOO_MANY_REQUESTS: Final = 429  # of HTTP, from a gateway before the server


class Verdict(Enum):
    """What a client does about an error."""

    FAIL = "raise it: sending the same again gives the same"
    STOP = "raise it: any call of this application would be refused"
    RETRY = "send again, backing off"
    SLOW_DOWN = "send again, with the whole action slowed down"
    FIX_CLOCK = "sign anew by the server's clock, if the response shows that the clocks differ"


class Rule(NamedTuple):
    """One row of the table.

    Args:
        error: The class of error that the code raises.
        verdict: What a client does about it.
        meaning: What the code means, in a few words.
        advice: What its user does about it. Empty leaves the word to the error class.
        maybe_applied: Whether the server may have acted all the same.
    """

    error: type[ApiError]
    verdict: Verdict
    meaning: str
    advice: str = ""
    maybe_applied: bool = False

    @property
    def what_to_do(self) -> str:
        """The advice for users."""
        return self.advice or self.error.advice


FAIL, STOP, RETRY, SLOW_DOWN, FIX_CLOCK = Verdict
_WRONG_APP: Final = "Check the AppId: the server has no configuration or no secret for it."
_DEFECT: Final = "The request itself was damaged: look for a proxy that rewrites it, or report a bug."
_WRONG_HOST: Final = "Check the region or base URL."
_WRONG_NAME: Final = "Check the spelling of the action's name, then the region or base URL."
_LONG_ID: Final = "Give IDs of at most 32 bytes in UTF-8; characters outside ASCII take two to four."
_MANY_USERS: Final = "Split the request: the action's page says how many users it takes."
_WHICH_USER: Final = (
    "The code doesn't say which: the user may exist and be logged out, or be registered and never have logged in."
    " Find out before you count the call as done."
)
_ABSENT_USER: Final = "user unknown, logged out, or never logged in"

RULES: Final[Mapping[int, Rule]] = MappingProxyType(
    {
        1: Rule(ServerBusyError, RETRY, "server busy"),
        2: Rule(InvalidParameterError, FAIL, "parameter error"),
        3: Rule(AuthenticationError, STOP, "authentication failed"),
        7: Rule(RateLimitedError, SLOW_DOWN, "more requests a second than allowed"),
        51102: Rule(NotFoundError, FAIL, _ABSENT_USER, _WHICH_USER),
        105001: Rule(ServerBusyError, RETRY, "database request failed", maybe_applied=True),
        100000000: Rule(ApiError, STOP, "wrong host", _WRONG_HOST),
        100000001: Rule(AuthenticationError, STOP, "AppId malformed", _WRONG_APP),
        100000002: Rule(ApiError, STOP, "Timestamp missing", _DEFECT),
        100000003: Rule(ApiError, STOP, "Timestamp malformed", _DEFECT),
        100000004: Rule(ClockSkewError, FIX_CLOCK, "signature expired"),
        100000005: Rule(AuthenticationError, FIX_CLOCK, "signature wrong"),
        100000006: Rule(ApiError, STOP, "action missing", _DEFECT),
        100000007: Rule(ApiError, STOP, "action unknown", _WRONG_NAME),
        100000008: Rule(ApiError, STOP, "SignatureNonce missing", _DEFECT),
        100000009: Rule(ApiError, STOP, "Signature missing", _DEFECT),
        100000010: Rule(AuthenticationError, STOP, "no secret found for the AppId", _WRONG_APP),
        100000011: Rule(AuthenticationError, STOP, "no configuration found for the AppId", _WRONG_APP),
        100000012: Rule(ServerBusyError, RETRY, "gateway could not read the body"),
        100000013: Rule(ApiError, STOP, "SignatureVersion missing", _DEFECT),
        100000014: Rule(ApiError, STOP, "SignatureVersion not supported", _DEFECT),
        100000015: Rule(ServerBusyError, RETRY, "gateway internal error"),
        100000016: Rule(NotPermittedError, STOP, "app not set up for production"),
        100000017: Rule(NotPermittedError, STOP, "service not enabled"),
        660000001: Rule(ServerBusyError, RETRY, "business error in the server", maybe_applied=True),
        660000002: Rule(InvalidParameterError, FAIL, "parameter error"),
        660000003: Rule(ServerBusyError, RETRY, "server processing exception", maybe_applied=True),
        660000011: Rule(InvalidParameterError, FAIL, "too many users in one request", _MANY_USERS),
        660000012: Rule(InvalidParameterError, FAIL, "user ID longer than 32 bytes", _LONG_ID),
        660000028: Rule(NotPermittedError, STOP, "feature not in the plan"),
        660200001: Rule(NotFoundError, FAIL, _ABSENT_USER, _WHICH_USER),
        660300005: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of the AppId"),
        660300006: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of the group or room"),
        660500002: Rule(NotFoundError, FAIL, _ABSENT_USER, _WHICH_USER),
        660500003: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of this action"),
        660600001: Rule(NotFoundError, FAIL, "group unknown"),
        660600004: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of this action"),
        660600005: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of this action"),
        660600007: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of this action"),
        660600009: Rule(NotFoundError, FAIL, "data of the group not found"),
        660600010: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of this action"),
        660600015: Rule(ServerBusyError, RETRY, "database operation failed", maybe_applied=True),
        660600024: Rule(NotFoundError, FAIL, "user not in the group"),
        660600032: Rule(NotPermittedError, FAIL, "the user lacks the right"),
        660700001: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of this action"),
        660700012: Rule(NotFoundError, FAIL, "user unknown or not registered"),
        660700015: Rule(NotFoundError, FAIL, "user unknown or not registered"),
        660800001: Rule(NotFoundError, FAIL, "user unknown or not registered"),
        660800002: Rule(NotFoundError, FAIL, "conversation unknown, or not among the user's latest 1,000"),
        660800053: Rule(ServerBusyError, RETRY, "the conversation list could not be queried", maybe_applied=True),
    }
)

UNDOCUMENTED: Final = Rule(ApiError, FAIL, "undocumented for this action")


def verdict_of(error: ZimError) -> Verdict:
    """Return what to do about an error, provided that the action may be repeated or surely wasn't done."""
    if isinstance(error, ApiError):
        return RULES.get(error.code or SUCCESS, UNDOCUMENTED).verdict  # it carries the code it was made from
    if isinstance(error, TransportError) and error.untrusted:
        return STOP
    if isinstance(error, TransportError) and error.status == TOO_MANY_REQUESTS:
        return SLOW_DOWN
    return RETRY if isinstance(error, TransportError | ProtocolError) else FAIL


def code_of(error: type[ApiError]) -> int | None:
    """Return the first code of the table that raises a class of error, or None without one."""
    return next((code for code, rule in RULES.items() if rule.error is error), None)
