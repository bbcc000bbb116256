"""The sandbox's state: who sees which conversations, and which groups there are.

1. A user is known once a message or a group brought them a conversation.
2. A deleted conversation leaves the list and keeps its messages, as at the vendor. A new message lists it again.
3. A member of a group stays a member when they delete its conversation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ..actions import ConvType

MAX_LISTED: Final = 1_000
Key: TypeAlias = tuple[str, ConvType]


@dataclass(slots=True)
class View:
    """What one user sees of a conversation. ``updated_at`` is Unix time in milliseconds."""

    messages: list[str] = field(default_factory=list)
    updated_at: int = 0
    listed: bool = True


class Conversations:
    """The views of all users."""

    def __init__(self) -> None:
        self._views: dict[str, dict[Key, View]] = {}

    def add(self, user_id: str, key: Key, texts: Iterable[str], now: float) -> None:
        """Put messages into a user's view of a conversation, which moves to the end of the list."""
        views = self._views.setdefault(user_id, {})
        view = views[key] = views.pop(key) if key in views else View()  # put in again, for the order of updates
        view.messages.extend(texts)
        view.updated_at, view.listed = int(now * 1000), True

    def knows(self, user_id: str) -> bool:
        """Tell whether there is such a user."""
        return user_id in self._views

    def has_group(self, group_id: str) -> bool:
        """Tell whether there is such a group."""
        return any((group_id, ConvType.GROUP) in views for views in self._views.values())

    def view(self, user_id: str, key: Key) -> View | None:
        """Return a user's view of a conversation, also of one that was deleted from the list."""
        return self._views.get(user_id, {}).get(key)

    def listed_view(self, user_id: str, key: Key) -> View | None:
        """Return a user's view of a conversation that is in the list."""
        view = self.view(user_id, key)
        return view if view is not None and view.listed else None

    def latest(self, user_id: str) -> list[tuple[Key, View]]:
        """Return a user's latest 1,000 conversations, oldest first."""
        views = self._views.get(user_id, {})
        return [(key, view) for key, view in views.items() if view.listed][-MAX_LISTED:]
