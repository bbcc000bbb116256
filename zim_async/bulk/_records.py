"""Where the actions of a bulk job stand, and what the journal says of each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from ..actions import Action


class State(StrEnum):
    """Where an action stands. No name is longer than that of waiting: a row never outgrows its place."""

    WAITING = "waiting"  # nothing was sent, or the server answered that it didn't act
    SENT = "sent"  # or about to be, with the outcome unknown
    DONE = "done"
    GONE = "gone"  # the server knows no such user, group or conversation (any more)
    REFUSED = "refused"  # for good

    __hash__ = str.__hash__  # an enum's own takes six times as long, several times a call


class Tally(NamedTuple):
    """How many actions are in each state."""

    waiting: int = 0
    sent: int = 0
    done: int = 0
    gone: int = 0
    refused: int = 0

    @property
    def remaining(self) -> int:
        """Those still to be sent, and those sent with the outcome unknown."""
        return self.waiting + self.sent

    @property
    def finished(self) -> int:
        """Those that came to an end."""
        return self.done + self.gone + self.refused

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


Tallies: TypeAlias = Mapping[str, Tally]  # by the actions' names


class Row(NamedTuple):
    """An action of the journal, and where it stood before it was claimed."""

    id: int
    action: Action
    was: State


class Outcome(NamedTuple):
    """Where a claimed row stands now; a refusal says why."""

    row: Row
    state: State
    code: int = 0
    message: str = ""
    request_id: str = ""


class Entry(NamedTuple):
    """What the journal says of an action; ``code``, ``message`` and ``request_id`` are None but for refusals."""

    action: Action
    code: int | None
    message: str | None
    request_id: str | None
