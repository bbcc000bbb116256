"""The rate promise: never more than ``qps`` arrivals of an action in any second, as the server sees them."""

from ._action import ActionLimiter
from ._local import LocalWindow
from .limiter import Rate, RateLimiter
from .window import Permit, Priority, Window, WindowFactory

__all__ = ["ActionLimiter", "LocalWindow", "Permit", "Priority", "Rate", "RateLimiter", "Window", "WindowFactory"]
