import asyncio
import os
import random
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import zim_async
from tests.support.bulk_jobs import Action, assert_at_rest, run_job, some, states
from zim_async import (
    ClearPeerMessage,
    ConvType,
    DeleteConv,
    InvalidArgumentError,
    JournalError,
    ZimClient,
    bulk,
    cleanup,
)
from zim_async.bulk import State, plan, read_journal
from zim_async.bulk._journal import Journal
from zim_async.bulk._lane import Pace
from zim_async.cli._columns import to_row
from zim_async.cli._rows import write_rows
from zim_async.sandbox import Sandbox


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
from zim_async.bulk._lane import Pace
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


async def interrupt(zim: ZimClient, actions: list[Action], path: Path) -> None:
    """Load a job, and end it before anything is sent."""
    stop = asyncio.Event()
    await run_job(zim, actions, journal=path, stop=stop, on_progress=lambda _: stop.set(), pace=Pace(settling=0.5))


async def test_open_rows_that_the_input_lacks_stop_the_job_before_anything_is_sent(
    zim: ZimClient, box: Sandbox, path: Path
) -> None:
    await run_job(zim, some(10), journal=path)
    await interrupt(zim, some(2_500), path)
    before, arrived = states(path), len(box.arrivals)
    for rest in some(2_000), []:
        missing = f"in the input: {2_490 - max(0, len(rest) - 10)}, such as DeleteConv"
        with pytest.raises(InvalidArgumentError, match=f"{missing}.* and .*nothing was sent"):
            await run_job(zim, rest, journal=path)
        with pytest.raises(InvalidArgumentError, match=missing):
            await plan(zim, rest, journal=path)
    assert (states(path), len(box.arrivals)) == (before, arrived)


async def test_open_rows_that_the_input_lacks_may_be_sent_or_dropped(zim: ZimClient, box: Sandbox, path: Path) -> None:
    await interrupt(zim, some(30), path)
    planned = await plan(zim, some(20), journal=path, unlisted="send")
    assert (planned.unlisted, planned.remaining) == (10, 30)
    assert planned.unlisted_examples[0] in some(30)[20:]
    planned = await plan(zim, some(20), journal=path, unlisted="drop")
    assert (planned.unlisted, planned.remaining) == (0, 20)
    report = await run_job(zim, some(20), journal=path, unlisted="drop")
    assert (report.done, report.total, len(box.arrivals)) == (20, 20, 20)
    await interrupt(zim, some(40), path)
    report = await run_job(zim, [], journal=path, unlisted="send")
    assert (report.done, report.unlisted) == (40, 20)


async def test_what_is_done_may_be_lacking(zim: ZimClient, box: Sandbox, path: Path) -> None:
    await run_job(zim, some(10), journal=path)
    assert (await run_job(zim, some(3), journal=path)).done == 10


@pytest.mark.parametrize("unlisted", ["keep", None])
async def test_another_way_to_treat_them_is_refused(zim: ZimClient, unlisted: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="unlisted must be"):
        await cleanup(zim, [], unlisted=unlisted)


@pytest.mark.parametrize(("option", "code"), [("retry_not_found", 660800002), ("retry_refused", 2)])
async def test_what_came_to_an_end_may_be_sent_once_more(
    zim: ZimClient, box: Sandbox, path: Path, option: str, code: int
) -> None:
    box.fail_next(code=code, times=4)
    box.fail_next(code=999, times=1)
    first = await run_job(zim, some(10), journal=path)
    assert (first.done, len(first.codes)) == (5, 2)
    again = await run_job(zim, some(10), journal=path)
    assert (again.done, again.codes, len(box.arrivals)) == (5, first.codes, 10)
    once_more: dict[str, Any] = {option: True}
    with pytest.raises(InvalidArgumentError, match="in the input: "):
        await run_job(zim, [], journal=path, **once_more)
    last = await run_job(zim, some(10), journal=path, **once_more)
    assert last.done == (9 if option == "retry_not_found" else 10)
    assert [count.code for count in last.codes] == ([999] if option == "retry_not_found" else [])


def test_the_package_names_what_it_has() -> None:
    assert zim_async.cleanup is bulk.cleanup
    with pytest.raises(AttributeError, match="clean_up"):
        zim_async.clean_up  # noqa: B018
