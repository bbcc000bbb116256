"""The queue before the limiter: first come, first served, interactive calls ahead of bulk ones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

from .window import Permit, Priority

# While both wait, every so many interactive calls let one bulk call by: none waits for ever.
INTERACTIVE_IN_A_ROW: Final = 9


class Turn(asyncio.Future[Permit]):
    """A place in the queue, to be awaited; ``owner`` is whoever may give it up for its waiter."""

    __slots__ = ("owner", "priority")

    def __init__(self, priority: Priority, owner: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.priority = priority
        self.owner = owner


class Line:
    """Turns of one priority. One that was given up may linger until a sweep, but is never met."""

    def __init__(self) -> None:
        self._again: deque[Turn] = deque()  # of calls that have waited before
        self._turns: deque[Turn] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Turn]:
        return (turn for turn in chain(self._again, self._turns) if not turn.done())

    def join(self, turn: Turn, *, again: bool) -> None:
        """Append a turn, to those which go first if its call has waited before."""
        (self._again if again else self._turns).append(turn)
        self._waiting += 1

    def leave(self) -> None:
        """Note that one of the turns was given up; sweeping when half of them were keeps this cheap."""
        self._waiting -= 1
        if 2 * self._waiting < len(self._turns):
            self._turns = deque(turn for turn in self._turns if not turn.done())

    def pop(self) -> Turn | None:
        """Remove and return the first turn still waited for."""
        for turns in (self._again, self._turns):
            while turns:
                turn = turns.popleft()
                if not turn.done():
                    self._waiting -= 1
                    return turn
        return None


class Turns:
    """The lines of both priorities."""

    def __init__(self) -> None:
        self._interactive, self._bulk = Line(), Line()
        self._in_a_row = 0  # interactive calls let through since the last bulk one, while bulk ones wait

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    def join(self, turn: Turn, *, again: bool) -> None:
        """Append a turn to its line; that of a call which has waited before goes in front."""
        self._line(turn.priority).join(turn, again=again)

    def leave(self, turn: Turn) -> None:
        """Note that a turn was given up, by its waiter or its owner; to be told once, before or after it is met."""
        self._line(turn.priority).leave()

    def owned_by(self, owner: object) -> list[Turn]:
        """Return the turns of an owner that are still waited for."""
        return [turn for turn in chain(self._interactive, self._bulk) if turn.owner is owner]

    def ahead_of(self, priority: Priority) -> int:
        """Return how many of those who wait now would go before a newcomer."""
        interactive, bulk = len(self._interactive), len(self._bulk)
        return interactive + (bulk if priority == "bulk" else min(interactive // INTERACTIVE_IN_A_ROW, bulk))

    def next(self) -> Turn | None:
        """Remove and return the turn that comes next."""
        if self._bulk and (self._in_a_row >= INTERACTIVE_IN_A_ROW or not self._interactive):
            self._in_a_row = 0
            return self._bulk.pop()
        self._in_a_row = self._in_a_row + 1 if self._bulk else 0
        return self._interactive.pop()

    def _line(self, priority: Priority) -> Line:
        return self._bulk if priority == "bulk" else self._interactive
