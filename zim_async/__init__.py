"""An asyncio client with built-in rate limiting for the ZIM (ZEGOCLOUD In-app Chat) server API."""

from typing import TYPE_CHECKING, Any

from ._endpoints import Region
from ._protocol import Response
from .actions import (
    Action,
    ClearMemberGroupMessage,
    ClearPeerMessage,
    Conversation,
    ConvType,
    DeleteConv,
    QueryConversationList,
)
from .client import ZimClient
from .errors import (
    ApiError,
    AuthenticationError,
    ClockSkewError,
    ClosedError,
    ConfigError,
    InvalidArgumentError,
    InvalidParameterError,
    JournalError,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    QueueTimeoutError,
    QuotaUnavailableError,
    RateLimitedError,
    ServerBusyError,
    TransportError,
    ZimError,
)
from .limits import ActionLimiter, Priority, Rate, RateLimiter
from .retry import RetryPolicy
from .session import SessionManager

if TYPE_CHECKING:
    from .bulk import Outcome, Progress, State, cleanup, plan, read_journal, run_groups
    from .erase import erase_users

__version__ = "0.2.0"

__all__ = [
    "Action",
    "ActionLimiter",
    "ApiError",
    "AuthenticationError",
    "ClearMemberGroupMessage",
    "ClearPeerMessage",
    "ClockSkewError",
    "ClosedError",
    "ConfigError",
    "ConvType",
    "Conversation",
    "DeleteConv",
    "InvalidArgumentError",
    "InvalidParameterError",
    "JournalError",
    "NotFoundError",
    "NotPermittedError",
    "Outcome",
    "Priority",
    "Progress",
    "ProtocolError",
    "QueryConversationList",
    "QueueTimeoutError",
    "QuotaUnavailableError",
    "Rate",
    "RateLimitedError",
    "RateLimiter",
    "Region",
    "Response",
    "RetryPolicy",
    "ServerBusyError",
    "SessionManager",
    "State",
    "TransportError",
    "ZimClient",
    "ZimError",
    "cleanup",
    "erase_users",
    "plan",
    "read_journal",
    "run_groups",
]


_BULK = {"Outcome", "Progress", "State", "cleanup", "plan", "read_journal", "run_groups"}


def __getattr__(name: str) -> Any:
    """Import bulk jobs on first use: SQLite, which they bring, would take a third of the time that the rest takes."""
    if name in _BULK:
        from . import bulk

        return getattr(bulk, name)
    if name == "erase_users":
        from .erase import erase_users

        return erase_users
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
