import asyncio
import gc
import itertools

from zim_async.limits import RateLimiter
from zim_async.limits.registry import shared_limiter

numbers = itertools.count()


class User:
    pass


def other_applications(count: int) -> list[User]:
    """Use so many other applications' limiters, which has those that nobody needs any more swept out."""
    users = [User() for _ in range(count)]
    for user in users:
        shared_limiter("sweep.test", next(numbers), user)
    return users


def test_an_applications_limiter_is_shared_within_the_process() -> None:
    user, other = User(), User()
    assert shared_limiter("zego.im", 1, user) is shared_limiter("zego.im", 1, other)
    assert shared_limiter("zego.im", 1, user) is not shared_limiter("zego.im", 2, user)
    assert shared_limiter("zego.im", 1, user) is not shared_limiter("zego.cn", 1, user)


def test_limiters_that_nobody_uses_any_more_go_away() -> None:
    for _ in range(20):
        other_applications(50)
    assert sum(type(one) is RateLimiter for one in gc.get_objects()) < 500


def test_a_limiter_in_use_stays() -> None:
    user = User()
    limiter = shared_limiter("zego.im", 1, user)
    for _ in range(5):
        other_applications(50)
    assert shared_limiter("zego.im", 1, User()) is limiter


async def test_a_quota_used_within_the_last_second_is_not_forgotten() -> None:
    user = User()
    limiter = shared_limiter("zego.im", 1, user).of("DeleteConv")
    limiter.qps = 20
    (await limiter.acquire()).release()
    del user
    other_applications(200)
    gc.collect()
    assert shared_limiter("zego.im", 1, User()).of("DeleteConv") is limiter
    await asyncio.sleep(1.1)
    other_applications(200)
    assert shared_limiter("zego.im", 1, User()).of("DeleteConv") is not limiter
