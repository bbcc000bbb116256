import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeClient
from tests.support.bulk_jobs import FAST, Action, assert_at_rest, run_job, some, states, stop_after
from zim_async import (
    AuthenticationError,
    ClosedError,
    ConvType,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    QuotaUnavailableError,
    RateLimiter,
    Response,
    TransportError,
    ZimClient,
    cleanup,
)
from zim_async.bulk import Progress, State, read_journal
from zim_async.bulk._lane import Pace
from zim_async.bulk._outage import Backoff
from zim_async.limits import ActionLimiter, Permit, Priority
from zim_async.sandbox import Sandbox


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


@pytest.mark.parametrize("code", [100000011, 100000016, 660000028])
async def test_what_every_call_would_meet_stops_the_job(zim: ZimClient, box: Sandbox, path: Path, code: int) -> None:
    box.fail_next(code=code)
    with pytest.raises((AuthenticationError, NotPermittedError)):
        await run_job(zim, some(500), journal=path)
    assert states(path)["refused"] == 0
    assert states(path)["waiting"] > 0


async def test_an_outage_is_waited_out(zim: ZimClient, box: Sandbox, path: Path) -> None:
    reasons: set[str] = set()

    def on_progress(progress: Progress) -> None:
        if progress.outage is not None and not reasons:
            asyncio.get_running_loop().call_later(0.5, box.clear_faults)
            reasons.add(progress.outage)

    box.answer_next(status=502, times=10_000)
    report = await run_job(zim, some(500), journal=path, on_progress=on_progress)
    assert (report.done, report.refused, report.outage) == (500, 0, None)
    assert "HTTP 502" in "".join(reasons)
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


async def test_an_action_that_always_fails_transiently_is_tried_ever_more_seldom(zim: ZimClient, box: Sandbox) -> None:
    tries = 0

    def fail_one(given: Mapping[str, Any]) -> int | None:
        nonlocal tries
        failing = given["FromUserId"] == "user-0"
        tries += failing
        return 660000001 if failing else None

    box.handle("DeleteConv", fail_one)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(1.0, stop.set)
    report = await run_job(zim, some(20)[::2], stop=stop, pace=Pace(Backoff(0.1), settling=0.0))
    assert (report.done, report.remaining, report.interrupted) == (9, 1, True)
    assert 3 <= tries <= 5  # at 0, 0, .1, .3, .7 s


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


async def test_runs_close_upon_each_other_keep_the_rate_together(path: Path) -> None:
    async with Sandbox() as box:
        for first in (0, 40):
            limiter = RateLimiter()  # as a new process has one, which knows nothing of the calls before
            async with ZimClient(box.app_id, box.server_secret, base_url=box.base_url, limiter=limiter) as zim:
                await cleanup(zim, some(80)[first : first + 40], journal=path)
        assert (box.refused, len(box.arrivals)) == (0, 80)


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


async def test_an_outage_of_one_action_is_none_of_the_others(zim: ZimClient, box: Sandbox) -> None:
    zim.qps = 100
    box.handle("DeleteConv", lambda _parameters: 660600015)
    stop = asyncio.Event()
    report = await run_job(zim, some(200), stop=stop, on_progress=stop_after(100, stop.set), pace=Pace(Backoff(0.5)))
    assert report.done == 100
    assert sum(arrival.action == "DeleteConv" for arrival in box.arrivals) < 50  # those in flight at first, and probes


async def test_the_end_of_an_outage_wakes_every_action(zim: ZimClient, box: Sandbox) -> None:
    failing = True
    for name in "ClearPeerMessage", "DeleteConv":
        box.handle(name, lambda _parameters: 660600015 if failing else None)
    # Probes at .4, 1.2, 2.8 s and so on, and those of the slower one at some 1.2, 2.0, 3.6 s.
    zim.qps = {"ClearPeerMessage": 100, "DeleteConv": 5}

    async def mend() -> None:
        nonlocal failing
        await asyncio.sleep(2.3)
        failing = False

    report, _ = await asyncio.gather(run_job(zim, some(12), pace=Pace(Backoff(0.4), settling=0.0)), mend())
    assert (report.done, report.outage) == (12, None)
    good = [next(a.at for a in box.arrivals if a.action == name and a.code == 0) for name in report.tallies]
    assert abs(good[0] - good[1]) < 0.5


@pytest.mark.parametrize("status", [429, 503])
async def test_the_first_pause_that_the_server_asks_for_is_heeded(zim: ZimClient, box: Sandbox, status: int) -> None:
    zim.qps = 20
    box.answer_next(status=status, retry_after="1")
    report = await run_job(zim, some(40)[::2])
    assert report.done == 20
    first, *rest = [arrival.at for arrival in box.arrivals]
    in_flight = sum(at < first + 0.2 for at in rest)
    assert sum(at < first + 1.0 for at in rest) == in_flight <= 5


@pytest.mark.parametrize("status", [403, 404])
async def test_nothing_but_pages_of_another_server_stops_the_job(zim: ZimClient, box: Sandbox, status: int) -> None:
    box.answer_next(status=status, body=b"<html>", times=10_000)
    with pytest.raises(ProtocolError, match=f"HTTP {status}.*Check that the base URL"):
        await run_job(zim, some(3_000))
    assert len(box.arrivals) <= 800  # those in flight when it became clear


async def test_pages_of_another_server_after_a_good_response_are_an_outage(zim: ZimClient, box: Sandbox) -> None:
    began = False

    def on_progress(progress: Progress) -> None:
        nonlocal began
        if progress.done >= 20 and not began:
            began = True
            box.answer_next(status=404, body=b"<html>", times=1_000)
            asyncio.get_running_loop().call_later(0.3, box.clear_faults)

    zim.qps = 100
    assert (await run_job(zim, some(100), on_progress=on_progress)).done == 100


async def test_a_certificate_that_cant_be_verified_stops_the_job(zim: ZimClient, path: Path) -> None:
    async def fail(_action: Action, permit: Permit, _priority: Priority) -> Response:
        permit.release()
        raise TransportError("the server's certificate can't be verified", untrusted=True, maybe_applied=False)

    with pytest.raises(TransportError, match="certificate"):
        await run_job(zim, some(10), journal=path, attempt=fail)
    assert states(path) == {"waiting": 10}


async def test_not_found_after_an_attempt_that_may_have_been_applied_is_done(
    zim: ZimClient, box: Sandbox, path: Path
) -> None:
    zim.qps = 20
    box.drop_next(after_acting=True)
    box.fail_next(code=1)
    actions = some(4)[::2]
    arrived = 0

    def gone_the_second_time(_parameters: object) -> int | None:
        nonlocal arrived
        arrived += 1
        return None if arrived == 1 else 660800002

    box.handle("DeleteConv", gone_the_second_time)
    report = await run_job(zim, actions, journal=path)
    assert (report.done, report.not_found) == (1, 1)
    [done] = read_journal(path, State.DONE)
    assert done.code == 660800002
    assert [code.code for code in report.codes] == [660800002]
    assert report.codes[0].count == 1


async def test_not_found_after_an_attempt_of_the_same_call_that_may_have_been_applied_is_done(zim: ZimClient) -> None:
    async def sign_anew(_action: Action, permit: Permit, _priority: Priority) -> Response:
        permit.release()
        error = NotFoundError("unknown", code=660800002)
        error.maybe_applied = True
        raise error

    assert (await run_job(zim, some(4), attempt=sign_anew)).done == 4


async def test_not_found_of_a_row_that_was_resumed_as_sent_is_done(zim: ZimClient, box: Sandbox, path: Path) -> None:
    box.delay = 5.0
    job = asyncio.create_task(run_job(zim, some(1), journal=path))
    while not box.arrivals:
        await asyncio.sleep(0.01)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    box.delay = 0.0
    assert states(path) == {"sent": 1}
    box.fail_next(code=660800002, times=2)
    report = await run_job(zim, [*some(1), *some(4)[2::2]], journal=path)
    assert (report.done, report.not_found) == (1, 1)


async def test_a_row_that_waits_for_its_turn_is_not_marked_as_sent(
    make_client: MakeClient, box: Sandbox, path: Path
) -> None:
    zim = make_client(qps=1)
    done = asyncio.Event()
    job = asyncio.create_task(run_job(zim, some(40)[::2], journal=path, on_progress=stop_after(1, done.set)))
    await done.wait()
    await asyncio.sleep(0.1)
    assert states(path) == {"done": 1, "waiting": 19}
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job


async def test_a_shared_quota_that_cant_be_used_is_an_outage(
    zim: ZimClient, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, failures = ActionLimiter.acquire, 0

    async def fail_at_first(self: ActionLimiter, *args: Any, **options: Any) -> Permit:
        nonlocal failures
        if failures < 8:
            failures += 1
            raise QuotaUnavailableError("no Redis")
        return await acquire(self, *args, **options)

    monkeypatch.setattr(ActionLimiter, "acquire", fail_at_first)
    assert (await run_job(zim, some(20))).done == 20
    assert failures == 8


async def test_slow_responses_dont_hold_a_raised_quota_back(zim: ZimClient, box: Sandbox) -> None:
    zim.qps = 300
    box.delay = 1.5
    report = await run_job(zim, some(440)[::2], pace=Pace(workers=10, settling=0.0))
    assert report.done == 220
    first, last = box.arrivals[0].at, box.arrivals[-1].at
    assert last - first < 1.4  # all of them before the first response
