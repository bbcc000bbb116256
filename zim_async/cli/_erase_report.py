"""What is said of users to be erased, and of users that were: on the terminal, for machines, and as evidence."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from rich.table import Table
from rich.text import Text

from ..bulk import Progress
from ..erase import ErasedUser, UserSurvey, read_erasures
from ._display import duration
from ._exit_codes import DONE, REFUSED, RESUME
from ._jobs import JobOptions
from ._output import say, show, tell
from ._report import code_lines, report_line, report_values, state_table
from ._rows import open_to_write

MOST_USERS_SHOWN: Final = 50
LISTS: Final = 2  # of a user at least: one before, one after
BEYOND: Final = (
    "the server API can't erase the other side's copies, conversations of disbanded groups, what lists of 1,000 don't"
    " show, nor what arrives later"
)
_COUNTS: Final = ("found", "cleared", "deleted", "kept", "still_listed")


@dataclass(slots=True)
class Totals:
    """What came of all users of a journal. ``failed`` are the first that weren't erased."""

    users: int = 0
    erased: int = 0
    not_found: int = 0
    refused: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    failed: list[ErasedUser] = field(default_factory=list)

    @classmethod
    def of(cls, journal: Path) -> Self:
        """Add up what a journal says of its users."""
        totals = cls()
        for user in read_erasures(journal):
            totals._add(user)
        return totals

    def _add(self, user: ErasedUser) -> None:
        self.users += 1
        self.erased += user.erased
        self.not_found += user.not_found is not None
        self.refused += sum(user.refused.values())
        for name in _COUNTS:
            self.counts[name] += getattr(user, name)
        if not user.erased and len(self.failed) < MOST_USERS_SHOWN:
            self.failed.append(user)

    def values(self) -> dict[str, object]:
        """Return the figures for machines."""
        return {"users": self.users, "erased": self.erased, "users_not_found": self.not_found, **self.counts}


@dataclass(slots=True)
class SurveyTotals:
    """What lists say of users, and at which rates they would be erased."""

    qps: Mapping[str, float]
    users: list[UserSurvey] = field(default_factory=list)

    def count(self, name: str) -> int:
        """Return a sum over the users."""
        return sum(getattr(user, name) for user in self.users)

    def not_found(self) -> int:
        """Return how many users aren't known."""
        return sum(user.not_found is not None for user in self.users)

    def seconds(self) -> int:
        """Return how long it takes at the quota of the action that has most to do."""
        peers, groups = self.count("peers"), self.count("groups")
        calls = {
            "QueryConversationList": LISTS * len(self.users),
            "ClearPeerMessage": peers,
            "ClearMemberGroupMessage": groups,
            "DeleteConv": peers + groups,
        }
        return math.ceil(max(count / self.qps[name] for name, count in calls.items()))


def print_survey(totals: SurveyTotals, options: JobOptions) -> int:
    """Print what would be erased, and return the exit code."""
    names = ("peers", "groups", "kept")
    if options.as_json:
        sums = {name: totals.count(name) for name in names} | {"not_found": totals.not_found()}
        users = [{item.name: getattr(user, item.name) for item in fields(user)} for user in totals.users]
        say(json.dumps({"dry_run": True, **sums, "seconds_at_quota": totals.seconds(), "users": users}))
    else:
        table = Table(title="dry run: nothing was sent but lists")
        for column in ("user", *names, ""):
            table.add_column(column)
        for user in totals.users[:MOST_USERS_SHOWN]:
            unknown = "" if user.not_found is None else f"not found, code {user.not_found}"
            table.add_row(Text(user.user_id), *(str(getattr(user, name)) for name in names), unknown)
        table.add_row(f"all {len(totals.users)}", *(str(totals.count(name)) for name in names), style="bold")
        show(table)
        say(f"erasing them takes {duration(totals.seconds())} at the quota")
    return REFUSED if totals.not_found() and not options.ignore_not_found else DONE


def print_erasures(progress: Progress, totals: Totals, options: JobOptions) -> None:
    """Print what came of a job, for people or machines."""
    if options.as_json:
        groups = {"groups": progress.groups, "groups_finished": progress.groups_finished}
        say(json.dumps(report_values(progress) | totals.values() | groups))
    else:
        show(state_table(progress, "zim-async erase"))
        for line in (*code_lines(progress), *_user_lines(totals), report_line(progress)):
            say(line)
    for line in _last_words(progress, totals, options):
        tell(line)


def write_report(journal: Path, report: Path) -> None:
    """Write what came of each user as CSV."""
    columns = ("user_id", *_COUNTS, "refused", "rounds", "not_found", "problem", "erased", "at")
    with open_to_write(report) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for user in read_erasures(journal):
            writer.writerow([_cell(getattr(user, column)) for column in columns])


def _cell(value: Any) -> object:
    if isinstance(value, Mapping):
        return " ".join(f"{code}:{count}" for code, count in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else value


def _user_lines(totals: Totals) -> Iterator[str]:
    counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in totals.counts.items())
    yield f"{totals.erased} of {totals.users} users erased; conversations: {counts}, refused {totals.refused}"
    for user in totals.failed:
        reason = f"not found, code {user.not_found}" if user.not_found is not None else _remains(user)
        yield f"not erased: {user.user_id!a}: {reason}"


def _remains(user: ErasedUser) -> str:
    refused = "".join(f", {count} refused with code {code}" for code, count in user.refused.items())
    return user.problem or f"{user.still_listed} still listed{refused}"


def _last_words(progress: Progress, totals: Totals, options: JobOptions) -> Iterator[str]:
    if progress.remaining or progress.interrupted or progress.groups_finished < progress.groups:
        yield RESUME
        return
    if not totals.users:
        yield "there were no users"
        return
    yield BEYOND
    if left := totals.users - totals.erased - totals.not_found:
        yield f"not erased: {left} users; --report FILE has what came of each"
    if totals.not_found and not options.ignore_not_found:
        yield f"users not found: {totals.not_found}; --ignore-not-found takes that for done"
    elif not left:
        yield f"all erased: {totals.erased} users" + (f", {totals.not_found} not found" if totals.not_found else "")
