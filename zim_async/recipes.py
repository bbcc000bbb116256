"""Recipes for frameworks and tools beyond those of the README. ``python -m zim_async.recipes`` prints them.

# aiohttp.web

``http_answer`` is the README's.

```python
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from zim_async import ZimClient, ZimError
from zim_http import http_answer

ZIM = web.AppKey("ZIM", ZimClient)


async def zim_client(app: web.Application) -> AsyncIterator[None]:
    async with ZimClient.from_env(deadline=10, max_wait=2) as app[ZIM]:
        yield


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ZimError as error:
        status, text, headers = http_answer(error)
        return web.Response(status=status, text=text, headers=headers)


async def clear_chat(request: web.Request) -> web.Response:
    user, other = request.match_info["user"], request.match_info["other"]
    await request.app[ZIM].clear_peer_message(from_user_id=user, to_user_id=other)
    return web.Response(status=204)


def make_app() -> web.Application:
    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(zim_client)
    app.router.add_delete("/users/{user}/messages/{other}", clear_chat)
    return app
```

# Code that isn't async

A script makes all its calls in one ``asyncio.run(main())``. Where calls come from many places or threads, keep one
event loop in the background, for each process. An application's quota belongs to one event loop of a process at a time.
Save this as ``zim_sync.py``:

```python
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
```

Then any thread calls ``run(lambda zim: zim.clear_peer_message(from_user_id="alice", to_user_id="bob"))``. It blocks
until the call is done, and raises what the call raises.

# Celery

Its prefork pool is code that isn't async, in several processes. Calls at bulk priority let users' calls of the same
process go first.

```python
import os

from celery import Celery

from zim_sync import run

app = Celery("chats", broker=os.environ["CELERY_BROKER_URL"])


@app.task
def forget(user_id: str, other_id: str) -> None:
    run(lambda zim: zim.clear_peer_message(from_user_id=user_id, to_user_id=other_id, priority="bulk"))
```

The processes share one quota. See "Several workers" in the README.

# taskiq

Two workers or more, beside a FastAPI app of two workers or more: with ``ZIM_REDIS_URL`` set, all share one quota. Tasks
run at bulk priority, so users' calls go first. Save this as ``taskiq_tasks.py``, and start
``taskiq worker taskiq_tasks:broker --workers=2 --max-async-tasks=30``:

```python
import contextlib
import os

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from zim_async import ConvType, NotFoundError, ZimClient

# A stream keeps a task until a worker has done it.
broker = RedisStreamBroker(os.environ["ZIM_REDIS_URL"])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    state.zim = ZimClient.from_env()  # with ZIM_REDIS_URL set, all processes share one quota


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_client(state: TaskiqState) -> None:
    await state.zim.close()


@broker.task
async def leave_group(user_id: str, group_id: str, context: Context = TaskiqDepends()) -> None:
    zim: ZimClient = context.state.zim
    with contextlib.suppress(NotFoundError):  # done before
        await zim.delete_conv(from_user_id=user_id, conv_id=group_id, conv_type=ConvType.GROUP, priority="bulk")
```

This is ``taskiq_app.py``, for ``uvicorn taskiq_app:app --workers=2``:

```python
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from taskiq_tasks import broker, leave_group
from zim_async import ConvType, ZimClient, ZimError
from zim_http import http_answer


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    async with ZimClient.from_env(deadline=10) as zim:
        app.state.zim = zim
        yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(ZimError)
async def answer_error(request: Request, error: ZimError) -> JSONResponse:
    status, text, headers = http_answer(error)
    return JSONResponse({"detail": text}, status, headers)


@app.delete("/users/{user_id}/chats/{other_id}", status_code=204)
async def delete_chat(user_id: str, other_id: str, request: Request) -> None:
    zim: ZimClient = request.app.state.zim  # its calls go before the tasks', whichever process they are in
    await zim.delete_conv(from_user_id=user_id, conv_id=other_id, conv_type=ConvType.PEER)


@app.delete("/users/{user_id}/groups", status_code=202)
async def leave_groups(user_id: str, group_ids: list[str]) -> None:
    for group_id in group_ids:
        await leave_group.kiq(user_id, group_id)
```

# Django

Async views under ASGI await a client of their own process. Sync views use ``zim_sync``. The middleware answers errors
for both, by the ``http_answer`` of the README.

```python
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from zim_async import ZimClient, ZimError
from zim_http import http_answer
from zim_sync import run


class AnswerErrors(MiddlewareMixin):  # for MIDDLEWARE in the settings
    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, ZimError):
            return None
        status, text, headers = http_answer(error)
        return HttpResponse(text, status=status, headers=headers)


@cache
def client() -> ZimClient:  # one for each process under ASGI
    return ZimClient.from_env(deadline=10, max_wait=2)


async def clear_chat(request: HttpRequest, user: str, other: str) -> HttpResponse:
    await client().clear_peer_message(from_user_id=user, to_user_id=other)
    return HttpResponse(status=204)


def clear_chat_sync(request: HttpRequest, user: str, other: str) -> HttpResponse:  # under WSGI
    run(lambda zim: zim.clear_peer_message(from_user_id=user, to_user_id=other, max_wait=2))
    return HttpResponse(status=204)


urlpatterns = [
    path("users/<user>/messages/<other>", clear_chat),
    path("sync/users/<user>/messages/<other>", clear_chat_sync),
]
```

# Sentry

Its aiohttp integration puts the query of each request into breadcrumbs and spans. Here the query is signed, so take it
out before it leaves. Everything else that the library raises or logs holds no signature.

```python
from typing import Any

import sentry_sdk


def drop_signature(data: dict[str, Any]) -> None:
    if "Signature=" in str(data.get("http.query", "")):
        data["http.query"] = "[signed]"


def before_breadcrumb(crumb: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    drop_signature(crumb.get("data") or {})
    return crumb


def before_send_transaction(event: Any, hint: dict[str, Any]) -> Any:
    for span in event.get("spans", []):
        drop_signature(span.get("data") or {})
    return event


def init(dsn: str, **options: Any) -> None:
    sentry_sdk.init(
        dsn, before_breadcrumb=before_breadcrumb, before_send_transaction=before_send_transaction, **options
    )
```

# Prometheus

Needs the extra ``otel``, and opentelemetry-exporter-prometheus.

```python
import asyncio

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from zim_async import RateLimiter, ZimClient
from zim_async.telemetry import OpenTelemetryObserver


async def main(port: int = 9464) -> None:
    start_http_server(port)  # for Prometheus to scrape
    limiter = RateLimiter()  # given to both, for the gauges
    observer = OpenTelemetryObserver(limiter, meter_provider=MeterProvider([PrometheusMetricReader()]))
    async with ZimClient.from_env(limiter=limiter, observers=[observer]) as zim:
        await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")


if __name__ == "__main__":
    asyncio.run(main())
```

# Tests without a server

A refusal on demand comes from the sandbox, and an autospec of the client needs no sandbox at all. Responses and errors
are made in one line.

```python
from unittest.mock import create_autospec

import pytest

from zim_async import NotFoundError, Response, ZimClient


@pytest.mark.zim(strict=True, faults=[7])  # a refusal for the rate first, then refusals of what isn't known
async def test_nobody_forgets_bob(zim_client: ZimClient) -> None:
    with pytest.raises(NotFoundError):
        await zim_client.clear_peer_message(from_user_id="nobody", to_user_id="bob")


async def test_without_a_server() -> None:
    zim = create_autospec(ZimClient, instance=True)
    zim.delete_conv.return_value = Response(action="DeleteConv")
    zim.clear_peer_message.side_effect = NotFoundError("gone", code=660800002)
    with pytest.raises(NotFoundError):
        await zim.clear_peer_message(from_user_id="alice", to_user_id="bob")
```

Without sockets, aioresponses takes the place of HTTP. It needs this fixture:

```python
import inspect
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses, core


class MockedResponse(aiohttp.ClientResponse):
    # Version 0.7.9 doesn't give aiohttp 3.14 the writer that it asks for. Remove this when it does.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
            kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    monkeypatch.setattr(core, "ClientResponse", MockedResponse)
    with aioresponses() as mock:  # mock.post(re.compile("^https://zim-api.zego.im/"), payload={"Code": 0, ...})
        yield mock
```
"""

if __name__ == "__main__":
    print(__doc__)
