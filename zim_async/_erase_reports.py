"""What is told of users that were erased, or would be, and how a journal keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .bulk import read_summaries


@dataclass(frozen=True, slots=True)
class ErasedUser:
    """What became of a user.

    Attributes:
        user_id: The user.
        found: Conversations that were found, but for those to be kept.
        cleared: Conversations whose messages were cleared.
        deleted: Conversations that were taken off the list.
        kept: Conversations that were to be kept, by the last list.
        refused: How many conversations the server refused to clear or to delete, by return code.
        still_listed: Conversations on the last list, but for those to be kept.
        rounds: How often conversations were cleared and deleted.
        not_found: The return code if the server doesn't know the user, None otherwise.
        problem: Why the user's list couldn't be read, empty otherwise.
        at: When the last list was read, in UTC.
    """

    user_id: str
    found: int = 0
    cleared: int = 0
    deleted: int = 0
    kept: int = 0
    refused: Mapping[int, int] = field(default_factory=dict)
    still_listed: int = 0
    rounds: int = 0
    not_found: int | None = None
    problem: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def erased(self) -> bool:
        """Whether nothing is listed any more but what was to be kept, of a user that the server knows."""
        return self.not_found is None and not self.problem and not self.still_listed


@dataclass(frozen=True, slots=True)
class UserSurvey:
    """What erasing a user would begin with.

    Attributes:
        user_id: The user.
        peers: One-to-one conversations that would be erased.
        groups: Group conversations that would be erased.
        kept: Conversations that would be kept.
        not_found: The return code if the server doesn't know the user, None otherwise.
    """

    user_id: str
    peers: int = 0
    groups: int = 0
    kept: int = 0
    not_found: int | None = None


def read_erasures(path: str | os.PathLike[str]) -> Iterator[ErasedUser]:
    """Yield the reports of the users that are finished, from a job's journal.

    Args:
        path: The journal's file.

    Yields:
        Each user's report, in the order in which they were finished.

    Raises:
        JournalError: It is no journal, damaged, or can't be read.
    """
    return map(_from_text, read_summaries(path))


def to_text(report: ErasedUser) -> str:
    """Return a report as a journal keeps it."""
    values = {name: getattr(report, name) for name in ErasedUser.__dataclass_fields__}
    return json.dumps(values | {"refused": list(report.refused.items()), "at": report.at.isoformat()})


def _from_text(text: str) -> ErasedUser:
    values: dict[str, Any] = json.loads(text)
    refused, at = dict(values.pop("refused")), datetime.fromisoformat(values.pop("at"))
    return ErasedUser(**values, refused=refused, at=at)
