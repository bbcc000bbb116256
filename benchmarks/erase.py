"""What erasing users costs and survives: its share of the quota, its memory, and kills at random.

`python -m benchmarks.erase` prints the figures and writes results/erase.json (about 8 minutes); `--only share` and the
like measure one, `--kills 20` makes that shorter. The server is the sandbox, in a process of its own where memory is
measured.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults import inject_faults
from benchmarks.overhead import resident_bytes
from zim_async import RateLimiter, ZimClient, erase_users
from zim_async.bulk import State, read_journal
from zim_async.erase import UNKNOWN_CONVERSATION, read_erasures
from zim_async.sandbox import Sandbox

APP_ID, SECRET = 1, "a secret for benchmarks"
SHARE_USERS, CONVERSATIONS, QPS = 200, 10, 20.0
MEMORY_USERS = 5_000
KILLED_USERS, KILLED_CONVERSATIONS, KILLED_QPS = 30, 12, 40.0
RESULTS = Path(__file__).with_name("results")


def users(count: int) -> Iterator[str]:
    return (f"user-{number}" for number in range(count))


def populate(box: Sandbox, count: int, conversations: int) -> None:
    """Give each user as many one-to-one conversations as groups."""
    for user in users(count):
        for number in range(conversations // 2):
            box.add_message(user, f"friend-{number}")
            box.add_group(f"group-{number}", [user, "member"])


async def measure_share() -> dict[str, float]:
    """Return the share of the slowest action's quota that a job uses at the vendor's rate."""
    async with Sandbox(app_id=APP_ID, server_secret=SECRET) as box:
        populate(box, SHARE_USERS, CONVERSATIONS)
        async with ZimClient(APP_ID, SECRET, base_url=box.base_url, limiter=RateLimiter(QPS)) as zim:
            start = time.perf_counter()
            progress = await erase_users(zim, users(SHARE_USERS))
            seconds = time.perf_counter() - start
        left = sum(box.messages(user, f"friend-{n}") is not None for user in users(SHARE_USERS) for n in range(5))
        slowest = max(progress.of(name).done for name in progress.tallies)
        return {
            "users": SHARE_USERS,
            "conversations_each": CONVERSATIONS,
            "seconds": round(seconds, 1),
            "share_of_slowest_quota": round(slowest / QPS / seconds, 3),
            "refused": box.refused,
            "left": left,
        }


async def erase_endless(url: str, count: int) -> dict[str, float]:
    """Erase users at a server without a limit; return the memory it took, in megabytes."""
    idle = resident_bytes()
    with tempfile.TemporaryDirectory(prefix="zim_async-") as directory:
        async with ZimClient(APP_ID, SECRET, base_url=url, limiter=RateLimiter(1e6)) as zim:
            start = time.perf_counter()
            progress = await erase_users(zim, users(count), journal=Path(directory, "journal"))
            seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "users": count,
        "rows": progress.done,
        "seconds": round(seconds),
        "megabytes_above_idle": round((peak - idle) / 1e6, 1),
        "peak_megabytes": round(peak / 1e6, 1),
    }


async def serve() -> None:
    """Serve users with ten conversations each, until their conversations are deleted; a list holds what is left."""
    rows = [
        {"ConvId": f"{kind}-{n}", "ConvType": conv_type, "UpdateTime": 1}
        for n in range(CONVERSATIONS // 2)
        for kind, conv_type in (("friend", 0), ("group", 2))
    ]
    deleted: set[str] = set()

    def list_conversations(given: Mapping[str, Any]) -> dict[str, Any]:
        return {"TotalCount": 0, "Next": 0, "List": [] if given["FromUserId"] in deleted else rows}

    async with Sandbox(app_id=APP_ID, server_secret=SECRET, qps=None) as box:
        box.handle("ClearPeerMessage", lambda _: None)
        box.handle("ClearMemberGroupMessage", lambda _: None)
        box.handle("DeleteConv", lambda given: deleted.add(given["FromUserId"]))
        box.handle("QueryConversationList", list_conversations)
        print(box.base_url, flush=True)
        await asyncio.Event().wait()


def measure_memory() -> list[dict[str, float]]:
    """Measure two sizes, each in a process of its own: the memory of the larger is that of the smaller."""
    command = [sys.executable, "-m", "benchmarks.erase"]
    figures = []
    for count in (MEMORY_USERS // 10, MEMORY_USERS):
        with subprocess.Popen([*command, "--serve"], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            try:
                out = subprocess.check_output([*command, "--endless", url, str(count)], text=True)
            finally:
                server.terminate()
        figures.append(json.loads(out))
    return figures


async def run_killed(path: str, qps: float) -> None:
    """Do the job that is killed again and again."""
    limiter = RateLimiter(qps)
    async with ZimClient(APP_ID, SECRET, base_url=os.environ["ZIM_BASE_URL"], limiter=limiter) as zim:
        await erase_users(zim, users(KILLED_USERS), journal=path)


async def kill_jobs(kills: int, seed: int) -> dict[str, int]:
    """Kill jobs at random moments, under faults, each resumed until it is done; compare with the server."""
    generator = random.Random(seed)
    totals = Counter(dict.fromkeys(("left", "others_gone", "deleted_before_cleared", "not_reported_erased"), 0))
    while totals["kills"] < kills:
        with tempfile.TemporaryDirectory(prefix="zim_async-") as directory:
            await kill_one_job(Path(directory, "journal"), generator, totals, kills)
    return dict(totals)


class Accounts:
    """A server's state of its own: which conversations are listed, and which have messages."""

    def __init__(self) -> None:
        self.messages = {  # of those listed, by user, conversation and type
            (user, f"{kind}-{n}", conv_type): True
            for user in (*users(KILLED_USERS), "somebody else")
            for n in range(KILLED_CONVERSATIONS // 2)
            for kind, conv_type in (("friend", 0), ("group", 2))
        }
        self.deleted_before_cleared = 0

    def serve(self, box: Sandbox) -> None:
        box.handle("ClearPeerMessage", lambda given: self.clear(given["FromUserId"], given["ToUserId"], 0))
        box.handle("ClearMemberGroupMessage", lambda given: self.clear(given["FromUserId"], given["GroupId"], 2))
        box.handle("DeleteConv", lambda given: self.delete(given["FromUserId"], given["ConvId"], given["ConvType"]))
        box.handle("QueryConversationList", lambda given: self.list(given["FromUserId"]))

    def clear(self, *conversation: Any) -> int | None:
        if conversation not in self.messages:
            return UNKNOWN_CONVERSATION
        self.messages[conversation] = False
        return None

    def delete(self, *conversation: Any) -> int | None:
        if conversation not in self.messages:
            return UNKNOWN_CONVERSATION
        self.deleted_before_cleared += self.messages.pop(conversation)
        return None

    def list(self, user: str) -> dict[str, Any]:
        rows = [
            {"ConvId": conv, "ConvType": kind, "UpdateTime": 1} for owner, conv, kind in self.messages if owner == user
        ]
        return {"TotalCount": len(rows), "Next": 0, "List": rows}


async def kill_one_job(path: Path, generator: random.Random, totals: Counter[str], kills: int) -> None:
    accounts = Accounts()
    async with Sandbox(app_id=APP_ID, server_secret=SECRET, qps=None) as box:
        accounts.serve(box)
        box.delay = 0.03
        killed = True
        while killed and totals["kills"] < kills:
            totals["sent_again_at_most"] += inject_faults(box, generator)
            killed, sent = await start_and_kill(box, path, generator)
            totals["kills"] += killed
            totals["sent_again_at_most"] += sent
        box.delay = 0.0
        process = await start(box, path, 5_000.0)
        assert await process.wait() == 0
        calls = sum(arrival.action != "QueryConversationList" for arrival in box.arrivals)
    reports = list(read_erasures(path))
    totals["jobs"] += 1
    totals["sent_again"] += calls - 2 * KILLED_USERS * KILLED_CONVERSATIONS
    totals["deleted_before_cleared"] += accounts.deleted_before_cleared
    totals["left"] += sum(user != "somebody else" for user, *_ in accounts.messages)
    totals["not_reported_erased"] += KILLED_USERS - sum(report.erased for report in reports)
    totals["others_gone"] += KILLED_CONVERSATIONS - sum(
        messages for (user, *_), messages in accounts.messages.items() if user == "somebody else"
    )


async def start(box: Sandbox, path: Path, qps: float) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "benchmarks.erase", "--killed", str(path), str(qps)]
    environment = os.environ | {"ZIM_BASE_URL": box.base_url}
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=DEVNULL, stderr=DEVNULL)


async def start_and_kill(box: Sandbox, path: Path, generator: random.Random) -> tuple[bool, int]:
    """Kill a run at a random moment after its first call; tell whether it was killed, and what was in flight."""
    process = await start(box, path, KILLED_QPS)
    arrived = len(box.arrivals)
    while len(box.arrivals) == arrived and process.returncode is None:
        await asyncio.sleep(0.002)
    await asyncio.sleep(generator.uniform(0.0, 0.8))
    killed = process.returncode is None
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()
    return killed, sum(1 for _ in read_journal(path, State.SENT))


MEASUREMENTS: Mapping[str, Callable[[int, int], object]] = {
    "share": lambda _, __: asyncio.run(measure_share()),
    "memory": lambda _, __: measure_memory(),
    "kills": lambda kills, seed: asyncio.run(kill_jobs(kills, seed)),
}


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(MEASUREMENTS), help="measure this alone, and keep nothing")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--endless", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--killed", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.endless:
        print(json.dumps(asyncio.run(erase_endless(options.endless[0], int(options.endless[1])))))
    elif options.killed:
        asyncio.run(run_killed(options.killed[0], float(options.killed[1])))
    elif options.only:
        print(json.dumps(MEASUREMENTS[options.only](options.kills, options.seed), indent=2))
    else:
        results = json.dumps(
            {name: measure(options.kills, options.seed) for name, measure in MEASUREMENTS.items()}, indent=2
        )
        (RESULTS / "erase.json").write_text(results + "\n")
        print(results)


if __name__ == "__main__":
    main()
