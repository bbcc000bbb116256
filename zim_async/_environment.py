"""What the environment says of an application: the variables that ``ZimClient.from_env`` reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from .errors import ConfigError
from .limits import RateLimiter

_SECRET: Final = "ZIM_SERVER_SECRET"  # noqa: S105, a name
_FILE: Final = "ZIM_SERVER_SECRET_FILE"


def check_environment() -> None:
    """Check that the variables are there that a client can't do without.

    Raises:
        ConfigError: One is missing, or two contradict each other.
    """
    has_secret, has_file = bool(os.environ.get(_SECRET)), bool(os.environ.get(_FILE))
    missing = [] if os.environ.get("ZIM_APP_ID") else ["ZIM_APP_ID"]
    missing += [] if has_secret or has_file else [_SECRET]
    if missing:
        raise ConfigError(f"set {' and '.join(missing)} in the environment")
    if has_secret and has_file:
        raise ConfigError(f"set {_SECRET} or {_FILE} in the environment, not both")


def read_app_id() -> int:
    """Return the AppId.

    Raises:
        ConfigError: It isn't a whole number.
    """
    app_id = os.environ["ZIM_APP_ID"]
    if not (app_id.isascii() and app_id.isdigit() and len(app_id) <= 10):
        raise ConfigError(
            f"ZIM_APP_ID must be a whole number, the AppId shown in the vendor's console, not {app_id[:40]!a}"
        )
    return int(app_id)


def read_secret() -> str:
    """Return the server secret, from its variable or from the file that the other one names.

    Line ends around a file's content are dropped: editors and orchestrators add them.

    Raises:
        ConfigError: The file can't be read.
    """
    if not (name := os.environ.get(_FILE)):
        return os.environ[_SECRET]
    try:
        return Path(name).read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:  # whose text would show what the file holds
        problem = "it isn't text in UTF-8"
    raise ConfigError(f"{_FILE} names {name!a}, which can't be read: {problem}")


def redis_limiter(app_id: int) -> RateLimiter | None:
    """Return a limiter on the Redis that ``ZIM_REDIS_URL`` names, or None without one.

    Raises:
        ConfigError: It isn't a URL of Redis, or redis-py isn't installed.
    """
    if not os.environ.get("ZIM_REDIS_URL"):
        return None
    try:
        from .limits.redis import RedisRateLimiter
    except ImportError as error:
        raise ConfigError(f"ZIM_REDIS_URL is set, but {error}") from None
    return RedisRateLimiter(os.environ["ZIM_REDIS_URL"], app_id=app_id)


def read_place() -> tuple[str | None, str | None]:
    """Return the region and the base URL, of which one at most is set.

    Raises:
        ConfigError: Both are set.
    """
    region, base_url = os.environ.get("ZIM_REGION") or None, os.environ.get("ZIM_BASE_URL") or None
    if region and base_url:
        raise ConfigError("set ZIM_REGION or ZIM_BASE_URL in the environment, not both")
    return region, base_url
