"""Calls as values: an action validates itself, knows its limits, and builds its request body."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, fields
from datetime import datetime
from enum import IntEnum
from json.encoder import encode_basestring as quote
from typing import ClassVar, Final, Literal, TypeAlias

from ._encoding import encode_body
from ._text import show_value
from .errors import InvalidArgumentError

Priority: TypeAlias = Literal["interactive", "bulk"]  # of a call: interactive ones go first
MAX_ID_CHARACTERS: Final = 32
MAX_PAGE: Final = 500  # conversations
MAX_PAGE_TOKEN: Final = 2**63 - 1
NO_DATA_BYTES: Final = 64 * 2**10  # enough for a response that holds a code and a message


_defined: Final[dict[str, type[Action]]] = {}  # by name, the latest of each


class ConvType(IntEnum):
    """What a conversation ID names: the other user, or a group."""

    PEER = 0
    GROUP = 2


class Action:
    """One call of the server API as a value: the base of frozen dataclasses, one for each action.

    A subclass states what the vendor documents as class attributes, and the request's parameters as fields.
    ``from_user_id`` is sent as ``FromUserId``, and so on. Override ``body`` for anything else.

    Attributes:
        name: The action's name in the vendor's spelling, ASCII letters and digits.
        qps: The vendor's limit for it, in calls a second.
        idempotent: Whether it may be sent again when the outcome is unknown.
        max_response_bytes: A longer response body is refused with ``ProtocolError``.

    Example:
        @dataclass(frozen=True, slots=True)
        class QueryUserInfos(Action):
            name = "QueryUserInfos"
            idempotent = True
            user_ids: tuple[str, ...]

        response = await zim.send(QueryUserInfos(("alice", "bob")))
    """

    __slots__ = ()

    name: ClassVar[str]
    qps: ClassVar[float] = 20.0
    idempotent: ClassVar[bool] = False
    max_response_bytes: ClassVar[int] = 8 * 2**20

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name = vars(cls).get("name")  # its own: a class that inherits its name is known by its base
        if isinstance(name, str):
            _defined[name] = cls

    def body(self) -> bytes:
        """Return the request body, JSON in UTF-8.

        Raises:
            InvalidArgumentError: A field can't be written as JSON.
        """
        return encode_body({_vendor_spelling(name): getattr(self, name) for name in field_names(type(self))})


@dataclass(frozen=True, slots=True)
class ClearPeerMessage(Action):
    """Remove every message of a one-to-one conversation from the view of one user.

    The other user keeps the messages.

    Args:
        from_user_id: The user whose view is cleared, 1 to 32 characters.
        to_user_id: The other user, 1 to 32 characters.

    Raises:
        InvalidArgumentError: An ID isn't a str of that length, or holds control characters or lone surrogates.
    """

    name = "ClearPeerMessage"
    idempotent = True
    max_response_bytes = NO_DATA_BYTES

    from_user_id: str
    to_user_id: str

    def __post_init__(self) -> None:
        check_id("from_user_id", self.from_user_id)
        check_id("to_user_id", self.to_user_id)

    def body(self) -> bytes:
        """Return the request body, JSON in UTF-8."""
        return f'{{"FromUserId":{quote(self.from_user_id)},"ToUserId":{quote(self.to_user_id)}}}'.encode()


@dataclass(frozen=True, slots=True)
class DeleteConv(Action):
    """Remove a conversation from one user's list. Its messages stay, and nobody else is affected.

    ``conv_type`` has no default: a forgotten one would address another conversation.

    Args:
        from_user_id: The user whose list it is, 1 to 32 characters.
        conv_id: The other user's ID, or the group's, 1 to 32 characters.
        conv_type: A ``ConvType``, or the ints 0 (peer) and 2 (group).

    Raises:
        InvalidArgumentError: A bad ID, or another type.
    """

    name = "DeleteConv"
    idempotent = True
    max_response_bytes = NO_DATA_BYTES

    from_user_id: str
    conv_id: str
    conv_type: ConvType

    def __post_init__(self) -> None:
        check_id("from_user_id", self.from_user_id)
        check_id("conv_id", self.conv_id)
        if type(self.conv_type) is not ConvType:
            object.__setattr__(self, "conv_type", _checked_conv_type(self.conv_type))

    def body(self) -> bytes:
        """Return the request body, JSON in UTF-8."""
        user, conv = quote(self.from_user_id), quote(self.conv_id)
        return f'{{"FromUserId":{user},"ConvId":{conv},"ConvType":{self.conv_type:d}}}'.encode()


@dataclass(frozen=True, slots=True)
class ClearMemberGroupMessage(Action):
    """Remove every message of a group from the view of one member.

    The other members keep the messages.

    Args:
        from_user_id: The member whose view is cleared, 1 to 32 characters.
        group_id: The group, 1 to 32 characters.

    Raises:
        InvalidArgumentError: An ID isn't a str of that length, or holds control characters or lone surrogates.
    """

    name = "ClearMemberGroupMessage"
    idempotent = True
    max_response_bytes = NO_DATA_BYTES

    from_user_id: str
    group_id: str

    def __post_init__(self) -> None:
        check_id("from_user_id", self.from_user_id)
        check_id("group_id", self.group_id)


@dataclass(frozen=True, slots=True)
class QueryConversationList(Action):
    """Read one page of a user's conversations: the latest 1,000 in all, oldest first.

    Args:
        from_user_id: The user, 1 to 32 characters.
        limit: The most conversations that the page may hold, 1 to 500.
        next: 0 for the first page, then the ``Next`` of the page before.

    Raises:
        InvalidArgumentError: A bad ID, or a number out of its range.
    """

    name = "QueryConversationList"
    idempotent = True

    from_user_id: str
    limit: int = 100
    next: int = 0

    def __post_init__(self) -> None:
        check_id("from_user_id", self.from_user_id)
        _check_int("limit", self.limit, 1, MAX_PAGE)
        _check_int("next", self.next, 0, MAX_PAGE_TOKEN)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation in a user's list.

    Attributes:
        conv_id: The other user's ID, or the group's.
        conv_type: Which of the two it is.
        updated_at: When it last changed, in UTC.
    """

    conv_id: str
    conv_type: ConvType
    updated_at: datetime


PACKAGE_ACTIONS: Final[tuple[type[Action], ...]] = (
    ClearPeerMessage,
    DeleteConv,
    ClearMemberGroupMessage,
    QueryConversationList,
)
_RESERVED: Final = frozenset({"name", "qps", "idempotent", "max_response_bytes", "body"})
_checked_classes: Final[set[type]] = set(PACKAGE_ACTIONS)


def check_action(value: object) -> None:
    """Check that a value is an action whose class says all it has to.

    Args:
        value: Anything.

    Raises:
        InvalidArgumentError: It isn't an ``Action``, or its class isn't a frozen dataclass with a well-formed name.
    """
    if type(value) in _checked_classes:
        return
    if not isinstance(value, Action):
        raise InvalidArgumentError(
            f"an Action is needed, such as ClearPeerMessage or DeleteConv, not {type(value).__name__}"
        )
    kind: type[Action] = type(value)
    name: object = getattr(kind, "name", None)
    if not is_action_name(name):
        raise InvalidArgumentError(
            f"{kind.__name__}.name must be the action's name as a class attribute, ASCII letters and digits,"
            f" not {show_value(name)}"
        )
    if not getattr(getattr(kind, "__dataclass_params__", None), "frozen", False):
        raise InvalidArgumentError(f"{kind.__name__} must be a frozen dataclass")
    if reserved := sorted(_RESERVED.intersection(field_names(kind))):
        raise InvalidArgumentError(
            f"{kind.__name__}.{reserved[0]} must be a class attribute without annotation: annotated, it is a field"
        )
    if type(kind.idempotent) is not bool:
        raise InvalidArgumentError(f"{kind.__name__}.idempotent must be True or False")
    if type(kind.max_response_bytes) is not int or kind.max_response_bytes < 1:
        raise InvalidArgumentError(f"{kind.__name__}.max_response_bytes must be an int of at least 1")
    _checked_classes.add(kind)


def is_action_name(name: object) -> bool:
    """Tell whether a name is one that the vendor could have given: ASCII letters and digits.

    Args:
        name: Anything.
    """
    return isinstance(name, str) and name.isascii() and name.isalnum()


def find_action_class(name: str) -> type[Action] | None:
    """Return the class of a name: the package's own, or the latest that the program has defined."""
    return action_classes().get(name)


def action_classes() -> dict[str, type[Action]]:
    """Return all classes of actions by name. The package's own are first, and nothing takes their names over."""
    own = {kind.name: kind for kind in PACKAGE_ACTIONS}
    # What isn't a dataclass, or isn't one yet, is of no use.
    defined = {name: kind for name, kind in _defined.items() if "__dataclass_fields__" in vars(kind)}
    return own | {name: kind for name, kind in defined.items() if name not in own and is_action_name(name)}


def field_names(kind: type[Action]) -> tuple[str, ...]:
    """Return the names of an action's fields, in their order.

    Args:
        kind: The action's class.
    """
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # checked: a dataclass


def check_id(field: str, value: object) -> None:
    """Check the ID of a user, a group or a conversation.

    Args:
        field: What it is called in the error.
        value: The ID.

    Raises:
        InvalidArgumentError: It isn't a str of 1 to 32 characters, or holds control characters or lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{field} must be a str, not {show_value(value)}")
    if not 1 <= len(value) <= MAX_ID_CHARACTERS:
        raise InvalidArgumentError(
            f"{field} must have 1 to {MAX_ID_CHARACTERS} characters, not {len(value)}: {show_value(value)}"
        )
    if value.isprintable():  # settles nearly every ID without a look at each character
        return
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidArgumentError(
                f"{field} must not hold control characters or lone surrogates, but holds {character!a}:"
                f" {show_value(value)}"
            )


def _checked_conv_type(value: object) -> ConvType:
    # By type, not by equality: True, 2.0 and their like equal an int.
    if type(value) is int and value in (ConvType.PEER, ConvType.GROUP):
        return ConvType(value)
    raise InvalidArgumentError(f"conv_type must be ConvType.PEER (0) or ConvType.GROUP (2), not {show_value(value)}")


def _check_int(field: str, value: object, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise InvalidArgumentError(f"{field} must be an int from {lowest} to {highest}, not {show_value(value)}")


def _vendor_spelling(field: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in field.split("_"))
