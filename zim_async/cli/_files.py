"""Files of rows as lines of text: opened, unpacked, decoded, bounded, whatever program wrote them."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self, TextIO

from ..errors import InvalidArgumentError

STANDARD_INPUT: Final = "-"
MAX_LINE: Final = 2**20  # characters
DAMAGED: Final = "cut off or damaged, so that it can't be decoded from here on"
_START: Final = 64  # bytes that tell what a file is
_BEFORE: Final = "\ufeff\x1e"  # byte order marks, and what JSON text sequences begin with
_GZIP: Final = b"\x1f\x8b"
# In this order: UTF-32's mark begins as UTF-16's does.
_ENCODINGS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NOT_ROWS: Final = (
    (b"PK\x03\x04", "a zip archive or a workbook (xlsx, ods). Save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old workbook (xls). Save the sheet as CSV UTF-8"),
    (b"BZh", "packed by bzip2. Unpack it first"),
    (b"\xfd7zXZ", "packed by xz. Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd. Unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive. Unpack it first"),
    (b"Rar!", "a rar archive. Unpack it first"),
    (_GZIP, "gzipped twice. Unpack it first"),
    (b"%PDF", "a PDF. Export the rows as CSV"),
    (b"PAR1", "a Parquet file. Export the rows as CSV"),
    (b"SQLite format 3", "an SQLite file, such as a journal. Give the file of rows"),
    (b"{\\rtf", "a text document (RTF). Save it as plain text in UTF-8"),
    (b"<", "HTML or XML. Export the rows as CSV"),
)


class BadFile(Exception):  # noqa: N818, a file is bad, not a program
    """A file that can't be read to its end. Its text says why, and ``line`` where."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


class Lines:
    """The lines of a file, one by one. Those since ``mark`` can be put back.

    Attributes:
        number: The number of the latest line.
    """

    def __init__(self, file: TextIO) -> None:
        self.number = 0
        self._file = file
        self._since_mark: list[str] = []
        self._back: deque[str] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            line = self._back.popleft() if self._back else self._file.readline(MAX_LINE)
        except UnicodeError:
            raise BadFile(DAMAGED, self.number + 1) from None
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= MAX_LINE:
            raise BadFile(f"longer than {MAX_LINE} characters: {excerpt(line)}", self.number)
        self._since_mark.append(line)
        return line

    def skip_blank(self) -> str:
        """Pass over byte order marks and lines without text. Return the first character of what follows, or nothing."""
        while line := self._back.popleft() if self._back else self._file.readline(MAX_LINE):
            if text := line.strip(f"{_BEFORE} \t\r\n,;|"):
                self._back.append(line.lstrip(_BEFORE))
                return text[0]
            self.number += 1
        return ""

    def mark(self) -> None:
        """Begin to keep lines that may be put back."""
        self._since_mark.clear()

    def put_back(self, *, after: int) -> None:
        """Have the lines since ``mark`` come again, after some of them that don't."""
        again = self._since_mark[after:]
        self._back.extendleft(reversed(again))
        self.number -= len(again)

    def read(self, size: int) -> str:
        """Return the next characters, of any number of lines."""
        return self._back.popleft() if self._back else self._file.read(size)


def excerpt(value: object) -> str:
    """Return the start of some text or another value in ASCII, fit for a message."""
    shown = ascii(value)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def name_of(file: str) -> str:
    """Return how messages name a file."""
    return "standard input" if file == STANDARD_INPUT else file


@contextmanager
def open_text(name: str) -> Iterator[io.TextIOWrapper]:
    """Open a file to read text, gzipped or not, in UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Raises:
        BadFile: It is no text.
        OSError: It can't be opened.
    """
    with _open_bytes(name) as file:
        packed = gzip.GzipFile(fileobj=file) if _peek(file).startswith(_GZIP) else file
        start = _peek(packed)
        encoding = next((encoding for mark, encoding in _ENCODINGS if start.startswith(mark)), "utf-8")
        if encoding == "utf-8":
            _check_start(start)
        # What isn't UTF-8 comes through as lone surrogates, which no ID may hold: that row is bad, the rest is read.
        with io.TextIOWrapper(packed, encoding, "surrogateescape", newline="") as text:
            yield text


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn what a file can be wrong in into ``InvalidArgumentError``, with its name and the line."""
    line = None
    try:
        yield
    except UnicodeError:
        problem = f"is {DAMAGED}"
    except (OSError, EOFError, zlib.error) as error:
        problem = f"can't be read: {getattr(error, 'strerror', None) or error}"
    except BadFile as error:
        problem, line = str(error), error.line
    else:
        return
    place = name_of(name) if line is None else f"{name_of(name)}, line {line}:"
    raise InvalidArgumentError(f"{place} {problem}")


def _open_bytes(name: str) -> io.BufferedReader:
    if name != STANDARD_INPUT:
        return open(name, "rb")
    if sys.stdin is None:
        raise OSError("it is closed")
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb")


def _peek(file: io.BufferedReader | gzip.GzipFile) -> bytes:
    return file.peek(_START)[:_START]


def _check_start(start: bytes) -> None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in _NOT_ROWS:
        if text.startswith(magic):
            raise BadFile(f"holds no rows: it is {what}")
    if b"\x00" in start:
        raise BadFile("holds no rows: it is binary, or UTF-16 without a byte order mark. Save it as CSV UTF-8")
