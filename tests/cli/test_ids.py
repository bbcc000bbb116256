import pytest

from zim_async.cli._ids import find_excess, find_flaw


@pytest.mark.parametrize(
    "value",
    [
        "alice",
        "1001",
        "0",
        "00123",
        "user-7",
        "7a3f",
        "12e5",
        "1e10",
        "5E7",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301"[:32],
        "@RBT#helper",
        "a.b",
        "1.5",
        "192.168.100.200",
        "v1.0",
        "+491234567",
        "alice bob",
        "a+b=c",
        "Nan",
        "Nat",
        "nana",
        "nullx",
        "#alice",
        "may-21",
        "a&b;c",
        "Jörg",
        "李雷",
        "2-3",
        "2024-01-02",
        "[bob]",
        "(alice)",
        "true",
    ],
)
def test_what_ids_may_look_like(value: str) -> None:
    assert find_flaw(value) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "nothing"),
        ("1.23457E+17", "scientific"),
        ("1.23457e17", "scientific"),
        ("1,23457E+17", "scientific"),
        ("1E+17", "scientific"),
        ("12e-5", "scientific"),
        ("-1.5e10", "scientific"),
        ("1001.0", "decimals"),
        ("1001,00", "decimals"),
        ("1001.", "decimals"),
        ("-7.0", "decimals"),
        ("1,234,567", "thousands"),
        ("1 234 567", "thousands"),
        ("nan", "data frame"),
        ("NaN", "data frame"),
        ("NaT", "data frame"),
        ("<NA>", "data frame"),
        ("N/A", "data frame"),
        ("NULL", "no value"),
        ("null", "no value"),
        ("None", "no value"),
        ("(null)", "no value"),
        ("\\N", "no value"),
        ("undefined", "no value"),
        ("#N/A", "error"),
        ("#REF!", "error"),
        ("#VALUE!", "error"),
        ("#DIV/0!", "error"),
        ("#NAME?", "error"),
        ("#WERT!", "error"),
        ("########", "error"),
        ('="00123"', "formula"),
        ("=A1", "formula"),
        ("2-Sep", "date"),
        ("Sep-02", "date"),
        ("01/02/2024", "date"),
        ("2024-01-02 00:00:00", "date"),
        ("TRUE", "truth value"),
        ("[object Object]", "notation"),
        ("ObjectId(5f1)", "notation"),
        ("('alice',)", "notation"),
        ("b'alice'", "bytes"),
        ("a&amp;b", "HTML"),
        ("'00123", "quote"),
        ('"alice"', "quote"),
        ("\u2018alice\u2019", "quote"),
        ("`alice`", "quote"),
        (" alice", "blank"),
        ("alice ", "blank"),
        (" ", "blank"),
        ("alice\u00a0", "U+00A0 NO-BREAK SPACE"),
        ("al\u200bice", "U+200B ZERO WIDTH SPACE"),
        ("\ufeffalice", "U+FEFF"),
        ("al\u2028ice", "U+2028 LINE SEPARATOR"),
        ("al\u00adice", "U+00AD SOFT HYPHEN"),
        ("alice\u202e", "U+202E"),
        ("al\u3164ice", "U+3164 HANGUL FILLER"),
        ("alice\ufe0f", "U+FE0F"),
        ("al\tice", "U+0009"),
        ("alice\x00", "U+0000"),
        ("al\nice", "newline"),
        ("M\udcfcller", "not UTF-8"),
        ("M\ufffdller", "lost a character"),
        ("MÃ¼ller", "encoded twice"),
    ],
)
def test_what_betrays_an_id_that_was_altered(value: str, says: str) -> None:
    assert says in (find_flaw(value) or "")


def test_ids_are_measured_as_the_server_does() -> None:
    assert find_excess("x" * 32) is None
    assert find_excess("ж" * 16) is None
    assert find_excess("ж" * 17) == "34 bytes in UTF-8, where the server takes 32"
    assert find_excess("x" * 33) == "33 bytes in UTF-8, where the server takes 32"
