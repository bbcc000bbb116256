"""What SIGINT and SIGTERM do to a bulk job."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

NOTICE: Final = "finishing the calls in flight; interrupt again to abandon them"


class Signals:
    """Answers signals. While calls are sent, the first drains and the second cancels. Before, they break off.

    Args:
        notify: Called with what is to be told when the first comes.

    Attributes:
        stop: Set by the first signal.
        began: Whether sending had begun.
    """

    def __init__(self, notify: Callable[[str], object]) -> None:
        self.stop: asyncio.Event = asyncio.Event()
        self.began: bool = False
        self._notify = notify
        self._sending: asyncio.Task[object] | None = None
        self._count = 0

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Answer the signals within."""
        if threading.current_thread() is not threading.main_thread():  # where Python takes no handlers
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin(self, sending: asyncio.Task[object] | None) -> None:
        """Take note that a task sends calls from now on."""
        self._sending = sending
        self.began = True

    def end(self) -> None:
        """Take note that no calls are sent any more."""
        self._sending = None

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._sending is None or self._count > 2:
            raise KeyboardInterrupt
        answer = self._drain if self._count == 1 else self._sending.cancel
        self._sending.get_loop().call_soon_threadsafe(answer)

    def _drain(self) -> None:
        self.stop.set()
        self._notify(NOTICE)
