"""The rows of a CSV after its header.

1. An ID holds no newline. A quote that is still open at the end of a line is an error there, and reading goes on with
   the next line: else one quote too many would swallow thousands of rows.
2. A column of another program may hold newlines. Such a row is named by its first line.
   If such a cell holds lines that would be rows themselves, a quote was left open: they aren't swallowed either.
3. Short rows lack their last columns. Longer ones are taken if nothing stands in what is too much and each begins with
   an action. Without one, nobody can tell whether a separator ends the row or a number begins it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from ._columns import ACTION, HEADER_AGAIN, BadRow, Row
from ._files import Lines, excerpt
from ._header import Header

Found: TypeAlias = tuple[int, int, Row | BadRow]  # its first and last lines, and what they hold

_ONE_LINE: Final = (ACTION, "_id", "_type")  # how the columns end that hold no newline


def read_csv(lines: Lines, header: Header) -> Iterator[Found]:
    """Yield the rows, and what isn't one, with their line numbers. Blank rows are passed over."""
    reader = csv.reader(lines, delimiter=header.separator, skipinitialspace=header.skip_blanks, strict=True)
    columns = header.columns
    while True:
        lines.mark()
        first = lines.number + 1
        try:
            cells = next(reader)
            if not (text := "".join(cells)) or text.isspace():
                continue
            if len(cells) != len(columns):
                cells = _fit(cells, header)
            if lines.number > first:
                _check_newlines(header, cells)
        except StopIteration:
            return
        except BadRow as error:
            problem = error
        except csv.Error as error:
            problem = _explain(error, several_lines=lines.number > first)
        else:
            if cells != header.names:
                yield first, lines.number, (columns, cells)
                continue
            problem = BadRow(HEADER_AGAIN)
        lines.put_back(after=1)
        yield first, first, problem


def _fit(cells: list[str], header: Header) -> list[str]:
    """Return the cells of a row as many as the header has."""
    width = len(header.columns)
    if any(cell.strip() for cell in cells[width:]):
        raise BadRow("more fields than the header has", f": {excerpt(header.separator.join(cells))}")
    if len(cells) > width and ACTION not in header.columns:
        raise BadRow(
            "more fields than the header has, so that they may be shifted",
            f": {excerpt(header.separator.join(cells))}. Name every column in the header, a row number's too",
        )
    return cells[:width] + [""] * (width - len(cells))


def _check_newlines(header: Header, cells: list[str]) -> None:
    for place, (column, cell) in enumerate(zip(header.columns, cells, strict=True)):
        if not set("\r\n") & set(cell):
            continue
        if column is not None and column.endswith(_ONE_LINE):
            raise BadRow(f"a newline in {column}, or a quote that isn't closed", f": {excerpt(cell)}")
        if _swallows_rows(header, cells, place):
            raise BadRow(
                "a quote is opened here, and closed after lines that are rows themselves", f": {excerpt(cell)}"
            )


def _swallows_rows(header: Header, cells: list[str], place: int) -> bool:
    """Tell whether the lines of a cell were rows before a quote made one of them."""
    own = [at for at, column in enumerate(header.columns) if column and column.endswith(_ONE_LINE)]

    def is_row(fields: list[str]) -> bool:
        if len(fields) != len(cells):
            return False
        filled = [fields[at] for at in own if fields[at]]
        return len(filled) >= min(2, len(own)) and not any(re.search(r"\s", field) for field in filled)

    first, *between, last = (line.split(header.separator) for line in re.split(r"\r\n|\r|\n", cells[place]))
    return any(map(is_row, between)) or (is_row(cells[:place] + first) and is_row(last + cells[place + 1 :]))


def _explain(error: csv.Error, *, several_lines: bool) -> BadRow:
    if several_lines or "end of data" in str(error):
        return BadRow("a quote is opened and not closed in its line")
    if "limit" in str(error):
        return BadRow(f"a field longer than {csv.field_size_limit()} characters")
    return BadRow("text after a closing quote")
