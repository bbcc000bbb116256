"""The example of several workers, as it would run: taskiq with two workers, uvicorn with two, one Redis."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.support.redis_servers import RedisServer, free_port
from zim_async.sandbox import Sandbox

EXAMPLES = f"--app-dir={Path(__file__).parent / 'examples'}"
pytest.importorskip("uvloop")


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python module in a process group of its own, and leave nobody of it behind."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def end(process: asyncio.subprocess.Process) -> int:
    process.terminate()
    return await asyncio.wait_for(process.wait(), 10.0)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20.0):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_users_calls_go_before_tasks_and_nothing_is_refused(
    env: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    uvicorn = (
        "uvicorn",
        "taskiq_app:app",
        EXAMPLES,
        "--workers=2",
        "--loop=uvloop",
        f"--port={port}",
        "--log-level=warning",
    )
    taskiq = ("taskiq", "worker", "taskiq_tasks:broker", EXAMPLES, "--workers=2", "--max-async-tasks=30")
    with RedisServer(own=True) as server:
        monkeypatch.setenv("ZIM_REDIS_URL", server.url)
        async with (
            running(*uvicorn) as web,
            running(*taskiq, "--wait-tasks-timeout=1", "--log-level=WARNING") as workers,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as browser,
        ):

            async def delete_chat(number: int) -> float:
                began = time.monotonic()
                async with browser.delete(f"/users/alice/chats/friend-{number}") as response:
                    assert response.status == 204
                return time.monotonic() - began

            async def is_served() -> bool:
                try:
                    await delete_chat(0)
                except aiohttp.ClientConnectorError:
                    return False
                return True

            async def is_busy() -> bool:
                return len(env.arrivals) > 10

            await until(is_served)
            async with browser.delete("/users/alice/groups", json=[f"g{number}" for number in range(200)]) as response:
                assert response.status == 202
            await until(is_busy)
            waits = [await delete_chat(number) for number in range(9)]
            assert sorted(waits)[4] < 0.15
            assert max(waits) < 1.0
            assert await end(workers) == 0
            assert await end(web) == 0
            done = len(env.arrivals)
        await asyncio.sleep(0.1)
        assert len(env.arrivals) == done
    assert env.refused == 0
