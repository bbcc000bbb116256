import json

import pytest

from tests.cli.test_main import run
from zim_async.sandbox import Sandbox


@pytest.fixture
def filled(env: Sandbox) -> Sandbox:
    env.add_message("alice", "[bob]")
    env.add_group("g7", ["alice"])
    return env


async def test_a_users_conversations_as_a_table(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("conversations", "alice") == 0
    out = capsys.readouterr().out
    assert "2 conversations of alice" in out
    assert "[bob]" in out
    assert "group" in out


async def test_lines_that_a_clean_up_takes(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("conversations", "alice", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(line["from_user_id"], line["conv_id"], line["conv_type"]) for line in lines} == {
        ("alice", "[bob]", "peer"),
        ("alice", "g7", "group"),
    }
    assert all(line["updated_at"].endswith("+00:00") for line in lines)


async def test_a_user_that_isnt_known(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    env.fail_next(code=660500002)
    assert await run("conversations", "nobody") == 1
    assert "660500002" in capsys.readouterr().err
