import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zim_async import InvalidArgumentError
from zim_async.cli._id_lists import IdList

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str) -> str:
        path = tmp_path / "users"
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write


def read(file: str, *given: str, literal: bool = False, column: str = "user_id") -> list[str]:
    return list(IdList(column, given, file, literal))


@pytest.mark.parametrize(
    "content",
    [
        "alice\nbob\n",
        "alice\r\n\r\nbob",
        "\ufeff\nalice\nbob\n",
        "user_id\nalice\nbob\n",
        "UserId\nalice\nbob\n",
        '"user_id"\n"alice"\n"bob"\n',
        '"User ID"\r\n"alice"\r\n"bob"\r\n',
        '"n","user_id"\n"1","alice"\n"2","bob"\n',
        '"name, in full";"user_id"\n"A, B";"alice"\n"C, D";"bob"\n',
        "name;user_id\nA;alice\nB;bob\n;\n",
        "n, user_id\n1, alice\n2, bob\n",
        "sep=;\nuser_id;n\nalice;1\nbob;2\n",
        "user_id,,\nalice,,\nbob,,\n",
        "from_user_id,name\nalice,A\nbob\n",
        '"user_id","name"\n"alice","A"\n"bob","B"\n',
        '"alice"\n"bob"\n',
    ],
)
def test_one_a_line_or_a_column(write: Write, content: str) -> None:
    assert read(write(content)) == ["alice", "bob"]


@pytest.mark.parametrize("column", ["conv_id", "group_id", "to_user_id"])
def test_conversations_have_several_names(write: Write, column: str) -> None:
    assert read(write(f"n,{column}\n1,boss\n"), column="conv_id") == ["boss"]


@pytest.mark.parametrize("content", ["", "\n", "sep=;\n"])
def test_an_empty_file_is_refused(write: Write, content: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is empty"):
        read(write(content))


def test_a_header_may_have_nothing_below(write: Write) -> None:
    assert read(write("user_id\n")) == []


def test_those_of_the_command_line_come_first(write: Write) -> None:
    ids = IdList("user_id", ("carol",), write("alice\n"), literal=False)
    assert list(ids) == list(ids) == ["carol", "alice"]


def test_standard_input(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(write("alice\n")) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read("-") == ["alice"]


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("alice,bob\n", "one ID a line, or one column named user_id or from_user_id, is needed; found 'alice,bob'"),
        ("user_id,from_user_id\nalice,bob\n", "found 'user_id,from_user_id'"),
        *(
            (f"{name}\nalice\n", f"found '{name}'")
            for name in ("id", "player_id", "playerId", "User Name", "account", "E-Mail", "userid_hash", "conv_id")
        ),
    ],
)
def test_a_header_that_may_be_an_id_is_asked_about(write: Write, content: str, says: str, literal: bool) -> None:
    with pytest.raises(InvalidArgumentError, match=f"line 1: .*{says}.*put a line user_id before it"):
        read(write(content), literal=literal)
    first = content.partition("\n")[0]
    if "," not in first:
        assert first in read(write(f"user_id\n{content}"), literal=True)


@pytest.mark.parametrize("name", ["david", "user-1", "kid", "x7Kp2Id", "madrid", "张三", "_id9"])
def test_a_first_id_is_no_header(write: Write, name: str) -> None:
    assert read(write(f"{name}\nalice\n")) == [name, "alice"]


def test_conversations_in_two_columns_are_asked_about(write: Write) -> None:
    with pytest.raises(InvalidArgumentError, match="one column named conv_id or group_id or to_user_id"):
        read(write("conv_id,group_id\nboss,team\n"), column="conv_id")


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize(
    "content", ['{"user_id":"alice"}\n', '[\n"alice",\n"bob"\n]\n', '["alice","bob"]', '{\n"user_id": "alice"\n}\n']
)
def test_json_is_refused(write: Write, content: str, literal: bool) -> None:
    with pytest.raises(InvalidArgumentError, match=r"line 1: JSON, where one ID a line .*is needed"):
        read(write(content), literal=literal)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("# staff", "a comment's mark"),
        ("// staff", "a comment's mark"),
        ("bob # the boss", "a blank in it"),
        ("- bob", "a blank in it"),
        ("1. bob", "a blank in it"),
        ("bob carol dave", "a blank in it"),
        ("(2 rows)", "what a database says after its rows"),
        ("boss;peer", "a semicolon in it"),
        ("boss|peer", "a | in it"),
        ("boss,peer", "a comma in it"),
        ("bob,", "a comma in it"),
        ("boss\tpeer", "the invisible character"),
        ("{bob", "a bracket of JSON"),
        ("[bob]", "a bracket of JSON"),
        ("+-----+", "a line of a drawn table"),
        ("User ID", "a column's name"),
        ("Total", "what a line of totals begins with"),
    ],
)
@pytest.mark.parametrize("header", ["", "user_id\n"])
def test_a_line_that_is_hardly_an_id_is_refused_unless_meant(
    write: Write, capsys: pytest.CaptureFixture[str], header: str, line: str, says: str
) -> None:
    file = write(f"{header}alice\n{line}\n")
    with pytest.raises(InvalidArgumentError, match="bad IDs: 1"):
        read(file)
    assert f"line {2 + bool(header)}: user_id has {says}" in capsys.readouterr().err
    assert read(file, literal=True) == ["alice", line]


def test_a_cell_may_hold_what_separates_elsewhere(write: Write) -> None:
    assert read(write("user_id,n\nauth0|77,1\nalice smith,2\n")) == ["auth0|77", "alice smith"]


def test_a_sum_below_a_column_is_no_id(write: Write) -> None:
    with pytest.raises(InvalidArgumentError, match="bad IDs: 1"):
        read(write("user_id,n\nalice,3\nTotal,3\n"))


def test_a_line_without_end_is_refused(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="bad IDs: 1"):
        read(write("x" * 200_000))
    assert "a field longer than" in capsys.readouterr().err


def test_an_argument_is_one_id(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="bad IDs: 1"):
        list(IdList("user_id", ("alice,bob",), None, literal=False))
    assert "arguments: user_id has a comma" in capsys.readouterr().err


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("content", ["user_id,name\n,Boss\nalice,A\n", "name,user_id\nBoss\nA,alice\n"])
def test_a_row_without_its_id_is_refused(
    write: Write, capsys: pytest.CaptureFixture[str], content: str, literal: bool
) -> None:
    with pytest.raises(InvalidArgumentError, match="bad IDs: 1"):
        read(write(content), literal=literal)
    assert "line 2: user_id is missing" in capsys.readouterr().err


def test_bad_ids_are_told_by_line_and_all_before_anything_is_done(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write('alice\n1001.0\n"bob\n' + "x" * 33 + "\n")
    with pytest.raises(InvalidArgumentError, match="bad IDs: 4"):
        read(file, "nan")
    places = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert places == ["arguments", *(f"{file}, line {number}" for number in (2, 3, 4))]


def test_literal_ids_may_look_like_anything_but_not_be_too_long(write: Write) -> None:
    assert read(write("1001.0\n"), "nan", literal=True) == ["nan", "1001.0"]
    with pytest.raises(InvalidArgumentError):
        read(write("x" * 33), literal=True)
