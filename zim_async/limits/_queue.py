"""The queue before the limiter: first come, first served, interactive calls ahead of bulk ones.

1. Each priority has a queue of its own. In it, calls that have waited before go first.
2. While both priorities wait, every tenth call is a bulk one: none waits forever.
3. Who leaves is marked, and swept out when half of the queue is marked. So leaving costs the same on average,
   however many wait.
4. Each owner's calls are kept in a set, so that abandoning them touches nobody else's.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

from .window import Permit, Priority

INTERACTIVE_IN_A_ROW: Final = 9


class WaitingCall(asyncio.Future[Permit]):
    """A place in the queue, which a permit ends.

    Attributes:
        owner: Who may abandon it.
        priority: The call's.
        granted_at: When its permit was granted, in seconds.
    """

    __slots__ = ("granted_at", "owner", "priority")

    def __init__(self, priority: Priority, owner: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.priority: Priority = priority
        self.owner = owner
        self.granted_at = math.inf


class _FifoQueue:
    """The calls of one priority. Those which ended otherwise may linger until a sweep, but are never met."""

    __slots__ = ("_new", "_returning", "waiting")

    def __init__(self) -> None:
        self._returning: deque[WaitingCall] = deque()
        self._new: deque[WaitingCall] = deque()
        self.waiting = 0

    @property
    def returning(self) -> int:
        return len(self._returning)

    def append(self, call: WaitingCall, *, again: bool) -> None:
        (self._returning if again else self._new).append(call)
        self.waiting += 1

    def note_left(self) -> None:
        self.waiting -= 1
        if 2 * self.waiting < len(self._new) + len(self._returning):
            self._new = deque(call for call in self._new if not call.done())
            self._returning = deque(call for call in self._returning if not call.done())

    def pop(self) -> WaitingCall | None:
        for calls in (self._returning, self._new):
            while calls:
                call = calls.popleft()
                if not call.done():
                    self.waiting -= 1
                    return call
        return None


class Queue:
    """The waiting calls of both priorities."""

    def __init__(self) -> None:
        self._interactive, self._bulk = _FifoQueue(), _FifoQueue()
        self._in_a_row = 0  # interactive calls that left with a permit since the last bulk one, while bulk ones wait
        self._owned: dict[object, set[WaitingCall]] = {}

    def __len__(self) -> int:
        return self._interactive.waiting + self._bulk.waiting

    @property
    def interactive(self) -> int:
        """Interactive calls that wait."""
        return self._interactive.waiting

    @property
    def bulk(self) -> int:
        """Bulk calls that wait."""
        return self._bulk.waiting

    @property
    def next_priority(self) -> Priority:
        """The priority whose turn it is, while calls wait."""
        if self.bulk and (self._in_a_row >= INTERACTIVE_IN_A_ROW or not self.interactive):
            return "bulk"
        return "interactive"

    def append(self, call: WaitingCall, *, again: bool) -> None:
        """Add a call. One that has waited before goes ahead of those which haven't."""
        self._of(call.priority).append(call, again=again)
        if call.owner is not None:
            self._owned.setdefault(call.owner, set()).add(call)

    def pop(self, priority: Priority) -> WaitingCall | None:
        """Remove and return the first call of a priority, which is to be given its permit. None if there is none."""
        call = self._of(priority).pop()
        if call is not None:
            self._in_a_row = self._in_a_row + 1 if priority == "interactive" and self.bulk else 0
            self._disown(call)
        return call

    def note_left(self, call: WaitingCall) -> None:
        """Note that a call ended without a permit, whoever ended it. To be told once for each."""
        self._of(call.priority).note_left()
        self._disown(call)

    def pop_owned(self, owner: object, most: int) -> list[WaitingCall]:
        """Return up to ``most`` calls of an owner, who then owns them no more. They are in the queue still."""
        calls = self._owned.get(owner, set())
        popped = [calls.pop() for _ in range(min(most, len(calls)))]
        if not calls:
            self._owned.pop(owner, None)
        return popped

    def ahead_of(self, priority: Priority, *, again: bool = False) -> int:
        """Return how many of those who wait now go before a call that comes now, for the first time or again."""
        same = self._of(priority)
        ahead = min(same.returning, same.waiting) if again else same.waiting
        if priority == "bulk":
            return self.interactive + ahead
        return ahead + min(ahead // INTERACTIVE_IN_A_ROW, self.bulk)

    def _of(self, priority: Priority) -> _FifoQueue:
        return self._bulk if priority == "bulk" else self._interactive

    def _disown(self, call: WaitingCall) -> None:
        if call.owner is None:
            return
        calls = self._owned.get(call.owner)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._owned[call.owner]
