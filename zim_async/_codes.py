"""The vendor's return codes that these actions can meet: what each means and what a client does about it.

Source: the vendor's "Return codes" page and the pages of the two actions (2026-08 edition).
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
    FIX_CLOCK = "sign anew by the server's clock, if the answer shows that the clocks differ"


class Rule(NamedTuple):
    """One row of the table; an empty ``advice`` leaves the word to the error class."""

    error: type[ApiError]
    verdict: Verdict
    meaning: str
    advice: str = ""

    @property
    def what_to_do(self) -> str:
        """The advice for users."""
        return self.advice or self.error.advice


FAIL, STOP, RETRY, SLOW_DOWN, FIX_CLOCK = Verdict
_WRONG_APP: Final = "Check the AppId: the server has no configuration or no secret for it."
_DEFECT: Final = "The request itself was damaged: look for a proxy that rewrites it, or report a bug."
_WRONG_HOST: Final = "Check the region or base URL."
_LONG_ID: Final = "Give IDs of at most 32 bytes in UTF-8; characters outside ASCII take two to four."

RULES: Final[Mapping[int, Rule]] = MappingProxyType(
    {
        1: Rule(ServerBusyError, RETRY, "server busy"),
        2: Rule(InvalidParameterError, FAIL, "parameter error"),
        3: Rule(AuthenticationError, STOP, "authentication failed"),
        7: Rule(RateLimitedError, SLOW_DOWN, "more requests a second than allowed"),
        51102: Rule(NotFoundError, FAIL, "user unknown"),
        105001: Rule(ServerBusyError, RETRY, "database request failed"),
        100000000: Rule(ApiError, STOP, "wrong host", _WRONG_HOST),
        100000001: Rule(AuthenticationError, STOP, "AppId malformed", _WRONG_APP),
        100000002: Rule(ApiError, STOP, "a public parameter is missing or malformed", _DEFECT),
        100000003: Rule(ApiError, STOP, "a public parameter is missing or malformed", _DEFECT),
        100000004: Rule(ClockSkewError, FIX_CLOCK, "signature expired"),
        100000005: Rule(AuthenticationError, FIX_CLOCK, "signature wrong"),
        100000006: Rule(ApiError, STOP, "action missing", _DEFECT),
        100000007: Rule(ApiError, STOP, "action unknown", _WRONG_HOST),
        100000008: Rule(ApiError, STOP, "a public parameter is missing or malformed", _DEFECT),
        100000009: Rule(ApiError, STOP, "a public parameter is missing or malformed", _DEFECT),
        100000010: Rule(AuthenticationError, STOP, "no secret found for the AppId", _WRONG_APP),
        100000011: Rule(AuthenticationError, STOP, "no configuration found for the AppId", _WRONG_APP),
        100000012: Rule(ServerBusyError, RETRY, "gateway could not read the body"),
        100000013: Rule(ApiError, STOP, "a public parameter is missing or malformed", _DEFECT),
        100000014: Rule(ApiError, STOP, "a public parameter is missing or malformed", _DEFECT),
        100000015: Rule(ServerBusyError, RETRY, "gateway internal error"),
        100000016: Rule(NotPermittedError, STOP, "app not set up for production"),
        100000017: Rule(NotPermittedError, STOP, "service not enabled"),
        660000001: Rule(ServerBusyError, RETRY, "business error in the server"),
        660000002: Rule(InvalidParameterError, FAIL, "parameter error"),
        660000003: Rule(ServerBusyError, RETRY, "server processing exception"),
        660000012: Rule(InvalidParameterError, FAIL, "user ID longer than 32 bytes", _LONG_ID),
        660000028: Rule(NotPermittedError, STOP, "feature not in the plan"),
        660200001: Rule(NotFoundError, FAIL, "user unknown, not registered or never logged in"),
        660300005: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of the AppId"),
        660300006: Rule(RateLimitedError, SLOW_DOWN, "over the frequency limit of the group or room"),
        660500002: Rule(NotFoundError, FAIL, "user unknown, not registered or never logged in"),
        660600001: Rule(NotFoundError, FAIL, "group unknown"),
        660600009: Rule(NotFoundError, FAIL, "data of the group not found"),
        660600015: Rule(ServerBusyError, RETRY, "database operation failed"),
        660600024: Rule(NotFoundError, FAIL, "user not in the group"),
        660600032: Rule(NotPermittedError, FAIL, "the user lacks the right"),
        660700012: Rule(NotFoundError, FAIL, "user unknown, not registered or never logged in"),
        660700015: Rule(NotFoundError, FAIL, "user unknown, not registered or never logged in"),
        660800001: Rule(NotFoundError, FAIL, "user unknown, not registered or never logged in"),
        660800002: Rule(NotFoundError, FAIL, "conversation unknown"),
    }
)

UNDOCUMENTED: Final = Rule(ApiError, FAIL, "undocumented for this action")


def verdict_of(error: ZimError) -> Verdict:
    """Return what to do about an error; one without an answer may be repeated, both actions being idempotent."""
    if isinstance(error, ApiError):
        # An ApiError always carries the code it was made from.
        return RULES.get(error.code or SUCCESS, UNDOCUMENTED).verdict
    if isinstance(error, TransportError) and error.untrusted:
        return STOP
    if isinstance(error, TransportError) and error.status == TOO_MANY_REQUESTS:
        return SLOW_DOWN
    return RETRY if isinstance(error, TransportError | ProtocolError) else FAIL
