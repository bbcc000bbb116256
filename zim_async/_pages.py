"""The pages of a user's conversations: bytes were decoded before, here their meaning is checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ._protocol import Response
from ._text import escape_text, show_text
from .actions import MAX_PAGE_TOKEN, Conversation, ConvType
from .errors import ProtocolError

MAX_PAGES: Final = 1_000  # the vendor lists a thousand conversations at most
MAX_UNIX_MS: Final = 253_402_300_799_999  # the end of the year 9999, the last that a datetime can say
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONV_TYPES: Final = frozenset(ConvType)


class Pages:
    """The pages of one user's conversations: ``next`` asks for the one to come, until they have ``ended``."""

    def __init__(self) -> None:
        self.next = 0
        self.ended = False
        self._count = 0
        self._seen: set[tuple[str, ConvType]] = set()

    def add(self, response: Response) -> list[Conversation]:
        """Take a page, and return the conversations that no page before had.

        Raises:
            ProtocolError: The page isn't the documented one, holds nothing new, or doesn't lead on.
        """
        page, token = parse_conversations(response)
        new = {(one.conv_id, one.conv_type): one for one in page if (one.conv_id, one.conv_type) not in self._seen}
        self._count += 1
        if page and not new:
            raise _bad_page(response, "List", "a page that repeats")
        if token and (token == self.next or self._count >= MAX_PAGES):
            raise _bad_page(response, "Next", token)
        self._seen.update(new)
        self.next, self.ended = token, not token
        return list(new.values())


def parse_conversations(response: Response) -> tuple[list[Conversation], int]:
    """Return the conversations of a page of ``QueryConversationList``, and the ``next`` of the page after it.

    The vendor leaves out what is 0: a ``ConvType`` that is absent is PEER, an absent ``Next`` the end, as 0 is.

    Raises:
        ProtocolError: The page isn't what the vendor documents.
    """
    rows, token = _field(response.data, "List", []), _field(response.data, "Next", 0)
    if not isinstance(rows, list):
        raise _bad_page(response, "List", rows)
    if type(token) is not int or not 0 <= token <= MAX_PAGE_TOKEN:
        raise _bad_page(response, "Next", token)
    return [_parse_conversation(response, row) for row in rows], token


def _parse_conversation(response: Response, row: object) -> Conversation:
    if not isinstance(row, dict):
        raise _bad_page(response, "List", row)
    conv_id, conv_type, updated_at = row.get("ConvId"), _field(row, "ConvType", 0), row.get("UpdateTime")
    if not isinstance(conv_id, str) or not conv_id:
        raise _bad_page(response, "ConvId", row)
    if type(conv_type) is not int or conv_type not in _CONV_TYPES:
        raise _bad_page(response, "ConvType", row)
    if type(updated_at) is not int or not 0 <= updated_at <= MAX_UNIX_MS:
        raise _bad_page(response, "UpdateTime", row)
    return Conversation(conv_id, ConvType(conv_type), _EPOCH + timedelta(milliseconds=updated_at))


def _field(content: Mapping[str, Any], name: str, absent: object) -> Any:
    value = content.get(name)
    return absent if value is None else value


def _bad_page(response: Response, field: str, value: object) -> ProtocolError:
    error = ProtocolError(
        f"a page of conversations with another {field} than the documented one: {show_text(ascii(value))}."
        f" Report it to the vendor with the request ID {escape_text(response.request_id) or 'none'}",
        status=200,
        action=response.action,
    )
    error.request_id, error.attempts, error.idempotent = response.request_id, response.attempts, True
    return error
