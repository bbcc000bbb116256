"""The header of a CSV: which line it is, what separates its names, which columns they mean, and what is wrong with it.

1. Byte order marks, blank lines and a spreadsheet's ``sep=;`` may stand before it.
2. Of the separators, the one that leaves most known names is right. ``csv.Sniffer`` fails on one column.
3. Blanks after its separators say that those of the rows are no part of the values either.
4. A message shows the line that was found, says what it lacks, and what it probably is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ._columns import Columns, Shape, key_of
from ._files import BadFile, Lines, excerpt
from ._naming import Naming

SEPARATORS: Final = ",;\t|"
# A spreadsheet that saves such a line again ends it with separators of its own.
_SEP_LINE: Final = re.compile(r'"?sep=([^"\w\s]|\t|)["\s,;|]*', re.IGNORECASE)
_RULE: Final = re.compile(r"[\s+|=-]*[-=]{2}[\s+|=-]*")


@dataclass(frozen=True, slots=True)
class Header:
    """What the rows of a CSV are read by."""

    separator: str
    skip_blanks: bool
    columns: Columns
    names: list[str] = field(default_factory=list)  # as they stand in the file, if there is a header


def read_header(lines: Lines, naming: Naming, shapes: Mapping[str, Shape]) -> Header:
    """Take the lines up to the header, and say how rows are to be read.

    Raises:
        BadFile: It is none.
    """
    line, separators = first_line(lines, "header")
    separator = max(separators, key=lambda sep: _count_known(line, sep, naming))
    names = split_names(line, separator) or []
    if problem := _find_problem(line, names, naming, shapes):
        raise BadFile(f"no header of rows: {excerpt(line.rstrip())}. {problem}", lines.number)
    blanks = any(name.startswith(" ") for name in (split_names(line, separator, skip_blanks=False) or names)[1:])
    columns = tuple(naming.column(name) for name in names)
    return Header(separator, blanks, columns, split_names(line, separator, skip_blanks=blanks) or names)


def first_line(lines: Lines, wanted: str) -> tuple[str, str]:
    """Take the first line that holds anything, and return it with the separators that it may have.

    A spreadsheet's ``sep=`` is passed over. The line may be put back.

    Raises:
        BadFile: There is none with what is wanted.
    """
    separators = SEPARATORS
    line = _next_line(lines, f"is empty: there is no {wanted}")
    if found := _SEP_LINE.fullmatch(line):
        separators = found[1]
        if not separators:
            raise BadFile(f"sep= names no separator: {excerpt(line.rstrip())}", lines.number)
        line = _next_line(lines, f"is empty: it ends before its {wanted}")
    return line, separators


def _next_line(lines: Lines, problem: str) -> str:
    if not lines.skip_blank():
        raise BadFile(problem)
    lines.mark()
    return next(lines)


def _is_rule(line: str) -> bool:
    """Tell whether a line is part of a table's drawing."""
    return _RULE.fullmatch(line) is not None


def split_names(line: str, separator: str, *, skip_blanks: bool = True) -> list[str] | None:
    """Return the names of a header, or None where quotes are wrong."""
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=skip_blanks, strict=skip_blanks), [])
    except csv.Error:
        return None


def _count_known(line: str, separator: str, naming: Naming) -> int:
    return sum(naming.column(name) is not None for name in split_names(line, separator) or ())


def _find_problem(line: str, names: list[str], naming: Naming, shapes: Mapping[str, Shape]) -> str | None:
    if missing := naming.missing(names, shapes):
        return f"{_guess(line, names, naming, shapes)}It lacks {', '.join(missing)}.{naming.advice(missing, names)}"
    if problem := naming.doubled(names):
        return problem
    if unfound := naming.unfound(names):
        return f"It lacks {', '.join(map(excerpt, unfound))}, of which --map speaks"
    return None


def _guess(line: str, names: list[str], naming: Naming, shapes: Mapping[str, Shape]) -> str:
    """Return what a line probably is that stands where the header should."""
    cells = [name.strip() for name in names]
    anyhow = [cell.strip() for separator in SEPARATORS for cell in split_names(line, separator) or ()]
    if _is_rule(line):
        return "This is a table drawn for the eye: export it as CSV. "
    if any(key_of(cell) in shapes for cell in anyhow):
        return "This is a row already: put a line with the names of the columns before it. "
    if len(cells) == 1 and any(_count_known(cells[0], separator, naming) > 1 for separator in SEPARATORS):
        return "One pair of quotes holds all names: quote each, or none. "
    if any(naming.column(cell.strip("'`\u2018\u2019\u201c\u201d")) for cell in cells if naming.column(cell) is None):
        return "Names must stand without these quotes. "
    if sum(column in re.split(r"[^a-z_]+", line.lower()) for column in naming.columns.values()) > 1 >= len(cells):
        return "Names must be separated by comma, semicolon, tab or |. "
    if line.lstrip().startswith(("#", "//", "--", "/*")):
        return "This is a comment: take it out. "
    if "\udc80" <= max(line) <= "\udcff":
        return "It isn't UTF-8: save the file as CSV UTF-8. "
    return ""
