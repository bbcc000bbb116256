"""What happens to a call, as frozen values, for logs, metrics and traces.

An observer is any callable that takes one event. It is called in the call's own task, so that a span that it opens
is current while the call lasts. Events hold no user IDs and no secrets.

Example:
    def count(event: Event) -> None:
        if isinstance(event, CallEnded):
            calls.labels(event.action, event.error or "none").inc()

    ZimClient(app_id, server_secret, observers=[count])
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ._text import show_value
from .actions import Priority
from .errors import ConfigError

_log: Final = logging.getLogger("zim_async")


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call was made, and joins the queue.

    Attributes:
        action: The action's name.
        priority: The call's priority.
        host: The name of the host that it goes to.
        port: The port there.
    """

    action: str
    priority: Priority
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One request of a call ended.

    Attributes:
        action: The action's name.
        priority: The call's priority.
        attempt: The number of the attempt, from 1.
        code: The server's return code, 0 for success, or None without one.
        error: The name of the error's class, or None for success.
        throttled: Whether the server refused it for its rate.
        seconds: From sending to the outcome.
        queue_seconds: In the queue before it.
        request_id: The server's ID for the request, or None without one.
    """

    action: str
    priority: Priority
    attempt: int
    code: int | None
    error: str | None
    throttled: bool
    seconds: float
    queue_seconds: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """An attempt failed, and another one is made after a wait.

    Attributes:
        action: The action's name.
        priority: The call's priority.
        attempt: The number of the attempt that failed, from 1.
        code: The server's return code, or None without one.
        error: The name of the error's class.
        throttled: Whether the server refused it for its rate.
        delay: The seconds until the call joins the queue again.
    """

    action: str
    priority: Priority
    attempt: int
    code: int | None
    error: str
    throttled: bool
    delay: float


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call ended, with a response, an error, or by cancellation.

    Attributes:
        action: The action's name.
        priority: The call's priority.
        attempts: The requests that were sent.
        code: The server's return code, 0 for success, or None without one.
        error: The name of the error's class, ``CancelledError`` included, or None for success.
        seconds: From the call to its end.
        queue_seconds: In the queue, all its turns together.
    """

    action: str
    priority: Priority
    attempts: int
    code: int | None
    error: str | None
    seconds: float
    queue_seconds: float


Event: TypeAlias = CallStarted | AttemptEnded | RetryScheduled | CallEnded
Observer: TypeAlias = Callable[[Event], object]


class Emitter:
    """Tells the log and a client's observers of events. An observer that raises is logged once, and never ends a call.

    Raises:
        ConfigError: An observer can't be called.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        if not isinstance(observers, Iterable):
            raise ConfigError(f"observers must be a list of callables, not {show_value(observers)}")
        self._observers = tuple(observers)
        self._failed: set[int] = set()  # places of observers that raised
        for observer in self._observers:
            if not callable(observer) or inspect.iscoroutinefunction(observer):
                raise ConfigError(f"an observer must be a plain callable of one event, not {show_value(observer)}")

    @property
    def is_needed(self) -> bool:
        """Whether anybody listens: events that nobody sees aren't made."""
        return bool(self._observers) or _log.isEnabledFor(logging.DEBUG)

    def emit(self, event: Event) -> None:
        """Tell everybody of an event.

        Args:
            event: What happened.
        """
        _log_event(event)
        for place, observer in enumerate(self._observers):
            try:
                observer(event)
            except Exception:  # noqa: BLE001, whatever it is, it is logged
                if place not in self._failed:
                    self._failed.add(place)
                    _log.exception("the observer %r failed; its further failures aren't logged", observer)


def _log_event(event: Event) -> None:
    if isinstance(event, AttemptEnded):
        outcome = "done" if event.error is None else f"failed with {_reason(event)}"
        text = "%s %s, attempt %d, %.3f s after %.3f s in the queue, request ID %.100r"
        _log.debug(text, event.action, outcome, event.attempt, event.seconds, event.queue_seconds, event.request_id)
    elif isinstance(event, RetryScheduled):
        level = logging.DEBUG if event.throttled else logging.WARNING  # the limiter sums up what was throttled
        text = "%s failed with %s, attempt %d, next in %.2f s"
        _log.log(level, text, event.action, _reason(event), event.attempt, event.delay)


def _reason(event: AttemptEnded | RetryScheduled) -> str:
    return f"{event.error}" if event.code is None else f"{event.error}, code {event.code}"
