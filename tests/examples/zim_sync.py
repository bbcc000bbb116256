import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from zim_async import ZimClient

T = TypeVar("T")
_starting = threading.Lock()


@cache
def _background(pid: int) -> tuple[asyncio.AbstractEventLoop, ZimClient]:
    # One event loop for each process, a forked one too, started by its first call.
    loop, zim = asyncio.new_event_loop(), ZimClient.from_env(deadline=30)
    threading.Thread(target=loop.run_forever, name="zim", daemon=True).start()
    atexit.register(run, ZimClient.close)
    return loop, zim


def run(call: Callable[[ZimClient], Coroutine[Any, Any, T]]) -> T:
    with _starting:
        loop, zim = _background(os.getpid())
    return asyncio.run_coroutine_threadsafe(call(zim), loop).result()
