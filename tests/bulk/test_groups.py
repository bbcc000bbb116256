import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.bulk_jobs import PACE, stop_after
from zim_async import (
    Action,
    ClearPeerMessage,
    ConvType,
    DeleteConv,
    InvalidArgumentError,
    JournalError,
    ZimClient,
    cleanup,
    run_groups,
)
from zim_async.bulk import Group, Outcome, Progress, State, read_journal, read_summaries, remove_finished_journal
from zim_async.bulk._engine import Engine
from zim_async.bulk._group_job import GroupJob
from zim_async.bulk._groups import NextStep, run_steps
from zim_async.bulk._job import Options
from zim_async.errors import NotFoundError, TransportError, ZimError
from zim_async.sandbox import Sandbox

GROUPS = [f"user-{number}" for number in range(40)]


class Play:
    """Two steps of three actions for each group, and a note of what it was asked."""

    def __init__(self, next_step: NextStep | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self.told: defaultdict[tuple[str, int], list[Outcome]] = defaultdict(list)
        self.noted: list[str] = []
        self._next_step = next_step

    async def next(self, group: Group, outcomes: Sequence[Outcome], _history: object) -> Sequence[Action]:
        self.asked.append((group.name, group.step))
        self.told[group.name, group.step] = list(outcomes)
        if self._next_step is not None:
            return await self._next_step(group.name, group.step, outcomes)
        return steps_of(group.name)[group.step]

    def summary(self, group: Group) -> str:
        return group.name

    async def finished(self, group: Group) -> None:
        self.noted.append(group.name)

    def counts_as_done(self, _action: Action, error: NotFoundError) -> bool:
        return error.code == 660800002

    def waits_out(self, error: ZimError) -> bool:
        return isinstance(error, TransportError)


def steps_of(group: str) -> list[list[Action]]:
    return [
        [ClearPeerMessage(group, f"friend-{number}") for number in range(3)],
        [DeleteConv(group, f"friend-{number}", ConvType.PEER) for number in range(3)],
        [],
    ]


async def run_job(
    zim: ZimClient,
    groups: Any,
    play: Play,
    *,
    journal: Path | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    stop: asyncio.Event | None = None,
    unlisted: Any = "error",
    active: int = 10,
) -> Progress:
    job = GroupJob(Engine(zim, on_progress, None, PACE), play, active=active)
    return await job.run(groups, journal, stop, Options(unlisted))


async def test_each_group_goes_step_by_step(zim: ZimClient, box: Sandbox, path: Path) -> None:
    box.fail_next(code=2)
    box.fail_next(code=660700012)
    box.drop_next(times=3)
    play = Play()
    report = await run_job(zim, [*GROUPS, GROUPS[0]], play, journal=path)
    assert (report.groups, report.groups_finished, report.duplicates, report.remaining) == (40, 40, 1, 0)
    assert (report.done, report.refused, report.not_found) == (238, 1, 1)
    assert sorted(play.asked) == sorted((group, step) for group in GROUPS for step in range(3))
    for group in GROUPS:
        assert not play.told[group, 0]
        for step, actions in enumerate(steps_of(group)[:2]):
            told = play.told[group, step + 1]
            assert [outcome.action for outcome in told] == actions
            assert all(outcome.state not in (State.WAITING, State.SENT) for outcome in told)
    states = Counter(outcome.state for told in play.told.values() for outcome in told)
    assert states == {State.DONE: 238, State.REFUSED: 1, State.NOT_FOUND: 1}
    assert sorted(play.noted) == sorted(GROUPS)
    assert list(read_summaries(path)) == play.noted


async def test_a_step_is_sent_when_all_of_the_one_before_is_settled(zim: ZimClient, box: Sandbox) -> None:
    box.answer_next(status=503, times=20)
    await run_job(zim, GROUPS[:5], Play())
    settled: Counter[str] = Counter()
    good = [arrival.action for arrival in box.arrivals if arrival.code == 0]
    assert len(good) >= 30
    report = await run_job(zim, GROUPS, Play(), active=1)
    assert report.done == 240
    for arrival in list(box.arrivals)[-240:]:
        settled[arrival.action] += 1
        assert settled["DeleteConv"] <= settled["ClearPeerMessage"] // 3 * 3


async def test_a_finished_job_asks_and_sends_nothing(zim: ZimClient, box: Sandbox, path: Path) -> None:
    await run_job(zim, GROUPS, Play(), journal=path)
    play, arrived = Play(), len(box.arrivals)
    report = await run_job(zim, GROUPS, play, journal=path)
    assert (play.asked, len(box.arrivals), report.done, report.groups_finished) == ([], arrived, 240, 40)
    assert not report.interrupted
    assert remove_finished_journal(path)


async def test_a_stop_drains_and_another_run_goes_on(zim: ZimClient, box: Sandbox, path: Path) -> None:
    arrived = 0
    for wanted in (30, 100, 160):
        stop = asyncio.Event()
        report = await run_job(zim, GROUPS, Play(), journal=path, stop=stop, on_progress=stop_after(wanted, stop.set))
        assert report.interrupted
        assert report.done == len(box.arrivals) > arrived
        assert not remove_finished_journal(path)
        arrived = len(box.arrivals)
    report = await run_job(zim, GROUPS, Play(), journal=path)
    assert (report.done, len(box.arrivals), report.groups_finished) == (240, 240, 40)


async def test_a_cancelled_job_goes_on_where_it_was(zim: ZimClient, box: Sandbox, path: Path) -> None:
    async def run_and_cancel(wanted: int) -> None:
        cancel = stop_after(wanted, lambda: job.cancel())
        job = asyncio.create_task(run_job(zim, GROUPS, Play(), journal=path, on_progress=cancel))
        with pytest.raises(asyncio.CancelledError):
            await job

    box.delay = 0.005
    for wanted in (1, 60, 120, 200):
        await run_and_cancel(wanted)
    report = await run_job(zim, GROUPS, Play(), journal=path)
    assert (report.done, report.groups_finished) == (240, 40)


@pytest.mark.parametrize("of_its_own", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_step_that_raises_ends_the_job_and_what_is_settled_stays(
    zim: ZimClient, box: Sandbox, path: Path, of_its_own: type[BaseException]
) -> None:
    async def fail(group: str, step: int, _outcomes: object) -> Sequence[Action]:
        if (group, step) == (GROUPS[20], 1):
            raise of_its_own
        return steps_of(group)[step]

    with pytest.raises(of_its_own):
        await run_job(zim, GROUPS, Play(fail), journal=path)
    assert sum(1 for _ in read_journal(path, State.DONE)) == len(box.arrivals) > 0
    report = await run_job(zim, GROUPS, Play(), journal=path)
    assert (report.done, len(box.arrivals)) == (240, 240)


async def test_a_step_may_fail_as_calls_do_and_is_asked_again(zim: ZimClient, box: Sandbox) -> None:
    failures = 0

    async def fail(group: str, step: int, _outcomes: object) -> Sequence[Action]:
        nonlocal failures
        if failures < 15:
            failures += 1
            raise TransportError("no answer")
        return steps_of(group)[step]

    report = await run_job(zim, GROUPS, Play(fail))
    assert (report.done, report.outage) == (240, None)


@pytest.mark.parametrize("step", [None, "ClearPeerMessage", [DeleteConv], iter(())])
async def test_a_step_of_something_else_is_refused(zim: ZimClient, box: Sandbox, step: Any) -> None:
    async def next_step(_group: str, _step: int, _outcomes: object) -> Sequence[Action]:
        return step  # type: ignore[no-any-return]

    with pytest.raises(InvalidArgumentError, match=r"sequence of actions|an Action is needed"):
        await run_groups(zim, ["alice"], next_step)
    assert not box.arrivals


@pytest.mark.parametrize("group", ["", None, 7, "\ud800"])
async def test_a_group_without_a_name_is_refused(zim: ZimClient, box: Sandbox, path: Path, group: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="nothing was sent"):
        await run_job(zim, [*GROUPS, group], Play(), journal=path)
    assert not box.arrivals
    assert not path.exists()


async def test_async_iterables_of_groups(zim: ZimClient, box: Sandbox) -> None:
    async def paged() -> AsyncIterator[str]:
        for group in GROUPS:
            yield group

    assert (await run_job(zim, paged(), Play())).groups_finished == 40
    assert (await run_job(zim, [], Play())).groups == 0


async def test_the_journal_of_another_kind_of_job_is_refused(zim: ZimClient, box: Sandbox, path: Path) -> None:
    await run_job(zim, GROUPS[:2], Play(), journal=path)
    with pytest.raises(JournalError, match="another kind of job"):
        await cleanup(zim, [], journal=path)
    with pytest.raises(JournalError, match="another kind of job"):
        await run_steps(zim, [], Play(), kind="erase", journal=path)


async def test_open_groups_that_the_input_lacks_stop_the_job(zim: ZimClient, box: Sandbox, path: Path) -> None:
    stop = asyncio.Event()
    await run_job(zim, GROUPS, Play(), journal=path, stop=stop, on_progress=stop_after(30, stop.set))
    arrived = len(box.arrivals)
    with pytest.raises(InvalidArgumentError, match="groups that are open in the journal and not in the input: "):
        await run_job(zim, GROUPS[:1], Play(), journal=path)
    assert len(box.arrivals) == arrived
    report = await run_job(zim, GROUPS[:30], Play(), journal=path, unlisted="drop")
    assert (report.unlisted, report.remaining, report.groups, report.groups_finished) == (0, 0, 30, 30)
    report = await run_job(zim, GROUPS, Play(), journal=path)
    assert (report.groups_finished, report.done) == (40, 240)


async def test_actions_of_one_step_are_sent_once(zim: ZimClient, box: Sandbox) -> None:
    async def twice(group: str, step: int, outcomes: Sequence[Outcome]) -> Sequence[Action]:
        assert len(outcomes) == min(step, 1)
        return [] if step == 2 else [ClearPeerMessage(group, "friend")] * 2

    report = await run_groups(zim, ["alice"], twice)
    assert (report.done, len(box.arrivals)) == (2, 2)  # once in each of two steps
