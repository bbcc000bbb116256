import asyncio
import os
import random
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import zim_async
from tests.conftest import MakeClient
from zim_async import (
    AuthenticationError,
    ClearPeerMessage,
    ClosedError,
    ConvType,
    DeleteConv,
    InvalidArgumentError,
    JournalError,
    NotPermittedError,
    RateLimiter,
    ZimClient,
    bulk,
    cleanup,
)
from zim_async._call import Caller
from zim_async.bulk import Progress, State, plan, read_journal
from zim_async.bulk._engine import Engine
from zim_async.bulk._job import Options, run
from zim_async.bulk._journal import Journal
from zim_async.bulk._lane import Pace
from zim_async.bulk._outage import Backoff
from zim_async.cli._columns import to_row
from zim_async.cli._rows import write_rows
from zim_async.limits import Permit, Priority
from zim_async.sandbox import Sandbox

FAST = 5_000.0
Action = ClearPeerMessage | DeleteConv


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(qps=None) as sandbox:
        yield sandbox


@pytest.fixture
def zim(make_client: MakeClient) -> ZimClient:
    return make_client(qps=FAST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


PACE = Pace(Backoff(0.02), settling=0.0)


async def run_job(
    zim: ZimClient,
    actions: Any,
    *,
    journal: Path | None = None,
    on_progress: Any = None,
    on_outcome: Any = None,
    stop: asyncio.Event | None = None,
    pace: Pace = PACE,
    **options: Any,
) -> Progress:
    """Do what ``cleanup`` does, without its long pauses."""
    return await run(Engine(zim, on_progress, on_outcome, pace), actions, journal, stop, Options(**options))


def some(count: int) -> list[Action]:
    """Return so many actions, every other one of each kind."""
    return [
        ClearPeerMessage(f"user-{n}", "bob") if n % 2 else DeleteConv(f"user-{n}", "g7", ConvType.GROUP)
        for n in range(count)
    ]


def states(path: Path) -> Counter[str]:
    tallies = read_journal(path).tallies.values()
    return +Counter({state.value: sum(tally[state] for tally in tallies) for state in State})


def assert_at_rest(zim: ZimClient) -> None:
    for name in "ClearPeerMessage", "DeleteConv":
        assert (zim.limiter.of(name).in_flight, zim.limiter.of(name).waiting) == (0, 0)


def stop_after(count: int, stop: Callable[[], object]) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.done >= count:
            stop()

    return on_progress


async def test_every_action_is_done_once_and_duplicates_are_counted(zim: ZimClient, box: Sandbox, path: Path) -> None:
    report = await run_job(zim, some(50) + some(20), journal=path)
    assert (report.read, report.duplicates, report.done, report.remaining) == (70, 20, 50, 0)
    assert not report.interrupted
    assert Counter(arrival.action for arrival in box.arrivals) == {"ClearPeerMessage": 25, "DeleteConv": 25}
    assert states(path) == {"done": 50}
    again = await run_job(zim, some(50), journal=path)
    assert (again.duplicates, again.done, len(box.arrivals)) == (50, 50, 50)
    assert_at_rest(zim)


async def test_without_a_journal_nothing_is_left_behind(
    zim: ZimClient, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert (await run_job(zim, some(4))).done == 4
    assert list(tmp_path.iterdir()) == []


async def test_async_iterables_and_none_at_all(zim: ZimClient, box: Sandbox) -> None:
    async def paged() -> AsyncIterator[Action]:
        for action in some(2_500):
            yield action

    assert (await run_job(zim, paged())).done == 2_500
    assert (await run_job(zim, [])).read == 0


async def test_both_actions_run_side_by_side_each_at_its_quota() -> None:
    async with Sandbox() as box, ZimClient(box.app_id, box.server_secret, base_url=box.base_url) as zim:
        report = await run_job(zim, some(80))
    assert report.done == 80
    assert report.seconds < 2.5  # 40 of each, a twentieth of a second apart
    assert box.refused == report.throttled == 0


async def test_few_workers_and_small_pages_suffice(zim: ZimClient, box: Sandbox) -> None:
    report = await asyncio.wait_for(run_job(zim, some(300), pace=Pace(workers=2, page=5, settling=0.0)), 20)
    assert report.done == 300


async def test_users_go_first(make_client: MakeClient, box: Sandbox) -> None:
    zim = make_client(qps=20)
    job = asyncio.create_task(run_job(zim, some(400)))
    while zim.limiter.of("DeleteConv").waiting == 0:
        await asyncio.sleep(0.01)
    start = asyncio.get_running_loop().time()
    await zim.delete_conv(from_user_id="alice", conv_id="g7", conv_type=ConvType.GROUP)
    assert asyncio.get_running_loop().time() - start < 1.3
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert_at_rest(zim)


async def test_what_fails_transiently_is_sent_again_until_it_is_done(zim: ZimClient, box: Sandbox, path: Path) -> None:
    box.fail_next(code=1, times=3)
    box.drop_next(after_acting=True, times=2)
    box.drop_next(times=2)
    box.answer_next(status=503, times=3)
    box.answer_next(body=b"<html>", times=2)
    report = await run_job(zim, some(100), journal=path)
    assert (report.done, report.refused, report.retried) == (100, 0, 12)
    assert len(box.arrivals) == 112
    assert states(path) == {"done": 100}


async def test_refused_and_not_found_are_told_apart_with_their_reasons(
    zim: ZimClient, box: Sandbox, path: Path
) -> None:
    box.fail_next(code=2)
    box.fail_next(code=660800002, times=2)
    box.fail_next(code=999)
    report = await run_job(zim, some(20), journal=path)
    assert (report.done, report.not_found, report.refused) == (16, 2, 2)
    reasons = {outcome.code: outcome for outcome in read_journal(path, State.REFUSED)}
    assert sorted(code or 0 for code in reasons) == [2, 999]
    assert reasons[2].message == "parameter error"
    assert reasons[2].request_id.isdigit()


async def test_a_wrong_secret_stops_the_job_and_the_right_one_takes_it_up(
    make_client: MakeClient, box: Sandbox, path: Path
) -> None:
    wrong = ZimClient(box.app_id, "wrong", base_url=box.base_url, limiter=RateLimiter(100))
    async with wrong:
        with pytest.raises(AuthenticationError):
            await run_job(wrong, some(2_000), journal=path)
        assert_at_rest(wrong)
    assert len(box.arrivals) <= 200  # those in flight at the first answer
    assert states(path) == {"waiting": 2_000}
    assert b"wrong" not in path.read_bytes()
    report = await run_job(make_client(qps=FAST), some(2_000), journal=path)
    assert report.done == 2_000


@pytest.mark.parametrize("code", [100000011, 100000016, 660000028])
async def test_what_every_call_would_meet_stops_the_job(zim: ZimClient, box: Sandbox, path: Path, code: int) -> None:
    box.fail_next(code=code)
    with pytest.raises((AuthenticationError, NotPermittedError)):
        await run_job(zim, some(500), journal=path)
    assert states(path)["refused"] == 0
    assert states(path)["waiting"] > 0


async def test_a_stop_drains_and_another_run_goes_on(zim: ZimClient, box: Sandbox, path: Path) -> None:
    stop = asyncio.Event()
    report = await run_job(zim, some(500), journal=path, on_progress=stop_after(100, stop.set), stop=stop)
    assert report.interrupted
    assert 100 <= report.done < 500
    assert len(box.arrivals) == report.done
    assert states(path) == {"done": report.done, "waiting": report.remaining}
    assert_at_rest(zim)
    report = await run_job(zim, some(500), journal=path)
    assert (report.done, report.interrupted, len(box.arrivals)) == (500, False, 500)


async def test_a_stop_while_waiting_for_a_turn_ends_at_once(make_client: MakeClient, box: Sandbox) -> None:
    zim = make_client(qps=0.1)
    stop = asyncio.Event()
    report = await run_job(zim, some(10), on_progress=stop_after(2, stop.set), stop=stop)
    assert (report.done, report.remaining, report.interrupted) == (2, 8, True)
    assert_at_rest(zim)


async def test_a_stop_before_or_after_all_is_done(zim: ZimClient, box: Sandbox, path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    report = await run_job(zim, some(5_000), journal=path, stop=stop)
    assert report.interrupted
    assert not box.arrivals
    stop.clear()
    report = await run_job(zim, some(10), journal=path, on_progress=stop_after(10, stop.set), stop=stop)
    assert (report.done, report.interrupted) == (10, False)


async def test_a_cancelled_job_forgets_no_answer(zim: ZimClient, box: Sandbox, path: Path) -> None:
    random.seed(1)
    for _ in range(10):
        box.delay = 0.01
        job = asyncio.create_task(run_job(zim, some(2_000), journal=path))
        await asyncio.sleep(random.choice((0.0, 0.001, 0.01, 0.06)))
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert_at_rest(zim)
        assert not path.exists() or states(path)["done"] <= len(box.arrivals)
    box.delay = 0.0
    assert (await run_job(zim, some(2_000), journal=path)).done == 2_000


async def test_an_outage_is_waited_out(zim: ZimClient, box: Sandbox, path: Path) -> None:
    reasons: set[str | None] = set()

    def on_progress(progress: Progress) -> None:
        reasons.add(progress.outage)

    async def fail() -> None:
        box.answer_next(status=502, times=10_000)
        await asyncio.sleep(0.5)
        box.clear_faults()

    report, _ = await asyncio.gather(run_job(zim, some(500), journal=path, on_progress=on_progress), fail())
    assert (report.done, report.refused, report.outage) == (500, 0, None)
    assert any("HTTP 502" in (reason or "") for reason in reasons)
    assert report.retried < 450  # those in flight when it began, then a probe now and then


async def test_a_server_that_is_gone_for_a_while(make_client: MakeClient, box: Sandbox, path: Path) -> None:
    zim = make_client(qps=FAST, timeout=1)
    job = asyncio.create_task(run_job(zim, some(500), journal=path))
    while len(box.arrivals) < 100:
        await asyncio.sleep(0.01)
    port = int(box.base_url.rstrip("/").rpartition(":")[2])
    await box.__aexit__()
    await asyncio.sleep(0.3)
    async with Sandbox(app_id=box.app_id, server_secret=box.server_secret, port=port, qps=None) as again:
        report = await job
        assert (report.done, report.refused) == (500, 0)
        assert len(again.arrivals) >= 500 - len(box.arrivals)


async def test_refusals_for_rate_are_no_outage(zim: ZimClient, box: Sandbox) -> None:
    seen: list[Progress] = []
    box.fail_next(code=7, times=30)
    report = await run_job(zim, some(60), on_progress=seen.append)
    assert (report.done, report.throttled) == (60, 30)
    assert {progress.outage for progress in seen} == {None}


async def test_an_action_that_always_fails_transiently_is_tried_ever_more_seldom(
    zim: ZimClient, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, tries = Caller.attempt, 0

    async def fail_one(self: Caller, action: Action, permit: Permit, priority: Priority) -> Any:
        nonlocal tries
        if action.from_user_id == "user-0":
            tries += 1
            box.fail_next(code=660000001)
        return await send(self, action, permit, priority)

    monkeypatch.setattr(Caller, "attempt", fail_one)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(1.0, stop.set)
    report = await run_job(zim, some(20)[::2], stop=stop, pace=Pace(Backoff(0.1), settling=0.0))
    assert (report.done, report.remaining, report.interrupted) == (9, 1, True)
    assert 3 <= tries <= 5  # at 0, 0, .1, .3, .7 s


async def test_a_stop_is_heeded_while_the_input_is_silent(zim: ZimClient, box: Sandbox, path: Path) -> None:
    await run_job(zim, some(10), journal=path)

    async def silent() -> AsyncIterator[Action]:
        yield some(30)[29]
        stop.set()
        await asyncio.Event().wait()

    stop = asyncio.Event()
    report = await asyncio.wait_for(run_job(zim, silent(), journal=path, stop=stop), 5)
    assert (report.interrupted, report.done, report.remaining) == (True, 10, 0)
    assert states(path) == {"done": 10}


async def test_cancelled_twice_it_still_lets_go_of_the_journal(zim: ZimClient, box: Sandbox, path: Path) -> None:
    for pause in (0.0, 0.001, 0.01, 0.03):
        job = asyncio.create_task(run_job(zim, some(2_000), journal=path))
        await asyncio.sleep(pause)
        job.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.sleep(0.2)  # what was begun in the thread comes to its end there
        Journal.open(path, box.app_id, "127.0.0.1").close()


async def test_a_code_beyond_all_bounds_is_no_answer(zim: ZimClient, box: Sandbox, path: Path) -> None:
    box.answer_next(body=b'{"Code": 9223372036854775808}', times=3)
    report = await run_job(zim, some(50), journal=path)
    assert (report.done, report.retried) == (50, 3)


async def test_a_stop_ends_an_outage(zim: ZimClient, box: Sandbox) -> None:
    box.answer_next(status=502, times=10_000)
    stop = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        if progress.outage:
            stop.set()

    report = await run_job(zim, some(100), on_progress=on_progress, stop=stop, pace=Pace(Backoff(60.0)))
    assert (report.done, report.interrupted) == (0, True)


async def test_a_client_closed_meanwhile_ends_the_job(make_client: MakeClient, box: Sandbox, path: Path) -> None:
    zim = make_client(qps=100)
    job = asyncio.create_task(run_job(zim, some(500), journal=path))
    while len(box.arrivals) < 100:
        await asyncio.sleep(0.01)
    await zim.close()
    with pytest.raises(ClosedError):
        await job
    assert_at_rest(zim)
    assert states(path)["done"] == len(box.arrivals)
    assert states(path)["sent"] == 0


@pytest.mark.parametrize("wrong", ["delete everything", None, DeleteConv])
async def test_what_is_no_action_is_refused_before_anything_is_sent(
    zim: ZimClient, box: Sandbox, path: Path, wrong: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match="nothing was sent"):
        await run_job(zim, [*some(2_000), wrong], journal=path)
    assert not box.arrivals
    assert not path.exists()


async def test_an_input_that_breaks_off_keeps_nothing(zim: ZimClient, box: Sandbox, path: Path) -> None:
    def broken() -> Iterator[Action]:
        yield from some(2_000)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await run_job(zim, broken(), journal=path)
    assert not box.arrivals
    assert not path.exists()


async def test_an_on_progress_that_fails_ends_the_job_in_order(zim: ZimClient, box: Sandbox, path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_job(zim, some(500), journal=path, on_progress=stop_after(10, fail))
    assert states(path)["done"] == len(box.arrivals)


@pytest.mark.parametrize("method", ["open_rows", "write"])
async def test_a_journal_that_fails_ends_the_job(
    zim: ZimClient, box: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    works = getattr(Journal, method)
    calls = 0

    def breaks(self: Journal, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise JournalError("disk full")
        return works(self, *args)

    monkeypatch.setattr(Journal, method, breaks)
    with pytest.raises(JournalError, match="disk full"):
        await run_job(zim, some(2_000), journal=path)
    monkeypatch.undo()
    assert_at_rest(zim)
    assert states(path)["done"] <= len(box.arrivals) < 2_000


async def test_another_applications_journal_is_refused(zim: ZimClient, box: Sandbox, path: Path) -> None:
    with Journal.open(path, 1, "127.0.0.1") as journal:
        journal.begin()
        journal.add(some(1))
        journal.commit()
    with pytest.raises(JournalError, match="AppId 1"):
        await run_job(zim, some(2), journal=path)
    assert not box.arrivals


async def test_one_job_for_each_journal(zim: ZimClient, box: Sandbox, path: Path) -> None:
    box.delay = 0.05
    first = asyncio.create_task(run_job(zim, some(10), journal=path))
    while not box.arrivals:
        await asyncio.sleep(0.01)
    with pytest.raises(JournalError, match="in use"):
        await run_job(zim, some(10), journal=path)
    assert (await first).done == 10


async def test_a_plan_changes_nothing(zim: ZimClient, box: Sandbox, path: Path) -> None:
    planned = await plan(zim, some(30), journal=path)
    assert (planned.remaining, path.exists()) == (30, False)
    await run_job(zim, some(10), journal=path)
    planned = await plan(zim, some(30), journal=path)
    assert (planned.remaining, planned.done) == (20, 10)
    assert states(path) == {"done": 10}
    assert len(box.arrivals) == 10


async def test_progress_adds_up_at_every_moment(zim: ZimClient, box: Sandbox) -> None:
    seen: list[Progress] = []
    box.fail_next(code=1, times=20)
    await run_job(zim, some(300), on_progress=seen.append)
    assert all(progress.finished + progress.remaining == 300 for progress in seen)
    assert all(count >= 0 for progress in seen for tally in progress.tallies.values() for count in tally.values())
    finished = [300 - progress.remaining for progress in seen]
    assert finished == sorted(finished)
    assert (finished[0], finished[-1]) == (0, 300)


async def test_runs_close_upon_each_other_keep_the_rate_together(path: Path) -> None:
    async with Sandbox() as box:
        for first in (0, 40):
            limiter = RateLimiter()  # as a new process has one, which knows nothing of the calls before
            async with ZimClient(box.app_id, box.server_secret, base_url=box.base_url, limiter=limiter) as zim:
                await cleanup(zim, some(80)[first : first + 40], journal=path)
        assert (box.refused, len(box.arrivals)) == (0, 80)


async def test_killed_again_and_again_nothing_is_lost_nor_done_falsely(box: Sandbox, path: Path) -> None:
    random.seed(2)
    actions = some(400)
    for action in actions:
        box.add_message(action.from_user_id, "bob")
        box.add_group("g7", [action.from_user_id])
    rows = path.with_name("rows.csv")
    with rows.open("w") as file:
        write_rows(file, "csv", map(to_row, actions), ("action", "from_user_id", "to_user_id", "conv_id", "conv_type"))
    settings = {"ZIM_APP_ID": str(box.app_id), "ZIM_SERVER_SECRET": box.server_secret, "ZIM_BASE_URL": box.base_url}
    command = [sys.executable, "-m", "zim_async", "cleanup", str(rows), "--journal", str(path), "--qps"]
    resent = 0
    for kill in range(6):
        box.drop_next(after_acting=bool(kill % 2))
        process = await asyncio.create_subprocess_exec(
            *command, "5000" if kill == 5 else "20", env=os.environ | settings, stderr=DEVNULL, stdout=DEVNULL
        )
        if kill == 5:
            assert await process.wait() == 0
            break
        arrived = len(box.arrivals)
        while len(box.arrivals) <= arrived:
            assert process.returncode is None
            await asyncio.sleep(0.005)
        await asyncio.sleep(random.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        done = [outcome.action for outcome in read_journal(path, State.DONE)]
        resent += sum(1 for _ in read_journal(path, State.SENT))
        assert all(is_done(box, action) for action in done)
    assert all(is_done(box, action) for action in actions)
    assert states(path) == {"done": 400}
    assert len(box.arrivals) - 400 <= resent + 6  # an answer dropped is repeated too


def is_done(box: Sandbox, action: object) -> bool:
    assert isinstance(action, Action)
    if isinstance(action, ClearPeerMessage):
        return not box.messages(action.from_user_id, "bob")
    return box.messages(action.from_user_id, "g7", ConvType.GROUP) is None


@dataclass(frozen=True, slots=True)
class QueryUserInfos(zim_async.Action):
    name = "QueryUserInfos"
    idempotent = True

    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendPeerMessage(zim_async.Action):
    name = "SendPeerMessage"

    text: str


async def test_a_users_own_action_of_one_field_goes_through_and_comes_back(
    zim: ZimClient, box: Sandbox, path: Path
) -> None:
    box.handle("QueryUserInfos", lambda _parameters: {"Users": []})
    actions = [QueryUserInfos((f"user-{n}", "älice")) for n in range(3)]
    box.handle("QueryUserInfos", lambda _parameters: None)
    box.fail_next(code=2)
    first = await run_job(zim, actions[:2], journal=path)
    assert (first.done, first.refused) == (1, 1)
    again = await run_job(zim, actions, journal=path, retry_refused=True)
    assert (again.duplicates, again.done) == (2, 3)
    assert [outcome.action for outcome in read_journal(path)] == actions


async def test_a_journal_of_actions_that_nobody_defined_says_what_to_import(
    zim: ZimClient, box: Sandbox, path: Path
) -> None:
    code = f"""
from dataclasses import dataclass
from zim_async import Action
from zim_async.bulk._journal import Journal
@dataclass(frozen=True)
class Unheard(Action):
    name = "UnheardOf"
    idempotent = True
    user_id: str
with Journal.open({str(path)!r}, {box.app_id}, "127.0.0.1") as journal:
    journal.begin()
    journal.add([Unheard("alice")])
    journal.commit()
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True, timeout=20)
    with pytest.raises(JournalError, match="UnheardOf, whose class isn't known here"):
        await run_job(zim, some(3), journal=path, unlisted="send")
    assert not box.arrivals
    with pytest.raises(JournalError, match="Import the module"):
        list(read_journal(path))


async def test_an_action_that_may_not_be_repeated_is_refused_by_name(zim: ZimClient, box: Sandbox, path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"SendPeerMessage.*text='hello'.*nothing was sent"):
        await run_job(zim, [*some(2_000), SendPeerMessage("hello")], journal=path)
    assert not box.arrivals
    assert not path.exists()


def test_the_package_names_what_it_has() -> None:
    assert zim_async.cleanup is bulk.cleanup
    with pytest.raises(AttributeError, match="clean_up"):
        zim_async.clean_up  # noqa: B018
