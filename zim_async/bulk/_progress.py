"""How far a bulk job has come: what the engine reports, and displays show."""

from __future__ import annotations

from dataclasses import dataclass

from ._records import Tallies


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands.

    ``tallies`` counts the journal's actions by name. The rest is of this run: actions ``read``, those of them that
    were ``duplicates`` (earlier in the input, or in the journal from an earlier run), calls ``retried``, and
    ``rate_refusals`` by the server, ``seconds`` since sending began, and the ``outage`` that is being waited
    out, if any. A job that was ``interrupted`` goes on when it is run again.
    """

    tallies: Tallies
    read: int
    duplicates: int
    retried: int
    rate_refusals: int
    seconds: float
    outage: str | None
    interrupted: bool

    @property
    def done(self) -> int:
        """Actions that the server did."""
        return sum(tally.done for tally in self.tallies.values())

    @property
    def already_gone(self) -> int:
        """Actions whose user, group or conversation the server doesn't know (any more)."""
        return sum(tally.gone for tally in self.tallies.values())

    @property
    def refused(self) -> int:
        """Actions that the server refused for good."""
        return sum(tally.refused for tally in self.tallies.values())

    @property
    def remaining(self) -> int:
        """Actions still to be sent, or sent with the outcome unknown."""
        return sum(tally.remaining for tally in self.tallies.values())

    @property
    def finished(self) -> int:
        """Actions that came to an end."""
        return sum(tally.finished for tally in self.tallies.values())
