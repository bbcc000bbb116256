"""The commands for bulk jobs: ``zim-async cleanup`` and ``zim-async journal``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from .. import bulk
from ..actions import PACKAGE_ACTIONS
from ..bulk._journal import Journal
from ..bulk._progress import Progress
from ..bulk._records import Entry, State
from ..client import ZimClient
from ..errors import InvalidArgumentError
from ._columns import columns_of, known_shapes, to_row
from ._display import Display, duration
from ._exit_codes import (
    CREDENTIALS,
    DONE,
    INTERRUPTED,
    JOB_CODES,
    JOB_HELP,
    REFUSED,
    RESUMABLE,
    examples,
    exits_by,
)
from ._files import STANDARD_INPUT
from ._output import output, say, show, tell
from ._report import report_line, report_values, tally_table, tally_values
from ._rows import Format, RowReader, open_to_write, write_rows
from ._sandbox import REHEARSAL_APP_ID, rehearsal_client
from ._signals import Signals
from ._source import Source

_REASON: Final = ("code", "reason", "request_id")
_RESUME: Final = "interrupted; run the same again to resume"


@click.command(
    epilog=examples(
        "zim-async cleanup rows.csv --dry-run",
        "zim-async cleanup rows.csv --failed failed.csv",
        "zim-async cleanup friends.csv --action delete_conv --conv-type peer --map user=from_user_id,friend=conv_id",
    )
    + CREDENTIALS
    + JOB_HELP
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="Where to remember what was done.")
@click.option("--failed", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the rows refused.")
@click.option("--dry-run", is_flag=True, help="Send nothing; say what would be sent, and how long that takes.")
@click.option("--qps", type=click.FloatRange(0, min_open=True), help="Calls a second of each action, instead of 20.")
@click.option("--sandbox", is_flag=True, help="Send to a sandbox on this machine.")
@click.option(
    "--map", "renames", multiple=True, metavar="NAME=COLUMN,...", help="Columns by the FILE's names for them."
)
@click.option("--action", help="The action of each row, for FILEs without that column.")
@click.option("--conv-type", help="The type of each row, for FILEs without that column.")
@click.option("--literal-ids", is_flag=True, help="Take IDs as they are, whatever they look like.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out instead of stopping at them.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
@exits_by(JOB_CODES)
def cleanup(
    files: tuple[str, ...],
    journal: Path | None,
    failed: Path | None,
    dry_run: bool,
    qps: float | None,
    sandbox: bool,
    renames: tuple[str, ...],
    action: str | None,
    conv_type: str | None,
    literal_ids: bool,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Clear and delete what the rows of FILEs say, at the quota's pace; resume where an earlier run ended.

    Rows are CSV with a header, JSON Lines or a JSON array, gzipped or not; - is standard input. Their
    fields: action (clear_peer_message, delete_conv), from_user_id, to_user_id, conv_id, conv_type (peer, group).
    All are read before the first is sent.

    The journal is the first FILE's name with .journal after it unless named; that one goes when all is done.
    What is still open in it is sent too, whether the FILEs have it again or not.
    """
    if qps is not None and not math.isfinite(qps):
        raise click.UsageError("--qps must be a finite number of calls a second")
    fixed = {name: value for name, value in (("action", action), ("conv_type", conv_type)) if value is not None}
    source = Source(files, RowReader(renames=renames, fixed=fixed, literal_ids=literal_ids), skip_bad=skip_bad)
    with _path_of(journal, files, sandbox) as path:
        if dry_run:
            return asyncio.run(_plan(_planning_client(path, qps, sandbox), source, path, as_json))
        _check_failed(failed, path, files)
        display = Display(Console(stderr=True))
        signals = Signals(display.notify)
        try:
            with signals.handled():
                progress = asyncio.run(_run(source, path, qps, sandbox, signals, display))
        except (KeyboardInterrupt, asyncio.CancelledError):
            tell(_RESUME)
            return INTERRUPTED if signals.began else RESUMABLE
        if failed is not None:
            _write_failed(path, failed, source.format)
        if journal is None and not (progress.remaining or progress.refused):
            for finished in (path, Path(f"{path}.lock")):
                finished.unlink(missing_ok=True)
    _print_report(progress, source.bad_rows, as_json)
    if progress.remaining or progress.interrupted:
        tell(_RESUME)
        return RESUMABLE
    return REFUSED if progress.refused else DONE


@click.command(epilog=examples("zim-async journal rows.csv.journal") + JOB_HELP)
@click.argument("path", metavar="JOURNAL", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--export", "state", type=click.Choice([state.value for state in State]), help="Write out rows by state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --export, JSON Lines instead of CSV.")
@exits_by(JOB_CODES)
def journal(path: Path, state: str | None, as_json: bool) -> int:
    """Show where the job of JOURNAL stands, also while it runs; "sent" is what is in flight, or may have been."""
    with Journal.view(path) as found:
        tallies = found.tallies()
        if state is not None:
            with output() as stream:
                rows = map(_entry_row, found.entries(State(state)))
                write_rows(stream, "jsonl" if as_json else "csv", rows, _columns())
        elif as_json:
            say(json.dumps({"app_id": found.app_id, "host": found.host, "actions": tally_values(tallies)}))
        else:
            show(tally_table(tallies, f"AppId {found.app_id} at {found.host}"))
    if any(tally.remaining for tally in tallies.values()):
        return RESUMABLE
    return REFUSED if any(tally.refused for tally in tallies.values()) else DONE


async def _plan(client: ZimClient, source: Source, path: Path, as_json: bool) -> int:
    async with client as zim:
        progress = await bulk.plan(zim, source.actions(), journal=path)
        seconds = math.ceil(max(tally.remaining / zim.qps[name] for name, tally in progress.tallies.items()))
    if as_json:
        values = {"dry_run": True, "bad_rows": source.bad_rows, "seconds_at_quota": seconds}
        say(json.dumps(report_values(progress) | values))
    else:
        show(
            tally_table(progress.tallies, "dry run: nothing was sent"),
            f"{progress.remaining} to be sent, which takes {duration(seconds)} at the quota",
        )
    return DONE


async def _run(
    source: Source, path: Path, qps: float | None, sandbox: bool, signals: Signals, display: Display
) -> Progress:
    task = asyncio.current_task()
    with display:

        def on_progress(progress: Progress) -> None:
            signals.begin(task)  # all is read: the first report comes before the first call
            display.update(progress)

        try:
            async with rehearsal_client(qps) if sandbox else ZimClient.from_env(qps=qps) as zim:
                return await bulk.cleanup(
                    zim, source.actions(), journal=path, on_progress=on_progress, stop=signals.stop
                )
        finally:
            signals.end()


def _planning_client(path: Path, qps: float | None, sandbox: bool) -> ZimClient:
    if sandbox or not (path.exists() or os.environ.get("ZIM_APP_ID")):
        # Nothing is sent: while there is no journal to belong to an application, any will do.
        return ZimClient(REHEARSAL_APP_ID, "none", base_url="http://127.0.0.1", qps=qps)
    return ZimClient.from_env(qps=qps)


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
    with Journal.view(journal) as found, open_to_write(failed) as file:
        write_rows(file, form, map(_entry_row, found.entries(State.REFUSED)), _columns())


def _columns() -> tuple[str, ...]:
    names = {kind.name for kind in PACKAGE_ACTIONS}
    return columns_of(shape for shape in known_shapes().values() if shape.kind.name in names) + _REASON


def _entry_row(entry: Entry) -> dict[str, object]:
    row = to_row(entry.action)
    if entry.code is not None:
        row |= {"code": entry.code, "reason": entry.message, "request_id": entry.request_id}
    return row


def _print_report(progress: Progress, bad_rows: int, as_json: bool) -> None:
    if as_json:
        say(json.dumps(report_values(progress) | {"bad_rows": bad_rows}))
        return
    show(
        tally_table(progress.tallies, "zim-async cleanup"),
        report_line(progress) + (f"; {bad_rows} bad rows left out" if bad_rows else ""),
    )
