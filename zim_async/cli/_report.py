"""What is said of a bulk job when it ends, or when its journal is looked at."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from ..bulk._progress import Progress
from ..bulk._records import Tallies
from ._display import duration

_STATES: Final = ("waiting", "in flight or unknown", "done", "already gone", "refused")  # as in a tally


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
