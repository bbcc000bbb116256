"""The rate promise: never more than ``qps`` arrivals of an action in any second, as the server sees them."""

from ._queue import Priority
from .limiter import ActionLimiter, Rate, RateLimiter

__all__ = ["ActionLimiter", "Priority", "Rate", "RateLimiter"]
