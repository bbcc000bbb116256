"""What betrays an ID that an export, a spreadsheet or a data frame has altered on its way.

1. An ID that was altered addresses another conversation, or none. The server would answer "not found" at best.
2. So what looks altered stops a file before anything is sent. Somebody may really use such an ID, and says so.
3. What can't be seen, such as leading zeros that a spreadsheet dropped, can't be found here.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from html.entities import name2codepoint
from typing import Final

MAX_ID_BYTES: Final = 32  # in UTF-8, as the server counts
# Tells most IDs at one look from those that need more: no rule below fits these.
is_plain: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9_-]{5,30}[0-9]|[0-9]{1,32}|(?=[A-Za-z]*[0-9])[0-9A-Za-z]{10,32}|[A-Za-z][A-Za-z0-9_]{0,30}[0-9]"
).fullmatch
_QUOTES: Final = "\"'`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
# Printable by Unicode's word, and yet nothing is seen of them: fillers, joiners, variation selectors, blank braille.
_UNSEEN: Final = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_REPLACEMENT: Final = "\ufffd"
_SUSPECT: Final = re.compile(f"[{_UNSEEN}{_REPLACEMENT}]")
# Words that are no ID on their own: by their spelling, as people have names that differ in it (Nil, Nan, Nat).
_WORDS: Final = {
    word: cause
    for words, cause in (
        ("nan NaN NAN NaT NA", "a data frame's mark for no value"),
        ("NULL Null null NIL nil NONE None none undefined", "an export's mark for no value"),
        ("inf Inf Infinity", "a program's infinity"),
        ("TRUE True true FALSE False false", "a truth value"),
        ("WAHR FALSCH VRAI FAUX VERDADERO FALSO VERO VERDADEIRO WAAR ONWAAR ИСТИНА ЛОЖЬ", "a truth value"),
    )
    for word in words.split()
}
# The same in any case, and with blanks, hyphens and underscores in them.
_NAMES: Final = {
    name: cause
    for names, cause in (
        (
            "total totals grandtotal subtotal totale totalgeneral totalgénéral sum summe gesamt gesamtsumme"
            " gesamtergebnis somme итого всего 合计 总计 小计 合計 総計 小計",
            "what a line of totals begins with",
        ),
        ("fromuserid touserid userid convid groupid", "a column's name, as where files were put together"),
    )
    for name in names.split()
}
_MONTH: Final = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_MONTHS: Final = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mrz|mär|märz|mai|okt|dez|janv|févr|mars|avr|juin|juil|août|sept|déc"
    "|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|fev|out|mrt|mei|янв|фев|мар|апр|май|мая|июн|июл|авг|сен|сент|окт|ноя|дек"
    "|januar|februar|april|juni|juli|august|september|oktober|november|dezember"
)
_SHAPES: Final = (
    (r"-nan|-NaN|N/A|n/a|<NA>|-?1\.#(IND|QNAN|INF)|#NA|#N/A N/A", "a data frame's mark for no value"),
    (
        r"[\[({<](?i:null|nil|none|n/?a|nan|undefined|blank|empty|leer|vide|vuoto|vazio|en blanco|пусто)[\])}>]"
        r"|\\N|[?.\u2013\u2014-]+",
        "an export's mark for no value",
    ),
    (r"[+-](?i:inf|infinity)", "a program's infinity"),
    (
        # Capitals of any script: what is a letter and none of the small ones.
        r"#([^\Wa-zß-ÿа-я_]|[/¡¿])+[!?]|#[^\W\d_]/[^\W\d_]|#(NV|YOK|HIÁNYZIK|GETTING_DATA|#+)|Err:\d{3}"
        r"|Loading(\.\.\.|\u2026)",
        "a spreadsheet's error",
    ),
    (r"=.*", "a spreadsheet's formula"),
    (r"[+-]?\d+[.,]\d+[eE][+-]?\d+|[+-]?\d+[eE][+-]\d+", "a spreadsheet's scientific notation"),
    (r"[+-]?\d+[.,]0*", "a data frame's number with decimals"),
    (r"\d{1,3}([, '\u2019]\d{3})+([.,]\d+)?", "a number in groups of thousands"),
    # Four groups may be an address in a network.
    (r"(?!\d+(\.[12]\d\d){3}$)\d{1,3}(\.\d{3}){2,}(,\d+)?", "a number in groups of thousands"),
    (rf"{_MONTH}-\d\d|\d{{1,2}}(-|/|\. ?| )(?i:{_MONTHS})\.?([- ./]\d\d(\d\d)?)?", "a spreadsheet's date"),
    (r"(\d+[年년] ?)?\d{1,2}[月월]( ?\d{1,2}[日일])?", "a spreadsheet's date"),
    (r"1900-01-0\d|1899-12-3\d|1970-01-01|0000-00-00", "a program's first day, where there was no date"),
    (r"\d{1,4}(?P<a>[/.-])\d{1,2}(?P=a)\d{1,4}[ T]\d\d?:\d\d.*|\d{1,2}/\d{1,2}(/\d{2,4})?", "a date"),
    (r"\d{1,2}\.\d{1,2}\.(19|20)\d\d|(19|20)\d\d(?P<b>[/.])\d{1,2}(?P=b)\d{1,2}", "a date"),
    (r"\d{1,2}:[0-5]\d:[0-5]\d(\.\d+)?( ?[AP]M)?", "a time"),
    (r"\(?\d+ rows?\b.*", "what a database says after its rows"),
    (r"\$\{.*\}|\{\{.*\}\}|%\w|%\(\w+\)\w|%\w+%", "a template that wasn't filled in"),
    (
        r"\[object \w+\]|(ObjectId|UUID|Decimal|Number\w+|Timestamp|ISODate)\(.*\)"
        r"|[\w.]+\((?P<quote>['\"]).*(?P=quote)\)|\(.*,.*\)|\[(.*['\",].*|\d*)\]|\{.*\}|<.+>|System\.(\w+\[\]|Object|DBNull)"
        r"|(\[L?|java\.(lang|util)\.)[\w.$]+;?@[0-9a-f]+",
        "a program's notation",
    ),
    (r"b'.*'|b\".*\"", "Python's notation for bytes"),
    (
        r".*\\(u[0-9a-fA-F]{4}|\\|x[0-9a-fA-F]{2}\\x).*|\\x([0-9a-fA-F]{2})+",
        "a backslash that a program wrote for something else",
    ),
    (rf".*&(apos|{'|'.join(name2codepoint)}|#\d+|#[xX][0-9a-fA-F]+);.*", "an HTML entity"),
)
# One look for all of them: most IDs have none.
_any_shape: Final = re.compile("|".join(pattern for pattern, _ in _SHAPES)).fullmatch


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
        return f"the byte 0x{ord(character) - 0xDC00:02X}, which is not UTF-8. Save the text it comes from as UTF-8"
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
    if len(value) > 4 * MAX_ID_BYTES:  # too long anyhow, and some shapes take the square of a length
        return None
    key = re.sub("[ _-]", "", value).casefold()
    if (cause := _WORDS.get(value) or _NAMES.get(key)) or not _any_shape(value):
        return cause
    return next(cause for pattern, cause in _SHAPES if re.fullmatch(pattern, value))


def _find_second_encoding(value: str) -> str | None:
    """Find UTF-8 that was taken for Windows' Latin-1 on the way."""
    if value.isascii():
        return None
    with contextlib.suppress(ValueError):
        return f"UTF-8 encoded twice; it may have been {value.encode('cp1252').decode()!a}"
    return None
