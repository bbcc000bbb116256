"""Ways of limiting 400 calls at once to 20 a second, against a server that counts strictly, over four networks.

Real sockets and real time throughout. `python -m benchmarks.rate` (about 5 minutes) prints the table and draws
results/rate.svg and .png; `python -m benchmarks.rate --only zim_async` plays one contender.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from benchmarks.processes import running_server
from zim_async import ConvType, DeleteConv, RetryPolicy, ZimClient
from zim_async.sandbox import COUNTERS, Counting

CALLS, QPS = 400, 20
IDEAL = CALLS / QPS - 1.0
NETWORKS = {
    "loopback": [],
    "40 ms": ["--trip", "0.02", "--jitter", "0.005"],
    "200 ms": ["--trip", "0.1", "--jitter", "0.03"],
    "200 ms + set-up": ["--trip", "0.1", "--jitter", "0.03", "--setup"],
}
BODY = {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2}
RESULTS = Path(__file__).with_name("results")
Acquire = Callable[[], Awaitable[object]]


def aiolimiter_20_in_1() -> Acquire:
    from aiolimiter import AsyncLimiter

    return AsyncLimiter(20, 1).acquire


def aiolimiter_1_in_a_20th() -> Acquire:
    from aiolimiter import AsyncLimiter

    return AsyncLimiter(1, 1 / 20).acquire


def aiolimiter_2_in_an_18th() -> Acquire:
    from aiolimiter import AsyncLimiter

    return AsyncLimiter(2, 2 / 18).acquire


def throttled(using: str) -> Acquire:
    from throttled.asyncio import MemoryStore, Throttled, per_sec

    throttle = Throttled(using=using, quota=per_sec(20, burst=20), store=MemoryStore(), timeout=600)
    return lambda: throttle.limit("key")


def pyrate() -> Acquire:
    from pyrate_limiter import Duration, Limiter, Rate

    limiter = Limiter(Rate(20, Duration.SECOND))
    return lambda: limiter.try_acquire_async("key")


def limits_moving_window() -> Acquire:
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import MovingWindowRateLimiter

    limiter, item = MovingWindowRateLimiter(MemoryStorage()), RateLimitItemPerSecond(20)

    async def acquire() -> None:
        while not await limiter.hit(item, "key"):
            stats = await limiter.get_window_stats(item, "key")
            await asyncio.sleep(max(0.001, stats.reset_time - time.time()))

    return acquire


CONTENDERS: dict[str, Callable[[], Acquire] | None] = {
    "AsyncLimiter(20, 1)": aiolimiter_20_in_1,
    "AsyncLimiter(1, 1/20)": aiolimiter_1_in_a_20th,
    "AsyncLimiter(2, 2/18)": aiolimiter_2_in_an_18th,
    "throttled-py token bucket": lambda: throttled("token_bucket"),
    "throttled-py GCRA": lambda: throttled("gcra"),
    "pyrate-limiter": pyrate,
    "limits moving window": limits_moving_window,
    "zim_async": None,
}


async def call_through(acquire: Acquire, base_url: str) -> float:
    """Make the calls through a limiter, refused ones again; return the seconds they took."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            while True:
                await acquire()
                async with session.post(base_url, json=BODY) as answer:
                    if (await answer.json())["Code"] == 0:
                        return

        start = time.monotonic()
        await asyncio.gather(*(call() for _ in range(CALLS)))
        return time.monotonic() - start


async def call_through_client(base_url: str) -> float:
    """Make the calls through this library; return the seconds they took."""
    patient = RetryPolicy(attempts=1000, first_backoff=0.0, longest_backoff=0.0)
    async with ZimClient(1, "secret", base_url=base_url, retry=patient) as zim:
        start = time.monotonic()
        await asyncio.gather(*(zim.send(DeleteConv("alice", f"g{n}", ConvType.GROUP)) for n in range(CALLS)))
        return time.monotonic() - start


async def fetch_arrivals(base_url: str) -> list[float]:
    async with aiohttp.ClientSession() as session, session.get(base_url) as answer:
        return sorted(json.loads(await answer.read()))


def play(contender: str, network: str, counting: Counting) -> dict[str, object]:
    """Play one cell in this process; return what is to be known of it."""
    make = CONTENDERS[contender]
    with running_server("--counting", counting, *NETWORKS[network]) as base_url:
        seconds = asyncio.run(call_through(make(), base_url) if make else call_through_client(base_url))
        arrivals = asyncio.run(fetch_arrivals(base_url))
    return {
        "refused": len(arrivals) - CALLS,
        "share": IDEAL / seconds,
        "arrivals": [at - arrivals[0] for at in arrivals],
    }


def in_the_last_second(arrivals: list[float]) -> list[int]:
    return [index + 1 - bisect_left(arrivals, at - 1.0 + 1e-9) for index, at in enumerate(arrivals)]


def play_all_networks(contender: str, counting: Counting) -> dict[str, dict[str, object]]:
    """Play the networks side by side, in processes of their own: at 20 calls a second they leave the machine idle."""
    command = [sys.executable, "-m", "benchmarks.rate", "--counting", counting, "--cell", contender]
    processes = {
        network: subprocess.Popen([*command, network], stdout=subprocess.PIPE, text=True) for network in NETWORKS
    }
    return {network: json.loads(process.communicate()[0]) for network, process in processes.items()}


def row(contender: str, cells: dict[str, dict[str, object]]) -> str:
    worst = max(max(in_the_last_second(cell["arrivals"])) for cell in cells.values())  # type: ignore[arg-type]
    shown = " | ".join(f"{cell['refused']} / {cell['share']:.3f}" for cell in cells.values())
    return f"| {contender} | {shown} | {worst} |"


def draw(played: dict[str, dict[str, dict[str, object]]], network: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(played), 1, figsize=(9, 1.25 * len(played)), sharex=True, sharey=True)
    for axis, (contender, cells) in zip(axes, played.items(), strict=True):
        arrivals: list[float] = cells[network]["arrivals"]  # type: ignore[assignment]
        counts = in_the_last_second(arrivals)
        over = max(counts) > QPS
        axis.step(arrivals, counts, where="post", linewidth=1, color="tab:red" if over else "tab:green")
        axis.axhline(QPS, color="black", linewidth=0.8, linestyle="--")
        axis.set_title(f"{contender}: {cells[network]['refused']} refused, most {max(counts)}", fontsize=9, loc="left")
        axis.set_ylim(0, 45)
    axes[-1].set_xlabel(
        f"seconds; {CALLS} calls at once, network of {network}, server allows {QPS} in any second (dashed)"
    )
    figure.supylabel("arrivals in the last second", fontsize=9)
    figure.tight_layout()
    RESULTS.mkdir(exist_ok=True)
    for suffix in ("svg", "png"):
        figure.savefig(RESULTS / f"rate.{suffix}", dpi=110, metadata={"Date": None} if suffix == "svg" else None)


def main() -> None:
    """Play every contender, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(CONTENDERS), help="play one contender, and draw nothing")
    parser.add_argument("--counting", choices=list(COUNTERS), default="sliding", help="how the server counts")
    parser.add_argument("--cell", nargs=2, metavar=("CONTENDER", "NETWORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        contender, network = options.cell
        print(json.dumps(play(contender, network, options.counting)))
        return
    print("Calls refused / share of the ideal schedule; last column: most arrivals in any second.\n")
    print(f"| way of limiting | {' | '.join(NETWORKS)} | worst |\n|---|{'---|' * len(NETWORKS)}---|")
    played = {}
    for contender in [options.only] if options.only else CONTENDERS:
        played[contender] = play_all_networks(contender, options.counting)
        print(row(contender, played[contender]), flush=True)
    if not options.only:
        draw(played, "40 ms")


if __name__ == "__main__":
    main()
