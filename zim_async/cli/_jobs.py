"""What all commands for bulk jobs have in common: their options, a run with display and signals, and its end."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
from rich.console import Console

from ..bulk import OnProgress, Progress, State, journal_files, path_of, read_journal, remove_finished_journal
from ..client import ZimClient
from ..errors import InvalidArgumentError
from ._client import env_client, rehearsal_client
from ._columns import columns_of, known_shapes
from ._display import Display
from ._exit_codes import DONE, INTERRUPTED, REFUSED, RESUMABLE, RESUME
from ._files import STANDARD_INPUT
from ._output import say, show, tell
from ._report import OUTCOME_COLUMNS, code_lines, last_words, outcome_row, report_line, report_values, state_table
from ._rows import Format, open_to_write, write_rows
from ._signals import Signals

T = TypeVar("T")
Work: TypeAlias = Callable[[ZimClient, OnProgress, asyncio.Event], Awaitable[T]]
PATH: Any = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What every command for a bulk job may be told."""

    journal: Path | None
    failed: Path | None
    dry_run: bool
    qps: float | None
    sandbox: bool
    ignore_not_found: bool
    as_json: bool

    def __post_init__(self) -> None:
        if self.qps is not None and not math.isfinite(self.qps):
            raise click.UsageError("--qps must be a finite number of calls a second")


def job_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of ``JobOptions``."""
    options = (
        click.option("--journal", type=PATH, help="Where to remember what was done."),
        click.option("--failed", type=PATH, help="Where to write the rows that were not found or refused."),
        click.option("--dry-run", is_flag=True, help="Change nothing; say what would be sent, and how long it takes."),
        click.option("--qps", type=click.FloatRange(0, min_open=True), help="Calls a second of each action, not 20."),
        click.option("--sandbox", is_flag=True, help="Send to a sandbox on this machine."),
        click.option("--ignore-not-found", is_flag=True, help="Take for done what the server doesn't know."),
        click.option("--json", "as_json", is_flag=True, help="Report as one JSON object."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def journal_of(options: JobOptions, first_file: str) -> AbstractContextManager[Path]:
    """Have a path for the journal: the one named, one beside the first file, or a temporary one for the sandbox's."""
    if options.journal is not None or options.sandbox:
        return path_of(options.journal)
    # A pipe has no place, nor a name that a second run would know.
    named = first_file != STANDARD_INPUT and (Path(first_file).is_file() or not Path(first_file).exists())
    return path_of(f"{first_file if named else 'stdin'}.journal")


def paths_of(names: Iterable[str]) -> list[Path]:
    """Return where the inputs with some names are, but for standard input.

    Raises:
        InvalidArgumentError: Standard input is named twice.
    """
    names = list(names)
    if names.count(STANDARD_INPUT) > 1:
        raise InvalidArgumentError(f"{STANDARD_INPUT}, which is standard input, may be given once")
    return [Path(name) for name in names if name != STANDARD_INPUT]


def check_files(inputs: Iterable[Path], journal: Path, outputs: Iterable[tuple[str, Path | None]]) -> None:
    """Find out now, not after hours, whether files can be written, and over nothing of value.

    Raises:
        InvalidArgumentError: One can't.
    """
    taken = [*inputs]
    for given in taken:
        if _is_among(given, journal_files(journal)):
            raise InvalidArgumentError(
                f"the journal {journal} would overwrite {given}, one of the FILEs. Give another --journal"
            )
    taken += journal_files(journal)
    for option, path in outputs:
        if path is None:
            continue
        if _is_among(path, taken):
            raise InvalidArgumentError(f"{option} would overwrite {path}")
        taken.append(path)
        is_new = not path.exists()
        try:
            path.open("a").close()
            if is_new:
                path.unlink()
        except OSError as error:
            raise InvalidArgumentError(f"{option}: {path} can't be written: {error.strerror}") from None


def _is_among(path: Path, others: Iterable[Path]) -> bool:
    """Tell whether a path leads to the same file as another one, by whatever names or links."""

    def is_same(other: Path) -> bool:
        return os.path.realpath(path) == os.path.realpath(other) or (
            path.exists() and other.exists() and path.samefile(other)
        )

    return any(map(is_same, others))


def run_job(work: Work[T], options: JobOptions) -> T:
    """Do a job's work with a client, shown as it goes on, until it ends or signals end it."""
    display = Display(Console(stderr=True))
    signals = Signals(display.notify)

    async def run() -> T:
        task = asyncio.current_task()

        def on_progress(progress: Progress) -> None:
            signals.begin(task)  # all is read: the first report comes before the first call
            display.update(progress)

        try:
            async with rehearsal_client(options.qps) if options.sandbox else env_client(options.qps) as zim:
                return await work(zim, on_progress, signals.stop)
        finally:
            signals.end()

    try:
        with signals.handled(), display:
            return asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        tell(RESUME)
        raise click.exceptions.Exit(INTERRUPTED if signals.began else RESUMABLE) from None


def finish_job(progress: Progress, journal: Path, options: JobOptions, form: Format) -> None:
    """Write ``--failed``, and remove a journal that nobody could ask anything of."""
    if options.failed is not None:
        states = (State.REFUSED,) if options.ignore_not_found else (State.NOT_FOUND, State.REFUSED)
        with open_to_write(options.failed) as file:
            rows = map(outcome_row, read_journal(journal, *states))
            write_rows(file, form, rows, journal_columns(progress))
    if options.journal is None:
        remove_finished_journal(journal)


def journal_columns(progress: Progress) -> tuple[str, ...]:
    """Return the columns of a journal's actions and their outcomes."""
    shapes = (shape for shape in known_shapes().values() if shape.kind.name in progress.tallies)
    return columns_of(shapes) + OUTCOME_COLUMNS


def print_report(progress: Progress, title: str, options: JobOptions, extra: dict[str, object], notes: str) -> None:
    """Print a job's figures, for people or machines."""
    if options.as_json:
        say(json.dumps(report_values(progress) | extra))
        return
    show(state_table(progress, title))
    for line in (*code_lines(progress), f"{report_line(progress)}{notes}"):
        say(line)


def end_job(progress: Progress, options: JobOptions, app_id: int, journal: Path) -> int:
    """Say the last words of a job that was run or looked at, and return its exit code."""
    found = None if options.sandbox and options.journal is None else str(journal)
    for line in last_words(progress, app_id=app_id, ignore_not_found=options.ignore_not_found, journal=found):
        tell(line)
    return exit_code(progress, ignore_not_found=options.ignore_not_found)


def exit_code(progress: Progress, *, ignore_not_found: bool = False) -> int:
    """Return the exit code that a job's outcomes come to."""
    if progress.remaining or progress.interrupted:
        return RESUMABLE
    if progress.refused or (progress.not_found and not ignore_not_found):
        return REFUSED
    return DONE
