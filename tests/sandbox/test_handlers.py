from typing import Any

import pytest

from tests.support.raw_requests import CONV_BODY, PEER_BODY, post_for_code
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
