"""The rows of JSON Lines, or of an array of objects, read as a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from ._columns import ACTION, BadRow, Columns, Row
from ._csv import Found
from ._files import BadFile, Lines, excerpt
from ._naming import Naming

CHUNK: Final = 2**16  # characters
MAX_OBJECT: Final = 2**20
MAX_LAYOUTS: Final = 1_000
_SEVERAL_LINES: Final = "an object over several lines, where JSON Lines has one object a line (jq -c writes them so)"
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_Layout: TypeAlias = tuple[tuple[str, ...], Columns]  # keys, and the columns that they mean


class _Doubled(NamedTuple):
    """Stands for an object that has a key twice."""

    key: str


def read_json_lines(lines: Lines, naming: Naming) -> Iterator[Found]:
    """Yield the rows, and what isn't one, with their line numbers. Blank lines are passed over.

    Raises:
        BadFile: Objects take several lines each.
    """
    to_row = _RowMaker(naming)
    first = True
    for line in lines:
        lines.mark()
        if not line.isspace():
            try:
                found = to_row(_parse(line.strip(), lines.number if first else None))
            except BadRow as error:
                yield lines.number, lines.number, error
            else:
                yield lines.number, lines.number, found
            first = False


def read_json_array(lines: Lines, naming: Naming) -> Iterator[Found]:
    """Yield the rows of an array, and what isn't one, with the line numbers where they begin.

    Raises:
        BadFile: What follows can't be told apart any more.
    """
    to_row = _RowMaker(naming)
    for first, last, value in _elements(_Text(lines)):
        try:
            found = to_row(value)
        except BadRow as error:
            yield first, last, error
        else:
            yield first, last, found


class _RowMaker:
    """Makes rows of objects. What their keys mean is looked up once for all objects with the same."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def __call__(self, value: object) -> Row:
        if isinstance(value, _Doubled):
            raise BadRow("a key stands in the object twice", f": {excerpt(value.key)}")
        if not isinstance(value, dict):
            raise BadRow("no JSON object", f": {excerpt(json.dumps(value))}")
        keys = tuple(value)
        layout = self._layouts.get(keys)
        if layout is None:
            layout = self._layout_of(value)
            if len(self._layouts) < MAX_LAYOUTS:
                self._layouts[keys] = layout
        known, columns = layout
        return columns, [value[key] for key in known]

    def _layout_of(self, value: Mapping[str, Any]) -> _Layout:
        if problem := self._naming.doubled(value):
            raise BadRow(problem)
        known = {key: column for key in value if (column := self._naming.column(key)) is not None}
        if ACTION not in (*known.values(), *self._naming.fixed):
            raise BadRow("action is missing", f"; the keys are {excerpt(', '.join(value))}{_inside(value)}")
        return tuple(known), tuple(known.values())


def _inside(value: Mapping[str, Any]) -> str:
    for key, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return f". The rows stand inside {excerpt(key)}: take them out, one a line (jq -c '.{key}[]' does so)"
    return ""


def _parse(line: str, first: int | None) -> object:
    try:
        return _DECODER.decode(line)
    except json.JSONDecodeError as error:
        if error.pos < len(line) and not error.msg.startswith("Unterminated"):
            raise BadRow("no JSON", f" ({error.msg}, column {error.colno}): {excerpt(line)}") from None
    except RecursionError:
        raise BadRow("no JSON", f" (too deep): {excerpt(line)}") from None
    if first is not None:
        raise BadFile(_SEVERAL_LINES, first)
    raise BadRow("an object that doesn't end in its line", f": {excerpt(line)}")


def _elements(text: _Text) -> Iterator[tuple[int, int, object]]:
    """Yield an array's elements with their first and last lines."""
    mark = text.take()  # its bracket
    if text.next() == "]":
        mark = text.take()
    while mark != "]":
        text.next()
        first, value = text.line, text.element()
        yield first, text.line, value
        mark = text.take()
        if mark not in (",", "]"):
            raise BadFile("no comma or bracket follows an object of the array", text.line)
    if text.next():
        raise BadFile("something follows the array", text.line)


class _Text:
    """A text that is read in chunks and forgotten as it is used. ``line`` is where it stands."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._text = ""
        self._at = 0
        self.line: int = lines.number + 1

    def next(self) -> str:
        """Pass over white space, and return the character there, or nothing at the end."""
        while True:
            self._pass_to(_SPACE.match(self._text, self._at).end())  # type: ignore[union-attr]  # matches anywhere
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def take(self) -> str:
        """Do as ``next``, and pass over that character too."""
        character = self.next()
        self._at += len(character)
        return character

    def element(self) -> object:
        """Return the value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_OBJECT or not self._read_on():
                    problem = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
                    raise BadFile(f"no JSON ({problem}): {excerpt(self._text[self._at :][:120])}", self.line) from None
            else:
                self._pass_to(end)
                return value

    def _pass_to(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _read_on(self) -> bool:
        more = self._lines.read(CHUNK)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _to_object(pairs: list[tuple[str, object]]) -> dict[str, object] | _Doubled:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = [key for key, _ in pairs]
    return _Doubled(next(key for key in keys if keys.count(key) > 1))


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_to_object)
