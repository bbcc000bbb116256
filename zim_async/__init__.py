"""An asyncio client with built-in rate limiting for the ZIM (ZEGOCLOUD In-app Chat) server API."""

from .actions import ClearPeerMessage, ConvType, DeleteConv
from .client import ZimClient
from .endpoints import Region
from .errors import (
    ApiError,
    AuthenticationError,
    ClockSkewError,
    ClosedError,
    ConfigError,
    InvalidArgumentError,
    InvalidParameterError,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    QueueTimeoutError,
    RateLimitedError,
    ServerBusyError,
    TransportError,
    ZimError,
)
from .limits import RateLimiter
from .protocol import Response
from .retry import RetryPolicy
from .session import SessionManager

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AuthenticationError",
    "ClearPeerMessage",
    "ClockSkewError",
    "ClosedError",
    "ConfigError",
    "ConvType",
    "DeleteConv",
    "InvalidArgumentError",
    "InvalidParameterError",
    "NotFoundError",
    "NotPermittedError",
    "ProtocolError",
    "QueueTimeoutError",
    "RateLimitedError",
    "RateLimiter",
    "Region",
    "Response",
    "RetryPolicy",
    "ServerBusyError",
    "SessionManager",
    "TransportError",
    "ZimClient",
    "ZimError",
]
