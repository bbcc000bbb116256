import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeClient
from tests.support.bulk_jobs import Action, assert_at_rest, run_job, some, states, stop_after
from zim_async import (
    JournalError,
    ZimClient,
)
from zim_async.bulk import Outcome, Progress, State, read_journal
from zim_async.bulk._journal import Journal
from zim_async.sandbox import Sandbox


async def test_an_on_progress_that_fails_ends_the_job_in_order(zim: ZimClient, box: Sandbox, path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_job(zim, some(500), journal=path, on_progress=stop_after(10, fail))
    assert states(path)["done"] == len(box.arrivals)


async def test_progress_adds_up_at_every_moment(zim: ZimClient, box: Sandbox) -> None:
    seen: list[Progress] = []
    box.fail_next(code=1, times=20)
    await run_job(zim, some(300), on_progress=seen.append)
    assert all(progress.finished + progress.remaining == 300 for progress in seen)
    assert all(count >= 0 for progress in seen for tally in progress.tallies.values() for count in tally.values())
    finished = [300 - progress.remaining for progress in seen]
    assert finished == sorted(finished)
    assert (finished[0], finished[-1]) == (0, 300)


async def test_a_stop_drains_and_another_run_goes_on(zim: ZimClient, box: Sandbox, path: Path) -> None:
    stop = asyncio.Event()
    report = await run_job(zim, some(2_000), journal=path, on_progress=stop_after(100, stop.set), stop=stop)
    assert report.interrupted
    assert 100 <= report.done < 2_000
    assert len(box.arrivals) == report.done
    assert states(path) == {"done": report.done, "waiting": report.remaining}
    assert_at_rest(zim)
    report = await run_job(zim, some(2_000), journal=path)
    assert (report.done, report.interrupted, len(box.arrivals)) == (2_000, False, 2_000)


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
        async with asyncio.timeout(10):  # what was begun in the thread comes to its end there
            while is_in_use(path, box.app_id):
                await asyncio.sleep(0.01)


def is_in_use(path: Path, app_id: int) -> bool:
    try:
        Journal.open(path, app_id, "127.0.0.1").close()
    except JournalError as error:
        return "in use" in str(error)
    return False


async def test_a_journal_that_fails_ends_the_job(zim: ZimClient, box: Sandbox, path: Path) -> None:
    def destroy(progress: Progress) -> None:
        if progress.done:
            with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.OperationalError):
                db.execute("DROP TABLE rows")

    with pytest.raises(JournalError, match="can't be read or written"):
        await run_job(zim, some(2_000), journal=path, on_progress=destroy)
    assert_at_rest(zim)
    assert len(box.arrivals) < 2_000


@pytest.mark.parametrize("of_its_own", [asyncio.CancelledError, ZeroDivisionError])
async def test_what_the_input_raises_is_raised(
    zim: ZimClient, box: Sandbox, path: Path, of_its_own: type[BaseException]
) -> None:
    async def broken() -> AsyncIterator[Action]:
        for action in some(1_500):
            yield action
        raise of_its_own

    with pytest.raises(of_its_own):
        await run_job(zim, broken(), journal=path)
    assert not box.arrivals
    assert not path.exists()


async def test_outcomes_are_told_once_they_are_on_disk(zim: ZimClient, box: Sandbox, path: Path) -> None:
    box.fail_next(code=2)
    box.fail_next(code=660800002)
    box.drop_next()
    told: dict[Any, Outcome] = {}

    def on_outcome(outcome: Outcome) -> None:
        if len(told) % 10 == 0:
            assert outcome in list(read_journal(path, outcome.state))
        assert outcome.action not in told
        told[outcome.action] = outcome

    report = await run_job(zim, some(50), journal=path, on_outcome=on_outcome)
    assert told == {outcome.action: outcome for outcome in read_journal(path)}
    assert Counter(outcome.state for outcome in told.values()) == {
        State.DONE: 48,
        State.REFUSED: 1,
        State.NOT_FOUND: 1,
    }
    assert {code.code for code in report.codes} == {2, 660800002}
    assert all(outcome.at.utcoffset() == timedelta(0) for outcome in told.values())


async def test_callbacks_may_be_coroutine_functions(zim: ZimClient, box: Sandbox) -> None:
    told: list[Outcome] = []
    seen: list[Progress] = []

    async def on_outcome(outcome: Outcome) -> None:
        await asyncio.sleep(0.001)
        told.append(outcome)

    async def on_progress(progress: Progress) -> None:
        await asyncio.sleep(0)
        seen.append(progress)

    report = await run_job(zim, some(100), on_outcome=on_outcome, on_progress=on_progress)
    assert len(told) == report.done == seen[-1].done == 100


@pytest.mark.parametrize("of_its_own", [asyncio.CancelledError, ZeroDivisionError])
@pytest.mark.parametrize("callback", ["on_progress", "on_outcome"])
async def test_what_a_callback_raises_ends_the_job(
    zim: ZimClient, box: Sandbox, path: Path, callback: str, of_its_own: type[BaseException]
) -> None:
    calls = 0

    async def fail(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise of_its_own

    options: dict[str, Any] = {callback: fail}
    with pytest.raises(of_its_own):
        await run_job(zim, some(500), journal=path, **options)
    assert calls == 3
    assert states(path)["done"] == len(box.arrivals)


async def test_a_job_can_be_cancelled_while_a_callback_hangs(zim: ZimClient, box: Sandbox, path: Path) -> None:
    hanging = asyncio.Event()

    async def hang(_: Outcome) -> None:
        hanging.set()
        await asyncio.Event().wait()

    job = asyncio.create_task(run_job(zim, some(500), journal=path, on_outcome=hang))
    await asyncio.wait_for(hanging.wait(), 10)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(job, 10)
    Journal.open(path, box.app_id, "127.0.0.1").close()


async def test_a_slow_callback_slows_the_job_down_instead_of_piling_up(zim: ZimClient, box: Sandbox) -> None:
    most = told = 0

    async def slow(_: Outcome) -> None:
        nonlocal most, told
        told += 1
        most = max(most, len(box.arrivals) - told)
        await asyncio.sleep(0.002)

    report = await run_job(zim, some(3_000), on_outcome=slow)
    assert report.done == told == 3_000
    assert most <= 1_300  # in flight, and as many that wait to be told
