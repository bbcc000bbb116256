import asyncio
import gc
import itertools

import pytest

from zim_async.limits import RateLimiter
from zim_async.limits.registry import Registry

numbers = itertools.count()


class User:
    pass


@pytest.fixture
def registry() -> Registry:
    return Registry()


def use(registry: Registry, domain: str, app_id: int, user: User) -> RateLimiter:
    limiter = registry.find(domain, app_id)
    limiter.attach(user)
    return limiter


def other_applications(registry: Registry, count: int) -> list[User]:
    """Use so many other applications' limiters, which has those that nobody needs any more swept out."""
    users = [User() for _ in range(count)]
    for user in users:
        use(registry, "sweep.test", next(numbers), user)
    return users


def test_an_applications_limiter_is_shared_within_the_process(registry: Registry) -> None:
    user, other = User(), User()
    assert use(registry, "zego.im", 1, user) is use(registry, "zego.im", 1, other)
    assert use(registry, "zego.im", 1, user) is not use(registry, "zego.im", 2, user)
    assert use(registry, "zego.im", 1, user) is not use(registry, "zego.cn", 1, user)


def test_limiters_that_nobody_uses_any_more_go_away(registry: Registry) -> None:
    for _ in range(20):
        other_applications(registry, 50)
    assert sum(type(one) is RateLimiter for one in gc.get_objects()) < 500


def test_a_limiter_in_use_stays(registry: Registry) -> None:
    user = User()
    limiter = use(registry, "zego.im", 1, user)
    for _ in range(5):
        other_applications(registry, 50)
    assert use(registry, "zego.im", 1, User()) is limiter


async def test_a_quota_used_within_the_last_second_is_not_forgotten(registry: Registry) -> None:
    user = User()
    limiter = use(registry, "zego.im", 1, user).of("DeleteConv")
    limiter.qps = 20
    (await limiter.acquire()).release()
    del user
    other_applications(registry, 200)
    gc.collect()
    assert use(registry, "zego.im", 1, User()).of("DeleteConv") is limiter
    await asyncio.sleep(1.1)
    other_applications(registry, 200)
    assert use(registry, "zego.im", 1, User()).of("DeleteConv") is not limiter
