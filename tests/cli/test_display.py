import io

import pytest
from rich.console import Console

from zim_async.bulk import Progress, State
from zim_async.cli._display import Display, Speed, duration


def at(done: int, *, of: int = 100, other: int = 0, outage: str | None = None) -> Progress:
    none = dict.fromkeys(State, 0)
    tallies = {"ClearPeerMessage": none | {State.DONE: done, State.WAITING: of - done}}
    if other:
        tallies["DeleteConv"] = none | {State.NOT_FOUND: other, State.SENT: other}
    return Progress(tallies, read=of, retried=3, throttled=2, seconds=1.0, outage=outage)


def test_speed_is_taken_over_the_last_half_minute() -> None:
    speed = Speed()
    speed.add(at(0), 0.0)
    assert speed.of("ClearPeerMessage") == 0.0
    assert speed.seconds_left(at(0)) is None
    for second in range(1, 41):
        speed.add(at(second if second <= 10 else 10 + 2 * (second - 10)), float(second))
        speed.add(at(99), second + 0.5)  # within the second: passed over
    assert speed.of("ClearPeerMessage") == pytest.approx(2.0)
    assert speed.seconds_left(at(70)) == pytest.approx(15.0)
    assert speed.seconds_left(at(70, other=1)) is None
    assert speed.seconds_left(at(100)) == 0.0


def test_where_nobody_sees_a_bar_a_line_comes_now_and_then() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=40)) as display:
        display.update(at(7, outage="HTTP 503"))
        display.update(at(8))
    assert out.getvalue().count("\n") == 1
    assert "7 of 100" in out.getvalue()
    assert "refused for rate 2; waiting and probing: HTTP 503" in out.getvalue()


def test_a_terminal_gets_bars() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=200, force_terminal=True)) as display:
        display.update(at(7, outage="busy [/shard]"))
    assert "ClearPeerMessage" in out.getvalue()
    assert "7/100" in out.getvalue()
    assert "DeleteConv" not in out.getvalue()
    assert "busy [/shard]" in out.getvalue()


def test_nobody_reading_the_lines_is_no_error() -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with Display(Console(file=Gone(), width=80)) as display:
        display.update(at(7))


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "0:00:00"), (3_725, "1:02:05"), (90_000, "1 day, 1:00:00")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
