import io
from dataclasses import replace

import pytest
from rich.console import Console

from zim_async.bulk import Progress, State
from zim_async.cli._display import Display, duration, is_animated


def at(done: int, *, of: int = 100, other: int = 0, outage: str | None = None) -> Progress:
    none = dict.fromkeys(State, 0)
    tallies = {"ClearPeerMessage": none | {State.DONE: done, State.WAITING: of - done}}
    if other:
        tallies["DeleteConv"] = none | {State.NOT_FOUND: other, State.SENT: other}
    return Progress(tallies, read=of, retried=3, throttled=2, seconds=1.0, outage=outage)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_nobody_sees_a_bar_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(Console(file=io.StringIO())) as display:
        display.update(at(7, outage="HTTP 503"))
        display.update(at(8))
        display.notify("ending")
    line, notice, last = capsys.readouterr().err.splitlines()
    assert line.startswith("7 of 100 at 0.0/s: ")
    assert line.endswith("throttled 2; waiting and probing: HTTP 503")
    assert notice == "ending"
    assert last.startswith("8 of 100")


def test_a_job_of_users_counts_them(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(Console(file=io.StringIO())) as display:
        display.update(replace(at(7), groups=3, groups_finished=1))
    assert capsys.readouterr().err.startswith("users 1 of 3; 7 of 100 at ")


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Display(Console(file=out, width=80)) as display:
        display.update(at(7, outage="busy [/shard]"))
        display.notify("ending when the calls in flight are answered")
    assert "ClearPeerMessage" in out.getvalue()
    assert "7/100" in out.getvalue()
    assert "DeleteConv" not in out.getvalue()
    assert "busy [/shard]" in out.getvalue()
    assert "ending when the calls in flight are answered\n" in out.getvalue()


def test_the_speed_tells_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    display = Display(Console(file=io.StringIO()), get_time=lambda: now)
    display.update(at(0))
    for second in range(1, 21):
        now = float(second)
        display.update(at(2 * second))
    assert capsys.readouterr().err.splitlines()[-1].startswith("40 of 100 at 2.0/s, 0:00:30 left: ")


@pytest.mark.parametrize(
    ("environment", "terminal", "animated"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_bars_move_only_where_they_can(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, animated: bool
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_animated(Console(file=Terminal() if terminal else io.StringIO())) is animated


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "0:00:00"), (3_725, "1:02:05"), (90_000, "1 day, 1:00:00")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
