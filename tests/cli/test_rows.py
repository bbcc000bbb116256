"""Exports as people have them, and what is made of each."""

import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zim_async import ClearPeerMessage, ConvType, DeleteConv, InvalidArgumentError
from zim_async.actions import Action
from zim_async.cli._columns import columns_of, to_row
from zim_async.cli._rows import MAX_PATTERNS, Problem, RowFile, RowReader, open_to_write, write_rows

HEADER = "action,from_user_id,to_user_id,conv_id,conv_type\n"
PEER_ROW = "clear_peer_message,alice,bob,,\n"
GROUP_ROW = "delete_conv,alice,,g7,group\n"
ROWS = HEADER + PEER_ROW + GROUP_ROW
PEER: Action = ClearPeerMessage("alice", "bob")
GROUP: Action = DeleteConv("alice", "g7", ConvType.GROUP)
PEER_LINE = '{"action": "clear_peer_message", "from_user_id": "alice", "to_user_id": "bob"}\n'
GROUP_LINE = '{"action": "delete_conv", "from_user_id": "alice", "conv_id": "g7", "conv_type": 2}\n'
LINES = PEER_LINE + GROUP_LINE
TABS = ROWS.replace(",", "\t")
SEMICOLONS = ROWS.replace(",", ";")

Write = Callable[[str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> str:
        path = tmp_path / "rows"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))
        return str(path)

    return write


def read(name: str, **options: Any) -> tuple[list[Action], list[Problem]]:
    problems: list[Problem] = []
    with RowFile(name, RowReader(**options)) as file:
        return list(file.actions(problems.append)), problems


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ROWS, id="csv"),
        pytest.param(LINES, id="json lines"),
        pytest.param(ROWS.replace("\n", "\r\n"), id="carriage returns and newlines"),
        pytest.param(ROWS.replace("\n", "\r"), id="carriage returns alone"),
        pytest.param(ROWS.rstrip(), id="no newline at the end"),
        pytest.param("\ufeff" + ROWS, id="a byte order mark"),
        pytest.param("\ufeff\ufeff" + ROWS, id="two byte order marks"),
        pytest.param("\ufeff \n" + LINES, id="a byte order mark before json lines"),
        pytest.param("\n  \n\n" + ROWS, id="blank lines before the header"),
        pytest.param("\r\n" + ROWS.replace("\n", "\r\n"), id="a blank line of another system"),
        pytest.param(",,,,\n;;;;\n" + ROWS, id="rows of nothing but separators before the header"),
        pytest.param("\t" + TABS.replace("\n", "\n0\t")[:-2], id="a data frame's index, with tabs"),
        pytest.param(SEMICOLONS, id="semicolons"),
        pytest.param(TABS, id="tabs"),
        pytest.param(ROWS.replace(",", "|"), id="vertical bars"),
        pytest.param("sep=;\n" + SEMICOLONS, id="a spreadsheet's sep line"),
        pytest.param('"sep=;"\r\n' + SEMICOLONS, id="a quoted sep line"),
        pytest.param("sep=;;;;;\n" + SEMICOLONS, id="a sep line that was saved again"),
        pytest.param('"sep=;",,,,\r\n' + SEMICOLONS, id="a sep line that was saved again, with commas"),
        pytest.param("sep=^\n" + ROWS.replace(",", "^"), id="a sep line with an unusual separator"),
        pytest.param("\ufeffSEP=,\n" + ROWS, id="a sep line after a byte order mark"),
        pytest.param(TABS.encode("utf-16"), id="a spreadsheet's unicode text"),
        pytest.param(b"\xfe\xff" + ROWS.encode("utf-16-be"), id="utf-16, the other way round"),
        pytest.param(ROWS.encode("utf-32"), id="utf-32"),
        pytest.param(LINES.encode("utf-16"), id="json lines in utf-16"),
        pytest.param(gzip.compress(ROWS.encode()), id="gzipped"),
        pytest.param(gzip.compress(LINES.encode()), id="json lines, gzipped"),
        pytest.param(gzip.compress(ROWS.encode()[:60]) + gzip.compress(ROWS.encode()[60:]), id="gzipped in two parts"),
        pytest.param(gzip.compress(ROWS.encode("utf-16")), id="utf-16, gzipped"),
        pytest.param(ROWS.replace(HEADER, HEADER.upper()), id="a header in capitals"),
        pytest.param(ROWS.replace(HEADER, "Action,FromUserId,ToUserId,ConvId,ConvType\n"), id="the vendor's columns"),
        pytest.param(ROWS.replace(HEADER, "Action,From User ID,to-user-id,convId,CONV_TYPE\n"), id="other spellings"),
        pytest.param(
            ROWS.replace("clear_peer_message", "ClearPeerMessage").replace("delete_conv", "DeleteConv"),
            id="the vendor's actions",
        ),
        pytest.param(
            ROWS.replace("clear_peer_message", "CLEAR_PEER_MESSAGE").replace("group", "Group"), id="values in capitals"
        ),
        pytest.param(ROWS.replace("group", "2"), id="a type by its number"),
        pytest.param(ROWS.replace(",", ", "), id="a blank after each separator"),
        pytest.param(HEADER.replace(",", " , ") + PEER_ROW + GROUP_ROW, id="blanks around the header's names"),
        pytest.param('"' + ROWS.replace(",", '","').replace("\n", '"\n"')[:-1], id="everything quoted"),
        pytest.param(
            ('"' + ROWS.replace(",", '", "').replace("\n", '"\n"')[:-1]), id="everything quoted, blanks between"
        ),
        pytest.param(ROWS.replace("\n", ",,\n"), id="empty columns at the end"),
        pytest.param(HEADER + PEER_ROW.replace("\n", ",,\n") + GROUP_ROW, id="empty fields beyond the header"),
        pytest.param(ROWS + ",,,,\n\n;;\n ,  ,\n".replace(";;", ",,"), id="rows of nothing but separators"),
        pytest.param(HEADER + "clear_peer_message,alice,bob\ndelete_conv,alice,,g7,group\n", id="short rows"),
        pytest.param(
            ",action,from_user_id,to_user_id,conv_id,conv_type\n"
            "0,clear_peer_message,alice,bob,,\n1,delete_conv,alice,,g7,group\n",
            id="a data frame's index",
        ),
        pytest.param(
            "action,from_user_id,to_user_id,conv_id,conv_type,nickname,seen\n"
            "clear_peer_message,alice,bob,,,Ali,2024\ndelete_conv,alice,,g7,group,,\n",
            id="columns of other programs",
        ),
        pytest.param(
            b"action,from_user_id,to_user_id,conv_id,conv_type,nickname\n"
            b"clear_peer_message,alice,bob,,,J\xf6rg\ndelete_conv,alice,,g7,group,\n",
            id="another program's column in Latin-1",
        ),
        pytest.param(
            "note,action,from_user_id,to_user_id,conv_id,conv_type\n"
            '"two\nlines",clear_peer_message,alice,bob,,\n,delete_conv,alice,,g7,group\n',
            id="another program's column over several lines",
        ),
        pytest.param(
            "from_user_id,conv_type,action,conv_id,to_user_id\n"
            "alice,,clear_peer_message,,bob\nalice,group,delete_conv,g7,\n",
            id="columns in another order",
        ),
        pytest.param(f"[{PEER_LINE.strip()}, {GROUP_LINE.strip()}]", id="a json array"),
        pytest.param(json.dumps([json.loads(PEER_LINE), json.loads(GROUP_LINE)], indent=2), id="a pretty json array"),
        pytest.param("\ufeff\n[\n" + PEER_LINE + "," + GROUP_LINE + "]\n\n", id="a json array with a line for each"),
        pytest.param(PEER_LINE + "\ufeff" + GROUP_LINE, id="json lines put together, each with a byte order mark"),
        pytest.param("\x1e" + PEER_LINE + "\x1e" + GROUP_LINE, id="a json text sequence"),
        pytest.param(PEER_LINE + "\n\r\n" + GROUP_LINE, id="blank lines between json lines"),
        pytest.param(
            PEER_LINE.replace("}", ', "conv_id": null, "conv_type": "", "tags": {"a": [1]}}') + GROUP_LINE,
            id="json with nulls and other programs' keys",
        ),
        pytest.param(
            '{"Action": "ClearPeerMessage", "FromUserId": "alice", "ToUserId": "bob"}\n'
            '{"Action": "DeleteConv", "FromUserId": "alice", "ConvId": "g7", "ConvType": 2}\n',
            id="json as the vendor spells it",
        ),
    ],
)
def test_exports_that_are_taken(write: Write, content: str | bytes) -> None:
    assert read(write(content)) == ([PEER, GROUP], [])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", ["is empty"], id="empty"),
        pytest.param("\ufeff \n\n", ["is empty"], id="nothing but blanks"),
        pytest.param("sep=;\n", ["ends before its header"], id="nothing but a sep line"),
        pytest.param("# exported\n" + ROWS, ["line 1", "'# exported'", "comment"], id="a comment before the header"),
        pytest.param("Report of May\n\n" + ROWS, ["line 1", "'Report of May'", "lacks action"], id="a title"),
        pytest.param(PEER_ROW + GROUP_ROW, ["line 1", "a row already", PEER_ROW.strip()], id="no header"),
        pytest.param(
            "from_user_id,to_user_id\nalice,bob\n", ["lacks action", "--action"], id="no column for the action"
        ),
        pytest.param(
            "action,from_user_id,to_user_id,to_user_id\n", ["named twice", "to_user_id"], id="a column named twice"
        ),
        pytest.param(
            "action,from_user_id,to_user_id,toUserId\n",
            ["'to_user_id' and 'toUserId'", "which one is meant"],
            id="a column in two spellings",
        ),
        pytest.param("action from_user_id to_user_id\n", ["separated by comma"], id="blanks as separators"),
        pytest.param(
            '"action,from_user_id,to_user_id"\n', ["One pair of quotes holds all names"], id="one pair of quotes"
        ),
        pytest.param("clear_peer_message\talice\tbob\n", ["a row already"], id="no header, with tabs"),
        pytest.param("action:from_user_id:to_user_id\n", ["separated by comma"], id="colons as separators"),
        pytest.param("'action','from_user_id','to_user_id'\n", ["without these quotes"], id="single quotes"),
        pytest.param("\u201caction\u201d,\u201cfrom_user_id\u201d\n", ["without these quotes"], id="curly quotes"),
        pytest.param('"action"s,from_user_id\n', ["line 1", "lacks"], id="text after a quote in the header"),
        pytest.param('"action,from_user_id\n' + PEER_ROW, ["line 1", "lacks"], id="an open quote in the header"),
        pytest.param("+--------+---------+\n| action |\n", ["drawn for the eye"], id="a database's drawn table"),
        pytest.param(ROWS.encode("utf-16-le"), ["UTF-16 without a byte order mark"], id="utf-16 without its mark"),
        pytest.param(ROWS.encode("utf-16")[:-1], ["line 3: cut off or damaged"], id="utf-16, cut off"),
        pytest.param(b"PK\x03\x04" + bytes(60), ["workbook (xlsx", "CSV UTF-8"], id="xlsx"),
        pytest.param(b"\xd0\xcf\x11\xe0" + bytes(60), ["workbook (xls)"], id="xls"),
        pytest.param(gzip.compress(gzip.compress(ROWS.encode())), ["gzipped twice"], id="gzipped twice"),
        pytest.param(b"BZh91AY", ["bzip2"], id="bzip2"),
        pytest.param(b"SQLite format 3\x00", ["journal"], id="a journal"),
        pytest.param("<!DOCTYPE html><html>", ["HTML"], id="html"),
        pytest.param(gzip.compress(ROWS.encode())[:-12], ["can't be read"], id="gzip, cut off"),
        pytest.param(gzip.compress(ROWS.encode())[:-8] + bytes(8), ["can't be read"], id="gzip, damaged"),
        pytest.param(HEADER + "a" * 2**20, ["line 2", "longer than"], id="a line without an end"),
        pytest.param(
            "\n" + json.dumps(json.loads(PEER_LINE), indent=2), ["line 2", "one object a line"], id="a pretty object"
        ),
        pytest.param(
            "[" + PEER_LINE + PEER_LINE + "]", ["line 2", "no comma", "but '{"], id="a json array without commas"
        ),
        pytest.param("[\n\n" + PEER_LINE + ",", ["line 4", "ends before the array does"], id="a json array, cut off"),
        pytest.param("[\n" + PEER_LINE, ["line 3", "ends before the array does"], id="a json array without its end"),
        pytest.param('[{"action": "clear_pe', ["line 1", "ends before the array does"], id="a json object, cut off"),
        pytest.param("[]\n" + PEER_LINE, ["line 2", "something follows", '{"action"'], id="json lines after an array"),
        pytest.param("[]\n[1]\n", ["line 2", "something follows the array: '[1]"], id="two arrays"),
        pytest.param(
            '[{"a": ' + "9" * 5_000 + "}]", ["line 1", "more than 4300 digits"], id="a json array's long number"
        ),
        pytest.param('{"action":"x","to_us', ["line 1", "one object a line", "cut off"], id="one line, cut off"),
        pytest.param("sep=\r\n" + ROWS, ["line 1", "sep= names no separator"], id="a sep line that names none"),
        pytest.param('\nsep="\n' + ROWS, ["line 2", "sep= names no separator"], id="a sep line with a quote"),
        pytest.param("[" * 100_000, ["line 1", "nested too deep"], id="json without a bottom"),
    ],
)
def test_files_that_hold_no_rows_say_what_they_are(write: Write, content: str | bytes, says: list[str]) -> None:
    name = write(content)
    with pytest.raises(InvalidArgumentError) as caught:
        read(name)
    message = str(caught.value)
    assert message.startswith(name)
    assert [text for text in says if text not in message] == [], message


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("fly,alice,bob,,", ["action must be clear_peer_message or delete_conv", "not 'fly'"]),
        (",alice,bob,,", ["action is missing"]),
        (HEADER.strip(), ["the header once more"]),
        ("clear_peer_message,,bob,,", ["from_user_id is missing"]),
        ("clear_peer_message,alice", ["to_user_id is missing"]),
        ("clear_peer_message,alice,1.0,g7,", ["conv_id doesn't belong"]),
        ("clear_peer_message,alice,bob,g7,", ["conv_id doesn't belong to clear_peer_message", "'g7'"]),
        ("delete_conv,alice,bob,g7,group", ["to_user_id doesn't belong to delete_conv"]),
        ("delete_conv,alice,NULL,g7,group", ["to_user_id doesn't belong to delete_conv", "'NULL'"]),
        ("delete_conv,alice,,g7,", ["conv_type is missing"]),
        ("delete_conv,alice,,g7,1", ["conv_type must be peer (0) or group (2)", "not '1'"]),
        ("delete_conv,alice,,g7,2.0", ["conv_type must be", "'2.0'", "data frame"]),
        (f"delete_conv,alice,,g7,{'9' * 5_000}", ["conv_type must be", "999..."]),
        ("delete_conv,alice,,g7,single", ["conv_type must be", "'single'"]),
        (f"delete_conv,alice,,{'x' * 33},2", ["conv_id has 33 bytes in UTF-8"]),
        (f"delete_conv,alice,,{'ж' * 17},2", ["conv_id has 34 bytes in UTF-8"]),
        ("delete_conv,alice,,g7,group,more", ["more fields than the header has"]),
        ('delete_conv,"alice"s,,g7,group', ["text after a closing quote"]),
        ("delete_conv,\udce4lice,,g7,group", ["from_user_id has", "not UTF-8"]),
        ("clear_peer_message,alice,'00123,,", ["to_user_id has a quote or apostrophe", "'00123"]),
        ("clear_peer_message,alice,bob ,,", ["to_user_id has a blank at an end", "'bob '"]),
        ("clear_peer_message, alice,bob,,", ["from_user_id has a blank at an end"]),
        ("clear_peer_message,alice,1.23457E+17,,", ["to_user_id has a spreadsheet's scientific notation"]),
    ],
)
def test_bad_rows_of_a_csv_are_told_by_line_and_the_rest_is_read(write: Write, row: str, says: list[str]) -> None:
    name = write(f"{HEADER}{PEER_ROW}{row}\n{GROUP_ROW}")
    found, problems = read(name)
    assert found == [PEER, GROUP]
    assert [problem.text.startswith(f"{name}, line 3: ") for problem in problems] == [True]
    assert [text for text in says if text not in problems[0].text] == [], problems[0].text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", ["doesn't end in its line"]),
        (PEER_LINE.strip()[:-9], ["doesn't end in its line"]),
        (PEER_LINE.strip() * 2, ["another object follows", "one object a line"]),
        (PEER_LINE.strip() + ",", ["a comma follows", "take it out"]),
        (PEER_LINE.strip() + "]", ["something follows the object: ']'"]),
        ("{'action': 1}", ["no JSON (Expecting property name", "column 2: "]),
        ("[1]", ["no JSON object: an array"]),
        ("7", ["no JSON object: '7'"]),
        ("[" * 900 + "]" * 900, ["no JSON object: an array"]),
        ("[" * 970 + "]" * 970, ["line 2: "]),
        ("[" * 100_000, ["nested too deep"]),
        ('{"x": ' + "9" * 5_000 + "}", ["a number of more than 4300 digits"]),
        (PEER_LINE.strip()[:-1] + ', "conv_id": ' + "[" * 985 + "]" * 985 + "}", ["conv_id"]),
        ('{"my-data": [{"action": 1}]}', ["""jq -c '.["my-data"][]'"""]),
        ('{"a\\u001b": [{"action": 1}]}', ["rows stand inside 'a\\x1b': take them out, one a line"]),
        ('{"action": "clear_peer_message", "from": "a", "to": "b"}', ["is missing; the keys are 'action, from, to'"]),
        ('{"action": "clear_peer_message", "from_usr_id": "a", "to_user_id": "b"}', ["--map from_usr_id=from_user_id"]),
        *(
            (f'{{"action": {value}, "from_user_id": "a", "to_user_id": "b"}}', ["action must be", value])
            for value in ("0", "false", "[]", "{}", '["delete_conv"]')
        ),
        ('{"action": null, "from_user_id": "a", "to_user_id": "b"}', ["action is missing"]),
        (PEER_LINE.strip().replace('"alice"', '{"x": 1, "x": 2}'), ["a key", "twice, 'x'"]),
        (PEER_LINE.strip().replace("alice", "M\udcfcller"), ["from_user_id has the byte 0xFC", "as UTF-8"]),
        ('{"data": [{"action": "delete_conv"}]}', ["action is missing", "'data'", "jq -c '.data[]'"]),
        ('{"action": "delete_conv", "from_user_id": 7, "conv_id": "g7", "conv_type": 2}', ["a str, not int 7"]),
        ('{"action": "delete_conv", "from_user_id": "a", "conv_id": "g", "conv_type": true}', ["not True"]),
        ('{"action": "delete_conv", "from_user_id": "a", "conv_id": "g", "conv_type": 2.0}', ["not 2.0", "data frame"]),
        ('{"action": "delete_conv", "action": "delete_conv", "from_user_id": "a"}', ["a key", "twice", "'action'"]),
        (PEER_LINE.strip()[:-1] + ', "toUserId": "bob"}', ["'to_user_id' and 'toUserId'", "which one is meant"]),
        (PEER_LINE.strip().replace("bob", "bo\u2028b"), ["to_user_id", "invisible", "U+2028 LINE SEPARATOR"]),
        (PEER_LINE.strip().replace("bob", "bo\\ud800b"), ["to_user_id", "invisible"]),
    ],
)
def test_bad_json_lines_are_told_by_line_and_the_rest_is_read(write: Write, line: str, says: list[str]) -> None:
    name = write(f"{PEER_LINE}{line}\n{GROUP_LINE}")
    found, problems = read(name)
    assert found == [PEER, GROUP]
    assert [problem.text.startswith(f"{name}, line 2: ") for problem in problems] == [True]
    assert [text for text in says if text not in problems[0].text] == [], problems[0].text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("\n\nto_user_id\n", ["line 3", "lacks from_user_id", "'to_user_id'"]),
        ("from_user,to_user_id\n", ["lacks from_user_id", "--map from_user=from_user_id"]),
        (b"nom d\xe9j\xe0,x\n", ["UTF-8", "lacks from_user_id, to_user_id"]),
    ],
)
def test_a_header_is_held_against_the_action_that_was_stated(
    write: Write, content: str | bytes, says: list[str]
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(write(content), fixed={"action": "clear_peer_message"})
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize(
    "header", ["from_user_\x7fid,to_user_id\n", "some_user_id,note\n", "user\ufeff_id,to_user_id\n"]
)
def test_no_name_is_suggested_that_cant_be_typed_or_is_meant_twice(write: Write, header: str) -> None:
    with pytest.raises(InvalidArgumentError, match="lacks from_user_id") as caught:
        read(write(header), fixed={"action": "clear_peer_message"})
    assert "--map" not in str(caught.value)


def lines_of(problems: list[Problem]) -> list[str]:
    return [problem.text.partition(", line ")[2] for problem in problems]


def test_an_open_quote_costs_its_own_line_and_no_other(write: Write) -> None:
    found, problems = read(write(HEADER + 'clear_peer_message,alice,"bob,,\n' + 3_000 * (PEER_ROW + GROUP_ROW)))
    assert lines_of(problems) == ["2: a quote is opened and not closed in its line"]
    assert len(found) == 6_000


def test_an_open_quote_that_another_one_closes_costs_both_lines(write: Write) -> None:
    opened, closed = 'clear_peer_message,alice,"bob,,\n', 'clear_peer_message,alice,bob",,\n'
    found, problems = read(write(HEADER + opened + 40 * PEER_ROW + closed + GROUP_ROW))
    assert lines_of(problems)[0].startswith("2: a newline in to_user_id")
    assert lines_of(problems)[1].startswith("43: to_user_id has a quote")
    assert len(found) == 41


@pytest.mark.parametrize(
    ("rows", "line", "found"),
    [
        ('A,a1,b1,5" disk\nA,a2,b2,"5\nA,a3,b3,x\nA,a4,b4,6"\nA,a5,b5,\n', 3, "a1 a3 a4 a5"),
        ('A,a2,b2,"5\nA,a4,b4,6"\nA,a5,b5,\n', 2, "a4 a5"),
    ],
)
def test_rows_inside_a_cell_are_never_swallowed(write: Write, rows: str, line: int, found: str) -> None:
    text = "action,from_user_id,to_user_id,note\n" + rows.replace("A,", "clear_peer_message,")
    actions, problems = read(write(text))
    assert [text.partition(":")[0] for text in lines_of(problems)] == [str(line)]
    assert "quote" in problems[0].text
    assert [action.from_user_id for action in actions if isinstance(action, ClearPeerMessage)] == found.split()


def test_rows_of_another_action_inside_a_cell_are_never_swallowed(write: Write) -> None:
    rows = (
        'clear_peer_message,alice,bob,,,"5\n' + "delete_conv,alice,,g7,group,x\n" + 'delete_conv,alice,,g7,group,6"\n'
    )
    found, problems = read(write(HEADER.replace("\n", ",note\n") + rows))
    assert [text.partition(":")[0] for text in lines_of(problems)] == ["2"]
    assert found == [GROUP, GROUP]


def test_prose_inside_a_cell_is_taken(write: Write) -> None:
    text = 'from_user_id,to_user_id,note\nalice,bob,"Dear Bob, dear Alice, hello\nwell, then, bye\n1,2"\n'
    assert read(write(text), fixed={"action": "clear_peer_message"}) == ([PEER], [])


def test_rows_inside_a_first_cell_are_never_swallowed(write: Write) -> None:
    row = "clear_peer_message,alice,bob\n"
    text = "note,action,from_user_id,to_user_id\n" + f'"5,{row}6",{row}7,{row}"two, or\nthree",{row}'
    found, problems = read(write(text))
    assert [text.partition(":")[0] for text in lines_of(problems)] == ["2"]
    assert found == [PEER, PEER, PEER]


@pytest.mark.parametrize("literal_ids", [False, True])
def test_a_header_in_the_middle_is_no_row(write: Write, literal_ids: bool) -> None:
    found, problems = read(
        write("me,friend\nalice,bob\nme,friend\nalice,bob\n"),
        renames=["me=from_user_id,friend=to_user_id"],
        fixed={"action": "clear_peer_message"},
        literal_ids=literal_ids,
    )
    assert lines_of(problems) == ["3: the header once more, as where files were put together"]
    assert found == [PEER, PEER]


@pytest.mark.parametrize("again", ["from_user_id,to_user_id", "FromUserId,ToUserId", "to_user_id,from_user_id"])
def test_a_header_in_the_middle_is_no_row_whatever_its_spelling(write: Write, again: str) -> None:
    text = f"from_user_id,to_user_id\nalice,bob\n{again}\nalice,bob\n"
    found, problems = read(write(text), fixed={"action": "clear_peer_message"})
    assert len(problems) == 1
    assert "line 3: " in problems[0].text
    assert "where files were put together" in problems[0].text
    assert found == [PEER, PEER]


def test_a_line_of_totals_is_no_row(write: Write) -> None:
    text = "from_user_id,to_user_id,n\nalice,bob,3\nTotal,1,3\n"
    found, problems = read(write(text), fixed={"action": "clear_peer_message"})
    assert lines_of(problems) == ["3: from_user_id has what a line of totals begins with: 'Total'"]
    assert found == [PEER]


@pytest.mark.parametrize("rows", ['"1","alice","bob",""\n', "alice,bob,x,\n", "1,alice,bob,,\n"])
def test_rows_longer_than_their_header_may_be_shifted(write: Write, rows: str) -> None:
    found, problems = read(write('"from_user_id","to_user_id","note"\n' + rows), fixed={"action": "clear_peer_message"})
    assert found == []
    assert [text.partition(",")[0] for text in lines_of(problems)] == ["2: more fields than the header has"]


def test_separators_at_the_end_of_the_header_and_of_rows(write: Write) -> None:
    text = "from_user_id,to_user_id,\nalice,bob,\nalice,bob\n"
    assert read(write(text), fixed={"action": "clear_peer_message"}) == ([PEER, PEER], [])


def test_a_newline_inside_an_id_is_told_at_its_first_line(write: Write) -> None:
    found, problems = read(write(HEADER + 'clear_peer_message,alice,"bob\n",,\n' + GROUP_ROW))
    assert lines_of(problems)[0] == "2: a newline in to_user_id, or a quote that isn't closed: 'bob\\n'"
    assert found == [GROUP]


def test_a_bad_row_over_several_lines_is_told_by_its_first_and_counted_in_lines(write: Write) -> None:
    text = (
        'action,from_user_id,to_user_id,note\nclear_peer_message,alice,,"two\nlines\nof"\nclear_peer_message,alice,,\n'
    )
    _, problems = read(write(text))
    assert lines_of(problems) == ["2: to_user_id is missing", "5: to_user_id is missing"]
    assert [problem.lines for problem in problems] == [3, 1]


def test_a_field_that_is_too_long_is_told_by_its_line(write: Write) -> None:
    found, problems = read(write(HEADER + f'clear_peer_message,alice,"{"x" * 140_000}",,\n' + GROUP_ROW))
    assert lines_of(problems) == ["2: a field longer than 131072 characters"]
    assert found == [GROUP]


def test_lines_are_counted_as_an_editor_does(write: Write) -> None:
    _, problems = read(write("\n\nsep=,\n\n" + HEADER + "\n" + PEER_ROW + "fly,alice,bob,,\n"))
    assert lines_of(problems)[0].startswith("8: ")
    _, problems = read(write('[\n\n{"action":\n"fly"},\n\n{"action": "fly"}]'))
    assert [text.partition(":")[0] for text in lines_of(problems)] == ["3", "6"]
    assert [problem.lines for problem in problems] == [2, 1]


def test_bad_rows_are_known_by_cause(write: Write) -> None:
    _, problems = read(write(HEADER + "fly,alice,bob,,\nrun,alice,bob,,\n,alice,bob,,\n"))
    assert problems[0].cause == problems[1].cause != problems[2].cause


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_of_a_json_array_are_counted_whatever_ends_them(write: Write, newline: str) -> None:
    text = newline + "[" + newline + PEER_LINE.strip() + "," + newline + newline + '{"action": "fly"}' + newline + "]"
    _, problems = read(write(text))
    assert [text.partition(":")[0] for text in lines_of(problems)] == ["5"]


def test_a_bad_object_of_an_array_costs_no_other(write: Write) -> None:
    text = "[" + PEER_LINE.replace("alice", "a").replace('"a"', '{"x": 1, "x": 2}') + "," + PEER_LINE + "]"
    found, problems = read(write(text))
    assert lines_of(problems) == ["1: a key that stands in an object twice, 'x'"]
    assert found == [PEER]


def test_names_of_map_that_an_object_lacks(write: Write) -> None:
    options = {
        "renames": ["me=from_user_id,friend=to_user_id,room=conv_id"],
        "fixed": {"action": "clear_peer_message"},
    }
    text = '{"me": "alice", "friend": "bob"}\n{"from_user_id": "alice", "to_user_id": "bob"}\n'
    found, problems = read(write(text), **options)
    assert found == [PEER]
    assert lines_of(problems) == [
        "2: it lacks 'friend', 'me', of which --map speaks; the keys are 'from_user_id, to_user_id'"
    ]


def test_spellings_of_an_action_are_kept_up_to_a_bound(write: Write) -> None:
    reader = RowReader()
    spellings = [f"clear{'_' * count}peer message" for count in range(MAX_PATTERNS + 10)]
    for spelling in spellings:
        assert reader.to_action((("action", "from_user_id", "to_user_id"), [spelling, "alice", "bob"])) == PEER
    assert len(reader._patterns) == MAX_PATTERNS


@pytest.mark.parametrize("size", [1, 2, 3, 1_000, 65_536])
def test_a_json_array_may_be_cut_into_chunks_anywhere(write: Write, size: int) -> None:
    filler = '{"action": "clear_peer_message", "from_user_id": "alice", "to_user_id": "%s"}' % ("ä" * 16)
    text = "[" + " " * (65_536 - size) + ", ".join([filler, *[PEER_LINE] * 3_000, GROUP_LINE]) + "]"
    found, problems = read(write(text))
    assert len(found) == 3_002
    assert problems == []


def test_literal_ids_may_look_like_anything(write: Write) -> None:
    odd = ["1.0", "nan", "'x'", " x ", "1E+5", '="7"', "\u200bx", "#N/A"]
    lines = [{"action": "clear_peer_message", "from_user_id": "alice", "to_user_id": value} for value in odd]
    found, problems = read(write("".join(json.dumps(line) + "\n" for line in lines)), literal_ids=True)
    assert [action.to_user_id for action in found if isinstance(action, ClearPeerMessage)] == odd
    assert problems == []


def test_literal_ids_may_not_be_longer_than_the_server_takes(write: Write) -> None:
    _, problems = read(write(HEADER + f"clear_peer_message,alice,{'ж' * 17},,\n"), literal_ids=True)
    assert "34 bytes" in problems[0].text


@pytest.mark.parametrize(
    "content",
    [
        "user_id,peer_id\nalice,g7\n",
        "peer_id;name;user_id\ng7;x;alice\n",
        " USER_ID , peer_id\nalice,g7\n".replace(" USER_ID ", "user_id"),
        '{"user_id": "alice", "peer_id": "g7"}\n',
    ],
)
def test_other_names_and_no_action(write: Write, content: str) -> None:
    fixed = {"action": "DeleteConv", "conv_type": "group"}
    found, problems = read(write(content), renames=["user_id=from_user_id,peer_id=conv_id"], fixed=fixed)
    assert (found, problems) == ([GROUP], [])


def test_a_type_for_all_rows_is_for_those_that_have_one(write: Write) -> None:
    text = "action,from_user_id,to_user_id,conv_id\nclear_peer_message,alice,bob,\ndelete_conv,alice,,g7\n"
    assert read(write(text), fixed={"conv_type": "2"}) == ([PEER, GROUP], [])


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (ROWS, {"fixed": {"action": "delete_conv"}}, "action is a column already"),
        (ROWS, {"fixed": {"conv_type": "group"}}, "conv_type is a column already"),
        ("a,b\n", {"renames": ["a=from_user_id", "c=conv_id"], "fixed": {"action": "delete_conv"}}, "lacks conv_id"),
        (ROWS, {"renames": ["user=nickname"]}, "--map takes NAME=COLUMN"),
        (ROWS, {"renames": ["from_user_id"]}, "--map takes NAME=COLUMN"),
        (ROWS, {"renames": ["a=conv_id,a=to_user_id"]}, "twice"),
        (ROWS, {"renames": ["a=conv_id", "b=conv_id"]}, "twice"),
        (ROWS, {"renames": ["nick=conv_id"]}, "'nick'"),
        (ROWS, {"fixed": {"action": "fly"}}, "--action must be one of"),
        (ROWS, {"fixed": {"conv_type": "room"}}, "conv_type must be peer"),
        (ROWS, {"fixed": {"action": "clear_peer_message", "conv_type": "group"}}, "doesn't belong"),
        (
            "x,from_user_id,conv_id\n",
            {"renames": ["x=conv_id"], "fixed": {"action": "DeleteConv", "conv_type": "0"}},
            "named twice",
        ),
    ],
)
def test_names_that_dont_fit_are_refused(write: Write, content: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        read(write(content), **options)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="No such file"):
        read(str(tmp_path / "rows.csv"))


def test_standard_input(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(write(gzip.compress(ROWS.encode()))) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read("-") == ([PEER, GROUP], [])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidArgumentError, match="standard input can't be read: it is closed"):
        read("-")


def test_a_pipe_that_begins_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"\n")
    with open(reading) as file:
        monkeypatch.setattr(sys, "stdin", file)
        os.write(writing, LINES.encode())
        os.close(writing)
        assert read("-") == ([PEER, GROUP], [])


@dataclass(frozen=True, slots=True)
class MuteRoom(Action):
    name = "MuteRoom"
    idempotent = True

    room_id: str


@dataclass(frozen=True)
class TagUsers(Action):
    name = "TagUsers"
    idempotent = True

    user_ids: tuple[str, ...]
    level: int = 1
    remark: str = ""
    by_user_id: str | None = None


OWN: list[Action] = [MuteRoom("r1"), TagUsers(("alice", "bob"), 7, "any text, 'quoted'\nover lines", "carol"), GROUP]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_actions_of_the_programs_own_are_written_and_read(tmp_path: Path, form: Any) -> None:
    reader = RowReader()
    columns = columns_of(reader.shapes[name] for name in ("muteroom", "tagusers", "deleteconv"))
    path = tmp_path / "rows"
    with open_to_write(path) as file:
        write_rows(file, form, map(to_row, OWN), columns)
    assert read(str(path)) == (OWN, [])


def test_own_values_that_are_no_json_are_bad_rows(write: Write) -> None:
    _, problems = read(write("action,user_ids\ntag_users,[alice\n"))
    assert lines_of(problems) == ["2: user_ids must be JSON, not '[alice'"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[" * 3_000, "user_ids has JSON that is nested too deep"),
        ("9" * 5_000, "user_ids has a number of more than 4300 digits"),
        ('{"alice": 1, "alice": 2}', "user_ids has a key that stands in an object twice"),
        ('["alice"] x', "user_ids must be JSON"),
    ],
)
def test_own_values_that_cant_be_taken_are_bad_rows(write: Write, value: str, says: str) -> None:
    _, problems = read(write(f"action;user_ids\ntag_users;{value}\n"))
    assert says in problems[0].text


def test_own_values_with_a_key_twice_are_bad_rows(write: Write) -> None:
    found, problems = read(write('{"action": "tag_users", "user_ids": {"alice": 1, "alice": 2}}\n'))
    assert found == []
    assert "a key that stands in an object twice" in problems[0].text


ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
actions = st.builds(ClearPeerMessage, ids, ids) | st.builds(DeleteConv, ids, ids, st.sampled_from(ConvType))


@given(st.lists(actions, min_size=1), st.sampled_from(["csv", "jsonl"]))
def test_rows_written_can_be_read(tmp_path_factory: pytest.TempPathFactory, written: list[Action], form: Any) -> None:
    reader = RowReader()
    columns = columns_of(reader.shapes[name] for name in ("clearpeermessage", "deleteconv"))
    path = tmp_path_factory.mktemp("rows") / "rows"
    with open_to_write(path) as file:
        write_rows(file, form, map(to_row, written), (*columns, "code"))
    assert read(str(path), literal_ids=True) == (written, [])


def test_a_file_named_so_is_written_gzipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with open_to_write(path) as file:
        write_rows(
            file, "jsonl", map(to_row, [PEER, GROUP]), ("action", "from_user_id", "to_user_id", "conv_id", "conv_type")
        )
    assert gzip.decompress(path.read_bytes())
    assert read(str(path)) == ([PEER, GROUP], [])


def test_json_lines_leave_out_what_a_row_hasnt_got() -> None:
    file = io.StringIO()
    write_rows(file, "jsonl", [to_row(PEER)], ("action", "from_user_id", "to_user_id", "conv_id"))
    assert json.loads(file.getvalue()) == json.loads(PEER_LINE)


def test_what_an_object_lacks_is_told_by_the_action_that_it_names(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zim_async.actions._defined", {})  # other tests shall know nothing of this one
    make_dataclass("NeedsNothing", [], bases=(Action,), namespace={"name": "NeedsNothing", "idempotent": True})
    problem = read(write('{"action": "clear_peer_message", "from": "a", "to": "b"}\n'))[1][0]
    assert "is missing; the keys are 'action, from, to'" in problem.text
