"""Several processes on one quota in Redis: refused calls, share of the quota, commands, fairness, waits.

Real sockets, real time, and processes of their own for the counting server, Redis and every worker.
`python -m benchmarks.shared_quota` (some 40 minutes) prints the table, `--list` names the cells, and
`--only CELL ...` plays some of them. The figures are kept in results/shared_quota.json.
"""

import argparse
import asyncio
import json
import math
import random
import signal
import statistics
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.processes import running_server
from benchmarks.rate import fetch_arrivals, in_the_last_second
from tests.support.redis_servers import RedisServer
from zim_async import ConvType, DeleteConv, RetryPolicy, ZimClient
from zim_async.events import CallEnded, Event
from zim_async.limits.redis import RedisRateLimiter
from zim_async.sandbox._counting import COUNTERS

QPS = 20
NETWORKS = {"loopback": [], "40+5 ms": ["--trip", "0.02", "--jitter", "0.005"]}
BODY = {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2}
STARTING = 2.0  # seconds
RESULTS = Path(__file__).with_name("results") / "shared_quota.json"
ENDLESS = 100  # bulk calls at once in a process whose work doesn't end
PATIENCE = 180.0  # seconds for calls through another library, which could be made within 100
Acquire = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Cell:
    """One run: ``processes`` with ``calls`` each, or ``web`` and ``bulk`` processes for ``seconds``."""

    processes: int = 0
    calls: int = 0
    web: int = 0
    bulk: int = 0
    seconds: float = 40.0
    network: str = "40+5 ms"
    to_redis: float = 0.0  # seconds of a round trip
    kill_after: float | None = None  # seconds
    engine: str = "zim_async"


CELLS = {
    "4x500 loopback": Cell(4, 500, network="loopback"),
    "4x500": Cell(4, 500),
    "4x500 1ms": Cell(4, 500, to_redis=0.001),
    "4x500 1ms kill": Cell(4, 500, to_redis=0.001, kill_after=30),
    "4x500 20ms kill": Cell(4, 500, to_redis=0.02, kill_after=30),
    "8x250 20ms kill": Cell(8, 250, to_redis=0.02, kill_after=30),
    "12x100 1ms": Cell(12, 100, to_redis=0.001),
    "25x34 1ms": Cell(25, 34, to_redis=0.001),
    "1 web 1 bulk": Cell(web=1, bulk=1),
    "1 web 1 bulk 1ms": Cell(web=1, bulk=1, to_redis=0.001),
    "1 web 1 bulk 20ms": Cell(web=1, bulk=1, to_redis=0.02),
    "3 web 2 bulk": Cell(web=3, bulk=2),
    "3 web 2 bulk 1ms": Cell(web=3, bulk=2, to_redis=0.001),
    "3 web 2 bulk 20ms": Cell(web=3, bulk=2, to_redis=0.02),
    "25 bulk 1ms": Cell(bulk=25, to_redis=0.001),
    "light": Cell(web=1, seconds=30, network="loopback"),
    "light 20ms": Cell(web=1, seconds=30, network="loopback", to_redis=0.02),
    "throttled-py token bucket": Cell(4, 500, engine="throttled-py token bucket"),
    "throttled-py GCRA": Cell(4, 500, engine="throttled-py GCRA"),
    "limits moving window": Cell(4, 500, engine="limits moving window"),
    "pyrate-limiter": Cell(4, 500, engine="pyrate-limiter"),
}


async def throttled(using: str, url: str) -> Acquire:
    from throttled.asyncio import RedisStore, Throttled, per_sec

    throttle = Throttled(using=using, quota=per_sec(QPS, burst=QPS), store=RedisStore(server=url), timeout=600)
    return lambda: throttle.limit("key")


async def limits_moving_window(url: str) -> Acquire:
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import MovingWindowRateLimiter

    limiter, item = (
        MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy")),
        RateLimitItemPerSecond(QPS),
    )

    async def acquire() -> None:
        while not await limiter.hit(item, "key"):
            stats = await limiter.get_window_stats(item, "key")
            await asyncio.sleep(max(0.001, stats.reset_time - time.time()))

    return acquire


async def pyrate(url: str) -> Acquire:
    from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
    from redis.asyncio import Redis

    bucket = await RedisBucket.init([Rate(QPS, Duration.SECOND)], Redis.from_url(url), "key")
    limiter = Limiter(bucket)
    return lambda: limiter.try_acquire_async("key")


ENGINES: dict[str, Callable[[str], Awaitable[Acquire]]] = {
    "throttled-py token bucket": lambda url: throttled("token_bucket", url),
    "throttled-py GCRA": lambda url: throttled("gcra", url),
    "limits moving window": limits_moving_window,
    "pyrate-limiter": pyrate,
}


@dataclass
class Work:
    """What a worker did: when its calls ended, how many weren't made, and how long the web's waited."""

    ended: list[float] = field(default_factory=list)
    not_made: int = 0
    waits: list[float] = field(default_factory=list)


async def burst(zim: ZimClient, calls: int, work: Work) -> None:
    async def call(number: int) -> None:
        await zim.send(DeleteConv("alice", f"g{number}", ConvType.GROUP))
        work.ended.append(time.monotonic())

    await asyncio.gather(*(call(number) for number in range(calls)))


async def web(zim: ZimClient, until: float, work: Work) -> None:
    """Make a call a second, once the others are at work, and in no step with other processes."""
    await asyncio.sleep(STARTING + random.random())
    next_at = time.monotonic()
    while time.monotonic() < until:
        await zim.send(DeleteConv("alice", "g1", ConvType.GROUP))
        work.ended.append(time.monotonic())
        next_at += 1.0
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))


async def bulk(zim: ZimClient, until: float, work: Work) -> None:
    async def lane(number: int) -> None:
        while time.monotonic() < until:
            await zim.send(DeleteConv("alice", f"g{number}", ConvType.GROUP), priority="bulk")
            work.ended.append(time.monotonic())

    await asyncio.gather(*(lane(number) for number in range(ENDLESS)))


async def work_through_client(task: str, amount: float, base_url: str, redis_url: str) -> Work:
    patient = RetryPolicy(attempts=1000, first_backoff=0.0, longest_backoff=0.0)
    work = Work()

    def note_wait(event: Event) -> None:
        if isinstance(event, CallEnded):
            work.waits.append(event.queue_seconds)

    observers = [note_wait] if task == "web" else []
    async with (
        RedisRateLimiter(redis_url, app_id=1) as limiter,
        ZimClient(1, "secret", base_url=base_url, retry=patient, limiter=limiter, observers=observers) as zim,
    ):
        if task == "burst":
            await burst(zim, int(amount), work)
        elif task == "web":
            await web(zim, time.monotonic() + amount, work)
        else:
            await bulk(zim, time.monotonic() + amount, work)
    return work


async def work_through_engine(engine: str, calls: int, base_url: str, redis_url: str) -> Work:
    """Make the calls as a user of another library would, refused ones again, but not for ever."""
    # Of more connections than 100, redis-py makes errors by itself.
    acquire, work = await ENGINES[engine](f"{redis_url}?max_connections={2 * calls}"), Work()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            while True:
                await acquire()
                async with session.post(base_url, json=BODY) as answer:
                    if (await answer.json())["Code"] == 0:
                        work.ended.append(time.monotonic())
                        return

        tasks = [asyncio.create_task(call()) for _ in range(calls)]
        await asyncio.wait(tasks, timeout=PATIENCE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        work.not_made = calls - len(work.ended)
    return work


def be_worker(engine: str, task: str, amount: float, base_url: str, redis_url: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    if engine == "zim_async":
        work = asyncio.run(work_through_client(task, amount, base_url, redis_url))
    else:
        work = asyncio.run(work_through_engine(engine, int(amount), base_url, redis_url))
    print(json.dumps(asdict(work)))


class DelayProxy:
    """Passes bytes on to a port, each way after half of ``seconds``."""

    def __init__(self, port: int, seconds: float) -> None:
        self._target, self._way = port, seconds / 2
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while content := await source.read(65536):
                loop.call_later(self._way, target.write, content)
        except ConnectionError:
            pass
        loop.call_later(self._way, target.close)


async def play(cell: Cell) -> dict[str, float]:
    """Play one cell, and return its figures."""
    tasks = [("burst", cell.calls)] * cell.processes + [("web", cell.seconds)] * cell.web
    tasks += [("bulk", cell.seconds)] * cell.bulk
    with RedisServer(own=True) as server, running_server("--counting", "sliding", *NETWORKS[cell.network]) as base_url:
        proxy = DelayProxy(server.port, cell.to_redis)
        port = await proxy.start() if cell.to_redis else server.port
        urls = base_url, f"redis://127.0.0.1:{port}"
        workers = list(await asyncio.gather(*(start_worker(cell.engine, *task, *urls) for task in tasks)))
        before = server.steps()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"go\n")
        outputs = await gather_outputs(workers, cell.kill_after)
        steps = server.steps() - before
        arrivals = await fetch_arrivals(base_url)
        proxy.stop() if cell.to_redis else None
    return figures(cell, [Work(**json.loads(output)) for output in outputs], arrivals, steps)


async def start_worker(engine: str, task: str, amount: float, *urls: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "benchmarks.shared_quota", "--worker", engine, task, str(amount), *urls]
    worker = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    assert worker.stdout is not None
    await worker.stdout.readline()
    return worker


async def gather_outputs(workers: list[asyncio.subprocess.Process], kill_after: float | None) -> list[str]:
    """Let the workers end, but for the last one if it is to be killed; return what the others printed."""
    if kill_after is not None:
        await asyncio.sleep(kill_after)
        killed = workers.pop()
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
    return [output.decode() for output, _ in await asyncio.gather(*(worker.communicate() for worker in workers))]


def figures(cell: Cell, works: list[Work], arrivals: list[float], steps: int) -> dict[str, float]:
    """Return the figures of a run, from its first arrival on: a new quota waits a second before that."""
    began, ends = arrivals[0], max(work.ended[-1] for work in works if work.ended)
    burst = QPS if cell.processes else 0  # goes at once, and isn't counted; bulk calls are paced from the start
    if not cell.processes:
        ends = min(ends, began + cell.seconds - STARTING)
    within = bisect_right(arrivals, ends)
    counter = COUNTERS["sliding"](QPS)
    refused = sum(not counter.accepts(at) for at in arrivals)
    found = {
        "refused": refused,
        "worst second": max(in_the_last_second(arrivals)),
        "share": (within - refused - burst) / QPS / (ends - began),
        "steps": steps / len(arrivals),
    }
    if cell.processes:
        found["not made"] = sum(work.not_made for work in works)
    if not cell.web:
        found["most/least"] = fairness([work.ended for work in works])
    waits = sorted(1000 * wait for work in works for wait in work.waits)
    if waits:
        found |= {"p50": statistics.median(waits), "p95": waits[int(0.95 * len(waits))], "worst": waits[-1]}
    return found


def fairness(ended: list[list[float]]) -> float:
    """Return how many more calls the most served process made than the least, until the first was through."""
    until = min(times[-1] for times in ended)
    counts = [bisect_left(times, until) for times in ended]
    return max(counts) / max(1, min(counts))


COLUMNS = ("refused", "worst second", "share", "not made", "steps", "most/least", "p50", "p95", "worst")


def row(name: str, found: dict[str, float]) -> str:
    shown = []
    for column in COLUMNS:
        value = found.get(column, math.nan)
        digits = 3 if column == "share" else 2 if column in ("steps", "most/least") else 0
        shown.append("" if math.isnan(value) else f"{value:.{digits}f}")
    return f"| {name} | {' | '.join(shown)} |"


def keep(name: str, found: dict[str, float]) -> None:
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = {figure: round(value, 3) for figure, value in found.items()}
    RESULTS.write_text(json.dumps({cell: kept[cell] for cell in CELLS if cell in kept}, indent=1) + "\n")


def main() -> None:
    """Play the cells, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CELLS), help="play these cells alone")
    parser.add_argument("--list", action="store_true", help="name the cells")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        engine, task, amount, base_url, redis_url = options.worker
        be_worker(engine, task, float(amount), base_url, redis_url)
        return
    if options.list:
        print("\n".join(CELLS))
        return
    print(
        "Share of the ideal schedule, from the first arrival on. Steps in Redis for a call. Waits of the web in ms.\n"
    )
    print(f"| processes x calls, round trip to Redis | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in options.only or CELLS:
        found = asyncio.run(play(CELLS[name]))
        print(row(name, found), flush=True)
        keep(name, found)


if __name__ == "__main__":
    main()
