"""The limiter on a shared quota, against real servers and in real time."""

import asyncio
import gc
import logging
import pickle
import re
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.limiters import most_in_any_second
from tests.support.redis_servers import RedisServer, free_port
from zim_async import ConfigError, QueueTimeoutError, QuotaUnavailableError, RateLimiter, ZimError
from zim_async.limits import ActionLimiter, Priority, _redis_window
from zim_async.limits.redis import RedisRateLimiter

Made = Callable[..., ActionLimiter]
SECRET = "geheim"
TICK = 0.1  # seconds, more than a step takes on a busy machine


def key(app_id: int) -> str:
    return f"zim:{{{app_id}:DeleteConv}}"


def prepare(server: RedisServer) -> None:
    """Have the quota of application 1 known and unused, so that there is no pause on first use."""
    server.admin.zadd(key(1), server.unused_quota)


async def call(limiter: ActionLimiter, arrivals: list[float], priority: Priority = "interactive") -> None:
    permit = await limiter.acquire(priority)
    arrivals.append(time.monotonic())
    await asyncio.sleep(0.01)
    permit.release()


@pytest.fixture
async def processes(redis_server: RedisServer, app_id: int) -> AsyncIterator[Made]:
    """Make limiters of DeleteConv on one quota, as processes of their own would have."""
    made: list[RedisRateLimiter] = []

    def make(url: str = redis_server.url, **options: Any) -> ActionLimiter:
        made.append(RedisRateLimiter(url, **{"app_id": app_id} | options))
        return made[-1].of("DeleteConv")

    yield make
    for limiter in made:
        await limiter.close()


async def fails(limiter: ActionLimiter) -> QuotaUnavailableError:
    """Expect an error within a second that says where Redis is, holds no password, and has nothing chained to it."""
    began = time.monotonic()
    with pytest.raises(QuotaUnavailableError, match=r"127\.0\.0\.1:\d+.*nothing was sent") as caught:
        await limiter.acquire()
    assert time.monotonic() - began < 1.0
    error = caught.value
    assert error.__context__ is None
    assert error.__cause__ is None
    assert SECRET not in shown(error)
    return error


def shown(error: BaseException) -> str:
    """Return what an error tracker would show of an error: its text, and the locals of the package's frames."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "zim_async" in frame.f_code.co_filename]
    assert frames
    return f"{error!r} {error} {[repr(value) for frame in frames for value in frame.f_locals.values()]}"


# What is promised.


async def test_processes_share_one_quota(processes: Made) -> None:
    arrivals: list[float] = []
    one, two = processes(), processes()
    await asyncio.gather(*(call(limiter, arrivals) for limiter in (one, two) for _ in range(20)))
    assert most_in_any_second(arrivals) <= 20
    assert arrivals[-1] - arrivals[0] < 1.3


async def test_a_call_at_light_load_waits_for_redis_alone(processes: Made) -> None:
    limiter = processes()
    (await limiter.acquire()).release()
    began = time.monotonic()
    (await limiter.acquire()).release()
    assert time.monotonic() - began < TICK


async def test_the_first_use_of_a_quota_waits_a_second(redis_server: RedisServer, processes: Made, app_id: int) -> None:
    redis_server.admin.delete(key(app_id))
    began = time.monotonic()
    (await processes().acquire()).release()
    assert 1.0 <= time.monotonic() - began < 1.3


async def test_bulk_calls_are_paced_across_processes(processes: Made) -> None:
    arrivals: list[float] = []
    one, two = processes(), processes()
    await asyncio.gather(*(call(limiter, arrivals, "bulk") for limiter in (one, two) for _ in range(5)))
    assert arrivals[-1] - arrivals[0] > 9 * 0.045 - TICK / 2


async def test_an_interactive_call_goes_ahead_of_another_processs_bulk_calls(processes: Made) -> None:
    arrivals: list[float] = []
    cleanup, web = processes(), processes()
    tasks = [asyncio.create_task(call(cleanup, arrivals, "bulk")) for _ in range(40)]
    await asyncio.sleep(1.2)
    assert cleanup.waiting > 5
    began = time.monotonic()
    (await web.acquire()).release()
    assert time.monotonic() - began < 0.25
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_permits_of_cancelled_calls_are_given_back(processes: Made) -> None:
    one, two = processes(), processes()
    permits = [await one.acquire() for _ in range(20)]
    for permit in permits:
        permit.cancel()
    await asyncio.sleep(0.2 + TICK)
    began = time.monotonic()
    for permit in [await two.acquire() for _ in range(20)]:
        permit.cancel()
    assert time.monotonic() - began < 0.5


async def test_closing_gives_back_what_is_held(redis_server: RedisServer, app_id: int) -> None:
    async with RedisRateLimiter(redis_server.url, app_id=app_id) as limiter:
        (await limiter.of("DeleteConv").acquire()).cancel()
    assert [name for name, _ in redis_server.admin.zscan_iter(key(app_id)) if name.startswith(b"lease")] == []


async def test_refusals_by_the_server_lower_the_permits_asked_for(processes: Made) -> None:
    limiter = processes()
    (await limiter.acquire()).release(throttled=True)
    assert limiter.permits < 20
    began = time.monotonic()
    (await limiter.acquire()).release()
    assert time.monotonic() - began >= 0.19


async def test_calls_that_would_wait_longer_than_they_may_fail_immediately(processes: Made) -> None:
    limiter = processes()
    arrivals: list[float] = []
    tasks = [asyncio.create_task(call(limiter, arrivals)) for _ in range(60)]
    await asyncio.sleep(TICK)
    with pytest.raises(QueueTimeoutError) as caught:
        await limiter.acquire(max_wait=0.5)
    assert 1.0 < caught.value.estimated_wait < 4.0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_long_call_keeps_its_permit(processes: Made, redis_server: RedisServer, app_id: int) -> None:
    permit = await processes().acquire()

    def seconds_left() -> float:
        ((_, ends_at),) = [
            (name, at) for name, at in redis_server.admin.zscan_iter(key(app_id)) if name[:5] == b"lease"
        ]
        seconds, microseconds = redis_server.admin.time()
        return float(ends_at / 1e6 - seconds - microseconds / 1e6)

    async with asyncio.timeout(2.0):
        while seconds_left() < 5.0:
            await asyncio.sleep(0.05)
    permit.release()


def test_a_limiter_serves_one_event_loop_after_another(redis_server: RedisServer, app_id: int) -> None:
    limiter = RedisRateLimiter(redis_server.url, app_id=app_id)

    async def main() -> None:
        async with limiter:
            (await limiter.of("DeleteConv").acquire()).release()

    for _ in range(2):
        asyncio.run(main())


LEFT_LOOPS = """
import asyncio, gc, sys
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from zim_async.limits.redis import RedisRateLimiter

url, app_id = sys.argv[1], int(sys.argv[2])
admin = Redis.from_url(url)
connected = len(admin.client_list())
for where in (url, AsyncRedis.from_url(url)):
    limiter = RedisRateLimiter(where, app_id=app_id)

    async def main():
        (await limiter.of("DeleteConv").acquire()).release()

    for _ in range(4):
        asyncio.run(main())
    asyncio.run(limiter.close())
    del limiter, main, where
    gc.collect()
    print(len(admin.client_list()) - connected)
"""


def test_loops_that_were_left_without_a_word_keep_no_connections(redis_server: RedisServer, app_id: int) -> None:
    """In a process of its own, for what Python has to say of connections that nobody closed."""
    command = [sys.executable, "-c", LEFT_LOOPS, redis_server.url, str(app_id)]
    by_url, by_client = subprocess.check_output(command, text=True).split()
    assert by_url == "0"
    assert by_client == "1"  # the client's own


# Lifetime, arguments.


async def test_clients_that_come_and_go_on_one_limiter_disturb_nobody(redis_server: RedisServer, app_id: int) -> None:
    connected = len(redis_server.admin.client_list())
    limiter = RedisRateLimiter(redis_server.url, app_id=app_id, qps=1_000)

    async def serve(after: float) -> None:
        await asyncio.sleep(after)
        user = _User()
        limiter.attach(user)
        (await limiter.of("DeleteConv").acquire()).release()
        await limiter.detach(user)

    await asyncio.gather(*(serve(0.002 * number) for number in range(150)))
    await asyncio.sleep(0.01)
    assert len(redis_server.admin.client_list()) == connected


async def test_the_last_user_disconnects_what_a_url_connected(redis_server: RedisServer, app_id: int) -> None:
    connected = len(redis_server.admin.client_list())
    limiter, users = RedisRateLimiter(redis_server.url, app_id=app_id), [object.__new__(_User) for _ in range(2)]
    for user in users:
        limiter.attach(user)
    (await limiter.of("DeleteConv").acquire()).release()
    await limiter.detach(users[0])
    assert len(redis_server.admin.client_list()) == connected + 1
    await limiter.detach(users[1])
    await asyncio.sleep(0.01)
    assert len(redis_server.admin.client_list()) == connected


class _User:
    pass


async def test_a_client_that_was_given_stays_connected(redis_server: RedisServer, app_id: int) -> None:
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        async with RedisRateLimiter(client, app_id=app_id) as limiter:
            (await limiter.of("DeleteConv").acquire()).release()
        connected = len(redis_server.admin.client_list())
        assert await client.ping()
        assert len(redis_server.admin.client_list()) == connected


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer("--unixsocket", str(path), own=True) as server:
        prepare(server)
        async with RedisRateLimiter(f"unix://{path}", app_id=1) as limiter:
            assert str(path) in repr(limiter)
            (await limiter.of("DeleteConv").acquire()).release()


def test_it_is_a_rate_limiter_in_all_else() -> None:
    limiter: RateLimiter = RedisRateLimiter("redis://127.0.0.1", app_id=1, qps={"DeleteConv": 5})
    limiter.qps = {"ClearPeerMessage": 7}
    assert limiter.qps == RateLimiter({"DeleteConv": 5, "ClearPeerMessage": 7}).qps
    assert limiter.of("DeleteConv").qps == 5
    assert limiter.idle


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://user:geheim@127.0.0.1:6379", "rediss://"),
        ("redis://user:geheim@127.0.0.1:geheim", "redis://user:password@host"),
        ("redis://:geheim@127.0.0.1?colour=blue", "options of redis-py"),
        ("redis://:geheim@127.0.0.1?protocol=9", "options of redis-py"),
        ("rediss://:geheim@127.0.0.1?ssl_cert_reqs=maybe", "options of redis-py"),
        ("redis://:123/geheim@127.0.0.1", "%2F, %3F and %23"),
        (6379, "redis.asyncio.Redis"),
    ],
)
def test_a_wrong_url_says_how_it_should_look(url: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        RedisRateLimiter(url, app_id=1)
    assert SECRET not in shown(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("options", [{"app_id": "1"}, {"on_failure": "open"}, {"share": 0}, {"share": 1.5}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RedisRateLimiter("redis://127.0.0.1", **{"app_id": 1} | options)


def test_the_password_does_not_show(redis_server: RedisServer) -> None:
    limiter = RedisRateLimiter("redis://user:geheim@127.0.0.1", app_id=1)
    assert "geheim" not in repr(limiter) + repr(vars(limiter))
    with pytest.raises(TypeError, match="Make one in each process"):
        pickle.dumps(limiter)


# Failures.


async def test_a_redis_that_is_down_fails_calls_and_serves_again_once_it_is_up(processes: Made) -> None:
    with RedisServer(own=True) as server:
        prepare(server)
        limiter = processes(server.url, app_id=1)
        (await limiter.acquire()).release()
        server.kill()
        await fails(limiter)
        server.start()
        (await limiter.acquire()).release()


async def test_a_redis_that_hangs_fails_calls_within_a_second(processes: Made) -> None:
    with RedisServer(own=True) as server:
        prepare(server)
        limiter = processes(server.url, app_id=1)
        (await limiter.acquire()).release()
        server.pause()
        await asyncio.gather(fails(limiter), fails(limiter))
        server.resume()
        (await limiter.acquire()).release()


async def test_a_dead_connection_is_made_anew_without_a_failure(processes: Made, redis_server: RedisServer) -> None:
    limiter = processes()
    (await limiter.acquire()).release()
    for connection in redis_server.admin.client_list():
        if connection["cmd"].startswith("eval"):
            redis_server.admin.client_kill(connection["addr"])
    (await limiter.acquire()).release()


async def test_a_script_that_redis_forgot_is_sent_again(processes: Made, redis_server: RedisServer) -> None:
    limiter = processes()
    (await limiter.acquire()).release()
    redis_server.admin.script_flush()
    (await limiter.acquire()).release()


async def test_a_redis_without_memory_left_serves_on(processes: Made) -> None:
    with RedisServer("--maxmemory-policy", "noeviction", own=True) as server:
        prepare(server)
        limiter = processes(server.url, app_id=1)
        server.admin.config_set("maxmemory", 1)
        for _ in range(3):
            (await limiter.acquire()).release()


@pytest.mark.parametrize("flavor_of_error", ["type", "replica", "credentials", "none", "right", "cluster", "port"])
async def test_misuse_is_told_with_advice(processes: Made, flavor_of_error: str, tmp_path: Path) -> None:
    options = {
        "credentials": ["--requirepass", "geheim"],
        "none": ["--requirepass", "geheim"],
        "right": ["--user", "web", "on", ">geheim", "~other:*", "+@all"],
        "cluster": f"--cluster-enabled yes --cluster-config-file {tmp_path}/nodes --cluster-port {free_port()}".split(),
    }.get(flavor_of_error, [])
    with RedisServer(*options, own=True) as server:
        url = server.url
        if flavor_of_error == "type":
            server.admin.set(key(1), "something else")
        elif flavor_of_error == "replica":
            server.admin.replicaof("127.0.0.1", str(free_port()))
        elif flavor_of_error == "credentials":
            url = url.replace("//", "//:geheim-wrong@")
        elif flavor_of_error == "right":
            url = url.replace("//", "//web:geheim@")
        elif flavor_of_error == "port":
            url = f"redis://127.0.0.1:{free_port()}"
        error = await fails(processes(url, app_id=1))
    advice = {
        "type": "key holds something else.*delete",
        "replica": "replica.*primary",
        "credentials": "refused the credentials.*Check",
        "none": "asks for a password.*URL",
        "right": "lacks a right.*Allow",
        "cluster": "cluster",
        "port": "can't be connected to.*Check its URL",
    }[flavor_of_error]
    assert re.search(advice, str(error)), error
    assert isinstance(pickle.loads(pickle.dumps(error)), ZimError)


async def test_the_rights_of_the_advice_are_enough(processes: Made) -> None:
    rights = ["+eval", "+evalsha", "+time", "+pexpire", "+del", "+zrange", "+zadd", "+zrem"]
    with RedisServer("--user", "web", "on", ">geheim", "~zim:*", *rights, own=True) as server:
        prepare(server)
        server.admin.zadd(key(1), {"epoch:": 1})
        (await processes(server.url.replace("//", "//web:geheim@"), app_id=1).acquire()).release()


async def test_by_choice_a_process_goes_on_by_itself_with_a_share(
    processes: Made, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_redis_window, "TRY_AGAIN", 0.2)
    monkeypatch.setattr(_redis_window, "RETURN_AFTER", 0.4)
    with RedisServer(own=True) as server:
        prepare(server)
        limiter = processes(server.url, on_failure="local", share=0.5, app_id=1)
        arrivals: list[float] = []
        await asyncio.gather(*(call(limiter, arrivals) for _ in range(20)))
        server.kill()
        with caplog.at_level(logging.WARNING, "zim_async"):
            await asyncio.gather(*(call(limiter, arrivals) for _ in range(10)))
            assert limiter.permits == 10
            assert len(caplog.messages) == 1
            assert f"127.0.0.1:{server.port}" in caplog.text
            server.start()
            prepare(server)
            while len(caplog.messages) == 1:  # nobody calls meanwhile
                await asyncio.sleep(TICK)
        assert caplog.messages[-1].endswith("the quota is shared again")
        assert limiter.permits == 20
        await asyncio.gather(*(call(limiter, arrivals) for _ in range(20)))
        assert most_in_any_second(arrivals) <= 20


async def test_by_itself_from_the_start_a_process_waits_for_nothing(processes: Made) -> None:
    limiter = processes(f"redis://127.0.0.1:{free_port()}", on_failure="local", share=0.5, app_id=1)
    arrivals: list[float] = []
    began = time.monotonic()
    await asyncio.gather(*(call(limiter, arrivals) for _ in range(10)))
    assert arrivals[-1] - began < 1.0


async def test_nothing_is_logged_by_asyncio_about_a_command_left_to_itself(
    processes: Made, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(own=True) as server:
        limiter = processes(server.url, app_id=1)
        server.pause()
        await fails(limiter)
        server.kill()
        await asyncio.sleep(TICK)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]
