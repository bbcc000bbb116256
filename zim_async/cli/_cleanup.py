"""The command ``zim-async cleanup``."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from .. import bulk
from ..bulk import OnProgress, Progress
from ..client import ZimClient
from ._client import env_client, planning_client
from ._columns import ACTION, columns_of, known_shapes
from ._display import duration
from ._exit_codes import CREDENTIALS, DONE, JOB_CODES, JOB_HELP, USAGE, examples, exits_by
from ._jobs import (
    JobOptions,
    Work,
    check_files,
    end_job,
    exit_code,
    finish_job,
    job_options,
    journal_of,
    paths_of,
    print_report,
    run_job,
)
from ._output import say, show, tell
from ._report import report_values, row_text, state_table
from ._rows import RowReader
from ._source import RowSource

HELP: Final = f"""Clear and delete what the rows of FILEs say, at the quota's pace. Resume where an earlier run ended.

Rows are CSV with a header, JSON Lines or a JSON array, gzipped or not. A - is standard input. Their columns:
{", ".join(columns_of(known_shapes().values()))}. Actions: {", ".join(shape.name for shape in known_shapes().values())}.
All are read before the first is sent.

The journal is the first FILE's name with .journal after it unless named. That one goes when all is done.
"""


class Earlier(NamedTuple):
    """What is to be done about an earlier run's rows."""

    resume: bool
    retry_not_found: bool
    retry_refused: bool


@click.command(
    help=HELP,
    epilog=examples(
        "zim-async cleanup rows.csv --dry-run",
        "zim-async cleanup rows.csv --failed failed.csv",
        "zim-async cleanup friends.csv --action delete_conv --conv-type peer --map me=from_user_id,friend=conv_id",
    )
    + CREDENTIALS
    + JOB_HELP,
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--map", "renames", multiple=True, metavar="NAME=COLUMN,...", help="The FILEs' own names for columns.")
@click.option("--action", help="The action of each row, for FILEs without that column.")
@click.option("--conv-type", help="The type of each row, for FILEs without that column.")
@click.option("--literal-ids", is_flag=True, help="Take IDs as they are, whatever they look like.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out instead of stopping at them.")
@click.option("--resume", is_flag=True, help="Send what is open in the journal too where the FILEs lack it.")
@click.option("--retry-not-found", is_flag=True, help="Send once more what was not found before.")
@click.option("--retry-refused", is_flag=True, help="Send once more what was refused before.")
@job_options
@exits_by(JOB_CODES)
def cleanup(
    files: tuple[str, ...],
    renames: tuple[str, ...],
    action: str | None,
    conv_type: str | None,
    literal_ids: bool,
    skip_bad: bool,
    resume: bool,
    retry_not_found: bool,
    retry_refused: bool,
    **values: Any,
) -> int:
    options = JobOptions(**values)
    fixed = {name: value for name, value in ((ACTION, action), ("conv_type", conv_type)) if value is not None}
    reader = RowReader(renames=renames, fixed=fixed, literal_ids=literal_ids)
    source = RowSource(files, reader, skip_bad=skip_bad, dry_run=options.dry_run)
    earlier = Earlier(resume, retry_not_found, retry_refused)
    inputs = paths_of(files)
    with journal_of(options, files[0]) as path:
        check_files(inputs, path, [("--failed", options.failed)])
        if options.dry_run:
            return _plan(source, path, options, earlier)
        progress, app_id = run_job(_sender(source, path, earlier), options)
        finish_job(progress, path, options, source.format)
        print_report(progress, "zim-async cleanup", options, _bad(source), _notes(source))
        return end_job(progress, options, app_id, path)


def _sender(source: RowSource, path: Path, earlier: Earlier) -> Work[tuple[Progress, int]]:
    """Return what sends the rows and returns where the job stands, and whose it is."""

    async def send(zim: ZimClient, on_progress: OnProgress, stop: asyncio.Event) -> tuple[Progress, int]:
        progress = await bulk.cleanup(
            zim,
            source.actions(),
            journal=path,
            on_progress=on_progress,
            stop=stop,
            unlisted="send" if earlier.resume else "error",
            retry_not_found=earlier.retry_not_found,
            retry_refused=earlier.retry_refused,
        )
        return progress, zim.app_id

    return send


def _plan(source: RowSource, path: Path, options: JobOptions, earlier: Earlier) -> int:
    """Show what a run would send, and return the exit code that it would begin with."""
    # While there is no journal to belong to an application, any will do.
    nobody = options.sandbox or not (path.exists() or os.environ.get("ZIM_APP_ID"))

    async def plan() -> tuple[Progress, int]:
        async with planning_client(options.qps) if nobody else env_client(options.qps) as zim:
            progress = await bulk.plan(
                zim,
                source.actions(),
                journal=path,
                unlisted="send",
                retry_not_found=earlier.retry_not_found,
                retry_refused=earlier.retry_refused,
            )
            waits = (progress.of(name).remaining / zim.qps[name] for name in progress.tallies)
            return progress, math.ceil(max(waits, default=0.0))

    progress, seconds = asyncio.run(plan())
    if options.as_json:
        values = {"dry_run": True, "seconds_at_quota": seconds}
        say(json.dumps(report_values(progress) | _bad(source) | values))
    else:
        show(state_table(progress, "dry run: nothing was sent"))
        say(f"{progress.read} read, {progress.duplicates} of them duplicates or known from before{_notes(source)}")
        say(f"{progress.remaining} to be sent, which takes {duration(seconds)} at the quota")
    problems = list(_objections(progress, source, resume=earlier.resume))
    for problem in problems:
        tell(f"zim-async: {problem}")
    if problems:
        return USAGE
    return DONE if progress.remaining else exit_code(progress, ignore_not_found=options.ignore_not_found)


def _objections(progress: Progress, source: RowSource, *, resume: bool) -> Iterator[str]:
    """Yield why a run would send nothing."""
    if progress.unlisted and not resume:
        rows = " and ".join(map(row_text, progress.unlisted_examples))
        yield f"open in the journal and not in the input: {progress.unlisted}, such as {rows}. --resume sends them too"
    if source.objection:
        yield source.objection


def _notes(source: RowSource) -> str:
    """Return what is to be said of bad rows that stop nothing."""
    if not source.bad_rows or source.objection:
        return ""
    return f"; {source.bad_rows} bad rows ({source.bad_lines} lines) left out"


def _bad(source: RowSource) -> dict[str, object]:
    return {"bad_rows": source.bad_rows, "bad_lines": source.bad_lines, "bad_causes": dict(source.causes)}
