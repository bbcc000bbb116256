import asyncio
import pickle
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeClient
from zim_async import (
    AuthenticationError,
    ClearPeerMessage,
    ConvType,
    InvalidArgumentError,
    JournalError,
    RateLimiter,
    ZimClient,
    erase_users,
    run_groups,
)
from zim_async.bulk import Outcome, Progress, State, read_journal
from zim_async.erase import ErasedUser, UserSurvey, read_erasures, survey_users
from zim_async.sandbox import Sandbox

USERS = [f"user-{number}" for number in range(8)]


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(qps=None, strict=True) as sandbox:
        for user in USERS:
            populate(sandbox, user)
        yield sandbox


@pytest.fixture
def zim(make_client: MakeClient) -> ZimClient:
    return make_client(qps=5_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def populate(box: Sandbox, user: str, count: int = 3) -> None:
    for number in range(count):
        box.add_message(user, f"friend-{number}")
        box.add_group(f"group-{number}", [user, "member"])


async def erase(zim: ZimClient, users: Any, **options: Any) -> tuple[Progress, dict[str, ErasedUser]]:
    reports: dict[str, ErasedUser] = {}

    def on_user(report: ErasedUser) -> None:
        assert report.user_id not in reports
        reports[report.user_id] = report

    return await erase_users(zim, users, on_user=on_user, **options), reports


async def listed(zim: ZimClient, user: str) -> set[tuple[str, ConvType]]:
    return {(one.conv_id, one.conv_type) async for one in zim.conversations(user)}


async def test_users_are_erased_and_nobody_else(zim: ZimClient, box: Sandbox, path: Path) -> None:
    others = {name: await listed(zim, name) for name in ("member", "friend-0", USERS[-1])}
    progress, reports = await erase(zim, USERS[:-1], journal=path)
    assert (progress.done, progress.remaining, progress.groups_finished) == (7 * 12, 0, 7)
    assert sorted(reports) == sorted(USERS[:-1])
    for user in USERS[:-1]:
        report = reports[user]
        assert report.erased
        assert (report.found, report.cleared, report.deleted, report.kept, report.still_listed) == (6, 6, 6, 0, 0)
        assert (report.rounds, report.refused, report.not_found, report.problem) == (1, {}, None, "")
        assert datetime.now(UTC) - report.at < timedelta(minutes=1)
        assert not await listed(zim, user)
    for name, before in others.items():
        assert await listed(zim, name) == before
    assert box.messages("friend-0", USERS[0]) == ["hello"]  # the other side's copy
    assert {report.user_id: report for report in read_erasures(path)} == reports


async def test_every_clear_comes_before_its_delete(zim: ZimClient, box: Sandbox) -> None:
    order: list[tuple[str, str, str]] = []

    def on_outcome(outcome: Outcome) -> None:
        fields = [
            getattr(outcome.action, name)
            for name in ("from_user_id", "to_user_id", "group_id", "conv_id")
            if hasattr(outcome.action, name)
        ]
        order.append((outcome.action.name, *fields))

    await erase(zim, USERS, on_outcome=on_outcome)
    deletes = {entry[1:]: place for place, entry in enumerate(order) if entry[0] == "DeleteConv"}
    clears = {entry[1:]: place for place, entry in enumerate(order) if entry[0] != "DeleteConv"}
    assert set(deletes) == set(clears)
    assert all(clears[conversation] < place for conversation, place in deletes.items())


async def test_a_clear_that_is_refused_keeps_the_conversation(zim: ZimClient, box: Sandbox) -> None:
    def refuse(_parameters: object) -> int:
        return 660600032

    box.handle("ClearMemberGroupMessage", refuse)
    _, reports = await erase(zim, USERS[:2])
    for report in reports.values():
        assert (report.found, report.cleared, report.deleted, report.still_listed) == (6, 3, 3, 3)
        assert report.refused == {660600032: 3}
        assert not report.erased
        assert await listed(zim, report.user_id) == {(f"group-{n}", ConvType.GROUP) for n in range(3)}


async def test_a_conversation_that_went_away_meanwhile_is_done(zim: ZimClient, box: Sandbox) -> None:
    async def on_outcome(outcome: Outcome) -> None:
        if outcome.action == ClearPeerMessage(USERS[0], "friend-0"):
            await zim.delete_conv(from_user_id=USERS[0], conv_id="friend-0", conv_type=ConvType.PEER)

    progress, reports = await erase(zim, USERS[:1], on_outcome=on_outcome)
    assert (progress.done, progress.not_found) == (12, 0)
    assert reports[USERS[0]].erased


async def test_what_is_to_be_kept_is_kept(zim: ZimClient, box: Sandbox) -> None:
    _, reports = await erase(zim, USERS[:1], keep=["friend-1", "group-2"])
    assert (reports[USERS[0]].kept, reports[USERS[0]].deleted, reports[USERS[0]].erased) == (2, 4, True)
    assert await listed(zim, USERS[0]) == {("friend-1", ConvType.PEER), ("group-2", ConvType.GROUP)}
    _, reports = await erase(zim, USERS[1:2], conv_type=ConvType.GROUP)
    assert reports[USERS[1]].deleted == 3
    assert {conv_type for _, conv_type in await listed(zim, USERS[1])} == {ConvType.PEER}
    _, reports = await erase(zim, USERS[2:3], older_than=timedelta(hours=1))
    assert (reports[USERS[2]].kept, reports[USERS[2]].deleted) == (6, 0)
    _, reports = await erase(zim, USERS[2:3], older_than=timedelta(0))
    assert (reports[USERS[2]].kept, reports[USERS[2]].deleted) == (0, 6)


async def test_a_user_who_isnt_known_is_reported_as_such(zim: ZimClient, box: Sandbox) -> None:
    progress, reports = await erase(zim, ["nobody", *USERS[:1]])
    assert reports["nobody"].not_found == 660500002
    assert not reports["nobody"].erased
    assert reports[USERS[0]].erased
    assert progress.groups_finished == 2


async def test_more_than_a_list_holds_takes_several_rounds(zim: ZimClient, box: Sandbox) -> None:
    populate(box, "busy", 600)
    _, reports = await erase(zim, ["busy"])
    report = reports["busy"]
    assert (report.found, report.deleted, report.still_listed, report.rounds) == (1_200, 1_200, 0, 2)
    assert not await listed(zim, "busy")


async def test_conversations_that_arrive_meanwhile_are_met(zim: ZimClient, box: Sandbox) -> None:
    arrived = 0

    def on_outcome(outcome: Outcome) -> None:
        nonlocal arrived
        if outcome.action.name == "DeleteConv" and arrived < 3:
            arrived += 1
            box.add_message(USERS[0], f"late-{arrived}")

    _, reports = await erase(zim, USERS[:1], on_outcome=on_outcome)
    assert (reports[USERS[0]].deleted, reports[USERS[0]].erased) == (9, True)
    assert not await listed(zim, USERS[0])


async def test_a_list_that_doesnt_change_ends_the_rounds(zim: ZimClient, box: Sandbox) -> None:
    box.handle("DeleteConv", lambda _parameters: None)  # says success, and does nothing
    _, reports = await erase(zim, USERS[:1])
    report = reports[USERS[0]]
    assert (report.deleted, report.still_listed, report.rounds, report.erased) == (6, 6, 1, False)


def pages(**fields: Any) -> Any:
    def answer(parameters: Mapping[str, Any]) -> dict[str, Any]:
        row = {"ConvId": "bob", "ConvType": 0, "UpdateTime": 1}
        return {"TotalCount": 1, "Next": 0, "List": [row]} | fields

    return answer


@pytest.mark.parametrize("fields", [{"Next": 7}, {"List": "none"}, {"List": [{"ConvId": 1}]}])
async def test_a_list_that_cant_be_read_is_reported_and_the_others_go_on(
    zim: ZimClient, box: Sandbox, fields: dict[str, Any]
) -> None:
    box.handle("QueryConversationList", pages(**fields))
    progress, reports = await erase(zim, USERS[:3])
    assert (progress.done, progress.groups_finished) == (0, 3)
    for report in reports.values():
        assert "page" in report.problem
        assert not report.erased


async def test_failures_of_lists_are_waited_out(zim: ZimClient, box: Sandbox) -> None:
    box.fail_next(code=660800053, times=3)
    box.answer_next(status=503, times=3)
    box.drop_next(times=2)
    _, reports = await erase(zim, USERS)
    assert all(report.erased for report in reports.values())
    assert len(reports) == len(USERS)


async def test_wrong_credentials_end_the_job(box: Sandbox) -> None:
    async with ZimClient(box.app_id, "wrong", base_url=box.base_url, limiter=RateLimiter(100)) as wrong:
        with pytest.raises(AuthenticationError):
            await erase(wrong, USERS)


async def test_an_interrupted_job_goes_on_and_reports_everybody(zim: ZimClient, box: Sandbox, path: Path) -> None:
    random.seed(3)
    box.delay = 0.003
    reports: dict[str, ErasedUser] = {}
    for _ in range(6):
        job = asyncio.create_task(erase_users(zim, USERS, journal=path))
        await asyncio.sleep(random.uniform(0.02, 0.15))
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    await erase_users(zim, USERS, journal=path)
    reports = {report.user_id: report for report in read_erasures(path)}
    assert sorted(reports) == sorted(USERS)
    assert all(report.erased and report.found == report.cleared == report.deleted == 6 for report in reports.values())
    assert sum(1 for _ in read_journal(path, State.DONE)) == 12 * len(USERS)
    arrived = len(box.arrivals)
    await erase_users(zim, USERS, journal=path)
    assert len(box.arrivals) == arrived


async def test_the_journal_of_another_kind_of_job_is_refused(zim: ZimClient, box: Sandbox, path: Path) -> None:
    async def nothing(*_: object) -> list[Any]:
        return []

    await run_groups(zim, USERS, nothing, journal=path)
    with pytest.raises(JournalError, match="another kind of job"):
        await erase_users(zim, USERS, journal=path)


@pytest.mark.parametrize(
    ("users", "options"),
    [
        ([*USERS, ""], {}),
        ([*USERS, 7], {}),
        ([*USERS, "x" * 33], {}),
        ("alice", {}),
        (USERS, {"keep": "alice"}),
        (USERS, {"older_than": 90}),
        (USERS, {"conv_type": 2}),
        (USERS, {"unlisted": "keep"}),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    zim: ZimClient, box: Sandbox, path: Path, users: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        await erase_users(zim, users, journal=path, **options)
    assert not box.arrivals
    assert not path.exists()


async def test_a_survey_reads_lists_alone(zim: ZimClient, box: Sandbox) -> None:
    surveys = [one async for one in survey_users(zim, [USERS[0], "nobody"], keep=["group-0"])]
    assert surveys == [UserSurvey(USERS[0], peers=3, groups=2, kept=1), UserSurvey("nobody", not_found=660500002)]
    assert {arrival.action for arrival in box.arrivals} == {"QueryConversationList"}


async def test_reports_pickle_and_conversations_are_read_to_the_end_first(zim: ZimClient, box: Sandbox) -> None:
    populate(box, "busy", 300)
    _, reports = await erase(zim, ["busy"])
    assert pickle.loads(pickle.dumps(reports)) == reports
    actions = [arrival.action for arrival in box.arrivals]
    assert actions[:2] == ["QueryConversationList"] * 2
