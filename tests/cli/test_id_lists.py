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


def read(file: str, *given: str, literal: bool = False) -> list[str]:
    return list(IdList("user_id", given, file, literal))


@pytest.mark.parametrize(
    "content",
    [
        "alice\nbob\n",
        "alice\r\n\r\nbob",
        "\ufeff\nalice\nbob\n",
        "user_id\nalice\nbob\n",
        "UserId\nalice\nbob\n",
        "name;user_id\nA;alice\nB;bob\nC;\n",
        "from_user_id,name\nalice,A\nbob\n",
        '"user_id","name"\n"alice","A"\n"bob","B"\n',
        '"alice"\n"bob"\n',
    ],
)
def test_one_a_line_or_a_column(write: Write, content: str) -> None:
    assert read(write(content)) == ["alice", "bob"]


def test_an_empty_list(write: Write) -> None:
    assert read(write("\n")) == []


def test_those_of_the_command_line_come_first(write: Write) -> None:
    ids = IdList("user_id", ("carol",), write("alice\n"), literal=False)
    assert list(ids) == list(ids) == ["carol", "alice"]


def test_standard_input(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(write("alice\n")) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read("-") == ["alice"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("alice,bob\n", "one ID a line, or one column named user_id, is needed; found 'alice,bob'"),
        ("id\nalice\n", "found 'id'"),
        ("user_id,from_user_id\nalice,bob\n", "found 'user_id,from_user_id'"),
    ],
)
def test_a_header_that_may_be_an_id_is_asked_about(write: Write, content: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"line 1: .*{says}"):
        read(write(content))


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
