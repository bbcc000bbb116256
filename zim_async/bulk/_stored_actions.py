"""Actions as a journal keeps them: the class's name, the names of its fields, and the values as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from .._text import show_value
from ..actions import Action, field_names, find_action_class
from ..errors import InvalidArgumentError, JournalError

_dump: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_text(actions: Sequence[Action], fields: Sequence[str]) -> str:
    """Return the values of the actions' fields as a JSON array, which has an array for each action.

    Raises:
        InvalidArgumentError: JSON can't say one of them.
    """
    # One getter for all fields is faster. For a single one it would return no array.
    values = attrgetter(*fields) if len(fields) > 1 else lambda action: [getattr(action, field) for field in fields]
    try:
        text = _dump(list(map(values, actions)))
        text.encode()  # SQLite takes no lone surrogates
    except (TypeError, ValueError, RecursionError) as error:
        problem = ascii(str(error))[1:-1]
    else:
        return text
    if len(actions) > 1:
        for action in actions:  # one of them is to blame
            to_text([action], fields)
    raise InvalidArgumentError(
        f"{show_value(actions[0])} can't be kept in a journal ({problem:.200}); give its fields values that JSON has"
    )


def from_values(kind: type[Action], fields: Sequence[str], values: Sequence[object]) -> Action:
    """Return the action that has these values. Arrays come back as tuples.

    Raises:
        TypeError: The class doesn't take these fields.
        ValueError: It doesn't take these values, or there are too few or too many.
    """
    return kind(**{field: _to_tuple(value) for field, value in zip(fields, values, strict=True)})


def check_class(action: Action) -> None:
    """Check by one action that those of its class can be kept in a journal.

    Raises:
        InvalidArgumentError: What would come back isn't what was given.
    """
    kind = type(action)
    fields = field_names(kind)
    [values] = json.loads(to_text([action], fields))
    problem = "its fields come back as others"
    try:
        if from_values(kind, fields, values).body() == action.body():
            return
    except Exception as error:  # noqa: BLE001, of the class, which is the user's
        problem = f"{type(error).__name__}: {error}"
    raise InvalidArgumentError(
        f"{kind.__name__} can't be kept in a journal ({problem:.200}); it must be made from its fields alone"
    )


def class_of(name: str, fields: Sequence[str], path: object) -> type[Action]:
    """Return the class of an action that a journal holds.

    Raises:
        JournalError: The program has none of that name, or one with other fields.
    """
    kind = find_action_class(name)
    if kind is None:
        raise JournalError(
            f"{path} holds actions named {name}, whose class isn't known here. Import the module that defines it first"
        )
    if field_names(kind) != tuple(fields):
        raise JournalError(
            f"{path} holds {name} with the fields {', '.join(fields)}, but {kind.__name__} has"
            f" {', '.join(field_names(kind))}. Finish the job with the class as it was, or begin a new journal"
        )
    return kind


def _to_tuple(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_tuple(inner) for key, inner in value.items()}
    return tuple(map(_to_tuple, value)) if isinstance(value, list) else value
