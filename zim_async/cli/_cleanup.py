"""The commands for bulk jobs: ``zim-async cleanup`` and ``zim-async journal``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import click
from rich.console import Console

from .. import bulk
from ..actions import Action
from ..bulk import Outcome, Progress, State, read_journal, remove_finished_journal
from ..client import ZimClient
from ..errors import InvalidArgumentError, ZimError
from ..limits.limiter import DEFAULT_QPS
from ..sandbox import Sandbox
from ._display import Display, duration, report_line, report_values, tally_table, tally_values
from ._exit_codes import CREDENTIALS, DONE, HELP_FOR_BULK, INTERRUPTED, REFUSED, RESUMABLE, STOPPED, USAGE
from ._rows import COLUMNS, STANDARD_INPUT, Format, RowFile, open_to_write, to_row, write_rows

MOST_BAD_ROWS_SHOWN: Final = 100
SANDBOX_APP_ID: Final = 1  # the same each time, so that one run takes up the journal of another
_REASON: Final = ("code", "reason", "request_id")


@dataclass
class _Source:
    """The rows of all files, and what was found on the way."""

    files: tuple[str, ...]
    skip_bad: bool
    format: Format = "csv"
    bad_rows: int = 0

    def actions(self) -> Iterator[Action]:
        """Yield the actions; at the end, raise ``InvalidArgumentError`` if bad rows weren't to be skipped."""
        for number, name in enumerate(self.files):
            with RowFile(name) as file:
                if number == 0:
                    self.format = file.format
                yield from file.actions(self._tell)
        if self.bad_rows and not self.skip_bad:
            raise InvalidArgumentError(
                f"bad rows: {self.bad_rows}. Nothing was sent. Mend them, or leave them out with --skip-bad"
            )

    def _tell(self, problem: str) -> None:
        self.bad_rows += 1
        if self.bad_rows <= MOST_BAD_ROWS_SHOWN:
            click.echo(problem, err=True)
        elif self.bad_rows == MOST_BAD_ROWS_SHOWN + 1:
            click.echo("further bad rows are counted only", err=True)


class _Signals:
    """Answers SIGINT and SIGTERM: while calls are sent, the first drains, the second cancels; else they break off."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.began = False
        self._sending: asyncio.Task[object] | None = None
        self._count = 0

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Answer the signals within."""
        if threading.current_thread() is not threading.main_thread():  # where Python takes no handlers
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin(self, sending: asyncio.Task[object] | None) -> None:
        """Note that calls are being sent, or, without a task, no longer."""
        self._sending = sending
        self.began = True

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._sending is None or self._count > 2:
            raise KeyboardInterrupt
        answer = self._drain if self._count == 1 else self._sending.cancel
        self._sending.get_loop().call_soon_threadsafe(answer)

    def _drain(self) -> None:
        self.stop.set()
        with contextlib.suppress(OSError):
            click.echo("ending when the calls in flight are answered; once more to leave at once", err=True)


@click.command(epilog=CREDENTIALS + HELP_FOR_BULK)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="Where to remember what was done.")
@click.option("--failed", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the rows refused.")
@click.option("--dry-run", is_flag=True, help="Send nothing; say what would be sent, and how long that takes.")
@click.option("--qps", type=click.FloatRange(0, min_open=True), help="Calls a second of each action, instead of 20.")
@click.option("--sandbox", is_flag=True, help="Send to a sandbox on this machine.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out instead of stopping at them.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def cleanup(
    files: tuple[str, ...],
    journal: Path | None,
    failed: Path | None,
    dry_run: bool,
    qps: float | None,
    sandbox: bool,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Clear and delete what the rows of FILEs say, at the quota's pace; go on where an earlier run ended.

    Rows are CSV with a header, or JSON Lines, gzipped if the name ends in .gz; - is standard input. Their
    fields: action (clear_peer_message, delete_conv), from_user_id, to_user_id, conv_id, conv_type (peer, group).
    All are read before the first is sent.

    The journal is the first FILE's name with .journal after it unless named; that one goes when all is done.
    What is still open in it is sent too, whether the FILEs have it again or not.
    """
    if qps is not None and not math.isfinite(qps):
        raise click.UsageError("--qps must be a finite number of calls a second")
    source = _Source(files, skip_bad)
    signals = _Signals()
    try:
        with _path_of(journal, files, sandbox) as path:
            if dry_run:
                return asyncio.run(_plan(_planning_client(path, qps, sandbox), source, path, as_json))
            _check_failed(failed, path, files)
            with signals.handled():
                progress = asyncio.run(_run(source, path, qps, sandbox, signals))
            if failed is not None:
                _write_failed(path, failed, source.format)
            if journal is None:
                remove_finished_journal(path)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("interrupted; run the same again to go on", err=True)
        return INTERRUPTED if signals.began else RESUMABLE
    except InvalidArgumentError as error:
        click.echo(f"zim-async: {error}", err=True)
        return USAGE
    except (ZimError, OSError) as error:
        click.echo(f"zim-async: {error}", err=True)
        return STOPPED
    _print_report(progress, source.bad_rows, as_json)
    if progress.remaining or progress.interrupted:
        click.echo("interrupted; run the same again to go on", err=True)
        return RESUMABLE
    return REFUSED if progress.refused else DONE


@click.command(epilog=HELP_FOR_BULK)
@click.argument("path", metavar="JOURNAL", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--export", "state", type=click.Choice([state.value for state in State]), help="Write out rows by state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --export, JSON Lines instead of CSV.")
def journal(path: Path, state: str | None, as_json: bool) -> int:
    """Show where the job of JOURNAL stands, also while it runs; "sent" is what is in flight, or may have been."""
    try:
        found = read_journal(path, *([] if state is None else [State(state)]))
        if state is not None:
            write_rows(sys.stdout, "jsonl" if as_json else "csv", map(_outcome_row, found), COLUMNS + _REASON)
            return DONE
    except ZimError as error:
        click.echo(f"zim-async: {error}", err=True)
        return STOPPED
    if as_json:
        click.echo(json.dumps({"app_id": found.app_id, "host": found.host, "actions": tally_values(found.tallies)}))
    else:
        Console().print(tally_table(found.tallies, f"AppId {found.app_id} at {found.host}"))
    return DONE


async def _plan(client: ZimClient, source: _Source, path: Path, as_json: bool) -> int:
    async with client as zim:
        progress = await bulk.plan(zim, source.actions(), journal=path, unlisted="send")
        seconds = math.ceil(
            max((progress.of(name).remaining / zim.qps[name] for name in progress.tallies), default=0.0)
        )
    if as_json:
        values = {"dry_run": True, "bad_rows": source.bad_rows, "seconds_at_quota": seconds}
        click.echo(json.dumps(report_values(progress) | values))
    else:
        console = Console()
        console.print(tally_table(progress.tallies, "dry run: nothing was sent"))
        console.print(f"{progress.remaining} to be sent, which takes {duration(seconds)} at the quota")
    return DONE


async def _run(source: _Source, path: Path, qps: float | None, sandbox: bool, signals: _Signals) -> Progress:
    task = asyncio.current_task()
    with Display(Console(stderr=True)) as display:

        def on_progress(progress: Progress) -> None:
            signals.begin(task)  # all is read: the first report comes before the first call
            display.update(progress)

        try:
            async with _sandbox_client(qps) if sandbox else ZimClient.from_env(qps=qps) as zim:
                return await bulk.cleanup(
                    zim,
                    source.actions(),
                    journal=path,
                    on_progress=on_progress,
                    stop=signals.stop,
                    unlisted="send",
                )
        finally:
            if signals.began:
                signals.begin(None)


def _planning_client(path: Path, qps: float | None, sandbox: bool) -> ZimClient:
    if sandbox or not (path.exists() or os.environ.get("ZIM_APP_ID")):
        # Nothing is sent: while there is no journal to belong to an application, any will do.
        return ZimClient(SANDBOX_APP_ID, "none", base_url="http://127.0.0.1", qps=qps)
    return ZimClient.from_env(qps=qps)


@contextlib.asynccontextmanager
async def _sandbox_client(qps: float | None) -> AsyncIterator[ZimClient]:
    async with (
        Sandbox(app_id=SANDBOX_APP_ID, qps=max(1, int(qps or DEFAULT_QPS))) as box,
        ZimClient(box.app_id, box.server_secret, base_url=box.base_url, qps=qps) as zim,
    ):
        yield zim


@contextlib.contextmanager
def _path_of(journal: Path | None, files: tuple[str, ...], sandbox: bool) -> Iterator[Path]:
    """Have a path for the journal: by default beside the first file, and a temporary one for the sandbox's."""
    if journal is None and sandbox:
        with tempfile.TemporaryDirectory(prefix="zim_async-") as directory:
            yield Path(directory, "journal")
    else:
        yield journal or Path(f"{'stdin' if files[0] == STANDARD_INPUT else files[0]}.journal")


def _check_failed(failed: Path | None, journal: Path, files: tuple[str, ...]) -> None:
    """Find out now, not after hours, whether the rows refused can be written, and over nothing of value."""
    if failed is None:
        return
    for taken in (journal, *(Path(name) for name in files if name != STANDARD_INPUT)):
        if taken.resolve() == failed.resolve():
            raise InvalidArgumentError(f"--failed would overwrite {failed}")
    try:
        failed.open("a").close()
    except OSError as error:
        raise InvalidArgumentError(f"{failed} can't be written: {error.strerror}") from None


def _write_failed(journal: Path, failed: Path, form: Format) -> None:
    with open_to_write(failed) as file:
        write_rows(file, form, map(_outcome_row, read_journal(journal, State.REFUSED)), COLUMNS + _REASON)


def _outcome_row(outcome: Outcome) -> dict[str, object]:
    row = to_row(outcome.action)
    if outcome.code:
        row |= {"code": outcome.code, "reason": outcome.message, "request_id": outcome.request_id}
    return row


def _print_report(progress: Progress, bad_rows: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report_values(progress) | {"bad_rows": bad_rows}))
        return
    console = Console()
    console.print(tally_table(progress.tallies, "zim-async cleanup"))
    console.print(report_line(progress) + (f"; {bad_rows} bad rows left out" if bad_rows else ""))
