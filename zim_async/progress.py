"""How far a bulk job has come: what the engine reports, and displays show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .journal import State


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands.

    ``tallies`` counts the journal's actions by name and ``State``. The rest is of this run: actions ``read``, those
    of them that were ``duplicates`` (earlier in the input, or in the journal from an earlier run), attempts
    ``retried``, the ``rate_refusals`` of the server, ``seconds`` since sending began, and the ``outage`` that is
    being waited out, if any. A job that was ``interrupted`` goes on when it is run again.
    """

    tallies: Mapping[str, Mapping[State, int]]
    read: int
    duplicates: int
    retried: int
    rate_refusals: int
    seconds: float
    outage: str | None
    interrupted: bool

    def count(self, *states: State) -> int:
        """Return how many actions are in any of some states."""
        return sum(tally[state] for tally in self.tallies.values() for state in states)

    @property
    def done(self) -> int:
        """Actions that the server did."""
        return self.count(State.DONE)

    @property
    def already_gone(self) -> int:
        """Actions whose user, group or conversation the server doesn't know (any more)."""
        return self.count(State.GONE)

    @property
    def refused(self) -> int:
        """Actions that the server refused for good."""
        return self.count(State.REFUSED)

    @property
    def remaining(self) -> int:
        """Actions still to be sent, or sent with the outcome unknown."""
        return self.count(State.WAITING, State.SENT)
