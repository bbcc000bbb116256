"""Fixtures for tests of programs that use this library. Pytest finds them by itself, once the library is installed.

``zim_sandbox`` is a server on loopback, ``zim_client`` a client on it that never waits, and ``zim_env`` the
environment variables for a client of your own. The marker ``zim`` says how the sandbox behaves:

    @pytest.mark.zim(strict=True, qps=20, faults=[7, NotFoundError])

The fixtures work under pytest-asyncio in either mode, and under anyio's plugin. The sandbox runs in a thread of its
own, so that tests that aren't async can use it too.

Mocks without a server, and with aioresponses, are among ``zim_async.recipes``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from .client import ZimClient
from .errors import ApiError
from .limits import Permit, Priority, RateLimiter
from .retry import RetryPolicy

if TYPE_CHECKING:
    from .sandbox import Counting, Sandbox

try:
    from pytest_asyncio import fixture as _async_fixture
except ImportError:  # then anyio's plugin runs it
    _async_fixture = pytest.fixture  # type: ignore[assignment]

MARKER: Final = (
    "zim(strict=False, qps=None, counting='sliding', faults=()): how zim_sandbox behaves. strict: refuse unknown users,"
    " groups and conversations. qps: refuse what is above so many calls a second, counted as counting says."
    " faults: return codes or classes of error for the first requests."
)
NO_WAITS: Final = RetryPolicy(first_backoff=0.0, longest_backoff=0.0)
HIGHEST_QPS: Final = 1e6


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def zim_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox that counts calls, and refuses none for their rate unless the marker ``zim`` says so."""
    marker = request.node.get_closest_marker("zim")
    with _running(_make_sandbox(**marker.kwargs if marker else {})) as box:
        yield box


@_async_fixture
async def zim_client(zim_sandbox: Sandbox) -> AsyncIterator[ZimClient]:
    """Make a client of the sandbox that waits neither in a queue, nor after a refusal, nor between attempts."""
    limiter = RateLimiter(HIGHEST_QPS, window=_OpenWindow)
    async with ZimClient(
        zim_sandbox.app_id, zim_sandbox.server_secret, base_url=zim_sandbox.base_url, retry=NO_WAITS, limiter=limiter
    ) as client:
        yield client


@pytest.fixture
def zim_env(zim_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Set the environment so that ``ZimClient.from_env()`` is a client of the sandbox, and return the sandbox."""
    for name in ("ZIM_REGION", "ZIM_REDIS_URL", "ZIM_SERVER_SECRET_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZIM_APP_ID", str(zim_sandbox.app_id))
    monkeypatch.setenv("ZIM_SERVER_SECRET", zim_sandbox.server_secret)
    monkeypatch.setenv("ZIM_BASE_URL", zim_sandbox.base_url)
    return zim_sandbox


def _make_sandbox(
    *,
    strict: bool = False,
    qps: int | None = None,
    counting: Counting = "sliding",
    faults: Sequence[int | type[ApiError]] = (),
) -> Sandbox:
    # Imported by tests that want one: every run of pytest imports this file, and aiohttp's server takes its time.
    from .sandbox import Sandbox

    box = Sandbox(strict=strict, qps=qps, counting=counting)
    for fault in faults:
        if isinstance(fault, int):
            box.fail_next(code=fault)
        else:
            box.fail_next(fault)
    return box


@contextmanager
def _running(box: Sandbox) -> Iterator[Sandbox]:
    """Run a sandbox on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="zim_sandbox", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(box.__aenter__(), loop).result()
        try:
            yield box
        finally:
            asyncio.run_coroutine_threadsafe(box.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _OpenPermit:
    """A permit without an end."""

    def release(self, *, min_round_trip: float = 0.0, throttled: bool = False) -> None:
        pass

    def cancel(self) -> None:
        pass


class _OpenWindow:
    """A window that always has a permit."""

    idle: bool = True

    def __init__(self, action: str, qps: float) -> None:  # noqa: ARG002
        self.permits: float = qps

    def open(self, on_change: Callable[[], None]) -> None:
        pass

    async def close(self) -> None:
        pass

    def try_take(self, priority: Priority) -> Permit:  # noqa: ARG002
        return _OpenPermit()

    def expect(self, interactive: int, bulk: int) -> None:
        pass

    def estimated_wait(self, priority: Priority, ahead: int) -> float:  # noqa: ARG002
        return 0.0

    def resize(self, qps: float) -> None:
        self.permits = qps
