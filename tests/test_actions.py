import json
import pickle
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zim_async import (
    ClearMemberGroupMessage,
    ClearPeerMessage,
    ConvType,
    DeleteConv,
    InvalidArgumentError,
    QueryConversationList,
)
from zim_async._encoding import encode_query
from zim_async.actions import Action, check_action, find_action_class


def test_bodies_are_the_vendors() -> None:
    assert ClearPeerMessage("älice", 'b"b').body() == '{"FromUserId":"älice","ToUserId":"b\\"b"}'.encode()
    assert DeleteConv("alice", "g7", ConvType.GROUP).body() == b'{"FromUserId":"alice","ConvId":"g7","ConvType":2}'
    assert ClearMemberGroupMessage("alice", "g7").body() == b'{"FromUserId":"alice","GroupId":"g7"}'
    assert QueryConversationList("alice", 500, 7).body() == b'{"FromUserId":"alice","Limit":500,"Next":7}'


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


@pytest.mark.parametrize(
    ("kind", "idempotent", "max_response_bytes"),
    [
        (ClearPeerMessage, True, 64 * 2**10),
        (DeleteConv, True, 64 * 2**10),
        (ClearMemberGroupMessage, True, 64 * 2**10),
        (QueryConversationList, True, 8 * 2**20),
        (Action, False, 8 * 2**20),
    ],
)
def test_an_action_says_what_its_calls_need(kind: type[Action], idempotent: bool, max_response_bytes: int) -> None:
    assert (kind.qps, kind.idempotent, kind.max_response_bytes) == (20.0, idempotent, max_response_bytes)


def test_the_first_page_is_asked_for_by_default() -> None:
    assert QueryConversationList("alice") == QueryConversationList("alice", limit=100, next=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("limit", value) for value in (0, 501, True, 1.0, "7", None)],
        *[("next", value) for value in (-1, 2**63, False, 0.0, None)],
    ],
)
def test_pages_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=field):
        QueryConversationList("alice", **{field: value})


@pytest.mark.parametrize("make", [lambda user: ClearMemberGroupMessage("alice", user), QueryConversationList])
def test_the_ids_of_every_action_are_checked(make: Any) -> None:
    assert make("x" * 32)
    with pytest.raises(InvalidArgumentError, match="not 33"):
        make("x" * 33)


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1) | st.integers() | st.lists(st.text(min_size=1))))
def test_the_query_of_a_get_says_what_its_parameters_say(parameters: dict[str, Any]) -> None:
    try:
        query = encode_query(parameters)
    except InvalidArgumentError:
        return
    assert query.isascii()
    expected: dict[str, list[str]] = {}
    for key, value in parameters.items():
        name = key.removesuffix("[]") + "[]" if isinstance(value, list) else key
        for item in value if isinstance(value, list) else [value]:
            expected.setdefault(name, []).append(str(item))
    assert parse_qs(query, strict_parsing=bool(query)) == expected


def test_lists_in_a_query_are_the_vendors() -> None:
    query = encode_query({"FromUserId": "a b&c", "UserId": ["ü", "bob"], "Limit": 5, "Share": 1e22})
    assert query == "FromUserId=a%20b%26c&UserId%5B%5D=%C3%BC&UserId%5B%5D=bob&Limit=5&Share=1e%2B22"


@pytest.mark.parametrize("key", ["Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion"])
def test_what_signs_a_request_is_no_parameter_of_a_get(key: str) -> None:
    with pytest.raises(InvalidArgumentError, match=key):
        encode_query({key: "x"})


@pytest.mark.parametrize("value", [None, True, float("nan"), float("inf"), b"x", {}, "\ud800", [[]], [None]])
def test_what_a_query_cant_hold_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="UserId"):
        encode_query({"UserId": value})


def test_numbers_too_long_to_show_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="UserId"):
        encode_query({"UserId": 10**5000})
    with pytest.raises(InvalidArgumentError, match="conv_type"):
        DeleteConv("a", "b", 10**5000)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", 7, None, "\ud800"])
def test_keys_that_a_query_cant_hold_are_refused(key: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="parameter"):
        encode_query({key: "x"})


def test_nothing_takes_a_name_over_but_a_later_definition() -> None:
    @dataclass(frozen=True)
    class Tagged(ClearPeerMessage):
        tag: str = ""

    class Unfinished(Action):
        name = "QueryUnfinished"

    @dataclass(frozen=True)
    class Usurper(Action):
        name = "DeleteConv"

    assert find_action_class("ClearPeerMessage") is ClearPeerMessage
    assert find_action_class("DeleteConv") is DeleteConv
    assert find_action_class("QueryUnfinished") is None

    @dataclass(frozen=True)
    class Query(Action):
        name = "QueryTwice"
        user_id: str

    assert find_action_class("QueryTwice") is Query

    @dataclass(frozen=True, slots=True)
    class Again(Action):
        name = "QueryTwice"
        user_id: str

    assert find_action_class("QueryTwice") is Again
    assert Tagged("a", "b").name == "ClearPeerMessage"
    assert (Unfinished.name, Usurper.name) == ("QueryUnfinished", "DeleteConv")


@dataclass(frozen=True)
class Annotated(Action):
    name: str = "Annotated"  # type: ignore[misc]


@dataclass(frozen=True)
class Unsure(Action):
    name = "Unsure"
    idempotent = "no"  # type: ignore[assignment]


@dataclass(frozen=True)
class Unbounded(Action):
    name = "Unbounded"
    max_response_bytes = None  # type: ignore[assignment]


@pytest.mark.parametrize("action", [Annotated(), Unsure(), Unbounded()])
def test_slips_in_a_class_of_ones_own_are_told(action: Action) -> None:
    with pytest.raises(InvalidArgumentError, match=type(action).__name__):
        check_action(action)
