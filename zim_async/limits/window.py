"""The plug behind the limiter: where an action's permits come from, in this process or shared by many.

How the two halves talk to each other:

1. The limiter keeps the queue. A window never knows a call, and no call waits inside a window.
2. The limiter asks by ``try_take``, for a call of its own at the door, or for the head of its queue.
   The window replies immediately: a permit that lies in hand, or None.
3. After a None, and whenever it changes, the limiter tells by ``expect`` how many calls wait. Until it tells
   zero, the window calls ``on_change`` each time that asking again is worth it: a local one by a timer, a remote
   one when permits have arrived. A remote one books ahead by what it was told.
4. Every permit ends once, by ``release`` or ``cancel``. The limiter sees to that.
5. Pacing of bulk calls is the window's business: ``try_take("bulk")`` returns None until one is due. An interactive
   call can have any permit. No bulk call is asked for while an interactive one waits, but for one in ten.
6. A window that can't reach its quota raises from ``try_take``, a fresh error each time. The call that was asked
   for ends with it. It does so only after an ``on_change``, and until it was told to expect no calls.
7. ``open`` comes before everything else, on the event loop that is used from then on. It comes again when another
   loop takes over from one that was closed or has no calls. Permits on their way back stay so. Permits whose end
   wasn't told are never told of any more: their calls ended with their loop, now as far as can be known. A
   forked child makes windows of its own. ``close`` returns what lies in hand. The next ``open`` begins anew.
8. Nothing but ``close`` blocks or awaits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, get_args

from ..actions import Priority as Priority  # part of what a window is asked

PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)


class Permit(Protocol):
    """The right to send one request. Exactly one of the two methods is called, and neither blocks, awaits or raises."""

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        """Note that the request ended, in whatever way.

        Args:
            min_round_trip: What every round trip to the server takes at least, in seconds. Below 0 for a request
                that was abandoned: it may still arrive, up to so many seconds from now.
            throttled: Whether the server refused the request for its rate.
        """

    def cancel(self) -> None:
        """Return the permit of a request that was never sent."""


class Window(Protocol):
    """The permits of one action."""

    @property
    def permits(self) -> float:
        """Calls that may be under way in any one second: as the rate allows, or fewer after refusals."""

    @property
    def idle(self) -> bool:
        """Whether no permit is in use or on its way back, and no refusal remembered: nothing is lost with it."""

    def open(self, on_change: Callable[[], None]) -> None:
        """Begin on the running event loop.

        Args:
            on_change: To be called on that loop when asking again is worth it, and never inside ``try_take``.
        """

    async def close(self) -> None:
        """Return what lies in hand, and end what runs in the background."""

    def try_take(self, priority: Priority) -> Permit | None:
        """Return a permit if one is in hand for a call of that priority.

        Args:
            priority: The call's.

        Raises:
            ZimError: The quota can't be reached.
        """

    def expect(self, interactive: int, bulk: int) -> None:
        """Take note of how many calls wait now.

        Args:
            interactive: The interactive ones.
            bulk: The bulk ones.
        """

    def estimated_wait(self, priority: Priority, ahead: int) -> float:
        """Return the seconds until a call that comes now is likely to get a permit.

        Args:
            priority: The call's.
            ahead: The calls that go before it.
        """

    def resize(self, qps: float) -> None:
        """Change the rate.

        Args:
            qps: Calls a second.
        """


WindowFactory: TypeAlias = Callable[[str, float], Window]  # from an action's name and its calls a second
