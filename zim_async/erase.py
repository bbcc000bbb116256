"""Erase users: find every conversation, clear its messages, take it off the list, and see that nothing is left.

1. A user goes in rounds of three steps: list and clear, delete what was cleared, list again.
2. A conversation's messages are cleared before it is deleted: deleting doesn't delete messages, and whether a clear
   still works afterwards is undocumented. A clear that wasn't done keeps the conversation.
3. All pages of a list are read before the first of its conversations is deleted.
4. The last list holds nothing but what was to be kept or was refused, or it doesn't change.
5. Lists need no journal: after a crash they are read anew.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, Literal, TypeAlias

from ._codes import Verdict, verdict_of
from ._erase_reports import ErasedUser, UserSurvey, read_erasures, to_text
from .actions import Action, ClearMemberGroupMessage, ClearPeerMessage, Conversation, ConvType, DeleteConv, check_id
from .bulk import Group, History, Outcome, Progress, State, run_steps
from .client import ZimClient
from .errors import ApiError, InvalidArgumentError, NotFoundError, ProtocolError, QuotaUnavailableError, ZimError
from .retry import RetryPolicy

__all__ = ["ErasedUser", "UserSurvey", "erase_users", "read_erasures", "survey_users"]

UNKNOWN_CONVERSATION: Final = 660800002
MAX_ROUNDS: Final = 100
_ONCE: Final = RetryPolicy(attempts=1)  # the job repeats by itself
_Key: TypeAlias = tuple[str, ConvType]


async def erase_users(
    zim: ZimClient,
    user_ids: Iterable[str] | AsyncIterable[str],
    *,
    journal: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    on_outcome: Callable[[Outcome], object] | None = None,
    on_user: Callable[[ErasedUser], object] | None = None,
    stop: asyncio.Event | None = None,
    older_than: timedelta | None = None,
    conv_type: ConvType | None = None,
    keep: Iterable[str] = (),
    unlisted: Literal["error", "send", "drop"] = "error",
) -> Progress:
    """Clear and delete all conversations of users, and list them again until nothing is left.

    It doesn't erase what the server API can't reach: the other side's copies of messages, conversations of disbanded
    groups, what lies beyond the list of the latest 1,000 (but what is deleted makes room for it), and what arrives
    afterwards.

    Args:
        zim: The client to send with.
        user_ids: The users: an iterable or async iterable of IDs. All are read before anything is sent.
        journal: A file that remembers where each user stands. Run the same again after an interruption to resume
            the job. Without one it can't be resumed.
        on_progress: As for ``cleanup``. ``groups`` are the users.
        on_outcome: As for ``cleanup``.
        on_user: Called with each user's report once it is on disk, by the run that finished the user. May be a
            coroutine function. ``read_erasures`` has them all.
        stop: As for ``cleanup``.
        older_than: Erase conversations alone whose last update is longer ago.
        conv_type: Erase conversations of this type alone.
        keep: IDs of conversations that are kept for every user.
        unlisted: As for ``cleanup``, of users that aren't finished.

    Returns:
        Where the job stands.

    Raises:
        InvalidArgumentError: A user ID or an option isn't valid, or users are missing that aren't finished.
        JournalError: As for ``cleanup``. The journal of another kind of job too.
        ZimError: As for ``cleanup``.

    Example:
        report = await erase_users(zim, ["alice"], journal="erase.journal", on_user=print)
    """
    choice = _Choice.make(older_than, conv_type, keep)
    return await run_steps(
        zim,
        _checked(user_ids),
        _Erasing(zim, choice, on_user),
        kind="erase",
        journal=journal,
        on_progress=on_progress,
        on_outcome=on_outcome,
        stop=stop,
        unlisted=unlisted,
    )


async def survey_users(
    zim: ZimClient,
    user_ids: Iterable[str] | AsyncIterable[str],
    *,
    older_than: timedelta | None = None,
    conv_type: ConvType | None = None,
    keep: Iterable[str] = (),
) -> AsyncIterator[UserSurvey]:
    """Count the conversations that erasing users would begin with. Nothing but lists is read.

    Args:
        zim: The client to read with.
        user_ids: As for ``erase_users``.
        older_than: As for ``erase_users``.
        conv_type: As for ``erase_users``.
        keep: As for ``erase_users``.

    Yields:
        The counts of each user.

    Raises:
        ZimError: As for ``zim.conversations``, but for users that the server doesn't know.
    """
    choice = _Choice.make(older_than, conv_type, keep)
    async for user_id in _checked(user_ids):
        try:
            listed = [conversation async for conversation in zim.conversations(user_id, priority="bulk")]
        except NotFoundError as error:
            yield UserSurvey(user_id, not_found=error.code)
            continue
        types = Counter(conversation.conv_type for conversation in listed if conversation in choice)
        yield UserSurvey(user_id, types[ConvType.PEER], types[ConvType.GROUP], len(listed) - types.total())


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which conversations are to be erased."""

    before: datetime | None
    conv_type: ConvType | None
    keep: frozenset[str]

    @classmethod
    def make(cls, older_than: timedelta | None, conv_type: ConvType | None, keep: Iterable[str]) -> _Choice:
        if older_than is not None and not isinstance(older_than, timedelta):
            raise InvalidArgumentError(f"older_than must be a timedelta, not {type(older_than).__name__}")
        if conv_type is not None and not isinstance(conv_type, ConvType):
            raise InvalidArgumentError(f"conv_type must be ConvType.PEER or ConvType.GROUP, not {conv_type!r}")
        if isinstance(keep, str):
            raise InvalidArgumentError("keep must be an iterable of conversation IDs, not a str")
        return cls(None if older_than is None else datetime.now(UTC) - older_than, conv_type, frozenset(keep))

    def __contains__(self, conversation: Conversation) -> bool:
        return (
            conversation.conv_id not in self.keep
            and self.conv_type in (None, conversation.conv_type)
            and (self.before is None or conversation.updated_at < self.before)
        )


class _Erasing:
    """The steps of each user. See ``bulk.Steps``."""

    def __init__(self, zim: ZimClient, choice: _Choice, on_user: Callable[[ErasedUser], object] | None) -> None:
        self._zim = zim
        self._choice = choice
        self._on_user = on_user
        self._reports: dict[str, ErasedUser] = {}  # of users whose last list was read

    async def next(self, group: Group, outcomes: Sequence[Outcome], history: History) -> Sequence[Action]:
        done = [outcome.action for outcome in outcomes if outcome.state is State.DONE]
        cleared = [_key(action) for action in done if not isinstance(action, DeleteConv)]
        deletes = [DeleteConv(group.name, conv_id, conv_type) for conv_id, conv_type in cleared]
        return deletes or await self._list(group, await history())

    async def _list(self, group: Group, history: Sequence[Outcome]) -> Sequence[Action]:
        """Return the clears of the next round, or none if the list that was read is the last."""
        user_id, past = group.name, _Past(history)
        try:
            conversations = self._zim.conversations(user_id, priority="bulk", retry=_ONCE)
            listed = [conversation async for conversation in conversations]
        except NotFoundError as error:
            self._reports[user_id] = past.report(user_id, not_found=error.code)
            return []
        except (ApiError, ProtocolError) as error:
            if not _concerns_one_user(error):
                raise
            self._reports[user_id] = past.report(user_id, problem=str(error))
            return []
        chosen = [(one.conv_id, one.conv_type) for one in listed if one in self._choice]
        left = [key for key in chosen if key not in past.refused]
        if not left or past.just_deleted == set(left) or past.rounds >= MAX_ROUNDS:
            self._reports[user_id] = past.report(user_id, chosen, kept=len(listed) - len(chosen))
            return []
        return [_clear(user_id, key) for key in left]

    def summary(self, group: Group) -> str:
        return to_text(self._reports[group.name])

    async def finished(self, group: Group) -> None:
        report = self._reports.pop(group.name)
        if self._on_user is not None:
            result = self._on_user(report)
            if inspect.isawaitable(result):
                await result

    def counts_as_done(self, _action: Action, error: NotFoundError) -> bool:
        return error.code == UNKNOWN_CONVERSATION  # it was listed: it went away meanwhile

    def waits_out(self, error: ZimError) -> bool:
        return isinstance(error, QuotaUnavailableError) or verdict_of(error) in (Verdict.RETRY, Verdict.SLOW_DOWN)


class _Past:
    """What a user's earlier steps came to."""

    def __init__(self, history: Sequence[Outcome]) -> None:
        done = [outcome.action for outcome in history if outcome.state is State.DONE]
        failed = [outcome for outcome in history if outcome.state is not State.DONE]
        last = list(takewhile(lambda outcome: isinstance(outcome.action, DeleteConv), reversed(history)))
        deletes = [isinstance(outcome.action, DeleteConv) for outcome in history]
        self.found = {_key(outcome.action) for outcome in history}
        self.cleared = {_key(action) for action in done if not isinstance(action, DeleteConv)}
        self.deleted = {_key(action) for action in done if isinstance(action, DeleteConv)}
        self.refused = {_key(outcome.action): outcome.code or 0 for outcome in failed}
        self.just_deleted = {_key(outcome.action) for outcome in last if outcome.state is State.DONE}
        self.rounds = sum(now and not before for before, now in zip([False, *deletes], deletes, strict=False))

    def report(
        self,
        user_id: str,
        listed: Sequence[_Key] = (),
        *,
        kept: int = 0,
        not_found: int | None = None,
        problem: str = "",
    ) -> ErasedUser:
        return ErasedUser(
            user_id,
            found=len(self.found | set(listed)),
            cleared=len(self.cleared),
            deleted=len(self.deleted),
            kept=kept,
            refused=dict(Counter(self.refused.values())),
            still_listed=len(listed),
            rounds=self.rounds,
            not_found=not_found,
            problem=problem,
        )


async def _checked(user_ids: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    async for user_id in _each(user_ids):
        check_id("user_id", user_id)
        yield user_id


async def _each(user_ids: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(user_ids, str):
        raise InvalidArgumentError("user_ids must be an iterable of user IDs, not a str; nothing was sent")
    if isinstance(user_ids, AsyncIterable):
        async for user_id in user_ids:
            yield user_id
    else:
        for user_id in user_ids:
            yield user_id


def _clear(user_id: str, key: _Key) -> Action:
    conv_id, conv_type = key
    return (
        ClearPeerMessage(user_id, conv_id) if conv_type is ConvType.PEER else ClearMemberGroupMessage(user_id, conv_id)
    )


def _key(action: Action) -> _Key:
    match action:
        case ClearPeerMessage():
            return action.to_user_id, ConvType.PEER
        case ClearMemberGroupMessage():
            return action.group_id, ConvType.GROUP
        case DeleteConv():
            return action.conv_id, action.conv_type
    raise TypeError(f"no step of an erasure: {action!r}")


def _concerns_one_user(error: ApiError | ProtocolError) -> bool:
    if isinstance(error, ApiError):
        return verdict_of(error) is Verdict.FAIL
    return error.request_id is not None  # the response was the server's, but its list isn't what is documented
