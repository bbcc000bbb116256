"""What betrays an ID that an export, a spreadsheet or a data frame has altered on its way.

1. An ID that was altered addresses another conversation, or none. The server would answer "not found" at best.
2. So what looks altered stops a file before anything is sent. Somebody may really use such an ID, and says so.
3. What can't be seen, such as leading zeros that a spreadsheet dropped, can't be found here.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from typing import Final

MAX_ID_BYTES: Final = 32  # in UTF-8, as the server counts
# Tells most IDs at one look from those that need more: no rule below fits these.
is_plain: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9_-]{5,30}[0-9]|[0-9]{1,32}|[0-9A-Za-z]{10,32}|[A-Za-z][A-Za-z0-9_]{0,30}[0-9]"
).fullmatch
_QUOTES: Final = "\"'`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
# Printable by Unicode's word, and yet nothing is seen of them: fillers, joiners, variation selectors, blank braille.
_UNSEEN: Final = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_REPLACEMENT: Final = "\ufffd"
_SUSPECT: Final = re.compile(f"[{_UNSEEN}{_REPLACEMENT}]")
_MONTH: Final = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_SHAPES: Final = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"-?nan|-?NaN|NAN|NaT|N/A|n/a|NA|<NA>|-?1\.#(IND|QNAN)|#NA|#N/A N/A", "a data frame's mark for no value"),
        (
            r"NULL|null|\(null\)|<null>|<nil>|None|none|NONE|undefined|\\N|[?.\u2013\u2014-]+",
            "an export's mark for no value",
        ),
        (r"#([A-ZÀ-Ý0-9/¡¿]+[!?]|N/A|NV|#+)", "a spreadsheet's error"),
        (r"=.*", "a spreadsheet's formula"),
        (r"[+-]?\d+[.,]\d+[eE][+-]?\d+|[+-]?\d+[eE][+-]\d+", "a spreadsheet's scientific notation"),
        (r"[+-]?\d+[.,]0*", "a data frame's number with decimals"),
        (r"\d{1,3}([, '\u2019]\d{3})+([.,]\d+)?", "a number in groups of thousands"),
        (rf"\d{{1,2}}-{_MONTH}(-\d\d(\d\d)?)?|{_MONTH}-\d\d", "a spreadsheet's date"),
        (r"\d{1,4}([/.-])\d{1,2}\1\d{1,4}[ T]\d\d?:\d\d.*|\d{1,2}/\d{1,2}/\d{2,4}", "a date"),
        (r"TRUE|FALSE|True|False", "a truth value"),
        (r"\[object \w+\]|(ObjectId|UUID|Decimal)\(.*\)|\(.*,\)|\[['\"].*['\"]\]", "a program's notation"),
        (r"b'.*'|b\".*\"", "Python's notation for bytes"),
        (r".*&(amp|lt|gt|quot|apos|nbsp|#\d+);.*", "an HTML entity"),
    )
)


def find_flaw(value: str) -> str | None:
    """Return what betrays an ID that was altered, or None for one that looks as it should."""
    if not value:
        return "nothing in it"
    return _find_invisible(value) or _find_shape(value) or _find_ends(value) or _find_second_encoding(value)


def find_excess(value: str) -> str | None:
    """Return how much longer an ID is than the server takes, or None if it isn't."""
    if len(value) <= MAX_ID_BYTES // 4:  # UTF-8 has four bytes for a character at most
        return None
    size = len(value.encode(errors="replace"))
    return f"{size} bytes in UTF-8, where the server takes {MAX_ID_BYTES}" if size > MAX_ID_BYTES else None


def _name_character(character: str) -> str:
    """Return a character's code point and name, for one that can't be shown."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def _find_invisible(value: str) -> str | None:
    if value.isprintable() and not _SUSPECT.search(value):
        return None
    character = next(one for one in value if not one.isprintable() or _SUSPECT.match(one))
    if "\udc80" <= character <= "\udcff":  # as the decoder passes on what it can't read
        return "what is not UTF-8. Save the file as CSV UTF-8"
    if character in "\r\n":
        return "a newline inside the ID"
    if character == _REPLACEMENT:
        return f"{_name_character(character)}, which stands where a conversion lost a character"
    return f"the invisible character {_name_character(character)}"


def _find_ends(value: str) -> str | None:
    if value[0] == " " or value[-1] == " ":
        return "a blank at an end"
    if value[0] in _QUOTES or value[-1] in _QUOTES:
        return "a quote or apostrophe at an end"
    return None


def _find_shape(value: str) -> str | None:
    return next((cause for pattern, cause in _SHAPES if pattern.fullmatch(value)), None)


def _find_second_encoding(value: str) -> str | None:
    """Find UTF-8 that was taken for Windows' Latin-1 on the way."""
    if value.isascii():
        return None
    with contextlib.suppress(ValueError):
        return f"UTF-8 encoded twice; it may have been {value.encode('cp1252').decode()!a}"
    return None
