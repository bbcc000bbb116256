"""How a bulk job shows while it runs: bars on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from ..bulk import Progress
from ._output import tell

RATE_SECONDS: Final = 30.0  # over which the rate is taken
LINE_SECONDS: Final = 5.0  # between plain lines


def is_animated(console: Console) -> bool:
    """Tell whether bars can move: on a real terminal that can, whatever ``FORCE_COLOR`` says of colours."""
    return console.is_interactive and console.file.isatty()


class Display:
    """Shows a job while entered."""

    def __init__(self, console: Console, get_time: Callable[[], float] = time.monotonic) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        self._bars = Bars(*columns, console=console, speed_estimate_period=RATE_SECONDS, get_time=get_time)
        self._tasks: dict[str, TaskID] = {}  # by action
        self._live = Live("reading", console=console, transient=True) if is_animated(console) else None
        self._console = console
        self._get_time = get_time
        self._next_line_at = 0.0
        self._untold: str | None = None  # the latest line, while it isn't shown

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._untold is not None:
            tell(self._untold)

    def update(self, progress: Progress) -> None:
        """Show where the job stands."""
        for name in progress.tallies:
            self._update_bar(name, progress.of(name))
        line = self._line(progress)
        if self._live is not None:
            self._live.update(Group(self._bars, Text(line)))  # as it is: a server's text may look like markup
        elif (now := self._get_time()) >= self._next_line_at:
            self._next_line_at = now + LINE_SECONDS
            self._untold = None
            tell(line)
        else:
            self._untold = line

    def notify(self, text: str) -> None:
        """Show a line that stays, above what moves."""
        if self._live is not None:
            self._live.console.print(text)
        else:
            tell(f"\n{text}" if self._console.file.isatty() else text)  # after the terminal's own ^C

    def _update_bar(self, name: str, progress: Progress) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, completed=progress.finished, rate="")
        self._bars.update(self._tasks[name], completed=progress.finished, total=progress.total)
        self._bars.update(self._tasks[name], rate=f"{self._speed(name):.1f}/s")

    def _speed(self, name: str) -> float:
        return self._bars.tasks[self._tasks[name]].speed or 0.0

    def _line(self, progress: Progress) -> str:
        left = self._seconds_left(progress)
        counts = (
            f"done {progress.done}, not found {progress.not_found}, refused {progress.refused},"
            f" retried {progress.retried}, throttled {progress.throttled}"
        )
        users = f"users {progress.groups_finished} of {progress.groups}; " if progress.groups else ""
        line = (
            f"{users}{progress.finished} of {progress.total}"
            f" at {sum(map(self._speed, self._tasks)):.1f}/s"
            f"{'' if left is None else f', {duration(left)} left'}: {counts}"
        )
        return line if progress.outage is None else f"{line}; waiting and probing: {progress.outage}"

    def _seconds_left(self, progress: Progress) -> float | None:
        """Return how long the rest takes at this speed, or None while that isn't known."""
        waits = [(progress.of(name).remaining, self._speed(name)) for name in progress.tallies]
        if any(count and not speed for count, speed in waits):
            return None
        return max((count / speed for count, speed in waits if count), default=0.0)


def duration(seconds: float) -> str:
    """Return a time as days, if any, hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
