"""Lists of IDs: as arguments, one a line, or a column of a CSV.

1. An ID taken for nothing is a user who isn't erased, or a conversation that isn't kept. So what is hardly an ID stops
   a list before anything is sent.
2. A line that holds one ID holds nothing else: what separates values elsewhere, a blank too, betrays several.
3. The first line of a list without a header is an ID, unless it looks like a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import InvalidArgumentError
from ._columns import BadRow, key_of
from ._csv import read_csv
from ._files import BadFile, Lines, excerpt, name_of, open_text, translate_errors
from ._header import SEPARATORS, Header, first_line, split_names
from ._ids import find_excess, find_flaw
from ._output import Problems

# A conversation's ID is its group's, or the other user's.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user_id": ("user_id", "from_user_id"),
    "conv_id": ("conv_id", "group_id", "to_user_id"),
}
_NO_SEPARATOR: Final = "\x1f"  # csv wants one; this is in no ID
_JSON: Final = re.compile(r'\{\s*("|$)|\[\s*(["{\[]|$)')
_HEADER_WORD: Final = re.compile(
    "(account|chat|client|conv|conversation|customer|group|key|login|mail|member|name|number|peer|player|user)s?"
    "|e|email|from|hash|id|ids|nickname|of|to|uids?|userids?|usernames?"
)
_SHAPES: Final = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"(#|//|--|/\*).*", "a comment's mark at its start"),
        (r"[{\[].*", "a bracket of JSON at its start"),
        (r"[+|=-]+", "a line of a drawn table"),
    )
)
_SEPARATING: Final = re.compile(rf"[{SEPARATORS} ]")


@dataclass(frozen=True, slots=True)
class IdList:
    """IDs that may be read again and again.

    Attributes:
        column: What a CSV's column of them is called: ``user_id`` or ``conv_id``.
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
            if isinstance(value, BadRow):
                problems.add(f"{place}: {value}")
            else:
                yield value
        if problems.count:
            raise InvalidArgumentError(
                f"bad IDs: {problems.count}. Nothing was sent. Mend them, or say --literal-ids if they only look odd"
            )

    def _values(self) -> Iterator[tuple[str, str | BadRow]]:
        for value in self.given:
            yield "arguments", self._check(value, alone=True)
        if self.file is not None:
            with translate_errors(self.file), open_text(self.file) as text:
                for line, found in self._read(Lines(text)):
                    yield f"{name_of(self.file)}, line {line}", found

    def _read(self, lines: Lines) -> Iterator[tuple[int, str | BadRow]]:
        header = _read_header(lines, self.column)
        place = header.columns.index(self.column)
        for first, _, row in read_csv(lines, header):
            if isinstance(row, BadRow):
                yield first, row
            else:
                yield first, self._check(str(row[1][place]), alone=len(header.columns) == 1)

    def _check(self, value: str, *, alone: bool) -> str | BadRow:
        """Return an ID, or what is wrong with it. ``alone``, it has a line to itself."""
        if not value:
            return BadRow(f"{self.column} is missing")
        flaw = None if self.literal else find_flaw(value) or _find_shape(value) or (alone and _find_several(value))
        problem = flaw or find_excess(value)
        return BadRow(f"{self.column} has {problem}", f": {excerpt(value)}") if problem else value


def _find_shape(value: str) -> str | None:
    return next((cause for pattern, cause in _SHAPES if pattern.fullmatch(value)), None)


def _find_several(value: str) -> str | None:
    if (found := _SEPARATING.search(value)) is None:
        return None
    name = {" ": "blank", ",": "comma", ";": "semicolon"}.get(found[0], found[0])
    return f"a {name} in it, as if it were several IDs"


def _read_header(lines: Lines, column: str) -> Header:
    """Return how lines are to be read, and take the header if there is one.

    Raises:
        BadFile: There is no telling.
    """
    line, separators = first_line(lines, "first ID")
    if _JSON.match(line.strip()):
        raise BadFile(
            f"JSON, where one ID a line (as jq -r .{column} writes them) or a CSV is needed: {excerpt(line.rstrip())}",
            lines.number,
        )
    accepted = {key_of(name) for name in _NAMES[column]}
    # A line that can't be split is longer than any ID, or has wrong quotes, which reading says again.
    splits = {separator: split_names(line, separator) or [line] for separator in separators}
    separator = max(splits, key=lambda sep: (sum(key_of(name) in accepted for name in splits[sep]), len(splits[sep])))
    names = splits[separator]
    columns = tuple(column if key_of(name) in accepted else None for name in names)
    if columns.count(column) == 1:
        blanks = any(name.startswith(" ") for name in (split_names(line, separator, skip_blanks=False) or names)[1:])
        return Header(separator if len(names) > 1 else _NO_SEPARATOR, blanks, columns)
    if len(names) > 1 or _is_name(names[0]):
        raise BadFile(
            f"one ID a line, or one column named {' or '.join(_NAMES[column])}, is needed; found"
            f" {excerpt(line.rstrip())}. If that is an ID, put a line {column} before it",
            lines.number,
        )
    lines.put_back(after=0)
    return Header(_NO_SEPARATOR, skip_blanks=False, columns=(column,))


def _is_name(text: str) -> bool:
    """Tell whether a line is rather a column's name than an ID, which mostly has a digit or says nothing."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)]
    if not words or re.search(r"\d", text):
        return False
    return words[-1] in ("id", "ids") or all(map(_HEADER_WORD.fullmatch, words))
