"""One quota for many processes, kept in Redis."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from .._text import show_value
from ..errors import ConfigError
from .limiter import Rate, RateLimiter

try:
    from ._redis_link import AnyRedis, RedisSource
    from ._redis_window import RedisWindow
except ModuleNotFoundError as _error:
    if _error.name != "redis":
        raise
    raise ImportError("a quota in Redis needs redis-py: pip install 'zim_async[redis]'") from None

OnFailure: TypeAlias = Literal["closed", "local"]
DEFAULT_SHARE: Final = 0.25


class RedisRateLimiter(RateLimiter):
    """The quota of one application, shared by all processes that use the same Redis.

    It is given to a client as ``limiter``, and does what a ``RateLimiter`` does. All processes should state the
    same rate. The quota of each action is one sorted set, ``zim:{APP_ID:ACTION}``, in Redis 6.2 or newer, or Valkey.

    Args:
        url_or_client: A URL (``redis://``, ``rediss://`` or ``unix://``), or the asyncio client of redis-py that the
            application has already. That client is never closed here. What was connected from a URL is
            disconnected with the last client that uses the limiter.
        app_id: The AppId.
        qps: Calls a second by all processes together. See ``RateLimiter``.
        on_failure: What happens when Redis fails, which is decided within a second (0.03 s later for each process
            beyond 14 that waits). "closed": calls raise ``QuotaUnavailableError``, and nothing is sent. "local":
            this process goes on by itself with a share of the quota, after a second if it used Redis just before,
            and returns when Redis is back.
        share: That share, above 0 and at most 1: 1 by the number of processes, say. Default: a quarter.

    Raises:
        ConfigError: An argument isn't of that kind.

    Example:
        limiter = RedisRateLimiter("redis://localhost:6379", app_id=app_id)
        async with ZimClient(app_id, secret, limiter=limiter) as zim:
            ...
    """

    def __init__(
        self,
        url_or_client: str | AnyRedis,
        *,
        app_id: int,
        qps: Rate | None = None,
        on_failure: OnFailure = "closed",
        share: float = DEFAULT_SHARE,
    ) -> None:
        try:
            self._source = RedisSource(url_or_client)
        finally:
            del url_or_client  # error trackers show the locals of a failed frame
        if isinstance(app_id, bool) or not isinstance(app_id, int) or app_id <= 0:
            raise ConfigError(f"app_id must be the number shown in the vendor's console, not {show_value(app_id)}")
        if on_failure not in get_args(OnFailure):
            raise ConfigError(f"on_failure must be 'closed' or 'local', not {show_value(on_failure)}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"share must be a number above 0 and at most 1, not {show_value(share)}")
        self._app_id = app_id
        self._share = float(share) if on_failure == "local" else None
        super().__init__(qps, window=self._make_window)

    def __repr__(self) -> str:
        if not hasattr(self, "_share"):
            return "<RedisRateLimiter, not configured>"
        return f"<RedisRateLimiter app_id={self._app_id} redis={self._source.address} {super().__repr__()}>"

    async def detach(self, user: object) -> None:
        """Note who uses the limiter no more. With the last one, it is closed.

        Args:
            user: As given to ``attach``.
        """
        await super().detach(user)
        if not self._users:
            await self.close()

    async def close(self) -> None:
        """Fail all waiting calls with ``ClosedError``, give back what is in hand, and disconnect.

        A client that was given is left connected. A later call begins anew.
        """
        link = self._source.take_link()
        try:
            await super().close()
        finally:
            if link is not None:
                await link.close()

    def _make_window(self, action: str, qps: float) -> RedisWindow:
        return RedisWindow(
            action,
            qps,
            key=f"zim:{{{self._app_id}:{action}}}",
            connect=self._source.link,
            share=self._share,
            address=self._source.address,
        )
