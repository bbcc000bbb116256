import asyncio
import csv
import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_main import COMMAND, run
from zim_async import ConvType
from zim_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def filled(env: Sandbox) -> Sandbox:
    """Alice has two peers and a group, bob a peer and the group."""
    env.add_message("alice", "bob")
    env.add_message("alice", "carol")
    env.add_group("g7", ["alice", "bob"])
    return env


def report_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


async def test_a_user_is_erased_and_the_others_arent(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("erase", "alice", "--yes", "--report", "report.csv") == 0
    found = capsys.readouterr()
    assert "1 of 1 users erased; conversations: found 3, cleared 3, deleted 3, kept 0, still listed 0" in found.out
    assert "the other side's copies" in found.err
    assert found.err.splitlines()[-1] == "all erased: 1 users"
    assert filled.messages("alice", "bob") is None
    assert filled.messages("alice", "g7", ConvType.GROUP) is None
    assert filled.messages("bob", "alice") == ["hello"]
    assert filled.messages("bob", "g7", ConvType.GROUP) == ["hello"]
    row = next(csv.DictReader(Path("report.csv").read_text().splitlines()))
    assert (row["user_id"], row["found"], row["deleted"], row["erased"]) == ("alice", "3", "3", "true")
    assert row["at"].endswith("+00:00")
    assert not Path("erase.journal").exists()


async def test_users_of_a_file_as_one_object(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("users.csv").write_text("name;user_id\nA;alice\nB;bob\n")
    assert await run("erase", "--users", "users.csv", "--yes", "--json") == 0
    report = report_of(capsys)
    assert (report["users"], report["erased"], report["groups"], report["groups_finished"]) == (2, 2, 2, 2)
    assert (report["found"], report["deleted"], report["still_listed"]) == (5, 5, 0)
    assert report["actions"]["DeleteConv"]["done"] == 5


async def test_what_is_to_be_kept_is_kept(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("keep.txt").write_text("carol\n")
    assert await run("erase", "alice", "--yes", "--keep", "keep.txt", "--type", "peer", "--json") == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["deleted"] == 1
    assert found.err.startswith("to be kept: 1 conversation IDs from keep.txt\n")
    assert filled.messages("alice", "bob") is None
    assert filled.messages("alice", "carol") == ["hello"]
    assert filled.messages("alice", "g7", ConvType.GROUP) == ["hello"]


@pytest.mark.parametrize("options", [["--yes"], ["--yes", "--literal-ids"], ["--dry-run"]])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"conv_id":"carol"}\n', "JSON"),
        ("", "is empty"),
        ("conv_id\n", "keep.txt holds no IDs. Leave --keep out if nothing is to be kept"),
        ("conv_id,name\n,Carol\n", "conv_id is missing"),
        ("conv_id,group_id\ncarol,g7\n", "one column named"),
        ("carol,Carol\n", "one ID a line"),
    ],
)
async def test_what_is_to_be_kept_must_be_understood(
    filled: Sandbox, capsys: pytest.CaptureFixture[str], content: str, says: str, options: list[str]
) -> None:
    Path("keep.txt").write_text(content)
    assert await run("erase", "alice", *options, "--keep", "keep.txt") == 2
    assert says in capsys.readouterr().err
    assert not filled.arrivals


async def test_a_list_without_users_is_told(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("users.csv").write_text("user_id\n")
    assert await run("erase", "--users", "users.csv", "--yes") == 0
    assert capsys.readouterr().err.splitlines()[-1] == "there were no users"


async def test_what_is_too_young_is_kept(filled: Sandbox) -> None:
    assert await run("erase", "alice", "--yes", "--older-than", "1d") == 0
    assert filled.messages("alice", "bob") == ["hello"]


async def test_a_dry_run_lists_only(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("erase", "alice", "bob", "--dry-run") == 0
    assert "erasing them takes 0:00:01 at the quota" in capsys.readouterr().out
    assert await run("erase", "alice", "bob", "--dry-run", "--json") == 0
    report = report_of(capsys)
    assert (report["peers"], report["groups"], report["kept"], report["not_found"]) == (3, 2, 0, 0)
    assert report["users"][0] == {"user_id": "alice", "peers": 2, "groups": 1, "kept": 0, "not_found": None}
    assert {arrival.action for arrival in filled.arrivals} == {"QueryConversationList"}


async def test_a_user_that_isnt_known(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    filled.fail_next(code=660500002)
    assert await run("erase", "nobody", "--yes") == 1
    found = capsys.readouterr()
    assert "not erased: 'nobody': not found, code 660500002" in found.out
    assert found.err.splitlines()[-1] == "users not found: 1; --ignore-not-found takes that for done"
    filled.fail_next(code=660500002)
    assert await run("erase", "nobody", "--yes", "--journal", "other", "--ignore-not-found") == 0
    filled.fail_next(code=660500002)
    assert await run("erase", "nobody", "--dry-run") == 1


async def test_what_was_refused_is_told(filled: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    filled.handle("ClearMemberGroupMessage", lambda _: 660600032)
    assert await run("erase", "alice", "--yes", "--failed", "failed.csv", "--report", "report.csv") == 1
    found = capsys.readouterr()
    assert "not erased: 'alice': 1 still listed, 1 refused with code 660600032" in found.out
    assert found.err.splitlines()[-1] == "not erased: 1 users; --report FILE has what came of each"
    failed = list(csv.DictReader(Path("failed.csv").read_text().splitlines()))
    assert [(row["action"], row["group_id"], row["code"]) for row in failed] == [
        ("clear_member_group_message", "g7", "660600032")
    ]
    assert next(csv.DictReader(Path("report.csv").read_text().splitlines()))["refused"] == "660600032:1"
    assert filled.messages("alice", "g7", ConvType.GROUP) == ["hello"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["alice"], "--yes is needed"),
        (["--users", "-"], "--yes is needed"),
        (["--yes"], "give the users to erase"),
        (["--users", "-", "--keep", "-", "--yes"], "standard input, may be given once"),
        (["--users", "pipe"], "a pipe can be read only once: --yes is needed"),
        (["--users", "missing.txt", "--yes"], "No such file"),
        (["1001.0", "--yes"], "user_id has a data frame's number with decimals"),
        (["alice", "--older-than", "soon", "--yes"], "'soon' is no time such as 90d"),
        (["alice", "--older-than", "99999d", "--yes"], "'99999d' is no time such as 90d"),
        (["--users", "users.txt", "--report", "users.txt", "--yes"], "would overwrite"),
        (["alice", "--report", "r.csv", "--failed", "r.csv", "--yes"], "would overwrite"),
        (["alice", "--report", "erase.journal-wal", "--yes"], "--report would overwrite erase.journal-wal"),
        (
            ["--users", "users.txt", "--journal", "users.txt", "--yes"],
            "the journal users.txt would overwrite users.txt",
        ),
    ],
)
async def test_nothing_is_sent_that_wasnt_meant(
    filled: Sandbox, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("users.txt").write_text("alice\n")
    os.mkfifo("pipe")
    assert await run("erase", *arguments) == 2
    assert says in capsys.readouterr().err
    assert not filled.arrivals
    assert not list(Path().glob("*.journal"))


async def test_an_interrupted_job_is_resumed(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    users = [f"user-{number}" for number in range(12)]
    for user in users:
        env.add_message(user, "bob")
        env.add_group("g7", [user])
    Path("users.txt").write_text("\n".join(users))
    env.delay = 0.2
    job = subprocess.Popen([*COMMAND, "erase", "--users", "users.txt", "--yes", "--json"], stdout=-1, stderr=-1)
    try:
        async with asyncio.timeout(20):
            while not any(arrival.action == "DeleteConv" for arrival in env.arrivals):
                await asyncio.sleep(0.01)
        job.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(job.communicate, timeout=20)
    finally:
        job.kill()
    assert (job.returncode, err.decode().splitlines()[-1]) == (4, "interrupted; run the same again to resume")
    assert json.loads(out)["interrupted"]
    env.delay = 0.0
    assert await run("erase", "--users", "users.txt", "--yes", "--report", "report.csv") == 0
    assert len(Path("report.csv").read_text().splitlines()) == 13
    for user in users:
        assert env.messages(user, "bob") is None
        assert env.messages("bob", user) == ["hello"]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
async def test_a_terminal_is_asked(
    filled: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    terminal, keyboard = pty.openpty()
    os.write(terminal, answer.encode())
    with open(keyboard) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert await run("erase", "alice") == code
    os.close(terminal)
    assert "Erase the conversations of 1 users at 127.0.0.1? It can't be undone" in capsys.readouterr().err
    assert bool(filled.arrivals) is (code == 0)
