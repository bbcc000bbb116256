"""The README's web apps and what it says about synchronous code, under real servers and workers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import django
import pytest
import uvicorn
from aiohttp import web
from django.conf import settings

import aiohttp_app
import fastapi_app
from zim_async import (
    ApiError,
    AuthenticationError,
    ClockSkewError,
    ClosedError,
    ConfigError,
    InvalidArgumentError,
    InvalidParameterError,
    JournalError,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    QueueTimeoutError,
    QuotaUnavailableError,
    RateLimitedError,
    ServerBusyError,
    TransportError,
    ZimError,
)
from zim_async.sandbox import Sandbox
from zim_http import http_answer

EXAMPLES = Path(__file__).parent / "examples"
REPOSITORY = EXAMPLES.parents[1]
TOO_LONG = "x" * 33


def all_errors() -> set[type[ZimError]]:
    found, new = {ZimError}, [ZimError]
    while new:
        subclasses = [kind for kind in new.pop().__subclasses__() if kind.__module__.startswith("zim_async")]
        found.update(subclasses)
        new += subclasses
    return found


ANSWERS: list[tuple[ZimError, int, str | None]] = [
    (ZimError("?"), 500, None),
    (ConfigError("?"), 500, None),
    (InvalidArgumentError("?"), 422, None),
    (ClosedError("?"), 503, "5"),
    (QueueTimeoutError("?", estimated_wait=2.3), 503, "3"),
    (QueueTimeoutError("?"), 503, "1"),
    (QuotaUnavailableError("?"), 503, "5"),
    (TransportError("?"), 502, None),
    (TransportError("?", untrusted=True), 500, None),
    (ProtocolError("?"), 502, None),
    (JournalError("?"), 500, None),
    (ApiError("?", code=100000007), 500, None),
    (AuthenticationError("?", code=3), 500, None),
    (ClockSkewError("?", code=100000004), 500, None),
    (InvalidParameterError("?", code=2), 422, None),
    (NotFoundError("?", code=660800002), 404, None),
    (NotPermittedError("?", code=660600032), 403, None),
    (RateLimitedError("?", code=7), 503, "5"),
    (ServerBusyError("?", code=1), 503, "5"),
]


@pytest.mark.parametrize(("error", "status", "retry_after"), ANSWERS, ids=lambda value: type(value).__name__)
def test_each_error_has_its_answer(
    error: ZimError, status: int, retry_after: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    answered, _, headers = http_answer(error)
    assert (answered, headers.get("Retry-After")) == (status, retry_after)
    assert bool(caplog.records) is (status in (403, 500))  # the alert


def test_no_error_was_forgotten() -> None:
    assert {type(error) for error, _, _ in ANSWERS} == all_errors()


@asynccontextmanager
async def uvicorn_server(app: Any, lifespan: Literal["on", "off"] = "on") -> AsyncIterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, lifespan=lifespan))
    serving = asyncio.create_task(server.serve([listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving


@asynccontextmanager
async def aiohttp_server(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_fastapi_under_uvicorn(env: Sandbox) -> None:
    for number in range(30):
        env.add_message("alice", f"friend-{number}")
    async with uvicorn_server(fastapi_app.app) as base, aiohttp.ClientSession() as browser:

        async def delete(other: str) -> int:
            async with browser.delete(f"{base}/users/alice/chats/{other}") as response:
                assert response.status != 503 or int(response.headers["Retry-After"]) >= 1
                return response.status

        assert await asyncio.gather(*(delete(f"friend-{number}") for number in range(30))) == [204] * 30
        env.fail_next(code=660800002)
        assert await delete("nobody") == 404
        assert await delete(TOO_LONG) == 422
        env.fail_next(code=3)
        assert await delete("bob") == 500
        statuses = await asyncio.gather(*(delete("somebody") for _ in range(90)))
        assert set(statuses) == {204, 503}  # for some, the queue would be longer than they may wait
        async with browser.get(f"{base}/health") as response:
            health = await response.json()
        assert health["waiting"] == 0
        assert health["permits"] == 20
    assert all(env.messages("alice", f"friend-{number}") is None for number in range(30))
    assert env.refused == 0


async def test_aiohttp_app(env: Sandbox) -> None:
    env.add_message("alice", "bob")
    async with aiohttp_server(aiohttp_app.make_app()) as base, aiohttp.ClientSession() as browser:

        async def clear(other: str) -> int:
            async with browser.delete(f"{base}/users/alice/messages/{other}") as response:
                return response.status

        assert await clear("bob") == 204
        assert await clear(TOO_LONG) == 422
        env.fail_next(code=660800002)
        assert await clear("bob") == 404
    assert env.messages("alice", "bob") == []


@pytest.fixture(scope="session")
def django_configured() -> None:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "testserver"],
        MIDDLEWARE=["django_views.AnswerErrors"],
        ROOT_URLCONF="django_views",
        LOGGING_CONFIG=None,
    )
    django.setup()


@pytest.mark.usefixtures("django_configured")
async def test_a_django_async_view(env: Sandbox) -> None:
    from django.core.asgi import get_asgi_application

    import django_views

    env.add_message("alice", "bob")
    async with uvicorn_server(get_asgi_application(), "off") as base, aiohttp.ClientSession() as browser:

        async def clear(other: str) -> int:
            async with browser.get(f"{base}/users/alice/messages/{other}") as response:
                return response.status

        assert await clear("bob") == 204
        assert await clear(TOO_LONG) == 422
        env.fail_next(code=660800002)
        assert await clear("bob") == 404
    assert env.messages("alice", "bob") == []
    await django_views.client().close()
    django_views.client.cache_clear()


def run_program(program: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment(env), capture_output=True, text=True, timeout=60
    )


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(REPOSITORY)])} | (more or {})


SCRIPT = """
from concurrent.futures import ThreadPoolExecutor
from zim_async import InvalidArgumentError
from zim_sync import run

def forget(number):
    run(lambda zim: zim.clear_peer_message(from_user_id="alice", to_user_id=f"friend-{number}"))

with ThreadPoolExecutor(8) as threads:
    list(threads.map(forget, range(16)))
try:
    forget("x" * 33)
except InvalidArgumentError:
    print("refused")
"""
DJANGO = """
import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["testserver"], MIDDLEWARE=["django_views.AnswerErrors"], ROOT_URLCONF="django_views"
)
django.setup()
from django.test import Client

for other in ("bob", "x" * 33):
    print(Client().get(f"/sync/users/alice/messages/{other}").status_code)
"""
CELERY_SETTINGS = """
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
imports = ["celery_app"]
"""
CELERY_SENDER = """
from celery_app import app, forget

app.config_from_object("settings")
for number in range(6):
    forget.delay("alice", f"friend-{number}")
"""


def test_threads_of_a_script_share_one_client(zim_env: Sandbox) -> None:
    for number in range(16):
        zim_env.add_message("alice", f"friend-{number}")
    run = run_program(SCRIPT)
    assert (run.returncode, run.stdout, run.stderr) == (0, "refused\n", "")
    assert all(zim_env.messages("alice", f"friend-{number}") == [] for number in range(16))


def test_a_django_sync_view(zim_env: Sandbox) -> None:
    zim_env.add_message("alice", "bob")
    run = run_program(DJANGO)
    assert (run.returncode, run.stdout) == (0, "204\n422\n"), run.stderr
    assert zim_env.messages("alice", "bob") == []


@pytest.fixture
def celery_worker(zim_env: Sandbox, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A prefork worker, and a way to run programs beside it."""
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    (tmp_path / "settings.py").write_text(CELERY_SETTINGS)
    env = environment({"CELERY_BROKER_URL": "filesystem://", "CELERY_CONFIG_MODULE": "settings"})
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    options = ["--pool=prefork", "--concurrency=2", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "worker", *options],
        cwd=tmp_path,
        env=env,
        start_new_session=True,  # so that it ends with its children
    )

    def run(program: str) -> None:
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True)

    yield run
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def test_celery_prefork(zim_env: Sandbox, celery_worker: Callable[[str], None]) -> None:
    friends = [f"friend-{number}" for number in range(6)]
    for friend in friends:
        zim_env.add_message("alice", friend)
    celery_worker(CELERY_SENDER)
    deadline = time.monotonic() + 30
    while any(zim_env.messages("alice", friend) for friend in friends) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert all(zim_env.messages("alice", friend) == [] for friend in friends)
