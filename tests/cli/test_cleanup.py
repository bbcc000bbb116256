import asyncio
import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_main import COMMAND, run
from zim_async import ConvType
from zim_async.actions import Action
from zim_async.bulk import State, read_journal
from zim_async.sandbox import Sandbox

HEADER = "action,from_user_id,to_user_id,conv_id,conv_type\n"


def csv_of(count: int, first: int = 0) -> str:
    rows = (
        f"clear_peer_message,user-{n},bob,,\n" if n % 2 else f"delete_conv,user-{n},,g7,group\n"
        for n in range(first, first + count)
    )
    return HEADER + "".join(rows)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(qps=None) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


async def test_a_job_from_several_files(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(10))
    Path("b.jsonl").write_text('{"action":"DeleteConv","from_user_id":"user-0","conv_id":"g7","conv_type":2}\n' * 2)
    env.add_group("g7", ["user-0", "user-1"])
    assert await run("cleanup", "a.csv", "b.jsonl", "--json") == 0
    report = report_of(capsys)
    assert (report["read"], report["duplicates"], report["done"], report["bad_rows"]) == (12, 2, 10, 0)
    assert report["actions"]["DeleteConv"]["done"] == 5
    assert env.messages("user-0", "g7", ConvType.GROUP) is None
    assert env.messages("user-1", "g7", ConvType.GROUP) == ["hello"]
    assert not Path("a.csv.journal").exists()


async def test_a_named_journal_stays_and_nothing_is_sent_twice(
    env: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(csv_of(10))
    assert await run("cleanup", "a.csv", "--journal", "job") == 0
    assert await run("cleanup", "a.csv", "--journal", "job") == 0
    assert len(env.arrivals) == 10
    out = capsys.readouterr().out
    assert "10 read, 10 of them duplicates or known from before" in out.replace("\n", " ")
    assert await run("journal", "job") == 0
    assert f"AppId {env.app_id} at 127.0.0.1" in capsys.readouterr().out
    assert await run("journal", "job", "--json") == 0
    assert report_of(capsys)["actions"]["ClearPeerMessage"]["done"] == 5
    assert await run("journal", "job", "--export", "done", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert json.loads(lines[0]) == {
        "action": "delete_conv",
        "from_user_id": "user-0",
        "conv_id": "g7",
        "conv_type": "group",
        "state": "done",
        "code": 0,
    }


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_refused_rows_are_written_ready_to_be_fed_back(
    env: Sandbox, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    Path("in").write_text(csv_of(6) if form == "csv" else as_json_lines(csv_of(6)))
    env.fail_next(code=2, times=2)
    env.fail_next(code=660600001)
    assert await run("cleanup", "in", "--failed", f"failed.{form}", "--json") == 1
    report = report_of(capsys)
    assert (report["done"], report["not_found"], report["refused"]) == (3, 1, 2)
    text = Path(f"failed.{form}").read_text()
    rows = list(csv.DictReader(text.splitlines())) if form == "csv" else [json.loads(x) for x in text.splitlines()]
    assert sorted((row["state"], str(row["code"]), row["reason"]) for row in rows) == [
        ("not_found", "660600001", "group unknown"),
        ("refused", "2", "parameter error"),
        ("refused", "2", "parameter error"),
    ]
    assert Path("in.journal").exists()
    assert await run("cleanup", f"failed.{form}") == 0
    assert len(env.arrivals) == 9


def as_json_lines(text: str) -> str:
    rows = csv.DictReader(text.splitlines())
    return "".join(json.dumps({k: v for k, v in row.items() if v}) + "\n" for row in rows)


async def test_bad_rows_stop_the_job_before_anything_is_sent_unless_skipped(
    env: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(csv_of(3_000) + "delete_conv,alice,,g7,room\n" + "fly,alice,bob,,\n" * 150)
    assert await run("cleanup", "a.csv", "--qps", "5000") == 2
    err = capsys.readouterr().err
    assert "a.csv, line 3002: conv_type must be peer (0) or group (2), not 'room'\n" in err
    assert err.count("a.csv, line") == 100
    assert re.search(r"bad rows: 151 \(150 x action must be .*, 1 x conv_type .*\)\. Nothing was sent", err)
    assert not env.arrivals
    assert await run("cleanup", "a.csv", "--skip-bad", "--json", "--qps", "5000") == 0
    assert report_of(capsys)["bad_rows"] == 151
    assert len(env.arrivals) == 3_000


async def test_bad_rows_alone_are_no_job(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(HEADER)
    assert await run("cleanup", "a.csv", "--skip-bad") == 0
    assert "there were no rows" in capsys.readouterr().err
    Path("a.csv").write_text(HEADER + "fly,alice,bob,,\n")
    for options in (["--skip-bad"], ["--skip-bad", "--dry-run"], ["--skip-bad", "--dry-run", "--json"]):
        assert await run("cleanup", "a.csv", *options) == 2
        found = capsys.readouterr()
        assert "bad rows: 1 (1 x action must be" in found.err
        assert "there are no others. Nothing was sent" in found.err
        assert "there were no rows" not in found.err
    assert json.loads(found.out)["bad_rows"] == 1
    assert [path.name for path in Path().iterdir() if path.suffix != ".lock"] == ["a.csv"]
    Path("b.csv").write_text(csv_of(2))
    assert await run("cleanup", "a.csv", "b.csv", "--skip-bad") == 0
    assert len(env.arrivals) == 2


async def test_a_dry_run_counts_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(10) + "fly,alice,bob,,\n" * 150)
    assert await run("cleanup", "a.csv", "--dry-run", "--skip-bad") == 0
    assert "duplicates or known from before; 150 bad rows (150 lines) left out\n" in capsys.readouterr().out
    assert await run("cleanup", "a.csv", "--dry-run") == 2
    assert "left out\n" not in capsys.readouterr().out


async def test_a_dry_run_needs_no_account_and_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(400))
    assert await run("cleanup", "a.csv", "--dry-run") == 0
    assert "400 to be sent, which takes 0:00:10 at the quota" in capsys.readouterr().out
    assert await run("cleanup", "a.csv", "--dry-run", "--json", "--qps", "10") == 0
    report = report_of(capsys)
    assert (report["dry_run"], report["waiting"], report["seconds_at_quota"]) == (True, 400, 20)
    assert [path.name for path in Path().iterdir()] == ["a.csv"]


async def test_a_dry_run_knows_what_is_done(
    env: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.csv").write_text(csv_of(10))
    assert await run("cleanup", "a.csv", "--journal", "job") == 0
    Path("b.csv").write_text(csv_of(10, first=5))
    assert await run("cleanup", "b.csv", "--journal", "job", "--dry-run") == 0
    assert "5 to be sent" in capsys.readouterr().out
    assert len(env.arrivals) == 10
    Path("job").rename("a.csv.journal")
    assert await run("cleanup", "a.csv", "--dry-run") == 0
    assert "0 to be sent" in capsys.readouterr().out
    assert Path("a.csv.journal").exists()
    monkeypatch.delenv("ZIM_APP_ID")
    assert await run("cleanup", "a.csv", "--dry-run") == 5
    assert "set ZIM_APP_ID" in capsys.readouterr().err


async def test_a_rehearsal_in_the_sandbox(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    Path("a.csv").write_text(csv_of(30))
    assert await run("cleanup", "a.csv", "--sandbox", "--json") == 0
    assert report_of(capsys)["done"] == 30
    assert [path.name for path in directory.iterdir()] == ["a.csv"]
    assert await run("cleanup", "a.csv", "--sandbox", "--journal", "job", "--json") == 0
    assert report_of(capsys)["done"] == 30
    assert await run("cleanup", "a.csv", "--sandbox", "--journal", "job", "--json") == 0
    assert report_of(capsys)["duplicates"] == 30
    assert await run("cleanup", "a.csv", "--sandbox", "--dry-run", "--journal", "job") == 0


async def test_wrong_credentials_stop_the_job(
    env: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.csv").write_text(csv_of(1_000))
    monkeypatch.setenv("ZIM_SERVER_SECRET", "a wrong one")
    assert await run("cleanup", "a.csv", "--qps", "100") == 5
    assert "code 100000005" in capsys.readouterr().err
    assert len(env.arrivals) <= 200
    assert sum(tally[State.WAITING] for tally in read_journal("a.csv.journal").tallies.values()) == 1_000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "FILE"),
        (["missing.csv"], 2, "No such file"),
        (["a.csv", "--failed", "a.csv"], 2, "would overwrite"),
        (["a.csv", "--failed", "hard-link"], 2, "--failed would overwrite hard-link"),
        (["a.csv", "--failed", "link"], 2, "--failed would overwrite link"),
        (["a.csv", "--journal", "job", "--failed", "job"], 2, "would overwrite"),
        *(
            (["a.csv", "--journal", "job", "--failed", f"job{suffix}"], 2, f"would overwrite job{suffix}")
            for suffix in ("-wal", "-shm", ".lock", ".new")
        ),
        (["-", "a.csv", "-"], 2, "-, which is standard input, may be given once"),
        (["a.csv", "--failed", "missing/failed.csv"], 2, "can't be written"),
        (["a.csv", "--qps", "0"], 2, "--qps"),
        (["a.csv", "--qps", "nan", "--sandbox"], 2, "--qps"),
        (["a.csv", "--journal", "a.csv"], 2, "the journal a.csv would overwrite a.csv, one of the FILEs"),
        (["a.csv", "--journal", "hard-link", "--sandbox"], 2, "would overwrite a.csv, one of the FILEs"),
        (["a.csv", "job.new", "--journal", "job"], 2, "would overwrite job.new, one of the FILEs"),
        (["a.csv", "--journal", "other.txt"], 5, "is no journal"),
        (["a.csv", "--journal", "missing/job"], 5, "can't be"),
    ],
)
async def test_usage_and_configuration_have_codes_of_their_own(
    env: Sandbox, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    Path("a.csv").write_text(csv_of(4))
    Path("hard-link").hardlink_to("a.csv")
    Path("link").symlink_to("a.csv")
    Path("other.txt").write_text("a letter\n")
    before = set(Path().iterdir())
    assert await run("cleanup", *arguments) == code
    assert says in capsys.readouterr().err
    assert not env.arrivals
    assert Path("a.csv").read_text() == csv_of(4)
    assert set(Path().iterdir()) == before


def test_missing_credentials_stop_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    from zim_async import cli

    Path("a.csv").write_text(csv_of(4))
    assert cli.main(["cleanup", "a.csv"]) == 5
    assert "set ZIM_APP_ID" in capsys.readouterr().err


async def test_a_journal_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(4))
    for arguments in ["a.csv"], ["missing"], ["a.csv", "--export", "done"]:
        assert await run("journal", *arguments) == 5
        assert capsys.readouterr().err.startswith("zim-async: ")


Job = subprocess.Popen[str]


@pytest.fixture
def start(env: Sandbox) -> Iterator[Any]:
    """Start a job in a process of its own, as a shell would; it is killed at the end."""
    jobs: list[Job] = []

    def start(*arguments: str, stdin: str | None = None) -> Job:
        job = subprocess.Popen(
            [*COMMAND, "cleanup", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )
        jobs.append(job)
        if stdin is not None:
            assert job.stdin is not None
            job.stdin.write(stdin)
            job.stdin.close()
            job.stdin = None
        return job

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


async def ended(job: Job) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(job.communicate, timeout=20)
    return job.returncode, out, err


async def arrived(box: Sandbox, count: int) -> None:
    async with asyncio.timeout(20):
        while len(box.arrivals) < count:
            await asyncio.sleep(0.005)


async def test_standard_input(box: Sandbox, start: Any) -> None:
    code, out, _ = await ended(start("-", "--json", stdin=csv_of(20)))
    assert (code, json.loads(out)["done"]) == (0, 20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_drains(box: Sandbox, start: Any, number: signal.Signals) -> None:
    Path("a.csv").write_text(csv_of(200))
    box.delay = 0.2
    job = start("a.csv", "--json", "--journal", "job")
    await arrived(box, 40)  # the first burst of both
    job.send_signal(number)
    sent = len(box.arrivals)
    code, out, err = await ended(job)
    report = json.loads(out)
    assert code == 4
    assert report["interrupted"]
    assert report["done"] == len(box.arrivals) == sent
    assert report["sent"] == 0
    assert "run the same again to resume" in err
    box.delay = 0.0
    code, out, _ = await ended(start("a.csv", "--json", "--journal", "job", "--qps", "1000"))
    assert (code, json.loads(out)["done"], len(box.arrivals)) == (0, 200, 200)


async def test_the_second_signal_leaves_immediately(box: Sandbox, start: Any) -> None:
    Path("a.csv").write_text(csv_of(200))
    box.delay = 8.0
    job = start("a.csv")
    await arrived(box, 30)
    job.send_signal(signal.SIGINT)
    assert "interrupt again" in await asyncio.to_thread(lambda: skip_to(job, "interrupt again"))
    began = asyncio.get_running_loop().time()
    job.send_signal(signal.SIGINT)
    code, _, err = await ended(job)
    assert code == 130
    assert asyncio.get_running_loop().time() - began < 3
    assert err == "interrupted; run the same again to resume\n"


def skip_to(job: Job, text: str) -> str:
    assert job.stderr is not None
    return next(line for line in job.stderr if text in line)


async def test_a_signal_while_reading_ends_it(box: Sandbox, start: Any) -> None:
    job = start("-")
    job.stdin.write(csv_of(5_000))
    job.stdin.flush()
    while not Path("stdin.journal").exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(job.wait, 10) == 4
    assert not box.arrivals
    assert "Traceback" not in job.stderr.read()


async def test_a_job_can_be_watched_while_it_runs(box: Sandbox, start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(200))
    job = start("a.csv", "--journal", "job")
    await arrived(box, 30)
    assert await run("journal", "job", "--json") == 4
    tallies = report_of(capsys)["actions"].values()
    assert sum(sum(tally.values()) for tally in tallies) == 200
    assert await run("cleanup", "a.csv", "--journal", "job") == 5
    assert "in use by another process" in capsys.readouterr().err
    job.send_signal(signal.SIGINT)
    assert (await ended(job))[0] == 4


async def test_what_is_not_found_is_an_outcome_of_its_own(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(6))
    env.fail_next(code=660800002, times=2)
    assert await run("cleanup", "a.csv", "--failed", "failed.csv") == 1
    found = capsys.readouterr()
    assert "not found: 2 by code 660800002 (conversation unknown" in found.out
    assert "zim-async journal a.csv.journal --export not_found" in found.err
    assert found.err.splitlines()[-1] == "not found: 2; --ignore-not-found takes that for done"
    assert Path("failed.csv").read_text().count("not_found,660800002") == 2
    assert await run("cleanup", "a.csv") == 1
    assert await run("cleanup", "a.csv", "--ignore-not-found", "--failed", "failed.csv") == 0
    assert Path("failed.csv").read_text().count("\n") == 1
    assert await run("cleanup", "a.csv", "--dry-run") == 1
    assert await run("cleanup", "a.csv", "--dry-run", "--ignore-not-found") == 0
    assert await run("journal", "a.csv.journal") == 1
    assert len(env.arrivals) == 6
    assert await run("cleanup", "a.csv", "--retry-not-found") == 0
    assert len(env.arrivals) == 8
    assert not Path("a.csv.journal").exists()


async def test_a_refusal_is_tried_again_only_when_asked(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(4))
    env.fail_next(code=2)
    assert await run("cleanup", "a.csv") == 1
    found = capsys.readouterr()
    assert "refused: 1 by code 2 (parameter error), such as" in found.out
    assert "zim-async journal a.csv.journal --export refused" in found.err
    assert await run("cleanup", "a.csv", "--ignore-not-found") == 1
    assert len(env.arrivals) == 4
    assert await run("cleanup", "a.csv", "--retry-refused") == 0
    assert len(env.arrivals) == 5


async def test_a_job_that_found_nothing_asks_whether_it_is_the_right_one(
    env: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(csv_of(3))
    env.fail_next(code=660800002, times=3)
    assert await run("cleanup", "a.csv", "--ignore-not-found", "--json") == 0
    found = capsys.readouterr()
    words, question = found.err.splitlines()[-2:]
    assert words == "nothing was done: all was not found"
    assert question.startswith(f"is AppId {env.app_id} the right application, and the type (peer, group)")
    codes = json.loads(found.out)["codes"]
    assert [(code["state"], code["code"], code["count"]) for code in codes] == [("not_found", 660800002, 3)]
    assert codes[0]["example"]["action"] in ("clear_peer_message", "delete_conv")


async def test_rows_taken_out_after_an_interruption_stop_the_next_run(
    box: Sandbox, start: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(csv_of(60))
    box.delay = 0.2
    job = start("a.csv")
    await arrived(box, 10)
    job.send_signal(signal.SIGINT)
    assert (await ended(job))[0] == 4
    box.delay = 0.0
    sent = len(box.arrivals)
    Path("a.csv").write_text(csv_of(59))
    assert await run("cleanup", "a.csv") == 2
    assert "--resume" in capsys.readouterr().err
    assert await run("cleanup", "a.csv", "--dry-run", "--json") == 2
    found = capsys.readouterr()
    assert json.loads(found.out)["unlisted"] == 1
    assert "open in the journal and not in the input: 1, such as 'clear_peer_message user-59 bob'" in found.err
    assert len(box.arrivals) == sent
    assert await run("cleanup", "a.csv", "--resume") == 0
    assert len(box.arrivals) == 60


async def test_a_dry_run_ends_as_the_run_would(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(csv_of(10) + csv_of(10)[len(HEADER) :] + "fly,alice,bob,,\n" * 3 + ",alice,bob,,\n")
    assert await run("cleanup", "a.csv", "--dry-run") == 2
    found = capsys.readouterr()
    assert "20 read, 10 of them duplicates" in found.out
    assert "10 to be sent" in found.out
    assert re.search(r"bad rows: 4 \(3 x action must be .*, 1 x action is missing\)", found.err)
    assert await run("cleanup", "a.csv", "--dry-run", "--skip-bad", "--json") == 0
    report = report_of(capsys)
    assert (report["bad_rows"], report["bad_lines"], report["bad_causes"]["action is missing"]) == (4, 4, 1)
    assert await run("cleanup", "a.csv", "--dry-run", "--failed", "a.csv") == 2
    assert await run("cleanup", "a.csv", "--dry-run", "--failed", "failed.csv") == 2
    assert not Path("failed.csv").exists()


async def test_files_with_other_names(env: Sandbox) -> None:
    Path("a.csv").write_text("me;friend\nalice;bob\nalice;carol\n")
    options = ["--map", "me=from_user_id,friend=conv_id", "--action", "delete_conv", "--conv-type", "peer"]
    assert await run("cleanup", "a.csv", *options) == 0
    assert len(env.arrivals) == 2


async def test_odd_ids_stop_the_job_unless_meant(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(HEADER + "clear_peer_message,alice,1001.0,,\n")
    assert await run("cleanup", "a.csv") == 2
    assert "line 2: to_user_id has a data frame's number with decimals: '1001.0'" in capsys.readouterr().err
    assert not env.arrivals
    assert await run("cleanup", "a.csv", "--literal-ids") == 0
    assert len(env.arrivals) == 1


@dataclass(frozen=True, slots=True)
class Unpin(Action):
    name = "UnpinThing"
    idempotent = True

    thing_id: str


async def test_an_action_of_the_programs_own_goes_all_the_way(env: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    unpinned: list[object] = []

    def unpin(given: Mapping[str, Any]) -> dict[str, Any]:
        unpinned.append(given["ThingId"])
        return {}

    env.handle("UnpinThing", unpin)
    Path("a.csv").write_text("action,thing_id\nunpin_thing,t1\nUnpinThing,t2\n")
    assert await run("cleanup", "a.csv", "--journal", "job") == 0
    capsys.readouterr()
    assert await run("journal", "job", "--export", "done") == 0
    exported = capsys.readouterr().out
    assert exported.splitlines()[:2] == ["action,thing_id,state,code,reason,request_id", "unpin_thing,t1,done,0,,"]
    Path("b.csv").write_text(exported)
    assert await run("cleanup", "b.csv") == 0
    assert sorted(map(str, unpinned)) == ["t1", "t1", "t2", "t2"]


@pytest.mark.parametrize("arguments", [["missing.csv"], ["bad.csv"], ["a.csv", "missing.csv"]])
async def test_a_failed_start_leaves_no_journal(env: Sandbox, arguments: list[str]) -> None:
    Path("a.csv").write_text(csv_of(4))
    Path("bad.csv").write_text(HEADER + "fly,alice,bob,,\n")
    assert await run("cleanup", *arguments) == 2
    assert not list(Path().glob("*.journal"))


def shell(command: str) -> tuple[int, str, str]:
    script = command.replace("zim-async", shlex.join(COMMAND))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"], capture_output=True, timeout=30, env=os.environ | {"LC_ALL": "C"}
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def in_shell(command: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(shell, command)


async def test_rows_of_a_process_leave_no_journal(env: Sandbox) -> None:
    Path("a.csv").write_text(csv_of(4))
    assert (await in_shell("zim-async cleanup <(cat a.csv) --json"))[0] == 0
    assert [path.name for path in Path().iterdir() if path.suffix != ".lock"] == ["a.csv"]
    assert len(env.arrivals) == 4


async def test_nobody_reading_changes_no_exit_code(env: Sandbox) -> None:
    Path("a.csv").write_text(csv_of(4))
    env.fail_next(code=2)
    assert await in_shell("zim-async cleanup a.csv --journal job 2>/dev/null | true") == (1, "", "")
    assert await in_shell("zim-async cleanup a.csv --journal job 2>&1 | true") == (1, "", "")
    assert await in_shell("zim-async journal job --export done | true") == (1, "", "")
    assert await in_shell("zim-async --help | true") == (0, "", "")


async def test_a_full_disk_is_told(env: Sandbox) -> None:
    Path("a.csv").write_text(csv_of(4))
    code, _, err = await in_shell("zim-async cleanup a.csv --journal job > /dev/full")
    assert (code, err.splitlines()[-1]) == (5, "zim-async: standard output can't be written: No space left on device")
    code, _, err = await in_shell("zim-async journal job --export done > /dev/full")
    assert (code, err) == (5, "zim-async: standard output can't be written: No space left on device\n")


async def test_output_is_utf8_wherever_it_goes(env: Sandbox) -> None:
    Path("a.csv").write_text(HEADER + "clear_peer_message,jörg,李雷,,\n", encoding="utf-8")
    assert (await in_shell("zim-async cleanup a.csv --journal job"))[0] == 0
    code, out, _ = await in_shell("PYTHONIOENCODING=cp1252 zim-async journal job --export done")
    assert (code, out.splitlines()[1]) == (0, "clear_peer_message,jörg,李雷,done,0,,")


async def test_a_reader_that_has_enough_is_no_error(env: Sandbox) -> None:
    Path("a.csv").write_text(csv_of(5_000))
    assert await run("cleanup", "a.csv", "--journal", "job", "--qps", "10000") == 0
    command = f"{shlex.quote(sys.executable)} -m zim_async journal job --export done | head -1"
    done = await asyncio.to_thread(subprocess.run, command, shell=True, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == (f"{HEADER.strip()},state,code,reason,request_id\n", "")
