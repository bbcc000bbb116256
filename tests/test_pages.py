"""Pages of conversations: what the vendor may leave out, and what ends in an error rather than in a loop."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zim_async import Conversation, ConvType, ProtocolError, Response
from zim_async._pages import MAX_PAGES, Pages, parse_conversations


def page(**data: Any) -> Response:
    return Response(0, "success", "r1", "QueryConversationList", 1, data)


def test_a_page_of_conversations_is_parsed() -> None:
    rows = [
        {"ConvId": "bob", "UpdateTime": 1615186943000},
        {"ConvId": "carol", "ConvType": 0, "UpdateTime": 1615186943001},
        {"ConvId": "g7", "ConvType": 2, "UpdateTime": 0, "More": "fields"},
    ]
    conversations, following = parse_conversations(page(TotalCount=9, Next=2**60, List=rows))
    assert conversations == [
        Conversation("bob", ConvType.PEER, datetime(2021, 3, 8, 7, 2, 23, tzinfo=UTC)),
        Conversation("carol", ConvType.PEER, datetime(2021, 3, 8, 7, 2, 23, 1000, tzinfo=UTC)),
        Conversation("g7", ConvType.GROUP, datetime(1970, 1, 1, tzinfo=UTC)),
    ]
    assert following == 2**60


@pytest.mark.parametrize("data", [{}, {"List": []}, {"List": None, "Next": 0}, {"TotalCount": 0, "Next": None}])
def test_an_empty_page_is_the_end(data: dict[str, Any]) -> None:
    assert parse_conversations(page(**data)) == ([], 0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"Next": -1}, "Next"),
        ({"Next": False}, "Next"),
        ({"Next": ""}, "Next"),
        ({"List": False}, "List"),
        ({"List": {}}, "List"),
        ({"Next": True}, "Next"),
        ({"Next": 1.0}, "Next"),
        ({"Next": "7"}, "Next"),
        ({"Next": 2**63}, "Next"),
        ({"List": {"ConvId": "bob"}}, "List"),
        ({"List": "bob"}, "List"),
        ({"List": [None]}, "List"),
        ({"List": ["bob"]}, "List"),
        ({"List": [{"UpdateTime": 1}]}, "ConvId"),
        ({"List": [{"ConvId": "", "UpdateTime": 1}]}, "ConvId"),
        ({"List": [{"ConvId": 7, "UpdateTime": 1}]}, "ConvId"),
        ({"List": [{"ConvId": "bob", "ConvType": 1, "UpdateTime": 1}]}, "ConvType"),
        ({"List": [{"ConvId": "bob", "ConvType": False, "UpdateTime": 1}]}, "ConvType"),
        ({"List": [{"ConvId": "bob", "ConvType": True, "UpdateTime": 1}]}, "ConvType"),
        ({"List": [{"ConvId": "bob", "ConvType": 2.0, "UpdateTime": 1}]}, "ConvType"),
        ({"List": [{"ConvId": "bob", "ConvType": "2", "UpdateTime": 1}]}, "ConvType"),
        ({"List": [{"ConvId": "bob"}]}, "UpdateTime"),
        ({"List": [{"ConvId": "bob", "UpdateTime": "1"}]}, "UpdateTime"),
        ({"List": [{"ConvId": "bob", "UpdateTime": -1}]}, "UpdateTime"),
        ({"List": [{"ConvId": "bob", "UpdateTime": 10**40}]}, "UpdateTime"),
        ({"List": [{"ConvId": "bob", "UpdateTime": 253_402_300_800_000}]}, "UpdateTime"),
    ],
)
def test_a_page_that_isnt_the_documented_one_is_refused(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError, match=says) as caught:
        parse_conversations(page(**data))
    assert (caught.value.action, caught.value.request_id) == ("QueryConversationList", "r1")
    assert "r1" in str(caught.value)


@given(st.recursive(st.none() | st.integers() | st.text() | st.booleans(), lambda inner: st.lists(inner)))
def test_parsing_a_page_raises_nothing_else(value: object) -> None:
    for data in ({"List": value}, {"List": [value]}, {"List": [{"ConvId": "bob", "UpdateTime": value}]}):
        with contextlib.suppress(ProtocolError):
            parse_conversations(page(**data))


def rows(*conv_ids: str) -> list[dict[str, object]]:
    return [{"ConvId": conv_id, "UpdateTime": 1} for conv_id in conv_ids]


def test_pages_lead_on_until_the_last() -> None:
    pages = Pages()
    assert [one.conv_id for one in pages.add(page(List=rows("a", "b"), Next=17))] == ["a", "b"]
    assert (pages.next, pages.ended) == (17, False)
    # A conversation that moved while the pages were read comes once.
    assert [one.conv_id for one in pages.add(page(List=rows("b", "c")))] == ["c"]
    assert pages.ended


@pytest.mark.parametrize("second", [{"List": rows("a"), "Next": 18}, {"List": rows("b"), "Next": 17}])
def test_a_page_that_repeats_or_a_token_that_stays_is_an_error(second: dict[str, Any]) -> None:
    pages = Pages()
    pages.add(page(List=rows("a"), Next=17))
    with pytest.raises(ProtocolError):
        pages.add(page(**second))


def test_pages_without_end_are_an_error() -> None:
    pages = Pages()
    for number in range(MAX_PAGES - 1):
        pages.add(page(Next=number + 1))
    with pytest.raises(ProtocolError):
        pages.add(page(Next=MAX_PAGES))
