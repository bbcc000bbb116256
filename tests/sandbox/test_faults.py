import asyncio
from typing import Any

import aiohttp
import pytest

from tests.support.raw_requests import post, post_for_code
from zim_async import ApiError, InvalidArgumentError, NotFoundError, TransportError
from zim_async._codes import RULES
from zim_async.sandbox import Sandbox


async def test_a_code_is_returned_without_acting(box: Sandbox) -> None:
    box.add_message("alice", "bob")
    box.fail_next(code=1, times=2)
    assert [await post_for_code(box) for _ in range(2)] == [1, 1]
    assert box.messages("alice", "bob") == ["hello"]
    assert await post_for_code(box) == 0
    assert box.messages("alice", "bob") == []


@pytest.mark.parametrize("kind", [ApiError, *ApiError.__subclasses__()])
async def test_a_class_of_error_stands_for_a_code_that_raises_it(box: Sandbox, kind: type[ApiError]) -> None:
    box.fail_next(kind)
    assert RULES[await post_for_code(box)].error is kind


@pytest.mark.parametrize(
    "arguments", [{}, {"error": NotFoundError, "code": 7}, {"error": TransportError}, {"error": 7}]
)
def test_what_no_code_raises_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="code"):
        Sandbox().fail_next(**arguments)


@pytest.mark.parametrize("after_acting", [False, True])
async def test_a_connection_is_cut_before_or_after_acting(box: Sandbox, after_acting: bool) -> None:
    box.add_message("alice", "bob")
    box.drop_next(after_acting=after_acting)
    with pytest.raises(aiohttp.ClientError):
        await post(box)
    assert box.messages("alice", "bob") == ([] if after_acting else ["hello"])


async def test_faults_come_in_the_order_they_were_asked_for(box: Sandbox) -> None:
    box.fail_next(code=2)
    box.answer_next(body=b'{"Code": 77}')
    assert [await post_for_code(box) for _ in range(3)] == [2, 77, 0]


async def test_faults_hit_only_requests_that_are_in_order(box: Sandbox) -> None:
    box.fail_next(code=1)
    assert await post_for_code(box, secret="wrong") == 100000005
    assert [await post_for_code(box) for _ in range(2)] == [1, 0]
    assert [arrival.code for arrival in box.arrivals] == [100000005, 1, 0]


async def test_faults_can_be_forgotten(box: Sandbox) -> None:
    box.fail_next(code=1, times=9)
    box.clear_faults()
    assert await post_for_code(box) == 0


def test_a_fault_for_no_request_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="times"):
        Sandbox().fail_next(code=1, times=0)


async def test_closing_cuts_delays_short() -> None:
    async with Sandbox() as box:
        box.delay = 60
        asking = asyncio.create_task(post(box))
        while not box.arrivals:
            await asyncio.sleep(0.01)
    await asyncio.gather(asking, return_exceptions=True)
