"""The input of a bulk job: any iterable, in batches, each action checked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from itertools import islice
from typing import Final, TypeAlias, TypeVar

from .._text import show_value
from ..actions import Action, check_action
from ..errors import InvalidArgumentError

T = TypeVar("T")
Source: TypeAlias = Iterable[T] | AsyncIterable[T]

BATCH: Final = 1_000


async def batches(source: Source[T]) -> AsyncGenerator[list[T], None]:
    """Yield what an iterable has, many at a time."""
    if not isinstance(source, AsyncIterable):
        values = iter(source)
        while batch := list(islice(values, BATCH)):
            yield batch
        return
    batch = []
    async for value in source:
        batch.append(value)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def check_actions(values: Iterable[Action], consequence: str = "nothing was sent") -> None:
    """Check that a bulk job can take some values.

    Raises:
        InvalidArgumentError: One is no action, or may not be sent again.
    """
    for value in values:
        try:
            check_action(value)
        except InvalidArgumentError as error:
            problem = str(error)
        else:
            if value.idempotent:
                continue
            problem = (
                f"a bulk job may send an action again, and {type(value).__name__} isn't marked idempotent:"
                f" {show_value(value)}. Send it by zim.send, or set idempotent = True if repeating it does no harm"
            )
        raise InvalidArgumentError(f"{problem}; {consequence}")
