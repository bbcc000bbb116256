"""How a bulk job shows on a terminal, in a log, and as its last word."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from datetime import timedelta
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..bulk._progress import Progress
from ..bulk._records import Tallies

RATE_SECONDS: Final = 30.0  # over which the rate is taken
LINE_SECONDS: Final = 5.0  # between plain lines
_STATES: Final = ("waiting", "in flight or unknown", "done", "already gone", "refused")  # as in a tally


class Speed:
    """How many actions of each name come to an end in a second, over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[str, int]]] = deque()

    def add(self, progress: Progress, now: float) -> None:
        """Take a look at a job; looks within the same second are passed over."""
        if self._samples and now - self._samples[-1][0] < 1.0:
            return
        self._samples.append((now, {name: tally.finished for name, tally in progress.tallies.items()}))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    def of(self, name: str) -> float:
        """Return the actions of a name that came to an end in a second; 0 while that isn't known."""
        if len(self._samples) < 2:
            return 0.0
        (since, before), (until, now) = self._samples[0], self._samples[-1]
        return (now[name] - before[name]) / (until - since)

    def seconds_left(self, progress: Progress) -> float | None:
        """Return how long the job takes from here on at this speed, or None while that isn't known."""
        waits = [(tally.remaining, self.of(name)) for name, tally in progress.tallies.items() if tally.remaining]
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
        for name, tally in self._progress.tallies.items():
            if tally.total:
                bar = ProgressBar(total=tally.total, completed=tally.finished, width=40)
                bars.add_row(name, bar, f"{tally.finished}/{tally.total}", f"{self._speed.of(name):.1f}/s")
        return Group(bars, Text(self._line(self._progress)))  # as it is: a server's text may look like markup


def duration(seconds: float) -> str:
    """Return a time as days, if any, hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def tally_table(tallies: Tallies, title: str) -> Table:
    """Return a table of how many actions are in each state."""
    table = Table(title=title)
    table.add_column("")
    for name in tallies:
        table.add_column(name, justify="right")
    for state, *counts in zip(_STATES, *tallies.values(), strict=True):
        table.add_row(state, *map(str, counts))
    table.add_row("all", *(str(tally.total) for tally in tallies.values()), style="bold")
    return table


def tally_values(tallies: Tallies) -> dict[str, dict[str, int]]:
    """Return for machines how many actions of each name are in each state."""
    return {name: tally._asdict() for name, tally in tallies.items()}


def report_line(progress: Progress) -> str:
    """Return what is to be said of a run besides the table."""
    return (
        f"{progress.read} read, {progress.duplicates} of them duplicates or known from before; {progress.retried}"
        f" retried, {progress.rate_refusals} refused for their rate; {duration(progress.seconds)}"
    )


def report_values(progress: Progress) -> dict[str, object]:
    """Return a run's figures for machines."""
    return {
        "done": progress.done,
        "already_gone": progress.already_gone,
        "refused": progress.refused,
        "waiting": sum(tally.waiting for tally in progress.tallies.values()),
        "sent": sum(tally.sent for tally in progress.tallies.values()),
        "read": progress.read,
        "duplicates": progress.duplicates,
        "retried": progress.retried,
        "rate_refusals": progress.rate_refusals,
        "seconds": round(progress.seconds, 3),
        "interrupted": progress.interrupted,
        "actions": tally_values(progress.tallies),
    }


def _counts(progress: Progress) -> str:
    return (
        f"done {progress.done}, already gone {progress.already_gone}, refused {progress.refused},"
        f" retried {progress.retried}, refused for rate {progress.rate_refusals}"
    )
