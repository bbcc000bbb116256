"""The rows of a CSV after its header.

1. An ID holds no newline. A quote that is still open at the end of a line is an error there, and reading goes on with
   the next line: else one quote too many would swallow thousands of rows.
2. A column of another program may hold newlines. Such a row is named by its first line.
3. Short rows lack their last columns. Longer ones are taken if nothing stands in what is too much.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

from ._columns import ACTION, BadRow, Cells
from ._files import Lines, excerpt
from ._header import Header

Found: TypeAlias = tuple[int, int, Cells | BadRow]  # its first and last lines, and what they hold

_ONE_LINE: Final = (ACTION, "_id", "_type")  # how the columns end that hold no newline


def read_csv(lines: Lines, header: Header) -> Iterator[Found]:
    """Yield the rows, and what isn't one, with their line numbers. Blank rows are passed over."""
    reader = csv.reader(lines, delimiter=header.separator, skipinitialspace=header.skip_blanks, strict=True)
    to_row = _row_maker(header)
    while True:
        lines.mark()
        first = lines.number + 1
        try:
            cells = next(reader)
            if not (text := "".join(cells)) or text.isspace():
                continue
            row = to_row(cells)
            if lines.number > first:
                _check_newlines(row)
        except StopIteration:
            return
        except BadRow as error:
            problem = error
        except csv.Error as error:
            problem = _explain(error, several_lines=lines.number > first)
        else:
            yield first, lines.number, row
            continue
        lines.put_back(after=1)
        yield first, first, problem


def _row_maker(header: Header) -> Callable[[list[str]], Cells]:
    """Return what makes a row of a line's cells."""
    width = len(header.columns)
    columns = [column for column in header.columns if column is not None]
    places = [place for place, column in enumerate(header.columns) if column is not None]
    pick: Callable[[list[str]], Sequence[str]]
    pick = itemgetter(*places) if len(places) > 1 else lambda cells: [cells[place] for place in places]

    def to_row(cells: list[str]) -> Cells:
        if len(cells) != width:
            if any(cell.strip() for cell in cells[width:]):
                raise BadRow("more fields than the header has", f": {excerpt(header.separator.join(cells))}")
            cells += [""] * (width - len(cells))
        return dict(zip(columns, pick(cells), strict=True))

    return to_row


def _check_newlines(row: Cells) -> None:
    for column, value in row.items():
        if column.endswith(_ONE_LINE) and set("\r\n") & set(str(value)):
            raise BadRow(f"a newline in {column}, or a quote that isn't closed", f": {excerpt(str(value))}")


def _explain(error: csv.Error, *, several_lines: bool) -> BadRow:
    if several_lines or "end of data" in str(error):
        return BadRow("a quote is opened and not closed in its line")
    if "limit" in str(error):
        return BadRow(f"a field longer than {csv.field_size_limit()} characters")
    return BadRow("text after a closing quote")
