"""Actions as rows of files: CSV with a header, JSON Lines, or a JSON array, as streams in and out."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Self, TextIO, TypeAlias

from ..actions import Action
from ._columns import ACTION, HEADER_AGAIN, BadRow, Columns, Row, Shape, key_of, known_shapes
from ._csv import Found, read_csv
from ._files import Lines, excerpt, name_of, open_text, translate_errors
from ._header import read_header
from ._json import read_json_array, read_json_lines
from ._naming import Naming, make_naming

MAX_PATTERNS: Final = 1_000
Format: TypeAlias = Literal["csv", "jsonl"]
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_EMPTY: Final = (None, "")


class Problem(NamedTuple):
    """A row that is no action: where it is, what is wrong, and how many lines it takes."""

    text: str
    cause: str
    lines: int


class _Pattern(NamedTuple):
    """How rows with the same columns become the same action: worked out once, for a million of them."""

    name: str
    make: Callable[..., Action]
    own: tuple[tuple[int, str, Callable[[Any], object]], ...]  # places of its fields, their columns and readers
    foreign: tuple[int, ...]  # places of other actions' fields
    required: tuple[str, ...]
    fields: int  # how many of them a row can have


class RowReader:
    """Makes actions of rows.

    Args:
        renames: What ``--map`` was given, as ``user_id=from_user_id,peer_id=to_user_id``.
        fixed: What every row has in a column that the files lack.
        literal_ids: Take IDs as they are, whatever they look like.

    Raises:
        InvalidArgumentError: A name that no action has, a value that doesn't fit, or a name twice.
    """

    def __init__(
        self, *, renames: Iterable[str] = (), fixed: Mapping[str, str] = _NOTHING, literal_ids: bool = False
    ) -> None:
        self.shapes: dict[str, Shape] = known_shapes(literal_ids=literal_ids)
        self.naming: Naming = make_naming(self.shapes, renames, fixed)
        self._patterns: dict[tuple[Columns, object], _Pattern] = {}  # by columns and what the action is called

    def to_action(self, row: Row) -> Action:
        """Return the action that a row calls for.

        Raises:
            BadRow: There is none.
        """
        columns, cells = row
        called = cells[columns.index(ACTION)] if ACTION in columns else None
        try:
            pattern = self._patterns[columns, called]
        except (KeyError, TypeError):  # new, or no name at all
            pattern = self._learn(columns, called)
        for place in pattern.foreign:
            if (cell := cells[place]) not in _EMPTY and not str(cell).isspace():
                # A row that says more than its action can do was meant otherwise.
                raise BadRow(f"{columns[place]} doesn't belong to {pattern.name}", f": {excerpt(str(cell))}")
        values = {column: read(cell) for place, column, read in pattern.own if (cell := cells[place]) not in _EMPTY}
        if len(values) < pattern.fields and (missing := [c for c in pattern.required if c not in values]):
            raise BadRow(f"{' and '.join(missing)} is missing")
        try:
            return pattern.make(**values)
        except ValueError as error:
            raise BadRow(f"a value that {pattern.name} doesn't take", f": {error}") from None

    def _learn(self, columns: Columns, called: object) -> _Pattern:
        fixed = self.naming.fixed
        shape = self._shape(fixed.get(ACTION) if called is None else called)
        stated = {column: shape.readers[column](value) for column, value in fixed.items() if column in shape.readers}
        places = [(place, column) for place, column in enumerate(columns) if column not in (None, ACTION)]
        pattern = _Pattern(
            name=shape.name,
            make=partial(shape.kind, **stated) if stated else shape.kind,
            own=tuple((place, column, shape.readers[column]) for place, column in places if column in shape.readers),
            foreign=tuple(place for place, column in places if column not in shape.readers),
            required=tuple(column for column in shape.required if column not in stated),
            fields=len(shape.readers) - len(stated),
        )
        if len(self._patterns) < MAX_PATTERNS:  # names have many spellings
            self._patterns[columns, called] = pattern
        return pattern

    def _shape(self, called: object) -> Shape:
        if called is None or called == "":
            raise BadRow("action is missing")
        if not isinstance(called, str):
            raise BadRow("action must be a name", f", not {excerpt(json.dumps(called))}")
        shape = self.shapes.get(key_of(called))
        if shape is None:
            if key_of(called.lstrip("\ufeff")) == ACTION:
                raise BadRow(HEADER_AGAIN)
            names = " or ".join(shape.name for shape in self.shapes.values())
            raise BadRow(f"action must be {names}", f", not {excerpt(called)}")
        return shape


class RowFile:
    """A file of rows, open for reading once.

    Args:
        name: Its path, or ``-`` for standard input.
        reader: What makes actions of its rows.

    Raises:
        InvalidArgumentError: It can't be opened or holds no rows; or later on, it can't be read to its end.

    Attributes:
        format: What it holds.
    """

    def __init__(self, name: str, reader: RowReader) -> None:
        self._name = name
        self._reader = reader
        self._closing = ExitStack()
        with translate_errors(name), ExitStack() as undo:
            self._lines = Lines(undo.enter_context(open_text(name)))
            self.format: Format = "jsonl" if self._lines.skip_blank() in tuple("[{") else "csv"
            self._rows = self._read()
            self._closing = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def actions(self, on_problem: Callable[[Problem], object]) -> Iterator[Action]:
        """Yield the actions, and call ``on_problem`` for each row that is none."""
        with translate_errors(self._name):
            for first, last, row in self._rows:
                try:
                    if isinstance(row, BadRow):
                        raise row
                    action = self._reader.to_action(row)
                except (BadRow, RecursionError) as error:
                    problem = error if isinstance(error, BadRow) else BadRow("a value that is nested too deep")
                    place = f"{name_of(self._name)}, line {first}"
                    on_problem(Problem(f"{place}: {problem}", problem.cause, last - first + 1))
                else:
                    yield action

    def _read(self) -> Iterator[Found]:
        naming, shapes = self._reader.naming, self._reader.shapes
        match self._lines.skip_blank():
            case "[":
                return read_json_array(self._lines, naming, shapes)
            case "{":
                return read_json_lines(self._lines, naming, shapes)
            case _:
                return read_csv(self._lines, read_header(self._lines, naming, shapes))


def write_rows(file: TextIO, form: Format, rows: Iterable[Mapping[str, object]], columns: tuple[str, ...]) -> None:
    """Write rows of the given columns. JSON Lines leave out what a row hasn't got."""
    if form == "jsonl":
        for row in rows:
            file.write(json.dumps({column: row[column] for column in columns if column in row}, ensure_ascii=False))
            file.write("\n")
    else:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_to_cell(row.get(column)) for column in columns] for row in rows)


def open_to_write(path: Path) -> TextIO:
    """Open a file to write rows to, gzipped if its name says so."""
    if path.suffix == ".gz":
        return gzip.open(path, "wt", encoding="utf-8", newline="")
    return path.open("w", encoding="utf-8", newline="")


def _to_cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
