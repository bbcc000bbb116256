"""Actions as rows of files: CSV with a header, JSON Lines, or a JSON array, as streams in and out."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Self, TextIO, TypeAlias

from ..actions import Action
from ._columns import ACTION, BadRow, Cells, Shape, key_of, known_shapes
from ._csv import Found, read_csv
from ._files import Lines, excerpt, name_of, open_text, translate_errors
from ._header import read_header
from ._json import read_json_array, read_json_lines
from ._naming import Naming, make_naming

Format: TypeAlias = Literal["csv", "jsonl"]
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Problem(NamedTuple):
    """A row that is no action: where it is, what is wrong, and how many lines it takes."""

    text: str
    cause: str
    lines: int


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
        self._spellings: dict[str, Shape] = {}  # looked up so far

    def to_action(self, row: Cells) -> Action:
        """Return the action that a row calls for.

        Raises:
            BadRow: There is none.
        """
        fixed = self.naming.fixed
        shape = self._shape(row.get(ACTION) or fixed.get(ACTION))
        values: dict[str, object] = {}
        for column, value in row.items():
            if value is None or value == "":
                continue
            if (read := shape.readers.get(column)) is not None:
                values[column] = read(value)
            elif column != ACTION and not str(value).isspace():
                # A row that says more than its action can do was meant otherwise.
                raise BadRow(f"{column} doesn't belong to {shape.name}", f": {excerpt(str(value))}")
        for column, value in fixed.items():
            if (read := shape.readers.get(column)) is not None:
                values[column] = read(value)
        if len(values) < len(shape.readers) and (missing := [c for c in shape.required if c not in values]):
            raise BadRow(f"{' and '.join(missing)} is missing")
        try:
            return shape.kind(**values)
        except ValueError as error:
            raise BadRow(f"a value that {shape.name} doesn't take", f": {error}") from None

    def _shape(self, called: object) -> Shape:
        if called is None or called == "":
            raise BadRow("action is missing")
        if not isinstance(called, str):
            raise BadRow("action must be a name", f", not {excerpt(str(called))}")
        if (shape := self._spellings.get(called)) is not None:
            return shape
        shape = self.shapes.get(key_of(called))
        if shape is None:
            if key_of(called.lstrip("\ufeff")) == ACTION:
                raise BadRow("the header once more, as where files were put together")
            names = " or ".join(shape.name for shape in self.shapes.values())
            raise BadRow(f"action must be {names}", f", not {excerpt(called)}")
        self._spellings[called] = shape
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
                except BadRow as error:
                    place = f"{name_of(self._name)}, line {first}"
                    on_problem(Problem(f"{place}: {error}", error.cause, last - first + 1))
                else:
                    yield action

    def _read(self) -> Iterator[Found]:
        naming = self._reader.naming
        match self._lines.skip_blank():
            case "[":
                return read_json_array(self._lines, naming)
            case "{":
                return read_json_lines(self._lines, naming)
            case _:
                return read_csv(self._lines, read_header(self._lines, naming, self._reader.shapes))


def write_rows(file: TextIO, form: Format, rows: Iterable[Cells], columns: tuple[str, ...]) -> None:
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
