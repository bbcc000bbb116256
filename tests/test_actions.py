import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zim_async import ClearPeerMessage, ConvType, DeleteConv, InvalidArgumentError


def test_bodies_are_the_vendors() -> None:
    assert ClearPeerMessage("älice", 'b"b').body() == '{"FromUserId":"älice","ToUserId":"b\\"b"}'.encode()
    assert DeleteConv("alice", "g7", ConvType.GROUP).body() == b'{"FromUserId":"alice","ConvId":"g7","ConvType":2}'


@given(st.text(min_size=1, max_size=32), st.text(min_size=1, max_size=32), st.sampled_from(ConvType))
def test_a_body_says_what_the_action_says(user: str, conv: str, conv_type: ConvType) -> None:
    try:
        action = DeleteConv(user, conv, conv_type)
    except InvalidArgumentError:
        return
    assert json.loads(action.body()) == {"FromUserId": user, "ConvId": conv, "ConvType": conv_type}


def test_actions_are_frozen_hashable_slotted_values() -> None:
    action = DeleteConv("alice", "bob", ConvType.PEER)
    assert {action} == {DeleteConv("alice", "bob", 0)}  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(action)) == action
    assert not hasattr(action, "__dict__")
    with pytest.raises(AttributeError):
        action.conv_id = "eve"  # type: ignore[misc]


@pytest.mark.parametrize("value", ["a", "x" * 32, "ü" * 32, "日本", "a b~!@#", "a\u200db", "\u00a0"])
def test_ids_within_32_characters_pass(value: str) -> None:
    assert ClearPeerMessage(value, "bob").from_user_id == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "str"),
        (7, "int 7"),
        (b"alice", "bytes"),
        ("", "1 to 32 characters"),
        ("x" * 33, "not 33"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\ud800b", "surrogate"),
    ],
)
@pytest.mark.parametrize("field", ["from_user_id", "to_user_id", "conv_id"])
def test_bad_ids_are_refused_with_field_and_limit(field: str, value: object, says: str) -> None:
    fields = {"from_user_id": "alice", "conv_id": "bob", "conv_type": 0}
    kind: type = DeleteConv
    if field == "to_user_id":
        kind, fields = ClearPeerMessage, {"from_user_id": "alice"}
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        kind(**fields | {field: value})
    assert isinstance(caught.value, ValueError)
    assert field in str(caught.value)


@pytest.mark.parametrize("value", [0, 2, ConvType.PEER, ConvType.GROUP])
def test_conversation_types_become_the_enum(value: int) -> None:
    assert type(DeleteConv("a", "b", value).conv_type) is ConvType  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, False, 1, 3, 2.0, "0", "peer", None, [], -2])
def test_other_conversation_types_are_refused(value: object) -> None:
    with pytest.raises(InvalidArgumentError, match="conv_type"):
        DeleteConv("a", "b", value)  # type: ignore[arg-type]


def test_conversation_type_has_no_default() -> None:
    with pytest.raises(TypeError):
        DeleteConv("a", "b")  # type: ignore[call-arg]
