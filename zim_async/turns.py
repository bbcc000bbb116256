"""The queue before the limiter: first come, first served, interactive calls ahead of bulk ones."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Literal, TypeAlias, get_args

from .errors import ClosedError, InvalidArgumentError

Priority: TypeAlias = Literal["interactive", "bulk"]
# While both wait, every so many interactive calls let one bulk call by: none waits for ever.
INTERACTIVE_IN_A_ROW: Final = 9


class Turn(asyncio.Future[None]):
    """A place in the queue, to be awaited; ``owner`` is whoever may give it up for its waiter."""

    __slots__ = ("owner", "priority")

    def __init__(self, priority: Priority, owner: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.priority = priority
        self.owner = owner


class Line:
    """Turns of one priority. One that was given up may linger until a sweep, but is never met."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()
        self._left = 0

    def __len__(self) -> int:
        return len(self._turns) - self._left

    def join(self, turn: Turn, *, in_front: bool) -> None:
        """Append a turn, or put it in front."""
        if in_front:
            self._turns.appendleft(turn)
        else:
            self._turns.append(turn)

    def leave(self) -> None:
        """Note that one of the turns was given up; sweeping only when half were keeps this cheap."""
        self._left += 1
        if 2 * self._left > len(self._turns):
            self._turns = deque(turn for turn in self._turns if not turn.done())
            self._left = 0

    def give_up(self, owner: object, reason: str) -> None:
        """Fail the turns of an owner."""
        for turn in self._turns:
            if turn.owner is owner and not turn.done():
                turn.set_exception(ClosedError(reason))

    def pop(self) -> Turn | None:
        """Remove and return the first turn still waited for."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                return turn
            self._left -= 1
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
        self._line(turn.priority).join(turn, in_front=again)

    def leave(self, turn: Turn) -> None:
        """Note that a turn was given up by its waiter or owner."""
        self._line(turn.priority).leave()

    def give_up(self, owner: object, reason: str) -> None:
        """Fail the turns of an owner with a ``ClosedError``."""
        self._interactive.give_up(owner, reason)
        self._bulk.give_up(owner, reason)

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


def check_priority(priority: str) -> None:
    """Raise ``InvalidArgumentError`` unless it is one."""
    if priority not in get_args(Priority):
        raise InvalidArgumentError(f"priority must be 'interactive' or 'bulk', not {priority!r}")
