"""Actions as columns: what a row holds for each action is told by its class and its fields, here and nowhere else.

An action is named by its class in snake case, or by the vendor's name; a column by its field. Case, blanks, hyphens
and underscores don't count when a name is looked up, so that the vendor's spelling of columns is known too.
A str stands as it is, a member of an enum as its name in lower case or its number, anything else as JSON.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from types import NoneType
from typing import Any, Final, TypeAlias

from ..actions import Action, QueryConversationList, action_classes
from ._decoding import JsonDecoder, JsonError
from ._files import excerpt
from ._ids import find_excess, find_flaw, is_plain

ACTION: Final = "action"
HEADER_AGAIN: Final = "the header once more, as where files were put together"
Columns: TypeAlias = tuple[str | None, ...]  # None is another program's
Row: TypeAlias = tuple[Columns, Sequence[object]]  # and what stands in each


class BadRow(Exception):  # noqa: N818, a row is bad, not a program
    """A row that isn't an action.

    Attributes:
        cause: What is wrong, alike for all rows of which that is wrong.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}{detail}")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows hold the actions of one class."""

    kind: type[Action]
    name: str
    readers: Mapping[str, Callable[[Any], object]]  # by column, what makes a field's value of a cell
    required: tuple[str, ...]


def key_of(name: str) -> str:
    """Return what two spellings of a name have in common."""
    return re.sub(r"[\s_-]", "", name).casefold()


def row_name(kind: type[Action]) -> str:
    """Return an action's name in rows and on the command line's own: ``ClearPeerMessage`` is clear_peer_message."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.name).lower()


def known_shapes(*, literal_ids: bool = False) -> dict[str, Shape]:
    """Return the shapes of all actions that rows may call for, the program's own too, by ``key_of`` their names.

    A list of conversations isn't among them: nobody would see it.
    """
    kinds = (kind for kind in action_classes().values() if kind.idempotent and kind is not QueryConversationList)
    return {key_of(kind.name): _shape_of(kind, literal_ids) for kind in kinds}


def columns_of(shapes: Iterable[Shape]) -> tuple[str, ...]:
    """Return the columns that rows of some actions have."""
    return (ACTION, *dict.fromkeys(column for shape in shapes for column in shape.readers))


def to_row(action: Action) -> dict[str, object]:
    """Return an action as a row: its columns and their values, as JSON has them."""
    row: dict[str, object] = {ACTION: row_name(type(action))}
    for field in fields(action):  # type: ignore[arg-type]  # checked: a dataclass
        value = getattr(action, field.name)
        row[field.name] = value.name.lower() if isinstance(value, Enum) else value
    return row


def _shape_of(kind: type[Action], literal_ids: bool) -> Shape:
    hints = _hints(kind)
    own = fields(kind)  # type: ignore[arg-type]  # checked: a dataclass
    return Shape(
        kind,
        row_name(kind),
        {field.name: _reader(field.name, hints.get(field.name), literal_ids) for field in own},
        tuple(field.name for field in own if field.default is MISSING and field.default_factory is MISSING),
    )


def _hints(kind: type[Action]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError:  # a class within a function, whose names are out of reach
        return {name: str for name, hint in kind.__annotations__.items() if hint == "str"}


def _reader(column: str, hint: object, literal_ids: bool) -> Callable[[Any], object]:
    if set(typing.get_args(hint)) == {str, NoneType}:
        hint = str  # what is None has an empty cell
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_reader(column, hint)
    if hint is not str:
        return _json_reader(column, typing.get_origin(hint) or hint)
    if not column.endswith("_id"):
        return lambda value: value
    return _id_reader(column, literal=literal_ids)


def _id_reader(column: str, *, literal: bool) -> Callable[[Any], object]:
    def read(value: object) -> object:
        if isinstance(value, str) and not is_plain(value):
            flaw = None if literal else find_flaw(value)
            if problem := flaw or find_excess(value):
                raise BadRow(f"{column} has {problem}", f": {excerpt(value)}")
        return value

    return read


def _enum_reader(column: str, kind: type[Enum]) -> Callable[[Any], object]:
    members = {text: member for member in kind for text in (member.name.lower(), str(member.value))}
    expected = " or ".join(f"{member.name.lower()} ({member.value})" for member in kind)

    def read(value: object) -> Enum:
        # By its text: True is no 1, and 2.0 no 2.
        member = members.get(str(value).strip().lower())
        if member is None:
            shape = ", which is a data frame's number with decimals" if re.fullmatch(r"\d+[.,]0*", str(value)) else ""
            raise BadRow(f"{column} must be {expected}", f", not {excerpt(value)}{shape}")
        return member

    return read


def _json_reader(column: str, kind: object) -> Callable[[Any], object]:
    decoder = JsonDecoder()

    def read(value: object) -> object:
        found = _decode(decoder, column, value) if isinstance(value, str) else value
        return tuple(found) if kind is tuple and isinstance(found, list) else found

    return read


def _decode(decoder: JsonDecoder, column: str, text: str) -> object:
    text = text.strip()
    try:
        value, end = decoder.decode(text)
    except JsonError as error:
        if error.at is None:
            raise BadRow(f"{column} has {error.cause}", f"{error.detail}: {excerpt(text)}") from None
        end = -1
    if end < len(text):
        raise BadRow(f"{column} must be JSON", f", not {excerpt(text)}")
    return value
