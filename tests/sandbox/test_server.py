import asyncio
from typing import Any

import aiohttp
import pytest

from tests.support.raw_requests import PEER_BODY, post, post_for_code, public_parameters
from zim_async import InvalidArgumentError, NotFoundError
from zim_async.sandbox import Sandbox


async def burst(box: Sandbox, count: int) -> list[int]:
    async with aiohttp.ClientSession() as session:

        async def one() -> int:
            async with session.post(box.base_url, params=public_parameters(box), json=PEER_BODY) as response:
                return int((await response.json())["Code"])

        return await asyncio.gather(*(one() for _ in range(count)))


async def get(box: Sandbox, query: str, **changes: Any) -> dict[str, Any]:
    public = "&".join(f"{name}={value}" for name, value in public_parameters(box, **changes).items())
    async with aiohttp.ClientSession() as session, session.get(f"{box.base_url}?{public}&{query}") as response:
        content: dict[str, Any] = await response.json()
        return content


async def test_a_response_has_the_three_fields(box: Sandbox) -> None:
    content = await post(box)
    assert sorted(content) == ["Code", "Message", "RequestId"]
    assert content["Code"] == 0


async def test_the_21st_in_a_second_is_refused(box: Sandbox) -> None:
    assert sorted(await burst(box, 30)) == [0] * 20 + [7] * 10
    assert box.refused == 10
    assert box.busiest_second("ClearPeerMessage") == 30
    assert box.busiest_second("DeleteConv") == 0
    await asyncio.sleep(1.05)
    assert await post_for_code(box) == 0


async def test_badly_signed_arrivals_count_as_arrivals(box: Sandbox) -> None:
    for _ in range(3):
        await post(box, secret="wrong")
    assert box.busiest_second("ClearPeerMessage") == 3


async def test_refusing_can_be_switched_off() -> None:
    async with Sandbox(qps=None) as box:
        assert await burst(box, 30) == [0] * 30
        assert box.busiest_second("ClearPeerMessage") == 30


async def test_a_handler_of_ones_own_answers_an_action(box: Sandbox) -> None:
    def query(given: dict[str, Any]) -> dict[str, Any]:
        return {"Result": [{"UserId": user} for user in given["UserIds"]], "ErrorList": []}

    assert await post_for_code(box, Action="QueryUserInfos") == 100000007
    box.handle("QueryUserInfos", query)
    content = await post(box, {"UserIds": ["alice", "bob"]}, Action="QueryUserInfos")
    assert content["Code"] == 0
    assert content["Result"] == [{"UserId": "alice"}, {"UserId": "bob"}]


async def test_a_handler_of_ones_own_refuses_by_returning_a_code_or_raising(box: Sandbox) -> None:
    def refuse(given: dict[str, Any]) -> int:
        if not given:
            raise NotFoundError("nobody", code=660500002)
        return 2

    def fail(given: dict[str, Any]) -> None:
        raise NotFoundError("nobody")

    box.handle("SendPeerMessage", refuse)
    box.handle("ClearPeerMessage", refuse)
    assert await post_for_code(box, {}, Action="SendPeerMessage") == 660500002
    assert await post_for_code(box, {"A": 1}, Action="SendPeerMessage") == 2
    box.handle("SendRoomMessage", fail)
    assert await post_for_code(box, {}, Action="SendRoomMessage") == 51102  # a class alone has a code too
    assert await post_for_code(box) == 2  # the sandbox's own handler is replaced


async def test_a_handler_may_return_nothing(box: Sandbox) -> None:
    box.handle("SendPeerMessage", lambda given: None)
    assert await post_for_code(box, {}, Action="SendPeerMessage") == 0


@pytest.mark.parametrize("name", ["", "A&B", "Délete", None])
def test_only_what_can_be_an_actions_name_is_handled(name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="name"):
        Sandbox().handle(name, lambda given: None)


async def test_a_get_carries_its_parameters_in_the_query(box: Sandbox) -> None:
    box.handle("QueryFriendList", lambda given: {"Given": given})
    content = await get(box, "FromUserId=al%26ice&UserId[]=a&UserId%5B%5D=b&Limit=5", Action="QueryFriendList")
    assert content["Given"] == {"FromUserId": "al&ice", "UserId": ["a", "b"], "Limit": "5"}
    content = await get(
        box, "&".join(f"UserId%5B%5D={'%F0%9F%98%80' * 8}" for _ in range(100)), Action="QueryFriendList"
    )
    assert content["Given"] == {"UserId": ["😀" * 8] * 100}


async def test_large_bodies_are_read(box: Sandbox) -> None:
    box.handle("SendPeerMessage", lambda given: {"Size": len(given["Text"])})
    content = await post(box, {"Text": "x" * (8 * 2**20 - 100)}, Action="SendPeerMessage")
    assert content["Size"] == 8 * 2**20 - 100
