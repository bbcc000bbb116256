"""The command ``zim-async erase``."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from .._endpoints import resolve
from .._environment import read_place
from ..actions import ConvType
from ..bulk import OnProgress, Progress
from ..client import ZimClient
from ..erase import erase_users, survey_users
from ..errors import InvalidArgumentError
from ._client import env_client, rehearsal_client
from ._erase_report import SurveyTotals, Totals, print_erasures, print_survey, write_report
from ._exit_codes import CREDENTIALS, DONE, JOB_CODES, JOB_HELP, REFUSED, RESUMABLE, examples, exits_by
from ._files import STANDARD_INPUT, name_of
from ._id_lists import IdList
from ._jobs import PATH, JobOptions, check_files, finish_job, job_options, journal_of, paths_of, run_job
from ._output import tell

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _parse_age(_context: click.Context, _option: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    if (found := re.fullmatch(r"([0-9]{1,4})([smhdw])", value)) is None:
        raise click.BadParameter(f"{value!a} is no time such as 90d, 12h or 2w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command(
    epilog=examples(
        "zim-async erase alice bob --dry-run",
        "zim-async erase --users closed-accounts.txt --report evidence.csv",
        "zim-async erase alice --type peer --older-than 90d --yes",
    )
    + CREDENTIALS
    + JOB_HELP
)
@click.argument("user_ids", metavar="[USER_ID]...", nargs=-1)
@click.option("--users", metavar="FILE", help="More users: one a line, or a CSV's column user_id; - is standard input.")
@click.option("--keep", metavar="FILE", help="Conversations to keep: one a line, or a CSV's column conv_id.")
@click.option(
    "--older-than", metavar="AGE", callback=_parse_age, help="Only what wasn't updated for so long: 90d, 12h."
)
@click.option("--type", "kind", type=click.Choice(["peer", "group"]), help="Only conversations of this type.")
@click.option("--report", type=PATH, help="Where to write what came of each user, as CSV.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--literal-ids", is_flag=True, help="Take IDs as they are, whatever they look like.")
@click.option("--resume", is_flag=True, help="Go on with users of the journal that aren't given this time.")
@job_options
@exits_by(JOB_CODES)
def erase(
    user_ids: tuple[str, ...],
    users: str | None,
    keep: str | None,
    older_than: timedelta | None,
    kind: str | None,
    report: Path | None,
    yes: bool,
    literal_ids: bool,
    resume: bool,
    **values: Any,
) -> int:
    """Clear and delete all conversations of users, and list them again to see that nothing is left.

    For each user: all pages of the list are read, each conversation's messages are cleared and then it is deleted,
    until the list is empty. Others keep their copies. The journal is FILE.journal, or erase.journal.
    """
    options = JobOptions(**values)
    inputs = paths_of(name for name in (users, keep) if name)
    ids = IdList("user_id", user_ids, users, literal_ids)
    if not (user_ids or users):
        raise InvalidArgumentError("give the users to erase, or --users FILE")
    filters: dict[str, Any] = {
        "older_than": older_than,
        "conv_type": None if kind is None else ConvType[kind.upper()],
        "keep": _read_kept(keep, literal=literal_ids) if keep else (),
    }
    with journal_of(options, users or "erase") as path:
        check_files(inputs, path, [("--failed", options.failed), ("--report", report)])
        if options.dry_run:
            return print_survey(asyncio.run(_survey(ids, options, filters)), options)
        if not yes and not options.sandbox:
            _ask(ids)

        async def work(zim: ZimClient, on_progress: OnProgress, stop: asyncio.Event) -> Progress:
            return await erase_users(
                zim,
                ids,
                journal=path,
                on_progress=on_progress,
                stop=stop,
                unlisted="send" if resume else "error",
                **filters,
            )

        progress = run_job(work, options)
        totals = Totals.of(path)
        if report is not None:
            write_report(path, report)
        print_erasures(progress, totals, options)
        finish_job(progress, path, options, "csv")
    return _exit_code(progress, totals, options)


def _read_kept(name: str, *, literal: bool) -> frozenset[str]:
    kept = frozenset(IdList("conv_id", (), name, literal))
    if not kept:
        raise InvalidArgumentError(f"{name_of(name)} holds no IDs. Leave --keep out if nothing is to be kept")
    tell(f"to be kept: {len(kept)} conversation IDs from {name_of(name)}")
    return kept


def _ask(ids: IdList) -> None:
    """Ask whether users are to be erased.

    Raises:
        InvalidArgumentError: They aren't, or there is nobody to ask.
    """
    if ids.file is not None and Path(ids.file).is_fifo():
        raise InvalidArgumentError("a pipe can be read only once: --yes is needed. Nothing was sent")
    if ids.file == STANDARD_INPUT or sys.stdin is None or not sys.stdin.isatty():
        raise InvalidArgumentError("without a terminal to ask on, --yes is needed. Nothing was sent")
    count = sum(1 for _ in ids)
    host = resolve(*read_place()).host
    question = f"Erase the conversations of {count} users at {host}? It can't be undone"
    if not click.confirm(question, err=True):
        raise InvalidArgumentError("not confirmed. Nothing was sent")


async def _survey(ids: IdList, options: JobOptions, filters: dict[str, Any]) -> SurveyTotals:
    async with rehearsal_client(options.qps) if options.sandbox else env_client(options.qps) as zim:
        totals = SurveyTotals(zim.qps)
        async for survey in survey_users(zim, ids, **filters):
            totals.users.append(survey)
    return totals


def _exit_code(progress: Progress, totals: Totals, options: JobOptions) -> int:
    if progress.remaining or progress.interrupted or progress.groups_finished < progress.groups:
        return RESUMABLE
    unknown = 0 if options.ignore_not_found else totals.not_found
    return REFUSED if totals.users - totals.erased - totals.not_found or unknown else DONE
