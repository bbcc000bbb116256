"""The plug behind the limiter: where permits come from, in this process or shared by many."""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias, get_args

Priority: TypeAlias = Literal["interactive", "bulk"]
PRIORITIES: Final[tuple[str, ...]] = get_args(Priority)


class Permit(Protocol):
    """The right to send one request. Exactly one of the two methods is called, and neither blocks, awaits or raises."""

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        """Note that the request ended.

        Args:
            min_round_trip: What every round trip to the server takes at least, in seconds.
            throttled: Whether the server refused the request for its rate.
        """

    def cancel(self) -> None:
        """Return the permit of a request that was never sent."""


class Window(Protocol):
    """The permits of one action."""

    def try_take(self) -> Permit | None:
        """Return a permit if one is at hand."""

    async def take(self) -> Permit:
        """Wait for a permit and return it."""

    def estimated_wait(self, ahead: int) -> float:
        """Return the seconds until a call is likely to get a permit.

        Args:
            ahead: The calls that go before it.
        """

    def resize(self, qps: float) -> None:
        """Change the rate, in calls a second."""
