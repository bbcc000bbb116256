"""Fixtures: a sandbox, a client for it, mocked HTTP, and a watch on what a test leaves behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from zim_async import RetryPolicy, ZimClient
from zim_async.sandbox import Sandbox

# Loaded here, and not as an installed plugin, which would be imported before coverage starts.
pytest_plugins = ["pytester", "zim_async.pytest_plugin", "aioresponses_fixture"]
MakeClient = Callable[..., ZimClient]
EAGER = RetryPolicy(first_backoff=0, longest_backoff=0)


@pytest.fixture(autouse=True)
async def nothing_left_behind(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves a task running, or a background task's failure unread."""
    if request.node.get_closest_marker("asyncio") is None:
        yield
        return
    loop = asyncio.get_running_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: failures.append(context))
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    gc.collect()
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not failures


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "ZIM_APP_ID",
        "ZIM_SERVER_SECRET",
        "ZIM_SERVER_SECRET_FILE",
        "ZIM_REGION",
        "ZIM_BASE_URL",
        "ZIM_REDIS_URL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def strict_box() -> AsyncIterator[Sandbox]:
    async with Sandbox(strict=True) as sandbox:
        yield sandbox


@pytest.fixture
def env(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, with the environment pointing at it."""
    monkeypatch.setenv("ZIM_APP_ID", str(box.app_id))
    monkeypatch.setenv("ZIM_SERVER_SECRET", box.server_secret)
    monkeypatch.setenv("ZIM_BASE_URL", box.base_url)
    return box


@pytest.fixture
async def make_client(box: Sandbox) -> AsyncIterator[MakeClient]:
    """Make clients of the sandbox that don't wait between attempts; they are closed afterwards."""
    clients: list[ZimClient] = []

    def make(**options: Any) -> ZimClient:
        defaults: dict[str, Any] = {"base_url": box.base_url, "retry": EAGER}
        clients.append(ZimClient(box.app_id, box.server_secret, **defaults | options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def zim(make_client: MakeClient) -> ZimClient:
    return make_client()


def pytest_collection_finish() -> None:
    """Keep what the imports made out of each test's garbage collection, which it would slow down."""
    gc.collect()
    gc.freeze()
