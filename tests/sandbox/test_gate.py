import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from tests.support.raw_requests import post_for_code, public_parameters
from zim_async.sandbox import Sandbox


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"Action": None}, 100000006),
        ({"Action": "DropTables"}, 100000007),
        ({"AppId": None}, 100000001),
        ({"AppId": "x1"}, 100000001),
        ({"AppId": "1"}, 100000011),
        ({"Timestamp": None}, 100000002),
        ({"Timestamp": "soon"}, 100000003),
        ({"Timestamp": "1615186943"}, 100000004),
        ({"Signature": "0" * 32}, 100000005),
        ({"Signature": "short"}, 100000005),
        ({"secret": "wrong"}, 100000005),
        ({"SignatureNonce": None}, 100000008),
        ({"SignatureNonce": "xyz"}, 100000008),
        ({"Signature": None}, 100000009),
        ({"Signature": ""}, 100000009),
        ({"SignatureVersion": None}, 100000013),
        ({"SignatureVersion": "1.0"}, 100000014),
    ],
)
async def test_each_flaw_of_a_public_parameter_has_its_code(box: Sandbox, changes: dict[str, Any], code: int) -> None:
    assert await post_for_code(box, **changes) == code


async def test_a_nonce_counts_once(box: Sandbox) -> None:
    assert [await post_for_code(box, SignatureNonce="00112233aabbccdd") for _ in range(2)] == [0, 100000005]


async def test_a_parameter_given_twice_is_malformed(box: Sandbox) -> None:
    parameters = [*public_parameters(box).items(), ("SignatureVersion", "2.0")]
    async with aiohttp.ClientSession() as session, session.post(box.base_url, params=parameters, json={}) as response:
        assert (await response.json())["Code"] == 100000014


async def test_its_secret_can_be_changed(box: Sandbox) -> None:
    old, box.server_secret = box.server_secret, "0123456789abcdef0123456789abcdef"
    assert [await post_for_code(box, secret=secret) for secret in (old, box.server_secret)] == [100000005, 0]


async def test_its_clock_can_be_set_wrong(box: Sandbox) -> None:
    box.clock_skew = 900
    assert await post_for_code(box) == 100000004
    async with aiohttp.ClientSession() as session, session.post(box.base_url) as response:
        date = parsedate_to_datetime(response.headers["Date"]).timestamp()
    assert date - time.time() == pytest.approx(900, abs=2)
