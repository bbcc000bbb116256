"""A strict ZIM server over real sockets with a network in front of it, in a process of its own.

It speaks just enough HTTP for speed, verifies nothing, counts each arrival once its way there is over, and
answers 7 beyond the limit. `python -m benchmarks.server --help`
"""

import argparse
import asyncio
import json
import os
import random
import signal
from functools import partial
from typing import Any

from zim_async.sandbox import COUNTERS, Counter, Counting

ANSWER = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"


def _answer(code: int) -> bytes:
    # "ok" is for slack_sdk, which takes part in a comparison.
    content = {"Code": code, "Message": "refused" if code else "success", "RequestId": "343649807833778782", "ok": True}
    body = json.dumps(content)
    return ANSWER.format(len(body), body).encode()


DONE, REFUSED = _answer(0), _answer(7)


class Network:
    """Seconds that each way takes: ``trip``, and an exponential jitter; two round trips more for a new connection."""

    def __init__(self, trip: float, jitter: float, setup: bool) -> None:
        self.trip, self.jitter, self.setup = trip, jitter, setup

    def way(self) -> float:
        return self.trip + (random.expovariate(1 / self.jitter) if self.jitter else 0.0)


class Connection(asyncio.Protocol):
    def __init__(self, network: Network, counter: Counter | None, arrivals: list[float]) -> None:
        self._network, self._counter, self._arrivals = network, counter, arrivals
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._expected = 0
        self._setup = 4 * network.trip if network.setup else 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._expected:
            head, separator, _ = self._received.partition(b"\r\n\r\n")
            if not separator:
                return
            if head.startswith(b"GET"):
                self._received = b""
                body = json.dumps(self._arrivals)
                self._transport.write(ANSWER.format(len(body), body).encode())
                self._arrivals.clear()
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._expected = len(head) + 4 + int(length)
        if len(self._received) >= self._expected:
            self._received, self._expected = b"", 0
            way, self._setup = self._setup + self._network.way(), 0.0
            if way:
                self._loop.call_later(way, self._arrive)
            else:
                self._arrive()

    def _arrive(self) -> None:
        answer = DONE
        if self._counter is not None:
            now = self._loop.time()
            self._arrivals.append(now)
            answer = DONE if self._counter.accepts(now) else REFUSED
        way = self._network.way()
        if way:
            self._loop.call_later(way, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(network: Network, counting: Counting | None, limit: int) -> None:
    """Print the port and serve until terminated; one limit for all requests."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    counter = COUNTERS[counting](limit) if counting else None
    arrivals: list[float] = []
    server = await loop.create_server(partial(Connection, network, counter, arrivals), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trip", type=float, default=0.0, help="seconds each way")
    parser.add_argument("--jitter", type=float, default=0.0, help="mean of the exponential jitter each way, seconds")
    parser.add_argument("--setup", action="store_true", help="two more round trips on a new connection")
    parser.add_argument("--counting", choices=list(COUNTERS), help="how to count; not at all by default")
    parser.add_argument("--core", type=int, help="the processor core to stay on")
    parser.add_argument("--limit", type=int, default=20, help="calls a second")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    asyncio.run(serve(Network(options.trip, options.jitter, options.setup), options.counting, options.limit))


if __name__ == "__main__":
    main()
