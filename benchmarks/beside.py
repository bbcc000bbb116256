"""A web call beside a clean-up: how long it waits for its permit, with bulk calls in bursts and a slot apart.

Real sockets and real time: a hundred endless bulk calls, and an interactive one each second.
`python -m benchmarks.beside` (about 2 minutes) prints the table and draws results/beside.svg and .png.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.processes import running_server
from benchmarks.rate import fetch_arrivals, in_the_last_second
from zim_async import ConvType, DeleteConv, RateLimiter, ZimClient
from zim_async.limits import LocalWindow, Permit, Priority

QPS, SECONDS, WARM_UP, BULK_CALLS = 20, 55.0, 5.0, 100
NETWORKS = {"loopback": (0.0, 0.0), "40 ms": (0.02, 0.0), "200 + 5 ms": (0.1, 0.0025)}  # each way: seconds, jitter
RESULTS = Path(__file__).with_name("results")


class Unpaced:
    """A local window that knows no bulk calls: they go as soon as there is a permit."""

    def __init__(self, action: str, qps: float) -> None:
        self._window = LocalWindow(action, qps)
        self.open = self._window.open
        self.close = self._window.close
        self.resize = self._window.resize

    @property
    def permits(self) -> float:
        return self._window.permits

    @property
    def idle(self) -> bool:
        return self._window.idle

    def try_take(self, _priority: Priority) -> Permit | None:
        return self._window.try_take("interactive")

    def expect(self, interactive: int, bulk: int) -> None:
        self._window.expect(interactive + bulk, 0)

    def estimated_wait(self, _priority: Priority, ahead: int) -> float:
        return self._window.estimated_wait("interactive", ahead)


WAYS = {"in bursts": Unpaced, "a slot apart": LocalWindow}


async def call_beside(base_url: str, way: str, round_trip: float) -> tuple[list[float], float]:
    """Return the seconds that the interactive calls waited beyond the round trip, and all calls a second."""
    done, waits = 0, []
    async with ZimClient(1, "secret", base_url=base_url, limiter=RateLimiter(QPS, window=WAYS[way])) as zim:
        action = DeleteConv("alice", "g7", ConvType.GROUP)
        starts = time.monotonic() + WARM_UP
        ends = starts + SECONDS

        async def call(priority: Priority) -> float:
            nonlocal done
            start = time.monotonic()
            await zim.send(action, priority=priority)
            if starts <= time.monotonic() < ends:
                done += 1
            return time.monotonic() - start

        async def clean_up() -> None:
            while time.monotonic() < ends:
                await call("bulk")

        bulk = [asyncio.create_task(clean_up()) for _ in range(BULK_CALLS)]
        await asyncio.sleep(WARM_UP)
        while time.monotonic() < ends:
            next_second = time.monotonic() + 1.0
            await asyncio.sleep(random.uniform(0.0, 0.9))
            waits.append(await call("interactive") - round_trip)
            await asyncio.sleep(max(0.0, next_second - time.monotonic()))
        await asyncio.gather(*bulk)
    return waits, done / SECONDS


def play(way: str, network: str) -> dict[str, object]:
    """Play one cell in this process; return what is to be known of it."""
    trip, jitter = NETWORKS[network]
    arguments = ["--counting", "sliding", "--trip", str(trip), "--jitter", str(jitter)]
    with running_server(*arguments) as base_url:
        waits, rate = asyncio.run(call_beside(base_url, way, 2 * (trip + jitter)))
        arrivals = asyncio.run(fetch_arrivals(base_url))
    most = max(in_the_last_second(arrivals))
    return {"waits": waits, "share": rate / QPS, "most": most}


def play_all_networks(way: str) -> dict[str, dict[str, object]]:
    """Play the networks side by side, in processes of their own: at 20 calls a second they leave the machine idle."""
    command = [sys.executable, "-m", "benchmarks.beside", "--cell", way]
    processes = {
        network: subprocess.Popen([*command, network], stdout=subprocess.PIPE, text=True) for network in NETWORKS
    }
    return {network: json.loads(process.communicate()[0]) for network, process in processes.items()}


def row(way: str, network: str, cell: dict[str, object]) -> str:
    waits: list[float] = sorted(cell["waits"])  # type: ignore[call-overload]
    shown = " / ".join(f"{1000 * seconds:.0f}" for seconds in (median(waits), waits[int(0.95 * len(waits))], waits[-1]))
    return f"| {way} | {network} | {shown} | {cell['share']:.3f} | {cell['most']} |"


def draw(played: dict[str, dict[str, dict[str, object]]], network: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 3))
    colours = dict(zip(WAYS, ("tab:red", "tab:green"), strict=True))
    for way, cells in played.items():
        waits: list[float] = cells[network]["waits"]  # type: ignore[assignment]
        axis.plot(
            [1000 * seconds for seconds in waits], "o", markersize=4, color=colours[way], label=f"bulk calls {way}"
        )
    axis.set_xlabel(f"web calls, one a second beside a clean-up that uses the whole quota; network of {network}")
    axis.set_ylabel("wait beyond the round trip, ms")
    axis.legend(fontsize=8)
    figure.tight_layout()
    RESULTS.mkdir(exist_ok=True)
    for suffix in ("svg", "png"):
        figure.savefig(RESULTS / f"beside.{suffix}", dpi=110, metadata={"Date": None} if suffix == "svg" else None)


def main() -> None:
    """Play both ways, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(WAYS), help="play one way, and draw nothing")
    parser.add_argument("--cell", nargs=2, metavar=("WAY", "NETWORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(play(*options.cell)))
        return
    print(
        "Wait of a web call beyond the round trip, p50 / p95 / worst in ms; share of the quota; most in any second.\n"
    )
    print("| bulk calls | network | wait | share | most |\n|---|---|---|---|---|")
    played = {}
    for way in [options.only] if options.only else WAYS:
        played[way] = play_all_networks(way)
        for network, cell in played[way].items():
            print(row(way, network, cell), flush=True)
    if not options.only:
        draw(played, "40 ms")


if __name__ == "__main__":
    main()
