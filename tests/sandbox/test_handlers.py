import time
from typing import Any

import pytest

from tests.support.raw_requests import CONV_BODY, PEER_BODY, post, post_for_code
from zim_async import ConvType
from zim_async.sandbox import Sandbox

GROUP = ConvType.GROUP


@pytest.mark.parametrize(
    ("action", "body", "code"),
    [
        ("ClearPeerMessage", b"{", 100000012),
        ("ClearPeerMessage", b"[" * 10_000, 100000012),
        ("ClearPeerMessage", [], 100000012),
        ("ClearPeerMessage", {"FromUserId": "alice"}, 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": 7}, 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": ""}, 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "a\nb"}, 2),
        ("ClearPeerMessage", b'{"FromUserId":"alice","ToUserId":"\\ud800"}', 2),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "x" * 33}, 660000012),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "ü" * 17}, 660000012),
        ("ClearPeerMessage", PEER_BODY | {"ToUserId": "ü" * 16}, 0),
        ("DeleteConv", CONV_BODY, 0),
        ("DeleteConv", CONV_BODY | {"Note": "x" * 99}, 0),
        ("DeleteConv", CONV_BODY | {"ConvId": ""}, 660000002),
        ("DeleteConv", CONV_BODY | {"ConvType": 1}, 660000002),
        ("DeleteConv", CONV_BODY | {"ConvType": False}, 660000002),
        ("DeleteConv", CONV_BODY | {"ConvType": "0"}, 660000002),
        ("DeleteConv", {"FromUserId": "alice", "ConvId": "bob"}, 660000002),
        ("ClearMemberGroupMessage", {"FromUserId": "alice", "GroupId": "g7"}, 0),
        ("ClearMemberGroupMessage", {"FromUserId": "alice"}, 2),
        ("ClearMemberGroupMessage", {"FromUserId": "alice", "GroupId": "g" * 33}, 660000012),
        ("QueryConversationList", {"FromUserId": "alice"}, 0),
        ("QueryConversationList", {}, 660000002),
        ("QueryConversationList", {"FromUserId": "alice", "Limit": 0}, 660000002),
        ("QueryConversationList", {"FromUserId": "alice", "Limit": 501}, 660000002),
        ("QueryConversationList", {"FromUserId": "alice", "Limit": "9"}, 660000002),
        ("QueryConversationList", {"FromUserId": "alice", "Next": -1}, 660000002),
        ("QueryConversationList", {"FromUserId": "alice", "Next": 7}, 660000002),
        ("QueryConversationList", {"FromUserId": "alice", "Next": True}, 660000002),
    ],
)
async def test_bodies_are_checked(box: Sandbox, action: str, body: Any, code: int) -> None:
    assert await post_for_code(box, body, Action=action) == code


async def test_a_deleted_conversation_leaves_one_list(strict_box: Sandbox) -> None:
    strict_box.add_group("g7", ["alice", "bob"], ["one", "two"])
    body = {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2}
    assert [await post_for_code(strict_box, body, Action="DeleteConv") for _ in range(2)] == [0, 660800002]
    assert strict_box.messages("alice", "g7", GROUP) is None
    assert strict_box.messages("bob", "g7", GROUP) == ["one", "two"]


async def test_deleting_a_conversation_keeps_its_messages(strict_box: Sandbox) -> None:
    strict_box.add_message("alice", "bob", "one")
    assert await post_for_code(strict_box, CONV_BODY, Action="DeleteConv") == 0
    strict_box.add_message("bob", "alice", "two")
    assert strict_box.messages("alice", "bob") == ["one", "two"]


async def test_clearing_empties_one_view(strict_box: Sandbox) -> None:
    strict_box.add_message("alice", "bob", "one")
    assert await post_for_code(strict_box, PEER_BODY) == 0
    assert strict_box.messages("alice", "bob") == []
    assert strict_box.messages("bob", "alice") == ["one"]


async def test_strictness_refuses_unknown_users_and_conversations(strict_box: Sandbox) -> None:
    strict_box.add_message("alice", "carol")
    assert await post_for_code(strict_box, {"FromUserId": "eve", "ToUserId": "bob"}) == 660200001
    assert await post_for_code(strict_box, PEER_BODY) == 660800002


def group(user: str, group_id: str = "g7") -> dict[str, Any]:
    return {"FromUserId": user, "GroupId": group_id}


async def test_clearing_a_group_empties_one_members_view(strict_box: Sandbox) -> None:
    strict_box.add_group("g7", ["alice", "bob"], ["one", "two"])
    assert await post_for_code(strict_box, group("alice"), Action="ClearMemberGroupMessage") == 0
    assert strict_box.messages("alice", "g7", GROUP) == []
    assert strict_box.messages("bob", "g7", GROUP) == ["one", "two"]


async def test_strictness_tells_an_unknown_group_from_one_without_the_user(strict_box: Sandbox) -> None:
    strict_box.add_group("g7", ["alice"])
    strict_box.add_message("carol", "dave")
    clear = "ClearMemberGroupMessage"
    assert await post_for_code(strict_box, group("eve"), Action=clear) == 660200001
    assert await post_for_code(strict_box, group("carol"), Action=clear) == 660600024
    assert await post_for_code(strict_box, group("carol", "g8"), Action=clear) == 660600001


async def test_a_member_who_deleted_the_conversation_can_still_clear_it(strict_box: Sandbox) -> None:
    strict_box.add_group("g7", ["alice"], ["one"])
    body = {"FromUserId": "alice", "ConvId": "g7", "ConvType": 2}
    assert await post_for_code(strict_box, body, Action="DeleteConv") == 0
    assert await post_for_code(strict_box, group("alice"), Action="ClearMemberGroupMessage") == 0
    strict_box.add_group("g7", ["alice"], ["two"])
    assert strict_box.messages("alice", "g7", GROUP) == ["two"]


async def pages(box: Sandbox, limit: int = 100) -> list[dict[str, Any]]:
    """Read all pages of alice's conversations."""
    found: list[dict[str, Any]] = []
    token = 0
    while not found or token:
        body = {"FromUserId": "alice", "Limit": limit, "Next": token}
        found.append(await post(box, body, Action="QueryConversationList"))
        assert found[-1]["Code"] == 0
        token = found[-1].get("Next", 0)
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [row["ConvId"] for page in found for row in page["List"]]


async def test_conversations_are_listed_oldest_first_page_by_page(strict_box: Sandbox) -> None:
    began = time.time()
    for number in range(5):
        strict_box.add_message("alice", f"u{number}")
    strict_box.add_group("g7", ["alice"])
    strict_box.add_message("u1", "alice")
    found = await pages(strict_box, 3)
    assert [len(page["List"]) for page in found] == [3, 3]
    assert ids(found) == ["u0", "u2", "u3", "u4", "g7", "u1"]
    assert {page["TotalCount"] for page in found} == {6}
    rows = [row for page in found for row in page["List"]]
    assert [row.get("ConvType", 0) for row in rows] == [0, 0, 0, 0, 2, 0]
    assert all(began - 1 <= row["UpdateTime"] / 1000 <= time.time() + 1 for row in rows)


async def test_what_is_0_is_left_out_now_and_then(strict_box: Sandbox) -> None:
    strict_box.add_message("alice", "bob")
    one = (await pages(strict_box))[0]
    strict_box.add_message("alice", "carol")
    two = (await pages(strict_box))[0]
    assert {"Next" in one, "Next" in two} == {False, True}
    assert {"ConvType" in row for row in two["List"]} == {False, True}


async def test_a_page_can_be_read_again(strict_box: Sandbox) -> None:
    for number in range(4):
        strict_box.add_message("alice", f"u{number}")
    first, _ = await pages(strict_box, 2)
    body = {"FromUserId": "alice", "Limit": 2, "Next": first["Next"]}
    again = [await post(strict_box, body, Action="QueryConversationList") for _ in range(2)]
    assert [ids([page]) for page in again] == [["u2", "u3"]] * 2


async def test_only_the_latest_thousand_are_listed(strict_box: Sandbox) -> None:
    for number in range(1_003):
        strict_box.add_message("alice", f"u{number}")
    found = await pages(strict_box, 500)
    assert ids(found) == [f"u{number}" for number in range(3, 1_003)]
    assert found[0]["TotalCount"] == 1_000


async def test_deleted_conversations_are_not_listed(strict_box: Sandbox) -> None:
    strict_box.add_message("alice", "bob")
    assert await post_for_code(strict_box, CONV_BODY, Action="DeleteConv") == 0
    assert ids(await pages(strict_box)) == []


async def test_the_list_of_an_unknown_user_is_refused_or_empty(box: Sandbox, strict_box: Sandbox) -> None:
    assert await post_for_code(strict_box, {"FromUserId": "eve"}, Action="QueryConversationList") == 660500002
    assert (await post(box, {"FromUserId": "eve"}, Action="QueryConversationList"))["TotalCount"] == 0
