import asyncio
import hashlib
import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from zim_async import ConvType, InvalidArgumentError
from zim_async.sandbox import Sandbox

PEER_BODY = {"FromUserId": "alice", "ToUserId": "bob"}
CONV_BODY = {"FromUserId": "alice", "ConvId": "bob", "ConvType": 0}


def signed(box: Sandbox, nonce: str = "00112233aabbccdd", **changes: Any) -> dict[str, str]:
    """The public parameters, written out once more; a change of None leaves one out."""
    timestamp = changes.get("Timestamp") or str(int(time.time()))
    secret = changes.pop("secret", box.server_secret)
    text = f"{box.app_id}{nonce}{secret}{timestamp}"
    parameters = {
        "Action": "ClearPeerMessage",
        "AppId": str(box.app_id),
        "SignatureNonce": nonce,
        "Timestamp": timestamp,
        "SignatureVersion": "2.0",
        "Signature": hashlib.md5(text.encode()).hexdigest(),
    }
    return {name: value for name, value in (parameters | changes).items() if value is not None}


async def post(box: Sandbox, parameters: dict[str, str], body: Any = PEER_BODY) -> int:
    options: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with (
        aiohttp.ClientSession() as session,
        session.post(box.base_url, params=parameters, **options) as response,
    ):
        assert response.status == 200
        content = await response.json()
        assert sorted(content) == ["Code", "Message", "RequestId"]
        return int(content["Code"])


async def test_a_good_request_is_done(box: Sandbox) -> None:
    assert await post(box, signed(box)) == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Action": None}, 100000006),
        ({"Action": "DropTables"}, 100000007),
        ({"AppId": None}, 100000001),
        ({"AppId": "x1"}, 100000001),
        ({"AppId": "1"}, 100000011),
        ({"SignatureNonce": None}, 100000002),
        ({"SignatureNonce": "xyz"}, 100000002),
        ({"Timestamp": "soon"}, 100000003),
        ({"Timestamp": "1615186943"}, 100000004),
        ({"SignatureVersion": "1.0"}, 100000008),
        ({"Signature": None}, 100000009),
        ({"Signature": "0" * 32}, 100000005),
        ({"secret": "wrong"}, 100000005),
    ],
)
async def test_public_parameters_are_checked(box: Sandbox, changes: dict[str, Any], code: int) -> None:
    assert await post(box, signed(box, **changes)) == code


async def test_a_nonce_counts_once(box: Sandbox) -> None:
    assert [await post(box, signed(box)) for _ in range(2)] == [0, 100000005]


@pytest.mark.parametrize(
    ("action", "body", "code"),
    [
        ("ClearPeerMessage", b"{", 100000012),
        ("ClearPeerMessage", b"[" * 10_000, 100000012),
        ("ClearPeerMessage", [], 100000012),
        ("ClearPeerMessage", {"FromUserId": "alice"}, 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": 7}, 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": ""}, 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "x" * 33}, 660000012),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "ü" * 17}, 660000012),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "ü" * 16}, 0),
        ("DeleteConv", CONV_BODY, 0),
        ("DeleteConv", CONV_BODY | {"Note": "x" * 99}, 0),
        ("DeleteConv", CONV_BODY | {"ConvType": 1}, 660000002),
        ("DeleteConv", CONV_BODY | {"ConvType": "0"}, 660000002),
        ("DeleteConv", {"FromUserId": "alice", "ConvId": "bob"}, 660000002),
    ],
)
async def test_bodies_are_checked(box: Sandbox, action: str, body: Any, code: int) -> None:
    assert await post(box, signed(box, Action=action), body) == code


async def burst(box: Sandbox, count: int) -> list[int]:
    async with aiohttp.ClientSession() as session:

        async def one(number: int) -> int:
            async with session.post(box.base_url, params=signed(box, f"{number:016x}"), json=PEER_BODY) as response:
                return int((await response.json())["Code"])

        return await asyncio.gather(*(one(number) for number in range(count)))


async def test_the_21st_in_a_second_is_refused(box: Sandbox) -> None:
    assert sorted(await burst(box, 30)) == [0] * 20 + [7] * 10
    assert box.refused == 10
    assert box.busiest_second("ClearPeerMessage") == 30
    assert box.busiest_second("DeleteConv") == 0
    await asyncio.sleep(1.05)
    assert await post(box, signed(box)) == 0


async def test_badly_signed_arrivals_count_as_arrivals(box: Sandbox) -> None:
    for number in range(3):
        await post(box, signed(box, f"{number:016x}", secret="wrong"))
    assert box.busiest_second("ClearPeerMessage") == 3


def test_a_fault_for_no_request_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="times"):
        Sandbox().fail_next(code=1, times=0)


async def test_refusing_can_be_switched_off() -> None:
    async with Sandbox(qps=None) as box:
        assert await burst(box, 30) == [0] * 30
        assert box.busiest_second("ClearPeerMessage") == 30


async def test_its_clock_can_be_set_wrong(box: Sandbox) -> None:
    box.clock_skew = 900
    assert await post(box, signed(box)) == 100000004
    async with aiohttp.ClientSession() as session, session.post(box.base_url) as response:
        date = parsedate_to_datetime(response.headers["Date"]).timestamp()
    assert date - time.time() == pytest.approx(900, abs=2)


async def test_groups_and_state() -> None:
    async with Sandbox(strict=True) as box:
        box.add_group("g7", ["alice", "bob"], ["one", "two"])
        body = {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2}
        codes = [await post(box, signed(box, f"{n:016x}", Action="DeleteConv"), body) for n in range(2)]
        assert codes == [0, 660800002]
        assert box.messages("alice", "g7", ConvType.GROUP) is None
        assert box.messages("bob", "g7", ConvType.GROUP) == ["one", "two"]
        assert await post(box, signed(box), {"FromUserId": "eve", "ToUserId": "bob"}) == 660200001


async def test_faults_hit_only_requests_that_are_in_order(box: Sandbox) -> None:
    box.fail_next(code=1)
    assert await post(box, signed(box, secret="wrong")) == 100000005
    assert await post(box, signed(box, "0" * 16)) == 1
    assert await post(box, signed(box, "1" * 16)) == 0
    assert [arrival.code for arrival in box.arrivals] == [100000005, 1, 0]


async def test_closing_cuts_delays_short() -> None:
    async with Sandbox() as box:
        box.delay = 60
        asking = asyncio.create_task(post(box, signed(box)))
        while not box.arrivals:
            await asyncio.sleep(0.01)
    await asyncio.gather(asking, return_exceptions=True)
