"""Redis servers for the tests of shared quotas."""

import itertools
from collections.abc import Iterator

import pytest

from tests.support.redis_servers import FLAVORS, RedisServer

_app_ids = itertools.count(1)


@pytest.fixture(scope="session", params=FLAVORS)
def any_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of each kind at hand."""
    with RedisServer(flavor=request.param) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def app_id(redis_server: RedisServer) -> int:
    """An application whose quota of DeleteConv is known and unused, so that there is no pause on first use."""
    app_id = next(_app_ids)
    redis_server.admin.delete(f"zim:{{{app_id}:DeleteConv}}")
    redis_server.admin.zadd(f"zim:{{{app_id}:DeleteConv}}", redis_server.unused_quota)
    return app_id
