"""Lists of IDs: as arguments, one a line, or a column of a CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..errors import InvalidArgumentError
from ._columns import BadRow, key_of
from ._csv import read_csv
from ._files import BadFile, Lines, excerpt, name_of, open_text, translate_errors
from ._header import SEPARATORS, Header
from ._ids import find_excess, find_flaw
from ._output import Problems

_PERHAPS_A_HEADER: Final = ("id", "ids", "uid", "user", "users", "username", "name", "conversation", "conversations")


@dataclass(frozen=True, slots=True)
class IdList:
    """IDs that may be read again and again.

    Attributes:
        column: What a CSV's column of them is called.
        given: Those that stand on the command line.
        file: Where more of them stand, if anywhere; ``-`` is standard input.
        literal: Whether they are taken as they are, whatever they look like.
    """

    column: str
    given: tuple[str, ...]
    file: str | None
    literal: bool

    def __iter__(self) -> Iterator[str]:
        """Yield the IDs.

        Raises:
            InvalidArgumentError: The file can't be read; or, at the end, there were bad ones.
        """
        problems = Problems()
        for place, value in self._values():
            problem = str(value) if isinstance(value, BadRow) else self._find_problem(value)
            if problem is None:
                yield str(value)
                continue
            problems.add(f"{place}: {problem}")
        if problems.count:
            raise InvalidArgumentError(
                f"bad IDs: {problems.count}. Nothing was sent. Mend them, or say --literal-ids if they are right"
            )

    def _values(self) -> Iterator[tuple[str, str | BadRow]]:
        for value in self.given:
            yield "arguments", value
        if self.file is not None:
            with translate_errors(self.file), open_text(self.file) as text:
                for line, found in _read(Lines(text), self.column):
                    yield f"{name_of(self.file)}, line {line}", found

    def _find_problem(self, value: str) -> str | None:
        problem = None if self.literal else find_flaw(value)
        problem = problem or find_excess(value)
        return problem and f"{self.column} has {problem}: {excerpt(value)}"


def _read(lines: Lines, column: str) -> Iterator[tuple[int, str | BadRow]]:
    if not lines.skip_blank():
        return
    header = _header_of(lines, column)
    place = header.columns.index(column)
    for first, _, row in read_csv(lines, header):
        if isinstance(row, BadRow):
            yield first, row
        elif value := str(row[1][place]):
            yield first, value


def _header_of(lines: Lines, column: str) -> Header:
    """Return how lines are to be read, and take the header if there is one."""
    lines.mark()
    line = next(lines)
    separator = max(SEPARATORS, key=line.count)
    names = [key_of(name.strip('"')) for name in line.split(separator)]
    accepted = {key_of(column), key_of(f"from_{column}")}
    places = [place for place, name in enumerate(names) if name in accepted]
    if len(places) == 1:
        columns = tuple(column if place == places[0] else None for place in range(len(names)))
        return Header(separator, skip_blanks=False, columns=columns)
    if len(names) > 1 or places or names[0] in _PERHAPS_A_HEADER:
        raise BadFile(
            f"one ID a line, or one column named {column}, is needed; found {excerpt(line.rstrip())}", lines.number
        )
    lines.put_back(after=0)
    return Header(",", skip_blanks=False, columns=(column,))
