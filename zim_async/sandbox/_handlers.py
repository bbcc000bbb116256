"""What the sandbox does for each action: one handler for each, found by name.

The checks are written for the sandbox alone, so that client and sandbox check each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from ..actions import ConvType
from ..errors import ApiError
from ._conversations import MAX_LISTED, Conversations, Key, View

MAX_ID_BYTES: Final = 32
TOKEN_BIT: Final = 2**52  # above every start, so that a token is never 0
Parameters: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Parameters], Mapping[str, Any] | int | None]
"""Takes the request's parameters, and returns the fields of the response, a return code, or None for success."""


def refusal(code: int) -> ApiError:
    """Return the error that makes the sandbox respond with a code."""
    return ApiError(f"refused with {code}", code=code)


class Handlers:
    """The actions of the package, done on the sandbox's conversations.

    Args:
        conversations: The state.
        strict: Whether unknown users, groups and conversations are refused.
    """

    def __init__(self, conversations: Conversations, *, strict: bool) -> None:
        self._conversations = conversations
        self._strict = strict
        self._token_key = TOKEN_BIT | secrets.randbits(40)  # a page's token is its start, made unrecognisable

    def by_name(self) -> dict[str, Handler]:
        """Return the handler of each action."""
        return {
            "ClearPeerMessage": self.clear_peer_message,
            "DeleteConv": self.delete_conv,
            "ClearMemberGroupMessage": self.clear_member_group_message,
            "QueryConversationList": self.query_conversation_list,
        }

    def clear_peer_message(self, given: Parameters) -> None:
        """Remove the messages with another user from one user's view."""
        user, peer = read_id(given, "FromUserId", 2), read_id(given, "ToUserId", 2)
        self._check_listed(user, key := (peer, ConvType.PEER))
        if view := self._conversations.view(user, key):
            view.messages.clear()

    def delete_conv(self, given: Parameters) -> None:
        """Take a conversation from one user's list."""
        user, conv = read_id(given, "FromUserId", 660000002), read_id(given, "ConvId", 660000002)
        self._check_listed(user, key := (conv, read_conv_type(given)))
        if view := self._conversations.view(user, key):
            view.listed = False

    def clear_member_group_message(self, given: Parameters) -> None:
        """Remove a group's messages from one member's view. Deleting the conversation doesn't end membership."""
        user, group = read_id(given, "FromUserId", 2), read_id(given, "GroupId", 2)
        self._check_user(user, 660200001)
        if view := self._conversations.view(user, (group, ConvType.GROUP)):
            view.messages.clear()
        elif self._strict:
            raise refusal(660600024 if self._conversations.has_group(group) else 660600001)

    def query_conversation_list(self, given: Parameters) -> dict[str, Any]:
        """Return a page of one user's conversations.

        Both forms that the vendor documents occur: ``ConvType`` and ``Next`` are now 0, now absent.
        """
        user = read_id(given, "FromUserId", 660000002)
        limit = read_int(given, "Limit", default=100, lowest=1, highest=500)
        token = read_int(given, "Next", default=0, lowest=0, highest=2**63 - 1)
        self._check_user(user, 660500002)
        rows = [_to_row(number, key, view) for number, (key, view) in enumerate(self._conversations.latest(user))]
        start = token ^ self._token_key if token else 0
        if start >= MAX_LISTED:
            raise refusal(660000002)
        page: dict[str, Any] = {"TotalCount": len(rows), "List": rows[start : start + limit]}
        if start + limit < len(rows):
            page["Next"] = (start + limit) ^ self._token_key
        elif len(rows) % 2:
            page["Next"] = 0
        return page

    def _check_user(self, user: str, code: int) -> None:
        if self._strict and not self._conversations.knows(user):
            raise refusal(code)

    def _check_listed(self, user: str, key: Key) -> None:
        self._check_user(user, 660200001)
        if self._strict and self._conversations.listed_view(user, key) is None:
            raise refusal(660800002)


def read_id(given: Parameters, name: str, code: int) -> str:
    """Return an ID among the parameters, or refuse the request with ``code``, or with 660000012 for a long one."""
    value = given.get(name)
    if not isinstance(value, str) or not value or any(c < " " or "\ud800" <= c <= "\udfff" for c in value):
        raise refusal(code)
    if len(value.encode()) > MAX_ID_BYTES:
        raise refusal(660000012)
    return value


def read_int(given: Parameters, name: str, *, default: int, lowest: int, highest: int) -> int:
    """Return a number among the parameters, or refuse the request with 660000002."""
    value = given.get(name, default)
    if type(value) is not int or not lowest <= value <= highest:  # by type: True and 2.0 equal an int
        raise refusal(660000002)
    return value


def read_conv_type(given: Parameters) -> ConvType:
    """Return the type of a conversation among the parameters."""
    value = given.get("ConvType")
    if type(value) is not int or value not in (0, 2):  # by type: True and 2.0 equal an int
        raise refusal(660000002)
    return ConvType(value)


def _to_row(number: int, key: Key, view: View) -> dict[str, Any]:
    conv_id, conv_type = key
    row: dict[str, Any] = {"ConvId": conv_id, "UpdateTime": view.updated_at}
    if conv_type is not ConvType.PEER or number % 2:
        row["ConvType"] = int(conv_type)
    return row
