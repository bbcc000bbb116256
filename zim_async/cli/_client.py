"""The clients of the commands: one of the environment, or one of a sandbox of its own."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import AsyncIterator
from typing import Final

from .._endpoints import resolve
from .._environment import read_place
from ..client import ZimClient
from ..errors import ConfigError
from ..limits.limiter import DEFAULT_QPS
from ..sandbox import Sandbox
from ..session import SessionManager

REHEARSAL_APP_ID: Final = 1  # the same each time, so that one run resumes the journal of another


@contextlib.asynccontextmanager
async def env_client(qps: float | None = None) -> AsyncIterator[ZimClient]:
    """Have a client of the environment, by its proxy."""
    async with SessionManager(proxy=_proxy()) as sessions, ZimClient.from_env(qps=qps, sessions=sessions) as zim:
        yield zim


@contextlib.asynccontextmanager
async def rehearsal_client(qps: float | None = None) -> AsyncIterator[ZimClient]:
    """Have a client of a sandbox of its own."""
    async with (
        Sandbox(app_id=REHEARSAL_APP_ID, qps=max(1, int(qps or DEFAULT_QPS))) as box,
        ZimClient(box.app_id, box.server_secret, base_url=box.base_url, qps=qps) as zim,
    ):
        yield zim


@contextlib.asynccontextmanager
async def planning_client(qps: float | None = None) -> AsyncIterator[ZimClient]:
    """Have a client that stands for any application, for a plan without a journal: nothing is sent."""
    async with ZimClient(REHEARSAL_APP_ID, "none", base_url="http://127.0.0.1", qps=qps) as zim:
        yield zim


def _proxy() -> str | None:
    """Return the environment's proxy for the host that calls go to."""
    try:
        host = resolve(*read_place()).host or ""
    except ConfigError:  # which the client tells better
        return None
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
