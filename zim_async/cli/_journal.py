"""The command ``zim-async journal``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..bulk import JournalReader, Progress, State, read_journal
from ._exit_codes import JOB_CODES, JOB_HELP, examples, exits_by
from ._jobs import PATH, exit_code, journal_columns
from ._output import output, say, show
from ._report import code_lines, outcome_row, report_values, state_table
from ._rows import write_rows


@click.command(
    epilog=examples("zim-async journal rows.csv.journal", "zim-async journal rows.csv.journal --export refused")
    + JOB_HELP
)
@click.argument("path", metavar="JOURNAL", type=PATH)
@click.option("--export", "state", type=click.Choice([state.value for state in State]), help="Write out rows by state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --export, JSON Lines instead of CSV.")
@exits_by(JOB_CODES)
def journal(path: Path, state: str | None, as_json: bool) -> int:
    """Show where the job of JOURNAL stands, also while it runs. "sent" is what is in flight, or may have been."""
    reader = read_journal(path, *([State(state)] if state else []))
    progress = Progress(reader.tallies, reader.codes)
    if state is not None:
        with output() as stream:
            write_rows(stream, "jsonl" if as_json else "csv", map(outcome_row, reader), journal_columns(progress))
    elif as_json:
        figures = {"app_id": reader.app_id, "host": reader.host}
        say(json.dumps(figures | {name: report_values(progress)[name] for name in ("actions", "codes")}))
    else:
        _print(reader, progress)
    return exit_code(progress)


def _print(reader: JournalReader, progress: Progress) -> None:
    show(state_table(progress, f"AppId {reader.app_id} at {reader.host}"))
    for line in code_lines(progress):
        say(line)
