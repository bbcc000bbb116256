"""The rows of JSON Lines, or of an array of objects, read as a stream."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from ._columns import ACTION, BadRow, Columns, Row, Shape, key_of
from ._csv import Found
from ._decoding import JsonDecoder, JsonError
from ._files import DAMAGED, BadFile, Lines, excerpt
from ._naming import Naming

CHUNK: Final = 2**16  # characters
MAX_OBJECT: Final = 2**20
MAX_LAYOUTS: Final = 1_000
_NO_END: Final = "an object that doesn't end in its line"
_ONE_A_LINE: Final = "JSON Lines have one object a line (jq -c writes them so)"
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_Layout: TypeAlias = tuple[tuple[str, ...], Columns]  # keys, and the columns that they mean


def read_json_lines(lines: Lines, naming: Naming, shapes: Mapping[str, Shape]) -> Iterator[Found]:
    """Yield the rows, and what isn't one, with their line numbers. Blank lines are passed over.

    Raises:
        BadFile: The first object doesn't end in its line.
    """
    to_row = _RowMaker(naming, shapes)
    decoder = JsonDecoder()
    first = True
    for line in lines:
        lines.mark()
        if text := line.strip().lstrip("\ufeff"):
            try:
                found = to_row(_parse(decoder, text))
            except BadRow as error:
                if first and error.cause == _NO_END:
                    raise BadFile(f"{_NO_END}. {_ONE_A_LINE}; or the file is cut off", lines.number) from None
                yield lines.number, lines.number, error
            else:
                yield lines.number, lines.number, found
            first = False


def read_json_array(lines: Lines, naming: Naming, shapes: Mapping[str, Shape]) -> Iterator[Found]:
    """Yield the rows of an array, and what isn't one, with the line numbers where they begin.

    Raises:
        BadFile: What follows can't be told apart any more.
    """
    to_row = _RowMaker(naming, shapes)
    for first, last, value in _elements(_Text(lines)):
        try:
            found = to_row(value)
        except BadRow as error:
            yield first, last, error
        else:
            yield first, last, found


class _RowMaker:
    """Makes rows of objects. What their keys mean is looked up once for all objects with the same."""

    def __init__(self, naming: Naming, shapes: Mapping[str, Shape]) -> None:
        self._naming = naming
        self._shapes = shapes
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def __call__(self, value: object) -> Row:
        if not isinstance(value, dict):
            raise value if isinstance(value, BadRow) else BadRow("no JSON object", f": {_show(value)}")
        keys = tuple(value)
        layout = self._layouts.get(keys)
        if layout is None:
            layout = self._layout_of(value)
            if len(self._layouts) < MAX_LAYOUTS:
                self._layouts[keys] = layout
        known, columns = layout
        return columns, [value[key] for key in known]

    def _layout_of(self, value: Mapping[str, Any]) -> _Layout:
        naming = self._naming
        if problem := naming.doubled(value):
            raise BadRow(problem)
        found = f"; the keys are {excerpt(', '.join(value))}"
        if missing := naming.missing(value, self._shapes_for(value)):
            cause = ACTION if ACTION in missing else " and ".join(missing)
            advice = _inside(value) or naming.advice(missing, value)
            raise BadRow(f"{cause} is missing", f"{found}.{advice}".rstrip("."))
        known = {key: column for key in value if (column := naming.column(key)) is not None}
        # An object may lack what its action has no use for; not what it has by another name.
        if unfound := [name for name in naming.unfound(value) if naming.renamed[name] in known.values()]:
            raise BadRow(f"it lacks {', '.join(map(excerpt, unfound))}, of which --map speaks", found)
        return tuple(known), tuple(known.values())

    def _shapes_for(self, value: Mapping[str, Any]) -> Mapping[str, Shape]:
        """Return the shape of the action that an object names, or all if it names none that is known."""
        called = next((value[key] for key in value if self._naming.column(key) == ACTION), None)
        named = key_of(called) if isinstance(called, str) else ""
        return {named: self._shapes[named]} if named in self._shapes else self._shapes


def _show(value: object) -> str:
    # An array may be nested too deep to be shown.
    return "an array" if isinstance(value, list) else excerpt(json.dumps(value))


def _inside(value: Mapping[str, Any]) -> str:
    for key, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return f" The rows stand inside {excerpt(key)}: take them out, one a line{_jq(key)}"
    return ""


def _jq(key: str) -> str:
    """Return what takes out what stands inside a key, if the key can be shown."""
    if len(key) > 50 or not key.isprintable():
        return ""
    path = f".{key}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) else f".[{json.dumps(key)}]"
    return f" (jq -c {shlex.quote(f'{path}[]')} does so)"


def _parse(decoder: JsonDecoder, line: str) -> object:
    try:
        value, end = decoder.decode(line)
    except JsonError as error:
        if error.unfinished:
            raise BadRow(_NO_END, f": {excerpt(line)}") from None
        place = "" if error.at is None else f", column {error.at + 1}"
        raise BadRow(error.cause, f"{error.detail}{place}: {excerpt(line)}") from None
    if end == len(line):
        return value
    rest = line[end:].lstrip()
    if rest == ",":
        raise BadRow("a comma follows the object. JSON Lines have none: take it out")
    if rest.startswith("{"):
        raise BadRow("another object follows in the same line", f": {excerpt(rest)}. {_ONE_A_LINE}")
    raise BadRow("something follows the object", f": {excerpt(rest)}")


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
        if not mark:
            raise text.cut_off()
        if mark not in ",]":
            found = excerpt(mark + text.rest())
            raise BadFile(f"no comma or bracket follows an object of the array, but {found}", text.line)
    if text.next():
        raise BadFile(f"something follows the array: {excerpt(text.rest())}", text.line)


class _Text:
    """A text that is read in chunks and forgotten as it is used. ``line`` is where it stands."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.line: int = lines.number + 1
        self._text = lines.read(CHUNK)
        self._at = 0
        self._newline = "\r" if self._text.endswith("\r") else "\n"  # "\r\n" has one of the latter
        self._decode = JsonDecoder().decode

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

    def rest(self) -> str:
        """Return the beginning of what is left."""
        return self._text[self._at :][:120]

    def cut_off(self) -> BadFile:
        """Return the error of a file that ends here."""
        return BadFile("the file ends before the array does", self.line)

    def element(self) -> object:
        """Return the value that begins here, or what is wrong with it."""
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except JsonError as error:
                if error.end is not None:
                    value, end = BadRow(error.cause, error.detail), error.end
                elif len(self._text) - self._at > MAX_OBJECT or not self._read_on():
                    raise self._explain(error) from None
                else:
                    continue
            self._pass_to(end)
            return value

    def _explain(self, error: JsonError) -> BadFile:
        if error.unfinished and len(self._text) - self._at <= MAX_OBJECT:
            return self.cut_off()
        return BadFile(f"{error}: {excerpt(self.rest())}", self.line)

    def _pass_to(self, end: int) -> None:
        self.line += self._text.count(self._newline, self._at, end)
        self._at = end

    def _read_on(self) -> bool:
        try:
            more = self._lines.read(CHUNK)
        except UnicodeError:
            raise BadFile(DAMAGED, self.line) from None
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
