"""What bulk jobs cost and survive: planning and resuming a million actions, the journal's price, kills, logs cut off.

`python -m benchmarks.cleanup` (about 4 minutes) prints the figures and writes results/cleanup.json; the server
is the sandbox, in a process of its own where time is measured. `--kills 20` and the like make it shorter.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.faults import PASSING, inject_faults
from benchmarks.overhead import resident_bytes
from zim_async import ClearPeerMessage, ConvType, DeleteConv, RateLimiter, ZimClient, cleanup
from zim_async.bulk import State, plan, read_journal
from zim_async.bulk._journal import Journal, now
from zim_async.bulk._records import Mark
from zim_async.cli._columns import to_row
from zim_async.cli._rows import RowFile, RowReader, write_rows
from zim_async.sandbox import Sandbox

UNLIMITED = 1e6
PLANNED = 1_000_000
CALLS, IN_FLIGHT, PAIRS = 20_000, 200, 5
KILLED_QPS = 60
LOG_FRAMES_CUT = 2
PARAMETER_ERROR = 2  # a code of what is refused
COLUMNS = ("action", "from_user_id", "to_user_id", "conv_id", "conv_type")
APP_ID, SECRET = 1, "a secret for benchmarks"
RESULTS = Path(__file__).with_name("results")
Action = ClearPeerMessage | DeleteConv


def some(count: int) -> Iterator[Action]:
    for n in range(count):
        yield ClearPeerMessage(f"user-{n}", f"friend-{n}") if n % 2 else DeleteConv(f"user-{n}", "g7", ConvType.GROUP)


def write_csv(path: Path, count: int) -> None:
    with path.open("w") as file:
        write_rows(file, "csv", map(to_row, some(count)), COLUMNS)


async def plan_rows(path: Path) -> dict[str, float]:
    """Read, journal and plan a file's actions; return rows a second and the memory it took, in megabytes."""
    idle = resident_bytes()
    async with ZimClient(APP_ID, SECRET, base_url="http://127.0.0.1") as zim:
        start = time.perf_counter()
        with RowFile(str(path), RowReader()) as file:
            progress = await plan(zim, file.actions(print), journal=path.with_suffix(".journal"))
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "rows": progress.remaining,
        "rows_a_second": round(progress.read / seconds),
        "megabytes_above_idle": round((peak - idle) / 1e6, 1),
    }


def write_journal(path: Path, count: int) -> None:
    with Journal.open(path, APP_ID, "127.0.0.1") as journal:
        journal.begin()
        actions = some(count)
        while batch := list(islice(actions, 1_000)):  # a child counts its parent's memory as its own
            journal.add(batch)
        journal.commit()


@contextlib.contextmanager
def sandbox_process() -> Iterator[str]:
    """Run the sandbox, which refuses nothing, in a process of its own; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.cleanup", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def serve() -> None:
    async with Sandbox(app_id=APP_ID, server_secret=SECRET, qps=None) as box:
        print(box.base_url, flush=True)
        await asyncio.Event().wait()


async def compare_journal(url: str, directory: Path) -> dict[str, float]:
    """Return the time that 20,000 calls take as a job, relative to workers that send and remember nothing."""
    actions = list(some(CALLS))
    async with ZimClient(APP_ID, SECRET, base_url=url, limiter=RateLimiter(UNLIMITED)) as zim:

        async def send_all() -> None:
            rest = iter(actions)

            async def work() -> None:
                for action in rest:
                    await zim.send(action, priority="bulk")

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

        async def run_job() -> None:
            path = directory / "job"
            path.unlink(missing_ok=True)
            await cleanup(zim, actions, journal=path)

        async def seconds(run: Callable[[], Awaitable[None]]) -> float:
            start = time.perf_counter()
            await run()
            return time.perf_counter() - start

        await send_all()
        ratios, again, extra = [], [], []
        before = await seconds(send_all)
        for _ in range(PAIRS):
            job, after = await seconds(run_job), await seconds(send_all)
            ratios.append(2 * job / (before + after))
            again.append(after / before)
            extra.append(1e6 * (job - (before + after) / 2) / CALLS)
            before = after
    return {
        "relative_to_sending_alone": round(median(ratios), 3),
        "sending_alone_again": round(median(again), 3),
        "microseconds_a_call": round(median(extra), 1),
    }


async def kill_jobs(directory: Path, kills: int) -> dict[str, int]:
    """Kill a job again and again at random moments, under faults; then let it end, and compare with the server.

    One user in ten isn't known there.
    """
    generator = random.Random(5)
    count = 2 * KILLED_QPS * kills
    actions, rows, journal = list(some(count)), directory / "rows.csv", directory / "killed"
    write_csv(rows, count)
    falsely_done = unknown = most_unknown = faults = 0
    async with Sandbox(qps=None, strict=True) as box:
        for number, action in enumerate(actions):
            if number % 10:
                box.add_message(action.from_user_id, action.from_user_id.replace("user", "friend"))
                box.add_group("g7", [action.from_user_id])
        settings = {"ZIM_APP_ID": f"{box.app_id}", "ZIM_SERVER_SECRET": box.server_secret, "ZIM_BASE_URL": box.base_url}
        command = [sys.executable, "-m", "zim_async", "cleanup", str(rows), "--journal", str(journal), "--qps"]
        box.delay = 0.1  # else there is hardly ever anything in flight
        for _ in range(kills):
            faults += inject_faults(box, generator, (*PASSING, PARAMETER_ERROR))
            process = await asyncio.create_subprocess_exec(
                *command, str(KILLED_QPS), env=os.environ | settings, stdout=DEVNULL, stderr=DEVNULL
            )
            arrived = len(box.arrivals)
            while len(box.arrivals) == arrived and process.returncode is None:
                await asyncio.sleep(0.002)
            await asyncio.sleep(generator.uniform(0.0, 0.6))
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
            falsely_done += sum(not is_done(box, outcome.action) for outcome in read_journal(journal, State.DONE))
            sent = sum(1 for _ in read_journal(journal, State.SENT))
            unknown += sent
            most_unknown = max(most_unknown, sent)
        box.delay = 0.0
        process = await asyncio.create_subprocess_exec(
            *command, "5000", env=os.environ | settings, stdout=DEVNULL, stderr=DEVNULL
        )
        assert await process.wait() == 1  # some were not found
        found = {outcome.action: outcome.state for outcome in read_journal(journal)}
        counts = Counter(found.values())
        return {
            "kills": kills,
            "actions": count,
            "lost": count - len(found) + counts[State.WAITING] + counts[State.SENT],
            "done": counts[State.DONE],
            "not_found": counts[State.NOT_FOUND],
            "refused": counts[State.REFUSED],
            "falsely_not_found": sum(
                found[action] is State.NOT_FOUND and number % 10 > 0 for number, action in enumerate(actions)
            ),
            "falsely_done": falsely_done,
            "faults": faults,
            "sent_again": len(box.arrivals) - count,
            "sent_again_at_most": unknown + faults,
            "most_marked_sent_at_a_kill": most_unknown,
        }


def is_done(box: Sandbox, action: object) -> bool:
    assert isinstance(action, Action)
    if isinstance(action, ClearPeerMessage):
        return not box.messages(action.from_user_id, action.to_user_id)
    return box.messages(action.from_user_id, action.conv_id, action.conv_type) is None


def cut_logs(directory: Path) -> dict[str, int]:
    """Cut a journal's log after each byte of its last pages; count the actions then marked done that weren't."""
    path, crashed = directory / "cut", directory / "crashed"
    cuts = falsely_done = 0
    with Journal.open(path, APP_ID, "127.0.0.1") as journal:
        journal.begin()
        journal.add(some(200))
        journal.commit()
        done: set[object] = set()
        for row in journal.open_rows("DeleteConv", 0, 50):
            journal.write([Mark(row, State.WAITING, State.SENT, now())])
            journal.write([Mark(row, State.SENT, State.DONE, now(), 0)])
            done.add(row.action)
        log = Path(f"{path}-wal").read_bytes()
        for cut in range(len(log) - LOG_FRAMES_CUT * (4096 + 24), len(log) + 1):
            shutil.copy(path, crashed)
            Path(f"{crashed}-wal").write_bytes(log[:cut])
            Journal.open(crashed, APP_ID, "127.0.0.1").close()
            falsely_done += sum(outcome.action not in done for outcome in read_journal(crashed, State.DONE))
            cuts += 1
    return {"cuts": cuts, "falsely_done": falsely_done}


def measure(kills: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="zim_async-") as name:
        directory = Path(name)
        write_csv(directory / "million.csv", PLANNED)
        command = [sys.executable, "-m", "benchmarks.cleanup", "--plan", str(directory / "million.csv")]
        planning = json.loads(subprocess.check_output(command, text=True))
        write_journal(directory / "million.journal", PLANNED)
        resuming = json.loads(subprocess.check_output(command, text=True))
        with sandbox_process() as url:
            journal = asyncio.run(compare_journal(url, directory))
        return {
            "planning": planning,
            "resuming": resuming,
            "journal": journal,
            "kills": asyncio.run(kill_jobs(directory, kills)),
            "log_cut_at_every_byte": cut_logs(directory),
        }


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.plan:
        print(json.dumps(asyncio.run(plan_rows(options.plan))))
    else:
        results = json.dumps(measure(options.kills), indent=2)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "cleanup.json").write_text(results + "\n")
        print(results)


if __name__ == "__main__":
    main()
