"""The limiter of an application: one for each of its actions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Self, TypeAlias
from weakref import WeakSet

from ..actions import Action, find_action_class
from ..errors import ClosedError
from ._action import ActionLimiter
from ._checks import PACKAGE_NAMES, action_name, check_rate
from ._local import LocalWindow
from .window import WindowFactory

DEFAULT_QPS: Final = Action.qps
ABANDONED_AT_A_TIME: Final = 250
Rate: TypeAlias = float | Mapping[str, float] | Mapping[Any, float]  # Any: names and classes; keys are invariant


class RateLimiter:
    """The quota of one application: an ``ActionLimiter`` for each action, made when it is first asked for.

    Args:
        qps: Calls a second: one number for every action, or a mapping by action name or ``Action`` class.
            Actions that it doesn't name have the rate that their class states, or 20.
        window: Makes the window of each action, from its name and calls a second.

    Raises:
        ConfigError: A rate isn't a finite number above 0, or a name isn't an action's.

    Example:
        limiter = RateLimiter({"DeleteConv": 50, "QueryUserInfos": 10})
        async with ZimClient(app_id, secret, limiter=limiter) as zim:
            ...
            print(limiter.of("DeleteConv").estimated_wait())
    """

    def __init__(self, qps: Rate | None = None, *, window: WindowFactory = LocalWindow) -> None:
        self._window = window
        self._limiters: dict[str, ActionLimiter] = {}
        self._rate_of_all: float | None = None
        self._rates: dict[str, float] = {}
        self._users: WeakSet[object] = WeakSet()
        if qps is not None:
            self.qps = qps

    def __repr__(self) -> str:
        return f"RateLimiter({', '.join(f'{name}={limiter!r}' for name, limiter in self._limiters.items())})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Fail all waiting calls with ``ClosedError``, and let go of what the windows hold.

        Only windows on a shared quota hold anything. A later call opens them anew.
        """
        closing: list[Awaitable[None]] = []
        problem: ClosedError | None = None
        for limiter in self._limiters.values():
            try:
                closing.append(limiter.close())
            except ClosedError as error:
                problem = error
        await asyncio.gather(*closing)
        if problem is not None:
            raise problem

    def of(self, action: str | type[Action]) -> ActionLimiter:
        """Return the limiter of an action.

        Args:
            action: Its name in the vendor's spelling, or its class.

        Raises:
            ConfigError: The name isn't an action's, or looks like a slip in the name of a known one.
        """
        name = action if isinstance(action, str) else getattr(action, "name", None)
        limiter = self._limiters.get(name)  # type: ignore[arg-type]  # whatever it is, it isn't in there
        if limiter is None:
            name = action_name(action)
            limiter = self._limiters[name] = ActionLimiter(name, self._rate_of(name), window=self._window)
        return limiter

    async def abandon(self, owner: object, reason: str) -> None:
        """Fail the waiting calls of an owner with ``ClosedError``, some at a time so that the loop stays free.

        Args:
            owner: What was given to ``acquire``.
            reason: The error's text.
        """
        limiters = list(self._limiters.values())
        try:
            for limiter in limiters:
                while limiter.abandon(owner, reason, ABANDONED_AT_A_TIME):  # noqa: ASYNC110, others take their turn
                    await asyncio.sleep(0)
        except asyncio.CancelledError:  # then there is no time for others
            for limiter in limiters:
                limiter.abandon(owner, reason, sys.maxsize)
            raise

    def attach(self, user: object) -> None:
        """Note who uses the limiter, for as long as it lives or until it is detached.

        Args:
            user: A client, say.
        """
        self._users.add(user)

    async def detach(self, user: object) -> None:
        """Note who uses the limiter no more.

        Args:
            user: As given to ``attach``.
        """
        self._users.discard(user)

    @property
    def idle(self) -> bool:
        """Whether nobody uses the limiter, and nothing is lost if it is forgotten."""
        return not self._users and all(limiter.idle for limiter in self._limiters.values())

    @property
    def qps(self) -> Mapping[str, float]:
        """Calls a second by action. Set it, while running too, to a number or to a mapping of those to change."""
        return {name: self._rate_of(name) for name in dict.fromkeys([*PACKAGE_NAMES, *self._rates, *self._limiters])}

    @qps.setter
    def qps(self, qps: Rate) -> None:
        if isinstance(qps, Mapping):
            self._rates |= {action_name(action): check_rate(rate) for action, rate in qps.items()}
        else:
            self._rate_of_all, self._rates = check_rate(qps), {}
        for name, limiter in self._limiters.items():
            limiter.qps = self._rate_of(name)

    def _rate_of(self, name: str) -> float:
        if (rate := self._rates.get(name, self._rate_of_all)) is not None:
            return rate
        kind = find_action_class(name)
        return DEFAULT_QPS if kind is None else check_rate(kind.qps)
