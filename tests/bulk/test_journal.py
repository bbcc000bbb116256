import errno
import fcntl
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zim_async import ClearPeerMessage, ConvType, DeleteConv, InvalidArgumentError, JournalError
from zim_async.actions import Action
from zim_async.bulk import State, _group_table, _journal_file, journal_files, read_journal
from zim_async.bulk._journal import JobKind, Journal, now
from zim_async.bulk._records import Mark, Row

APP_ID, HOST = 7, "zim-api-fra.zego.im"
CLEAR = ClearPeerMessage("älice", 'b"b')
DELETE = DeleteConv("alice", "g7", ConvType.GROUP)
BATCH: list[Action] = [DeleteConv(f"user-{number}", "g7", ConvType.GROUP) for number in range(100)]


@dataclass(frozen=True)
class Anything(Action):
    name = "Anything"
    idempotent = True

    value: object


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job's journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal.open(path, APP_ID, HOST) as opened:
        yield opened


def fill(journal: Journal, *actions: Action) -> int:
    journal.begin()
    new = sum(journal.add(actions).values())
    journal.commit()
    return new


def send(journal: Journal, rows: list[Row]) -> None:
    journal.write([Mark(row, row.state, State.SENT, now()) for row in rows])


def settle(journal: Journal, rows: list[Row], state: State = State.DONE) -> None:
    journal.write([Mark(row, State.SENT, state, now(), 0) for row in rows])


def tally(journal: Journal, name: str) -> dict[State, int]:
    """Return how many actions of a name are in each state that any is in."""
    return {state: count for state, count in journal.tallies().get(name, {}).items() if count}


def make(path: Path) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, CLEAR)


def states(path: Path) -> dict[Action, State]:
    return {outcome.action: outcome.state for outcome in read_journal(path)}


def test_each_action_is_taken_up_once(journal: Journal) -> None:
    assert fill(journal, CLEAR, DELETE, CLEAR) == 2
    assert fill(journal, DELETE, DeleteConv("alice", "g7", ConvType.PEER)) == 1
    assert tally(journal, "DeleteConv") == {State.WAITING: 2}


@pytest.mark.parametrize("kind", ["cleanup", "groups"])
def test_an_input_given_again_costs_as_much_for_each_row_however_many_there_are(path: Path, kind: JobKind) -> None:
    """By SQLite's own instructions: the time would say the same, on a quiet machine."""

    def take_up(journal: Journal, first: int) -> None:
        names = [f"user-{number}" for number in range(first, first + 250)]
        if kind == "groups":
            _group_table.add(journal, names)
        else:
            journal.add([DeleteConv(name, "g7", ConvType.GROUP) for name in names])

    def count_steps(rows: int) -> int:
        steps: list[int] = []
        for again in (False, True):
            with Journal.open(path.with_suffix(f".{rows}"), APP_ID, HOST, kind) as journal:
                journal.begin()
                journal.track_listed()
                if again:
                    journal.db.set_progress_handler(lambda: steps.append(1), 100)
                for first in range(0, rows, 250):
                    take_up(journal, first)
                assert journal.count_missing() == 0
                journal.commit()
        return len(steps)

    assert count_steps(2_000) < 1.2 * 8 * count_steps(250)


def test_what_was_begun_is_kept_whole_or_not_at_all(journal: Journal) -> None:
    journal.begin()
    journal.add([CLEAR])
    journal.roll_back()
    assert journal.is_empty()
    journal.roll_back()  # nothing to roll back is no error


def test_open_rows_come_in_pages_and_are_told_apart_when_they_were_sent_before(journal: Journal) -> None:
    fill(journal, CLEAR, *BATCH[:3])
    first = journal.open_rows("DeleteConv", 0, 2)
    assert [row.action for row in first] == BATCH[:2]
    send(journal, first)
    assert tally(journal, "DeleteConv") == {State.WAITING: 1, State.SENT: 2}
    second = journal.open_rows("DeleteConv", first[-1].id, 2)
    assert [row.action for row in second] == BATCH[2:3]
    assert journal.open_rows("DeleteConv", second[-1].id, 2) == []
    again = journal.open_rows("DeleteConv", 0, 1)[0]
    assert (again.action, again.state) == (BATCH[0], State.SENT)


def test_outcomes_are_kept_with_their_reasons(path: Path, journal: Journal) -> None:
    fill(journal, CLEAR, *BATCH[:4])
    rows = done, gone, refused, back = journal.open_rows("DeleteConv", 0, 4)
    send(journal, rows)
    at = now()
    journal.write(
        [
            Mark(done, State.SENT, State.DONE, at, 0),
            Mark(gone, State.SENT, State.NOT_FOUND, at, 660800002, "unknown", "r2"),
            Mark(refused, State.SENT, State.REFUSED, at, 2, "parameter", "r3"),
            Mark(back, State.SENT, back.state, at),
        ]
    )
    journal.write([])
    found = {outcome.action: outcome for outcome in read_journal(path)}
    assert list(found) == [CLEAR, *BATCH[:4]]
    assert {action: outcome.state for action, outcome in found.items()} == {
        CLEAR: State.WAITING,
        BATCH[0]: State.DONE,
        BATCH[1]: State.NOT_FOUND,
        BATCH[2]: State.REFUSED,
        BATCH[3]: State.WAITING,
    }
    assert [found[action].code for action in (CLEAR, *BATCH[:4])] == [None, 0, 660800002, 2, None]
    assert (found[BATCH[2]].message, found[BATCH[2]].request_id) == ("parameter", "r3")
    assert found[BATCH[2]].at == datetime.fromtimestamp(at / 1000, UTC)
    codes = read_journal(path).codes
    assert {(code.state, code.code, code.count, code.example) for code in codes} == {
        (State.NOT_FOUND, 660800002, 1, found[BATCH[1]]),
        (State.REFUSED, 2, 1, found[BATCH[2]]),
    }
    assert [row.action for row in journal.open_rows("DeleteConv", 0, 9)] == [BATCH[3]]


def test_the_last_mark_of_a_row_counts(journal: Journal) -> None:
    fill(journal, *BATCH[:2])
    first, second = journal.open_rows("DeleteConv", 0, 2)
    at = now()
    journal.write(
        [
            Mark(first, State.SENT, State.WAITING, at),
            Mark(second, State.WAITING, State.SENT, at),
            Mark(second, State.SENT, State.WAITING, at),
        ]
    )
    assert tally(journal, "DeleteConv") == {State.WAITING: 2}


def test_commits_survive_a_power_failure_by_their_settings(path: Path, journal: Journal) -> None:
    assert journal.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal.db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_job_goes_on_in_a_journal_closed_or_not(path: Path) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, CLEAR)
    with Journal.open(path, APP_ID, HOST) as journal:
        assert fill(journal, CLEAR) == 0
        rows = journal.open_rows("ClearPeerMessage", 0, 1)
    assert not Path(f"{path}-wal").exists()
    with Journal.open(path, APP_ID, HOST) as journal:
        settle(journal, rows)
    assert states(path) == {CLEAR: State.DONE}
    assert not Path(f"{path}-wal").exists()


@pytest.mark.parametrize(("app_id", "host"), [(8, HOST), (APP_ID, "zim-api-sha.zego.im")])
def test_another_jobs_journal_is_refused(path: Path, app_id: int, host: str) -> None:
    make(path)
    with pytest.raises(JournalError, match=f"is the journal of AppId 7 at {HOST}, not of AppId {app_id} at {host}"):
        Journal.open(path, app_id, host)
    Journal.open(path, APP_ID, HOST).close()


def test_another_schemas_journal_is_refused(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="schema 99, here 2"):
        Journal.open(path, APP_ID, HOST)


def test_another_kind_of_jobs_journal_is_refused(path: Path) -> None:
    make(path)
    with pytest.raises(JournalError, match="another kind of job"):
        Journal.open(path, APP_ID, HOST, "groups")


def test_a_journal_without_actions_belongs_to_nobody(path: Path) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal)
    assert path.exists()
    with Journal.open(path, 8, "zim-api-sha.zego.im", "groups") as journal:
        assert (journal.app_id, journal.host, journal.kind) == (8, "zim-api-sha.zego.im", "groups")


def test_a_new_journal_that_nothing_was_kept_in_is_removed(path: Path) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        journal.begin()
        journal.add([CLEAR])
        journal.roll_back()
    assert [file.name for file in path.parent.iterdir()] == [f"{path.name}.lock"]


def sqlite_file(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE actions (id)")


@pytest.mark.parametrize("write", [Path.touch, sqlite_file, lambda path: path.write_text("action,from_user_id\n" * 99)])
def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path, write: Callable[[Path], object]) -> None:
    write(path)
    before = path.read_bytes()
    for attempt in Journal.view, lambda path: Journal.open(path, APP_ID, HOST):
        with pytest.raises(JournalError, match="is no journal"):
            attempt(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_its_files_are_known(path: Path, journal: Journal) -> None:
    fill(journal, CLEAR)
    link = path.with_name("link")
    link.symlink_to(path)
    assert {*path.parent.iterdir()} - {link} <= {*journal_files(link)} == {*journal_files(path)}


def test_a_directory_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    for name in tmp_path, tmp_path / "missing" / "journal":
        with pytest.raises(JournalError, match="can't be"):
            Journal.open(name, APP_ID, HOST)
        with pytest.raises(JournalError, match="can't be"):
            Journal.view(name)
    assert not Path(f"{tmp_path}.lock").exists()


@pytest.mark.parametrize("damage", ["cut", "overwritten", "no job"])
def test_a_damaged_journal_is_refused(path: Path, damage: str) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, *BATCH)
    if damage == "no job":
        with closing(sqlite3.connect(path)) as db:
            db.execute("DELETE FROM job")
            db.commit()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-4096] if damage == "cut" else content[:4200] + b"\xff" * 4000 + content[8200:])
    with pytest.raises(JournalError, match="damaged"):
        Journal.open(path, APP_ID, HOST)


def test_a_second_process_is_refused_and_a_view_is_not(path: Path, journal: Journal) -> None:
    fill(journal, CLEAR)
    with pytest.raises(JournalError, match="in use by another process"):
        Journal.open(path, APP_ID, HOST)
    code = f"from zim_async.bulk._journal import Journal; Journal.open({str(path)!r}, {APP_ID}, {HOST!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert "in use by another process" in other.stderr
    assert states(path) == {CLEAR: State.WAITING}
    journal.close()
    Journal.open(path, APP_ID, HOST).close()


def test_a_log_that_outlived_its_journal_is_not_played_into_the_next(path: Path, tmp_path: Path) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, CLEAR)
        settle(journal, journal.open_rows("ClearPeerMessage", 0, 1))
        shutil.copy(f"{path}-wal", tmp_path / "log")
    path.unlink()
    shutil.copy(tmp_path / "log", f"{path}-wal")
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, CLEAR)
    assert states(path) == {CLEAR: State.WAITING}


def test_a_full_disk_is_told_and_what_was_written_stands(path: Path) -> None:
    """The limit on the size of files is what a full disk is to SQLite: a write that fails."""
    code = f"""
import os, resource
from tests.bulk.test_journal import *
journal = Journal.open({str(path)!r}, APP_ID, HOST)
fill(journal, *BATCH)
rows = journal.open_rows("DeleteConv", 0, 50)
send(journal, rows)
settle(journal, rows[:10])
limit = os.path.getsize(journal.path.with_name(journal.path.name + "-wal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    settle(journal, rows[10:])
except JournalError as error:
    print(error)
try:
    journal.begin()
    journal.add(DeleteConv(f"x{{n}}", "g", ConvType.GROUP) for n in range(100_000))
    journal.commit()
except JournalError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.count("look for a full or read-only disk") == 2, done.stderr
    found = states(path)
    assert [found[action] for action in BATCH] == [State.DONE] * 10 + [State.SENT] * 40 + [State.WAITING] * 50


def test_a_read_only_journal_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path)
    connect = _journal_file.connect
    monkeypatch.setattr(_journal_file, "connect", lambda path, _options: connect(path, "mode=ro"))
    with pytest.raises(JournalError, match="look for a full or read-only disk"):
        Journal.open(path, APP_ID, HOST)


def crashed_copy(path: Path, to: Path, cut: int | None = None) -> Path:
    """Copy a journal as a crash would leave it, its log cut after so many bytes."""
    shutil.copy(path, to)
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{to}-wal").write_bytes(log[:cut])
    return to


def test_a_log_cut_anywhere_never_makes_anything_done(path: Path, tmp_path: Path) -> None:
    journal = Journal.open(path, APP_ID, HOST)
    fill(journal, *BATCH)
    rows = journal.open_rows("DeleteConv", 0, 20)
    send(journal, rows)
    for row in rows[:10]:
        settle(journal, [row])
    end = Path(f"{path}-wal").stat().st_size
    done = {row.action for row in rows[:10]}
    frame = 4096 + 24
    seen = set()
    # Each byte of the frames' headers, and some in between; the benchmark goes through all of them.
    for cut in sorted({end - back for back in range(4 * frame) if back % frame < 30 or back % 97 == 0}):
        crashed = crashed_copy(path, tmp_path / "crashed", cut)
        Journal.open(crashed, APP_ID, HOST).close()
        marked = {outcome.action for outcome in read_journal(crashed, State.DONE)}
        assert marked <= done
        seen.add(len(marked))
        crashed.unlink()
    journal.close()
    assert max(seen) == 10
    assert min(seen) < 9


def test_killed_while_writing_it_keeps_what_it_said(path: Path) -> None:
    code = f"""
from tests.bulk.test_journal import *
journal = Journal.open({str(path)!r}, APP_ID, HOST)
fill(journal, *BATCH)
rows = journal.open_rows("DeleteConv", 0, 100)
send(journal, rows)
for row in rows:
    settle(journal, [row])
    print(row.id, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    with Journal.open(path, APP_ID, HOST) as journal:
        counts = journal.tallies()["DeleteConv"]
    assert counts[State.DONE] in (len(said), len(said) + 1)
    assert counts[State.SENT] == 100 - counts[State.DONE]


def test_a_view_drops_no_locks_of_the_job_in_its_process(path: Path, journal: Journal) -> None:
    fill(journal, CLEAR)
    Journal.view(path).close()
    # Another program that opens and closes the file would delete the log, were the job's locks on it gone.
    code = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT count(*) FROM rows').fetchone()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    settle(journal, journal.open_rows("ClearPeerMessage", 0, 1))
    assert states(crashed_copy(path, path.with_name("crashed"))) == {CLEAR: State.DONE}


def test_an_index_that_disagrees_with_its_table_is_damage(path: Path) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, CLEAR)
    content = path.read_bytes()
    place = content.index("älice".encode())
    path.write_bytes(content[:place] + "ölice".encode() + content[place + 6 :])
    with pytest.raises(JournalError, match="damaged"):
        Journal.open(path, APP_ID, HOST)


def test_a_file_system_without_locks_is_called_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with Journal.open(path, APP_ID, HOST):
        monkeypatch.setattr(fcntl, "lockf", lockf)
        with pytest.raises(JournalError, match="without locks"):
            Journal.open(path, APP_ID, HOST)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", b"bytes", {1, 2}])
def test_values_that_json_lacks_are_refused(journal: Journal, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"Anything.*can't be kept in a journal"):
        fill(journal, Anything("x"), Anything(value))
    journal.roll_back()
    with pytest.raises(InvalidArgumentError, match=r"Anything.*can't be kept in a journal"):
        fill(journal, Anything(value))


@pytest.mark.parametrize("value", ["", "ä\n\u2028", 2**70, -1.5, None, True, (1, ("a", "b")), {"a": (1,)}])
def test_values_come_back_as_they_were(path: Path, journal: Journal, value: object) -> None:
    fill(journal, Anything(value))
    assert [row.action for row in journal.open_rows("Anything", 0, 1)] == [Anything(value)]
    assert [outcome.action for outcome in read_journal(path)] == [Anything(value)]


def test_a_class_that_isnt_made_from_its_fields_is_refused(journal: Journal) -> None:
    @dataclass(frozen=True)
    class Secretive(Action):
        name = "Secretive"
        shown: str = field(init=False, default="x")

    with pytest.raises(InvalidArgumentError, match=r"Secretive can't be kept.*made from its fields alone"):
        fill(journal, Secretive())


def test_a_class_whose_fields_changed_is_refused(path: Path) -> None:
    def define(*fields: str) -> type[Action]:
        fields_of_str = [(name, str) for name in fields]
        namespace = {"name": "Changing"}
        kind: type[Action] = make_dataclass(
            "Changing", fields_of_str, bases=(Action,), namespace=namespace, frozen=True
        )
        return kind

    before = define("a")
    with Journal.open(path, APP_ID, HOST) as journal:
        fill(journal, before(*"x"))
    after = define("a", "b")
    with pytest.raises(JournalError, match="Changing with the fields a, but Changing has a, b"):
        list(read_journal(path))
    with Journal.open(path, APP_ID, HOST) as journal:
        with pytest.raises(InvalidArgumentError, match=r"has the fields a, b, but Changing in .* has a"):
            fill(journal, after(*"xy"))
        journal.roll_back()
