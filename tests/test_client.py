import asyncio
import gc
import json
import logging
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn
from unittest.mock import ANY

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from tests.conftest import MakeClient
from zim_async import (
    Action,
    ApiError,
    AuthenticationError,
    ClearPeerMessage,
    ClockSkewError,
    ClosedError,
    ConfigError,
    ConvType,
    DeleteConv,
    InvalidArgumentError,
    NotFoundError,
    QueueTimeoutError,
    QuotaUnavailableError,
    RateLimiter,
    Region,
    Response,
    RetryPolicy,
    ServerBusyError,
    SessionManager,
    TransportError,
    ZimClient,
    ZimError,
)
from zim_async.client import ClientOptions
from zim_async.events import AttemptEnded, Event
from zim_async.limits import LocalWindow, Priority
from zim_async.limits._adaptation import PAUSE
from zim_async.sandbox import Sandbox

SERVER = re.compile(r"https://zim-api-fra\.zego\.im/\?.*")
SUCCESS = {"Code": 0, "Message": "success", "RequestId": "r1"}


# The wrappers, over mocked HTTP


async def test_wrappers_send_what_the_vendor_asks_for(mocked: aioresponses) -> None:
    sent: list[tuple[URL, dict[str, Any]]] = []

    def answer(url: URL, **options: Any) -> CallbackResult:
        sent.append((url, options))
        return CallbackResult(payload=SUCCESS)

    mocked.post(SERVER, callback=answer, repeat=True)
    async with ZimClient(7, "hush", region="fra") as zim:
        cleared = await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
        deleted = await zim.delete_conv(from_user_id="alice", conv_id="g7", conv_type=ConvType.GROUP)

    assert cleared == Response(0, "success", "r1", "ClearPeerMessage", 1)
    assert deleted == Response(0, "success", "r1", "DeleteConv", 1)
    assert [json.loads(options["data"]) for _, options in sent] == [
        {"FromUserId": "alice", "ToUserId": "bob"},
        {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2},
    ]
    assert [url.query["Action"] for url, _ in sent] == ["ClearPeerMessage", "DeleteConv"]
    for url, options in sent:
        assert url.host == "zim-api-fra.zego.im"
        assert dict(url.query) == {
            "Action": ANY,
            "AppId": "7",
            "SignatureNonce": ANY,
            "Timestamp": ANY,
            "Signature": ANY,
            "SignatureVersion": "2.0",
        }
        assert abs(int(url.query["Timestamp"]) - time.time()) < 5
        assert options["allow_redirects"] is False


async def test_a_mocked_refusal_and_a_mocked_failure_raise(mocked: aioresponses) -> None:
    mocked.post(SERVER, payload={"Code": 660800002, "Message": "none", "RequestId": "r2"})
    mocked.post(SERVER, exception=aiohttp.ServerDisconnectedError())
    async with ZimClient(8, "hush", region=Region.FRANKFURT, retry=RetryPolicy(1)) as zim:
        with pytest.raises(NotFoundError):
            await zim.delete_conv(from_user_id="alice", conv_id="bob", conv_type=ConvType.PEER)
        with pytest.raises(TransportError):
            await zim.delete_conv(from_user_id="alice", conv_id="bob", conv_type=ConvType.PEER)


# The rest over real sockets


async def delete(zim: ZimClient, **options: Any) -> Response:
    return await zim.send(DeleteConv("alice", "bob", ConvType.PEER), **options)


async def test_state_changes_on_one_side_only(box: Sandbox, zim: ZimClient) -> None:
    box.add_message("alice", "bob")
    await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
    assert (box.messages("alice", "bob"), box.messages("bob", "alice")) == ([], ["hello"])
    await zim.delete_conv(from_user_id="bob", conv_id="alice", conv_type=ConvType.PEER)
    assert (box.messages("alice", "bob"), box.messages("bob", "alice")) == ([], None)


async def test_bad_input_is_refused_before_anything_is_sent(box: Sandbox, zim: ZimClient) -> None:
    with pytest.raises(InvalidArgumentError, match="to_user_id"):
        await zim.clear_peer_message(from_user_id="alice", to_user_id="")
    with pytest.raises(InvalidArgumentError, match="conv_type"):
        await zim.delete_conv(from_user_id="alice", conv_id="bob", conv_type=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="not str"):
        await zim.send("DeleteConv")  # type: ignore[arg-type]
    for deadline in (0, -1, True, "5", float("nan")):
        with pytest.raises(InvalidArgumentError, match="deadline"):
            await delete(zim, deadline=deadline)
    assert not box.arrivals


async def test_every_passing_fault_is_got_over(box: Sandbox, zim: ZimClient) -> None:
    box.add_message("alice", "bob")
    box.drop_next()
    box.drop_next(after_acting=True)
    box.fail_next(code=1)
    box.answer_next(status=503)
    response = await delete(zim)
    assert response.attempts == 5
    assert box.messages("alice", "bob") is None


async def test_every_attempt_is_signed_anew_and_pays_its_place(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=105001, times=4)
    await delete(zim)
    # The sandbox accepts no nonce twice, and the limiter counts what was sent.
    assert [arrival.code for arrival in box.arrivals] == [105001] * 4 + [0]
    assert "in_flight=0" in repr(zim.limiter.of("DeleteConv"))


async def test_attempts_run_out_with_the_last_real_error(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=1, times=9)
    with pytest.raises(ServerBusyError, match="DeleteConv failed after 5 attempts: code 1") as caught:
        await delete(zim)
    assert (caught.value.attempts, caught.value.action, caught.value.code) == (5, "DeleteConv", 1)
    assert caught.value.request_id


async def test_retry_can_be_overridden_by_call(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=1, times=2)
    with pytest.raises(ServerBusyError):
        await zim.clear_peer_message(from_user_id="a", to_user_id="b", retry=RetryPolicy(1))
    with pytest.raises(ServerBusyError):
        await zim.delete_conv(from_user_id="a", conv_id="b", conv_type=ConvType.PEER, retry=RetryPolicy(1))


async def test_undocumented_codes_are_raised_at_once(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=424242)
    with pytest.raises(ApiError, match="code 424242, undocumented"):
        await delete(zim)
    assert len(box.arrivals) == 1


# Deadlines


async def test_a_call_refused_for_its_rate_waits_its_turn_again(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=7, times=3)
    assert (await delete(zim, retry=RetryPolicy(1))).attempts == 4


def hold_up_answers(box: Sandbox) -> None:
    box.delay = 30


def keep_failing(box: Sandbox) -> None:
    box.fail_next(code=1, times=1000)


@pytest.mark.parametrize(("trouble", "error"), [(hold_up_answers, TransportError), (keep_failing, ServerBusyError)])
async def test_a_deadline_bounds_attempts_and_waits(
    box: Sandbox, make_client: MakeClient, trouble: Callable[[Sandbox], None], error: type[ZimError]
) -> None:
    zim = make_client(deadline=0.4, retry=RetryPolicy(50, first_backoff=0.3, jitter=False))
    trouble(box)
    start = time.monotonic()
    with pytest.raises(error) as caught:
        await delete(zim)
    assert time.monotonic() - start < 0.45
    assert caught.value.action == "DeleteConv"
    assert caught.value.attempts >= 1
    assert caught.value.__context__ is None


async def test_a_deadline_bounds_the_queue(make_client: MakeClient) -> None:
    zim = make_client(qps=1)
    await delete(zim)
    start = time.monotonic()
    with pytest.raises(QueueTimeoutError, match="nothing was sent") as caught:
        await delete(zim, deadline=0.2)
    assert 0.15 < time.monotonic() - start < 0.25
    assert caught.value.attempts == 0


async def test_a_queue_that_is_too_long_is_told_at_once(box: Sandbox, make_client: MakeClient) -> None:
    zim = make_client(qps=1, max_wait=30)
    waiting = [asyncio.create_task(delete(zim)) for _ in range(6)]
    await asyncio.sleep(0.1)
    start = time.monotonic()
    with pytest.raises(QueueTimeoutError, match="max_wait=2") as caught:
        await delete(zim, max_wait=2)
    assert time.monotonic() - start < 0.1
    assert 4 < caught.value.estimated_wait < 7
    assert (caught.value.action, caught.value.attempts) == ("DeleteConv", 0)
    zim.qps = 20
    assert set(zim.qps.values()) == {20}
    await asyncio.gather(*waiting)


async def test_max_wait_bounds_the_turns_of_repeats_too(box: Sandbox, make_client: MakeClient) -> None:
    zim = make_client(qps=1, max_wait=2)
    box.fail_next(code=1)
    start = time.monotonic()
    waiting = [asyncio.create_task(delete(zim, max_wait=30)) for _ in range(2)]
    box_call = asyncio.create_task(delete(zim, max_wait=0.5))
    with pytest.raises(QueueTimeoutError):
        await box_call
    await asyncio.gather(*waiting)
    box.fail_next(code=1)
    with pytest.raises(ServerBusyError) as caught:
        await delete(zim, max_wait=1.2)  # its first turn takes a second, its second turn would take another
    assert caught.value.attempts == 1
    assert time.monotonic() - start < 6


async def test_a_quota_that_gets_out_of_reach_does_not_hide_what_the_server_said(
    box: Sandbox, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_out_of_reach(*_: object) -> NoReturn:
        raise QuotaUnavailableError("the quota can't be reached; nothing was sent")

    def lose_the_quota(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            monkeypatch.setattr(LocalWindow, "try_take", get_out_of_reach)

    zim = make_client(observers=[lose_the_quota])
    box.fail_next(code=1)
    with pytest.raises(ServerBusyError) as caught:
        await delete(zim)
    assert caught.value.attempts == 1


async def test_a_retry_after_that_outlasts_the_deadline_is_told_now(box: Sandbox, make_client: MakeClient) -> None:
    zim = make_client(deadline=5, retry=RetryPolicy())
    box.answer_next(status=503, retry_after="20")
    start = time.monotonic()
    with pytest.raises(TransportError) as caught:
        await delete(zim)
    assert (caught.value.status, caught.value.retry_after) == (503, 20)
    assert time.monotonic() - start < 1


async def test_bulk_calls_let_others_go_first(box: Sandbox, make_client: MakeClient) -> None:
    zim = make_client(qps=2)
    done: list[str] = []

    async def one(name: str, priority: Priority) -> None:
        await delete(zim, priority=priority)
        done.append(name)

    await asyncio.gather(*(one(f"bulk {n}", "bulk") for n in range(3)), one("user", "interactive"))
    assert done == ["bulk 0", "user", "bulk 1", "bulk 2"]
    with pytest.raises(InvalidArgumentError, match="priority"):
        await delete(zim, priority="urgent")


async def test_a_time_out_bounds_one_attempt(box: Sandbox, make_client: MakeClient) -> None:
    zim = make_client(timeout=0.1)
    box.delay_next(5)
    assert (await delete(zim)).attempts == 2


async def test_cancellation_goes_through_and_its_permit_comes_back(box: Sandbox, zim: ZimClient) -> None:
    box.delay = 30
    task = asyncio.create_task(delete(zim))
    while not box.arrivals:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert zim.limiter.of("DeleteConv").in_flight == 0


# Clocks


async def test_a_clock_difference_is_learned_and_fades(box: Sandbox, zim: ZimClient) -> None:
    for skew, codes in ((900, [100000004, 0]), (-900, [100000004, 0]), (0, [100000004, 0])):
        box.clock_skew = skew
        box.arrivals.clear()
        for _ in range(2):
            await delete(zim)
        assert [arrival.code for arrival in box.arrivals] == [*codes, 0]


async def test_many_calls_in_flight_learn_the_clock_together(box: Sandbox, zim: ZimClient) -> None:
    box.clock_skew = 900
    responses = await asyncio.gather(*(delete(zim) for _ in range(10)))
    assert {response.attempts for response in responses} == {2}


@pytest.mark.parametrize("code", [100000004, 100000005])
async def test_a_second_refusal_states_the_difference(box: Sandbox, zim: ZimClient, code: int) -> None:
    box.clock_skew = -1234
    box.fail_next(code=code, times=9)
    if code == 100000005:
        zim = ZimClient(box.app_id, "wrong", base_url=box.base_url)
    async with zim:
        with pytest.raises(ClockSkewError, match=r"-123[345] s") as caught:
            await delete(zim)
    assert caught.value.difference == pytest.approx(-1234, abs=2)
    assert caught.value.attempts == 2
    assert caught.value.request_id


async def test_an_expired_signature_by_equal_clocks_is_raised_at_once(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=100000004)
    with pytest.raises(ClockSkewError, match="clock") as caught:
        await delete(zim)
    assert (caught.value.attempts, caught.value.difference) == (1, None)


async def test_a_wrong_secret_is_raised_at_once(box: Sandbox) -> None:
    async with ZimClient(box.app_id, "wrong", base_url=box.base_url) as zim:
        with pytest.raises(AuthenticationError, match="secret"):
            await delete(zim)
    assert len(box.arrivals) == 1


async def test_a_deadline_while_waiting_to_sign_anew_raises_the_refusal(box: Sandbox, make_client: MakeClient) -> None:
    box.clock_skew = 900
    with pytest.raises(ClockSkewError) as caught:
        await delete(make_client(qps=1), deadline=0.2)
    assert caught.value.attempts == len(box.arrivals) == 1


# Rates


async def test_clients_of_an_application_share_its_rate(box: Sandbox, make_client: MakeClient) -> None:
    clients = [make_client(), make_client(base_url=box.base_url.replace("127.0.0.1", "localhost"))]
    await asyncio.gather(*(delete(client) for client in clients for _ in range(15)))
    assert box.refused == 0
    assert box.busiest_second("DeleteConv") <= 20


async def test_a_limiter_of_ones_own_is_used(make_client: MakeClient) -> None:
    limiter = RateLimiter(1)
    assert make_client(limiter=limiter).limiter is limiter


async def test_a_refused_call_slows_the_action_down_and_goes_again(box: Sandbox, zim: ZimClient) -> None:
    box.fail_next(code=660300005)
    await delete(zim)
    times = [arrival.at for arrival in box.arrivals]
    assert times[1] - times[0] >= PAUSE


# Life and death


async def test_sessions_can_be_shared_and_outlive_their_clients(make_client: MakeClient) -> None:
    async with SessionManager() as sessions:
        async with make_client(sessions=sessions) as first, make_client(sessions=sessions) as second:
            await asyncio.gather(delete(first), delete(second))
        await delete(make_client(sessions=sessions))


async def test_a_lent_session_is_not_closed(make_client: MakeClient) -> None:
    async with aiohttp.ClientSession() as session:
        async with make_client(session=session) as zim:
            await delete(zim)
        assert not session.closed


async def test_a_closed_client_says_so(zim: ZimClient) -> None:
    await zim.close()
    await zim.close()
    with pytest.raises(ZimError, match="closed"):
        await delete(zim)
    with pytest.raises(ZimError, match="closed"):
        async with zim:
            pass


@pytest.mark.parametrize("shared", [False, True])
async def test_calls_in_the_queue_are_given_up_when_the_client_closes(make_client: MakeClient, shared: bool) -> None:
    async with SessionManager() as sessions:
        zim = make_client(limiter=RateLimiter(2), sessions=sessions if shared else None)
        calls = [asyncio.create_task(delete(zim)) for _ in range(3)]
        await asyncio.gather(*calls[:2])
        start = time.monotonic()
        await zim.close()
        with pytest.raises(ClosedError, match=r"closed.*not sent") as caught:
            await calls[2]
        assert caught.value.action == "DeleteConv"
        assert time.monotonic() - start < 0.5
        assert zim.limiter.of("DeleteConv").in_flight == 0


async def test_closing_during_a_wait_between_attempts_keeps_the_last_failure(
    box: Sandbox, make_client: MakeClient
) -> None:
    zim = make_client(retry=RetryPolicy(first_backoff=20, jitter=False))
    box.drop_next(after_acting=True)
    start = time.monotonic()
    call = asyncio.create_task(delete(zim))
    while not zim.limiter.of("DeleteConv").in_flight == len(box.arrivals) - 1 == 0:
        await asyncio.sleep(0.01)
    await zim.close()
    with pytest.raises(TransportError) as caught:
        await call
    assert caught.value.maybe_applied
    assert caught.value.attempts == 1
    assert time.monotonic() - start < 2


async def test_a_close_that_is_cancelled_closes_all_the_same(box: Sandbox, make_client: MakeClient) -> None:
    sessions = SessionManager()
    zim = make_client(sessions=sessions)
    box.delay = 30
    call = asyncio.create_task(delete(zim))
    while not box.arrivals:
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(sessions.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(TransportError):  # its connection is gone
        await asyncio.wait_for(call, 5)


async def test_all_who_wait_learn_that_the_lent_session_was_closed(make_client: MakeClient) -> None:
    session = aiohttp.ClientSession()
    zim = make_client(session=session, qps=1)
    await delete(zim)
    waiting = [asyncio.create_task(delete(zim)) for _ in range(200)]
    await session.close()
    start = time.monotonic()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert time.monotonic() - start < 3
    assert {type(error) for error in errors} == {ClosedError}


async def test_own_actions_are_checked_before_anything_is_sent(box: Sandbox, zim: ZimClient) -> None:
    @dataclass(frozen=True, slots=True)
    class Unencodable(Action):
        name = "Unencodable"
        value: object

    @dataclass
    class Mutable(Action):
        name = "Mutable"

    @dataclass(frozen=True)
    class Misnamed(Action):
        name = "Mis&named"

    @dataclass(frozen=True)
    class Textual(Action):
        name = "Textual"

        def body(self) -> bytes:
            return "{}"  # type: ignore[return-value]

    bad: list[Action] = [Unencodable({1}), Unencodable(float("nan")), Unencodable({1: 2}), Unencodable("\ud800")]
    bad += [Unencodable("x" * (8 * 2**20)), Mutable(), Misnamed(), Textual()]
    for action in bad:
        with pytest.raises(InvalidArgumentError):
            await zim.send(action)
    assert not box.arrivals


class NeverResponding(SessionManager):
    async def request(self, *_: object, **__: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


def test_calls_of_a_closed_loop_count_no_more() -> None:
    zim = ZimClient(1, "hush", limiter=RateLimiter(), sessions=NeverResponding())
    limiter = zim.limiter.of("DeleteConv")

    async def leave_pending() -> list[asyncio.Task[Response]]:
        tasks = [asyncio.create_task(delete(zim)) for _ in range(3)]
        await asyncio.sleep(0)
        assert limiter.in_flight == 3
        return tasks

    async def use() -> int:
        permit = await limiter.acquire()
        assert permit
        pending.clear()
        gc.collect()
        return limiter.in_flight

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    pending = loop.run_until_complete(leave_pending())
    loop.close()
    assert asyncio.run(use()) == 1


def test_a_client_can_be_made_before_any_loop_runs_and_used_from_one_after_another(unused_tcp_port: int) -> None:
    zim = ZimClient(77, "hush", base_url=f"http://127.0.0.1:{unused_tcp_port}", limiter=RateLimiter())

    async def use() -> None:
        async with Sandbox(app_id=77, server_secret="hush", port=unused_tcp_port):
            await delete(zim)

    async def use_and_close() -> None:
        await use()
        await zim.close()

    asyncio.run(use())
    asyncio.run(use_and_close())


# Configuration

VALID: dict[str, Any] = {"app_id": 1, "server_secret": "hush-hush"}


def test_from_env_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ZIM_APP_ID and ZIM_SERVER_SECRET"):
        ZimClient.from_env()
    monkeypatch.setenv("ZIM_SERVER_SECRET", "hush")
    monkeypatch.setenv("ZIM_APP_ID", "12x")
    with pytest.raises(ConfigError, match="whole number"):
        ZimClient.from_env()
    monkeypatch.setenv("ZIM_APP_ID", "12")
    assert "host=zim-api.zego.im" in repr(ZimClient.from_env())
    monkeypatch.setenv("ZIM_REGION", "sgp")
    assert "app_id=12 host=zim-api-sgp.zego.im" in repr(ZimClient.from_env(timeout=3))
    assert "host=127.0.0.1" in repr(ZimClient.from_env(base_url="http://127.0.0.1:1/"))
    monkeypatch.setenv("ZIM_BASE_URL", "http://127.0.0.1:1/")
    with pytest.raises(ConfigError, match="not both"):
        ZimClient.from_env()


@pytest.mark.parametrize(
    "options",
    [
        {"app_id": 0},
        {"server_secret": ""},
        {"region": "mars"},
        {"base_url": "http://zim.example/"},
        {"qps": 0},
        {"timeout": 0},
        {"timeout": "5"},
        {"timeout": 1e300},
        {"timeout": 10**400},
        {"deadline": float("nan")},
        {"max_wait": 10**400},
        {"deadline": -1},
        {"sessions": SessionManager(), "session": object()},
        {"session": object()},
        {"retry": 3},
        {"limiter": 3},
        {"sessions": 3},
        {"observers": print},
        {"region": 10**5000},
        {"qps": 10**400},
    ],
)
def test_bad_configuration_is_refused_without_the_secret(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        ZimClient(**VALID | options)
    assert "hush" not in str(caught.value)


# What must never be seen


async def test_secret_and_signature_are_nowhere(
    box: Sandbox, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    zim = make_client(timeout=0.2)
    faults: list[Callable[[], None]] = [
        lambda: box.fail_next(code=2),
        lambda: box.fail_next(code=100000005),
        lambda: box.drop_next(times=2),
        lambda: box.delay_next(5, times=2),
        lambda: box.answer_next(body=b"Signature=0123456789abcdef0123456789abcdef", times=2),
        lambda: box.answer_next(status=307, times=2),
        lambda: setattr(box, "delay", 5),
    ]
    errors: list[ZimError] = []
    for fault in faults:
        fault()
        with pytest.raises(ZimError) as caught:
            await delete(zim, retry=RetryPolicy(2, first_backoff=0), deadline=0.15 if box.delay else None)
        errors.append(caught.value)
    texts = [caplog.text, repr(zim), repr(zim.limiter)]
    for error in errors:
        texts += [str(error), repr(error), repr(error.args), repr(vars(error))]
        texts += traceback.format_exception(error)
        assert error.__cause__ is None
        assert error.__context__ is None
        # Debuggers and error trackers show the locals of each frame.
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "zim_async" in frame.f_code.co_filename and "test" not in frame.f_code.co_filename:
                texts += [repr(value) for value in frame.f_locals.values()]
    for text in texts:
        assert box.server_secret not in text
        assert not re.search(r"Signature=[0-9a-f]|[0-9a-f]{32}", text)


async def test_the_callers_own_cancellation_shows_no_signature(box: Sandbox, zim: ZimClient) -> None:
    box.delay = 5
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await delete(zim)
    error: BaseException | None = caught.value
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code is not test_the_callers_own_cancellation_shows_no_signature.__code__:
                assert "Signature=" not in repr(frame.f_locals)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("options", [{"app_id": 0}, {"region": "mars"}, {"qps": 0}])
def test_no_frame_of_a_failed_construction_shows_the_secret(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        ZimClient(**VALID | options)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    assert not any("hush" in repr(frame.f_locals) for frame in frames)


def test_no_frame_of_a_failed_from_env_shows_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIM_SERVER_SECRET", "hush-hush")
    cases: dict[str, ClientOptions] = {"1" * 5000: {}, "7": {"region": "mars"}}  # type: ignore[typeddict-item]
    for app_id, options in cases.items():
        monkeypatch.setenv("ZIM_APP_ID", app_id)
        with pytest.raises(ConfigError) as caught:
            ZimClient.from_env(**options)
        assert not any("hush" in repr(frame.f_locals) for frame, _ in list(traceback.walk_tb(caught.tb))[1:])


async def test_attempts_are_logged_at_debug_and_retries_at_warning(
    box: Sandbox, zim: ZimClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "zim_async")
    box.fail_next(code=1)
    await zim.send(ClearPeerMessage("alice", "bob"))
    levels = [record.levelname for record in caplog.records if record.name == "zim_async"]
    assert levels == ["DEBUG", "WARNING", "DEBUG"]
    assert "ServerBusyError, code 1" in caplog.text


async def test_a_client_tells_whom_it_calls_for_and_where(zim: ZimClient, box: Sandbox) -> None:
    assert (zim.app_id, zim.host) == (box.app_id, "127.0.0.1")
