"""How a bulk job shows on a terminal, in a log, and as its last word."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..bulk import Progress, State

RATE_SECONDS: Final = 30.0  # over which the rate is taken
LINE_SECONDS: Final = 5.0  # between plain lines
_STATES: Final = dict(zip(State, ("waiting", "in flight or unknown", "done", "not found", "refused"), strict=True))


class Speed:
    """How many actions of each name come to an end in a second, over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[str, int]]] = deque()

    def add(self, progress: Progress, now: float) -> None:
        """Take a look at a job; looks within the same second are passed over."""
        if self._samples and now - self._samples[-1][0] < 1.0:
            return
        self._samples.append((now, {name: progress.of(name).finished for name in progress.tallies}))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    def of(self, name: str) -> float:
        """Return the actions of a name that came to an end in a second; 0 while that isn't known."""
        if len(self._samples) < 2:
            return 0.0
        (since, before), (until, now) = self._samples[0], self._samples[-1]
        return (now.get(name, 0) - before.get(name, 0)) / (until - since)

    def seconds_left(self, progress: Progress) -> float | None:
        """Return how long the job takes from here on at this speed, or None while that isn't known."""
        left = {name: progress.of(name).remaining for name in progress.tallies}
        waits = [(count, self.of(name)) for name, count in left.items() if count]
        return max((count / speed for count, speed in waits), default=0.0) if all(speed for _, speed in waits) else None


class Display:
    """Shows a job while entered: bars on a terminal, elsewhere a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._speed = Speed()
        self._progress: Progress | None = None
        self._next_line_at = 0.0
        self._live = Live(console=console, get_renderable=self._render, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Take up where the job stands."""
        now = time.monotonic()
        self._speed.add(progress, now)
        self._progress = progress
        if self._live is None and now >= self._next_line_at:
            self._next_line_at = now + LINE_SECONDS
            # Whoever doesn't read them any more doesn't end the job by that.
            with contextlib.suppress(OSError):
                self._console.file.write(self._line(progress) + "\n")
                self._console.file.flush()

    def _line(self, progress: Progress) -> str:
        speed = sum(self._speed.of(name) for name in progress.tallies)
        seconds = self._speed.seconds_left(progress)
        ends = "" if seconds is None else f", {duration(seconds)} left"
        total = progress.finished + progress.remaining
        line = f"{progress.finished} of {total} at {speed:.1f}/s{ends}: {_counts(progress)}"
        return line if progress.outage is None else f"{line}; waiting and probing: {progress.outage}"

    def _render(self) -> RenderableType:
        if self._progress is None:
            return "reading"
        bars = Table.grid(padding=(0, 2))
        for name in self._progress.tallies:
            one = self._progress.of(name)
            bar = ProgressBar(total=one.total, completed=one.finished, width=40)
            bars.add_row(name, bar, f"{one.finished}/{one.total}", f"{self._speed.of(name):.1f}/s")
        return Group(bars, Text(self._line(self._progress)))  # as it is: a server's text may look like markup


def duration(seconds: float) -> str:
    """Return a time as days, if any, hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def tally_table(tallies: Mapping[str, Mapping[State, int]], title: str) -> Table:
    """Return a table of how many actions are in each state."""
    table = Table(title=title)
    table.add_column("")
    for name in tallies:
        table.add_column(name, justify="right")
    for state, label in _STATES.items():
        table.add_row(label, *(str(tally[state]) for tally in tallies.values()))
    table.add_row("all", *(str(sum(tally.values())) for tally in tallies.values()), style="bold")
    return table


def tally_values(tallies: Mapping[str, Mapping[State, int]]) -> dict[str, dict[str, int]]:
    """Return for machines how many actions of each name are in each state."""
    return {name: {state.value: tally[state] for state in State} for name, tally in tallies.items()}


def report_line(progress: Progress) -> str:
    """Return what is to be said of a run besides the table."""
    return (
        f"{progress.read} read, {progress.duplicates} of them duplicates or known from before; {progress.retried}"
        f" retried, {progress.throttled} refused for their rate; {duration(progress.seconds)}"
    )


def report_values(progress: Progress) -> dict[str, object]:
    """Return a run's figures for machines."""
    return {
        "done": progress.done,
        "not_found": progress.not_found,
        "refused": progress.refused,
        "waiting": progress.count(State.WAITING),
        "sent": progress.count(State.SENT),
        "read": progress.read,
        "duplicates": progress.duplicates,
        "retried": progress.retried,
        "throttled": progress.throttled,
        "seconds": round(progress.seconds, 3),
        "interrupted": progress.interrupted,
        "actions": tally_values(progress.tallies),
    }


def _counts(progress: Progress) -> str:
    return (
        f"done {progress.done}, not found {progress.not_found}, refused {progress.refused},"
        f" retried {progress.retried}, refused for rate {progress.throttled}"
    )
