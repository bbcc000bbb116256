"""What the library costs: calls a second, memory and import time, relative to bare aiohttp.

Real sockets; the server on one core, everything measured on the other, in slices that take turns.
`python -m benchmarks.overhead` (about 2 minutes) prints the ratios, and writes results/overhead.json and .png.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median

import aiohttp
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from benchmarks.processes import running_server
from zim_async import ConvType, RateLimiter, ZimClient

UNLIMITED = 1e6
SLICES, CALLS_A_SLICE = 11, 400
BODY = {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2}
RESULTS = Path(__file__).with_name("results")
Call = Callable[[], Awaitable[object]]
Contender = Callable[[str], contextlib.AbstractAsyncContextManager[Call]]


def signed_parameters() -> dict[str, str]:
    nonce, timestamp = secrets.token_hex(8), str(int(time.time()))
    signature = hashlib.md5(f"1{nonce}secret{timestamp}".encode()).hexdigest()
    parameters = {"Action": "DeleteConv", "AppId": "1", "SignatureNonce": nonce, "Timestamp": timestamp}
    return parameters | {"SignatureVersion": "2.0", "Signature": signature}


FIXED_PARAMETERS = signed_parameters()


@contextlib.asynccontextmanager
async def bare(url: str) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            async with session.post(url, params=FIXED_PARAMETERS, json=BODY) as response:
                await response.json()

        yield call


@contextlib.asynccontextmanager
async def recipe(url: str) -> AsyncIterator[Call]:
    """Do as the documentation of aiohttp, aiolimiter and tenacity suggests."""
    limiter = AsyncLimiter(UNLIMITED, 1)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(5),
                wait=wait_random_exponential(),
                retry=retry_if_exception_type(aiohttp.ClientError),
            ):
                with attempt:
                    async with limiter, session.post(url, params=signed_parameters(), json=BODY) as response:
                        answer = await response.json()
                        if answer["Code"] != 0:
                            raise RuntimeError(answer["Message"])

        yield call


@contextlib.asynccontextmanager
async def zim_async(url: str) -> AsyncIterator[Call]:
    async with ZimClient(1, "secret", base_url=url, limiter=RateLimiter(UNLIMITED)) as zim:
        yield lambda: zim.delete_conv(from_user_id="alice", conv_id="g7", conv_type=ConvType.GROUP)


@contextlib.asynccontextmanager
async def slack(url: str) -> AsyncIterator[Call]:
    from slack_sdk.web.async_client import AsyncWebClient

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        client = AsyncWebClient(token="token", base_url=url, session=session)
        yield lambda: client.api_call("conversations.close", json=BODY)


@contextlib.asynccontextmanager
async def stream(url: str) -> AsyncIterator[Call]:
    from stream_chat import StreamChatAsync

    async with StreamChatAsync(
        api_key="key", api_secret="a secret of thirty-two characters", base_url=url.rstrip("/")
    ) as client:
        yield lambda: client.post("channels/delete", data=BODY)


@contextlib.asynccontextmanager
async def httpx_(url: str) -> AsyncIterator[Call]:
    import httpx

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:

        async def call() -> None:
            (await client.post(url, params=FIXED_PARAMETERS, json=BODY)).json()

        yield call


CONTENDERS: dict[str, Contender] = {
    "bare aiohttp": bare,
    "bare aiohttp again": bare,
    "zim_async": zim_async,
    "recipe": recipe,
    "slack_sdk": slack,
    "stream-chat": stream,
    "httpx": httpx_,
}


async def calls_a_second(call: Call, in_flight: int) -> float:
    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    each = max(1, CALLS_A_SLICE // in_flight)
    start = time.perf_counter()
    await asyncio.gather(*(work(each) for _ in range(in_flight)))
    return each * in_flight / (time.perf_counter() - start)


async def compare_speed(url: str, in_flight: int) -> dict[str, float]:
    """Return each contender's calls a second relative to bare's, the median over slices of each turn."""
    async with contextlib.AsyncExitStack() as stack:
        calls = {name: await stack.enter_async_context(make(url)) for name, make in CONTENDERS.items()}
        ratios: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            await calls_a_second(call, in_flight)
        for _ in range(SLICES):
            base = await calls_a_second(calls["bare aiohttp"], in_flight)
            for name, call in calls.items():
                if name != "bare aiohttp":
                    ratios[name].append(await calls_a_second(call, in_flight) / base)
                    base = await calls_a_second(calls["bare aiohttp"], in_flight)
        return {name: round(median(values), 3) for name, values in ratios.items() if values}


async def serve_applications(url: str, seconds: float) -> dict[str, float]:
    """Offer 50 applications' quotas, both actions, in one process; return calls a second, and bare's."""
    async with bare(url) as call:
        base = [await calls_a_second(call, 200) for _ in range(5)]
    done = 0
    ends = time.perf_counter() + seconds
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(ZimClient(app, "secret", base_url=url, limiter=RateLimiter()))
            for app in range(1, 51)
        ]

        async def work(client: ZimClient, peer: bool) -> None:
            nonlocal done
            while time.perf_counter() < ends:
                if peer:
                    await client.clear_peer_message(from_user_id="alice", to_user_id="bob")
                else:
                    await client.delete_conv(from_user_id="alice", conv_id="g7", conv_type=ConvType.GROUP)
                done += 1

        start = time.process_time()
        await asyncio.gather(*(work(client, peer) for client in clients for peer in (True, False) for _ in range(25)))
        share = (time.process_time() - start) / seconds
    return {
        "offered": 2000.0,
        "done": round(done / seconds),
        "share_of_core": round(share, 2),
        "bare": round(median(base)),
    }


async def memory_in_flight(name: str, url: str) -> float:
    """Return the megabytes that 10,000 calls in flight add to this process."""
    async with CONTENDERS[name](url) as call:
        before = resident_bytes()
        tasks = [asyncio.ensure_future(call()) for _ in range(10_000)]
        await asyncio.sleep(8)
        grown = resident_bytes() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return grown / 1e6


async def memory_over_calls(url: str) -> list[float]:
    """Return the resident megabytes after each 50,000 of 200,000 calls."""
    grown = []
    async with zim_async(url) as call:
        for _ in range(4):
            for _ in range(50_000 // CALLS_A_SLICE):
                await calls_a_second(call, 20)
            grown.append(round(resident_bytes() / 1e6, 1))
    return grown


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def import_milliseconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(11)]
    return 1000 * median(times)


def in_new_process(*arguments: str) -> str:
    return subprocess.check_output([sys.executable, "-m", "benchmarks.overhead", *arguments], text=True)


def draw(speed: dict[int, dict[str, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 3.5))
    names = [name for name in CONTENDERS if name != "bare aiohttp"]
    for offset, (in_flight, ratios) in enumerate(speed.items()):
        places = [place + 0.26 * offset for place in range(len(names))]
        axis.bar(places, [ratios[name] for name in names], width=0.24, label=f"{in_flight} in flight")
    axis.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    axis.set_xticks([place + 0.26 for place in range(len(names))], names, fontsize=8)
    axis.set_ylabel("calls a second, bare aiohttp = 1")
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "overhead.png", dpi=110)


def measure() -> dict[str, object]:
    cores = sorted(os.sched_getaffinity(0))
    pinned = ["--core", str(cores[0])] if len(cores) > 1 else []
    os.sched_setaffinity(0, {cores[-1]})
    with running_server(*pinned) as url:
        speed = {in_flight: asyncio.run(compare_speed(url, in_flight)) for in_flight in (1, 20, 200)}
        applications = asyncio.run(serve_applications(url, 15))
        over_calls = json.loads(in_new_process("--over-calls", url))
    with running_server(*pinned, "--trip", "60") as url:
        in_flight_mb = {
            name: json.loads(in_new_process("--in-flight", name, url)) for name in ("bare aiohttp", "zim_async")
        }
    above_aiohttp = import_milliseconds("zim_async") - import_milliseconds("aiohttp")
    draw(speed)
    return {
        "python": sys.version.split()[0],
        "aiohttp": aiohttp.__version__,
        "calls_a_second_relative_to_bare": speed,
        "fifty_applications": applications,
        "megabytes_of_10000_in_flight": in_flight_mb,
        "megabytes_after_each_50000_calls": over_calls,
        "import_milliseconds_above_aiohttp": round(above_aiohttp, 1),
    }


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", nargs=2, metavar=("CONTENDER", "URL"), help=argparse.SUPPRESS)
    parser.add_argument("--over-calls", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_flight:
        print(json.dumps(asyncio.run(memory_in_flight(*options.in_flight))))
    elif options.over_calls:
        print(json.dumps(asyncio.run(memory_over_calls(options.over_calls))))
    else:
        RESULTS.mkdir(exist_ok=True)
        results = json.dumps(measure(), indent=2)
        (RESULTS / "overhead.json").write_text(results + "\n")
        print(results)


if __name__ == "__main__":
    main()
