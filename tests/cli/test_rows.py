import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zim_async import ClearPeerMessage, ConvType, DeleteConv, InvalidArgumentError
from zim_async.actions import Action
from zim_async.cli._rows import COLUMNS, RowFile, open_to_write, to_action, to_row, write_rows

HEADER = "action,from_user_id,to_user_id,conv_id,conv_type\n"
ROWS = HEADER + "clear_peer_message,alice,bob,,\ndelete_conv,alice,,g7,group\nDeleteConv,alice,,bob,0\n"
LINES = (
    '{"action": "ClearPeerMessage", "from_user_id": "alice", "to_user_id": "bob", "conv_id": null}\n\n'
    '{"action": "delete_conv", "from_user_id": "alice", "conv_id": "g7", "conv_type": 2}\n'
    '{"action": "DeleteConv", "from_user_id": "alice", "conv_id": "bob", "conv_type": "peer"}'
)
ACTIONS: list[Action] = [
    ClearPeerMessage("alice", "bob"),
    DeleteConv("alice", "g7", ConvType.GROUP),
    DeleteConv("alice", "bob", ConvType.PEER),
]
ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=32)
actions = st.builds(ClearPeerMessage, ids, ids) | st.builds(DeleteConv, ids, ids, st.sampled_from(ConvType))
Read = Callable[[str], tuple[list[Action], list[str]]]


def read(name: str) -> tuple[list[Action], list[str]]:
    problems: list[str] = []
    with RowFile(name) as file:
        return list(file.actions(problems.append)), problems


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    def write(name: str, text: str | bytes) -> str:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return str(tmp_path / name)

    return write


Write = Callable[[str, str | bytes], str]


@pytest.mark.parametrize("text", [ROWS, LINES, "\ufeff" + ROWS, "\ufeff  \n" + LINES, ROWS.replace("\n", "\r\n")])
def test_both_formats_are_told_by_their_beginning(write: Write, text: str) -> None:
    assert read(write("rows", text)) == (ACTIONS, [])


@pytest.mark.parametrize(("text", "form"), [(ROWS, "csv"), (LINES, "jsonl")])
def test_gzip_by_name_and_the_format_known(write: Write, text: str, form: str) -> None:
    name = write("rows.gz", gzip.compress(text.encode()))
    assert read(name) == (ACTIONS, [])
    with RowFile(name) as file:
        assert file.format == form


def test_standard_input(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(write("rows", ROWS)) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read("-") == (ACTIONS, [])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("fly,alice,bob,,", "action must be clear_peer_message or delete_conv, not 'fly'"),
        (",alice,bob,,", "action must be"),
        ("clear_peer_message,,bob,,", "from_user_id is missing"),
        ("clear_peer_message,alice", "to_user_id is missing"),
        ("clear_peer_message,alice,bob,g7,", "conv_id doesn't belong to clear_peer_message"),
        ("delete_conv,alice,bob,g7,group", "to_user_id doesn't belong to delete_conv"),
        ("delete_conv,alice,,g7,", "conv_type is missing"),
        ("delete_conv,alice,,g7,1", "conv_type must be peer (0) or group (2), not '1'"),
        (f"delete_conv,alice,,{'x' * 33},2", "conv_id must have 1 to 32 characters"),
        ("delete_conv,alice,,g7,group,more", "more fields than the header has"),
        ('delete_conv,"alice"s,,g7,group', "no CSV"),
        ("delete_conv,\udce4lice,,g7,group", "lone surrogates"),
    ],
)
def test_bad_rows_of_a_csv_are_told_by_line_and_the_rest_goes_on(write: Write, row: str, says: str) -> None:
    text = f"{HEADER}clear_peer_message,alice,bob,,\n{row}\ndelete_conv,alice,,g7,group\n"
    name = write("rows.csv", text.encode(errors="surrogateescape"))
    found, problems = read(name)
    assert found == ACTIONS[:2]
    assert [problem.startswith(f"{name}, line 3: ") and says in problem for problem in problems] == [True]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no JSON"),
        ('{"action": "delete_conv", "from_user_id": 7, "conv_id": "g7", "conv_type": 2}', "must be a str, not int 7"),
        ('{"action": "delete_conv", "from_user_id": "a", "conv_id": "g", "conv_type": true}', "not True"),
        ('{"action": "delete_conv", "from_user_id": "a", "conv_id": "g", "conv_type": 2.0}', "not 2.0"),
        ('{"action": ["delete_conv"], "from_user_id": "a"}', "action must be"),
    ],
)
def test_bad_json_lines_are_told_by_line_and_the_rest_goes_on(write: Write, line: str, says: str) -> None:
    first, _, second, third = LINES.split("\n")
    name = write("rows", f"{first}\n{line}\n{second}\n{third}\n")
    found, problems = read(name)
    assert found == ACTIONS
    assert [problem.startswith(f"{name}, line 2: ") and says in problem for problem in problems] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no-action.csv", b"from_user_id,to_user_id\nalice,bob\n"),
        ("twice.csv", b"action,from_user_id,from_user_id\n"),
        ("quote.csv", b'"action"s,from_user_id\n'),
        ("empty.csv", b""),
        ("cut.csv.gz", gzip.compress(ROWS.encode())[:-12]),
        ("no.csv.gz", b"never gzipped"),
    ],
)
def test_files_that_cant_be_read_to_their_end_are_refused(write: Write, name: str, content: bytes) -> None:
    with pytest.raises(InvalidArgumentError, match="can't be read"):
        read(write(name, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="No such file"):
        read(str(tmp_path / "rows.csv"))


@given(actions)
def test_a_row_says_what_its_action_does(action: Action) -> None:
    assert to_action(to_row(action)) == action


@given(st.lists(actions, min_size=1))
def test_rows_written_can_be_read(written: list[Action]) -> None:
    for form, line in ("csv", csv_rows), ("jsonl", json_rows):
        file = io.StringIO(newline="")
        write_rows(file, form, map(to_row, written), (*COLUMNS, "code"))  # type: ignore[arg-type]
        assert [to_action(row) for row in line(file.getvalue())] == written


def csv_rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def json_rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_a_file_named_so_is_written_gzipped(tmp_path: Path) -> None:
    with open_to_write(tmp_path / "rows.jsonl.gz") as file:
        write_rows(file, "jsonl", map(to_row, ACTIONS), COLUMNS)
    assert read(str(tmp_path / "rows.jsonl.gz")) == (ACTIONS, [])
