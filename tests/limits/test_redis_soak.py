"""What may befall Redis and the processes on a shared quota, under load: never more than 20 arrivals in any second."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster
from redis.crc import key_slot

from tests.support.redis_load import APP_ID, load
from tests.support.redis_servers import RedisServer, free_port
from zim_async import QuotaUnavailableError
from zim_async.limits.redis import RedisRateLimiter

pytestmark = pytest.mark.soak
KEY = f"zim:{{{APP_ID}:DeleteConv}}"
PROCESSES = 4
QPS = 20


@dataclass
class Run:
    """A server, and what its users did."""

    server: RedisServer
    arrivals: list[float] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)

    async def settle(self) -> None:
        """Wait until the quota is in use again."""
        await asyncio.sleep(2.5)
        before = len(self.arrivals)
        await asyncio.sleep(2.3)  # two cycles, and a bit
        assert len(self.arrivals) - before > 1.7 * QPS

    async def fails(self) -> None:
        """Expect that calls fail within a second from now."""
        before = len(self.failures)
        await asyncio.sleep(1.0)
        assert len(self.failures) > before


def check(arrivals: list[float]) -> None:
    times = sorted(arrivals)
    assert min(later - earlier for earlier, later in zip(times, times[QPS:], strict=False)) >= 1.0


@contextlib.asynccontextmanager
async def under_load(server: RedisServer) -> AsyncIterator[Run]:
    run = Run(server)
    users = [asyncio.create_task(load(server.url, run.arrivals.append, run.failures.append)) for _ in range(PROCESSES)]
    try:
        await run.settle()
        yield run
        await run.settle()
    finally:
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
    check(run.arrivals)


async def flush(run: Run) -> None:
    for _ in range(5):
        run.server.admin.flushall()
        await asyncio.sleep(random.uniform(0.2, 1.5))


async def delete(run: Run) -> None:
    run.server.admin.delete(KEY)


async def forget_script(run: Run) -> None:
    for _ in range(5):
        run.server.admin.script_flush()
        await asyncio.sleep(0.1)


async def cut_connections(run: Run) -> None:
    for _ in range(5):
        run.server.admin.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.1)
    assert not run.failures


async def kill_and_start(run: Run) -> None:
    run.server.kill()
    await run.fails()
    run.server.start()


async def restore_old_snapshot(run: Run) -> None:
    run.server.admin.save()
    await asyncio.sleep(0.7)
    run.server.kill()
    run.server.start()


async def hang(run: Run) -> None:
    run.server.pause()
    await run.fails()
    await asyncio.sleep(3.0)
    run.server.resume()


async def become_replica(run: Run) -> None:
    run.server.admin.replicaof("127.0.0.1", str(free_port()))
    await run.fails()
    run.server.admin.replicaof("no", "one")


async def fill_memory(run: Run) -> None:
    run.server.admin.config_set("maxmemory", 1)
    await asyncio.sleep(2.0)
    assert not run.failures
    run.server.admin.config_set("maxmemory", 0)


async def replace_key(run: Run) -> None:
    run.server.admin.set(KEY, "something else")
    await run.fails()
    run.server.admin.delete(KEY)


FAULTS: dict[str, Callable[[Run], Awaitable[None]]] = {
    function.__name__: function
    for function in (
        flush,
        delete,
        forget_script,
        cut_connections,
        kill_and_start,
        restore_old_snapshot,
        hang,
        become_replica,
        fill_memory,
        replace_key,
    )
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_redis_lets_too_many_calls_through(fault: str, tmp_path: Path) -> None:
    with RedisServer(directory=tmp_path, own=True) as server:
        async with under_load(server) as run:
            await FAULTS[fault](run)


async def test_a_restart_with_persistence_lets_no_more_calls_through(tmp_path: Path) -> None:
    with RedisServer("--appendonly", "yes", "--appendfsync", "always", directory=tmp_path, own=True) as server:
        async with under_load(server) as run:
            await kill_and_start(run)


@contextlib.asynccontextmanager
async def processes(url: str, arrivals: list[list[float]]) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Run three processes on a quota, and note when their calls arrive."""
    command = [sys.executable, "-m", "tests.support.redis_load", url]
    made = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(3)]

    async def read(process: asyncio.subprocess.Process, times: list[float]) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with contextlib.suppress(ValueError):  # of one that was killed as it wrote
                times.append(float(line))

    arrivals += [[] for _ in made]
    readers = [asyncio.create_task(read(process, times)) for process, times in zip(made, arrivals, strict=True)]
    try:
        yield made
    finally:
        for process in made:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await asyncio.gather(*readers)


async def test_a_process_that_is_stopped_and_woken_sends_nothing_that_is_too_late() -> None:
    arrivals: list[list[float]] = []
    with RedisServer(own=True) as server:
        async with processes(server.url, arrivals) as (first, *_):
            await asyncio.sleep(4.0)
            for seconds in (0.3, 0.7, 1.5, 3.0, 6.0):
                first.send_signal(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                first.send_signal(signal.SIGCONT)
                await asyncio.sleep(1.5)
    times = [at for process in arrivals for at in process]
    check(times)


async def test_the_permits_of_a_process_that_was_killed_are_back_soon() -> None:
    arrivals: list[list[float]] = []
    with RedisServer(own=True) as server:
        async with processes(server.url, arrivals) as (first, *_):
            await asyncio.sleep(5.0)
            first.kill()
            killed_at = time.monotonic()
            await asyncio.sleep(6.5)
    times = [at for process in arrivals for at in process]
    check(times)
    after = [at for at in times if killed_at + 2.6 < at <= killed_at + 6.0]  # three cycles, and a bit
    assert len(after) > 2.7 * QPS


async def test_a_cluster_serves_by_its_client_and_a_node_alone_says_what_it_is(tmp_path: Path) -> None:
    def cluster(name: str, bus_port: int) -> RedisServer:
        options = ["--cluster-enabled", "yes", "--cluster-config-file", name, "--cluster-port", str(bus_port)]
        return RedisServer(*options, directory=tmp_path, own=True)

    bus_port = free_port()
    with cluster("first", free_port()) as first, cluster("second", bus_port) as second:
        first.command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        second.command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        first.command("CLUSTER", "MEET", "127.0.0.1", second.port, bus_port)
        async with asyncio.timeout(20.0):
            while first.command("CLUSTER INFO")["cluster_state"] != "ok":
                await asyncio.sleep(0.1)
        other = second if key_slot(b"1:DeleteConv") < 8192 else first
        async with (
            RedisCluster(host="127.0.0.1", port=first.port) as client,
            RedisRateLimiter(client, app_id=1) as limiter,
            RedisRateLimiter(other.url, app_id=1) as misled,
        ):
            (await limiter.of("DeleteConv").acquire()).release()
            with pytest.raises(QuotaUnavailableError, match="RedisCluster"):
                await misled.of("DeleteConv").acquire()
