from pathlib import Path

import pytest

from tests.support.bulk_jobs import some
from zim_async import JournalError
from zim_async.bulk import State, read_journal, remove_finished_journal
from zim_async.bulk._journal import Journal, now
from zim_async.bulk._records import Mark, Row

APP_ID, HOST = 7, "127.0.0.1"


def fill(path: Path, count: int, state: State = State.DONE) -> None:
    with Journal.open(path, APP_ID, HOST) as journal:
        journal.begin()
        journal.add(some(count))
        journal.commit()
        settle(journal, count, state)


def settle(journal: Journal, count: int, state: State = State.DONE) -> None:
    for name in journal.names:
        rows = journal.open_rows(name, 0, count)
        journal.write([Mark(row, row.state, State.SENT, now()) for row in rows])
        journal.write([Mark(row, State.SENT, state, now(), 0) for row in rows])


def test_outcomes_come_in_the_order_of_the_input_and_again(path: Path) -> None:
    fill(path, 2_500)
    reader = read_journal(path)
    assert [outcome.action for outcome in reader if outcome.action.name == "DeleteConv"] == some(2_500)[::2]
    assert sum(1 for _ in reader) == 2_500
    assert list(read_journal(path, State.WAITING, State.SENT)) == []
    assert (reader.app_id, reader.host) == (APP_ID, HOST)
    assert reader.tallies["DeleteConv"][State.DONE] == 1_250


def test_what_is_no_journal_is_refused_before_it_is_iterated(path: Path) -> None:
    path.write_text("action,from_user_id\n")
    with pytest.raises(JournalError, match="is no journal"):
        read_journal(path)


def test_a_reader_left_open_doesnt_make_the_log_grow(path: Path) -> None:
    def log_after_work(*, reader: bool) -> int:
        fill(path, 3_000, State.WAITING)
        with Journal.open(path, APP_ID, HOST) as journal:
            outcomes = iter(read_journal(path))
            if reader:
                next(outcomes)
            rows: list[Row] = journal.open_rows("DeleteConv", 0, 3_000)
            for _ in range(200):
                journal.write([Mark(row, row.state, row.state, now()) for row in rows])
            size = Path(f"{path}-wal").stat().st_size
            if reader:
                assert sum(1 for _ in outcomes) == 2_999
        path.unlink()
        return size

    assert log_after_work(reader=True) <= 1.5 * log_after_work(reader=False)


@pytest.mark.parametrize("state", [State.WAITING, State.SENT, State.NOT_FOUND, State.REFUSED])
def test_a_journal_that_somebody_could_ask_for_stays(path: Path, state: State) -> None:
    fill(path, 10, state)
    assert not remove_finished_journal(path)
    assert sum(1 for _ in read_journal(path, state)) == 10


def test_a_finished_journal_goes_and_its_lock_stays(path: Path) -> None:
    fill(path, 10)
    assert remove_finished_journal(path)
    assert [file.name for file in path.parent.iterdir()] == [f"{path.name}.lock"]
    assert not remove_finished_journal(path)


def test_a_journal_in_use_isnt_removed(path: Path) -> None:
    fill(path, 10)
    with Journal.open(path, APP_ID, HOST), pytest.raises(JournalError, match="in use"):
        remove_finished_journal(path)
    assert path.exists()
    assert remove_finished_journal(path)
