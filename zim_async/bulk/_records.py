"""What a bulk job knows of its actions, and what it tells: states, outcomes, progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from ..actions import Action


class State(StrEnum):
    """Where an action of a bulk job stands."""

    WAITING = "waiting"
    """Nothing was sent, or the server surely didn't act."""
    SENT = "sent"
    """Sent or about to be, with the outcome unknown."""
    DONE = "done"
    """The server did it."""
    NOT_FOUND = "not_found"
    """The server knows no such user, group or conversation."""
    REFUSED = "refused"
    """The server rejected it for good."""


OPEN: Final = (State.WAITING, State.SENT)
FINISHED: Final = tuple(state for state in State if state not in OPEN)
Tally: TypeAlias = Mapping[State, int]  # every state is a key


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where an action of a bulk job stands.

    Attributes:
        action: The action.
        state: Where it stands.
        code: The server's return code, 0 for success, or None while the action is waiting or sent.
            What is done has another code if it was not found after an earlier attempt that may have been applied.
        message: The server's message. Like the request ID it is empty unless the code tells of a failure.
        request_id: The server's ID of the request.
        at: When the action came into this state, in UTC.
    """

    action: Action
    state: State
    code: int | None
    message: str
    request_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How often the server responded with a code, and one of the actions that it was for."""

    state: State
    code: int
    count: int
    example: Outcome


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a bulk job has come.

    Attributes:
        tallies: How many actions the journal has in each state, by action name.
        codes: What was not found and refused, by return code, the most frequent first.
        read: Actions of the input so far.
        duplicates: Those that came earlier in the input, or are in the journal from an earlier run.
        unlisted: Actions, or groups, that are open in the journal from an earlier run, and not in the input.
        unlisted_examples: Two of them at most.
        retried: Calls of this run that failed transiently, and are sent again.
        throttled: Calls of this run that the server refused for the rate.
        seconds: Time since sending began.
        outage: What the job waits for, if the server or the network fails just now.
        interrupted: Whether the job ended early. Run it again to resume it.
        groups: Groups of the job, if it has any.
        groups_finished: Groups whose last step is settled.
    """

    tallies: Mapping[str, Tally]
    codes: tuple[CodeCount, ...] = ()
    read: int = 0
    duplicates: int = 0
    unlisted: int = 0
    unlisted_examples: tuple[Action, ...] = ()
    retried: int = 0
    throttled: int = 0
    seconds: float = 0.0
    outage: str | None = None
    interrupted: bool = False
    groups: int = 0
    groups_finished: int = 0

    def count(self, *states: State) -> int:
        """Return how many actions are in any of some states."""
        return sum(tally[state] for tally in self.tallies.values() for state in states)

    @property
    def done(self) -> int:
        """Actions that the server did."""
        return self.count(State.DONE)

    @property
    def not_found(self) -> int:
        """Actions whose user, group or conversation the server doesn't know."""
        return self.count(State.NOT_FOUND)

    @property
    def refused(self) -> int:
        """Actions that the server rejected for good."""
        return self.count(State.REFUSED)

    @property
    def remaining(self) -> int:
        """Actions still to be sent, or sent with the outcome unknown."""
        return self.count(*OPEN)

    @property
    def finished(self) -> int:
        """Actions with an outcome."""
        return self.count(*FINISHED)

    @property
    def total(self) -> int:
        """All actions of the journal."""
        return self.count(*State)

    def of(self, action: str) -> Progress:
        """Return the counts of the actions of one name alone."""
        return replace(self, tallies={action: self.tallies[action]}, codes=())


class Row(NamedTuple):
    """An open action of the journal."""

    id: int
    action: Action
    state: State
    group_id: int = 0


class Mark(NamedTuple):
    """What is to be written of a row: its new state, when, and the server's word where there is one."""

    row: Row
    before: State
    state: State
    at: int  # Unix ms
    code: int | None = None
    message: str = ""
    request_id: str = ""

    def outcome(self) -> Outcome:
        """Return it as users see it."""
        return Outcome(self.row.action, self.state, self.code, self.message, self.request_id, to_datetime(self.at))


def sort_codes(codes: Iterable[CodeCount]) -> tuple[CodeCount, ...]:
    """Return counts of codes, the most frequent first."""
    return tuple(sorted(codes, key=lambda found: (-found.count, found.state, found.code)))


def to_datetime(milliseconds: int) -> datetime:
    """Return Unix milliseconds as an aware datetime."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
