"""Actions as rows of files: CSV with a header, or JSON Lines, read and written as streams.

A file may be gzipped, by its name, and ``-`` is standard input. What a file holds is told by its first
character: ``{`` begins JSON Lines, anything else the header of a CSV.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TextIO, TypeAlias

from ..actions import Action, ClearPeerMessage, ConvType, DeleteConv, field_names
from ..errors import InvalidArgumentError

Format: TypeAlias = Literal["csv", "jsonl"]
STANDARD_INPUT: Final = "-"
COLUMNS: Final = ("action", "from_user_id", "to_user_id", "conv_id", "conv_type")
_NAMES: Final[Mapping[type[Action], str]] = MappingProxyType(
    {ClearPeerMessage: "clear_peer_message", DeleteConv: "delete_conv"}
)
_KINDS: Final[Mapping[str, type[Action]]] = MappingProxyType(
    {spelling: kind for kind, name in _NAMES.items() for spelling in (name, kind.name)}
)
_CONV_TYPES: Final[Mapping[str, ConvType]] = MappingProxyType(
    {spelling: kind for kind in ConvType for spelling in (kind.name.lower(), str(kind.value))}
)


class BadRow(Exception):  # noqa: N818, a row is bad, not a program
    """A row that isn't an action; its text says why."""


class RowFile:
    """A file of rows, open for reading once; ``format`` says what it holds.

    Raises ``InvalidArgumentError`` if it can't be opened, or later on can't be read to its end.
    """

    def __init__(self, name: str) -> None:
        self._name = "standard input" if name == STANDARD_INPUT else name
        with self._translate_errors():
            self._file = _open(name)
            try:
                self.format: Format = "jsonl" if _first_character(self._file) == b"{" else "csv"
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def actions(self, on_bad_row: Callable[[str], object]) -> Iterator[Action]:
        """Yield the actions; call ``on_bad_row`` with file, line and reason for each row that is none."""
        rows = _read_json_lines(self._file) if self.format == "jsonl" else _read_csv(self._file)
        with self._translate_errors():
            for line, row in rows:
                try:
                    if isinstance(row, BadRow):
                        raise row
                    action = to_action(row)
                except (BadRow, InvalidArgumentError) as error:
                    on_bad_row(f"{self._name}, line {line}: {error}")
                else:
                    yield action

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error) as error:
            problem = getattr(error, "strerror", None) or str(error)
        except BadRow as error:
            problem = str(error)
        else:
            return
        raise InvalidArgumentError(f"{self._name} can't be read: {problem}")


def write_rows(file: TextIO, form: Format, rows: Iterable[Mapping[str, object]], columns: tuple[str, ...]) -> None:
    """Write rows of the given columns; JSON Lines leave out what a row hasn't got."""
    if form == "jsonl":
        for row in rows:
            file.write(json.dumps({column: row[column] for column in columns if column in row}, ensure_ascii=False))
            file.write("\n")
    else:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def open_to_write(path: Path) -> TextIO:
    """Open a file to write rows to, gzipped if its name says so."""
    if path.suffix == ".gz":
        return gzip.open(path, "wt", encoding="utf-8", newline="")
    return path.open("w", encoding="utf-8", newline="")


def to_action(row: Mapping[str, Any]) -> Action:
    """Return the action that a row calls for. Raises ``BadRow`` or ``InvalidArgumentError``."""
    called = row.get("action")
    kind = _KINDS.get(called) if isinstance(called, str) else None
    if kind is None:
        raise BadRow(f"action must be clear_peer_message or delete_conv, not {called!a}")
    own = field_names(kind)
    values = {column: row[column] for column in COLUMNS[1:] if row.get(column) not in (None, "")}
    for column in COLUMNS[1:]:
        if column in own and column not in values:
            raise BadRow(f"{column} is missing")
        # A row that says more than its action can do was meant otherwise.
        if column in values and column not in own:
            raise BadRow(f"{column} doesn't belong to {called}")
    if "conv_type" in values:
        values["conv_type"] = _to_conv_type(values["conv_type"])
    return kind(**values)


def to_row(action: Action) -> dict[str, object]:
    """Return an action as a row that ``to_action`` would take."""
    row: dict[str, object] = {"action": _NAMES[type(action)]}
    for field in field_names(type(action)):
        value = getattr(action, field)
        row[field] = value.name.lower() if isinstance(value, ConvType) else value
    return row


def _to_conv_type(value: object) -> ConvType:
    # By its text: True is no 1, and 2.0 no 2.
    found = _CONV_TYPES.get(str(value).lower())
    if found is None:
        raise BadRow(f"conv_type must be peer (0) or group (2), not {value!a}")
    return found


def _read_csv(file: TextIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    reader = csv.DictReader(file, strict=True)
    try:
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        raise BadRow(f"its first line is no header of a CSV ({error})") from None
    if "action" not in header or "from_user_id" not in header or len(set(header)) < len(header):
        raise BadRow(f"its first line must name each column once; there are {', '.join(COLUMNS)}")
    while True:
        line = reader.reader.line_num + 1  # where a row begins that an open quote may carry on to the end of the file
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, BadRow(f"no CSV: {error}")
        else:
            yield reader.line_num, BadRow("more fields than the header has") if None in row else row


def _read_json_lines(file: TextIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadRow(f"no JSON: {error}")
        else:
            yield number, row if isinstance(row, dict) else BadRow("no JSON object")


def _open(name: str) -> io.TextIOWrapper:
    file: Any
    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise OSError("it is closed")
        file = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    else:
        file = gzip.open(name) if name.endswith(".gz") else open(name, "rb")  # noqa: SIM115, closed by RowFile
    # What isn't UTF-8 comes through as lone surrogates, which no action takes: the row is bad, the rest goes on.
    return io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")


def _first_character(file: io.TextIOWrapper) -> bytes:
    """Return the first byte that is neither white space nor a byte order mark, without taking it."""
    start: bytes = file.buffer.peek(1)  # type: ignore[attr-defined]
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
