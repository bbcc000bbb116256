"""The calls as values: each validates itself and knows its body, for client, journal and sandbox alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from json.encoder import encode_basestring as quote
from types import MappingProxyType
from typing import ClassVar, Final, TypeAlias

from .errors import InvalidArgumentError

MAX_ID_CHARACTERS: Final = 32


class ConvType(IntEnum):
    """What a conversation ID names: the other user, or a group."""

    PEER = 0
    GROUP = 2


@dataclass(frozen=True, slots=True)
class ClearPeerMessage:
    """Remove every message of a one-to-one conversation from the view of ``from_user_id``.

    The other side keeps its messages. Raises ``InvalidArgumentError`` for an ID that isn't a str
    of 1 to 32 characters, or that holds control characters or lone surrogates.
    """

    name: ClassVar[str] = "ClearPeerMessage"

    from_user_id: str
    to_user_id: str

    def __post_init__(self) -> None:
        _check_id("from_user_id", self.from_user_id)
        _check_id("to_user_id", self.to_user_id)

    def body(self) -> bytes:
        """Return the request body as the vendor spells it."""
        return f'{{"FromUserId":{quote(self.from_user_id)},"ToUserId":{quote(self.to_user_id)}}}'.encode()


@dataclass(frozen=True, slots=True)
class DeleteConv:
    """Remove a conversation from the list of ``from_user_id``; nobody else is affected.

    ``conv_type`` has no default: a forgotten one would address another conversation. Raises
    ``InvalidArgumentError`` for a bad ID, or a type other than a ``ConvType`` or the ints 0 and 2.
    """

    name: ClassVar[str] = "DeleteConv"

    from_user_id: str
    conv_id: str
    conv_type: ConvType

    def __post_init__(self) -> None:
        _check_id("from_user_id", self.from_user_id)
        _check_id("conv_id", self.conv_id)
        if type(self.conv_type) is not ConvType:
            object.__setattr__(self, "conv_type", _to_conv_type(self.conv_type))

    def body(self) -> bytes:
        """Return the request body as the vendor spells it."""
        user, conv = quote(self.from_user_id), quote(self.conv_id)
        return f'{{"FromUserId":{user},"ConvId":{conv},"ConvType":{self.conv_type:d}}}'.encode()


Action: TypeAlias = ClearPeerMessage | DeleteConv
ACTIONS: Final[Mapping[str, type[Action]]] = MappingProxyType(
    {kind.name: kind for kind in (ClearPeerMessage, DeleteConv)}
)
KINDS: Final = frozenset(ACTIONS.values())


def _check_id(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{field} must be a str, not {_shown(value)}")
    if not 1 <= len(value) <= MAX_ID_CHARACTERS:
        raise InvalidArgumentError(
            f"{field} must have 1 to {MAX_ID_CHARACTERS} characters, not {len(value)}: {_shown(value)}"
        )
    if value.isprintable():  # settles nearly every ID without a look at each character
        return
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidArgumentError(
                f"{field} must not hold control characters or lone surrogates, but holds {character!a}: {_shown(value)}"
            )


def _to_conv_type(value: object) -> ConvType:
    # By type, not by equality: True, 2.0 and their like equal an int.
    if type(value) is int and value in (ConvType.PEER, ConvType.GROUP):
        return ConvType(value)
    raise InvalidArgumentError(f"conv_type must be ConvType.PEER (0) or ConvType.GROUP (2), not {_shown(value)}")


def _shown(value: object) -> str:
    text = ascii(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
